"""Which object is looked at when something changes: too many at worst, never too few."""

from collections.abc import Iterable
from typing import Any

import kopf
import pytest
from serin_operator.api import kinds
from serin_operator.api.kinds import Kind
from serin_operator.handlers import register, settings
from serin_operator.interest import Interest
from serin_operator.queue import Key, WorkQueue
from serin_operator.reconciler import PLATFORM
from serin_operator.sightings import Missed, Sighting
from serin_operator.wakeups import OURS, WATCHED, Wakeups

JOB, OTHER = Key("FineTuneJob", "ml", "bot"), Key("FineTuneJob", "ml", "other")
SERVICE = Key("ModelService", "ml", "chat")


def a_job(
    name: str = "bot",
    service: str | None = "chat",
    gates: tuple[str, ...] = ("quality",),
    version: int = 1,
    state: str = "Training",
) -> dict[str, Any]:
    spec: dict[str, Any] = {"gates": [{"name": name} for name in gates]}
    if service is not None:
        spec["rollout"] = {"modelServiceRef": {"name": service}}
    return {"metadata": meta(name, version=version), "spec": spec, "status": {"state": state}}


def meta(name: str, namespace: str = "ml", version: int = 1, **labels: str) -> dict[str, Any]:
    return {
        "namespace": namespace,
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "labels": {f"serin.dev/{key}": value for key, value in labels.items()},
    }


def waiting(wakeups: Wakeups) -> set[Key]:
    """Who is woken; the queue is emptied."""
    found = set(wakeups.queue._due)
    wakeups.queue._due.clear()
    return found


def change(
    wakeups: Wakeups, kind: Kind, name: str, version: int = 100, namespace: str = "ml", **labels: str
) -> set[Key]:
    """Who is woken by an event."""
    wakeups.told(kind, {"metadata": meta(name, namespace, version, **labels)}, gone=False)
    return waiting(wakeups)


def concerned(wakeups: Wakeups, kind: Kind, name: str, **labels: str) -> Iterable[Key]:
    return wakeups.concerned(kind, Sighting.of(meta(name, **labels)))


@pytest.fixture
async def wakeups() -> Wakeups:
    found = Wakeups(WorkQueue(), Interest(), lambda uid, version: False)
    found.told(kinds.FINE_TUNE_JOB, a_job(), gone=False)
    found.told(kinds.FINE_TUNE_JOB, a_job("other", service=None, gates=("else",)), gone=False)
    assert waiting(found) == {JOB, OTHER}
    return found


async def test_a_gate_wakes_the_jobs_that_name_it(wakeups: Wakeups) -> None:
    assert change(wakeups, kinds.EVAL_GATE, "quality") == {JOB}
    assert change(wakeups, kinds.EVAL_GATE, "quality", namespace="elsewhere") == set()


async def test_a_gate_wakes_a_rejected_job_too(wakeups: Wakeups) -> None:
    wakeups.told(kinds.FINE_TUNE_JOB, a_job(version=2, state="Rejected"), gone=False)
    assert change(wakeups, kinds.EVAL_GATE, "quality") == {JOB}


@pytest.mark.parametrize("kind", [kinds.CLUSTER_EVAL_POLICY, kinds.EVAL_WAIVER], ids=lambda kind: kind.kind)
async def test_a_policy_or_waiver_wakes_every_job_and_the_look_at_the_policies_themselves(
    wakeups: Wakeups, kind: Kind
) -> None:
    assert change(wakeups, kind, "floor", namespace="") == {JOB, OTHER, PLATFORM}


@pytest.mark.parametrize("kind", [kinds.CLUSTER_EVAL_POLICY, kinds.EVAL_WAIVER], ids=lambda kind: kind.kind)
async def test_the_status_of_a_policy_or_waiver_wakes_no_job(wakeups: Wakeups, kind: Kind) -> None:
    def told(version: int, generation: int, gone: bool = False, **more: str) -> set[Key]:
        found = meta("floor", "", version) | {"generation": generation} | more
        wakeups.told(kind, {"metadata": found}, gone)
        return waiting(wakeups)

    everybody = {JOB, OTHER, PLATFORM}
    assert told(100, generation=1) == everybody
    assert told(101, generation=1) == {PLATFORM}
    assert told(102, generation=2) == everybody
    assert told(103, generation=2, deletionTimestamp="2026-01-01T00:00:00Z") == everybody
    assert told(104, generation=2, deletionTimestamp="2026-01-01T00:00:00Z", gone=True) == everybody


