"""The index of who refers to what is put right by looks, whatever events were lost."""

from typing import Any

from serin_operator.interest import Interest
from serin_operator.queue import Key

JOB = Key("FineTuneJob", "ml", "bot")


def a_job(gate: str = "quality", service: str | None = "chat", state: str = "Training") -> dict[str, Any]:
    rollout = {"rollout": {"modelServiceRef": {"name": service}}} if service else {}
    return {"spec": {"gates": [{"name": gate}]} | rollout, "status": {"state": state}}


def test_what_was_not_known_is_worth_another_look() -> None:
    interest = Interest()
    assert interest.learn(JOB, a_job())
    assert not interest.learn(JOB, a_job())
    assert interest.learn(JOB, a_job(gate="safety"))  # its MODIFIED event was lost
    assert interest.in_gate("ml", "quality") == []
    assert interest.in_gate("ml", "safety") == [JOB]
    assert interest.learn(JOB, a_job(gate="safety", service="other"))
    assert interest.in_service("ml", "other") == [JOB]


def test_a_decided_fate_is_no_reason_to_look_again() -> None:
    interest = Interest()
    interest.learn(JOB, a_job())
    assert not interest.learn(JOB, a_job(state="Promoted"))
    assert interest.in_service("ml", "chat") == []


def test_a_job_that_a_look_did_not_find_is_forgotten() -> None:
    interest = Interest()
    interest.learn(JOB, a_job())
    interest.forget(JOB)
    interest.forget(JOB)
    assert list(interest.in_policies()) == []


def test_a_route_that_a_look_finds_is_news_once() -> None:
    interest, service = Interest(), Key("ModelService", "ml", "chat")
    assert interest.learn_route(service, "front")
    assert not interest.learn_route(service, "front")
    assert interest.in_route("ml", "front") == [service]
    assert not interest.learn_route(service, None)
    assert interest.in_route("ml", "front") == []


def test_a_service_that_is_gone_waits_for_no_route() -> None:
    interest, service = Interest(), Key("ModelService", "ml", "chat")
    interest.learn_route(service, "front")
    interest.forget(service)
    assert interest.in_route("ml", "front") == []
