"""The operator's clocks. Its decisions never ask the wall clock of the machine it runs on, which people and NTP step.

`since_boot` measures spans: it is monotonic and goes on while the machine is suspended, which CLOCK_MONOTONIC does not.
`ServerClock` tells the time of day: as the apiserver last told it in the Date header of an answer, carried forward by
`since_boot`. So the times in status, which decisions are made of, are all of one clock, whoever leads and wherever.
"""

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

log = logging.getLogger("serin.clock")

RESOLUTION = 1.0  # seconds: the Date header names whole ones, cut off
DRIFT = 0.0005  # how much faster or slower one clock may run than the other; NTP slews by no more
TOLERANCE = 0.5  # seconds: no step for less
AGREEING = (
    3  # answers in a row that must tell another time, before it is believed that the apiserver's clock was stepped
)


def since_boot() -> float:
    """Seconds, for spans of time."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class ServerClock:
    """The apiserver's time of day.

    An answer that was asked for at a and read at b (on our own clock) and that says D bounds the difference of the two
    clocks: it is at least D - b and less than D + 1 - a. Many answers bound it to less than a second.
    """

    def __init__(self, span: Callable[[], float] = since_boot, wall: Callable[[], float] = time.time) -> None:
        self._span, self._wall = span, wall
        self._bounds: _Bounds | None = None
        self._other: _Bounds | None = None  # what answers that contradict the bounds agree on
        self._agreeing = 0
        self._told = float("-inf")

    def now(self) -> datetime:
        """Never earlier than what it told before, unless the apiserver's own clock was set back."""
        if self._bounds is None:
            return _as_datetime(self._wall())  # before the first answer nothing is decided
        self._told = max(self._told, self._span() + self._bounds.middle)
        return _as_datetime(self._told)

    def asked(self) -> float:
        """The moment to hand to `answered`."""
        return self._span()

    def answered(self, date: str | None, asked: float) -> None:
        """Learn from the Date header of an answer to a request that was sent at `asked`."""
        told = _parsed(date)
        if told is None:
            return
        read = self._span()
        seen = _Bounds(told - read, told + RESOLUTION - asked, read)
        met = seen if self._bounds is None else self._bounds.at(read).met(seen)
        if met is not None:
            self._bounds, self._other, self._agreeing = met, None, 0
        else:
            self._contradicted(seen, read)

    def _contradicted(self, seen: "_Bounds", read: float) -> None:
        """One odd answer says nothing (it may come from a cache, or from another apiserver); several that agree do."""
        met = self._other.at(read).met(seen) if self._other is not None else None
        self._other = met or seen
        self._agreeing = self._agreeing + 1 if met is not None else 1
        if self._agreeing < AGREEING:
            return
        before = self.now()
        self._bounds, self._other, self._agreeing = self._other, None, 0
        self._told = float("-inf")
        step = (self.now() - before).total_seconds()
        log.warning("the apiserver's clock was stepped by %.1f s; Serin follows it", step)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Bounds of server time minus our own, as they were at a moment of our own."""

    low: float
    high: float
    moment: float

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    def at(self, later: float) -> "_Bounds":
        """The same bounds later: wider, since no two clocks run equally fast."""
        drift = (later - self.moment) * DRIFT
        return _Bounds(self.low - drift, self.high + drift, later)

    def met(self, other: "_Bounds") -> "_Bounds | None":
        """What both allow; None when they contradict each other by more than the tolerance."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        if low - high > TOLERANCE:
            return None
        return _Bounds(min(low, high), max(low, high), other.moment)


def _parsed(date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except (TypeError, ValueError):
        return None


def _as_datetime(seconds: float) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
