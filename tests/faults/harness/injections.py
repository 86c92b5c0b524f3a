"""What the proxy can do to one request. A fault gets the exchange and says how it ends; new ones are a class away."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from faults.harness.calls import Call

REASONS = {
    401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired", 429: "TooManyRequests",
    500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout",
}  # fmt: skip


@dataclass(frozen=True)
class Reply:
    """What the operator is told."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])


class Cut(Exception):
    """The connection ends without an answer."""


@dataclass
class Exchange:
    """One request on its way. `forward` lets it happen; it may be called once, or not at all."""

    call: Call
    forward: Callable[[], Awaitable[Reply]]
    random: random.Random


class Fault(Protocol):
    """Returns the reply, or raises Cut."""

    async def __call__(self, exchange: Exchange) -> Reply: ...


class Mortal(Protocol):
    """Something that can be killed and started: an Operator."""

    def kill(self) -> None: ...

    def start(self) -> object: ...


def refusal(status: int, retry_after: float | None = None, message: str = "a fault of the test's") -> Reply:
    """The Status document that an apiserver answers with."""
    said = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": REASONS.get(status, "InternalError"), "code": status}  # fmt: skip
    headers = {"Content-Type": "application/json"}
    if retry_after is not None:
        headers["Retry-After"] = f"{retry_after:g}"
    return Reply(status, json.dumps(said).encode(), headers)


@dataclass(frozen=True)
class KillBefore:
    """SIGKILL before the write reaches the apiserver; a fresh operator starts at once unless told not to."""

    operator: Mortal
    restart: bool = True

    async def __call__(self, exchange: Exchange) -> Reply:
        await _end(self.operator, self.restart)
        raise Cut


@dataclass(frozen=True)
class KillAfter:
    """SIGKILL once the write is committed, before the operator hears of it."""

    operator: Mortal
    restart: bool = True

    async def __call__(self, exchange: Exchange) -> Reply:
        await exchange.forward()
        await _end(self.operator, self.restart)
        raise Cut


async def _end(operator: Mortal, restart: bool) -> None:
    await asyncio.to_thread(operator.kill)
    if restart:
        await asyncio.to_thread(operator.start)


@dataclass(frozen=True)
class Answer:
    """The apiserver is not asked; this is what the operator is told."""

    status: int
    retry_after: float | None = None

    async def __call__(self, exchange: Exchange) -> Reply:
        return refusal(self.status, self.retry_after)


@dataclass(frozen=True)
class CommitThenCut:
    """Ambiguous success: it happened, and the answer is lost."""

    async def __call__(self, exchange: Exchange) -> Reply:
        await exchange.forward()
        raise Cut


@dataclass(frozen=True)
class CommitThenAnswer:
    """Ambiguous success: it happened, and the operator is told that it may not have."""

    status: int = 504

    async def __call__(self, exchange: Exchange) -> Reply:
        await exchange.forward()
        return refusal(self.status)


@dataclass(frozen=True)
class Delay:
    """Late, and then as it should be."""

    seconds: float

    async def __call__(self, exchange: Exchange) -> Reply:
        await asyncio.sleep(self.seconds)
        return await exchange.forward()


@dataclass(frozen=True)
class RandomAnswers:
    """This share of requests is answered so and not forwarded; the proxy's seed decides which."""

    share: float
    status: int = 500
    retry_after: float | None = None

    async def __call__(self, exchange: Exchange) -> Reply:
        if exchange.random.random() < self.share:
            return refusal(self.status, self.retry_after)
        exchange.call.fault = ""  # this one was let through
        return await exchange.forward()


class Frozen(Protocol):
    """What can answer from an older view: a FaultProxy."""

    def revision(self) -> str: ...

    def freeze_view(self, revision: str | None = None) -> str: ...

    def thaw(self) -> None: ...


class TimeTravel:
    """The write happens, the operator dies, and the next one sees the world as it was before for some seconds, as it
    would behind an apiserver that lags. Before means: before this write, or when `remember` was called."""

    def __init__(self, proxy: Frozen, operator: Mortal, seconds: float) -> None:
        self._proxy, self._operator, self._seconds = proxy, operator, seconds
        self._view: str | None = None

    def __str__(self) -> str:
        return f"TimeTravel(to {self._view or 'before this write'}, {self._seconds:g} s)"

    def remember(self) -> None:
        self._view = self._proxy.revision()

    async def __call__(self, exchange: Exchange) -> Reply:
        view = self._view or await asyncio.to_thread(self._proxy.revision)
        await exchange.forward()
        await asyncio.to_thread(self._operator.kill)
        await asyncio.to_thread(self._proxy.freeze_view, view)
        await asyncio.to_thread(self._operator.start)
        self._later = asyncio.get_running_loop().call_later(self._seconds, self._thaw)
        raise Cut

    def _thaw(self) -> None:
        """Not in the proxy's own loop, which waits for nobody."""
        threading.Thread(target=self._proxy.thaw, daemon=True).start()


@dataclass(frozen=True)
class Run:
    """Something happens right before (or after) the request, which passes; for a second writer in the middle."""

    what: Callable[[Call], object]
    after: bool = False

    async def __call__(self, exchange: Exchange) -> Reply:
        if self.after:
            reply = await exchange.forward()
            await asyncio.to_thread(self.what, exchange.call)
            return reply
        await asyncio.to_thread(self.what, exchange.call)
        return await exchange.forward()
