"""Story 2: a bad model meets the gate, and nobody meets the bad model."""

from e2e.bench import jobs_by_stage, numbers_in
from serin_demo.kube import condition
from serin_demo.prepare import EXAMPLES
from serin_demo.shares import failures
from serin_demo.stories import Record, manifests
from serin_demo.weights import backends_seen


def test_the_gate_fails_with_the_numbers_in_the_condition(bad: Record) -> None:
    assert bad.outcome == "Rejected"
    failed = condition(bad.job, "GatePassed")
    assert (failed["status"], failed["reason"]) == ("False", "RequirementMissed")
    _, answers = manifests(EXAMPLES / "10-gate.yaml")
    assert answers["spec"]["requirements"][0]["min"] in failed["message"]
    assert len(numbers_in(failed["message"])) >= 2


def test_training_itself_went_well(bad: Record) -> None:
    """So it is the gate that found out, not a crash."""
    trained = next(stage["output"] for stage in bad.job["status"]["stages"] if stage["name"] == "Train")
    assert trained["trainLossLast"] < trained["trainLossFirst"]


def test_the_incumbent_keeps_everything_throughout(bad: Record) -> None:
    assert bad.incumbent
    assert bad.service["status"]["stable"]["revision"] == bad.incumbent
    assert backends_seen(bad.histories["httproutes.gateway.networking.k8s.io"]) == {bad.incumbent}


def test_nothing_of_the_candidate_was_ever_started(bad: Record) -> None:
    names = {seen.object["metadata"]["name"] for seen in bad.histories["deployments.apps"]}
    assert names
    assert bad.revision_name not in names


def test_the_client_saw_only_the_incumbent_and_no_failure(bad: Record) -> None:
    assert failures(bad.requests) == []
    assert {one["revision"] for one in bad.requests} == {bad.incumbent}


def test_every_stage_ran_once(bad: Record) -> None:
    jobs = jobs_by_stage(bad.histories["jobs.batch"], "bad-data")
    assert {len(uids) for uids in jobs.values()} == {1}
