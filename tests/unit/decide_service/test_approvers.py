"""Approval steps that name who may give them: proven, of this very step, and not for ever."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from serin_operator.api.v1alpha1 import APPROVAL
from serin_operator.decide.job.approvals import Admission
from serin_operator.decide.service.snapshot import ReadingKind
from support.service_world import NOON, Json, World, deaths, play, stable_is, with_stable

FIRST, LAST = {"weightPercent": 20, "holdSeconds": 1}, {"weightPercent": 100, "holdSeconds": 1}
LEADS: Json = {"groups": ["ml-leads"], "validSeconds": 60}


def waiting(approval: Json = LEADS, *more: Json) -> tuple[World, str, str]:
    """A candidate that waits at 20 percent; and the code that its status tells."""
    steps = [FIRST, {"approval": approval}, *more, LAST]
    world, _ = with_stable(steps=steps, minRequests=0, intervalSeconds=1)
    name = world.passes("b")
    play(world, 60, until=lambda w: (w.status.get("candidate") or {}).get("approval") is not None)
    assert world.status["state"] == "AwaitingApproval"
    return world, name, code(world)


def standing(world: World) -> Json:
    found: Json = world.status["candidate"]["approval"]
    return found


def code(world: World) -> str:
    message: str = standing(world)["message"]
    return message.partition("=")[2].partition(" ")[0]


def approve(
    world: World, code: str, group: str = "ml-leads", user: str = "alice", nonce: str = "1", on: str = ""
) -> None:
    kind = "ModelRevision" if on else "ModelService"
    world.annotate(kind, on or "bot", f"{APPROVAL}{nonce}", f"{code} {group} {user}")


def goes_on(world: World, name: str, seconds: int = 20) -> bool:
    play(world, seconds, until=stable_is(name))
    return bool(world.status["stable"]["revision"] == name)


def test_it_says_whom_it_waits_for_and_what_to_write() -> None:
    world, name, _ = waiting({**LEADS, "users": ["bob"]})
    message = standing(world)["message"]
    assert "waits for a member of ml-leads or bob" in message
    assert f"kubectl annotate mrev {name} 'approval.serin.dev/<a new word>=" in message
    assert message in world.status["message"]
    assert standing(world)["outcome"] == "Awaited"
    assert "ApprovalNeeded" in world.events
    assert not goes_on(world, name, 60)


@pytest.mark.parametrize("where", ["ModelService", "ModelRevision"])
def test_one_of_them_lets_it_go_on(where: str) -> None:
    world, name, said = waiting()
    approve(world, said, on=name if where == "ModelRevision" else "")
    assert goes_on(world, name)


def test_a_user_may_be_named() -> None:
    world, name, said = waiting({"users": ["bob@example.com"]})
    approve(world, said, group="system:authenticated", user="bob@example.com")
    assert goes_on(world, name)


@pytest.mark.parametrize("last", [False, True], ids=["in between", "before it is called stable"])
def test_who_approved_stays_in_the_journal(last: bool) -> None:
    steps = [FIRST, LAST, {"approval": LEADS}] if last else [FIRST, {"approval": LEADS}, LAST]
    world, _ = with_stable(steps=steps, minRequests=0, intervalSeconds=1)
    name = world.passes("b")
    play(world, 60, until=lambda w: (w.status.get("candidate") or {}).get("approval") is not None)
    approve(world, code(world))
    assert goes_on(world, name)
    said = world.status["commands"][0]
    assert (said["request"], said["verb"], said["outcome"]) == (f"{APPROVAL}1", "approve", "Done")
    assert (said["askedBy"], said["revision"]) == ("alice", name)
    assert "alice of ml-leads approved at" in said["message"]
    assert [one["request"] for one in world.status["commands"]] == [f"{APPROVAL}1"]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda w, said: approve(w, said, group="everybody"), id="a group that is not named"),
        pytest.param(lambda w, said: approve(w, "0000000000"), id="another code"),
        pytest.param(lambda w, said: w.annotate("ModelService", "bot", f"{APPROVAL}1", said), id="no name"),
        pytest.param(
            lambda w, said: w.annotate("ModelService", "bot", "approved", f"{said} ml-leads alice"), id="another key"
        ),
        pytest.param(lambda w, said: w.say("approve/1"), id="the command that anybody may give"),
        pytest.param(lambda w, said: w.say("skip/1"), id="a skip"),
        pytest.param(lambda w, said: w.say("promote/1"), id="a promotion"),
    ],
)
def test_nothing_else_does(wrong: Callable[[World, str], None]) -> None:
    world, name, said = waiting()
    wrong(world, said)
    assert not goes_on(world, name, 30)
    assert world.status["candidate"]["step"] == 2


@pytest.mark.parametrize(
    ("command", "why"),
    [("approve/1", "names who may approve it"), ("skip/1", "names who may let it end"), ("promote/1", "step by step")],
)
def test_a_command_that_would_go_past_them_is_refused_with_what_would_help(command: str, why: str) -> None:
    world, _, _ = waiting()
    world.say(command)
    world.look()
    assert world.status["commands"][0]["outcome"] == "Refused"
    assert why in world.status["commands"][0]["message"]


def test_a_promotion_before_the_step_does_not_go_past_it() -> None:
    steps = [FIRST, {"approval": LEADS}, LAST]
    world, _ = with_stable(steps=steps, minRequests=0, intervalSeconds=1)
    world.passes("b")
    play(world, 30, until=lambda w: (w.status.get("candidate") or {}).get("step") == 1)
    world.say("promote/1")
    world.look()
    assert world.status["commands"][0]["outcome"] == "Refused"


def test_a_promotion_that_was_accepted_stops_where_names_are_asked_for_meanwhile() -> None:
    world, _ = with_stable(steps=[FIRST, LAST], minRequests=0, intervalSeconds=1)
    name = world.passes("b")
    play(world, 30, until=lambda w: (w.status.get("candidate") or {}).get("step") == 1)
    world.models[name].ready_pods = 0
    world.say("promote/1")
    play(world, 2)
    world.edit(lambda spec: spec["canary"].update(steps=[FIRST, {"approval": LEADS}, LAST]))
    world.models[name].ready_pods = None
    assert not goes_on(world, name, 60)
    approve(world, code(world))
    assert goes_on(world, name)


def test_an_approval_expires() -> None:
    world, name, said = waiting()
    world.models[name].says("length", ReadingKind.NO_DATA)  # nothing says that it is good
    approve(world, said)
    play(world, 3)
    assert standing(world)["outcome"] == "Approved"
    play(world, 70)
    assert standing(world)["outcome"] == "Expired"
    assert "that expired at" in standing(world)["message"]
    world.models[name].says("length", ReadingKind.VALUE, 23.0)
    assert not goes_on(world, name, 30)
    approve(world, said, nonce="2")
    assert goes_on(world, name)


def test_taking_it_back_in_time_takes_it_back() -> None:
    world, name, said = waiting()
    world.models[name].says("length", ReadingKind.NO_DATA)
    approve(world, said)
    play(world, 3)
    world.annotate("ModelService", "bot", f"{APPROVAL}1", None)
    play(world, 3)
    assert standing(world)["outcome"] == "Awaited"


@pytest.mark.parametrize(
    "admission",
    [
        Admission(problem="the chart's admission policies are switched off"),
        Admission(identity="policy/2 binding/1", since=NOON + timedelta(days=1)),
        Admission(),
    ],
    ids=["switched off", "not old enough", "nobody looked"],
)
def test_without_proof_nobody_is_believed(admission: Admission) -> None:
    world, name, said = waiting()
    world.admission = admission
    approve(world, said)
    assert not goes_on(world, name, 30)
    assert standing(world)["outcome"] == "Unproven"
    assert "no approval can be believed" in world.status["message"]


def test_what_was_written_while_nothing_proved_it_is_worth_nothing_later() -> None:
    world, name, said = waiting()
    world.admission = Admission(problem="away")
    play(world, 3)
    approve(world, said)
    world.admission = Admission(identity="policy/2 binding/1", since=NOON - timedelta(hours=1))
    assert not goes_on(world, name, 30)
    assert code(world) != said
    approve(world, code(world), nonce="2")
    assert goes_on(world, name)


def test_an_approval_is_of_one_step_and_of_one_beginning_of_it() -> None:
    world, name, said = waiting(LEADS, {"approval": LEADS})
    approve(world, said)
    play(world, 10)
    assert world.status["candidate"]["step"] == 3
    assert code(world) != said
    assert not goes_on(world, name, 30)
    approve(world, code(world), nonce="2")
    assert goes_on(world, name)


def test_a_breach_rolls_back_whoever_approved() -> None:
    world, name, said = waiting()
    approve(world, said)
    world.models[name].says("length", ReadingKind.VALUE, 126.0)
    assert not goes_on(world, name, 10)
    assert world.rollout(name)["rejection"]["reason"] == "SloBreached"


def test_whenever_the_operator_dies_the_step_ends_only_by_them() -> None:
    world, name, said = waiting()
    approve(world, said)
    worlds = list(deaths(world, 3))
    assert worlds
    for other in worlds:
        assert goes_on(other, name, 30)
