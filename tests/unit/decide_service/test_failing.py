"""Most requests fail: a rule of its own, which no SLO's tolerance delays. With comparisons: test_comparisons.py."""

from copy import deepcopy
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import SloPreset
from serin_operator.decide.service import presets
from serin_operator.decide.service.counters import Sampled, Series, from_zero
from serin_operator.decide.service.snapshot import Reading, ReadingKind
from support.service_world import Model, World, a_service, deaths, play, stable_is

INTERVAL = 5
SERIES = {"ErrorPercent": "http_requests_total", "GatewayErrorPercent": "envoy_cluster_upstream_rq_xx"}
FINE = Reading(ReadingKind.VALUE, 0.1)
COMPARED = {
    "name": "no-more-errors",
    "comparedTo": "Stable",
    "requests": 'http_requests_total{revision="{{revision}}"}',
    "failures": 'http_requests_total{revision="{{revision}}",status="5xx"}',
    "maxIncreasePercent": 20,
    "maxIncreasePoints": "2",
}


def a_canary(model: Model | None = None, slo: dict[str, Any] | None = None, **canary: Any) -> tuple[World, str, str]:
    """(world, stable, candidate) with an SLO that tolerates much and whose own window shows nothing yet."""
    tolerant = {"name": "errors", "preset": "ErrorPercent", "max": "1", "failureLimit": 100}
    asked = slo if slo is not None and "name" in slo else tolerant | (slo or {})
    steps = [{"weightPercent": 50, "holdSeconds": 60}, {"weightPercent": 100, "holdSeconds": 60}]
    service = a_service(**{"steps": steps, "minRequests": 1_000_000, **canary})
    service["spec"]["slos"].append(asked)
    world = World(service)
    world.sources.of_presets |= {(series, "bot-"): FINE for series in SERIES.values()}
    stable = world.passes("a")
    play(world, 20)
    name = world.passes("b", model or Model(fails=0.9))
    play(world, 60, until=lambda w: "stepStartedAt" in (w.status.get("candidate") or {}))
    return world, stable, name


def rejection(world: World, name: str) -> dict[str, Any]:
    return world.rollout(name).get("rejection", {})


def seconds_until_rejected(world: World, name: str) -> int:
    return play(world, 200, until=lambda w: w.is_rejected(name))


# --- at once --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", list(SERIES))
def test_most_requests_failing_reject_within_two_looks_of_the_first_share(preset: str) -> None:
    world, stable, name = a_canary(slo={"preset": preset})
    took = seconds_until_rejected(world, name)
    assert took <= 2 * INTERVAL + 2
    play(world, 2)
    assert world.weights == {stable: 100}
    assert rejection(world, name)["reason"] == "MostRequestsFail"
    message = rejection(world, name)["message"]
    assert message.startswith("most requests fail, which no SLO tolerates (errors: ")
    assert "requests of the last two polls failed) at step 1 of 2" in message
    assert world.condition("CanaryHealthy")["reason"] == "MostRequestsFail"


def test_a_candidate_that_turns_bad_is_rejected_within_two_scrapes_of_it() -> None:
    world, _, name = a_canary(Model())
    play(world, 30)
    world.models[name].fails = 0.9
    assert (
        seconds_until_rejected(world, name) <= 4 * INTERVAL
    )  # two scrapes each 5 s, seen 2 s later, by looks each 5 s


def test_the_time_before_the_slos_are_asked_delays_it_no_further() -> None:
    world, _, name = a_canary(initialDelaySeconds=600)
    assert seconds_until_rejected(world, name) <= 2 * INTERVAL + 2
    assert rejection(world, name)["reason"] == "MostRequestsFail"


def test_in_the_last_step_and_in_the_bake_counters_of_a_comparison_are_read_on() -> None:
    steps = [{"weightPercent": 100, "holdSeconds": 10}]
    world, stable, name = a_canary(Model(), slo=COMPARED, steps=steps)
    world.edit(lambda spec: spec["canary"].update(minRequests=0, bakeSeconds=600))
    play(world, 60, until=lambda w: "startedAt" in w.status.get("bake", {}))
    world.models[name].fails = 0.9
    assert seconds_until_rejected(world, name) <= 4 * INTERVAL
    play(world, 3)
    assert world.weights == {stable: 100}
    assert "in its bake" in rejection(world, name)["message"]


# --- never ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [0.0, 0.3, 0.45])
def test_half_and_less_is_left_to_the_slos(fails: float) -> None:
    world, _, name = a_canary(Model(fails=fails))
    play(world, 120)
    assert rejection(world, name) == {}


@pytest.mark.parametrize("slo", [{"dryRun": True}, {"max": "60"}])
def test_nobody_is_rejected_by_an_slo_that_runs_dry_or_lets_most_fail(slo: dict[str, Any]) -> None:
    world, _, name = a_canary(slo=slo)
    play(world, 60)
    assert rejection(world, name) == {}


def test_a_source_that_is_away_rejects_nobody_and_takes_nothing_back() -> None:
    world, _, name = a_canary(Model())
    world.models[name].fails = 0.9
    world.sources.away = True
    play(world, 60)
    assert rejection(world, name) == {}
    world.sources.away = False
    assert seconds_until_rejected(world, name) <= 3 * INTERVAL


def test_without_requests_nothing_fails() -> None:
    world, _, name = a_canary(Model(requests_per_second=0.0))
    play(world, 60)
    assert rejection(world, name) == {}


def test_a_good_candidate_goes_all_the_way() -> None:
    world, _, name = a_canary(Model(), minRequests=0, bakeSeconds=30)
    play(world, 300, until=lambda w: stable_is(name)(w) and "bake" not in w.status)
    assert world.status["stable"]["revision"] == name


# --- dying, and what is kept ------------------------------------------------------------------------------------------


def test_it_survives_death_before_any_of_its_writes() -> None:
    world, stable, name = a_canary()
    for other in deaths(deepcopy(world), 14):
        play(other, 14)
        assert rejection(other, name)["reason"] == "MostRequestsFail"
        assert other.weights == {stable: 100}


def test_what_is_kept_is_small_and_begins_anew_with_each_step() -> None:
    world, _, _ = a_canary(Model(), minRequests=0)
    play(world, 30)
    (kept,) = world.status["candidate"]["polls"]
    assert len(kept["state"]) < 400
    play(world, 60, until=lambda w: w.status["candidate"]["step"] == 2)
    assert world.status["candidate"].get("polls", []) == []


def test_every_preset_of_failures_has_its_counters_and_no_other_has() -> None:
    found = {preset for preset in SloPreset if presets.failures(preset)}
    assert found == {SloPreset.ERROR_PERCENT, SloPreset.GATEWAY_ERROR_PERCENT}


def test_a_pod_is_counted_from_zero_when_it_is_first_seen_within_the_watch() -> None:
    known = Series({"pod": "a"}, ((5.0, 100.0), (15.0, 110.0)))
    beside = Series({"pod": "a", "status": "5xx"}, ((15.0, 1.0),))
    new = Series({"pod": "b"}, ((15.0, 7.0),))
    found = from_zero(Sampled((known, beside, new), 20.0), 10.0)
    assert found.series == (known, beside, Series({"pod": "b"}, ((10.0, 0.0), (15.0, 7.0))))
