"""Steps without a share of their own: an approval waits for a person, an analysis for SLOs that pass for long enough."""

from typing import Any

import pytest
from serin_operator.api.v1alpha1 import Canary, Slo, SloCounts, SloStatus, Verdict
from serin_operator.decide.policies import gradual
from serin_operator.decide.service import judging
from serin_operator.decide.service.judging import Judged
from serin_operator.decide.service.snapshot import Compared, Reading, ReadingKind
from serin_operator.decide.steps import steps_of
from support.service_world import World, a_service, deaths, play, stable_is

SHARE, ALL = {"weightPercent": 50, "holdSeconds": 2}, {"weightPercent": 100, "holdSeconds": 2}
APPROVAL = {"approval": {"message": "look at the transcripts"}}
ANALYSIS = {"analysis": {"passingSeconds": 10}}
BAD, SILENT = Reading(ReadingKind.VALUE, 9.0), Reading(ReadingKind.OUTAGE, text="away")


def in_step(
    number: int, *steps: dict[str, Any], latency: dict[str, Any] | None = None, **canary: Any
) -> tuple[World, str]:
    """A candidate whose step of this number was seen by one look."""
    service = a_service(**{"steps": list(steps), "intervalSeconds": 1, "minRequests": 0, **canary})
    service["spec"]["slos"][0].update(latency or {})
    world = World(service)
    stable = world.passes("a")
    play(world, 10, until=lambda w: w.weights == {stable: 100})
    name = world.passes("b")
    play(world, 40, until=lambda w: candidate(w).get("step") == number and candidate(w).get("watchedSeconds", 0) >= 1)
    assert candidate(world)["step"] == number
    return world, name


def candidate(world: World) -> dict[str, Any]:
    return world.status.get("candidate") or {}


# --- what a step is -------------------------------------------------------------------------------------------------


def test_a_step_without_a_share_has_that_of_the_step_before() -> None:
    canary = Canary.model_validate({"steps": [SHARE, APPROVAL, ANALYSIS, {"weightPercent": 100}, APPROVAL]})
    found = [(step.weight_percent, step.hold.total_seconds()) for step in steps_of(canary)]
    assert found == [(50, 2), (50, 0), (50, 10), (100, 60), (100, 0)]


def test_policies_cut_strides_around_steps_without_a_share() -> None:
    canary = Canary.model_validate({"steps": [SHARE, APPROVAL, ALL]})
    cut = gradual(canary.steps, 30)
    assert [step.weight_percent for step in cut] == [30, 50, None, 80, 100]
    assert cut[2].approval is not None


# --- approval -------------------------------------------------------------------------------------------------------


def test_an_approval_keeps_the_share_for_as_long_as_nobody_approves() -> None:
    world, name = in_step(2, SHARE, APPROVAL, ALL)
    play(world, 60)
    assert world.weights[name] == 50
    assert world.status["state"] == "AwaitingApproval"
    assert "waits for a person to say approve/<nonce> (look at the transcripts)" in world.status["message"]
    assert world.events.count("ApprovalNeeded") == 1


def test_an_approval_lets_it_go_on_and_the_journal_says_who_and_when() -> None:
    world, name = in_step(2, SHARE, APPROVAL, ALL)
    world.say("approve/1", by="alice")
    play(world, 20, until=stable_is(name))
    assert world.status["stable"]["revision"] == name
    told = world.status["commands"][0]
    assert (told["verb"], told["outcome"], told["askedBy"], told["revision"]) == ("approve", "Done", "alice", name)
    assert told["at"]


def test_an_approval_is_of_one_step_only() -> None:
    world, name = in_step(2, SHARE, APPROVAL, ALL, APPROVAL)
    world.say("approve/1")
    play(world, 20)
    assert candidate(world)["step"] == 4
    assert world.weights == {name: 100}
    world.say("approve/2")
    play(world, 5, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (("approve/1", "approve/2"), "step 2 is approved already"),
    ],
)
def test_what_is_approved_already_is_not_approved_again(said: tuple[str, str], why: str) -> None:
    world, name = in_step(2, SHARE, APPROVAL, ALL)
    world.models[name].samples["latency"] = SILENT
    for command in said:
        world.say(command)
        play(world, 1)
    assert why in world.status["commands"][0]["message"]


