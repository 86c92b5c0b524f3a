"""The whole walk of a FineTuneJob in a miniature world: the real decisions, fake pods."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import EvalGate, StageName
from serin_operator.decide.decision import Create
from serin_operator.decide.job import decide_job
from serin_operator.decide.job.snapshot import StageRun
from serin_operator.manifests import names
from support.jobs import (
    MODEL_DIGEST,
    NOON,
    World,
    a_gate,
    a_policy,
    a_service,
    an_evaluation,
    job_manifest,
    stable_of,
)

REVISION = names.revision("bot", MODEL_DIGEST)
STAGES = ["prepare", "train", "consolidate", "evaluate"]


def look(world: World) -> None:
    world.act(decide_job(world.snapshot()))


def play(world: World, looks: int = 30, end: Callable[[World, StageRun], None] | None = None) -> World:
    """Look and let pods finish until nothing moves."""
    for _ in range(looks):
        look(world)
        world.now += timedelta(seconds=1)
        for run in world.running():
            (end or World.finish)(world, run)
    return world


def condition(world: World, type_: str) -> dict[str, str]:
    return next(c for c in world.status["conditions"] if c["type"] == type_)


def stages_created(world: World) -> list[str]:
    return [world.runs[name].stage.lower() for name in world.created]


def test_a_good_model_walks_every_stage_once_and_waits_for_its_service() -> None:
    world = play(World())
    assert stages_created(world) == STAGES
    assert world.status["state"] == "Passed"
    assert world.status["gate"]["verdict"] == "Passed"
    assert world.revisions[REVISION]["status"]["gate"]["verdict"] == "Passed"
    assert condition(world, "GatePassed")["status"] == "True"


def test_what_trained_is_in_the_lineage_also_when_nobody_looked_while_it_ran() -> None:
    """The look that finds the training done starts the consolidation: the journal does not have the image yet."""
    world = World()
    started: list[Mapping[str, Any]] = []
    for _ in range(8):
        decision = decide_job(world.snapshot())
        started += [action.manifest for action in decision.actions if isinstance(action, Create)]
        world.act(decision)
        for run in world.running():
            world.runs[run.name] = replace(run, image=f"sha256:{run.stage.value}")
            world.finish(world.runs[run.name])
    configs = [json.loads(part["data"]["config.json"]) for part in started if part["kind"] == "ConfigMap"]
    lineage = next(config["lineage"] for config in configs if config["stage"] == "Consolidate")
    assert lineage["images"]["Train"] == "sha256:Train"
    assert lineage["images"]["Prepare"] == "sha256:Prepare"


def test_all_conditions_are_there_from_the_first_visit() -> None:
    world = World()
    look(world)
    types = {c["type"] for c in world.status["conditions"]}
    assert types == {
        "ReferencesResolved", "DataPrepared", "Trained", "TrainingHealthy", "Consolidated", "Evaluated",
        "GatePassed", "Approved", "Promoted",
        "Ready", "Reconciling", "Stalled", "Suspended", "WritesAccepted",
    }  # fmt: skip
    assert all(c["observedGeneration"] == 1 for c in world.status["conditions"])


def test_a_second_look_at_a_settled_job_writes_nothing() -> None:
    world = play(World())
    writes = world.status_writes
    decision = decide_job(world.snapshot())
    assert decision.statuses == ()
    assert decision.actions == ()
    assert world.status_writes == writes


def test_only_one_stage_runs_at_a_time() -> None:
    world = World()
    for _ in range(20):
        look(world)
        assert len(world.running()) <= 1
        for run in world.running():
            world.finish(run)


def test_the_journal_is_written_before_the_job_is_created() -> None:
    world = World()
    decision = decide_job(world.snapshot())
    assert decision.statuses[0].kind == "FineTuneJob"
    assert decision.statuses[0].status["stages"][0]["name"] == "Prepare"
    assert [a.manifest["kind"] for a in decision.actions] == ["ConfigMap", "Job"]


@pytest.mark.parametrize("crash_at", range(40))
def test_a_crash_after_any_write_changes_nothing_in_the_end(crash_at: int) -> None:
    """The operator dies after its n-th write, once; everything else goes as always."""
    world, written = World(), 0
    for _ in range(40):
        decision = decide_job(world.snapshot())
        total = len(decision.statuses) + len(decision.actions)
        allowed = crash_at - written if written <= crash_at < written + total else None
        world.act(decision, allowed)
        written += total
        world.now += timedelta(seconds=1)
        for run in world.running():
            world.finish(run)
    assert stages_created(world) == STAGES
    assert world.status["state"] == "Passed"
    assert list(world.revisions) == [REVISION]


def test_a_failed_gate_rejects_with_numbers_and_nothing_more_happens() -> None:
    def worse(world: World, run: StageRun) -> None:
        world.finish(run, **(an_evaluation(-0.2, -0.3, -0.1) if run.stage is StageName.EVALUATE else {}))

    world = play(World(), end=worse)
    assert world.status["state"] == "Rejected"
    assert condition(world, "Stalled")["status"] == "True"
    assert "-0.200 [-0.300, -0.100]" in condition(world, "GatePassed")["message"]
    assert world.revisions[REVISION]["status"]["gate"]["verdict"] == "Failed"
    assert condition(world, "Promoted")["status"] == "Unknown"


def test_a_changed_gate_is_judged_again_without_training() -> None:
    world = play(World(gates={"quality": a_gate(min="0.60")}))
    assert world.status["state"] == "Rejected"
    created = list(world.created)
    world.gates = {"quality": a_gate(min="0.30")}
    play(world)
    assert world.status["state"] == "Passed"
    assert world.created == created  # nothing was run: the scores are the same


def with_another_set(world: World) -> World:
    gate = world.gates["quality"].model_dump(by_alias=True, mode="json")
    gate["spec"]["suites"][0]["dataset"]["uri"] = "pvc://datasets/harder.jsonl"
    world.gates = {"quality": type(world.gates["quality"]).model_validate(gate)}
    return world


def test_prepare_reads_what_the_gates_measure_with_and_no_other_stage_before_evaluation_does() -> None:
    world = World()
    created: dict[str, str] = {}
    for _ in range(30):
        decision = decide_job(world.snapshot())
        for action in decision.actions:
            if isinstance(action, Create) and action.manifest["kind"] in ("ConfigMap", "Job"):
                stage = action.manifest["metadata"]["labels"][names.STAGE]
                created[stage] = created.get(stage, "") + json.dumps(action.manifest)
        world.act(decision)
        for run in world.running():
            world.finish(run)
    assert "quality/heldout" in created["prepare"]
    assert [stage for stage in STAGES if "heldout.jsonl" in created[stage]] == ["prepare", "evaluate"]


def test_another_evaluation_set_is_compared_with_the_data_before_it_measures_and_nothing_is_trained() -> None:
    world = play(with_another_set(play(World())))
    assert stages_created(world) == [*STAGES, "prepare", "evaluate"]
    assert world.status["state"] == "Passed"


def test_data_stay_prepared_while_a_gate_is_away() -> None:
    world = play(World())
    gates, world.gates = world.gates, {}
    play(world, looks=5)
    assert condition(world, "DataPrepared")["status"] == "True"
    world.gates = gates
    assert stages_created(play(world)) == STAGES


def test_a_new_learning_rate_trains_again_and_prepares_nothing() -> None:
    world = play(World())
    world.spec = {"hyperparameters": {"learningRate": "1e-3"}}
    world.generation = 2
    play(
        world,
        end=lambda w, run: w.finish(
            run, **({"digest": "sha256:" + "9" * 64} if run.stage is StageName.CONSOLIDATE else {})
        ),
    )
    assert stages_created(world) == [*STAGES, "train", "consolidate", "evaluate"]
    assert len(world.revisions) == 2


def test_which_checkpoints_are_kept_trains_nothing_again_unless_the_best_becomes_the_model() -> None:
    world = play(World())
    world.spec = {"checkpoints": {"keepRecent": 5, "keepBest": 1}}
    world.generation = 2
    play(world)
    assert stages_created(world) == STAGES
    world.spec = {"checkpoints": {"keepRecent": 5, "keepBest": 1, "consolidate": "Best"}}
    world.generation = 3
    play(world)
    assert stages_created(world)[len(STAGES) :][0] == "train"


def test_an_edit_while_training_ends_the_old_attempt_before_the_new_one_starts() -> None:
    world = World()
    look(world)
    world.finish(world.running()[0])
    look(world)
    look(world)
    [old] = world.running()
    assert old.stage is StageName.TRAIN
    world.spec = {"hyperparameters": {"learningRate": "1e-3"}}
    decision = decide_job(world.snapshot())
    assert [type(a).__name__ for a in decision.actions] == ["Delete"]
    world.act(decision)
    look(world)
    [new] = world.running()
    assert new.key != old.key


def test_a_job_applied_again_finds_its_model_and_does_not_train() -> None:
    first = play(World())
    again = World(revisions=first.revisions)
    play(again)
    assert stages_created(again) == ["prepare", "evaluate"]
    assert condition(again, "Trained")["reason"] == "Reused"
    assert REVISION in condition(again, "Trained")["message"]


def test_a_rolled_back_digest_stays_rejected_when_the_job_is_applied_again() -> None:
    first = play(World())
    first.revisions[REVISION]["status"]["rollout"] = {
        "rejection": {"reason": "SloBreached", "message": "answer-length 128 > 96 at step 1", "at": NOON, "step": 0,
                      "weightPercent": 10}
    }  # fmt: skip
    again = play(World(revisions=first.revisions))
    assert stages_created(again) == ["prepare"]
    assert again.status["state"] == "RolledBack"
    assert condition(again, "Promoted")["reason"] == "RolledBack"
    assert "128 > 96" in again.status["message"]


def test_a_promoted_revision_makes_the_job_ready_for_kstatus() -> None:
    world = play(World())
    world.revisions[REVISION]["status"]["rollout"] = {"promotedAt": NOON}
    play(world)
    assert world.status["state"] == "Promoted"
    assert condition(world, "Ready")["status"] == "True"
    assert condition(world, "Reconciling")["status"] == "False"
    assert condition(world, "Stalled")["status"] == "False"


def test_the_verdict_stays_to_be_read_after_the_promotion_and_when_the_job_is_applied_again() -> None:
    world = play(World())
    world.revisions[REVISION]["status"]["rollout"] = {"promotedAt": NOON}
    play(world)
    assert world.status["gate"]["verdict"] == "Passed"
    assert world.status["gate"]["requirements"]
    again = play(World(revisions=world.revisions))
    assert again.status["gate"]["verdict"] == "Passed"
    assert condition(again, "Evaluated")["status"] == "True"


def test_a_promoted_model_is_not_compared_with_itself() -> None:
    world = play(World(gates={"quality": a_gate(comparedTo="Incumbent", maxRegression="0.01")}))
    world.revisions[REVISION]["status"]["rollout"] = {"promotedAt": NOON}
    world.service = a_service(stable=stable_of(REVISION, MODEL_DIGEST))
    created = list(world.created)
    play(world)
    assert world.created == created


def test_without_an_incumbent_the_base_model_stands_in_and_the_sentence_says_so() -> None:
    world = play(World(gates={"quality": a_gate(comparedTo="Incumbent", maxRegression="0.01")}))
    assert world.status["gate"]["verdict"] == "Passed"
    assert "no incumbent yet, so the base model" in world.status["gate"]["message"]


def test_a_canary_is_told_in_the_job() -> None:
    world = play(World())
    world.service = a_service(candidate={"revision": REVISION, "digest": MODEL_DIGEST, "step": 0, "since": NOON})
    play(world)
    assert world.status["state"] == "Canary"
    assert world.status["message"] == "gets 10 percent"


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [
        pytest.param(
            {"claims": frozenset({"models", "artifacts"})}, "PersistentVolumeClaimNotFound", "'datasets'", id="claim"
        ),
        pytest.param({"gates": {}}, "EvalGateNotFound", "'quality'", id="gate"),
        pytest.param(
            {
                "gates": {"quality": a_gate(min="0.5", max="0.9")},
                "policies": (a_policy(metric="RougeL", min="0.1", max="0.4"),),
            },
            "GatesContradict",
            "heldout/RougeL of at least 0.5, and sane of policy floor for at most 0.4",
            id="a gate and a policy that no model can pass together",
        ),
        pytest.param(
            {"policies": (a_policy(metric="ExactMatch", min="0.1"),)},
            "RequirementOfNothing",
            "sane of policy floor asks for ExactMatch, which no suite of the job's gates or of the policy measures; add the"
            " metric to spec.suites[].metrics of an EvalGate",
            id="a policy on a metric that nobody measures",
        ),
        pytest.param({"service": None}, "ModelServiceNotFound", "'bot'", id="service"),
    ],
)
def test_a_missing_reference_starts_nothing_and_the_job_goes_on_when_it_comes(
    change: dict[str, object], reason: str, said: str
) -> None:
    world = World(**change)  # type: ignore[arg-type]
    play(world, looks=3)
    assert world.created == []
    assert world.status["state"] == "Waiting"
    found = condition(world, "ReferencesResolved")
    assert (found["status"], found["reason"]) == ("False", reason)
    assert said in found["message"]
    assert "goes on by itself" in found["message"]
    whole = World()
    world.claims, world.gates, world.service = whole.claims, whole.gates, whole.service
    world.policies = whole.policies
    play(world)
    assert world.status["state"] == "Passed"


def test_two_gates_with_a_suite_of_the_same_name_start_nothing() -> None:
    world = World(
        gates={"quality": a_gate(), "again": a_gate()}, spec={"gates": [{"name": "quality"}, {"name": "again"}]}
    )
    play(world, looks=3)
    assert world.created == []
    found = condition(world, "ReferencesResolved")
    assert found["reason"] == "SuiteGivenTwice"
    assert "a suite 'heldout'" in found["message"]


def test_a_warning_is_told_in_the_condition() -> None:
    gate = a_gate(min="0.1").model_dump(by_alias=True)
    gate["spec"] |= {"passPercent": 50, "warnPercent": 90}
    gate["spec"]["requirements"].append({"name": "hard", "metric": "heldout/RougeL", "min": "0.9"})
    world = play(World(gates={"quality": EvalGate.model_validate(gate)}))
    assert world.status["state"] == "Passed"
    assert world.status["gate"]["warning"] is True
    found = condition(world, "GatePassed")
    assert (found["status"], found["reason"]) == ("True", "PassedWithWarning")
    assert "50 percent of the weight passed" in found["message"]


def test_a_reference_lost_while_training_does_not_stop_the_training() -> None:
    world = World()
    look(world)
    world.finish(world.running()[0])
    look(world)
    look(world)
    world.gates = {}
    look(world)
    assert [run.stage for run in world.running()] == [StageName.TRAIN]
    assert [entry["name"] for entry in world.status["stages"]] == ["Prepare", "Train"]


def test_bad_data_is_looked_at_again_later_and_the_job_goes_on_when_it_is_mended() -> None:
    world = World()
    look(world)
    world.fail(world.running()[0], exit_code=65)
    look(world)
    look(world)
    assert world.running() == []
    assert world.status["state"] == "Waiting"
    assert condition(world, "DataPrepared")["status"] == "False"
    assert "looked at again at" in condition(world, "DataPrepared")["message"]
    world.now += timedelta(seconds=61)
    play(world)
    assert world.status["state"] == "Passed"
    assert world.status["stages"][0]["attempt"] == 2


def test_a_wrong_configuration_stops_until_the_spec_changes() -> None:
    world = World()
    look(world)
    world.fail(world.running()[0], exit_code=64)
    play(world, looks=5)
    assert len(world.created) == 1
    assert world.status["state"] == "Failed"
    assert condition(world, "Stalled")["status"] == "True"
    assert "change the spec" in world.status["message"]


def training_fails(**facts: object) -> Callable[[World, StageRun], None]:
    def end(world: World, run: StageRun) -> None:
        if run.stage is StageName.TRAIN:
            world.fail(run, **facts)
        else:
            world.finish(run)

    return end


def test_a_failure_that_is_seen_only_once_it_ended_says_what_ran() -> None:
    """The operator was away while it ran; found by killing it at each write of a story with a user's error."""
    world = World()
    look(world)
    world.fail(world.running()[0], exit_code=64, image="sha256:trainer")
    look(world)
    assert world.status["stages"][0]["image"] == "sha256:trainer"


