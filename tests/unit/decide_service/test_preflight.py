"""Before a candidate gets its first share, its SLOs are asked whether they could tell: nobody meets what nobody can measure."""

import re
from copy import deepcopy
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import SloPreset
from serin_operator.decide.service.presets import CATALOGUE
from serin_operator.decide.service.snapshot import Reading, ReadingKind
from serin_server.metrics import Metrics
from support.service_world import Model, World, a_service, deaths, play, stable_is, with_stable

TOKEN, ERRORS = "vllm:time_to_first_token_seconds", "http_requests_total"
ENVOY = "envoy_cluster_upstream_rq_xx"
THERE = Reading(ReadingKind.NOT_A_NUMBER, text="NaN")
LABELS = '{revision="{{revision}}"}'
REFUSED = "the query is refused: 1:9: parse error: unexpected end of input; correct spec.slos[].query"


def preset(name: str, **other: Any) -> dict[str, Any]:
    return {"name": "asked", "preset": name, "max": "1", **other}


def world_with(slo: dict[str, Any], engine: str = "CPU", **canary: Any) -> tuple[World, str, str]:
    """(world, stable, candidate): the candidate's pods are ready, and it was asked once."""
    service = a_service(**canary)
    service["spec"]["slos"].append(slo)
    service["spec"]["runtime"] |= {"engine": engine, **({"custom": CUSTOM} if engine == "Custom" else {})}
    world = World(service)
    stable = world.passes("a")
    play(world, 10)
    assert world.weights == {stable: 100}, "the first model waits for no metric"
    name = world.passes("b")
    play(world, 8)
    return world, stable, name


CUSTOM = {"image": "server:1", "args": ["{{modelPath}}"]}


def held(world: World) -> bool:
    return world.status["candidate"]["step"] == 0


def there(world: World, series: str, *revisions: str) -> None:
    world.sources.of_presets |= {(series, revision): THERE for revision in revisions}


# --- absent -------------------------------------------------------------------------------------------------------


def test_a_candidate_of_which_a_metric_is_absent_gets_no_share_and_is_not_rejected() -> None:
    world, stable, name = world_with(preset("InterTokenLatencyP95"))
    play(world, 1200)
    assert world.weights == {stable: 100}
    assert held(world)
    assert "rejection" not in world.rollout(name)


def test_the_sentence_names_the_slo_the_metric_all_its_names_and_what_to_do() -> None:
    world, _, name = world_with(preset("InterTokenLatencyP95"))
    message = world.status["message"]
    assert message.startswith(f"{name} gets no traffic until it can be measured: SLO asked: the metric of Inter")
    assert "vllm:inter_token_latency_seconds (vLLM from 0.10.2 on, Serin's CPU server)" in message
    assert "vllm:time_per_output_token_seconds (vLLM up to 0.11)" in message
    assert "check that Prometheus scrapes it, or write the query out" in message
    assert "asked again every 5 s" in message
    assert world.condition("MetricsAvailable")["status"] == "False"
    assert world.condition("MetricsAvailable")["reason"] == "NoData"
    assert world.condition("CanaryHealthy")["reason"] == "NoTrafficYet"
    assert {one["name"]: one["verdict"] for one in world.status["slos"]}["asked"] == "Error"


def test_it_gets_its_share_once_the_metric_is_there() -> None:
    world, _, name = world_with(preset("TimeToFirstTokenP95"))
    play(world, 30)
    assert held(world)
    world.sources.of_presets[(TOKEN, name)] = Reading(ReadingKind.VALUE, 0.5)
    play(world, 7)
    assert world.weights[name] == 10
    assert "preflight" not in world.status["candidate"]
    assert world.condition("MetricsAvailable")["status"] == "True"


def test_it_is_asked_at_each_interval_and_told_how_long_that_has_been_so() -> None:
    world, _, _ = world_with(preset("TimeToFirstTokenP95"))
    world.sources.queries.clear()
    play(world, 30)
    assert 5 <= sum(TOKEN in query for query in world.sources.queries) <= 7
    assert world.status["candidate"]["preflight"]["seconds"] >= 30
    assert f"for {world.status['candidate']['preflight']['seconds']} s so far" in world.status["message"]


def test_a_warning_is_given_once_when_it_lasts_as_long_as_blindness_may() -> None:
    world, _, _ = world_with(preset("TimeToFirstTokenP95"), blindness={"timeoutSeconds": 30, "action": "Withdraw"})
    play(world, 15)
    assert "CanaryBlind" not in world.events
    play(world, 200)
    assert world.events.count("CanaryBlind") == 1
    assert "CanaryWithdrawn" not in world.events


