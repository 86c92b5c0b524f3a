"""Judges the losses of a run as they come: nothing gained any more, exploded, overfitted.

A pure fold over the logged losses, which are the same numbers on every process; so all of them come to the same judgement
at the same step without asking each other, and a resumed run comes to that of the uninterrupted one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from .config import EarlyStopping, Health
from .errors import ConfigError, DataError, StageError
from .result import Warned

# A single batch says little: losses are judged by the mean of so many logged ones.
WINDOW = 10
# Twice nearly nothing is still nearly nothing: so many nats are at least between a loss and one that exploded.
LEAST_RISE = 0.5
# Measurements in a row that an overfitted model is worse in.
WORSE_IN_A_ROW = 3


class Judge:
    """What is known of a run's losses so far."""

    def __init__(self, early: EarlyStopping | None, health: Health) -> None:
        self._early = early
        self._health = health
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._lowest_mean: tuple[float, int] | None = None
        self._best: tuple[float, int] | None = None  # validation loss, by which early stopping counts
        self._not_better = 0
        self._lowest: tuple[float, int, float] | None = None  # validation loss, step, mean training loss there
        self._worse = 0
        self.warnings: list[Warned] = []
        self.enough: str = ""  # why training has ended early, in words; empty while it has not

    def recall(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Takes in what an earlier attempt logged. It went on after all of it, so nothing of it ends the run now."""
        for entry in history:
            try:
                self.note(entry)
            except StageError:
                continue

    def note(self, entry: Mapping[str, Any]) -> Warned | None:
        """Takes in one logged entry. Returns what is newly found; raises when that ends the run."""
        step = int(entry.get("step", 0))
        if "loss" in entry:
            return self._trained(step, float(entry["loss"]))
        if "eval_loss" in entry:
            return self._validated(step, float(entry["eval_loss"]))
        return None

    def _trained(self, step: int, loss: float) -> Warned | None:
        self._recent.append(loss)
        if len(self._recent) < WINDOW:
            return None
        mean = self._mean()
        if self._lowest_mean is None or mean < self._lowest_mean[0]:
            self._lowest_mean = mean, step
        lowest, at = self._lowest_mean
        factor = float(self._health.explosion_factor)
        if mean <= factor * lowest or mean - lowest <= LEAST_RISE:
            return None
        return self._found(
            self._health.loss_explosion,
            ConfigError(
                "LossExploded",
                f"the training loss exploded: {mean:.3f} in the mean of {WINDOW} logged ones at step {step}, more than"
                f" {factor:g} times the lowest, {lowest:.3f} at step {at}",
                "lower learningRate, warm up longer or lower maxGradientNorm",
            ),
        )

    def _validated(self, step: int, loss: float) -> Warned | None:
        self._count_patience(step, loss)
        train = self._mean() if self._recent else float("inf")
        if self._lowest is None or loss < self._lowest[0]:
            self._lowest, self._worse = (loss, step, train), 0
            return None
        lowest, at, train_then = self._lowest
        bound = lowest * (1 + self._health.overfitting_percent / 100)
        self._worse = self._worse + 1 if loss > bound and train < train_then else 0
        if self._worse < WORSE_IN_A_ROW:
            return None
        return self._found(
            self._health.overfitting,
            DataError(
                "Overfitted",
                f"the model overfits: validation loss {loss:.3f} at step {step}, {100 * (loss / lowest - 1):.0f} percent"
                f" above the lowest, {lowest:.3f} at step {at}, while the training loss fell from {train_then:.3f} to"
                f" {train:.3f}",
                "train fewer steps or on more rows, or set earlyStopping and checkpoints.consolidate: Best",
            ),
        )

    def _count_patience(self, step: int, loss: float) -> None:
        if self._early is None or self.enough:
            return
        if self._best is None or loss < self._best[0] - float(self._early.min_delta):
            self._best, self._not_better = (loss, step), 0
            return
        self._not_better += 1
        if self._not_better >= self._early.patience and step >= self._early.min_steps:
            best, at = self._best
            by = f" by more than {self._early.min_delta}" if float(self._early.min_delta) else ""
            self.enough = (
                f"stopped early at step {step}: the validation loss did not fall{by} below {best:.4f}, that of step {at},"
                f" in {self._not_better} measurements (now {loss:.4f})"
            )

    def _found(self, reaction: str, error: StageError) -> Warned | None:
        if reaction == "Stop":
            raise error
        if reaction == "Ignore" or any(one.reason == error.reason for one in self.warnings):
            return None
        found = Warned(reason=error.reason, message=f"{error.message}; {error.advice}")
        self.warnings.append(found)
        return found

    def _mean(self) -> float:
        return sum(self._recent) / len(self._recent)
