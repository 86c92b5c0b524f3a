"""What losses say of a run: a pure judgement of numbers in a row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from serin_trainer.config import EarlyStopping, Health, TrainConfig
from serin_trainer.errors import StageError
from serin_trainer.health import WINDOW, Judge
from support.training import TRAIN, changed


def judge(early: EarlyStopping | None = None, **health: Any) -> Judge:
    return Judge(early, Health.model_validate(health))


def early(patience: int = 2, delta: str = "0.0", steps: int = 0) -> EarlyStopping:
    return EarlyStopping(patience=patience, min_delta=delta, min_steps=steps)


def trained(losses: Iterable[float], first: int = 1) -> list[dict[str, Any]]:
    return [{"step": step, "loss": loss} for step, loss in enumerate(losses, first)]


def validated(losses: Iterable[float], every: int = 10) -> list[dict[str, Any]]:
    return [{"step": every * index, "eval_loss": loss} for index, loss in enumerate(losses, 1)]


def told(it: Judge, entries: Iterable[dict[str, Any]]) -> list[str]:
    """The reasons that were found, with the step of the entry that showed them."""
    return [f"{found.reason} at {entry['step']}" for entry in entries if (found := it.note(entry)) is not None]


# --- enough ---------------------------------------------------------------------------------------------------------


def test_a_validation_loss_that_falls_no_more_is_enough() -> None:
    it = judge(early(patience=2))
    told(it, validated([2.0, 1.5, 1.6]))
    assert it.enough == ""
    told(it, [{"step": 40, "eval_loss": 1.5}])
    assert it.enough == (
        "stopped early at step 40: the validation loss did not fall below 1.5000, that of step 20, in 2 measurements"
        " (now 1.5000)"
    )


@pytest.mark.parametrize(
    ("wish", "losses", "stopped"),
    [
        pytest.param(early(2), [2.0, 1.9, 1.8, 1.7], False, id="it falls"),
        pytest.param(early(2), [2.0, 2.1, 1.9, 2.0], False, id="it falls in between"),
        pytest.param(early(2, delta="0.2"), [2.0, 1.9, 1.81], True, id="it falls by less than asked for"),
        pytest.param(early(3, delta="0.2"), [2.0, 1.9, 1.85, 1.79], False, id="small falls add up"),
        pytest.param(early(2, steps=31), [2.0, 2.1, 2.1], False, id="too early"),
        pytest.param(early(2, steps=31), [2.0, 2.1, 2.1, 2.1], True, id="late enough"),
        pytest.param(None, [2.0, 2.1, 2.2, 2.3], False, id="not asked for"),
    ],
)
def test_patience_is_counted_against_the_best(wish: EarlyStopping | None, losses: list[float], stopped: bool) -> None:
    it = judge(wish)
    told(it, validated(losses))
    assert bool(it.enough) is stopped


def test_an_end_once_found_keeps_its_words() -> None:
    it = judge(early(1))
    told(it, validated([1.0, 1.1]))
    before = it.enough
    told(it, [{"step": 30, "eval_loss": 0.1}])
    assert it.enough == before


# --- explosion ------------------------------------------------------------------------------------------------------


def test_a_loss_that_exploded_is_told_once_with_step_and_numbers() -> None:
    it = judge()
    assert told(it, trained([2.0] * WINDOW + [9.0] * WINDOW)) == [f"LossExploded at {WINDOW + 3}"]
    (warning,) = it.warnings
    assert "4.100 in the mean of 10 logged ones at step 13, more than 2 times the lowest, 2.000 at step 10" in (
        warning.message
    )
    assert "lower learningRate" in warning.message


@pytest.mark.parametrize(
    ("losses", "why"),
    [
        pytest.param([9.0] * WINDOW + [2.0] * WINDOW, "it falls", id="falls"),
        pytest.param([2.0] * WINDOW + [9.0, 9.0] + [2.0] * WINDOW, "two batches are a spike", id="spike"),
        pytest.param([0.01] * WINDOW + [0.2] * WINDOW, "twenty times nearly nothing", id="nearly nothing"),
        pytest.param([2.0] * WINDOW + [3.9] * WINDOW, "less than the factor", id="below"),
        pytest.param([2.0, 9.0, 9.0, 9.0], "too few to judge", id="few"),
    ],
)
def test_what_is_no_explosion(losses: list[float], why: str) -> None:
    assert told(judge(lossExplosion="Stop"), trained(losses)) == [], why


def test_stop_ends_the_run_at_the_users_turn() -> None:
    it = judge(lossExplosion="Stop", explosionFactor="3.0")
    with pytest.raises(StageError, match="more than 3 times the lowest") as end:
        told(it, trained([1.0] * WINDOW + [9.0] * WINDOW))
    assert (end.value.reason, end.value.exit_code) == ("LossExploded", 64)
    assert it.warnings == []


def test_ignored_explosions_are_not_told() -> None:
    assert told(judge(lossExplosion="Ignore"), trained([1.0] * WINDOW + [9.0] * WINDOW)) == []


# --- overfitting ----------------------------------------------------------------------------------------------------

LEARNS = [{"step": step, "loss": 3.0 - step / 50} for step in range(1, 101)]


def _with_training(validations: list[float]) -> list[dict[str, Any]]:
    """A training loss that falls at every step, and a validation loss every ten."""
    entries = [*LEARNS, *validated(validations)]
    return sorted(entries, key=lambda entry: (entry["step"], "eval_loss" in entry))


def test_a_model_that_learns_by_heart_is_told_of() -> None:
    it = judge(overfitting="Warn")
    assert told(it, _with_training([2.0, 1.8, 2.1, 2.2, 2.3, 2.4])) == ["Overfitted at 50"]
    assert "validation loss 2.300 at step 50, 28 percent above the lowest, 1.800 at step 20" in it.warnings[0].message
    assert "fell from 2.690 to 2.090" in it.warnings[0].message


@pytest.mark.parametrize(
    "validations",
    [
        pytest.param([2.0, 1.8, 1.85, 1.9, 1.85], id="within ten percent"),
        pytest.param([2.0, 1.8, 2.1, 2.2, 1.9, 2.2, 2.3], id="not in a row"),
        pytest.param([2.0, 1.9, 1.8, 1.7], id="it falls"),
    ],
)
def test_what_is_not_overfitting(validations: list[float]) -> None:
    assert told(judge(overfitting="Stop"), _with_training(validations)) == []


def test_a_training_loss_that_rises_too_is_not_overfitting() -> None:
    rising = [{"step": step, "loss": 2.0 + step / 100} for step in range(1, 61)]
    entries = sorted([*rising, *validated([1.0, 2.0, 2.0, 2.0, 2.0])], key=lambda entry: entry["step"])
    assert told(judge(overfitting="Stop"), entries) == []


def test_stopping_for_overfitting_is_about_the_data() -> None:
    with pytest.raises(StageError) as end:
        told(judge(overfitting="Stop"), _with_training([1.0, 2.0, 2.0, 2.0]))
    assert (end.value.reason, end.value.exit_code) == ("Overfitted", 65)


# --- resuming -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(0, 107, 7))
def test_a_resumed_run_comes_to_the_judgement_of_the_uninterrupted_one(cut: int) -> None:
    entries = _with_training([2.0, 1.8, 2.1, 2.2, 2.3, 2.4])
    whole, resumed = judge(early(4), overfitting="Warn"), judge(early(4), overfitting="Warn")
    told(whole, entries)
    resumed.recall(entries[:cut])
    told(resumed, entries[cut:])
    assert (resumed.enough, resumed.warnings) == (whole.enough, whole.warnings)
    assert whole.enough.startswith("stopped early at step 60")


def test_what_an_earlier_attempt_survived_does_not_end_the_next_at_once() -> None:
    it = judge(lossExplosion="Stop")
    it.recall(trained([1.0] * WINDOW + [9.0] * WINDOW))
    assert it.warnings == []


# --- the wish -------------------------------------------------------------------------------------------------------

EARLY = {"patience": 2, "minDelta": "0.0", "minSteps": 0}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, ""),
        ({"checkpoints": {"keepBest": 1}}, "checkpoints.keepBest"),
        ({"earlyStopping": EARLY}, "earlyStopping"),
        ({"health": {"overfitting": "Warn"}}, "health.overfitting"),
        ({"health": {"lossExplosion": "Stop"}}, ""),
    ],
)
def test_validation_is_measured_only_for_whom_it_serves(changes: dict[str, Any], field: str) -> None:
    assert TrainConfig.model_validate(changed(TRAIN, changes)).validates == field


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"earlyStopping": {**EARLY, "minDelta": "-1"}}, "minDelta -1 is below 0"),
        ({"health": {"explosionFactor": "1.0"}}, "every loss would be an explosion"),
        ({"health": {"lossExplosion": "Panic"}}, "health.lossExplosion"),
    ],
)
def test_a_senseless_wish_is_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        TrainConfig.model_validate(changed(TRAIN, changes))