def test_an_unknown_failure_is_tried_again_within_max_restarts() -> None:
    world = play(World(), looks=60, end=training_fails(exit_code=1, log_tail="boom"))
    assert stages_created(world) == ["prepare", "train", "train", "train"]  # maxRestarts is 2
    assert world.status["state"] == "Failed"
    assert "boom" in world.status["message"]


def test_an_eviction_is_tried_again_and_not_counted() -> None:
    world = World()
    ends = {"left": 3}

    def end(world: World, run: StageRun) -> None:
        if run.stage is StageName.TRAIN and ends["left"]:
            ends["left"] -= 1
            world.fail(run, disruption="Evicted", exit_code=137)
        else:
            world.finish(run)

    play(world, looks=60, end=end)
    assert world.status["state"] == "Passed"
    train = next(e for e in world.status["stages"] if e["name"] == "Train")
    assert (train["restarts"], train["interruptions"], train["attempt"]) == (0, 3, 4)


def test_out_of_memory_is_not_tried_again_unchanged() -> None:
    world = play(World(), end=training_fails(exit_code=137, out_of_memory=True))
    assert stages_created(world) == ["prepare", "train"]
    assert "limits.memory" in world.status["message"]


def test_a_lost_result_is_asked_for_again_and_found() -> None:
    world = World()
    lost = {"left": 1}

    def end(world: World, run: StageRun) -> None:
        world.finish(run)
        if run.stage is StageName.TRAIN and lost["left"]:
            lost["left"] -= 1
            world.runs[run.name] = replace(world.runs[run.name], result=None)

    play(world, end=end)
    assert world.status["state"] == "Passed"
    assert next(e for e in world.status["stages"] if e["name"] == "Train")["attempt"] == 2


