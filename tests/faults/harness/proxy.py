"""An HTTPS proxy between one operator and the kube-apiserver that numbers every write and injects faults by plan.

    with FaultProxy(plane) as proxy, Operator(proxy.kubeconfig) as operator:
        proxy.on_write(7, KillAfter(operator))

With `namespace` the operator sees that namespace only (its lists and watches of everything are narrowed on the way), so
many operators, each behind its own proxy, work side by side on one plane. Deterministic but for the operator's own
concurrency: what is random comes from the seed.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import aiohttp
from aiohttp import web
from faults.harness.calls import Call, Predicate, counts
from faults.harness.injections import Cut, Exchange, Fault, Reply, refusal
from faults.harness.loop import LoopThread
from faults.harness.plane import OPERATOR, PROXY, Plane
from faults.harness.watches import Watches
from serin_devcluster.pki import kubeconfig
from serin_operator.api.kinds import KINDS

LOOPBACK = "127.0.0.1"
_NAMESPACED = frozenset(kind.plural for kind in KINDS.values() if kind.namespaced)
_OURS_TO_SET = frozenset({"host", "connection", "accept-encoding", "transfer-encoding", "content-length", "keep-alive"})
_TIMELESS = frozenset({"leases", "events"})  # never answered from an older view: a leader stays a leader


class FaultProxy:
    """Between `start` and `stop` (or as a context manager) an operator with `kubeconfig` goes through here."""

    def __init__(
        self,
        plane: Plane,
        seed: int = 0,
        *,
        namespace: str | None = None,
        numbered: Predicate = counts,
        counting: bool = True,
    ) -> None:
        """With `counting=False` nothing is numbered before `restart_numbers`."""
        self.plane, self.seed, self.namespace = plane, seed, namespace
        self.random = random.Random(seed)
        self.journal: list[Call] = []
        self.failures: list[BaseException] = []  # the harness's own
        self._numbered = numbered
        self._writes = 0
        self._counting, self._since = counting, 0
        self._planned: dict[int, Fault] = {}
        self._every: Fault | None = None
        self._matching: list[tuple[Predicate, Fault, list[int]]] = []
        self._view: str | None = None
        self._thread = LoopThread("fault proxy")
        self.watches = Watches(self._thread.loop)
        self._began = time.monotonic()
        self._runner: web.AppRunner | None = None
        self._upstream: aiohttp.ClientSession | None = None
        self.url = ""
        self.kubeconfig = Path()

    def __enter__(self) -> FaultProxy:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> FaultProxy:
        self._thread.start()
        port = self._thread.call(self._serve())
        self._began = time.monotonic()
        self.url = f"https://{LOOPBACK}:{port}"
        server = self.plane.server
        self.kubeconfig = server.folder / f"proxy-{port}.kubeconfig"
        self.kubeconfig.write_text(kubeconfig(self.url, server.authority.ca.certificate, self.plane.users[OPERATOR]))
        return self

    def stop(self) -> None:
        """Ends the proxy; a failure of its own (not of its faults) is raised."""
        self._thread.call(self._close())
        self._thread.stop()
        self.kubeconfig.unlink(missing_ok=True)
        if self.failures:
            raise AssertionError(f"the proxy itself failed:\n{self.timeline()}") from self.failures[0]

    def restart_numbers(self) -> None:
        """The next write is the first; what came before has no number any more, and met no fault."""
        for call in self.writes:
            call.number = None
        self._writes, self._counting, self._since = 0, True, len(self.journal)

    # --- the plan ---------------------------------------------------------------------------------------------------

    def on_write(self, number: int, fault: Fault) -> None:
        """At the write of this number, counted from 1. Comes before the other two."""
        self._planned[number] = fault

    def on_every_write(self, fault: Fault | None) -> None:
        """At every numbered write; None ends it."""
        self._every = fault

    def on_call(self, predicate: Predicate, fault: Fault, times: int | None = None) -> None:
        """At every request (reads, leases and events too) of this sort, or at the first so many of them. A watch is met
        when it is opened."""
        self._matching.append((predicate, fault, [times if times is not None else -1]))

    def clear(self) -> None:
        """No faults on any more; the numbers go on."""
        self._planned.clear()
        self._every = None
        self._matching.clear()
        self.thaw()
        self.watches.clear()

    def revision(self) -> str:
        """Of the world now."""
        return self._thread.call(self._revision())

    def freeze_view(self, revision: str | None = None) -> str:
        """From now on GETs and LISTs are answered as of this moment, or of an earlier revision (leases excepted), and
        watches say nothing; writes pass. Returns the revision. The answers are the apiserver's own: it still has it."""
        self._view = revision or self.revision()
        self.watches.hold()
        return self._view

    def thaw(self) -> None:
        """The world as it is again."""
        self._view = None
        self.watches.release()

    # --- what happened ----------------------------------------------------------------------------------------------

    @property
    def writes(self) -> list[Call]:
        """The numbered ones, in order."""
        return [call for call in list(self.journal) if call.number is not None]

    @property
    def calls(self) -> int:
        """Requests since the numbers began, leases and watches left out: they depend on how long it took."""
        return sum(1 for call in self.journal[self._since :] if call.verb != "watch" and call.resource not in _TIMELESS)

    def quiet_for(self) -> float:
        """Seconds since the last numbered write."""
        last = max((call.time for call in self.writes), default=0.0)
        return time.monotonic() - self._began - last

    @property
    def now(self) -> float:
        """On the journal's clock."""
        return time.monotonic() - self._began

    def shown(self) -> list[Call]:
        """Writes, but for leases and events, and everything that a fault met."""
        return [call for call in list(self.journal) if self._numbered(call) or call.fault]

    def timeline(self, reads: bool = False) -> str:
        """The numbered writes and everything that a fault met, for a failure message."""
        lines = [str(call) for call in (list(self.journal) if reads else self.shown())]
        return "\n".join([f"seed {self.seed}, {len(self.journal)} requests, {self._writes} numbered writes:", *lines])

    # --- the server -------------------------------------------------------------------------------------------------

    async def _serve(self) -> int:
        self._upstream = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self.plane.tls(OPERATOR)),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            auto_decompress=False,
        )
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pair = self.plane.users[PROXY]
        tls.load_cert_chain(pair.certificate, pair.key)
        site = web.TCPSite(self._runner, LOOPBACK, 0, ssl_context=tls)
        await site.start()
        return self._runner.addresses[0][1]

    async def _close(self) -> None:
        assert self._runner is not None
        assert self._upstream is not None
        await self._runner.cleanup()
        await self._upstream.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        call = Call(self.now, request.method, request.path, request.query_string, await request.read())
        self.journal.append(call)
        if self._counting and self._numbered(call):
            self._writes += 1
            call.number = self._writes
        # A request outlives the operator that sent it, as one on its way through a network does; a watch does not.
        work = self._watch(request, call) if call.watches else self._exchange(request, call)
        answered = self._answered(call, work)
        response = await (answered if call.watches else asyncio.shield(answered))
        if response is None:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)  # nobody is there to read it
        return response

    async def _answered(self, call: Call, work: Awaitable[web.StreamResponse]) -> web.StreamResponse | None:
        """None when there is no answer: by a fault, or because the apiserver is away."""
        try:
            return await work
        except Cut:
            return None
        except (aiohttp.ClientError, ConnectionError):
            call.fault = call.fault or "the apiserver is away"
            return None
        except Exception as error:
            self.failures.append(error)
            return None

    async def _exchange(self, request: web.Request, call: Call) -> web.Response:
        async def forward() -> Reply:
            reply = await self._forward(request, call)
            call.status = reply.status
            return reply

        fault = self._fault_for(call)
        if fault is not None:
            call.fault = str(fault)
            reply = await fault(Exchange(call, forward, self.random))
        elif not call.writes and (refused := self.watches.refusal_for(call.resource, watch=False)) is not None:
            call.fault, reply = "refused", refused
        else:
            reply = await forward()
        call.told = reply.status
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    def _fault_for(self, call: Call) -> Fault | None:
        if call.number is not None:
            if call.number in self._planned:
                return self._planned[call.number]
            if self._every is not None:
                return self._every
        for predicate, fault, left in self._matching:
            if left[0] != 0 and predicate(call):
                left[0] -= 1
                return fault
        return None

    async def _forward(self, request: web.Request, call: Call) -> Reply:
        if self._view is not None and call.method == "GET" and call.resource and call.resource not in _TIMELESS:
            return await self._from_view(request, call, self._view)
        return await self._ask(request, self._scoped(call), call.query, call.body)

    async def _ask(self, request: web.Request, path: str, query: str, body: bytes) -> Reply:
        assert self._upstream is not None
        where = f"{self.plane.url}{path}" + (f"?{query}" if query else "")
        async with self._upstream.request(
            request.method, _exactly(where), data=body or None, headers=_passing(request.headers), allow_redirects=False
        ) as answer:
            return Reply(answer.status, await answer.read(), _passing(answer.headers))

    # --- an older view ----------------------------------------------------------------------------------------------

    async def _revision(self) -> str:
        assert self._upstream is not None
        async with self._upstream.get(f"{self.plane.url}/api/v1/namespaces?limit=1") as answer:
            return (await answer.json())["metadata"]["resourceVersion"]

    async def _from_view(self, request: web.Request, call: Call, view: str) -> Reply:
        """A list has an exact revision; a single object is a list of one."""
        query = dict(parse_qsl(call.query)) | {"resourceVersion": view, "resourceVersionMatch": "Exact"}
        if "continue" in query:
            return await self._ask(request, self._scoped(call), call.query, b"")
        call.fault = call.fault or f"as of revision {view}"
        if not call.name:
            return await self._ask(request, self._scoped(call), urlencode(query), b"")
        query["fieldSelector"] = f"metadata.name={call.name}"
        collection = call.path.removesuffix(f"/{call.subresource}" if call.subresource else "").removesuffix(
            f"/{call.name}"
        )
        found = await self._ask(request, collection, urlencode(query), b"")
        if found.status != 200:
            return found
        listed = json.loads(found.body)
        if not listed["items"]:
            return refusal(404, message=f"{call.resource} {call.name!r} not found")
        kind = listed["kind"].removesuffix("List")
        item = {"apiVersion": listed["apiVersion"], "kind": kind, **listed["items"][0]}
        return Reply(200, json.dumps(item).encode(), {"Content-Type": "application/json"})

    def _scoped(self, call: Call) -> str:
        if self.namespace is None or call.namespace or call.name or call.resource not in _NAMESPACED:
            return call.path
        root, _, plural = call.path.rpartition("/")
        return f"{root}/namespaces/{self.namespace}/{plural}"

    # --- watches ----------------------------------------------------------------------------------------------------

    async def _watch(self, request: web.Request, call: Call) -> web.StreamResponse:
        fault = self._fault_for(call)
        if fault is not None:
            call.fault = str(fault)

            async def accepted() -> Reply:
                return Reply(200)

            reply = await fault(Exchange(call, accepted, self.random))
            if reply.status != 200:
                call.told = reply.status
                return web.Response(status=reply.status, body=reply.body, headers=reply.headers)
        if (refused := self.watches.refusal_for(call.resource, watch=True)) is not None:
            call.fault, call.told = "refused", refused.status
            return web.Response(status=refused.status, body=refused.body, headers=refused.headers)
        return await self._stream(request, call)

    async def _stream(self, request: web.Request, call: Call) -> web.StreamResponse:
        assert self._upstream is not None
        where = _exactly(f"{self.plane.url}{self._scoped(call)}?{call.query}")
        async with self._upstream.get(where, headers=_passing(request.headers)) as answer:
            call.status = call.told = answer.status
            if answer.status != 200:
                return web.Response(status=answer.status, body=await answer.read(), headers=_passing(answer.headers))
            response = web.StreamResponse(status=200, headers=_passing(answer.headers))
            response.enable_chunked_encoding()
            await response.prepare(request)
            with suppress(ConnectionError):
                await self.watches.carry(call.resource, request, response, _lines(answer.content))
                await response.write_eof()
            return response


def _exactly(url: str) -> Any:
    """As it was sent: the library would quote it anew."""
    from yarl import URL

    return URL(url, encoded=True)


def _passing(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _OURS_TO_SET}


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length."""
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
