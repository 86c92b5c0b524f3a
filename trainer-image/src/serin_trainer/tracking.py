"""What a run leaves for people to look at afterwards: the curves of all its attempts as TensorBoard files.
Servers that are told of it as well are `telling.py`'s business.

The curves lie beside the checkpoints and follow them: what a resumed attempt has not done is not in them, what it does
again is there once. A tracker that fails is told of and left alone; training goes on without it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .event_file import EventFile
from .result import Warned

FOLDER = "tensorboard"

# A key of the Trainer's log, and what the curve is called: as in Prometheus, after `serin_train_`.
CURVES = {
    "loss": "loss",
    "eval_loss": "eval_loss",
    "learning_rate": "learning_rate",
    "grad_norm": "gradient_norm",
    "tokens_per_second": "tokens_per_second",
}


@dataclass(frozen=True)
class Point:
    """What was logged at a step. `at` is seconds since 1970."""

    step: int
    at: float
    values: Mapping[str, float]


def points(history: Iterable[Mapping[str, Any]]) -> list[Point]:
    """The points of a log, oldest first; entries that no curve is made of are left out."""
    found: list[Point] = []
    for entry in history:
        values = {CURVES[key]: float(value) for key, value in entry.items() if key in CURVES and value is not None}
        if values:
            found.append(Point(int(entry["step"]), float(entry.get("time") or time.time()), values))
    return found


class Curves:
    """The TensorBoard files of one run, written by one process."""

    def __init__(self, output: Path, attempt: int) -> None:
        self._folder = output / FOLDER
        self._attempt = attempt
        self._file: EventFile | None = None
        self.failure: Warned | None = None

    def begin(self, history: Iterable[Mapping[str, Any]]) -> Warned | None:
        """Writes what earlier attempts did up to where this one goes on; their own files then go."""
        try:
            earlier = sorted(self._folder.glob("events.out.tfevents.*"))
            name = f"events.out.tfevents.{time.time_ns() // 1_000_000_000:010d}.attempt-{self._attempt}"
            self._file = EventFile(self._folder / name)
            self._file.forget(0)
            for point in points(history):
                self._file.scalars(point.step, point.values, point.at)
            self._file.flush()
            for path in earlier:
                if path.name != name:
                    path.unlink()
        except (OSError, ValueError, OverflowError) as error:
            return self._failed(error)
        return None

    def add(self, entry: Mapping[str, Any]) -> Warned | None:
        """One logged entry. Returns what is wrong, once."""
        if self._file is None:
            return None
        try:
            for point in points([entry]):
                self._file.scalars(point.step, point.values, point.at)
            self._file.flush()
        except (OSError, ValueError, OverflowError) as error:
            return self._failed(error)
        return None

    def _failed(self, error: Exception) -> Warned:
        self._file = None
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self.failure = Warned(
            reason="TrackingFailed",
            message=f"the TensorBoard files end here, training goes on: {self._folder.name} cannot be written ({why});"
            " status and Prometheus have the numbers",
        )
        return self.failure