@pytest.mark.parametrize("told", [True, False], ids=["told", "missed"])
async def test_a_policy_that_is_gone_is_forgotten(wakeups: Wakeups, told: bool) -> None:
    body = {"metadata": meta("floor", "", 100) | {"generation": 1}}
    wakeups.told(kinds.CLUSTER_EVAL_POLICY, body, gone=False)
    assert len(wakeups._asked) == 1
    if told:
        wakeups.told(kinds.CLUSTER_EVAL_POLICY, body, gone=True)
    else:
        wakeups.missed(kinds.CLUSTER_EVAL_POLICY, Missed(vanished=(Sighting.of(body["metadata"]),)), now=1.0)
    assert wakeups._asked == {}


async def test_a_service_wakes_itself_and_the_jobs_on_their_way_to_it(wakeups: Wakeups) -> None:
    assert change(wakeups, kinds.MODEL_SERVICE, "chat") == {SERVICE, JOB}


async def test_a_service_leaves_jobs_alone_whose_fate_is_decided(wakeups: Wakeups) -> None:
    wakeups.told(kinds.FINE_TUNE_JOB, a_job(version=2, state="Promoted"), gone=False)
    waiting(wakeups)
    assert change(wakeups, kinds.MODEL_SERVICE, "chat") == {SERVICE}


async def test_a_revision_wakes_its_service_and_the_job_that_made_it(wakeups: Wakeups) -> None:
    assert change(wakeups, kinds.MODEL_REVISION, "chat-abc", service="chat", job="bot") == {SERVICE, JOB}


def a_borrower(route: str | None, version: int) -> dict[str, Any]:
    traffic = {"routeRef": {"name": route}} if route is not None else {"hostnames": ["a.example.com"]}
    return {"metadata": meta("chat", version=version), "spec": {"traffic": traffic}}


async def test_a_users_route_wakes_the_service_that_names_it(wakeups: Wakeups) -> None:
    assert change(wakeups, kinds.HTTP_ROUTE, "front", version=1) == set()
    wakeups.told(kinds.MODEL_SERVICE, a_borrower("front", 1), gone=False)
    waiting(wakeups)
    assert change(wakeups, kinds.HTTP_ROUTE, "front", version=2) == {SERVICE}
    assert change(wakeups, kinds.HTTP_ROUTE, "front", namespace="elsewhere") == set()
    assert change(wakeups, kinds.HTTP_ROUTE, "other") == set()
    assert change(wakeups, kinds.HTTP_ROUTE, "chat", service="chat") == {SERVICE}  # one that Serin made


async def test_a_service_that_names_no_route_any_more_is_not_woken_by_it(wakeups: Wakeups) -> None:
    wakeups.told(kinds.MODEL_SERVICE, a_borrower("front", 1), gone=False)
    wakeups.told(kinds.MODEL_SERVICE, a_borrower(None, 2), gone=False)
    waiting(wakeups)
    assert change(wakeups, kinds.HTTP_ROUTE, "front") == set()


@pytest.mark.parametrize(
    ("labels", "want"),
    [
        pytest.param({"job": "bot"}, {JOB}, id="a Job or pod of a stage"),
        pytest.param({"service": "chat"}, {SERVICE}, id="a Deployment or route"),
        pytest.param({}, set(), id="somebody else's"),
    ],
)
@pytest.mark.parametrize("gone", [False, True], ids=["changed", "gone"])
async def test_a_child_wakes_its_owner(wakeups: Wakeups, labels: dict[str, str], want: set[Key], gone: bool) -> None:
    wakeups.told(kinds.POD, {"metadata": meta("x", version=100, **labels)}, gone)
    assert waiting(wakeups) == want


async def test_a_deleted_job_is_looked_at_once_more_and_then_forgotten_by_its_look(wakeups: Wakeups) -> None:
    wakeups.told(kinds.FINE_TUNE_JOB, a_job(version=2), gone=True)
    assert waiting(wakeups) == {JOB}


