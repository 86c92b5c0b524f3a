"""When a share begins to be judged, and how long a step and a rollout may take."""

from datetime import timedelta
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import Canary, Limits, ModelService
from serin_operator.decide.policies import bounded
from serin_operator.decide.service.snapshot import Reading, ReadingKind
from support.service_world import World, a_service, deaths, play, stable_is, with_stable

BAD = Reading(ReadingKind.VALUE, 9.0)
ONE = [{"weightPercent": 50, "holdSeconds": 500}, {"weightPercent": 100, "holdSeconds": 5}]


def started(**canary: Any) -> tuple[World, str, str]:
    """(world, stable, candidate): the candidate has just got its first requests, and nobody has judged it."""
    world, stable = with_stable(**{"steps": ONE, "intervalSeconds": 1, "minRequests": 0, **canary})
    name = world.passes("b")
    play(world, 20, until=lambda w: "stepStartedAt" in candidate(w))
    return world, stable, name


def candidate(world: World) -> dict[str, Any]:
    return world.status.get("candidate") or {}


# --- the beginning of a share -----------------------------------------------------------------------------------------


def test_nothing_is_asked_before_the_delay_is_over_and_everything_afterwards() -> None:
    world, _, name = started(initialDelaySeconds=20)
    world.sources.queries.clear()
    world.models[name].samples["latency"] = BAD
    play(world, 18)
    assert not world.sources.queries
    assert "is judged after 20 s (spec.canary.initialDelaySeconds)" in world.status["message"]
    assert world.weights[name] == 50
    play(world, 8)
    assert world.rollout(name)["rejection"]["reason"] == "SloBreached"


def test_a_crash_is_no_matter_of_metrics_and_is_acted_on_within_the_delay() -> None:
    world, _, name = started(initialDelaySeconds=60)
    world.models[name].crashed_at = world.now
    play(world, 2)
    assert world.rollout(name)["rejection"]["reason"] == "CandidateCrashed"


def test_the_delay_is_no_part_of_the_time_that_a_share_is_held() -> None:
    steps = [{"weightPercent": 50, "holdSeconds": 10}, {"weightPercent": 100, "holdSeconds": 5}]
    world, _, _ = started(initialDelaySeconds=12, steps=steps)
    play(world, 18)
    assert candidate(world)["step"] == 1
    play(world, 12, until=lambda w: candidate(w)["step"] == 2)
    assert candidate(world)["step"] == 2
    assert candidate(world)["delayedSeconds"] == 0


def test_a_step_without_a_share_of_its_own_waits_for_nothing() -> None:
    steps = [{"weightPercent": 50, "holdSeconds": 1}, {"analysis": {"passingSeconds": 500}}, {"weightPercent": 100}]
    world, _, _ = started(initialDelaySeconds=9, steps=steps)
    play(world, 30, until=lambda w: candidate(w)["step"] == 2)
    play(world, 5)
    assert candidate(world)["watchedSeconds"] >= 1


@pytest.mark.parametrize("jump", [3600, -3600])
def test_a_clock_that_is_set_ends_no_delay(jump: int) -> None:
    world, _, _ = started(initialDelaySeconds=30)
    play(world, 5)
    world.skew = timedelta(seconds=jump)
    play(world, 5)
    assert candidate(world)["delayedSeconds"] <= 20


# --- too long -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["rollout", "step"])
def test_what_takes_too_long_is_held_and_said_loudly_once(where: str) -> None:
    limit = {"maxDurationSeconds": 20}
    rising = [{"weightPercent": 50, "holdSeconds": 10, **limit}, {"weightPercent": 100, "holdSeconds": 5}]
    world, _, name = started(**limit) if where == "rollout" else started(steps=rising, minRequests=100_000)
    play(world, 40)
    assert world.weights[name] == 50
    assert world.condition("CanaryHealthy")["reason"] == "Overdue"
    assert "it goes no further by itself: its step" in world.status["message"]
    assert "skip/<nonce>, promote/<nonce> or abort/<nonce> decides" in world.status["message"]
    assert world.events.count("CanaryOverdue") == 1
    assert 20 <= candidate(world)["rolloutSeconds"] <= 45
    assert "rejection" not in world.rollout(name)


