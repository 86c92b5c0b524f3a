"""Jobs and pods as the apiserver shows them, read into stage runs."""

import json
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import StageName
from serin_operator.decide.job.failures import Turn, explain
from serin_operator.decide.job.snapshot import RunPhase, StageRun
from serin_operator.observe.runs import PodOfRun, pods_of, runs, training_pod_address

LABELS = {
    "serin.dev/job": "bot",
    "serin.dev/stage": "train",
    "serin.dev/key": "abc",
    "serin.dev/attempt": "2",
}
RESULT = {"stage": "Train", "key": "abc", "outcome": "Succeeded", "reason": "Succeeded", "message": "done"}


def a_job(condition: str | None = None, **labels: str) -> dict[str, Any]:
    conditions = (
        [{"type": condition, "status": "True", "lastTransitionTime": "2026-01-01T12:00:00Z"}] if condition else []
    )
    return {
        "metadata": {
            "name": "bot-train",
            "uid": "u",
            "resourceVersion": "1",
            "ownerReferences": [{"kind": "FineTuneJob", "uid": "owner"}],
            "labels": LABELS | labels,
            "creationTimestamp": "2026-01-01T11:00:00Z",
        },
        "status": {"conditions": conditions},
    }  # fmt: skip


def a_pod(index: int = 0, terminated: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    state = {"terminated": terminated} if terminated else status.pop("state", {"running": {}})
    return {
        "metadata": {
            "name": f"bot-train-{index}",
            "labels": LABELS
            | {
                "batch.kubernetes.io/job-name": "bot-train",
                "batch.kubernetes.io/job-completion-index": str(index),
            },
        },
        "status": {"containerStatuses": [{"state": state}], **status},
    }


def ended(code: int, result: dict[str, Any] | str = "", at: str = "2026-01-01T12:00:00Z") -> dict[str, Any]:
    message = result if isinstance(result, str) else json.dumps(result)
    return {"exitCode": code, "message": message, "finishedAt": at}


def only(job: dict[str, Any], *pods: dict[str, Any]) -> StageRun:
    [run] = runs([job], pods, "owner")
    return run


def test_a_running_job_is_a_running_attempt() -> None:
    run = only(a_job(), a_pod())
    assert (run.stage, run.key, run.attempt, run.phase) == (StageName.TRAIN, "abc", 2, RunPhase.RUNNING)


def test_the_result_of_a_success_is_that_of_the_pod_that_wrote_one() -> None:
    run = only(a_job("Complete"), a_pod(1, ended(0)), a_pod(0, ended(0, RESULT)))
    assert run.phase is RunPhase.SUCCEEDED
    assert run.result is not None
    assert run.result.message == "done"


def test_a_share_that_failed_before_it_was_run_again_says_nothing_of_a_success() -> None:
    lost = RESULT | {"outcome": "Failed", "reason": "OutputNotWritable", "message": "full"}
    run = only(a_job("Complete"), a_pod(1, ended(75, lost)), a_pod(0, ended(0)), a_pod(1, ended(0, RESULT)))
    assert run.result is not None
    assert run.result.message == "done"


def test_the_pods_of_a_run_are_those_that_run_or_are_done_one_of_each_index() -> None:
    pods = [
        a_pod(2, phase="Running", podIP="10.0.0.3"),
        a_pod(0, phase="Succeeded"),
        a_pod(0, phase="Running", podIP="10.0.0.9"),
        a_pod(1, phase="Failed", podIP="10.0.0.2"),
        a_pod(3, phase="Pending"),
    ]
    run = only(a_job(), *pods)
    assert pods_of(pods, run) == (PodOfRun(0, None, done=True), PodOfRun(2, "10.0.0.3", done=False))
    pods[0]["metadata"]["labels"]["batch.kubernetes.io/job-name"] = "another"
    assert [pod.index for pod in pods_of(pods, run)] == [0]


def test_a_success_without_a_readable_result_has_none() -> None:
    assert only(a_job("Complete"), a_pod(0, ended(0, "log tail"))).result is None
    assert only(a_job("Complete")).result is None


def test_of_several_failed_pods_the_one_that_says_why_is_believed() -> None:
    why = RESULT | {"outcome": "Failed", "reason": "LossNotFinite", "message": "the loss is NaN at step 3"}
    first = ended(1, "connection reset by peer", "2026-01-01T11:59:00Z")
    run = only(a_job("Failed"), a_pod(1, first), a_pod(0, ended(65, why)))
    assert run.exit_code == 65
    assert explain(run).reason == "LossNotFinite"


def test_without_a_word_the_pod_that_failed_first_is_believed() -> None:
    late, early = ended(1, "late", "2026-01-01T12:00:01Z"), ended(1, "early", "2026-01-01T12:00:00Z")
    assert only(a_job("Failed"), a_pod(0, late), a_pod(1, early)).log_tail == "early"


@pytest.mark.parametrize(
    ("pod", "turn", "reason"),
    [
        pytest.param(a_pod(0, ended(64)), Turn.CONFIG, "InvalidConfig", id="64 is the user's configuration"),
        pytest.param(a_pod(0, ended(65)), Turn.DATA, "InvalidData", id="65 is the user's data"),
        pytest.param(a_pod(0, ended(75)), Turn.CLUSTER, "TryAgain", id="75 asks for another try"),
        pytest.param(a_pod(0, ended(1)), Turn.UNKNOWN, "PodFailed", id="1 says nothing"),
        pytest.param(a_pod(0, ended(137) | {"reason": "OOMKilled"}), Turn.CONFIG, "OutOfMemory", id="out of memory"),
        pytest.param(a_pod(0, ended(137), reason="Evicted"), Turn.CLUSTER, "Evicted", id="evicted"),
        pytest.param(
            a_pod(0, ended(137), conditions=[
                {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]),
            Turn.CLUSTER, "Preempted", id="preempted",
        ),
        pytest.param(
            a_pod(0, ended(137), conditions=[{"type": "DisruptionTarget", "status": "True"}]),
            Turn.CLUSTER, "PodDisrupted", id="disrupted without a word",
        ),
        pytest.param(
            a_pod(0, ended(1), conditions=[
                {"type": "DisruptionTarget", "status": "False", "reason": "EvictionByEvictionAPI"}]),
            Turn.UNKNOWN, "PodFailed", id="a disruption that did not come",
        ),
        pytest.param(
            a_pod(0, ended(137), reason="Evicted", message='Usage of EmptyDir volume "shm" exceeds the limit "1Gi". '),
            Turn.CONFIG, "StorageLimitExceeded", id="used more than its own limit",
        ),
        pytest.param(
            a_pod(0, ended(137), reason="Evicted", message="The node was low on resource: ephemeral-storage."),
            Turn.CLUSTER, "Evicted", id="its node ran short",
        ),
    ],
)  # fmt: skip
def test_a_failure_says_whose_turn_it_is(pod: dict[str, Any], turn: Turn, reason: str) -> None:
    failure = explain(only(a_job("Failed"), pod))
    assert (failure.turn, failure.reason) == (turn, reason)


def test_the_advice_of_the_pod_reaches_the_sentence() -> None:
    why = RESULT | {"outcome": "Failed", "reason": "TooFewRows", "message": "3 rows.", "advice": "add rows"}
    assert explain(only(a_job("Failed"), a_pod(0, ended(65, why)))).message == "3 rows; add rows"


@pytest.mark.parametrize(
    ("status", "reason", "said", "advice"),
    [
        pytest.param(
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient gpu."}]},
            "Unschedulable", "is not scheduled: 0/1 nodes: Insufficient gpu;", "add nodes", id="no room",
        ),
        pytest.param(
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "1 node had untolerated taint {a}"}]},
            "Unschedulable", "untolerated taint {a};", "scheduling.tolerations", id="taint",
        ),
        pytest.param(
            {"conditions": [
                {"type": "PodScheduled", "status": "False", "message": "didn't match Pod's node affinity/selector"}]},
            "Unschedulable", "node affinity/selector;", "scheduling.nodeSelector", id="selector",
        ),
        pytest.param(
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]},
            "Unschedulable", "SchedulingGated;", "starts by itself", id="anything else",
        ),
        pytest.param(
            {"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}},
            "ImagePullFailed", "does not start: ErrImagePull: not found;", "imagePullSecrets", id="image",
        ),
        pytest.param(
            {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "hub" not found'}}},
            "ContainerNotCreated", 'secret "hub" not found;', "create what it names", id="secret",
        ),
    ],
)  # fmt: skip
def test_a_pod_that_waits_says_why_and_what_helps(status: dict[str, Any], reason: str, said: str, advice: str) -> None:
    run = only(a_job(), a_pod(0, None, **status))
    assert run.waiting_reason == reason
    assert said in run.waiting
    assert advice in run.waiting


