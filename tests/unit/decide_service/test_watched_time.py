"""Holds count time that was watched. No clock that is set, and no operator that was away, ends a step early or late."""

import itertools
from datetime import datetime, timedelta

import pytest
from serin_operator.decide.service import watch
from serin_operator.decide.service.snapshot import ReadingKind
from support.service_world import NOON, Model, Until, World, play, stable_is, with_stable

INTERVAL = 5
HOUR = timedelta(hours=1)


def on_first_step(**canary: object) -> tuple[World, str, str]:
    """(world, stable, candidate), the clock of the first step has just begun."""
    world, stable = with_stable(**canary)
    name = world.passes("b")
    play(world, 100, until=lambda w: "stepStartedAt" in (w.status.get("candidate") or {}))
    return world, stable, name


def on_second_step(name: str) -> Until:
    return lambda world: world.weights.get(name) == 50


def seconds_of_first_step(world: World, name: str) -> float:
    start = world.now
    play(world, 400, until=on_second_step(name))
    assert world.weights[name] == 50
    return (world.now - start).total_seconds()


# --- one look -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "counted"),
    [
        pytest.param(0, 0, id="the same moment"),
        pytest.param(5, 5, id="one interval"),
        pytest.param(9, 9, id="a late look"),
        pytest.param(11, 5, id="an operator that was away, or a clock that was set: one usual wait"),
        pytest.param(3600, 5, id="an hour later"),
        pytest.param(-3600, 0, id="an hour earlier"),
    ],
)
def test_what_a_look_adds(seconds: int, counted: int) -> None:
    assert watch.passed(NOON, NOON + timedelta(seconds=seconds), INTERVAL) == counted


def test_nothing_is_lost_or_won_by_rounding() -> None:
    moments = [NOON + timedelta(seconds=0.7 + 3.3 * i) for i in range(1000)]
    told = sum(watch.passed(last, now, INTERVAL) for last, now in itertools.pairwise(moments))
    assert abs(told - 3.3 * 999) < 1


# --- whole steps --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", range(0, 21, 3))
@pytest.mark.parametrize("jump", [HOUR, -HOUR, timedelta(days=400), timedelta(days=-400)], ids=str)
def test_a_clock_that_jumps_ends_a_step_by_at_most_one_look_early_or_late(jump: timedelta, at: int) -> None:
    steady, _, name = on_first_step()
    usual = seconds_of_first_step(steady, name)
    world, _, name = on_first_step()
    start = world.now
    play(world, at)
    world.skew = jump
    seconds = (world.now - start).total_seconds() + seconds_of_first_step(world, name)
    assert abs(seconds - usual) <= INTERVAL + 1


def test_a_clock_that_jumps_to_and_fro_neither_promotes_early_nor_hangs() -> None:
    world, _, name = on_first_step()
    start = world.now
    for turn in range(400):
        world.skew = HOUR if turn % 20 < 10 else -HOUR
        play(world, 1)
        if stable_is(name)(world):
            break
    assert timedelta(seconds=60 - 3 * 2 * INTERVAL) <= world.now - start <= timedelta(seconds=120)


@pytest.mark.parametrize("away", [30, 600, 86400])
def test_an_operator_that_was_dead_has_not_watched(away: int) -> None:
    """The wall says that the hold is over; nobody looked."""
    world, _, name = on_first_step()
    play(world, 6)
    world.tick(away)
    assert seconds_of_first_step(world, name) >= 20 - 6 - INTERVAL
    assert world.status["candidate"]["step"] == 2


def test_time_in_which_nothing_was_measured_was_not_watched() -> None:
    world, stable, name = on_first_step()
    play(world, 6)
    world.sources.away = True
    play(world, 100)
    assert world.weights == {stable: 90, name: 10}
    watched = world.status["candidate"]["watchedSeconds"]
    assert watched <= 6
    world.sources.away = False
    assert seconds_of_first_step(world, name) >= 20 - watched - INTERVAL


def test_requests_are_counted_over_time_that_passed_and_not_over_what_the_clock_says() -> None:
    """An hour's window would count the requests of the steps before, or of the candidate before that."""
    world, _, _ = on_first_step()
    play(world, 6)
    world.skew = HOUR
    world.sources.queries.clear()
    play(world, 6)
    windows = [query.rpartition("[")[2].partition("s]")[0] for query in world.sources.queries if "request_s" in query]
    assert windows
    assert all(int(window) <= 6 + 2 * INTERVAL for window in windows)


