"""Of several operators one acts, also when the one that did was asleep and wakes up in the middle of a write (R12)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from faults.harness import report
from faults.harness.actors import Actors
from faults.harness.flows import GOOD, B, serves, weights, with_stable
from faults.harness.operators import Operator
from faults.harness.options import Options
from faults.harness.oracles import safety
from faults.harness.plane import ACTORS, USER, Plane
from faults.harness.proxy import FaultProxy
from faults.harness.world import World, passed_revision
from faults.switching import LEASES, SERVICE, TERM, Candidate, connected, switch
from serin_operator.api.v1alpha1 import ModelService
from serin_operator.manifests.route import http_route
from support.objects import MINIMAL, changed

Json = dict[str, Any]
QUICK, FULL = 40, 1000
GROUPS = 8  # leases that change hands side by side


@dataclass
class Leases:
    """Every lease as the apiserver tells it to a watcher, by namespace."""

    reigns: dict[str, list[str]] = field(default_factory=dict[str, list[str]])  # who held it, in order
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def holder(self, namespace: str) -> str:
        reigns = self.reigns.get(namespace)
        return reigns[-1] if reigns else ""

    async def led_by_another(self, namespace: str, than: str) -> None:
        while self.holder(namespace) in ("", than):
            await self._news.wait()

    @property
    def switches(self) -> int:
        """Changes of the leader; a lease that nobody held in between counts once."""
        return sum(
            sum(1 for one, following in pairwise(held) if one != following)
            for reigns in self.reigns.values()
            if (held := [holder for holder in reigns if holder])
        )

    async def follow(self, plane: Plane) -> None:
        connector = aiohttp.TCPConnector(ssl=plane.tls(USER))
        async with (
            aiohttp.ClientSession(plane.url, connector=connector, read_bufsize=2**20) as client,
            client.get(LEASES.path(None), params={"watch": "true"}, timeout=aiohttp.ClientTimeout(total=None)) as told,
        ):
            async for line in told.content:
                self._met(json.loads(line)["object"])

    def _met(self, lease: Json) -> None:
        meta, holder = lease["metadata"], lease["spec"].get("holderIdentity", "")
        reigns = self.reigns.setdefault(meta["namespace"], [])
        if not reigns or reigns[-1] != holder:
            reigns.append(holder)
            self._news.set()
            self._news = asyncio.Event()


@dataclass(frozen=True, order=True)
class Commit:
    """A write that the store took, at a revision, under a term of leadership."""

    revision: int
    term: int
    resource: str


def commits(events: Iterable[Json]) -> list[Commit]:
    """From the audit log: what was stored of the guarded objects, in order. A confirmed fence stores nothing."""
    found: dict[tuple[str, int], Commit] = {}
    for event in events:
        resource, answer = event["objectRef"]["resource"], event.get("responseObject") or {}
        if event["verb"] != "patch" or event["responseStatus"]["code"] >= 300:
            continue
        mark = answer.get("status", {}).get("message") or answer["metadata"].get("annotations", {}).get(TERM)
        if resource in ("modelservices", "httproutes") and mark:
            revision = int(answer["metadata"]["resourceVersion"])
            found.setdefault((resource, revision), Commit(revision, int(mark.split(".")[0]), resource))
    return sorted(found.values())


def double_writes(found: Iterable[Commit]) -> list[Commit]:
    """Writes of an old term to an object that a newer term had written already: two leaders acted on it."""
    newest: dict[str, int] = {}
    bad: list[Commit] = []
    for commit in found:
        if commit.term < newest.get(commit.resource, -1):
            bad.append(commit)
        newest[commit.resource] = max(newest.get(commit.resource, -1), commit.term)
    return bad


def crossed(found: Iterable[Commit]) -> int:
    """Writes of an old term after a newer one had written another object: versions guard single objects."""
    newest, count = -1, 0
    for commit in found:
        count += commit.term < newest
        newest = max(newest, commit.term)
    return count


def refused(events: Iterable[Json]) -> int:
    return sum(1 for event in events if event["verb"] == "patch" and event["responseStatus"]["code"] == 409)


@dataclass
class Tally:
    switches: int = 0
    writes: int = 0
    double: int = 0
    crossed: int = 0
    refused: int = 0
    looks: Counter[str] = field(default_factory=Counter[str])


async def many_switches(plane: Plane, wanted: int, groups: int, seed: int, guarded: bool = True) -> Tally:
    """`groups` leases, each with two candidates that take turns sleeping, until they changed hands `wanted` times."""
    namespaces = [plane.namespace("lead") for _ in range(groups)]
    for namespace in namespaces:
        furnish(plane, namespace)
    leases, tally = Leases(), Tally()
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(connected(plane.kubeconfig(ACTORS)))
        following = asyncio.create_task(leases.follow(plane))
        candidates: list[Candidate] = []
        sleepers: list[asyncio.Task[None]] = []
        for number, namespace in enumerate(namespaces):
            chance = random.Random(seed * 1000 + number)
            pair = [Candidate(name, namespace, client, chance, guarded) for name in ("one", "two")]
            candidates += pair
            sleepers.append(asyncio.create_task(_keep_switching(pair, chance, leases, namespace)))
        lives = [asyncio.create_task(one.live()) for one in candidates]
        try:
            while leases.switches < wanted:
                for task in (*lives, *sleepers, following):
                    assert not task.done(), task.result()
                await asyncio.sleep(0.1)
        finally:
            for task in (*sleepers, *lives, following):
                task.cancel()
            await asyncio.gather(*sleepers, *lives, following, return_exceptions=True)
    tally.switches = leases.switches
    with plane.api() as api:
        for namespace in namespaces:
            events = await asyncio.to_thread(plane.audit.settled, namespace, api)
            found = commits(events)
            tally.writes += len(found)
            tally.double += len(double_writes(found))
            tally.crossed += crossed(found)
            tally.refused += refused(events)
    for one in candidates:
        tally.looks.update(one.met)
    return tally


async def _keep_switching(pair: list[Candidate], chance: random.Random, leases: Leases, namespace: str) -> None:
    while True:
        await leases.led_by_another(namespace, than="")
        leader = next(one for one in pair if one.name == leases.holder(namespace))
        await switch(leader, chance, partial(leases.led_by_another, namespace, leader.name))


def furnish(plane: Plane, namespace: str) -> None:
    service = changed(MINIMAL["ModelService"], "metadata.name", SERVICE)
    with plane.api() as api:
        made = api.create(f"/apis/serin.dev/v1alpha1/namespaces/{namespace}/modelservices", service)
        route = http_route(ModelService.model_validate(made), [("a", 1)])
        api.create(f"/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes", route)


def say(tally: Tally) -> str:
    return (
        f"{tally.switches} switches, {tally.writes} writes, {tally.refused} refused as late, {tally.double} double,"
        f" {tally.crossed} after a successor's write to the other object; looks: {dict(tally.looks)}"
    )


async def test_a_leader_that_slept_between_check_and_write_never_writes_over_its_successor(
    plane: Plane, options: Options
) -> None:
    full = options.full
    tally = await many_switches(plane, FULL if full else QUICK, 2 * GROUPS if full else GROUPS, seed=1)
    print(f"\nR12: {say(tally)}")
    report.record("R12: a leader asleep between check and write", tally.switches, tally.double)
    assert tally.refused, "nobody was ever late: nothing was tried"
    assert tally.double == 0


async def test_without_versions_and_fences_it_would(plane: Plane) -> None:
    """The check of the lease before each write is not enough, and this test would see it."""
    for seed in range(2, 7):  # who sleeps when is also a matter of how busy the machine is
        tally = await many_switches(plane, 24, GROUPS, seed=seed, guarded=False)
        print(f"\nR12 without guards: {say(tally)}")
        if tally.double:
            return
    pytest.fail("nobody wrote over a successor")


# --- two real operators -------------------------------------------------------------------------------------------


LEASE_SETTINGS = {"leaseDurationSeconds": 4, "renewDeadlineSeconds": 2.5, "retryPeriodSeconds": 0.5}


def writes_of(w: World, proxy: FaultProxy, since: float) -> list[str]:
    """What was stored of what came through this proxy after a moment of its clock; renewals are not told."""
    return [
        str(call) for call in list(proxy.journal)
        if call.writes and call.time > since and call.resource not in ("leases", "events")
        and call.status is not None and call.status < 300
    ]  # fmt: skip


def test_a_stopped_leader_that_wakes_up_writes_nothing_and_leaves(
    plane: Plane, actors: Actors, options: Options
) -> None:
    """SIGSTOP in the middle of a canary, for a minute in the whole sweep; a second operator takes over meanwhile."""
    election = {} if options.full else {"leaderElection": LEASE_SETTINGS}
    asleep, lease = (60.0, 15.0) if options.full else (8.0, 4.0)
    steps = [{"weightPercent": percent, "holdSeconds": 3} for percent in (10, 50, 100)]
    with World(plane, actors, **election) as w, FaultProxy(plane, 1, namespace=w.namespace) as other:
        with_stable(w, steps=steps)
        settings = {"metricSources": [{"name": "default", "url": w.prometheus.url}], "scaleDownDelaySeconds": 1}
        second = Operator(other.kubeconfig, name="operator-1", namespace=w.namespace, **settings | election)
        with second:
            w.measures(B, GOOD)
            w.apply(passed_revision("b"))
            w.until(lambda: weights(w).get(B) == 10, "the first step")
            early = writes_of(w, other, 0)
            w.operator.pause()
            stopped = w.proxy.now
            began = time.monotonic()
            w.until(lambda: writes_of(w, other, 0), "the second operator acts", 3 * lease + 30)
            took = time.monotonic() - began
            time.sleep(max(0.0, asleep - (time.monotonic() - began)))
            w.operator.resume()
            code = w.operator.wait(30)
            w.until(lambda: serves(w, B), f"the model is promoted\n{second.tail()}")
            late = writes_of(w, w.proxy, stopped + asleep / 2)
            violations = len(safety(plane.audit.settled(w.namespace, w.api)))
            print(f"\nR12: asleep for {asleep:.0f} s, the other acted after {took:.1f} s; {len(late)} late writes")
            report.record("R12: a leader stopped for a minute" if options.full else "R12: a leader stopped", 1,
                          len(early) + len(late) + violations, took)  # fmt: skip
            assert not early, "\n".join(["the second wrote while the first led:", *early])
            assert not late, "\n".join(late)
            assert not violations
            assert code == 1, "a leader that lost its lease must leave"
            assert took < lease + 10
