"""Tells a tracking server of a run while it trains, from a thread of its own: training never waits for it, nor fails of it.

What is logged waits in memory until the server has it. A server that is away is asked again and again, ever later; what it
has not got when the run ends is said once, and is in the TensorBoard files all the same.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from .errors import StageError
from .result import Warned
from .tracking import Point, points

TOGETHER_SECONDS = 2.0  # what is logged meanwhile goes in one call
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
MOST_WAITING = 10_000
LAST_TRIES = 3


class NotTold(Exception):
    """The server could not be told; the sentence says why. It may be otherwise later."""


class Run(Protocol):
    """A run that a server has opened."""

    @property
    def page(self) -> str | None:
        """Where people find it; None where nobody serves it."""
        ...


_Run = TypeVar("_Run", bound=Run)


class Server(Protocol[_Run]):
    """Who is told. Each call takes some seconds at most, and says in `NotTold` why it came to nothing."""

    def open(self, run: str, name: str, at: float, params: Mapping[str, str], tags: Mapping[str, str]) -> _Run:
        """Finds the run, or begins it; what it has already is then known."""
        ...

    def log(self, opened: _Run, points: Iterable[Point]) -> None:
        """Tells the points that it has not."""
        ...

    def end(self, opened: _Run, status: str | None, at: float) -> None:
        """FINISHED, FAILED, or None: this attempt ends, and the run goes on in another one."""
        ...


@dataclass(frozen=True)
class Facts:
    """What a run is: its identity over all attempts, its name, what it was made with, and what each attempt says anew."""

    run: str
    name: str
    params: Mapping[str, str]
    tags: Mapping[str, str]


class Teller(Generic[_Run]):
    """One run on one server. `who` is what the server is called where people read of it."""

    def __init__(self, who: str, address: str, connect: Callable[[], Server[_Run]], facts: Facts) -> None:
        self.who = who
        self._address = address
        self._connect = connect
        self._facts = facts
        self._changed = threading.Condition()
        self._waiting: deque[Point] = deque()
        self._lost = 0
        self._why = ""
        self._status: str | None = None
        self._ending = False
        self._done = False
        self._page: str | None = None
        self._thread = threading.Thread(target=self._tell, name="tracking", daemon=True)

    @property
    def page(self) -> str | None:
        """Where people find the run; None until the server has answered."""
        return self._page

    @property
    def failure(self) -> Warned | None:
        """What is wrong now; None while the server has what it was told, and again once it has."""
        with self._changed:
            why, lacking = self._why, self._lost + len(self._waiting)
            over = self._ending and not self._done
            if not (why or self._lost or over):
                return None
        where = f"{self.who} at {self._address}"
        if over or not why:
            lacks = f"lacks {lacking} points" if lacking else "may lack the last points"
            message = f"{where} {lacks} of this run ({why or 'it took too long'}), training went on"
        else:
            message = f"{where} is not told of this run now ({why}), training goes on and what is logged waits"
        return Warned(reason="TrackingFailed", message=f"{message}; the TensorBoard files have them all"[:512])

    def begin(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Starts telling, of what earlier attempts did as well: the server may have missed it."""
        self._put(points(history))
        self._thread.start()

    def add(self, entry: Mapping[str, Any]) -> None:
        self._put(points([entry]))

    def end(self, status: str | None) -> None:
        """Nothing comes after this. Without a status the run goes on in a later attempt."""
        if not self._thread.ident:
            return
        with self._changed:
            self._ending, self._status = True, status
            self._changed.notify()

    def wait(self, within: float) -> None:
        """Until the server has all, and so long at most."""
        if self._thread.ident:
            self._thread.join(max(0.0, within))

    def _put(self, found: Iterable[Point]) -> None:
        with self._changed:
            for point in found:
                if len(self._waiting) >= MOST_WAITING:
                    self._waiting.popleft()
                    self._lost += 1
                self._waiting.append(point)
            self._changed.notify()

    def _tell(self) -> None:
        server: Server[_Run] | None = None
        opened: _Run | None = None
        pause, tries = FIRST_PAUSE, 0
        while True:
            batch, ending = self._next_batch(at_once=opened is None)
            try:
                server = server or self._connect()
                opened = opened or self._open(server)
                server.log(opened, batch)
                self._has(batch)
                if ending:
                    server.end(opened, self._status, time.time())
            except (NotTold, StageError) as error:
                # Whether the server took it before the connection broke is not known: it is asked what it has.
                opened, tries = None, tries + ending
                self._failed(str(error))
                if tries >= LAST_TRIES:
                    return
                self._rest(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            if self._all_told(ending):
                return

    def _open(self, server: Server[_Run]) -> _Run:
        facts = self._facts
        opened = server.open(facts.run, facts.name, time.time(), facts.params, facts.tags)
        self._page = opened.page
        return opened

    def _next_batch(self, at_once: bool) -> tuple[list[Point], bool]:
        """What waits, and whether nothing comes after it."""
        with self._changed:
            if not at_once:
                self._changed.wait_for(lambda: bool(self._waiting) or self._ending)
                self._changed.wait_for(lambda: self._ending, TOGETHER_SECONDS)
            return list(self._waiting), self._ending

    def _has(self, batch: list[Point]) -> None:
        sent = {id(point) for point in batch}
        with self._changed:
            while self._waiting and id(self._waiting[0]) in sent:  # the oldest may have been dropped meanwhile
                self._waiting.popleft()

    def _all_told(self, ending: bool) -> bool:
        with self._changed:
            self._why = ""
            self._done = ending and not self._waiting
            return self._done

    def _failed(self, why: str) -> None:
        with self._changed:
            self._why = self._why or why

    def _rest(self, pause: float) -> None:
        with self._changed:
            if self._ending:
                self._changed.wait(min(pause, 1.0))
            else:
                self._changed.wait_for(lambda: self._ending, pause)