def test_where_no_approval_is_asked_for_none_is_given_in_advance() -> None:
    world, _ = in_step(1, {"weightPercent": 50, "holdSeconds": 30}, APPROVAL, ALL)
    world.say("approve/1")
    play(world, 1)
    assert world.status["commands"][0]["outcome"] == "Refused"
    assert "waits for no approval now" in world.status["commands"][0]["message"]
    play(world, 40)
    assert candidate(world)["step"] == 2


@pytest.mark.parametrize("reading", [BAD, SILENT])
def test_an_approved_step_does_not_end_while_an_slo_fails_or_is_silent(reading: Reading) -> None:
    world, name = in_step(2, SHARE, APPROVAL, ALL, latency={"failureLimit": 50})
    world.models[name].samples["latency"] = reading
    play(world, 2)
    world.say("approve/1")
    play(world, 10)
    assert candidate(world)["step"] == 2
    assert "approved" in world.status["message"]


def test_a_breach_rolls_back_while_a_person_is_waited_for() -> None:
    world, name = in_step(2, SHARE, APPROVAL, ALL)
    world.models[name].samples["latency"] = BAD
    play(world, 2)
    assert world.rollout(name)["rejection"]["reason"] == "SloBreached"


def test_a_paused_rollout_goes_on_after_resume_and_not_at_the_approval() -> None:
    world, _ = in_step(2, SHARE, APPROVAL, ALL)
    world.say("pause/1")
    play(world, 1)
    world.say("approve/1")
    play(world, 10)
    assert candidate(world)["step"] == 2
    world.say("resume/1")
    play(world, 3)
    assert candidate(world)["step"] == 3


def test_wherever_the_operator_dies_an_approval_is_heard_once() -> None:
    world, _ = in_step(2, SHARE, APPROVAL, ALL, APPROVAL)
    world.say("approve/1")
    for other in deaths(world, 2):
        play(other, 15)
        assert candidate(other)["step"] == 4
        assert [one["outcome"] for one in other.status["commands"]] == ["Done"]


def test_after_an_approval_a_comparison_that_cannot_tell_holds_nobody_and_one_that_fails_does() -> None:
    slo = Slo(name="x", query="{{revision}}", max="2")
    for verdict, kind, goes_on in (
        (Verdict.INCONCLUSIVE, ReadingKind.VALUE, True),
        (Verdict.FAILED, ReadingKind.VALUE, False),
        (Verdict.ERROR, ReadingKind.OUTAGE, False),
    ):
        compared = Compared(SloStatus(name="x", verdict=verdict), Reading(kind), None)
        found = Judged(slo, SloStatus(name="x", verdict=Verdict.PASSED), compared, SloCounts(name="x"))
        assert found.unopposed is goes_on
        assert not found.good
    assert judging.tolerated(slo) == 0


# --- analysis -------------------------------------------------------------------------------------------------------


def test_an_analysis_ends_when_every_slo_has_passed_for_its_time() -> None:
    world, name = in_step(2, SHARE, ANALYSIS, ALL)
    since = world.now
    assert "every SLO has passed for 1 of 10 s" in world.status["message"]
    play(world, 30, until=lambda w: candidate(w)["step"] == 3)
    assert 8 <= (world.now - since).total_seconds() <= 11
    assert world.weights[name] == 100


@pytest.mark.parametrize("reading", [BAD, SILENT])
def test_a_look_that_does_not_pass_begins_the_time_anew(reading: Reading) -> None:
    world, name = in_step(2, SHARE, ANALYSIS, ALL, latency={"failureLimit": 50})
    for _ in range(3):
        play(world, 6)
        good, world.models[name].samples["latency"] = world.models[name].samples["latency"], reading
        play(world, 1)
        world.models[name].samples["latency"] = good
    assert candidate(world)["step"] == 2
    play(world, 12, until=lambda w: candidate(w)["step"] == 3)
    assert candidate(world)["step"] == 3


@pytest.mark.parametrize(("wanted", "step"), [(None, 2), (10, 3), (0, 3)])
def test_an_analysis_may_ask_for_its_own_number_of_requests(wanted: int | None, step: int) -> None:
    """By default as many as each step."""
    asked = {"passingSeconds": 3} | ({"minRequests": wanted} if wanted is not None else {})
    world, _ = in_step(1, {"weightPercent": 50, "holdSeconds": 2}, {"analysis": asked}, {**ALL, "holdSeconds": 90})
    world.edit(lambda spec: spec["canary"].update(minRequests=60))
    play(world, 15, until=lambda w: candidate(w)["step"] == 2)
    play(world, 8)
    assert candidate(world)["step"] == step
