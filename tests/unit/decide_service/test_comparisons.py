"""SLOs that compare with the stable: told from raw counters, kept in status, acted on like any other SLO."""

import json
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from serin_operator.decide.service import comparisons
from serin_operator.decide.service.counters import Sampled, Series
from serin_operator.decide.service.snapshot import Reading, ReadingKind
from support.service_world import Died, Model, World, a_service, play

LABELS = 'namespace="{{namespace}}",revision="{{revision}}"'
LATENCY = {
    "name": "no-slower",
    "comparedTo": "Stable",
    "histogram": f"vllm:time_to_first_token_seconds_bucket{{{LABELS}}}",
    "maxIncreasePercent": 20,
}
ERRORS = {
    "name": "no-more-errors",
    "comparedTo": "Stable",
    "requests": f"http_requests_total{{{LABELS}}}",
    "failures": f'http_requests_total{{{LABELS},status="5xx"}}',
    "maxIncreasePercent": 20,
    "maxIncreasePoints": "2",
}


def a_world(
    *slos: dict[str, Any], hold: int = 400, model: Model | None = None, **canary: Any
) -> tuple[World, str, str]:
    """A stable that has served for a while, and a candidate that has just got half of its requests."""
    steps = [{"weightPercent": 50, "holdSeconds": hold}, {"weightPercent": 100, "holdSeconds": 20}]
    service = a_service(steps=steps, minRequests=0, **canary)
    service["spec"]["slos"] += slos
    world = World(service)
    stable = world.passes("a")
    play(world, 10)
    for _ in range(60):
        world.tick(5)
    candidate = world.passes("b", model)
    play(world, 20, until=lambda world: "stepStartedAt" in (world.status.get("candidate") or {}))
    return world, stable, candidate


