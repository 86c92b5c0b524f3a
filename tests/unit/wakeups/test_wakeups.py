"""Which object is looked at when something changes: too many at worst, never too few."""

from typing import Any

import kopf
import pytest
from serin_operator.handlers import Wakeups, register, settings
from serin_operator.interest import Interest
from serin_operator.queue import Key, WorkQueue

JOB, OTHER = Key("FineTuneJob", "ml", "bot"), Key("FineTuneJob", "ml", "other")
SERVICE = Key("ModelService", "ml", "chat")


def a_job(
    service: str | None = "chat", gates: tuple[str, ...] = ("quality",), state: str = "Training"
) -> dict[str, Any]:
    spec: dict[str, Any] = {"gates": [{"name": name} for name in gates]}
    if service is not None:
        spec["rollout"] = {"modelServiceRef": {"name": service}}
    return {"metadata": {"uid": "u", "resourceVersion": "1"}, "spec": spec, "status": {"state": state}}


def labelled(**labels: str) -> dict[str, Any]:
    return {"metadata": {"labels": {f"serin.dev/{key}": value for key, value in labels.items()}}}


@pytest.fixture
def wakeups() -> Wakeups:
    found = Wakeups(WorkQueue(), Interest(), lambda uid, version: False)
    found.job("ml", "bot", a_job())
    found.job("ml", "other", a_job(service=None, gates=("else",)))
    return found


def test_a_job_wakes_itself(wakeups: Wakeups) -> None:
    assert wakeups.job("ml", "bot", a_job()) == [JOB]


def test_a_gate_wakes_the_jobs_that_name_it(wakeups: Wakeups) -> None:
    assert wakeups.gate("ml", "quality", {}) == [JOB]
    assert wakeups.gate("elsewhere", "quality", {}) == []


def test_a_gate_wakes_a_rejected_job_too(wakeups: Wakeups) -> None:
    wakeups.job("ml", "bot", a_job(state="Rejected"))
    assert wakeups.gate("ml", "quality", {}) == [JOB]


def test_a_policy_wakes_every_job(wakeups: Wakeups) -> None:
    assert set(wakeups.policy("", "floor", {})) == {JOB, OTHER}


def test_a_service_wakes_itself_and_the_jobs_on_their_way_to_it(wakeups: Wakeups) -> None:
    assert wakeups.service("ml", "chat", {}) == [SERVICE, JOB]


def test_a_service_leaves_jobs_alone_whose_fate_is_decided(wakeups: Wakeups) -> None:
    wakeups.job("ml", "bot", a_job(state="Promoted"))
    assert wakeups.service("ml", "chat", {}) == [SERVICE]


def test_a_revision_wakes_its_service_and_the_job_that_made_it(wakeups: Wakeups) -> None:
    assert set(wakeups.revision("ml", "chat-abc", labelled(service="chat", job="bot"))) == {SERVICE, JOB}


@pytest.mark.parametrize(
    ("labels", "want"),
    [
        pytest.param({"job": "bot"}, [JOB], id="a Job or pod of a stage"),
        pytest.param({"service": "chat"}, [SERVICE], id="a Deployment or route"),
        pytest.param({}, [], id="somebody else's"),
    ],
)
def test_a_child_wakes_its_owner(wakeups: Wakeups, labels: dict[str, str], want: list[Key]) -> None:
    assert wakeups.child("ml", "x", labelled(**labels)) == want


def test_a_deleted_job_is_forgotten(wakeups: Wakeups) -> None:
    wakeups.job_gone("ml", "bot")
    assert wakeups.gate("ml", "quality", {}) == []


def test_kopf_is_an_event_source_only() -> None:
    registry = kopf.OperatorRegistry()
    register(registry, Wakeups(WorkQueue(), Interest(), lambda uid, version: False))
    assert registry._changing.get_all_handlers() == []  # no annotations
    assert registry._spawning.get_all_handlers() == []  # no timers, no daemons, hence no finalizers
    assert len(registry._watching.get_all_handlers()) == 9
    found = settings()
    assert found.peering.standalone
    assert found.scanning.disabled
    assert not found.posting.enabled


async def test_the_echo_of_an_own_write_wakes_nobody() -> None:
    queue = WorkQueue()
    registry = kopf.OperatorRegistry()
    register(registry, Wakeups(queue, Interest(), lambda uid, version: (uid, version) == ("u", "1")))
    handler = next(h for h in registry._watching.get_all_handlers() if "finetunejobs" in h.id)
    for version, waiting in (("1", 0), ("2", 1)):
        body = a_job()
        body["metadata"]["resourceVersion"] = version
        await handler.fn(namespace="ml", name="bot", body=kopf.Body(body), type="MODIFIED")  # type: ignore[call-arg]
        assert len(queue._due) == waiting
