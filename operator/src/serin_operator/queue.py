"""A keyed work queue: one look at a key at a time, wake-ups coalesce, failures back off, looks can be booked ahead.

The shape is that of controller-runtime's workqueue. Nothing in here survives a restart, and nothing needs to: after a
restart every object is seen anew.
"""

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

from serin_operator import telemetry

log = logging.getLogger("serin.queue")


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What to look at."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


LOOKS_AT_ONCE = 64  # most of a slow look is waiting, for a metric source say: a dozen of them must not keep the others
FIRST_BACKOFF = timedelta(seconds=1)
LONGEST_BACKOFF = timedelta(minutes=5)
LONGEST_LOOK = timedelta(minutes=3)  # every call in it has bounds of its own: a look that takes longer hangs


def backoff(failures: int) -> timedelta:
    """1 s, 2 s, 4 s, ... up to 5 min."""
    return min(FIRST_BACKOFF * 2 ** min(failures - 1, 16), LONGEST_BACKOFF)


@dataclass
class WorkQueue:
    """Deadlines by key. A key is due when its deadline has come; an earlier wake-up moves the deadline forward."""

    longest_look: timedelta = LONGEST_LOOK
    _due: dict[Key, float] = field(default_factory=dict[Key, float])
    _heap: list[tuple[float, int, Key]] = field(default_factory=list[tuple[float, int, Key]])
    _busy: set[Key] = field(default_factory=set[Key])
    _failures: dict[Key, int] = field(default_factory=dict[Key, int])
    _order: "count[int]" = field(default_factory=count)
    _moved: float = 0.0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, key: Key, after: timedelta = timedelta(0)) -> None:
        """Look at the key after this time, or earlier when it is booked earlier already."""
        when = asyncio.get_running_loop().time() + after.total_seconds()
        if when < self._due.get(key, float("inf")):
            self._due[key] = when
            heapq.heappush(self._heap, (when, next(self._order), key))
            telemetry.QUEUE_DEPTH.set(len(self._due))
            self._changed.set()

    def hurry(self) -> None:
        """What made looks fail may be over: those that back off come now. Should they fail again, they back off on."""
        for key in list(self._failures):
            if key in self._due:
                self.add(key)

    def stuck_for(self) -> float:
        """Seconds since a look began or ended while there was something to look at; 0 when nothing is waiting."""
        now = asyncio.get_running_loop().time()
        if self._busy:
            return now - self._moved
        return max(now - max(self._moved, min(self._due.values(), default=now)), 0.0)

    async def run(self, look: Callable[[Key], Awaitable[timedelta | None]], at_once: int = LOOKS_AT_ONCE) -> None:
        """Serve for ever. `look` returns when to look again, or raises `RetryLater` and backs off."""
        places = asyncio.Semaphore(at_once)
        async with asyncio.TaskGroup() as group:
            while True:
                await places.acquire()
                key = await self._next()
                self._busy.add(key)
                self._moved = asyncio.get_running_loop().time()
                group.create_task(self._serve(key, look, places))

    async def _serve(
        self, key: Key, look: Callable[[Key], Awaitable[timedelta | None]], places: asyncio.Semaphore
    ) -> None:
        try:
            async with asyncio.timeout(self.longest_look.total_seconds()):
                again = await look(key)
            self._failures.pop(key, None)
        except RetryLater as later:
            again = self._back_off(key, later)
        except TimeoutError:
            log.error("a look did not end within %s", self.longest_look, extra={"object": str(key)})
            again = self._back_off(key, RetryLater())
        finally:
            places.release()
            self._busy.discard(key)
            self._moved = asyncio.get_running_loop().time()
            self._changed.set()
        if again is not None:
            self.add(key, again)

    def _back_off(self, key: Key, later: "RetryLater") -> timedelta:
        self._failures[key] = self._failures.get(key, 0) + 1
        wait = max(backoff(self._failures[key]), later.after or timedelta(0))
        return min(wait, later.at_most) if later.at_most is not None else wait

    async def _next(self) -> Key:
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            key, wait = self._pop(loop.time())
            if key is not None:
                return key
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _pop(self, now: float) -> tuple[Key | None, float | None]:
        """The next key that is due and not being looked at, or how long to wait for one."""
        held: list[tuple[float, int, Key]] = []
        found: Key | None = None
        wait: float | None = None
        while self._heap and found is None and wait is None:
            item = heapq.heappop(self._heap)
            when, _, key = item
            if self._due.get(key) != when:
                continue  # booked anew since, or forgotten
            if when > now:
                held.append(item)
                wait = when - now
            elif key in self._busy:
                held.append(item)  # serial per key: its turn comes when the running look ends
            else:
                del self._due[key]
                found = key
        for item in held:
            heapq.heappush(self._heap, item)
        telemetry.QUEUE_DEPTH.set(len(self._due))
        return found, wait


class RetryLater(Exception):
    """The look failed in a way that time may heal. Not before `after`; not later than `at_most`, however often it failed."""

    def __init__(self, after: timedelta | None = None, at_most: timedelta | None = None) -> None:
        super().__init__()
        self.after = after
        self.at_most = at_most
