"""Candidates for one Lease, in one process, that fall asleep at chosen moments: a stand-in for operators that are stopped
and resumed, quick enough for a thousand changes of leadership.

The Leadership, the Executor, the apiserver and its conflicts are the real ones. A candidate sleeps as a stopped process
does: at the moment between "may I write?" and the write itself, everything it does stands still, its renewals too.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from serin_operator import patience
from serin_operator.act.execute import Executor
from serin_operator.api.kinds import HTTP_ROUTE, LEASE, MODEL_SERVICE
from serin_operator.api.v1alpha1 import API_VERSION, ModelService
from serin_operator.clock import since_boot
from serin_operator.decide.decision import Apply, Decision, Fence, StatusWrite
from serin_operator.errors import ClusterUnavailable, Conflict, NotLeading
from serin_operator.leader import Leadership
from serin_operator.manifests.route import http_route
from serin_operator.rest import Cluster
from serin_operator.settings import LeaderElection

Json = dict[str, Any]
LEASES = LEASE
SERVICE = "bot"
TIMING = LeaderElection(lease_duration_seconds=1, renew_deadline_seconds=0.7, retry_period_seconds=0.2)
MANAGER = "serin-status"
TERM = "serin.dev/term"  # on the guarded objects: who wrote them last, under which term


@dataclass
class Gate:
    """Where a candidate sleeps. `arm` it: the next call of one of these kinds, and everything after it, waits."""

    armed: frozenset[str] = frozenset()
    asleep: asyncio.Event = field(default_factory=asyncio.Event)
    _open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._open.set()

    def arm(self, calls: frozenset[str]) -> None:
        self.armed = calls
        self.asleep.clear()

    async def passed(self, call: str) -> None:
        if call in self.armed:
            self.armed = frozenset()
            self._open.clear()
            self.asleep.set()
        await self._open.wait()

    def wake(self) -> None:
        self.armed = frozenset()
        self._open.set()


class SleepyCluster(Cluster):
    """The real Cluster with a Gate between its question whether it may write and the request."""

    def __init__(self, client: ApiClient, gate: Gate, **settings: Any) -> None:
        super().__init__(client, **settings)
        self._gate = gate
        self.term = -1  # of the last lease that was written

    async def _try(self, method: str, path: str, query: Any, body: Json | None, headers: dict[str, str]) -> Json:
        await self._gate.passed(_kind_of(method, path, headers))
        answer = await super()._try(method, path, query, body, headers)
        if body is not None and body.get("kind") == LEASE.kind:
            self.term = body["spec"]["leaseTransitions"]
        return answer


def _kind_of(method: str, path: str, headers: Mapping[str, str]) -> str:
    if f"/{LEASE.plural}" in path:
        return "renew"
    if method == "GET":
        return "read"
    if "merge-patch" in headers["Content-Type"]:
        return "fence"
    return "status" if path.endswith("/status") else "object"


CALLS = ("read", "status", "fence", "object", "renew")


class Candidate:
    """One would-be leader; each loss of the lease is the end of a process, and a fresh one begins."""

    def __init__(self, name: str, namespace: str, client: ApiClient, chance: random.Random, guarded: bool) -> None:
        self.name, self.namespace, self.gate = name, namespace, Gate()
        self._client = client
        self._chance, self._guarded = chance, guarded
        self._looks = 0
        self.met: Counter[str] = Counter()  # how its looks ended

    async def live(self) -> None:
        while True:
            leases = SleepyCluster(self._client, self.gate, patience=patience.LEASE)
            leadership = Leadership(leases, self.namespace, self.name, TIMING, since_boot, _now)
            cluster = SleepyCluster(self._client, self.gate, may_write=leadership.holds)
            await leadership.acquire()
            term = leases.term
            keeping = asyncio.create_task(leadership.keep())
            try:
                while not keeping.done():
                    await self._look(cluster, term)
                    await asyncio.sleep(self._chance.uniform(0.02, 0.2))
            finally:
                keeping.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await keeping

    async def _look(self, cluster: Cluster, term: int) -> None:
        """Read, decide, act: now and then the status is news, else a fence stands before the route."""
        try:
            service = await cluster.get(MODEL_SERVICE, self.namespace, SERVICE)
            route = await cluster.get(HTTP_ROUTE, self.namespace, SERVICE)
            assert service is not None
            assert route is not None
            self._looks += 1
            decision = decided(service, route, f"{term}.{self._looks} {self.name}", news=self._chance.random() < 0.5)
            executor = Executor(cluster, self.name, _now)
            await executor.carry_out(decision if self._guarded else unguarded(decision), {})
            self.met["written"] += 1
        except (Conflict, NotLeading, ClusterUnavailable) as error:
            self.met[type(error).__name__] += 1


def decided(service: Json, route: Json, mark: str, news: bool) -> Decision:
    """What a look of the service loop comes to: the status if it is news, else a fence; then the route."""
    meta = service["metadata"]
    seen = (API_VERSION, "ModelService", meta["namespace"], meta["name"])
    status = {"message": mark, "conditions": []}
    write = StatusWrite(*seen, status, MANAGER, expect=meta["resourceVersion"])
    manifest = http_route(ModelService.model_validate(service), [("a", 1)])
    manifest["metadata"]["annotations"] = {TERM: mark}
    return Decision(
        sentence=mark,
        statuses=(write,) if news else (),
        fences=() if news else (Fence(*seen, meta["resourceVersion"]),),
        actions=(Apply(manifest, "serin-traffic", expect=route["metadata"]["resourceVersion"]),),
    )


def unguarded(decision: Decision) -> Decision:
    """The same without versions and fences: what an operator does that only checks its lease before it writes."""
    return replace(
        decision,
        statuses=tuple(replace(write, expect=None) for write in decision.statuses),
        fences=(),
        actions=tuple(replace(action, expect=None) for action in decision.actions if isinstance(action, Apply)),
    )


async def switch(sleeper: Candidate, chance: random.Random, succeeded: Callable[[], Awaitable[None]]) -> None:
    """Put the leader to sleep at a random call until another one leads, and has mostly written; then wake it."""
    sleeper.gate.arm(frozenset({chance.choice(CALLS)}))
    try:
        async with asyncio.timeout(2):
            await sleeper.gate.asleep.wait()
        async with asyncio.timeout(20):
            await succeeded()
        await asyncio.sleep(chance.choice([0, 0.02, 0.1, 0.4]))
    except TimeoutError:
        pass
    finally:
        sleeper.gate.wake()
    await asyncio.sleep(chance.uniform(0, 0.3))


@contextlib.asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[ApiClient]:
    settings = Configuration()
    await config.load_kube_config(str(kubeconfig), client_configuration=settings)
    client = ApiClient(settings)
    try:
        yield client
    finally:
        await client.close()


def _now() -> datetime:
    return datetime.now(UTC)