def watched(world: World, seconds: int, until: Callable[[World], bool] | None = None, every: int = 5) -> int:
    """One look each so many seconds; gives the seconds that passed."""
    for passed in range(0, seconds, every):
        world.look()
        for _ in range(every // 5):
            world.tick(5)
        if until is not None and until(world):
            return passed + every
    return seconds


def seen(world: World, name: str) -> dict[str, Any]:
    """What status keeps of a comparison."""
    found = {one["name"]: one for one in world.status["candidate"].get("comparisons", [])}
    return json.loads(found[name]["state"])


def row(world: World, name: str) -> dict[str, Any]:
    return next(one for one in world.status["slos"] if one["name"] == name)


def rejected(name: str) -> Callable[[World], bool]:
    return lambda world: world.is_rejected(name)


def at_step(number: int) -> Callable[[World], bool]:
    return lambda world: (world.status.get("candidate") or {"step": number})["step"] == number


def test_a_healthy_candidate_passes_and_the_last_step_says_that_it_is_not_compared() -> None:
    world, _, candidate = a_world(LATENCY, ERRORS)
    assert watched(world, 1500, until=at_step(2)) < 1500
    watched(world, 10)
    assert "no-slower, no-more-errors not compared: nobody is on" in world.status["message"]
    assert {one["name"] for one in world.status["slos"]} == {"latency", "length"}
    watched(world, 60, until=lambda world: world.status["stable"]["revision"] == candidate)
    assert world.status["stable"]["revision"] == candidate


def test_in_the_bake_nothing_is_compared_and_the_bounds_judge() -> None:
    world, stable, candidate = a_world(LATENCY, bakeSeconds=60)
    watched(world, 1500, until=lambda world: "bake" in world.status)
    watched(world, 20)
    assert world.status["state"] == "Baking"
    assert f"no-slower not compared: nobody is on {stable}" in world.status["message"]
    world.models[candidate].says("latency", ReadingKind.VALUE, 9.0)
    watched(world, 10)
    assert world.is_rejected(candidate)


@pytest.mark.parametrize(
    ("slo", "model", "said", "seconds"),
    [
        pytest.param(LATENCY, Model(seconds=0.8), "times that of the stable", 200, id="twice as slow"),
        pytest.param(ERRORS, Model(fails=0.1), "requests failed, 1.00% of", 300, id="ten times the errors"),
        pytest.param(ERRORS, Model(fails=0.9), "requests of the last two polls failed", 30, id="most requests fail"),
    ],
)
def test_a_bad_candidate_is_rolled_back_with_the_numbers(
    slo: dict[str, Any], model: Model, said: str, seconds: int
) -> None:
    world, _, candidate = a_world(slo, model=model)
    assert watched(world, 900, until=rejected(candidate)) <= seconds
    message = world.rollout(candidate)["rejection"]["message"]
    assert said in message
    assert slo["name"] in message
    assert row(world, slo["name"])["verdict"] == "Failed"


def test_nothing_is_judged_while_caches_are_cold() -> None:
    world, _, candidate = a_world(LATENCY, model=Model(seconds=4))
    watched(world, 50)
    assert row(world, "no-slower")["verdict"] == "Inconclusive"
    assert "of 60 s of warm-up" in row(world, "no-slower")["message"]
    assert world.condition("MetricsAvailable")["status"] == "True"
    world.models[candidate].seconds = 0.4
    watched(world, 200)
    assert not world.is_rejected(candidate)


def test_an_inconclusive_comparison_holds_and_has_its_numbers() -> None:
    world, _, _ = a_world(LATENCY, hold=100, model=Model(seconds=0.48, requests_per_second=1))
    watched(world, 300)
    assert world.status["candidate"]["step"] == 1
    assert row(world, "no-slower")["verdict"] == "Inconclusive"
    assert "too noisy to tell" in world.status["message"]
    assert world.status["candidate"]["watchedSeconds"] > 200  # it was measured all the time


def test_an_inconclusive_comparison_lets_the_step_end_when_the_user_wants_it_so() -> None:
    world, _, _ = a_world({**LATENCY, "whenInconclusive": "Proceed"}, hold=100, model=Model(seconds=0.48))
    assert watched(world, 300, until=at_step(2)) <= 120


def test_a_fixed_bound_beside_a_comparison_still_breaches() -> None:
    both = {**LATENCY, "query": 'latency{revision="{{revision}}"}', "max": "2"}
    world, _, candidate = a_world(both)
    watched(world, 100)
    assert row(world, "no-slower")["value"] == "0.4"
    world.models[candidate].says("latency", ReadingKind.VALUE, 9.0)
    watched(world, 10)
    assert "no-slower 9 > 2" in world.rollout(candidate)["rejection"]["message"]


# --- the evidence, whatever happens -------------------------------------------------------------------------------


def test_what_is_seen_does_not_depend_on_when_somebody_looked() -> None:
    """Every look, one look in 30 s, and an outage of 400 s come to the same state at the same moment."""
    often, _, _ = a_world(LATENCY, ERRORS, hold=3000)
    seldom, _, _ = a_world(LATENCY, ERRORS, hold=3000)
    blind, _, _ = a_world(LATENCY, ERRORS, hold=3000)
    watched(often, 600)
    watched(seldom, 600, every=30)
    watched(blind, 30)
    blind.sources.away = True
    watched(blind, 400)
    assert row(blind, "no-slower")["verdict"] == "Error"
    blind.sources.away = False
    watched(blind, 170)
    for name in ("no-slower", "no-more-errors"):
        states = [seen(world, name) for world in (often, seldom, blind)]
        for state in states:
            state.pop("polls")  # counts looks
        assert states[0]["read_to"] - states[1]["read_to"] in (0, 25)
        assert states[0] == states[2]
        assert states[0]["lost"] == states[1]["lost"] == 0
    watched(seldom, 5)
    reached = seen(seldom, "no-slower")["read_to"]
    assert seen(often, "no-slower")["read_to"] <= reached


def test_an_outage_longer_than_one_look_reads_is_made_up_for_look_by_look() -> None:
    world, _, _ = a_world(ERRORS)
    watched(world, 100)
    world.sources.away = True
    watched(world, 2000)
    world.sources.away = False
    before = seen(world, "no-more-errors")
    world.look()
    after = seen(world, "no-more-errors")
    assert after["read_to"] == before["read_to"] + comparisons.CATCH_UP
    watched(world, 40)
    after = seen(world, "no-more-errors")
    assert after["lost"] == 0
    assert world.now.timestamp() - after["read_to"] < 20
    assert after["candidate"][0] == pytest.approx(5 * (after["read_to"] - after["began"]), abs=60)


@pytest.mark.parametrize("dies_after", range(4))
def test_a_crash_after_any_write_counts_nothing_twice(dies_after: int) -> None:
    calm, _, _ = a_world(LATENCY, ERRORS)
    dying, _, _ = a_world(LATENCY, ERRORS)
    for number in range(30):
        calm.look()
        try:
            dying.look(dies_after=dies_after if number % 3 == 1 else None)
        except Died:
            dying.look()
        calm.tick(5)
        dying.tick(5)
    for name in ("no-slower", "no-more-errors"):
        assert seen(calm, name)["candidate"] == seen(dying, name)["candidate"]
        assert seen(calm, name)["times"] == seen(dying, name)["times"]


def test_a_repeated_look_adds_nothing() -> None:
    world, _, _ = a_world(LATENCY)
    watched(world, 120)
    before = seen(world, "no-slower")
    world.look()
    world.look()
    after = seen(world, "no-slower")
    assert after["read_to"] - before["read_to"] <= 5


def test_a_restarted_server_is_counted_from_zero_and_once() -> None:
    world, stable, _ = a_world(ERRORS)
    watched(world, 200)
    world.scrapes.restart(stable)
    watched(world, 200)
    found = seen(world, "no-more-errors")
    assert found["stable"][0] == pytest.approx(found["candidate"][0], abs=60)


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_the_sources_clock_may_be_an_hour_off(ahead: float) -> None:
    world, _, candidate = a_world(LATENCY, model=Model(seconds=0.8))
    world.scrapes.kept.clear()
    world.scrapes.ahead = ahead
    for _ in range(20):
        world.tick(5)
    assert watched(world, 900, until=rejected(candidate)) <= 400


@pytest.mark.parametrize("skew", [-7200, 7200])
def test_the_clusters_clock_may_jump_by_hours(skew: int) -> None:
    """Two hours ahead look like two hours missed: the source has no more than there was."""
    world, _, _ = a_world(ERRORS)
    watched(world, 100)
    world.skew = timedelta(seconds=skew)
    watched(world, 100)
    world.skew = timedelta()
    watched(world, 100)
    found = seen(world, "no-more-errors")
    assert found["candidate"][0] <= 5 * (found["read_to"] - found["began"]) + 60
    assert found["lost"] <= 200


def test_samples_that_the_source_has_lost_are_told() -> None:
    world, _, _ = a_world(ERRORS)
    watched(world, 100)
    world.sources.away = True
    watched(world, 100)
    world.scrapes.forget()
    world.sources.away = False
    watched(world, 200)
    assert 80 <= seen(world, "no-more-errors")["lost"] <= 130
    assert "could not be compared: the metric source has no samples of them" in row(world, "no-more-errors")["message"]


def test_another_comparison_of_the_same_name_begins_anew() -> None:
    world, _, _ = a_world(LATENCY)
    watched(world, 120)
    before = seen(world, "no-slower")["began"]
    world.edit(lambda spec: spec["slos"][-1].update(maxIncreasePercent=30))
    watched(world, 10)
    assert seen(world, "no-slower")["began"] > before


def test_a_state_that_cannot_be_read_begins_anew() -> None:
    world, _, _ = a_world(LATENCY)
    watched(world, 120)
    before = seen(world, "no-slower")["began"]
    world.touch("ModelService", "bot", lambda status: status["candidate"]["comparisons"][0].update(state="{}"))
    watched(world, 10)
    assert seen(world, "no-slower")["began"] > before


def test_each_step_is_compared_anew() -> None:
    world, _, _ = a_world({**ERRORS, "whenInconclusive": "Proceed"}, hold=100)
    world.edit(lambda spec: spec["canary"]["steps"].insert(1, {"weightPercent": 60, "holdSeconds": 100}))
    watched(world, 50)
    first = seen(world, "no-more-errors")["began"]
    watched(world, 400, until=at_step(2))
    assert world.status["candidate"].get("comparisons", []) == []
    watched(world, 30)
    assert seen(world, "no-more-errors")["began"] > first + 90


def test_what_is_kept_is_small() -> None:
    world, _, _ = a_world(LATENCY, ERRORS)
    watched(world, 300)
    assert all(len(one["state"]) < 8000 for one in world.status["candidate"]["comparisons"])


# --- what cannot be compared --------------------------------------------------------------------------------------


def test_a_metric_that_is_not_there_holds_and_is_named() -> None:
    absent = {**LATENCY, "histogram": f"vllm:first_token_seconds_bucket{{{LABELS}}}"}
    world, _, candidate = a_world(absent, hold=20)
    world.sources.absent = "first_token_seconds"
    watched(world, 100)
    assert world.status["candidate"]["step"] == 1
    assert not world.is_rejected(candidate)
    assert world.condition("MetricsAvailable")["reason"] == "NoData"
    assert (
        "the candidate has no series of vllm:first_token_seconds_bucket"
        in world.condition("MetricsAvailable")["message"]
    )
    assert world.status["candidate"]["watchedSeconds"] == 0


def test_the_rollouts_one_percent_is_shared_out() -> None:
    world, _, _ = a_world(LATENCY, ERRORS)
    world.edit(lambda spec: spec["canary"]["steps"].insert(1, {"weightPercent": 60, "holdSeconds": 100}))
    s = world.snapshot()
    rules = [comparisons.rule_of(s, slo) for slo in s.service.spec.slos if slo.compared_to is not None]
    assert [rule.level for rule in rules] == [0.01 / 4] * 2
    assert math.isclose(rules[1].max_increase_share, 0.02)


def test_arms_with_other_buckets_are_not_compared() -> None:
    world, _, _ = a_world(LATENCY)
    s = world.snapshot()
    slo = next(slo for slo in s.service.spec.slos if slo.compared_to is not None)

    def histogram(*edges: str) -> Sampled:
        return Sampled(tuple(Series({"le": le}, ((0.0, 1.0), (5.0, 9.0))) for le in edges), 10)

    answers = {
        (slo.name, "candidate"): histogram("1", "2", "+Inf"),
        (slo.name, "stable"): histogram("1", "3", "+Inf"),
        (slo.name, "past"): Reading(ReadingKind.UNUSABLE_ANSWER, text="too long"),
    }
    found = comparisons.looked(s, answers)[slo.name]
    assert found.shown.verdict == "Error"
    assert "different buckets" in found.shown.message
