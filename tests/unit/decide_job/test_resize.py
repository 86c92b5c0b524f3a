"""Another number of processes for a training that has begun: with a global batch it goes on, without one it is another."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import FineTuneJobSpec, StageName
from serin_operator.decide.decision import Create, Delete
from serin_operator.decide.job import decide_job
from serin_operator.decide.job.snapshot import StageRun
from serin_operator.decide.keys import train_key
from support.jobs import World
from support.objects import MINIMAL

TWO_PODS: dict[str, Any] = {
    "hyperparameters": {"globalBatchSize": 64},
    "distribution": {"nodes": 2, "processesPerNode": 1},
}
SIZES = [{"nodes": 1}, {"processesPerNode": 4}, {"nodes": 4, "processesPerNode": 2}]


def key(**spec: Any) -> str:
    return train_key(FineTuneJobSpec.model_validate({**MINIMAL["FineTuneJob"]["spec"], **spec}), "sha256:b", "sha256:d")


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


def resize(world: World, **size: int) -> None:
    world.spec = {**world.spec, "distribution": {**world.spec["distribution"], **size}}
    world.generation += 1


def train_entry(world: World) -> dict[str, Any]:
    return next(entry for entry in world.status["stages"] if entry["name"] == "Train")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_with_a_global_batch_the_size_is_no_part_of_the_key(size: dict[str, int]) -> None:
    assert key(**TWO_PODS | {"distribution": size}) == key(**TWO_PODS)
    assert key(distribution=size) != key(distribution=TWO_PODS["distribution"])


def test_other_settings_of_the_distribution_still_are() -> None:
    assert key(**TWO_PODS | {"distribution": {"deepspeed": {"zeroStage": 3}}}) != key(**TWO_PODS)
    assert key(hyperparameters={"globalBatchSize": 128}) != key(hyperparameters={"globalBatchSize": 64})


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_what_runs_in_another_size_than_the_spec_says_ends_and_goes_on_in_that_one(size: dict[str, int]) -> None:
    world = World(spec=TWO_PODS)
    run = until_training(world)
    resize(world, **size)
    decision = decide_job(world.snapshot())
    [deletion] = decision.actions
    assert isinstance(deletion, Delete)
    assert deletion.name == run.name
    world.act(decision)
    for _ in range(3):
        look(world)
    [again] = world.running()
    assert (again.attempt, again.key) == (2, run.key)
    assert again.size != run.size
    entry = train_entry(world)
    assert (entry["restarts"], entry["interruptions"]) == (0, 0)


def test_the_next_attempts_pods_and_config_have_the_new_size_and_the_folder_of_the_old() -> None:
    before = created(until_a_second_attempt(World(spec=TWO_PODS)))
    after = created(until_a_second_attempt(World(spec=TWO_PODS), nodes=1))
    assert after["Job"]["spec"]["completions"] == 1
    assert '"nodes": 1' in after["ConfigMap"]["data"]["config.json"]
    assert '"attempt": 2' in after["ConfigMap"]["data"]["config.json"]
    output = [line for line in before["ConfigMap"]["data"]["config.json"].splitlines() if '"output"' in line]
    assert output[0] in after["ConfigMap"]["data"]["config.json"]


def until_a_second_attempt(world: World, **size: int) -> list[Any]:
    """What is done once training has begun and is then given another size, or fails."""
    run = until_training(world)
    if size:
        resize(world, **size)
    else:
        world.fail(run, exit_code=1)
    actions: list[Any] = []
    for _ in range(4):
        decision = decide_job(world.snapshot())
        actions += decision.actions
        world.act(decision)
        world.now += timedelta(minutes=1)
    return actions


def created(actions: list[Any]) -> dict[str, Any]:
    return {action.manifest["kind"]: action.manifest for action in actions if isinstance(action, Create)}


def test_an_attempt_after_a_failure_has_the_size_that_the_spec_has_then() -> None:
    world = World(spec=TWO_PODS)
    run = until_training(world)
    world.fail(run, exit_code=1)
    look(world)
    resize(world, nodes=1)
    for _ in range(3):
        look(world)
        world.now += timedelta(minutes=1)
    [again] = world.running()
    assert (again.attempt, again.size, again.key) == (2, "1x1", run.key)
    assert train_entry(world)["restarts"] == 1


def test_what_failed_for_good_goes_on_in_another_size_and_its_restarts_stay_counted() -> None:
    world = World(spec=TWO_PODS)
    world.fail(until_training(world), exit_code=64)
    for _ in range(3):
        look(world)
    assert world.status["state"] == "Failed"
    resize(world, nodes=1)
    look(world)
    [again] = world.running()
    assert (again.attempt, again.size) == (2, "1x1")
    world.fail(again, exit_code=64)
    for _ in range(3):
        look(world)
    assert world.status["state"] == "Failed"
    assert world.running() == []


def test_a_training_that_is_done_is_not_done_again_in_another_size() -> None:
    world = World(spec=TWO_PODS)
    world.finish(until_training(world))
    look(world)
    resize(world, nodes=1)
    for _ in range(6):
        look(world)
        for run in world.running():
            world.finish(run)
    assert world.status["state"] == "Passed"
    assert len([name for name in world.created if "-train-" in name]) == 1


def test_without_a_global_batch_another_size_is_another_training() -> None:
    world = World(spec={"distribution": {"nodes": 2}})
    run = until_training(world)
    resize(world, nodes=1)
    for _ in range(4):
        look(world)
    [again] = world.running()
    assert (again.attempt, again.size) == (1, "1x1")
    assert again.key != run.key


def test_a_job_of_an_operator_before_sizes_were_noted_is_left_alone() -> None:
    world = World(spec=TWO_PODS)
    run = until_training(world)
    world.runs[run.name] = replace(run, size="")
    resize(world, nodes=1)
    assert decide_job(world.snapshot()).actions == ()


@pytest.mark.parametrize("most", range(5))
def test_a_crash_while_the_size_changes_leaves_one_attempt_of_the_new_size(most: int) -> None:
    world = World(spec=TWO_PODS)
    until_training(world)
    resize(world, nodes=1)
    world.act(decide_job(world.snapshot()), most)
    for _ in range(4):
        look(world)
        assert len(world.running()) <= 1
    [again] = world.running()
    assert again.size == "1x1"


@pytest.mark.parametrize("most", range(5))
def test_a_crash_while_the_second_attempt_is_made_leaves_one_attempt(most: int) -> None:
    world = World(spec=TWO_PODS)
    until_training(world)
    resize(world, nodes=1)
    look(world)
    world.act(decide_job(world.snapshot()), most)
    for _ in range(4):
        look(world)
        assert len(world.running()) <= 1
    [again] = world.running()
    assert (again.attempt, again.size) == (2, "1x1")