def test_a_deleted_child_is_made_again() -> None:
    world = World()
    look(world)
    world.runs.clear()
    play(world)
    assert world.status["state"] == "Passed"


def test_a_policy_adds_to_the_gate_and_says_who_asked() -> None:
    world = play(World(policies=(a_policy(max="5"),)))
    assert world.status["state"] == "Rejected"
    assert "policy floor" in world.status["gate"]["message"]


def test_an_audited_policy_is_recorded_and_does_not_count() -> None:
    world = play(World(policies=(a_policy(mode="Audit", max="5"),)))
    assert world.status["state"] == "Passed"
    assert [r["verdict"] for r in world.status["gate"]["requirements"]] == ["Passed", "Failed"]


def test_a_policy_on_a_metric_that_nobody_measures_also_takes_back_a_verdict_of_before() -> None:
    world = play(World())
    assert world.status["state"] == "Passed"
    world.policies = (a_policy(metric="ExactMatch", min="0.1"),)
    play(world)
    assert world.status["state"] == "Waiting"
    assert condition(world, "GatePassed")["status"] == "Unknown"
    assert world.status["gate"]["verdict"] == "Error"
    assert "no suite" in world.status["message"]


def test_an_audited_policy_on_a_metric_that_nobody_measures_keeps_nobody_waiting() -> None:
    assert play(World(policies=(a_policy(mode="Audit", metric="ExactMatch", min="0.1"),))).status["state"] == "Passed"