def test_what_takes_too_long_is_rolled_back_where_the_user_wants_it_so() -> None:
    world, stable, name = started(maxDurationSeconds=20, whenOverdue="RollBack")
    play(world, 10)
    assert world.weights[name] == 50
    play(world, 20, until=lambda w: w.weights == {stable: 100})
    rejection = world.rollout(name)["rejection"]
    assert rejection["reason"] == "Overdue"
    assert "spec.canary.maxDurationSeconds is 20" in rejection["message"]
    assert f"retry/<nonce>/{name} lets it be tried again" in rejection["message"]
    assert "breachObservedAt" not in rejection


def test_an_approval_that_nobody_gives_in_time_rolls_back() -> None:
    steps = [
        {"weightPercent": 50, "holdSeconds": 1},
        {"approval": {}, "maxDurationSeconds": 15},
        {"weightPercent": 100},
    ]
    world, stable, name = started(steps=steps, whenOverdue="RollBack")
    play(world, 40, until=lambda w: w.weights == {stable: 100})
    assert "its step has taken" in world.rollout(name)["rejection"]["message"]


def test_nobody_is_rolled_back_for_its_time_to_a_stable_that_does_not_answer() -> None:
    world, stable, name = started(maxDurationSeconds=10, whenOverdue="RollBack")
    world.models[stable].ready = False
    play(world, 20)
    assert "rejection" not in world.rollout(name)
    assert world.weights == {stable: 50, name: 50}
    world.models[stable].ready = None
    play(world, 10)
    assert world.weights == {stable: 100}


def test_a_breach_of_one_that_is_held_for_its_time_rolls_back_as_ever() -> None:
    world, _, name = started(maxDurationSeconds=5)
    play(world, 15)
    assert world.condition("CanaryHealthy")["reason"] == "Overdue"
    world.models[name].samples["latency"] = BAD
    play(world, 2)
    assert world.rollout(name)["rejection"]["reason"] == "SloBreached"


@pytest.mark.parametrize("verb", ["skip", "promote"])
def test_a_person_lets_one_go_on_that_is_overdue(verb: str) -> None:
    world, _, name = started(maxDurationSeconds=5)
    play(world, 15)
    world.say(f"{verb}/1")
    play(world, 15, until=lambda w: w.weights == {name: 100})
    assert world.weights == {name: 100}


def test_time_in_which_a_person_has_stopped_it_does_not_count() -> None:
    world, _, name = started(maxDurationSeconds=30, whenOverdue="RollBack")
    world.say("pause/1")
    play(world, 60)
    assert "rejection" not in world.rollout(name)
    world.say("resume/1")
    play(world, 40)
    assert world.rollout(name)["rejection"]["reason"] == "Overdue"


def test_time_in_which_the_operator_was_away_does_not_count() -> None:
    world, _, name = started(maxDurationSeconds=60, whenOverdue="RollBack")
    play(world, 10)
    world.tick(3600)
    play(world, 10)
    assert "rejection" not in world.rollout(name)
    assert candidate(world)["rolloutSeconds"] <= 30


def test_wherever_the_operator_dies_the_time_goes_on_and_the_rollback_is_the_same() -> None:
    world, stable, name = started(maxDurationSeconds=6, whenOverdue="RollBack")
    for other in deaths(world, 3):
        play(other, 20, until=lambda w: w.weights == {stable: 100})
        assert other.rollout(name)["rejection"]["reason"] == "Overdue"
        assert other.weights == {stable: 100}


def test_without_a_limit_nothing_is_counted() -> None:
    world, _, name = started()
    play(world, 20)
    assert candidate(world)["rolloutSeconds"] == 0
    assert "countedAt" not in candidate(world)
    world.edit(lambda spec: spec["canary"].update(steps=[{"weightPercent": 100, "holdSeconds": 5}]))
    play(world, 30, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


def test_policies_that_hold_a_step_longer_give_it_more_time() -> None:
    step = {"weightPercent": 100, "holdSeconds": 10, "maxDurationSeconds": 30}
    service = ModelService.model_validate(a_service(steps=[step]))
    held = bounded(service, Limits(min_step_seconds=100)).spec.canary.steps[0]
    assert (held.hold_seconds, held.max_duration_seconds) == (100, 120)
    assert Canary().steps[0].max_duration_seconds is None