def test_a_pod_that_is_only_starting_is_no_trouble() -> None:
    run = only(a_job(), a_pod(0, None, state={"waiting": {"reason": "ContainerCreating"}}))
    assert (run.waiting, run.waiting_reason) == ("", "")


def test_a_job_that_kueue_holds_is_seen_as_such() -> None:
    job = a_job(**{"kueue.x-k8s.io/queue-name": "team-a"}) | {"spec": {"suspend": True, "parallelism": 2}}
    job["metadata"]["annotations"] = {"serin.dev/placement": "abc", "serin.dev/size": "2x1"}
    run = only(job)
    assert (run.phase, run.suspended, run.queue, run.placement) == (RunPhase.RUNNING, True, "team-a", "abc")
    assert run.size == "2x1"
    assert run.waiting == ""
    assert not only(a_job()).suspended


PEER_LOST = RESULT | {"outcome": "Failed", "reason": "PeerLost", "message": "another process went away"}
INTERRUPTED = RESULT | {"outcome": "Failed", "reason": "Interrupted", "message": "asked to stop"}


@pytest.mark.parametrize(
    ("ends", "turn", "reason"),
    [
        pytest.param(
            [ended(137), ended(75, INTERRUPTED)], Turn.UNKNOWN, "PodFailed", id="one killed, one asked to end"
        ),
        pytest.param([ended(137), ended(1, PEER_LOST)], Turn.UNKNOWN, "PodFailed", id="one killed, one missed it"),
        pytest.param([ended(75, INTERRUPTED), ended(1, PEER_LOST)], Turn.CLUSTER, "Interrupted", id="one asked to end"),
        pytest.param([ended(1, PEER_LOST), ended(1, PEER_LOST)], Turn.UNKNOWN, "PeerLost", id="nobody knows"),
    ],
)
def test_the_first_cause_is_told_not_what_followed_from_it(ends: list[dict[str, Any]], turn: Turn, reason: str) -> None:
    failure = explain(only(a_job("Failed"), *(a_pod(index, end) for index, end in enumerate(ends))))
    assert (failure.turn, failure.reason) == (turn, reason)


