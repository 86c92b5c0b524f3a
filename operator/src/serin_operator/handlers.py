"""Kopf as an event source: the only file that knows it. What it tells goes to the queue's loop; it decides nothing.

Kopf has a thread and an event loop of its own, because it takes over the loop that it runs in: when one of its watches
fails it cancels every task of that loop, ours too, and it sets its own signal handlers. In a thread it can end and be
started again without anything else noticing.

No change-detecting handlers, timers or daemons: they write annotations and finalizers onto users' objects.
"""

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import kopf

from serin_operator.api.kinds import Kind
from serin_operator.errors import SerinError
from serin_operator.wakeups import WATCHED

Tell = Callable[[Kind, Mapping[str, Any], bool], None]  # what, its body, whether it is gone
END_SECONDS = 20
LONGEST_BACKOFF_SECONDS = 5.0


class WatchStuck(SerinError):
    """Kopf does not end: it cannot be started again within this process."""


class _Backoffs:
    """Between tries of one call: soon 5 s, and for ever. Kopf's own list has an end, after which the watch is lost."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.5, 1.0, 2.0), itertools.repeat(LONGEST_BACKOFF_SECONDS))


def register(registry: kopf.OperatorRegistry, tell: Tell) -> None:
    """Subscribe to everything that may change a decision."""
    kopf.on.login(registry=registry)(_login)  # type: ignore[arg-type]

    def on(kind: Kind) -> None:
        async def handler(body: kopf.Body, type: str | None, **_: Any) -> None:
            tell(kind, body, type == "DELETED")

        group, _, version = kind.api_version.rpartition("/")
        kopf.on.event(group, version, kind.plural, registry=registry, id=f"wake-{kind.plural}")(handler)  # type: ignore[arg-type]

    for watched in WATCHED:
        on(watched.kind)


def settings() -> kopf.OperatorSettings:
    """Kopf as an event source only, that never gives up."""
    found = kopf.OperatorSettings()
    found.peering.standalone = True  # leadership is a Lease; peering freezes everybody at equal priority
    found.posting.enabled = False
    found.scanning.disabled = True  # no right to watch CRDs and namespaces is needed
    found.networking.error_backoffs = cast("Any", _Backoffs())
    found.networking.request_timeout = 15  # of its lists; the default of 5 minutes outlasts many an outage
    found.networking.connect_timeout = 10
    found.watching.server_timeout = 300
    found.watching.client_timeout = 330
    found.watching.connect_timeout = 10
    found.watching.inactivity_timeout = 70  # the apiserver sends a bookmark every minute
    found.watching.chunk_size = 500
    found.queueing.exit_timeout = 0.5
    found.process.ultimate_exiting_timeout = None  # it would kill the process when only the watches are to start anew
    for watched in WATCHED:
        if watched.selector:
            found.watching.label_selectors[watched.kind.plural] = watched.selector
    return found


async def _login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
    """The pod's service account, or the current kubeconfig context outside a cluster."""
    return kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)


async def watch(tell: Tell, me: str) -> None:
    """Run kopf until it ends, raising what it ended with; cancelled, it ends with it, or WatchStuck is raised.

    `tell` is called in the loop of the caller. Kopf is told who it is, since a pod's user has no name to look up.
    """
    here = asyncio.get_running_loop()

    def tell_here(kind: Kind, body: Mapping[str, Any], gone: bool) -> None:
        here.call_soon_threadsafe(tell, kind, body, gone)

    kopfs = _Thread(tell_here, me, here)
    try:
        await asyncio.shield(kopfs.ended)
    finally:
        await kopfs.end()


class _Thread:
    """One run of kopf. It is a daemon: a process that must leave does not wait for it."""

    def __init__(self, tell: Tell, me: str, home: asyncio.AbstractEventLoop) -> None:
        self.ended: asyncio.Future[None] = home.create_future()
        self._tell, self._me, self._home = tell, me, home
        self._stop: Callable[[], None] | None = None
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="kopf", daemon=True).start()

    async def end(self) -> None:
        """Ask it to end and wait for that."""
        self._stopped.set()
        if self._stop is not None and not self.ended.done():
            self._stop()
        done, _ = await asyncio.wait({self.ended}, timeout=END_SECONDS)
        if not done:
            raise WatchStuck(f"kopf did not end within {END_SECONDS} s")
        self.ended.exception()  # told to whoever waited for it

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(self._kopf())
        except asyncio.CancelledError:
            pass
        except Exception as raised:
            error = raised
        try:
            self._home.call_soon_threadsafe(self._report, error)
        except RuntimeError:
            return  # the process is leaving: nobody is there to be told

    async def _kopf(self) -> None:
        registry = kopf.OperatorRegistry()
        register(registry, self._tell)
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(
            kopf.operator(
                registry=registry,
                settings=settings(),
                identity=cast("Any", self._me),
                standalone=True,
                clusterwide=True,
            )
        )
        self._stop = lambda: _quietly(loop, task)
        if self._stopped.is_set():
            task.cancel()
        await task

    def _report(self, error: BaseException | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


def _quietly(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[None]") -> None:
    try:
        loop.call_soon_threadsafe(task.cancel)
    except RuntimeError:
        return  # its loop has just been closed: it has ended by itself


# Kopf says at every start that it cannot set signal handlers in a thread; that is what the thread is for.
logging.getLogger("kopf._core.reactor.running").addFilter(
    lambda record: "OS signals are ignored" not in record.getMessage()
)
