"""Bugs that other training operators had, each as a sentence that must hold here. The number is the issue there.

That one failing rank ends its attempt is the Job's own doing here (`backoffLimit: 0` on an Indexed Job, one pod for each
node, ranks of a node under one torchrun); what is tested is that the manifest says so, and what follows from it.
"""

from datetime import timedelta

import pytest
from serin_operator.api.v1alpha1 import StageName
from serin_operator.decide.decision import Create
from serin_operator.decide.job import decide_job
from support.jobs import World


def play(world: World, looks: int = 12, until: StageName | None = None) -> None:
    """Look; what runs ends well, but for the stage at which to stop."""
    for _ in range(looks):
        world.act(decide_job(world.snapshot()))
        world.now += timedelta(seconds=20)
        for run in world.running():
            if run.stage is until:
                return
            world.finish(run)


def attempts(world: World, stage: StageName) -> list[str]:
    return [name for name in world.created if f"-{stage.lower()}-" in name]


def failed_for_good(world: World) -> None:
    """The training gives up after its restarts."""
    play(world, until=StageName.TRAIN)
    for _ in range(12):
        for run in world.running():
            world.fail(run, exit_code=1, log_tail="RuntimeError: no")
        world.act(decide_job(world.snapshot()))
        world.now += timedelta(minutes=10)
    assert not world.running()
    assert world.status["state"] == "Failed"


def test_a_training_that_failed_for_good_runs_again_when_its_spec_changes() -> None:
    """Kubeflow #3737: a job that had failed could not be run again under its name."""
    world = World()
    failed_for_good(world)
    before = len(attempts(world, StageName.TRAIN))
    world.spec = {"hyperparameters": {"learningRate": "1e-4"}}
    world.generation += 1
    play(world)
    assert len(attempts(world, StageName.TRAIN)) == before + 1
    assert len(attempts(world, StageName.PREPARE)) == 1
    assert world.status["state"] == "Passed"


def test_a_training_that_failed_for_good_is_not_run_again_by_being_looked_at() -> None:
    """The other side of Kubeflow #3737: an old failure stays one until somebody changes something."""
    world = World()
    failed_for_good(world)
    before = list(world.created)
    for _ in range(50):
        world.act(decide_job(world.snapshot()))
        world.now += timedelta(hours=1)
    assert world.created == before


def test_the_failure_of_one_rank_ends_the_whole_attempt_at_once() -> None:
    """Kubeflow #1579: the other ranks went on, and held their GPUs, after one had failed."""
    world = World(spec={"distribution": {"nodes": 4, "processesPerNode": 2}})
    play(world, until=StageName.PREPARE)
    for run in world.running():
        world.finish(run)
    decision = decide_job(world.snapshot())
    jobs = [a.manifest for a in decision.actions if isinstance(a, Create) and a.manifest["kind"] == "Job"]
    assert [job["metadata"]["labels"]["serin.dev/stage"] for job in jobs] == ["train"]
    spec = jobs[0]["spec"]
    assert (spec["backoffLimit"], spec["completionMode"], spec["completions"]) == (0, "Indexed", 4)
    assert spec["parallelism"] == 4
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert not spec.keys() & {"backoffLimitPerIndex", "maxFailedIndexes"}


@pytest.mark.parametrize("disruption", ["Evicted", ""])
def test_no_attempt_begins_while_another_still_holds_pods(disruption: str) -> None:
    """Kubeflow #1579: two generations of ranks wrote to one checkpoint."""
    world = World()
    play(world, until=StageName.TRAIN)
    (run,) = world.running()
    world.fail(run, exit_code=137, disruption=disruption)
    for _ in range(20):
        world.act(decide_job(world.snapshot()))
        world.now += timedelta(seconds=30)
        assert len(world.running()) <= 1
    assert len(attempts(world, StageName.TRAIN)) == 2