def test_a_pod_of_a_failed_job_that_is_gone_was_deleted() -> None:
    job = a_job("Failed") | {"spec": {"parallelism": 2}}
    left = a_pod(1, ended(1, "Connection closed by peer"))
    assert explain(only(job, left)).reason == "PodFailed"  # it failed by itself; the other one went because of it
    assert explain(only(job)).reason == "PodDeleted"
    assert explain(only(job, a_pod(1, ended(1, PEER_LOST)))).reason == "PodDeleted"
    assert explain(only(job, a_pod(0, ended(137)), a_pod(1, ended(1, PEER_LOST)))).reason == "PodFailed"
    why = RESULT | {"outcome": "Failed", "reason": "LossNotFinite", "message": "NaN"}
    assert explain(only(job, a_pod(1, ended(65, why)))).reason == "LossNotFinite"


def test_a_job_that_is_not_ours_is_left_alone() -> None:
    assert runs([a_job(**{"serin.dev/stage": "else"}), a_job(**{"serin.dev/attempt": "x"})], [], "owner") == ()


def test_rank_0_is_asked_for_progress_once_it_runs() -> None:
    run = only(a_job())
    pods = [a_pod(1, None, phase="Running", podIP="10.0.0.2"), a_pod(0, None, phase="Running", podIP="10.0.0.1")]
    assert training_pod_address(pods, run) == "10.0.0.1"
    assert training_pod_address([a_pod(0, None, phase="Pending")], run) is None


def test_a_child_of_a_deleted_job_of_the_same_name_is_not_taken_for_our_own() -> None:
    [run] = runs([a_job("Complete")], [a_pod(0, ended(0, RESULT))], "another")
    assert run.key == ""


def of_job(pod: dict[str, Any], uid: str) -> dict[str, Any]:
    """As the Job controller makes it."""
    owner = {"kind": "Job", "uid": uid, "controller": True}
    meta = {"uid": "p", "resourceVersion": "1", "creationTimestamp": "2026-01-01T11:00:00Z", "ownerReferences": [owner]}
    return pod | {"metadata": pod["metadata"] | meta}


def test_a_pod_that_outlives_its_job_is_in_the_way_while_it_runs() -> None:
    [run] = runs([], [of_job(a_pod(phase="Running"), "gone")], "owner")
    assert (run.key, run.name, run.phase, run.deleting) == ("", "bot-train-0", RunPhase.RUNNING, True)
    assert runs([], [of_job(a_pod(phase="Failed"), "gone")], "owner") == ()


def test_a_pod_of_an_earlier_job_of_the_same_name_does_not_speak_for_this_one() -> None:
    job = a_job("Failed")
    old = of_job(a_pod(0, ended(65, RESULT | {"outcome": "Failed"}), phase="Running"), "gone")
    own, left = runs([job], [old, of_job(a_pod(1, ended(1), phase="Failed"), "u")], "owner")
    assert (own.uid, own.exit_code) == ("u", 1)
    assert (left.key, left.deleting) == ("", True)