def test_a_job_without_rollout_ends_with_a_model() -> None:
    manifest = job_manifest()
    world = World(spec={"rollout": None, "gates": []})
    assert manifest["spec"]["rollout"]
    play(world)
    assert world.status["state"] == "Succeeded"
    assert stages_created(world) == STAGES[:3]
    assert world.revisions == {}


def test_children_of_a_long_name_stay_within_63_characters() -> None:
    world = World(name="a" * 40)
    look(world)
    assert all(len(name) <= 63 - 8 for name in world.created)


def test_a_missing_claim_is_asked_for_often_at_first_and_seldom_later() -> None:
    world = World(claims=frozenset())
    waits: list[float] = []
    for _ in range(40):
        decision = decide_job(world.snapshot())
        world.act(decision)
        assert decision.requeue_after is not None
        waits.append(decision.requeue_after.total_seconds())
        world.now += decision.requeue_after
    assert waits[0] == 5
    assert waits[-1] == 60
    assert waits == sorted(waits)


def test_what_a_deleted_job_of_the_same_name_left_running_goes_first() -> None:
    world = World()
    look(world)
    [old] = world.running()
    world.runs = {"old": replace(old, name="old", key="")}
    world.status = {}
    decision = decide_job(world.snapshot())
    assert [type(a).__name__ for a in decision.actions] == ["Delete"]
    world.act(decision)
    play(world)
    assert world.status["state"] == "Passed"
