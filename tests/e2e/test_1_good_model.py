"""Story 1: a good model goes from data to all of the traffic."""

from e2e.bench import jobs_by_stage, numbers_in
from serin_demo.kube import condition
from serin_demo.report import stages_of
from serin_demo.shares import failures
from serin_demo.stories import Record

STAGES = ["Prepare", "Train", "Consolidate", "Evaluate"]


def outputs(record: Record) -> dict[str, dict]:
    return {stage["name"]: stage["output"] for stage in record.job["status"]["stages"]}


def test_it_is_promoted(good: Record) -> None:
    assert good.outcome == "Promoted"
    assert good.revision["status"]["rollout"]["promotedAt"]
    assert condition(good.job, "Promoted")["status"] == "True"
    assert good.service["status"]["stable"]["revision"] == good.revision_name


def test_messy_rows_are_dropped_and_counted_by_reason(good: Record) -> None:
    prepared = outputs(good)["Prepare"]
    assert {"Duplicate", "Empty", "TooLong", "Unparsable"} <= set(prepared["dropped"])
    assert prepared["rows"]["kept"] == prepared["rows"]["read"] - sum(prepared["dropped"].values())


def test_two_pods_train_with_zero_and_the_loss_falls(good: Record) -> None:
    trained = outputs(good)["Train"]
    assert trained["worldSize"] == 2
    assert trained["zeroStage"] == 2
    assert trained["trainLossLast"] < 0.8 * trained["trainLossFirst"]


def test_the_status_showed_how_the_loss_fell(good: Record) -> None:
    progress = good.job["status"]["progress"]
    assert len(progress["lossCurve"]) >= 2
    assert float(progress["trainPerplexity"]) > 1
    assert {"learningRate", "gradientNorm", "tokensPerSecond"} <= progress.keys()
    assert "gpuPercent" not in progress  # there is none


def test_the_evaluated_model_is_the_consolidated_one(good: Record) -> None:
    merged = outputs(good)["Consolidate"]
    made = {"uri": merged["modelUri"], "digest": merged["digest"], "sizeBytes": merged["sizeBytes"]}
    assert good.revision["spec"]["artifact"] == made


def test_it_beats_the_base_model_with_an_interval_that_excludes_zero(good: Record) -> None:
    compared = outputs(good)["Evaluate"]["comparisons"]
    assert [one["against"] for one in compared] == ["Base"]
    assert compared[0]["low"] > 0


def test_the_gate_says_with_which_numbers_it_passed(good: Record) -> None:
    passed = condition(good.job, "GatePassed")
    assert passed["status"] == "True"
    assert len(numbers_in(passed["message"])) >= 2


def test_the_weights_went_up_step_by_step_and_never_down(good: Record) -> None:
    assert [weight.percent for weight in good.weights if weight.percent] == [10, 50, 100]


def test_the_shares_that_the_client_saw_match_the_weights(good: Record) -> None:
    assert {share.percent for share in good.shares} >= {0, 10, 50, 100}
    assert [share for share in good.shares if not share.matches] == []


def test_no_request_failed(good: Record) -> None:
    assert len(good.requests) > 100
    assert failures(good.requests) == []


def test_every_stage_ran_once_and_took_its_time(good: Record) -> None:
    jobs = jobs_by_stage(good.histories["jobs.batch"], "good")
    assert {stage: len(uids) for stage, uids in jobs.items()} == {stage.lower(): 1 for stage in STAGES}
    assert [name for name, _ in stages_of(good)] == [*STAGES, "Canary"]
    assert all(seconds > 0 for _, seconds in stages_of(good))
