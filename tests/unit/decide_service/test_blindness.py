"""A candidate under traffic that nobody can measure: held, or withdrawn, as the user wants it; never let through."""

from datetime import timedelta
from typing import Any

import pytest
from serin_operator.decide.service import facts
from serin_operator.decide.service.snapshot import Reading, ReadingKind
from support.service_world import Model, Until, World, play, stable_is, with_stable

TIMEOUT, INTERVAL = 30, 5
BLIND = [
    pytest.param(kind, id=kind.value)
    for kind in ReadingKind
    if kind not in (ReadingKind.VALUE, ReadingKind.UNKNOWN_SOURCE)
]


def under_traffic(action: str, **canary: Any) -> tuple[World, str, str]:
    """(world, stable, candidate), in the first step with some looks that went well."""
    blindness = {"timeoutSeconds": TIMEOUT, "action": action}
    world, stable = with_stable(**{"blindness": blindness, **canary})
    name = world.passes("b")
    play(world, 100, until=lambda w: (w.status.get("candidate") or {}).get("watchedSeconds", 0) >= INTERVAL)
    assert world.weights == {stable: 90, name: 10}
    return world, stable, name


def everything_is(world: World, kind: ReadingKind) -> None:
    for model in world.models.values():
        for metric in model.samples:
            model.samples[metric] = Reading(kind, None, "as the test wants it")


def everything_is_well(world: World) -> None:
    for model in world.models.values():
        model.samples = Model().samples


def no_traffic(name: str) -> Until:
    return lambda world: name not in world.weights


# --- withdraw -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BLIND)
def test_a_candidate_is_withdrawn_within_the_timeout_and_one_look(kind: ReadingKind) -> None:
    world, stable, name = under_traffic("Withdraw")
    everything_is(world, kind)
    since = world.now
    play(world, 200, until=no_traffic(name))
    assert timedelta(seconds=TIMEOUT - INTERVAL) <= world.now - since <= timedelta(seconds=TIMEOUT + INTERVAL + 1)
    assert world.weights == {stable: 100}
    assert "rejection" not in world.rollout(name)
    assert world.status["state"] == "Withdrawn"
    assert world.condition("CanaryHealthy")["reason"] == "Withdrawn"
    assert world.events.count("CanaryWithdrawn") == 1


def test_one_slo_that_cannot_be_measured_is_enough_to_be_blind() -> None:
    world, _, name = under_traffic("Withdraw")
    world.models[name].says("latency", ReadingKind.NOT_A_NUMBER, text="NaN")
    play(world, TIMEOUT + INTERVAL + 2)
    assert name not in world.weights


def test_a_look_that_measured_begins_the_time_anew() -> None:
    world, _, name = under_traffic("Withdraw", minRequests=1_000_000)
    for _ in range(5):
        world.sources.away = True
        play(world, TIMEOUT - 2 * INTERVAL)
        world.sources.away = False
        play(world, INTERVAL + 1)
    assert world.weights[name] == 10