async def test_what_is_told_again_wakes_nobody(wakeups: Wakeups) -> None:
    wakeups.told(kinds.FINE_TUNE_JOB, a_job(), gone=False)  # a relist after a 410, a duplicated event
    assert waiting(wakeups) == set()


async def test_what_a_list_shows_and_no_watch_told_wakes_whom_it_concerns(wakeups: Wakeups) -> None:
    missed = Missed(changed=(Sighting.of(meta("p", version=7, job="bot")),), vanished=())
    wakeups.missed(kinds.POD, missed, now=0.0)
    assert waiting(wakeups) == {JOB}


async def test_the_late_event_of_something_already_noticed_wakes_nobody(wakeups: Wakeups) -> None:
    wakeups.missed(kinds.POD, Missed(changed=(Sighting.of(meta("p", version=7, job="bot")),)), now=0.0)
    waiting(wakeups)
    assert change(wakeups, kinds.POD, "p", version=7, job="bot") == set()
    assert change(wakeups, kinds.POD, "p", version=6, job="bot") == set()
    assert change(wakeups, kinds.POD, "p", version=8, job="bot") == {JOB}


async def test_the_echo_of_an_own_write_wakes_nobody() -> None:
    wakeups = Wakeups(WorkQueue(), Interest(), lambda uid, version: (uid, version) == ("uid-bot", "1"))
    for version, want in ((1, set[Key]()), (2, {JOB})):
        wakeups.told(kinds.FINE_TUNE_JOB, a_job(version=version), gone=False)
        assert waiting(wakeups) == want


async def test_an_echo_teaches_all_the_same() -> None:
    wakeups = Wakeups(WorkQueue(), Interest(), lambda uid, version: True)
    wakeups.told(kinds.FINE_TUNE_JOB, a_job(), gone=False)
    assert list(concerned(wakeups, kinds.EVAL_GATE, "quality")) == [JOB]


async def test_a_late_event_does_not_teach_what_is_over(wakeups: Wakeups) -> None:
    """The version that a list has shown was learned by a look; the event of an older one comes after it."""
    newest = a_job(version=9, gates=("newest",))
    wakeups.missed(kinds.FINE_TUNE_JOB, Missed(changed=(Sighting.of(newest["metadata"]),)), now=0.0)
    wakeups.interest.learn(JOB, newest)
    wakeups.told(kinds.FINE_TUNE_JOB, a_job(version=8), gone=False)
    assert list(concerned(wakeups, kinds.EVAL_GATE, "newest")) == [JOB]
    assert list(concerned(wakeups, kinds.EVAL_GATE, "quality")) == []


def test_kopf_is_an_event_source_only() -> None:
    registry = kopf.OperatorRegistry()
    register(registry, lambda kind, body, gone: None)
    assert registry._changing.get_all_handlers() == []  # no annotations
    assert registry._spawning.get_all_handlers() == []  # no timers, no daemons, hence no finalizers
    assert len(registry._watching.get_all_handlers()) == len(WATCHED) == 10
    found = settings()
    assert found.peering.standalone
    assert found.scanning.disabled
    assert not found.posting.enabled


def test_kopf_and_the_net_select_the_same_objects() -> None:
    selectors = settings().watching.label_selectors
    assert {selector.any_name for selector in selectors} == {w.kind.plural for w in WATCHED if w.selector}
    assert all(w.selector in ("", OURS) for w in WATCHED)


def test_kopf_never_gives_up_a_call() -> None:
    pauses = iter(settings().networking.error_backoffs)  # type: ignore[arg-type]
    assert max(next(pauses) for _ in range(10_000)) == 5.0


async def test_events_reach_the_listener_with_what_happened() -> None:
    heard: list[tuple[Kind, str, bool]] = []
    registry = kopf.OperatorRegistry()
    register(registry, lambda kind, body, gone: heard.append((kind, body["metadata"]["name"], gone)))
    handler = next(h for h in registry._watching.get_all_handlers() if "finetunejobs" in h.id)
    for happened in (None, "ADDED", "MODIFIED", "DELETED"):
        await handler.fn(body=kopf.Body(a_job()), type=happened)  # type: ignore[call-arg]
    assert heard == [(kinds.FINE_TUNE_JOB, "bot", gone) for gone in (False, False, False, True)]
