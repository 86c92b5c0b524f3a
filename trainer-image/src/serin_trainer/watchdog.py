"""Ends a run whose optimiser no longer steps. A collective waits for a hung peer for ten minutes (NCCL) or thirty (gloo),
with the accelerators taken and nothing done.

`Beats` knows how long it has been and how long is too long; the thread only asks it. The thread runs in every process, since
the one that hangs may be stopped as a whole: then its peers' threads see that no step ends.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from .errors import StageError, TryAgainError

# A derived limit: so many usual steps, and never less than this. torchrun takes up to 30 s to kill a stopped process.
USUAL_STEPS = 10
LEAST = 25.0
# Before the first step compilers, caches and buffers take their time; between steps, saving and validating do, which is
# known once it was seen. Who is stopped as a whole is found sooner, by `stopping.py`.
FIRST_STEP = 600.0
BETWEEN = 900.0
LEAST_BETWEEN = 60.0
# Who was asked to stop and ends no step any more: its peers are gone.
ASKED = 10.0


class Beats:
    """When something was last seen to move, and how long may pass until the next. Its times are its caller's clock."""

    def __init__(self, limit: float | None = None) -> None:
        self._wished = limit
        self._durations: deque[float] = deque(maxlen=50)
        self._last: float | None = None  # None: nobody waits
        self._step_began: float | None = None
        self._pauses: deque[float] = deque(maxlen=50)
        self._pause_began: float | None = None
        self._busy = True
        self._asked_at: float | None = None
        self.step = 0

    def begin(self, now: float, step: int) -> None:
        self._last, self._busy, self.step = now, False, step

    def step_began(self, now: float) -> None:
        if self._pause_began is not None:
            self._pauses.append(now - self._pause_began)
        self._last, self._step_began, self._busy, self._pause_began = now, now, False, None

    def moved(self, now: float) -> None:
        """Part of a step, or of validating, is done."""
        if self._last is not None:
            self._last = now

    def step_ended(self, now: float, step: int, *, busy: bool) -> None:
        """`busy`: saving or validating comes next."""
        if self._step_began is not None:
            self._durations.append(now - self._step_began)
        self._last, self._step_began, self._busy, self.step = now, None, busy, step
        self._pause_began = now if busy else None

    def end(self) -> None:
        self._last = None

    def asked_to_stop(self, now: float) -> None:
        self._asked_at = self._asked_at or now

    @property
    def limit(self) -> float:
        """Seconds without a sign of life that are too many now."""
        if self._wished is not None:
            wished = self._wished
        elif not self._durations:
            wished = FIRST_STEP
        else:
            wished = max(LEAST, USUAL_STEPS * self._usual)
        return max(wished, self._between) if self._busy else wished

    @property
    def _between(self) -> float:
        """Of pauses the longest is the usual one: not each of them validates and saves."""
        return max(LEAST_BETWEEN, USUAL_STEPS * max(self._pauses)) if self._pauses else BETWEEN

    def overdue(self, now: float) -> StageError | None:
        """Why the run is to be ended now, if it is."""
        if self._last is None:
            return None
        silent = now - self._last
        if self._asked_at is not None and not self._busy:
            waited = min(silent, now - self._asked_at)
            if waited > max(ASKED, 3 * self._usual):
                return TryAgainError(
                    "Interrupted",
                    f"asked to stop, but no step ended in {waited:.0f} s after step {self.step}: nothing new is saved",
                    "the next attempt resumes from the newest checkpoint",
                )
        if silent <= self.limit:
            return None
        usual = f"; a step usually takes {self._usual:.1f} s" if self._durations else ""
        return StageError(
            "TrainingHung",
            f"no optimiser step ended for {silent:.0f} s after step {self.step}{usual}",
            "the stacks of all threads are in the log; the next attempt resumes from the newest checkpoint. If steps may"
            " take so long, set health.hungAfterSeconds",
        )

    @property
    def _usual(self) -> float:
        return statistics.median(self._durations) if self._durations else 0.0


class Watchdog(threading.Thread):
    """Asks every second; when a run is overdue, shows where each thread stands and ends the process by `end`."""

    def __init__(
        self, beats: Beats, end: Callable[[StageError], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._beats = beats
        self._end = end
        self._clock = clock

    def run(self) -> None:
        while True:
            time.sleep(1)
            error = self._beats.overdue(self._clock())
            if error is not None:
                self._give_up(error)
                return

    def _give_up(self, error: StageError) -> None:
        stopped = stopped_siblings()
        if stopped and error.reason == "TrainingHung":
            names = ", ".join(f"process {pid}" for pid in stopped)
            error = StageError(
                error.reason, f"{error.message}; {names} of this pod was stopped (SIGSTOP)", error.advice
            )
        print(f"{error.message}; all threads of process {os.getpid()}:", file=sys.stderr, flush=True)
        faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        for pid in stopped:
            # It would not hear SIGTERM, and torchrun would wait half a minute for it.
            os.kill(pid, signal.SIGKILL)
        self._end(error)


def stopped_siblings(processes: Path = Path("/proc")) -> list[int]:
    """Processes with our parent that are stopped."""
    parent = _stat(processes / "self" / "stat")[1]
    found: list[int] = []
    for folder in processes.glob("[0-9]*"):
        try:
            state, of = _stat(folder / "stat")
        except (OSError, ValueError, IndexError):
            continue  # gone meanwhile
        if state == "T" and of == parent:
            found.append(int(folder.name))
    return sorted(found)


def _stat(path: Path) -> tuple[str, int]:
    """State and parent; the name before them is in parentheses and may hold anything."""
    fields = path.read_text().rpartition(")")[2].split()
    return fields[0], int(fields[1])
