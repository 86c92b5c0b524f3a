"""Training in a queue of Kueue's, and pods that wait for a place: told, left alone, and placed anew when asked."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import StageName
from serin_operator.decide.decision import Create, Delete
from serin_operator.decide.job import decide_job
from serin_operator.decide.job.snapshot import StageRun
from serin_operator.manifests import names
from support.jobs import World

QUEUED = {"distribution": {"nodes": 2, "queueName": "team-a"}}


def look(world: World) -> None:
    world.act(decide_job(world.snapshot()))


def until_training(world: World) -> StageRun:
    for _ in range(20):
        look(world)
        for run in world.running():
            if run.stage is StageName.TRAIN:
                look(world)
                return world.runs[run.name]
            world.finish(run)
    raise AssertionError("training never began")


def condition(world: World, type_: str) -> dict[str, str]:
    return next(c for c in world.status["conditions"] if c["type"] == type_)


def train_entry(world: World) -> dict[str, Any]:
    return next(e for e in world.status["stages"] if e["name"] == "Train")


def created_jobs(**distribution: Any) -> dict[str, dict[str, Any]]:
    """The Jobs of a whole walk, by stage."""
    world = World(spec={"distribution": distribution})
    found: dict[str, dict[str, Any]] = {}
    for _ in range(12):
        decision = decide_job(world.snapshot())
        for action in decision.actions:
            if isinstance(action, Create) and action.manifest["kind"] == "Job":
                found[action.manifest["metadata"]["labels"][names.STAGE]] = dict(action.manifest)
        world.act(decision)
        for run in world.running():
            world.finish(run)
    return found


def admit(world: World, run: StageRun) -> None:
    world.runs[run.name] = replace(world.runs[run.name], suspended=False)


def test_only_training_is_queued_and_its_job_is_created_suspended_with_kueues_label() -> None:
    found = created_jobs(nodes=2, queueName="team-a")
    assert found["train"]["spec"]["suspend"] is True
    assert found["train"]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert "kueue.x-k8s.io/queue-name" not in found["train"]["spec"]["template"]["metadata"]["labels"]
    for stage in ("prepare", "consolidate", "evaluate"):
        assert "suspend" not in found[stage]["spec"]
        assert "kueue.x-k8s.io/queue-name" not in found[stage]["metadata"]["labels"]


def test_without_a_queue_nothing_is_suspended() -> None:
    assert "suspend" not in created_jobs(nodes=2)["train"]["spec"]


def test_a_job_in_its_queue_says_so() -> None:
    world = World(spec=QUEUED)
    run = until_training(world)
    assert world.status["state"] == "Queued"
    assert world.status["message"] == (
        f"Train waits for quota in queue team-a; what Kueue says of it: kubectl describe job {run.name}"
    )
    found = condition(world, "Suspended")
    assert (found["status"], found["reason"]) == ("True", "ByQueue")
    assert condition(world, "Trained")["reason"] == "Queued"


def test_what_kueue_does_to_the_job_is_watched_and_never_undone() -> None:
    world = World(spec=QUEUED)
    run = until_training(world)
    for suspended in (False, True, False, True):
        world.runs[run.name] = replace(world.runs[run.name], suspended=suspended)
        for _ in range(3):
            decision = decide_job(world.snapshot())
            assert decision.actions == ()
            world.act(decision)
        assert world.status["state"] == ("Queued" if suspended else "Training")
    assert (train_entry(world)["attempt"], train_entry(world)["restarts"]) == (1, 0)


def suspend(world: World, run: StageRun) -> None:
    world.runs[run.name] = replace(world.runs[run.name], suspended=True)


def test_a_job_that_loses_its_place_says_so_until_it_is_admitted_again() -> None:
    world = World(spec=QUEUED)
    run = until_training(world)
    admit(world, run)
    look(world)
    suspend(world, run)
    for _ in range(3):  # what the journal says is what the next look goes by
        look(world)
        assert world.status["state"] == "Queued"
        assert world.status["message"] == (
            "Train lost its place in queue team-a; it goes on from its newest checkpoint once it is admitted again; what"
            f" Kueue says of it: kubectl describe job {run.name}"
        )
        assert train_entry(world)["reason"] == condition(world, "Trained")["reason"] == "Preempted"
        assert condition(world, "Suspended")["reason"] == "ByQueue"
    admit(world, run)
    look(world)
    assert (world.status["state"], train_entry(world)["reason"]) == ("Training", "Running")
    assert (train_entry(world)["attempt"], train_entry(world).get("restarts", 0)) == (1, 0)
    assert condition(world, "Suspended")["status"] == "False"


def test_a_job_that_is_taken_back_before_any_node_took_its_pods_has_lost_its_place_too() -> None:
    world = World(spec=QUEUED)
    run = until_training(world)
    world.runs[run.name] = replace(run, suspended=False, waiting="no node", waiting_reason="Unschedulable")
    look(world)
    suspend(world, run)
    look(world)
    assert train_entry(world)["reason"] == "Preempted"


def test_an_attempt_after_a_preempted_one_waits_like_any_other() -> None:
    world = World(spec=QUEUED)
    run = until_training(world)
    admit(world, run)
    look(world)
    world.fail(run, exit_code=75, suspended=True)
    for _ in range(3):
        look(world)
    entry = train_entry(world)
    assert (entry["attempt"], entry["reason"], entry["restarts"], entry["interruptions"]) == (2, "Queued", 0, 1)
    assert "waits for quota in queue team-a" in world.status["message"]


def test_a_job_whose_user_suspended_it_was_not_preempted() -> None:
    world = World(spec=QUEUED)
    run = until_training(world)
    admit(world, run)
    look(world)
    world.spec = {**QUEUED, "suspend": True}
    world.act(decide_job(world.snapshot()), most=1)  # written down; the operator dies before the Job is deleted
    world.spec = QUEUED
    suspend(world, run)
    look(world)
    assert train_entry(world)["reason"] == "Queued"


def test_a_failed_attempt_that_waits_to_be_tried_again_is_in_no_queue() -> None:
    world = World(spec=QUEUED)
    run = until_training(world)
    admit(world, run)
    look(world)
    world.fail(run, exit_code=1, suspended=True)
    look(world)
    assert train_entry(world)["reason"] == "Preempted"
    assert condition(world, "Suspended")["status"] == "False"
    assert world.status["state"] != "Queued"


def test_an_admitted_job_trains_and_the_walk_goes_on() -> None:
    world = World(spec=QUEUED)
    run = until_training(world)
    admit(world, run)
    look(world)
    assert condition(world, "Suspended")["status"] == "False"
    for _ in range(10):
        for other in world.running():
            world.finish(other)
        look(world)
    assert world.status["state"] == "Passed"


def test_a_rank_that_fails_while_its_job_loses_its_place_is_not_counted() -> None:
    world = World(spec=QUEUED)
    run = until_training(world)
    admit(world, run)
    look(world)
    world.fail(run, exit_code=1, log_tail="connection closed by peer", suspended=True)
    look(world)
    entry = train_entry(world)
    assert (entry["reason"], entry["failureClass"], entry["restarts"]) == ("Preempted", "Infrastructure", 0)
    look(world)
    [again] = world.running()
    assert (again.attempt, again.suspended, again.queue) == (2, True, "team-a")


def test_spec_suspend_takes_the_job_out_of_its_queue() -> None:
    world = World(spec=QUEUED)
    until_training(world)
    world.spec = {**QUEUED, "suspend": True}
    world.generation += 1
    for _ in range(3):
        look(world)
    assert world.running() == []
    assert condition(world, "Suspended")["reason"] == "BySpec"


# --- placed anew ------------------------------------------------------------------------------------------------------

OTHER_PLACES = [
    pytest.param({"queueName": "team-b"}, id="another queue"),
    pytest.param({"queueName": None}, id="no queue"),
    pytest.param({"scheduling": {"tolerations": [{"key": "gpu", "operator": "Exists"}]}}, id="a toleration"),
    pytest.param({"scheduling": {"nodeSelector": {"zone": "b"}}}, id="another zone"),
    pytest.param({"resources": {"limits": {"cpu": 1}}}, id="less of a node"),
    pytest.param({"sharedMemory": "1Gi"}, id="shared memory"),
    pytest.param({"env": [{"name": "NCCL_DEBUG", "value": "INFO"}]}, id="a variable"),
]


def edit(world: World, change: dict[str, Any]) -> None:
    world.spec = {"distribution": {**world.spec["distribution"], **change}}
    world.generation += 1


@pytest.mark.parametrize("change", OTHER_PLACES)
@pytest.mark.parametrize("waits", ["queued", "unschedulable"])
def test_what_waits_for_a_place_is_placed_anew_when_the_spec_says_another(change: dict[str, Any], waits: str) -> None:
    world = World(spec=QUEUED)
    run = until_training(world)
    if waits == "unschedulable":
        world.runs[run.name] = replace(run, suspended=False, waiting="no node", waiting_reason="Unschedulable")
    edit(world, change)
    decision = decide_job(world.snapshot())
    assert [type(action) for action in decision.actions] == [Delete]
    world.act(decision)
    for _ in range(3):
        look(world)
    [again] = world.running()
    assert again.attempt == 2
    assert again.key == run.key  # nothing is trained anew
    assert again.placement != run.placement
    assert train_entry(world)["restarts"] == 0


@pytest.mark.parametrize("change", OTHER_PLACES)
def test_what_runs_is_left_where_it_is_and_not_trained_again(change: dict[str, Any]) -> None:
    world = World(spec=QUEUED)
    run = until_training(world)
    admit(world, run)
    edit(world, change)
    for _ in range(3):
        decision = decide_job(world.snapshot())
        assert decision.actions == ()
        world.act(decision)
    world.finish(world.runs[run.name])
    for _ in range(8):
        look(world)
        for other in world.running():
            world.finish(other)
    assert world.status["state"] == "Passed"
    assert len([name for name in world.created if "-train-" in name]) == 1


def test_the_next_attempt_takes_the_new_place() -> None:
    world = World(spec=QUEUED)
    run = until_training(world)
    admit(world, run)
    edit(world, {"queueName": "team-b"})
    look(world)
    world.fail(world.runs[run.name], exit_code=1)
    for _ in range(3):
        look(world)
        world.now += timedelta(seconds=1)
    [again] = world.running()
    assert (again.attempt, again.queue) == (2, "team-b")


def test_a_job_of_an_operator_before_placements_is_left_alone() -> None:
    world = World(spec=QUEUED)
    run = until_training(world)
    world.runs[run.name] = replace(run, placement="")
    edit(world, {"queueName": "team-b"})
    assert decide_job(world.snapshot()).actions == ()


@pytest.mark.parametrize("most", range(4))
def test_a_crash_while_it_is_placed_anew_leaves_one_attempt(most: int) -> None:
    world = World(spec=QUEUED)
    until_training(world)
    edit(world, {"queueName": "team-b"})
    world.act(decide_job(world.snapshot()), most)
    for _ in range(4):
        look(world)
        assert len(world.running()) <= 1
    [again] = world.running()
    assert (again.attempt, again.queue) == (2, "team-b")