def test_neither_the_time_limit_nor_the_deadline_of_pods_runs_meanwhile() -> None:
    world, _, name = world_with(preset("TimeToFirstTokenP95"), maxDurationSeconds=61, whenOverdue="RollBack")
    play(world, 300)
    assert "rejection" not in world.rollout(name)
    there(world, TOKEN, name)
    world.sources.of_presets[(TOKEN, name)] = Reading(ReadingKind.VALUE, 0.5)
    play(world, 100, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


# --- what only requests bring ---------------------------------------------------------------------------------------


def test_what_servers_tell_from_the_start_is_asked_of_the_candidate_alone() -> None:
    world, stable, _ = world_with(preset("TimeToFirstTokenP95"))
    there(world, TOKEN, stable)
    play(world, 20)
    assert held(world)


@pytest.mark.parametrize(("of", "series"), [("ErrorPercent", ERRORS), ("GatewayErrorPercent", ENVOY)])
def test_what_comes_with_the_first_request_is_enough_at_the_stable(of: str, series: str) -> None:
    world, stable, name = world_with(preset(of))
    assert held(world)
    assert f"looked for at the stable {stable} as well" in world.status["message"]
    there(world, series, stable)
    play(world, 7)
    assert world.weights[name] == 10


def test_of_a_server_that_nobody_knows_every_metric_may_come_with_the_first_request() -> None:
    world, stable, name = world_with(preset("TimeToFirstTokenP95"), engine="Custom")
    there(world, TOKEN, stable)
    play(world, 7)
    assert world.weights[name] == 10


def test_a_written_query_that_finds_nothing_is_told_and_holds_nobody() -> None:
    service = a_service()
    world = World(service)
    world.passes("a")
    play(world, 10)
    name = world.passes("b", Model().says("latency", ReadingKind.NO_DATA))
    world.edit(lambda spec: spec["slos"].append(preset("TimeToFirstTokenP95")))
    play(world, 8)
    row = next(one for one in world.status["slos"] if one["name"] == "latency")
    assert row["verdict"] == "Inconclusive"
    assert "whether the metric is absent or unused shows once the candidate has requests" in row["message"]
    there(world, TOKEN, name)
    play(world, 7)
    assert world.weights[name] == 10


@pytest.mark.parametrize("preset", list(CATALOGUE))
def test_the_catalogue_says_truly_what_the_cpu_server_tells_before_its_first_request(preset: SloPreset) -> None:
    page = Metrics("bot", "bot-1").exposition().decode()
    ours = [series for series in CATALOGUE[preset].series if "CPU server" in series.of]
    for series in ours:
        assert (re.search(rf"^{series.name}(_bucket)?{{", page, re.MULTILINE) is not None) == series.from_start


# --- what no request mends ------------------------------------------------------------------------------------------


def test_a_query_that_prometheus_refuses_holds_at_once_with_its_words() -> None:
    world, stable = with_stable()
    world.sources.refused["latency{"] = REFUSED
    name = world.passes("b")
    play(world, 60)
    assert world.weights == {stable: 100}
    assert f"SLO latency: {REFUSED}" in world.status["message"]
    assert world.condition("MetricsAvailable")["reason"] == "InvalidQuery"
    world.sources.refused.clear()
    play(world, 200, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


def test_a_selector_of_a_comparison_that_prometheus_refuses_holds_too() -> None:
    compared = {"name": "no-slower", "comparedTo": "Stable", "histogram": f"x_bucket{LABELS}", "maxIncreasePercent": 20}
    service = a_service()
    service["spec"]["slos"].append(compared)
    world = World(service)
    stable = world.passes("a")
    play(world, 10)
    world.sources.refused["x_bucket"] = REFUSED
    world.passes("b")
    play(world, 30)
    assert world.weights == {stable: 100}
    assert f"SLO no-slower: {REFUSED}" in world.status["message"]


@pytest.mark.parametrize("kind", [ReadingKind.OUTAGE, ReadingKind.SEVERAL_SERIES, ReadingKind.UNUSABLE_ANSWER])
def test_what_no_request_turns_into_a_number_keeps_the_first_share(kind: ReadingKind) -> None:
    world, stable = with_stable()
    name = world.passes("b", Model().says("latency", kind, text="as the test wants it"))
    play(world, 60)
    assert world.weights == {stable: 100}
    assert world.condition("MetricsAvailable")["reason"] == kind.value
    world.models[name].samples = Model().samples
    play(world, 10)
    assert world.weights[name] == 10


# --- who is not held ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["absent", "refused"])
def test_an_slo_that_only_runs_dry_holds_nobody(said: str) -> None:
    world, _, name = world_with(preset("TimeToFirstTokenP95", dryRun=True))
    if said == "refused":
        world.sources.refused[TOKEN] = REFUSED
    play(world, 100, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


def test_a_person_may_promote_what_cannot_be_measured() -> None:
    world, _, name = world_with(preset("TimeToFirstTokenP95"))
    world.say("promote/1")
    play(world, 20)
    assert world.status["stable"]["revision"] == name


def test_a_paused_candidate_is_not_asked_about() -> None:
    world, _ = with_stable()
    world.passes("b")
    world.say("pause/1")
    play(world, 30)
    assert world.sources.queries == []


def test_a_stable_that_is_lost_is_waited_for_no_longer_for_want_of_metrics() -> None:
    world, stable, name = world_with(preset("TimeToFirstTokenP95"))
    world.models[stable].ready = False
    play(world, 90, until=lambda w: w.weights == {name: 100})
    assert world.weights == {name: 100}


# --- dying ----------------------------------------------------------------------------------------------------------


def test_it_survives_death_before_any_of_its_writes() -> None:
    world, stable, name = world_with(preset("TimeToFirstTokenP95"))
    for other in deaths(deepcopy(world), 12):
        play(other, 6)
        assert other.weights == {stable: 100}
        there(other, TOKEN, name)
        play(other, 7)
        assert other.weights[name] == 10


@pytest.mark.parametrize("jump", [-3600, 3600])
def test_a_clock_that_is_set_delays_it_by_one_interval_at_most(jump: int) -> None:
    world, _, name = world_with(preset("TimeToFirstTokenP95"))
    world.skew += type(world.skew)(seconds=jump)
    play(world, 1)
    there(world, TOKEN, name)
    play(world, 7)
    assert world.weights[name] == 10
