"""A newer revision while a candidate has requests: it takes its place, or waits until the candidate has finished."""

from typing import Any

from serin_operator.decide.service.snapshot import ReadingKind
from support.service_world import Reading, World, deaths, play, stable_is, with_stable

STEPS = [{"weightPercent": 50, "holdSeconds": 10}, {"weightPercent": 100, "holdSeconds": 5}]


def under_traffic(policy: str, **canary: Any) -> tuple[World, str, str]:
    """(world, stable, candidate): the candidate has requests."""
    world, stable = with_stable(steps=STEPS, intervalSeconds=1, minRequests=0, supersedePolicy=policy, **canary)
    name = world.passes("b")
    play(world, 20, until=lambda w: w.weights.get(name) == 50)
    return world, stable, name


def test_by_default_a_newer_one_takes_the_place_of_a_candidate_with_requests() -> None:
    world, stable = with_stable(steps=STEPS, intervalSeconds=1, minRequests=0)
    name = world.passes("b")
    play(world, 20, until=lambda w: w.weights.get(name) == 50)
    newer = world.passes("c")
    play(world, 3)
    assert world.status["candidate"]["revision"] == newer
    assert "supersededAt" in world.rollout(name)
    assert world.weights == {stable: 100}


def test_with_finish_it_waits_and_the_status_says_for_whom() -> None:
    world, _, name = under_traffic("Finish")
    newer = world.passes("c")
    play(world, 3)
    assert world.status["candidate"]["revision"] == name
    assert f"{newer} waits until it has finished (spec.canary.supersedePolicy)" in world.status["message"]
    assert "supersededAt" not in world.rollout(newer)
    play(world, 40, until=stable_is(name))
    assert world.rollout(name)["promotedAt"]
    play(world, 60, until=stable_is(newer))
    assert world.status["stable"]["revision"] == newer


def test_of_several_that_waited_the_newest_is_tried_when_it_has_finished() -> None:
    world, _, name = under_traffic("Finish")
    older = world.passes("c")
    world.tick()
    newest = world.passes("d")
    play(world, 60, until=stable_is(name))
    play(world, 5)
    assert world.status["candidate"]["revision"] == newest
    assert "supersededAt" in world.rollout(older)


def test_a_candidate_that_is_rolled_back_has_finished_too() -> None:
    world, _, name = under_traffic("Finish")
    newer = world.passes("c")
    play(world, 2)
    world.models[name].samples["latency"] = Reading(ReadingKind.VALUE, 9.0)
    play(world, 60, until=stable_is(newer))
    assert "rejection" in world.rollout(name)
    assert world.status["stable"]["revision"] == newer


def test_one_that_has_had_no_requests_yet_gives_way_all_the_same() -> None:
    world, _ = with_stable(steps=STEPS, supersedePolicy="Finish")
    world.passes("b")
    play(world, 1)
    newer = world.passes("c")
    play(world, 2)
    assert world.status["candidate"]["revision"] == newer


def test_one_that_was_withdrawn_gives_way_since_nobody_can_measure_it() -> None:
    world, _, name = under_traffic("Finish", blindness={"timeoutSeconds": 3, "action": "Withdraw"})
    world.sources.away = True
    play(world, 20, until=lambda w: w.status["state"] == "Withdrawn")
    newer = world.passes("c")
    play(world, 2)
    assert world.status["candidate"]["revision"] == newer
    assert "supersededAt" in world.rollout(name)


def test_an_edit_to_replace_lets_the_newer_one_in_at_once() -> None:
    world, _, name = under_traffic("Finish")
    newer = world.passes("c")
    play(world, 2)
    world.edit(lambda spec: spec["canary"].update(supersedePolicy="Replace"))
    play(world, 2)
    assert world.status["candidate"]["revision"] == newer
    assert "supersededAt" in world.rollout(name)


def test_wherever_the_operator_dies_the_candidate_with_requests_finishes_first() -> None:
    world, _, name = under_traffic("Finish")
    world.passes("c")
    for other in deaths(world, 3):
        play(other, 2)
        assert other.status["candidate"]["revision"] == name
