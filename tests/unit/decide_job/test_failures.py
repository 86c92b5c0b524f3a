"""Whose turn it is after a failure, how often it is tried again and how long that waits."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import FailureClass, StageName
from serin_operator.decide.job import decide_job
from serin_operator.decide.job.failures import Turn, explain, pause
from serin_operator.decide.job.snapshot import RunPhase, StageRun
from support.jobs import NOON, World


def failed(**facts: Any) -> StageRun:
    return StageRun(
        stage=StageName.TRAIN, key="k", attempt=1, name="bot-train", uid="u", resource_version="1",
        phase=RunPhase.FAILED, started_at=NOON, **facts,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "turn", "reason", "said"),
    [
        pytest.param({"disruption": "PreemptionByScheduler"}, Turn.CLUSTER, "Preempted", "higher priority", id="priority"),
        pytest.param({"disruption": "EvictionByEvictionAPI"}, Turn.CLUSTER, "Evicted", "drained", id="drained"),
        pytest.param({"disruption": "Evicted"}, Turn.CLUSTER, "Evicted", "memory or disk", id="node pressure"),
        pytest.param({"disruption": "TerminationByKubelet"}, Turn.CLUSTER, "Evicted", "by its node", id="by kubelet"),
        pytest.param({"disruption": "DeletionByTaintManager"}, Turn.CLUSTER, "NodeLost", "no longer", id="tainted"),
        pytest.param({"disruption": "DeletionByPodGC"}, Turn.CLUSTER, "NodeLost", "lost with its node", id="node gone"),
        pytest.param({"disruption": "NodeShutdown"}, Turn.CLUSTER, "NodeLost", "shuts down", id="shutdown"),
        pytest.param({"disruption": "SomethingNew"}, Turn.CLUSTER, "PodDisrupted", "evicted or", id="a later Kubernetes"),
        pytest.param(
            {"disruption": "Evicted", "over_limit": "Usage of EmptyDir volume \"shm\" exceeds the limit \"1Gi\"."},
            Turn.CONFIG, "StorageLimitExceeded", "sharedMemory", id="its own limit",
        ),
        pytest.param({"suspended": True, "queue": "q"}, Turn.CLUSTER, "Preempted", "in queue q", id="lost its quota"),
        pytest.param({"out_of_memory": True, "exit_code": 137}, Turn.CONFIG, "OutOfMemory", "limits.memory", id="memory"),
        pytest.param({"exit_code": 64, "pods_lost": True}, Turn.CONFIG, "InvalidConfig", "64", id="a pod knows why"),
        pytest.param({"exit_code": 65}, Turn.DATA, "InvalidData", "65", id="data"),
        pytest.param({"exit_code": 75}, Turn.CLUSTER, "TryAgain", "75", id="asked for"),
        pytest.param({"exit_code": 1, "pods_lost": True}, Turn.CLUSTER, "PodDeleted", "was deleted", id="pod deleted"),
        pytest.param({"exit_code": 137}, Turn.UNKNOWN, "PodFailed", "exit code 137", id="killed"),
        pytest.param({}, Turn.UNKNOWN, "PodFailed", "without an exit code", id="nothing is known"),
    ],
)  # fmt: skip
def test_a_failed_attempt_is_explained(facts: Mapping[str, Any], turn: Turn, reason: str, said: str) -> None:
    found = explain(failed(**facts))
    assert (found.turn, found.reason) == (turn, reason)
    assert said in found.message


@pytest.mark.parametrize(
    ("turn", "wanted"),
    [
        (Turn.CONFIG, FailureClass.USER),
        (Turn.DATA, FailureClass.USER),
        (Turn.CLUSTER, FailureClass.INFRASTRUCTURE),
        (Turn.UNKNOWN, FailureClass.UNKNOWN),
    ],
)
def test_people_read_one_of_three_classes(turn: Turn, wanted: FailureClass) -> None:
    assert turn.failure_class is wanted


def test_the_first_try_again_is_at_once_and_the_others_wait_ever_longer_up_to_five_minutes() -> None:
    waits = [pause(failures, timedelta(seconds=5)).total_seconds() for failures in (1, 2, 3, 4, 5, 6, 7, 8, 100)]
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300, 300]


def test_after_a_long_run_nothing_waits() -> None:
    assert pause(9, timedelta(minutes=10)) == timedelta()


def fail_training(world: World, times: int, **facts: Any) -> list[float]:
    """How many seconds lay between a failure and the next attempt."""
    waits: list[float] = []
    for _ in range(times):
        for _ in range(10):
            for run in world.running():
                if run.stage is not StageName.TRAIN:
                    world.finish(run)
            world.act(decide_job(world.snapshot()))
            if any(run.stage is StageName.TRAIN for run in world.running()):
                break
        [run] = world.running()
        world.fail(run, **facts)
        began = world.now
        while not world.running() and world.now - began < timedelta(minutes=10):
            decision = decide_job(world.snapshot())
            world.act(decision)
            if not world.running():
                world.now += decision.requeue_after or timedelta(minutes=10)
        waits.append(round((world.now - began).total_seconds()))
    return waits


def entry(world: World) -> dict[str, Any]:
    return next(e for e in world.status["stages"] if e["name"] == "Train")


def test_interruptions_by_the_cluster_wait_longer_and_do_not_use_up_the_restarts() -> None:
    world = World(spec={"distribution": {"maxRestarts": 0}})
    assert fail_training(world, 5, disruption="DeletionByPodGC") == [0, 10, 20, 40, 80]
    assert (entry(world)["restarts"], entry(world)["interruptions"]) == (0, 5)
    assert entry(world)["attempt"] == 6


def test_unknown_failures_wait_longer_and_are_counted() -> None:
    world = World(spec={"distribution": {"maxRestarts": 3}})
    assert fail_training(world, 3, exit_code=1) == [0, 10, 20]
    assert (entry(world)["restarts"], entry(world)["interruptions"]) == (3, 0)


def test_the_status_says_the_class_and_what_is_left_of_the_budget() -> None:
    world = World(spec={"distribution": {"maxRestarts": 2}})
    fail_training(world, 1, exit_code=1)
    [run] = world.running()
    world.fail(run, exit_code=1)
    world.act(decide_job(world.snapshot()))
    assert entry(world)["failureClass"] == "Unknown"
    assert "tried again at 12:00:10 UTC, restart 2 of 2" in world.status["message"]
    assert world.status["state"] == "Waiting"


def test_what_the_cluster_did_is_said_not_to_count() -> None:
    world = World()
    fail_training(world, 1, disruption="Evicted")
    [run] = world.running()
    world.fail(run, disruption="Evicted")
    world.act(decide_job(world.snapshot()))
    assert entry(world)["failureClass"] == "Infrastructure"
    assert "which does not count as a restart" in world.status["message"]


def test_a_stage_that_runs_again_is_of_no_class() -> None:
    world = World()
    fail_training(world, 1, exit_code=1)
    world.act(decide_job(world.snapshot()))
    assert "failureClass" not in entry(world)
    assert entry(world)["restarts"] == 1


@pytest.mark.parametrize(
    ("output", "said"),
    [
        pytest.param({"baseModelDigest": None}, "baseModelDigest: Input should be a valid string", id="another type"),
        pytest.param({"rows": {"read": "many"}}, "rows.read", id="deep inside"),
    ],
)
def test_a_result_of_another_release_is_a_failure_that_says_which_field(output: dict[str, Any], said: str) -> None:
    """An image that is newer or older than the operator: without this its job would stand still, and only the log tell."""
    world = World()
    for _ in range(30):
        decision = decide_job(world.snapshot())
        world.act(decision)
        for run in world.running():
            world.finish(run, **output)
        world.now += timedelta(minutes=1)
    prepare = next(stage for stage in world.status["stages"] if stage["name"] == "Prepare")
    assert (prepare["outcome"], prepare["reason"], prepare["failureClass"]) == ("Failed", "ResultUnreadable", "Unknown")
    assert said in prepare["message"]
    assert "images of the operator's own release" in prepare["message"]


@pytest.mark.parametrize("hours", [-24, -1, 1])
def test_a_clock_that_is_set_does_not_hold_the_next_attempt_up(hours: int) -> None:
    world = World()
    fail_training(world, 1, exit_code=1)
    [run] = world.running()
    world.fail(run, exit_code=1)
    world.act(decide_job(world.snapshot()))
    assert not world.running()
    world.now += timedelta(hours=hours)
    world.act(decide_job(world.snapshot()))
    [again] = world.running()
    assert again.attempt == run.attempt + 1


def test_a_pause_of_five_minutes_is_kept_to_the_second() -> None:
    world = World(spec={"distribution": {"maxRestarts": 20}})
    assert fail_training(world, 8, exit_code=1) == [0, 10, 20, 40, 80, 160, 300, 300]
