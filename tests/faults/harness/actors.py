"""Plays what a bare control plane lacks: the scheduler and kubelet of Serin's pods, and the Gateway's controller.

One set serves a whole plane. How pods fare is told by namespace, so many runs share it. Pods are bound to a node that does
not exist, so that they end as real ones do: marked, given time, then gone.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
from faults.harness.loop import LoopThread
from faults.harness.plane import ACTORS, Plane
from serin_operator.api.kinds import GATEWAY, HTTP_ROUTE, POD
from serin_operator.api.v1alpha1 import StageName
from serin_operator.manifests import names
from support.jobs import OUTPUTS

Json = dict[str, Any]
NODE = "played"
_MERGE = {"Content-Type": "application/merge-patch+json"}


@dataclass(frozen=True)
class Ending:
    """How a stage's pod ends."""

    code: int = 0
    result: Json = field(default_factory=dict[str, Any])
    evicted: bool = False
    garbage: str = ""  # said instead of a result


def succeeded(stage: StageName, config: Json, **output: Any) -> Ending:
    """A pod that ends well, with some of its output changed."""
    result = {"stage": stage.value, "key": config["key"], "outcome": "Succeeded", "reason": "Succeeded",
              "message": "done", "output": OUTPUTS[stage] | output}  # fmt: skip
    return Ending(0, result)


def failed(stage: StageName, config: Json, code: int, reason: str, message: str) -> Ending:
    result = {"stage": stage.value, "key": config["key"], "outcome": "Failed", "reason": reason, "message": message,
              "advice": ""}  # fmt: skip
    return Ending(code, result)


@dataclass
class Behaviour:
    """How pods fare in one namespace. May be changed at any time, from any thread."""

    tell: Callable[[StageName, Json], Ending] = succeeded  # the stage and its config -> how it ends
    seconds: float = 0.1  # a stage's pod runs for so long
    held: set[StageName] = field(
        default_factory=set[StageName]
    )  # pods of these stages run until the stage is taken out
    starts_in: float = 0.1  # a server is ready after so long
    silent: set[str] = field(default_factory=set[str])  # revisions whose servers are not ready (yet, or any more)
    dies_in: float = 0.1  # between SIGTERM and the end of a pod
    programs: bool = True  # the Gateway takes routes up


