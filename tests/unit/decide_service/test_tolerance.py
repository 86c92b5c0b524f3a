"""What an SLO is allowed before it decides: failed looks, looks that measure nothing, and those that never decide."""

from typing import Any

import pytest
from serin_operator.api.v1alpha1 import Slo, SloCounts, SloStatus, Verdict
from serin_operator.decide.service import judging
from serin_operator.decide.service.judging import Judged
from serin_operator.decide.service.snapshot import Compared, Reading, ReadingKind
from support.service_world import World, a_service, deaths, play, stable_is

STEPS = [{"weightPercent": 50, "holdSeconds": 10}, {"weightPercent": 100, "holdSeconds": 10}]
GOOD, BAD = Reading(ReadingKind.VALUE, 0.4), Reading(ReadingKind.VALUE, 9.0)
SILENT = Reading(ReadingKind.OUTAGE, text="away")


def a_canary(latency: dict[str, Any] | None = None, **canary: Any) -> tuple[World, str, str]:
    """(world, stable, candidate): the candidate is in its first step, judged at a look each second."""
    service = a_service(**{"steps": STEPS, "intervalSeconds": 1, "minRequests": 0, **canary})
    service["spec"]["slos"][0].update(latency or {})
    world = World(service)
    stable = world.passes("a")
    play(world, 10, until=lambda w: w.weights == {stable: 100})
    name = world.passes("b")
    play(world, 20, until=lambda w: (w.status.get("candidate") or {}).get("watchedSeconds", 0) >= 1)
    return world, stable, name


def trial(world: World) -> dict[str, Any]:
    return world.status.get("candidate") or world.status.get("bake") or {}


def counts(world: World) -> dict[str, dict[str, int]]:
    found = trial(world).get("counts", [])
    return {one["name"]: {key: one[key] for key in ("failures", "consecutiveErrors")} for one in found}


def rejected(world: World, name: str) -> bool:
    return "rejection" in world.rollout(name)


def says(world: World, name: str, reading: Reading, looks: int = 1) -> None:
    """So many looks are told this of the latency; then it is good again."""
    world.models[name].samples["latency"] = reading
    play(world, looks)
    world.models[name].samples["latency"] = GOOD


# --- failed looks ---------------------------------------------------------------------------------------------------


def test_without_a_limit_the_first_breach_rolls_back() -> None:
    world, stable, name = a_canary()
    says(world, name, BAD)
    play(world, 1)
    assert rejected(world, name)
    assert world.weights == {stable: 100}


@pytest.mark.parametrize("limit", [1, 3])
def test_so_many_failed_looks_are_tolerated_and_one_more_is_not(limit: int) -> None:
    world, _, name = a_canary({"failureLimit": limit}, steps=[{"weightPercent": 100, "holdSeconds": 60}])
    for number in range(1, limit + 1):
        says(world, name, BAD)
        assert counts(world)["latency"] == {"failures": number, "consecutiveErrors": 0}
        assert f"latency 9 > 2 (outside at {number} looks, {limit} are tolerated)" in world.status["message"]
        play(world, 2)  # good looks in between take nothing back
    assert not rejected(world, name)
    says(world, name, BAD)
    play(world, 1)
    assert f"(outside at {limit + 1} looks, {limit} are tolerated)" in world.rollout(name)["rejection"]["message"]


def test_no_step_ends_on_a_look_that_failed_however_many_are_tolerated() -> None:
    world, _, name = a_canary({"failureLimit": 100})
    world.models[name].samples["latency"] = BAD
    play(world, 15)
    assert world.status["candidate"]["step"] == 1
    world.models[name].samples["latency"] = GOOD
    play(world, 3, until=lambda w: w.status["candidate"]["step"] == 2)
    assert world.status["candidate"]["step"] == 2


def test_each_step_begins_with_no_failures_and_so_does_the_bake() -> None:
    world, _, name = a_canary({"failureLimit": 1}, bakeSeconds=20)
    for place in ("first step", "second step", "bake"):
        play(world, 10, until=lambda w: trial(w).get("watchedSeconds", 0) >= 1)
        says(world, name, BAD)
        assert counts(world)["latency"]["failures"] == 1, place
        play(world, 30, until=lambda w: counts(w) == {})
    assert not rejected(world, name)
    assert "bake" not in world.status


def test_in_a_bake_too_one_failed_look_more_than_is_tolerated_rolls_back() -> None:
    world, stable, name = a_canary({"failureLimit": 1}, bakeSeconds=60)
    play(world, 60, until=lambda w: "bake" in w.status and trial(w)["watchedSeconds"] >= 1)
    says(world, name, BAD, looks=2)
    assert rejected(world, name)
    assert world.status["stable"]["revision"] == stable


def test_failures_are_counted_once_each_wherever_the_operator_dies() -> None:
    world, _, name = a_canary({"failureLimit": 2}, steps=[{"weightPercent": 100, "holdSeconds": 60}])
    world.models[name].samples["latency"] = BAD
    for other in deaths(world, 4):
        play(other, 6)
        assert rejected(other, name)
        assert "(outside at 3 looks, 2 are tolerated)" in other.rollout(name)["rejection"]["message"]


def test_a_comparison_that_fails_needs_no_second_look() -> None:
    slo = Slo(name="x", query="{{revision}}", max="2", failure_limit=5)
    sure = Compared(SloStatus(name="x", verdict=Verdict.FAILED), GOOD, None)
    fine = SloStatus(name="x", verdict=Verdict.PASSED, value="1")
    assert Judged(slo, fine, sure, SloCounts(name="x")).breached
    assert not Judged(slo, fine, None, SloCounts(name="x")).breached