# --- other waits --------------------------------------------------------------------------------------------------


def test_a_clock_that_jumps_forward_rejects_no_candidate_that_is_starting() -> None:
    world, _ = with_stable()
    name = world.passes("b", Model(starts_in=20))
    play(world, 5)
    world.skew = HOUR
    play(world, 100, until=lambda w: w.weights.get(name) == 10)
    assert "rejection" not in world.rollout(name)
    assert world.weights[name] == 10


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=str)
def test_a_candidate_that_never_starts_is_rejected_in_its_time_whatever_the_clock_does(jump: timedelta) -> None:
    world, _ = with_stable()
    name = world.passes("b", Model(starts_in=float("inf")))
    start = world.now
    play(world, 20)
    world.skew = jump
    play(world, 200, until=lambda w: "rejection" in w.rollout(name))
    assert timedelta(seconds=50) <= world.now - start <= timedelta(seconds=70)


def test_a_candidate_of_which_some_pods_never_start_is_rejected_too() -> None:
    """Its Deployment counts as available, and it would wait for ever."""
    world, stable = with_stable()
    world.edit(lambda spec: spec["runtime"].update(replicas=2))
    name = world.passes("b", Model(starts_in=float("inf")))
    play(world, 3)
    world.models[name].ready_pods = 1
    play(world, 100)
    assert world.rollout(name)["rejection"]["reason"] == "CandidateNotReady"
    assert world.weights == {stable: 100}


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=str)
def test_a_crash_is_a_crash_whatever_the_operators_clock_says(jump: timedelta) -> None:
    """The kubelet tells when a server ended, by another clock than the operator's."""
    world, stable = with_stable()
    world.skew = jump
    name = world.passes("b")
    play(world, 100, until=lambda w: "stepStartedAt" in (w.status.get("candidate") or {}))
    play(world, 3)
    world.models[name].crashed_at = world.now
    play(world, 2)
    assert world.rollout(name)["rejection"]["reason"] == "CandidateCrashed"
    assert world.weights == {stable: 100}


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=str)
def test_a_crash_before_the_first_request_is_no_crash_under_traffic_whatever_the_clock_says(jump: timedelta) -> None:
    world, _ = with_stable()
    world.skew = jump
    name = world.passes("b", Model(crashed_at=world.now))
    play(world, 200, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=str)
def test_what_lost_its_traffic_goes_within_its_delay_and_never_before_the_route_is_without_it(jump: timedelta) -> None:
    world, stable = with_stable()
    name = world.passes("b")
    play(world, 200, until=stable_is(name))
    world.skew = jump
    play(world, 40)
    assert world.running() == {name}
    assert world.failures == 0
    route = world.writes.index("apply HTTPRoute bot")
    assert world.writes.index(f"delete Deployment {stable}") > route


def test_a_model_that_was_judged_before_the_clock_was_set_back_does_not_hide_the_next_one() -> None:
    """Times of judging are ours; when it was made is the apiserver's word."""
    world, _ = with_stable()
    world.objects[("ModelRevision", world.status["stable"]["revision"])]["status"]["gate"]["judgedAt"] = (
        world.now + HOUR
    ).isoformat()
    name = world.passes("b")
    play(world, 200, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


def test_a_rollback_says_no_negative_time_when_the_clock_was_set_back_meanwhile() -> None:
    world, _, name = on_first_step()
    world.models[name].says("length", ReadingKind.VALUE, 126.0)
    play(world, 6, until=lambda w: "rejection" in w.rollout(name))
    world.skew = -HOUR
    play(world, 5)
    assert "weight 0 after 0.0 s" in world.status["message"]


def test_looks_come_at_their_interval_after_a_clock_was_set_back() -> None:
    world, _, _ = on_first_step(minRequests=0)
    play(world, 3)
    world.skew = -HOUR
    asked: list[datetime] = []
    for _ in range(30):
        before = len(world.sources.queries)
        play(world, 1)
        if len(world.sources.queries) > before:
            asked.append(world.now)
    gaps = {(later - earlier).total_seconds() for earlier, later in itertools.pairwise(asked)}
    assert max(gaps) <= INTERVAL + 2
