"""What the proxy can do to watches: each stream is read line by line, so single events can be late, lost or doubled.

Every method may be called from any thread. `of` narrows it to one resource (`"jobs"`); without it all are meant.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web
from faults.harness.injections import Reply, refusal

Json = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class WatchEvent:
    """One line of a watch."""

    resource: str
    type: str
    object: Json

    @property
    def name(self) -> str:
        return self.object.get("metadata", {}).get("name", "")

    @property
    def line(self) -> bytes:
        return json.dumps({"type": self.type, "object": self.object}).encode() + b"\n"


@dataclass(frozen=True)
class Passed:
    """One line as it came, and what was done with it."""

    time: float
    event: WatchEvent
    fate: str  # delivered, dropped, forged


EventPredicate = Callable[[WatchEvent], bool]


def _of(resource: str | None) -> EventPredicate:
    return lambda event: resource in (None, event.resource)


class Stream:
    """One open watch."""

    def __init__(self, resource: str, response: web.StreamResponse, request: web.Request) -> None:
        self.resource, self._response, self._request = resource, response, request
        self.ended = asyncio.Event()

    async def send(self, line: bytes) -> None:
        await self._response.write(line)

    def end(self) -> None:
        """The connection is closed in the proper way, as after the server's own timeout."""
        self.ended.set()

    def abort(self) -> None:
        """The connection is gone."""
        if self._request.transport is not None:
            self._request.transport.abort()
        self.ended.set()


class Watches:
    """The open watches of one proxy, and the faults that are on."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._open: set[Stream] = set()
        self._refused: tuple[int, float, str | None, bool] | None = None
        self._held: EventPredicate | None = None
        self._freed: asyncio.Condition | None = None
        self._dropped: list[EventPredicate] = []
        self._copies: EventPredicate | None = None
        self._seconds = 0.0
        self._began = time.monotonic()
        self.passed: list[Passed] = []

    # --- what a test asks for ---------------------------------------------------------------------------------------

    def open(self, of: str | None = None) -> list[str]:
        """The resources that are being watched now."""
        return sorted(stream.resource for stream in list(self._open) if of in (None, stream.resource))

    def cut(self, of: str | None = None) -> int:
        """The connections of open watches are gone; how many."""

        async def work() -> int:
            found = [stream for stream in self._open if of in (None, stream.resource)]
            for stream in found:
                stream.abort()
            return len(found)

        return self._in_loop(work)

    def refuse(self, status: int, seconds: float = float("inf"), of: str | None = None, lists: bool = False) -> None:
        """New watches (with `lists`, the lists before them too) are answered with this status for so long."""
        self._refused = (status, time.monotonic() + seconds, of, lists)

    def allow(self) -> None:
        """No more refusals."""
        self._refused = None

    def hold(self, of: str | None = None) -> None:
        """Events stay in the proxy, in order, until `release`: the connection lives and says nothing."""
        self._held = _of(of)

    def release(self) -> None:
        """What was held is delivered."""

        async def work() -> None:
            self._held = None
            async with self._condition():
                self._condition().notify_all()

        self._in_loop(work)

    def drop(self, predicate: EventPredicate) -> None:
        """Events of this sort are lost from now on."""
        self._dropped.append(predicate)

    def keep(self) -> None:
        """Nothing is lost any more."""
        self._dropped.clear()

    def duplicate(self, of: str | None = None) -> None:
        """Every event comes twice."""
        self._copies = _of(of)

    def delay(self, seconds: float) -> None:
        """Every event comes so late; their order stays."""
        self._seconds = seconds

    def error_event(self, code: int, of: str | None = None, message: str = "a fault of the test's") -> int:
        """An ERROR event on every open watch, which then ends, as the apiserver does it; how many."""
        said = json.loads(refusal(code, message=message).body)

        async def work() -> int:
            found = [stream for stream in self._open if of in (None, stream.resource)]
            for stream in found:
                event = WatchEvent(stream.resource, "ERROR", said)
                await stream.send(event.line)
                self._note(event, "forged")
                stream.end()
            return len(found)

        return self._in_loop(work)

    def clear(self) -> None:
        """No faults on."""
        self.allow()
        self.keep()
        self._copies, self._seconds = None, 0.0
        self.release()

    # --- what the proxy asks ----------------------------------------------------------------------------------------

    def refusal_for(self, resource: str, watch: bool) -> Reply | None:
        """How a new watch (or list) is refused, if it is."""
        if self._refused is None:
            return None
        status, until, of, lists = self._refused
        if time.monotonic() > until or of not in (None, resource) or not (watch or lists):
            return None
        return refusal(status)

    async def carry(
        self, resource: str, request: web.Request, response: web.StreamResponse, lines: AsyncIterator[bytes]
    ) -> None:
        """One watch from its first line to its end, with the faults that are on at the time of each line."""
        stream = Stream(resource, response, request)
        self._open.add(stream)
        pump = asyncio.create_task(self._pump(stream, lines))
        ended = asyncio.create_task(stream.ended.wait())
        try:
            await asyncio.wait((pump, ended), return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                pump.result()
        finally:
            self._open.discard(stream)
            for task in (pump, ended):
                task.cancel()
            await asyncio.gather(pump, ended, return_exceptions=True)

    async def _pump(self, stream: Stream, lines: AsyncIterator[bytes]) -> None:
        async for line in lines:
            said = json.loads(line)
            event = WatchEvent(stream.resource, said["type"], said["object"])
            if any(lost(event) for lost in self._dropped):
                self._note(event, "dropped")
                continue
            async with self._condition():
                await self._condition().wait_for(lambda event=event: self._held is None or not self._held(event))
            if self._seconds:
                await asyncio.sleep(self._seconds)
            twice = self._copies is not None and self._copies(event)
            for _ in range(2 if twice else 1):
                await stream.send(line + b"\n")
                self._note(event, "delivered")

    def _note(self, event: WatchEvent, fate: str) -> None:
        self.passed.append(Passed(time.monotonic() - self._began, event, fate))

    def _condition(self) -> asyncio.Condition:
        if self._freed is None:
            self._freed = asyncio.Condition()
        return self._freed

    def _in_loop(self, work: Callable[[], Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(30)