def test_a_withdrawn_candidate_begins_its_canary_anew_when_there_are_metrics_again() -> None:
    world, stable, name = under_traffic("Withdraw")
    world.sources.away = True
    play(world, 200)
    assert world.weights == {stable: 100}
    assert world.running() == {stable, name}
    assert "until the SLOs can be measured again" in world.status["message"]
    world.sources.away = False
    play(world, 20, until=lambda w: w.weights.get(name) == 10)
    assert world.status["candidate"]["step"] == 1
    play(world, 200, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


def test_whether_there_are_metrics_again_is_asked_of_the_stable_since_the_candidate_has_no_requests() -> None:
    world, stable, name = under_traffic("Withdraw")
    everything_is(world, ReadingKind.NO_DATA)
    play(world, 100)
    world.sources.queries.clear()
    play(world, 20)
    assert world.sources.queries
    assert all(f'revision="{stable}"' in query for query in world.sources.queries)
    assert name not in world.weights


def test_a_breach_of_the_stable_is_not_held_against_a_withdrawn_candidate() -> None:
    world, stable, name = under_traffic("Withdraw")
    world.sources.away = True
    play(world, 100)
    world.sources.away = False
    world.models[stable].says("length", ReadingKind.VALUE, 126.0)
    play(world, 200, until=stable_is(name))
    assert "rejection" not in world.rollout(name)


def test_each_time_the_pause_is_twice_as_long_so_that_nobody_is_tried_blindly_for_ever() -> None:
    """Its own series are broken while those of the stable are fine: beginning anew does not help."""
    world, _, name = under_traffic("Withdraw")
    world.models[name].says("latency", ReadingKind.STALE, text="600 s old")
    exposed = 0
    for _ in range(2400):
        play(world, 1)
        exposed += name in world.weights
    assert 5 <= world.status["candidate"]["withdrawals"] <= 7
    assert exposed < 2400 / 5
    assert "rejection" not in world.rollout(name)


def test_a_newer_candidate_takes_the_place_of_a_withdrawn_one() -> None:
    world, _, _ = under_traffic("Withdraw")
    world.sources.away = True
    play(world, 100)
    newer = world.passes("c")
    world.sources.away = False
    play(world, 200, until=stable_is(newer))
    assert world.status["stable"]["revision"] == newer


def test_nobody_is_withdrawn_to_a_stable_that_does_not_answer() -> None:
    world, stable, name = under_traffic("Withdraw")
    world.sources.away = True
    world.models[stable].ready = False
    play(world, 50)
    assert world.weights == {stable: 90, name: 10}
    world.models[stable].ready = None
    play(world, 10)
    assert world.weights == {stable: 100}


@pytest.mark.parametrize("jump", [3600, -3600])
def test_a_clock_that_jumps_while_blind_withdraws_by_at_most_two_looks_early_or_late(jump: int) -> None:
    world, _, name = under_traffic("Withdraw")
    world.sources.away = True
    since = world.now
    play(world, 8)
    world.skew = timedelta(seconds=jump)
    play(world, 200, until=no_traffic(name))
    assert abs((world.now - since).total_seconds() - TIMEOUT) <= 2 * INTERVAL


# --- hold ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BLIND)
def test_a_candidate_is_held_and_said_to_be_within_the_timeout_and_one_look(kind: ReadingKind) -> None:
    world, stable, name = under_traffic("Hold")
    everything_is(world, kind)
    since = world.now
    play(world, 200, until=lambda w: w.condition("CanaryHealthy")["reason"] == "Blind")
    assert world.now - since <= timedelta(seconds=TIMEOUT + INTERVAL + 1)
    assert world.weights == {stable: 90, name: 10}
    play(world, 300)
    assert world.weights == {stable: 90, name: 10}
    assert "keeps 10 percent and could not be measured for " in world.status["message"]
    assert world.events.count("CanaryBlind") == 1
    everything_is_well(world)
    play(world, 200, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


@pytest.mark.parametrize("action", ["Hold", "Withdraw"])
@pytest.mark.parametrize("kind", BLIND)
def test_no_step_ends_and_nothing_is_promoted_without_fresh_data(kind: ReadingKind, action: str) -> None:
    """At every step, and for each bad form; the world checks each write (support/service_world.py)."""
    for step in (1, 2, 3):
        world, _, name = under_traffic(action)
        play(world, 200, until=lambda w, step=step: w.status["candidate"]["step"] == step)
        everything_is(world, kind)
        play(world, 20 + TIMEOUT + INTERVAL)
        assert world.status["stable"]["revision"] != name
        assert (world.status["candidate"]["step"] if action == "Hold" else step) == step


def test_a_breach_beside_a_missing_value_still_rolls_back() -> None:
    world, stable, name = under_traffic("Hold")
    world.models[name].says("latency", ReadingKind.NOT_A_NUMBER, text="NaN")
    world.models[name].says("length", ReadingKind.VALUE, 126.0)
    play(world, INTERVAL + 1)
    assert world.rollout(name)["rejection"]["reason"] == "SloBreached"
    assert world.weights == {stable: 100}


# --- a source that is slow -----------------------------------------------------------------------------------------


def patience_while_blind(action: str) -> list[tuple[int, int]]:
    """(seconds blind so far, seconds that the next answer is waited for) of looks that all fail, until past the timeout."""
    world, _, _ = under_traffic(action)
    everything_is(world, ReadingKind.OUTAGE)
    told: list[tuple[int, int]] = []
    for _ in range(3 * TIMEOUT // INTERVAL):
        snapshot = world.snapshot()
        if snapshot.candidate is None or snapshot.candidate.withdrawn_at is not None:
            break
        told.append((snapshot.candidate.blind_seconds, facts.patience(snapshot)))
        world.look()
        for _ in range(INTERVAL):
            world.tick()
    return told


@pytest.mark.parametrize("action", ["Hold", "Withdraw"])
def test_an_answer_is_waited_for_no_longer_than_until_blindness_is_acted_on(action: str) -> None:
    told = [(blind, patience) for blind, patience in patience_while_blind(action) if blind < TIMEOUT]
    assert told[0][1] == facts.SLOWEST_LOOK
    assert told[-1][1] == facts.LEAST_PATIENCE
    assert all(patience <= max(TIMEOUT - blind - INTERVAL, facts.LEAST_PATIENCE) for blind, patience in told[1:])


def test_a_source_that_comes_back_slowly_after_a_long_outage_has_all_its_time() -> None:
    after = [patience for blind, patience in patience_while_blind("Hold") if blind >= TIMEOUT]
    assert after
    assert set(after) == {facts.SLOWEST_LOOK}
