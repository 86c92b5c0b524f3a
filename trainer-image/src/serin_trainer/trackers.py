"""All who are told of a run by rank 0: the TensorBoard files, and the servers that the job names.

What they cannot tell is one warning together, since status has one for each reason: said once, shown while it lasts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import Gauge

from .result import Warned
from .telling import Teller
from .tracking import Curves

REASON = "TrackingFailed"
MOST_LETTERS = 512  # of a warning: the operator takes no more


class Trackers:
    def __init__(
        self, curves: Curves, tellers: Sequence[Teller[Any]], warnings: Gauge, say: Callable[[str], None]
    ) -> None:
        self._curves = curves
        self._tellers = tellers
        self._warnings = warnings
        self._say = say
        self._failing: list[str] = []
        self._pages: dict[str, str] = {}

    @property
    def pages(self) -> Mapping[str, str]:
        """Where servers show the run, by what they are called."""
        return self._pages

    @property
    def failure(self) -> Warned | None:
        """What was found at the last look."""
        return Warned(reason=REASON, message="; ".join(self._failing)[:MOST_LETTERS]) if self._failing else None

    def begin(self, history: list[dict[str, Any]]) -> None:
        """Takes in what earlier attempts logged up to where this one goes on."""
        self._curves.begin(history)
        for teller in self._tellers:
            teller.begin(history)
        self._look()

    def add(self, entry: Mapping[str, Any]) -> None:
        self._curves.add(entry)
        for teller in self._tellers:
            teller.add(entry)
        self._look()

    def finish(self, status: str | None, within: float) -> None:
        """The last words on this attempt; without a status the run goes on in another one. All servers have the same time."""
        latest = time.monotonic() + within
        for teller in self._tellers:
            teller.end(status)
        for teller in self._tellers:
            teller.wait(latest - time.monotonic())
        self._look()

    def _look(self) -> None:
        """Says what has changed: which page shows the run, what cannot be told, and that it can be again."""
        for teller in self._tellers:
            if teller.page and teller.who not in self._pages:
                self._pages[teller.who] = teller.page
                self._say(f"{teller.who} shows this run: {teller.page}")
        before, shown = self._failing, self.failure
        now = list(_messages([self._curves.failure, *(teller.failure for teller in self._tellers)]))
        if now == before:
            return
        self._failing = now
        for message in now:
            if message not in before:
                self._say(f"warning: {REASON}: {message}")
        if not now:
            self._say("tracking works again: what had waited was told")
        if shown is not None:
            self._warnings.remove(shown.reason, shown.message)
        if (failure := self.failure) is not None:
            self._warnings.labels(failure.reason, failure.message).set(1)


def _messages(failures: Iterable[Warned | None]) -> Iterable[str]:
    return (failure.message for failure in failures if failure is not None)
