"""R9 and the real half of R8: what lies under the apiserver stops for a while, or forgets the past.

A control plane of its own, since nobody else could use one whose etcd is asleep.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from faults.harness.actors import Actors
from faults.harness.flows import BAD, GOOD, A, B, b_is_rolled_back, weights, with_stable
from faults.harness.kubelet import Restarting
from faults.harness.options import Options
from faults.harness.oracles import safety
from faults.harness.plane import Plane
from faults.harness.report import record
from faults.harness.resting import GOAL, IDLE, JOBS, edit, judged, resting, until_seen
from faults.harness.world import World, passed_revision
from serin_operator.api.kinds import FINE_TUNE_JOB, LEASE
from serin_operator.wakeups import WATCHED

LONG_STEP = [{"weightPercent": 10, "holdSeconds": 15}, {"weightPercent": 50, "holdSeconds": 5}, {"weightPercent": 100}]


@pytest.fixture(scope="module")
def plane() -> Iterator[Plane]:
    with Plane() as found:
        yield found


@pytest.fixture(scope="module")
def actors(plane: Plane) -> Iterator[Actors]:
    with Actors(plane) as found:
        yield found


@pytest.mark.parametrize("how", ["stopped", pytest.param("killed", marks=pytest.mark.whole_sweep)])
def test_a_canary_outlives_an_outage_of_etcd(plane: Plane, actors: Actors, options: Options, how: str) -> None:
    """The candidate turns bad while nobody can write: its weight stays, and falls within 15 s after etcd is back."""
    seconds = 90.0 if options.full else 20.0
    server = plane.server
    with World(plane, actors) as w, Restarting(w.operator) as kubelet:
        with_stable(w, steps=LONG_STEP)
        w.measures(B, GOOD)
        w.apply(passed_revision("b"))
        w.until(lambda: weights(w).get(B) == 10, "the first step")
        server.pause("etcd") if how == "stopped" else server.kill("etcd")
        w.note(f"etcd is {how}")
        began = datetime.now(UTC)
        w.measures(B, BAD)
        time.sleep(seconds)
        assert len(kubelet.exits) == 1, w.operator.tail()  # a leader that cannot renew stops, and its successor waits
        ended = datetime.now(UTC)
        server.resume("etcd") if how == "stopped" else server.restart("etcd")
        w.until(lambda: answers(w), "the apiserver answers again", 120)
        back = w.proxy.now
        w.note("etcd is back")
        # By now the rollback may be done: the route can be written before the last kind answers.
        assert not routed(plane, w, began, ended), w.timeline()
        w.until(lambda: weights(w) == {A: 100}, f"the rollback\n{w.timeline()}", GOAL + 30)
        took = w.proxy.now - back
        print(f"etcd {how} for {seconds:.0f} s: rolled back {took:.1f} s after it was back")
        w.until(lambda: b_is_rolled_back(w), f"the end\n{w.timeline()}", 60)
        wrong = safety(plane.audit.settled(w.namespace, w.api))
        record("R9 etcd down", 1, len(wrong) + (took > GOAL), took)
        assert not wrong, w.timeline()
        assert took <= GOAL, w.timeline()
        assert len(kubelet.exits) == 1, w.operator.tail()


def routed(plane: Plane, w: World, began: datetime, ended: datetime) -> list[Any]:
    """Writes of the route that the apiserver took in between; what its Gateway says of it (a subresource) moves nothing."""
    refs = ((event["objectRef"], event) for event in plane.audit.of(w.namespace))
    ours = [event for ref, event in refs if ref["resource"] == "httproutes" and not ref.get("subresource")]
    written = [event for event in ours if event["verb"] in ("create", "update", "patch", "delete")]
    done = [event for event in written if event["responseStatus"].get("code", 500) < 300]
    return [event for event in done if began < datetime.fromisoformat(event["stageTimestamp"]) < ended]


def answers(w: World) -> bool:
    """Whoever asks the apiserver itself is answered. Each kind has a connection to etcd of its own, and the apiserver
    may take half a minute until the last of them is back."""
    annotation = {"metadata": {"annotations": {"asked": f"{w.proxy.now}"}}}
    merge = {"Content-Type": "application/merge-patch+json"}
    asked = (LEASE, *(watched.kind for watched in WATCHED))
    try:
        found = [w.api.client.get(kind.path(w.namespace), timeout=2) for kind in asked]
        found += [w.api.client.patch(f"/api/v1/namespaces/{w.namespace}", json=annotation, headers=merge, timeout=2)]
    except httpx.HTTPError:
        return False
    return all(answer.is_success for answer in found)


def listable(w: World) -> bool:
    """A fresh apiserver asks for patience while its caches fill."""
    try:
        return len(w.items(FINE_TUNE_JOB)) == len(JOBS)
    except httpx.HTTPError:
        return False


@pytest.mark.whole_sweep
def test_a_past_that_etcd_has_compacted_is_no_loss(plane: Plane, actors: Actors) -> None:
    """Watches cannot be resumed: the apiserver was started anew, and what they ask for is compacted. A real 410."""
    with World(plane, actors, **IDLE) as w, Restarting(w.operator):
        resting(w)
        w.proxy.watches.refuse(503)
        w.proxy.watches.cut()
        edit(w)
        compact(plane)
        plane.server.kill("kube-apiserver")
        plane.server.restart("kube-apiserver")
        w.until(lambda: listable(w), "the apiserver can list again", 60)
        w.proxy.watches.allow()
        back = w.proxy.now
        took = until_seen(w, "compacted", back)
        w.until(lambda: len(w.proxy.watches.open()) >= 9, "everything is watched again", 60, free=True)
        judged("R8 410 Gone", w, took)


def compact(plane: Plane) -> None:
    """Through etcd's JSON gateway, since etcdctl is not among our programs."""
    flags = " ".join(plane.server.arguments("etcd"))
    [url] = re.findall(r"--advertise-client-urls=(\S+)", flags)
    revision = httpx.post(f"{url}/v3/kv/range", json={"key": "AA=="}).raise_for_status().json()["header"]["revision"]
    httpx.post(f"{url}/v3/kv/compaction", json={"revision": revision, "physical": True}).raise_for_status()
