"""The proxy itself, against a real apiserver: every fault does what its name says, and nothing else."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from faults.harness.injections import (
    Answer,
    CommitThenAnswer,
    CommitThenCut,
    Delay,
    KillAfter,
    KillBefore,
    RandomAnswers,
    Run,
)
from faults.harness.operators import Operator
from faults.harness.plane import OPERATOR, Api, Plane
from faults.harness.proxy import FaultProxy
from support.objects import MINIMAL

Json = dict[str, Any]


@pytest.fixture
def proxy(plane: Plane, namespace: str) -> Iterator[FaultProxy]:
    with FaultProxy(plane, namespace=namespace) as found:
        yield found


@pytest.fixture
def through(plane: Plane, proxy: FaultProxy) -> Iterator[Api]:
    """A client that speaks to the proxy."""
    tls = ssl.create_default_context(cafile=str(plane.server.authority.ca.certificate))
    with httpx.Client(base_url=proxy.url, verify=tls, timeout=30) as client:
        yield Api(client)


@pytest.fixture
def straight(plane: Plane) -> Iterator[Api]:
    with plane.api() as api:
        yield api


def config_map(name: str, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def until(fact: Callable[[], object], seconds: float = 120, say: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {say()}")
        time.sleep(0.05)


class Watching:
    """A watch of ConfigMaps through the proxy, in a thread."""

    def __init__(self, client: httpx.Client, where: str) -> None:
        self.events: list[Json] = []
        self.ended = threading.Event()
        self._client, self._where = client, where
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            with self._client.stream("GET", self._where, params={"watch": "true"}, timeout=None) as answer:
                for line in answer.iter_lines():
                    self.events.append(json.loads(line))
        except httpx.HTTPError:
            pass
        finally:
            self.ended.set()

    def names(self) -> list[str]:
        return [event["object"].get("metadata", {}).get("name", "") for event in self.events]


@pytest.fixture
def watching(through: Api, proxy: FaultProxy, namespace: str) -> Watching:
    found = Watching(through.client, maps(namespace))
    until(lambda: proxy.watches.open("configmaps"))
    return found


def test_writes_are_numbered_and_reads_leases_and_events_are_not(
    through: Api, proxy: FaultProxy, namespace: str
) -> None:
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}}
    through.create(maps(namespace), config_map("a"))
    through.get(f"{maps(namespace)}/a")
    through.create(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases", lease)
    through.delete(f"{maps(namespace)}/a")
    assert [(call.number, call.what, call.status) for call in proxy.journal] == [
        (1, "create configmaps a", 201),
        (None, "get configmaps a", 200),
        (None, "create leases l", 201),
        (2, "delete configmaps a", 200),
    ]
    assert "#2 delete configmaps a -> 200" in " ".join(proxy.timeline().split())


def test_an_answer_of_ours_keeps_the_write_from_happening(
    through: Api, straight: Api, proxy: FaultProxy, namespace: str
) -> None:
    proxy.on_write(1, Answer(429, retry_after=3))
    answer = through.client.post(maps(namespace), json=config_map("a"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")
    assert answer.json()["reason"] == "TooManyRequests"
    assert straight.get(f"{maps(namespace)}/a") is None
    through.create(maps(namespace), config_map("a"))  # the second write is as always


def test_ambiguous_success_happens_and_is_not_told(
    through: Api, straight: Api, proxy: FaultProxy, namespace: str
) -> None:
    proxy.on_write(1, CommitThenCut())
    proxy.on_write(2, CommitThenAnswer(504))
    with pytest.raises(httpx.RemoteProtocolError):
        through.client.post(maps(namespace), json=config_map("cut"))
    assert through.client.post(maps(namespace), json=config_map("told")).status_code == 504
    assert straight.get(f"{maps(namespace)}/cut")
    assert straight.get(f"{maps(namespace)}/told")
    assert [(call.status, call.told) for call in proxy.writes] == [(201, None), (201, 504)]


def test_a_share_of_the_requests_fails_by_seed(plane: Plane, namespace: str) -> None:
    def run(seed: int) -> list[int | None]:
        with FaultProxy(plane, seed) as proxy, httpx.Client(base_url=proxy.url, verify=False) as client:
            proxy.on_call(lambda call: call.method == "GET", RandomAnswers(0.3))
            for _ in range(40):
                client.get(maps(namespace))
            return [call.told for call in proxy.journal]

    first = run(7)
    assert 4 < first.count(500) < 22
    assert run(7) == first
    assert run(8) != first


def test_a_second_writer_comes_in_between(through: Api, straight: Api, proxy: FaultProxy, namespace: str) -> None:
    here = f"{maps(namespace)}/a"
    seen = through.create(maps(namespace), config_map("a"))
    proxy.on_call(lambda call: call.method == "PUT", Run(lambda _: straight.patch(here, {"data": {"by": "user"}})), 1)
    assert through.client.put(here, json=seen).status_code == 409
    assert straight.get(here)["data"] == {"by": "user"}  # type: ignore[index]


def test_latency_is_added(through: Api, proxy: FaultProxy, namespace: str) -> None:
    proxy.on_every_write(Delay(0.5))
    began = time.monotonic()
    through.create(maps(namespace), config_map("a"))
    assert time.monotonic() - began >= 0.5


def test_the_frozen_view_is_that_of_its_moment(through: Api, straight: Api, proxy: FaultProxy, namespace: str) -> None:
    where = maps(namespace)
    straight.create(where, config_map("kept", n="1"))
    straight.create(where, config_map("gone"))
    proxy.freeze_view()
    straight.patch(f"{where}/kept", {"data": {"n": "2"}})
    straight.delete(f"{where}/gone")
    straight.create(where, config_map("new"))
    assert [item["metadata"]["name"] for item in through.items(where)] == ["gone", "kept"]
    assert through.get(f"{where}/kept")["data"] == {"n": "1"}  # type: ignore[index]
    assert through.get(f"{where}/gone")
    assert through.get(f"{where}/new") is None
    proxy.thaw()
    assert [item["metadata"]["name"] for item in through.items(where)] == ["kept", "new"]
    assert through.get(f"{where}/gone") is None


def test_the_view_is_narrowed_to_one_namespace(plane: Plane, through: Api, straight: Api, namespace: str) -> None:
    other = plane.namespace()
    for place in (namespace, other):
        straight.create(maps(place), config_map("a"))
    found = through.items("/api/v1/configmaps")
    assert {item["metadata"]["namespace"] for item in found} == {namespace}


def test_events_are_dropped_doubled_held_and_late(
    straight: Api, proxy: FaultProxy, namespace: str, watching: Watching
) -> None:
    watches, where = proxy.watches, maps(namespace)
    watches.drop(lambda event: event.name == "lost")
    straight.create(where, config_map("lost"))
    straight.create(where, config_map("seen"))
    until(lambda: watching.names() == ["seen"])
    watches.keep()
    watches.duplicate()
    straight.create(where, config_map("twice"))
    until(lambda: watching.names() == ["seen", "twice", "twice"])
    watches.clear()
    watches.hold("configmaps")
    straight.create(where, config_map("held"))
    time.sleep(0.5)
    assert watching.names()[-1] == "twice"
    watches.release()
    until(lambda: watching.names()[-1] == "held")
    watches.delay(0.5)
    began = time.monotonic()
    straight.create(where, config_map("late"))
    until(lambda: watching.names()[-1] == "late")
    assert time.monotonic() - began >= 0.5
    assert [passed.fate for passed in watches.passed][:2] == ["dropped", "delivered"]


def test_a_watch_gets_an_error_event_and_ends(proxy: FaultProxy, watching: Watching) -> None:
    assert proxy.watches.error_event(410) == 1
    assert watching.ended.wait(60)
    assert watching.events[-1]["type"] == "ERROR"
    assert watching.events[-1]["object"]["code"] == 410


def test_a_watch_is_cut_and_the_next_one_refused(
    through: Api, proxy: FaultProxy, namespace: str, watching: Watching
) -> None:
    assert proxy.watches.cut() == 1
    assert watching.ended.wait(60)
    until(lambda: proxy.watches.open() == [])
    proxy.watches.refuse(503, seconds=3)
    assert through.client.get(maps(namespace), params={"watch": "true"}).status_code == 503
    time.sleep(3.1)
    Watching(through.client, maps(namespace))
    until(lambda: proxy.watches.open() == ["configmaps"])


@pytest.fixture
def operator(proxy: FaultProxy, namespace: str) -> Iterator[Operator]:
    with Operator(proxy.kubeconfig, namespace=namespace) as found:
        yield found


def a_job() -> Json:
    return MINIMAL["FineTuneJob"] | {"metadata": {"name": "bot"}}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_operator_is_killed_at_a_write_and_the_next_one_goes_on(
    plane: Plane, straight: Api, proxy: FaultProxy, namespace: str, operator: Operator, after: bool
) -> None:
    first = operator.pid
    proxy.on_write(1, KillAfter(operator) if after else KillBefore(operator))
    jobs = f"/apis/serin.dev/v1alpha1/namespaces/{namespace}/finetunejobs"
    straight.create(jobs, a_job())
    until(lambda: len(proxy.writes) > 0 and operator.pid != first and operator.alive(), 120, operator.tail)
    assert proxy.writes[0].status == (200 if after else None)
    assert proxy.writes[0].told is None
    until(lambda: (straight.get(f"{jobs}/bot") or {}).get("status", {}).get("state") == "Waiting", 120, operator.tail)
    assert operator.starts == 2
    by_operator = [event for event in plane.audit.settled(namespace, straight)
                   if event["user"]["username"] == OPERATOR and event["verb"] == "patch"]  # fmt: skip
    assert len(by_operator) == 1, proxy.timeline()


def test_an_operator_that_was_killed_starts_again_and_ends_when_it_is_asked_to(
    operator: Operator, proxy: FaultProxy
) -> None:
    until(lambda: proxy.journal, 120, operator.tail)
    operator.kill()
    seen = len(proxy.journal)
    operator.start()
    until(lambda: len(proxy.journal) > seen, 120, operator.tail)
    assert operator.stop() == 0
