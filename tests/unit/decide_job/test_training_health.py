"""What losses said becomes a condition, while training runs and after it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from serin_operator.api.contract import StageResult
from serin_operator.api.v1alpha1 import FineTuneJobSpec, Progress, StageName, StageOutcome, TrainingWarning
from serin_operator.decide.job import decide_job
from serin_operator.decide.keys import train_key
from support.jobs import World, job_manifest

EXPLODED = TrainingWarning(reason="LossExploded", message="the training loss exploded: 9.1 at step 40")


def training(**spec: Any) -> World:
    """A job whose training runs."""
    world = World(spec=spec)
    for _ in range(8):
        world.act(decide_job(world.snapshot()))
        running = world.running()
        if running and running[0].stage is StageName.TRAIN:
            return world
        for run in running:
            world.finish(run)
    raise AssertionError("training never began")


def look(world: World, *warnings: TrainingWarning) -> dict[str, str]:
    """One look at which rank 0 answered; the condition after it."""
    progress = Progress(step=40, total_steps=100, percent=40, warnings=list(warnings))
    world.act(decide_job(replace(world.snapshot(), progress=progress)))
    return healthy(world)


def healthy(world: World) -> dict[str, str]:
    return next(c for c in world.status["conditions"] if c["type"] == "TrainingHealthy")


def fail(world: World, reason: str, exit_code: int) -> None:
    (run,) = world.running()
    result = StageResult(
        stage=run.stage, key=run.key, outcome=StageOutcome.FAILED, reason=reason, message=f"{reason} at step 41"
    )
    world.fail(run, result=result, exit_code=exit_code)
    world.act(decide_job(world.snapshot()))


def test_before_training_nothing_is_known() -> None:
    world = World()
    world.act(decide_job(world.snapshot()))
    assert healthy(world)["status"] == "Unknown"


def test_a_warning_is_seen_while_training_runs_and_stays_when_rank_0_does_not_answer() -> None:
    world = training()
    assert look(world)["status"] == "True"
    assert (look(world, EXPLODED)["status"], healthy(world)["reason"]) == ("False", "LossExploded")
    assert healthy(world)["message"] == EXPLODED.message
    world.act(decide_job(world.snapshot()))
    assert healthy(world)["reason"] == "LossExploded"


def test_how_a_training_went_stays_to_be_read_beside_what_came_of_it() -> None:
    world = training()
    seen = {
        "loss_curve": "█▄▁",
        "learning_rate": "2e-05",
        "gradient_norm": "0.9",
        "tokens_per_second": 700,
        "gpu_percent": 87,
    }
    progress = Progress(step=40, total_steps=100, percent=40, train_loss="9.000", train_perplexity="8.1e+03", **seen)
    world.act(decide_job(replace(world.snapshot(), progress=progress)))
    (run,) = world.running()
    world.finish(run)
    for _ in range(2):
        world.act(decide_job(world.snapshot()))
    found = world.status["progress"]
    assert found["lossCurve"] == "█▄▁"
    assert (found["learningRate"], found["gradientNorm"], found["tokensPerSecond"], found["gpuPercent"]) == (
        "2e-05",
        "0.9",
        700,
        87,
    )
    assert (found["percent"], found["step"]) == (100, found["totalSteps"])
    assert float(found["trainPerplexity"]) == pytest.approx(math.exp(float(found["trainLoss"])), rel=0.01)


def test_a_training_that_nobody_saw_has_what_came_of_it() -> None:
    world = training()
    (run,) = world.running()
    world.finish(run)
    world.act(decide_job(world.snapshot()))
    assert world.status["progress"]["percent"] == 100
    assert "lossCurve" not in world.status["progress"]


def test_curves_that_end_are_told_and_make_no_training_ill() -> None:
    world = training()
    untracked = TrainingWarning(reason="TrackingFailed", message="the TensorBoard files end here")
    found = look(world, untracked)
    assert (found["status"], found["reason"]) == ("True", "NothingFound")
    assert found["message"] == "the losses give no reason to worry; the TensorBoard files end here"
    found = look(world, untracked, EXPLODED)
    assert (found["status"], found["reason"]) == ("False", "LossExploded")
    assert found["message"] == f"{EXPLODED.message}; the TensorBoard files end here"


def test_a_warning_in_the_result_outlives_the_pod() -> None:
    world = training()
    (run,) = world.running()
    world.finish(run, warnings=[EXPLODED.manifest()])
    for _ in range(6):
        world.act(decide_job(world.snapshot()))
        for other in world.running():
            world.finish(other)
    assert (healthy(world)["status"], healthy(world)["reason"]) == ("False", "LossExploded")


@pytest.mark.parametrize(("reason", "code"), [("LossNotFinite", 65), ("LossExploded", 64), ("Overfitted", 65)])
def test_a_run_that_its_losses_ended_waits_for_another_spec(reason: str, code: int) -> None:
    world = training()
    fail(world, reason, code)
    assert (healthy(world)["status"], healthy(world)["reason"]) == ("False", reason)
    assert "at step 41; change the spec" in healthy(world)["message"]
    assert world.status["state"] == "Failed"
    assert world.running() == []


def test_a_run_that_failed_otherwise_says_nothing_of_its_losses() -> None:
    world = training()
    fail(world, "InvalidConfig", 64)
    assert healthy(world)["status"] == "Unknown"


def test_a_changed_wish_begins_without_the_old_warnings() -> None:
    world = training()
    look(world, EXPLODED)
    world.spec = {"hyperparameters": {"learningRate": "1e-5"}}
    for _ in range(3):
        world.act(decide_job(world.snapshot()))
    assert healthy(world)["status"] == "True"


def _key(**spec: Any) -> str:
    return train_key(FineTuneJobSpec.model_validate(job_manifest("bot", 1, **spec)["spec"]), "sha256:b", "sha256:d")


def test_what_ends_a_run_is_in_its_key_and_the_defaults_are_not() -> None:
    plain = _key()
    assert _key(health={"lossExplosion": "Warn"}) == plain
    changed = [
        _key(earlyStopping={}),
        _key(earlyStopping={"patience": 9}),
        _key(health={"lossExplosion": "Stop"}),
        _key(health={"overfitting": "Stop"}),
    ]
    assert len({plain, *changed}) == 5