# --- looks that measure nothing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in ReadingKind if kind is not ReadingKind.VALUE])
def test_errors_are_no_failures_and_failures_are_no_errors(kind: ReadingKind) -> None:
    slo = Slo(name="x", query="{{revision}}", max="2")
    before = [SloCounts(name="x", failures=2, consecutive_errors=3), SloCounts(name="other", failures=9)]

    def after(verdict: Verdict) -> tuple[int, int]:
        found = judging.counted(slo, before, SloStatus(name="x", verdict=verdict), None)
        return found.failures, found.consecutive_errors

    assert after(Verdict.ERROR) == after(Verdict.INCONCLUSIVE) == (2, 4)
    assert after(Verdict.FAILED) == (3, 0)
    assert after(Verdict.PASSED) == (2, 0)
    broken = Compared(SloStatus(name="x", verdict=Verdict.PASSED), Reading(kind), None)
    found = judging.counted(slo, before, SloStatus(name="x", verdict=Verdict.PASSED), broken)
    assert (found.failures, found.consecutive_errors) == (2, 4)


@pytest.mark.parametrize("action", ["Hold", "Withdraw"])
def test_one_look_more_without_a_number_than_is_tolerated_counts_as_blindness(action: str) -> None:
    blindness = {"timeoutSeconds": 600, "action": action}
    world, stable, name = a_canary({"consecutiveErrorLimit": 3}, blindness=blindness)
    says(world, name, SILENT, looks=3)
    play(world, 1)
    says(world, name, SILENT, looks=3)  # a number in between begins the count anew
    assert world.status["state"] == "Canary"
    assert counts(world)["latency"] == {"failures": 0, "consecutiveErrors": 3}
    play(world, 1)
    world.models[name].samples["latency"] = SILENT
    play(world, 5)
    assert not rejected(world, name)
    if action == "Hold":
        assert world.condition("CanaryHealthy")["reason"] == "Blind"
        assert "at 5 looks in a row (latency)" in world.status["message"]
        assert world.events.count("CanaryBlind") == 1
    else:
        assert world.status["state"] == "Withdrawn"
        assert world.weights == {stable: 100}
        assert counts(world) == {}


def test_without_a_limit_only_the_timeout_says_how_long_nothing_may_be_measured() -> None:
    world, _, name = a_canary(blindness={"timeoutSeconds": 30, "action": "Hold"})
    says(world, name, SILENT, looks=20)
    assert world.status["state"] == "Canary"
    assert "CanaryBlind" not in world.events


def test_what_the_stable_answers_while_the_candidate_is_withdrawn_is_not_counted() -> None:
    world, stable, name = a_canary({"failureLimit": 1}, blindness={"timeoutSeconds": 5, "action": "Withdraw"})
    says(world, name, SILENT, looks=8)
    assert world.status["state"] == "Withdrawn"
    world.models[stable].samples["latency"] = BAD
    play(world, 2)
    assert counts(world) == {}


# --- those that never decide ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", [BAD, SILENT, Reading(ReadingKind.NO_DATA)])
def test_a_dry_run_is_told_and_decides_nothing(reading: Reading) -> None:
    """Neither a breach nor silence holds anything, in no step and not in the bake."""
    blindness = {"timeoutSeconds": 3, "action": "Withdraw"}
    world, _, name = a_canary({"dryRun": True}, bakeSeconds=10, blindness=blindness)
    world.models[name].samples["latency"] = reading
    play(world, 2)
    shown = {one["name"]: one for one in world.status["slos"]}
    assert shown["latency"]["verdict"] != "Passed"
    assert shown["latency"]["dryRun"] is True
    assert "dry run" in shown["latency"]["message"]
    assert "dryRun" not in shown["length"]
    assert world.condition("MetricsAvailable")["status"] == "True"
    assert world.condition("CanaryHealthy")["status"] == "True"
    play(world, 60, until=lambda w: stable_is(name)(w) and "bake" not in w.status)
    assert world.status["stable"]["revision"] == name
    assert "CanaryWithdrawn" not in world.events


def test_a_dry_run_says_when_it_would_have_rolled_back() -> None:
    world, _, name = a_canary({"dryRun": True, "failureLimit": 1}, steps=[{"weightPercent": 100, "holdSeconds": 60}])
    says(world, name, BAD)
    assert "latency 9 > 2 (outside at 1 looks, 1 are tolerated) (dry run)" in world.status["message"]
    says(world, name, BAD)
    assert "(outside at 2 looks, 1 are tolerated) (dry run: it would be rolled back)" in world.status["message"]


def test_beside_a_dry_run_the_others_decide_as_ever() -> None:
    world, _, name = a_canary({"dryRun": True})
    world.models[name].samples["latency"] = BAD
    world.models[name].samples["length"] = Reading(ReadingKind.VALUE, 126.0)
    play(world, 2)
    message = world.rollout(name)["rejection"]["message"]
    assert message.startswith("length 126 > 96 at step 1")
    assert "latency" not in message


def test_a_dry_run_of_a_source_that_nobody_has_holds_nobody() -> None:
    world, _, name = a_canary({"dryRun": True, "source": "nowhere"})
    play(world, 60, until=stable_is(name))
    assert world.status["stable"]["revision"] == name
    assert world.condition("Stalled")["status"] == "False"