class Actors:
    """The actors of one plane, in a thread of their own."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._thread = LoopThread("actors")
        self._behaviours: dict[str, Behaviour] = {}
        self._alive: dict[str, asyncio.Task[None]] = {}  # by pod uid
        self._dying: set[str] = set()
        self._work: set[asyncio.Task[None]] = set()
        self._addresses = itertools.count(2)
        self._api: aiohttp.ClientSession
        self.failures: list[BaseException] = []

    def __enter__(self) -> Actors:
        self._thread.start()
        self._thread.call(self._begin())
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.call(self._end())
        self._thread.stop()
        if self.failures:
            raise AssertionError(f"the actors failed {len(self.failures)} times") from self.failures[0]

    def of(self, namespace: str) -> Behaviour:
        """How pods fare there; the same object each time."""
        return self._behaviours.setdefault(namespace, Behaviour())

    def forget(self, namespace: str) -> None:
        self._behaviours.pop(namespace, None)

    async def _begin(self) -> None:
        self._api = aiohttp.ClientSession(
            self._plane.url,
            connector=aiohttp.TCPConnector(limit=0, ssl=self._plane.tls(ACTORS)),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            read_bufsize=2**20,
        )
        ours = f"{names.MANAGED_BY}={names.MANAGER}"
        self._start(self._follow(POD.path(None), ours, self._pod))
        self._start(self._follow(HTTP_ROUTE.path(None), "", self._route))
        self._start(self._follow(GATEWAY.path(None), "", self._gateway))

    async def _end(self) -> None:
        for task in list(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self._api.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures.append(error)

    async def _follow(self, path: str, selector: str, met: Callable[[str, Json], None]) -> None:
        """List, then watch, for ever."""
        query = {"labelSelector": selector} if selector else {}
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with self._api.get(path, params=query, raise_for_status=True) as answer:
                    listed = await answer.json()
                for item in listed["items"]:
                    met("ADDED", item)
                watch = query | {"watch": "true", "resourceVersion": listed["metadata"]["resourceVersion"]}
                async with self._api.get(path, params=watch) as answer:
                    async for line in _lines(answer.content):
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            break
                        met(event["type"], event["object"])
            await asyncio.sleep(0.2)

    # --- pods -------------------------------------------------------------------------------------------------------

    def _pod(self, type_: str, pod: Json) -> None:
        meta = pod["metadata"]
        uid = meta["uid"]
        if type_ == "DELETED":
            if (life := self._alive.pop(uid, None)) is not None:
                life.cancel()
            self._dying.discard(uid)
        elif meta.get("deletionTimestamp"):
            if uid not in self._dying:
                self._dying.add(uid)
                self._start(self._die(pod))
        elif uid not in self._alive and pod["status"].get("phase", "Pending") == "Pending":
            serves = meta["labels"].get(names.STAGE) == "serve"
            self._alive[uid] = self._start(self._serve(pod) if serves else self._stage(pod))

    async def _die(self, pod: Json) -> None:
        """SIGTERM, a while, and gone; finalizers are their owners' matter."""
        meta = pod["metadata"]
        await asyncio.sleep(self.of(meta["namespace"]).dies_in)
        if (life := self._alive.pop(meta["uid"], None)) is not None:
            life.cancel()
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
        await self._send("DELETE", POD.path(meta["namespace"], meta["name"]), body)

    async def _bind(self, pod: Json) -> None:
        meta = pod["metadata"]
        if pod["spec"].get("nodeName"):
            return
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"]},
                "target": {"apiVersion": "v1", "kind": "Node", "name": NODE}}  # fmt: skip
        await self._send("POST", POD.path(meta["namespace"], meta["name"], "binding"), body)

    async def _serve(self, pod: Json) -> None:
        """A server: ready after a while, unless its revision is silent; told anew whenever that changes."""
        meta = pod["metadata"]
        revision, behaviour = meta["labels"][names.REVISION], self.of(meta["namespace"])
        number = next(self._addresses)
        address = f"10.{200 + number // 65000}.{number // 250 % 250}.{number % 250 + 1}"
        await self._bind(pod)
        await asyncio.sleep(behaviour.starts_in)
        said: bool | None = None
        while True:
            ready = revision not in behaviour.silent
            if ready != said:
                said = ready
                await self._status(pod, {"phase": "Running", "startTime": now(), "conditions": [_ready(ready)],
                                         "podIP": address, "podIPs": [{"ip": address}]})  # fmt: skip
            await asyncio.sleep(0.1)

    async def _stage(self, pod: Json) -> None:
        """A stage's pod: waits for its config as a kubelet does, runs, and says how it went."""
        meta = pod["metadata"]
        namespace = meta["namespace"]
        behaviour = self.of(namespace)
        stage = next(s for s in StageName if s.lower() == meta["labels"][names.STAGE])
        await self._bind(pod)
        config = await self._config(pod)
        await self._status(pod, {"phase": "Running", "startTime": now(), "conditions": [_ready(True)]})
        await asyncio.sleep(behaviour.seconds)
        while stage in behaviour.held:  # noqa: ASYNC110 (set from another thread)
            await asyncio.sleep(0.05)
        await self._status(pod, _ended(stage, behaviour.tell(stage, config)))

    async def _config(self, pod: Json) -> Json:
        name = next(v["configMap"]["name"] for v in pod["spec"]["volumes"] if v["name"] == "config")
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/configmaps/{name}"
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with self._api.get(path) as answer:
                    if answer.status == 200:
                        return json.loads((await answer.json())["data"]["config.json"])
            await asyncio.sleep(0.1)

    # --- the gateway ------------------------------------------------------------------------------------------------

    def _route(self, type_: str, route: Json) -> None:
        meta = route["metadata"]
        if type_ == "DELETED" or not self.of(meta["namespace"]).programs:
            return
        parents = route.get("status", {}).get("parents", [])
        if parents and parents[0]["conditions"][0]["observedGeneration"] == meta["generation"]:
            return
        conditions = [
            {"type": type_, "status": "True", "reason": type_, "message": "", "lastTransitionTime": now(),
             "observedGeneration": meta["generation"]}
            for type_ in ("Accepted", "ResolvedRefs")
        ]  # fmt: skip
        parent = {"parentRef": route["spec"]["parentRefs"][0], "controllerName": "played.example/x",
                  "conditions": conditions}  # fmt: skip
        self._start(self._patch(HTTP_ROUTE.path(meta["namespace"], meta["name"], "status"), {"parents": [parent]}))

    def _gateway(self, type_: str, gateway: Json) -> None:
        found = {c["type"]: c["status"] for c in gateway.get("status", {}).get("conditions", [])}
        if type_ == "DELETED" or found.get("Programmed") == "True":
            return
        condition = {"type": "Programmed", "status": "True", "reason": "Programmed", "message": "",
                     "observedGeneration": 1, "lastTransitionTime": now()}  # fmt: skip
        meta = gateway["metadata"]
        path = GATEWAY.path(meta["namespace"], meta["name"], "status")
        self._start(self._patch(path, {"conditions": [condition]}))

    # --- writes -----------------------------------------------------------------------------------------------------

    async def _status(self, pod: Json, status: Json) -> None:
        meta = pod["metadata"]
        await self._patch(POD.path(meta["namespace"], meta["name"], "status"), status)

    async def _patch(self, path: str, status: Json) -> None:
        await self._send("PATCH", path, {"status": status}, _MERGE)

    async def _send(self, method: str, path: str, body: Json, headers: dict[str, str] | None = None) -> None:
        """Gone or changed meanwhile is fine: the next event tells. An apiserver that is down is waited for."""
        sent = {"Content-Type": "application/json"} | (headers or {})
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with self._api.request(method, path, data=json.dumps(body), headers=sent) as answer:
                    if answer.status < 400 or answer.status in (404, 409):
                        return
                    if answer.status < 500:
                        raise AssertionError(f"{method} {path}: {answer.status} {await answer.text()}")
            await asyncio.sleep(0.5)


def _ready(ready: bool) -> Json:
    return {"type": "Ready", "status": str(ready), "lastTransitionTime": now()}


def _ended(stage: StageName, ending: Ending) -> Json:
    if ending.evicted:
        target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                  "lastTransitionTime": now()}  # fmt: skip
        return {"phase": "Failed", "reason": "Evicted", "conditions": [target]}
    terminated = {"exitCode": ending.code, "reason": "Completed" if ending.code == 0 else "Error",
                  "message": _message(ending), "startedAt": now(),
                  "finishedAt": now()}  # fmt: skip
    container = {"name": stage.lower(), "image": "i", "imageID": "i", "ready": False, "restartCount": 0,
                 "state": {"terminated": terminated}}  # fmt: skip
    return {"phase": "Succeeded" if ending.code == 0 else "Failed", "containerStatuses": [container],
            "conditions": [_ready(False)]}  # fmt: skip


def _message(ending: Ending) -> str:
    return ending.garbage or (json.dumps(ending.result) if ending.result else "")


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
