"""Whole stories of a ModelService in a miniature world: the real observer, the real decision, fake neighbours."""

from datetime import timedelta

import pytest
from serin_operator.decide.service.snapshot import ReadingKind
from support.service_world import (
    Json,
    Model,
    World,
    a_service,
    deaths,
    digest_of,
    play,
    revision_name,
    stable_is,
    with_stable,
)


def bad_model() -> Model:
    """Good at first look, but its answers run on to the limit."""
    return Model().says("length", ReadingKind.VALUE, 126.0)


# --- the first deployment -----------------------------------------------------------------------------------------


def test_all_conditions_are_there_from_the_first_visit() -> None:
    world = World()
    world.look()
    assert {c["type"] for c in world.status["conditions"]} == {
        "Ready", "Reconciling", "Stalled", "GatewayReady", "RouteProgrammed", "CanaryHealthy", "Baked",
        "MetricsAvailable", "SlosHold", "Drifted", "WritesAccepted", "CommandAccepted",
    }  # fmt: skip
    assert world.status["state"] == "Waiting"
    assert world.condition("Ready")["reason"] == "NoModel"
    assert "rollout.modelServiceRef.name: bot" in world.status["message"]


def test_the_first_model_serves_as_soon_as_it_is_ready_and_says_why() -> None:
    world = World()
    name = world.passes("a")
    play(world, 10)
    assert world.weights == {name: 100}
    assert any("first deployment: nothing to compare with" in sentence for sentence in world.sentences)
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("Reconciling")["status"] == "False"
    assert world.status["state"] == "Stable"
    assert "promotedAt" in world.rollout(name)


def test_nothing_is_routed_before_the_first_model_is_ready() -> None:
    world = World()
    world.passes("a", Model(starts_in=1000))
    play(world, 200)
    assert world.weights == {}
    assert world.status["state"] == "Deploying"
    assert "stable" not in world.status
    assert "rejection" not in world.rollout(revision_name("a"))


def test_a_model_that_failed_its_gates_never_gets_pods() -> None:
    world, stable = with_stable()
    world.passes("b", verdict="Failed")
    play(world, 120)
    assert world.running() == {stable}


def test_a_service_that_lost_its_status_takes_up_what_was_promoted_and_not_what_passed_last() -> None:
    world, stable = with_stable()
    newer = world.passes("b")
    world.objects[("ModelService", "bot")].pop("status")
    play(world, 3)
    assert world.status["stable"]["revision"] == stable
    assert world.weights == {stable: 100}
    assert world.status["candidate"]["revision"] == newer


# --- a good canary ------------------------------------------------------------------------------------------------


def test_a_good_candidate_walks_all_steps_and_is_promoted_without_a_failed_request() -> None:
    world, stable = with_stable()
    name = world.passes("b")
    play(world, 200, until=stable_is(name))
    shares = [weights.get(name, 0) for _, weights in world.weight_log]
    assert shares == [10, 50, 100]
    play(world, 60)
    assert world.weights == {name: 100}
    assert world.running() == {name}
    assert world.failures == 0
    assert world.condition("CanaryHealthy")["reason"] == "Promoted"
    assert "promotedAt" in world.rollout(name)
    assert [e for e in world.events if e == "Promoted"] == ["Promoted"]
    assert stable != name


def test_each_step_is_held_for_its_time_and_the_clock_starts_when_the_route_is_in_force() -> None:
    world, _ = with_stable()
    name = world.passes("b")
    world.gateway_up = False
    play(world, 100)
    assert world.status["candidate"].get("stepStartedAt") is None
    assert world.weights[name] == 10
    world.gateway_up = True
    assert 20 <= play(world, 100, until=lambda w: w.weights.get(name) == 50) <= 26


def test_the_line_that_people_watch_has_share_step_time_requests_and_slos() -> None:
    world, _ = with_stable()
    name = world.passes("b")
    play(world, 100, until=lambda w: w.weights.get(name) == 10)
    play(world, 12)
    message = world.status["message"]
    assert message.startswith(f"{name} gets 10 percent, step 1 of 3, ")
    assert " of 20 s watched, " in message
    assert " requests; latency 0.4 <= 2, 1 <= length 23 <= 96" in message
    assert world.status["canaryPercent"] == 10
    assert [slo["verdict"] for slo in world.status["slos"]] == ["Passed", "Passed"]


def test_the_old_stable_stays_in_the_route_with_weight_zero_until_it_is_scaled_down() -> None:
    world, stable = with_stable()
    name = world.passes("b")
    play(world, 200, until=stable_is(name))
    promoted = world.now
    play(world, 100, until=lambda w: stable not in w.running())
    assert world.now - promoted >= timedelta(seconds=29)
    deleted = [write for write in world.writes if write.startswith("delete")]
    assert sorted(write.split()[1] for write in deleted) == ["ConfigMap", "Deployment", "Service"]


def test_too_few_requests_hold_the_step_and_never_pass() -> None:
    world, stable = with_stable()
    name = world.passes("b", Model(requests_per_second=0.0))
    play(world, 300)
    assert world.weights == {stable: 90, name: 10}
    assert "0 of 5 requests" in world.status["message"]


def test_requests_do_not_matter_when_the_user_says_so() -> None:
    world, _ = with_stable(minRequests=0)
    name = world.passes("b", Model(requests_per_second=0.0))
    play(world, 200, until=stable_is(name))
    assert world.status["stable"]["revision"] == name
    assert not any("request_success_total" in query for query in world.sources.queries)


# --- a bad canary -------------------------------------------------------------------------------------------------


def test_a_breach_rolls_back_at_once_with_the_numbers_and_the_digest_stays_rejected() -> None:
    world, stable = with_stable()
    name = world.passes("b", bad_model())
    play(world, 100, until=lambda w: w.weights.get(name) == 10)
    play(world, 15)
    rejection = world.rollout(name)["rejection"]
    assert rejection["reason"] == "SloBreached"
    assert rejection["step"] == 1
    assert rejection["weightPercent"] == 10
    assert "length 126 > 96 at step 1 of 3 (10 percent, " in rejection["message"]
    assert "change the bound" in rejection["message"]
    assert "weightZeroAt" in rejection
    assert world.weights == {stable: 100}
    play(world, 60)
    assert world.running() == {stable}
    assert world.status["state"] == "Stable"
    assert world.condition("CanaryHealthy")["status"] == "False"
    assert "length 126 > 96" in world.status["message"]
    assert world.failures == 0
    assert world.events.count("RolledBack") == 1


def test_the_rejection_is_written_before_the_weight_moves() -> None:
    world, _ = with_stable()
    name = world.passes("b", bad_model())
    play(world, 100, until=lambda w: w.weights.get(name) == 10)
    world.writes.clear()
    play(world, 15, until=lambda w: name not in w.weights)
    route = world.writes.index("apply HTTPRoute bot")
    assert world.writes.index(f"status ModelRevision {name}") < route
    assert "status ModelService bot" in world.writes[:route]


def test_a_later_revision_with_the_rejected_digest_is_not_tried_again() -> None:
    world, stable = with_stable()
    bad = world.passes("b", bad_model())
    play(world, 100, until=lambda w: "rejection" in w.rollout(bad))
    again = world.objects[("ModelRevision", bad)]
    copy = {
        **again,
        "metadata": {**again["metadata"], "name": "bot-again", "uid": "uid-again"},
        "status": {"gate": {"verdict": "Passed", "message": "", "judgedAt": world.now.isoformat()}},
    }
    world.objects[("ModelRevision", "bot-again")] = copy
    play(world, 100)
    assert copy["spec"]["artifact"]["digest"] == digest_of("b")
    assert world.running() == {stable}


def test_a_candidate_that_never_gets_ready_is_rejected_with_what_its_pods_say() -> None:
    world, stable = with_stable()
    name = world.passes("b", Model(starts_in=float("inf"), crashed_at=world.now))
    play(world, 100)
    rejection = world.rollout(name)["rejection"]
    assert rejection["reason"] == "CandidateNotReady"
    assert "not ready within 60 s" in rejection["message"]
    assert "exit code 137 (OOMKilled)" in rejection["message"]
    assert world.weights == {stable: 100}
    assert world.weight_log == []


def test_a_server_that_ends_by_itself_under_traffic_is_rejected() -> None:
    world, stable = with_stable()
    name = world.passes("b")
    play(world, 100, until=lambda w: (w.status.get("candidate") or {}).get("stepStartedAt") is not None)
    world.tick()
    world.models[name].crashed_at = world.now
    play(world, 2)
    assert world.rollout(name)["rejection"]["reason"] == "CandidateCrashed"
    assert world.weights == {stable: 100}


def test_a_candidate_that_loses_its_pods_loses_its_traffic_and_begins_the_step_anew() -> None:
    world, stable = with_stable()
    name = world.passes("b")
    play(world, 100, until=lambda w: w.weights.get(name) == 10)
    play(world, 10)
    world.models[name].ready = False
    play(world, 3)
    assert world.weights == {stable: 100}
    assert "rejection" not in world.rollout(name)
    assert world.status["candidate"]["step"] == 1
    world.models[name].ready = None
    play(world, 100, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


# --- what holds ---------------------------------------------------------------------------------------------------

UNMEASURED = [
    pytest.param(ReadingKind.NO_DATA, None, "NoData", "found no series", id="no data"),
    pytest.param(ReadingKind.NOT_A_NUMBER, None, "NotANumber", "NaN", id="not a number"),
    pytest.param(ReadingKind.SEVERAL_SERIES, None, "SeveralSeries", "3 series", id="several series"),
    pytest.param(ReadingKind.OUTAGE, None, "MetricsOutage", "cannot be reached", id="an outage"),
]


@pytest.mark.parametrize(("kind", "value", "reason", "text"), UNMEASURED)
def test_what_cannot_be_measured_holds_and_is_neither_good_nor_bad(
    kind: ReadingKind, value: float | None, reason: str, text: str
) -> None:
    world, stable = with_stable()
    name = world.passes("b")
    play(world, 100, until=lambda w: w.weights.get(name) == 10)
    world.models[name].says("latency", kind, value, text)
    play(world, 200)
    assert world.weights == {stable: 90, name: 10}
    assert world.condition("MetricsAvailable")["status"] == "False"
    assert world.condition("MetricsAvailable")["reason"] == reason
    assert text in world.condition("MetricsAvailable")["message"]
    world.models[name].says("latency", ReadingKind.VALUE, 0.4)
    play(world, 200, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


def test_prometheus_away_holds_and_the_canary_goes_on_by_itself_when_it_is_back() -> None:
    world, stable = with_stable()
    name = world.passes("b")
    play(world, 100, until=lambda w: w.weights.get(name) == 10)
    world.sources.away = True
    play(world, 200)
    assert world.weights == {stable: 90, name: 10}
    assert "cannot be reached" in world.condition("MetricsAvailable")["message"]
    world.sources.away = False
    play(world, 200, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


def test_no_rollback_to_a_stable_that_does_not_answer() -> None:
    world, stable = with_stable()
    name = world.passes("b", bad_model())
    play(world, 100, until=lambda w: w.weights.get(name) == 10)
    world.models[stable].ready = False
    play(world, 15)
    assert world.rollout(name)["rejection"]["reason"] == "SloBreached"
    assert world.weights == {stable: 90, name: 10}
    assert world.condition("Ready")["reason"] == "NoHealthyStable"
    world.models[stable].ready = None
    play(world, 5)
    assert world.weights == {stable: 100}


def test_a_stable_that_never_comes_back_does_not_keep_a_good_model_out_for_ever() -> None:
    """It cannot be mended by a new model otherwise. Found by test_any_order.py: its record and Deployment were deleted."""
    world, stable = with_stable()
    world.models[stable].ready = False
    name = world.passes("b")
    play(world, 55)
    assert world.weights == {stable: 100}
    assert "no pod of the stable" in world.status["message"]
    play(world, 20, until=lambda w: w.weights == {name: 100})
    assert world.weights == {name: 100}
    assert f"since no pod of {stable} has answered for " in world.status["message"]
    play(world, 200, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


def test_a_candidate_that_stands_in_for_a_lost_stable_is_judged_and_gives_way_when_that_is_back() -> None:
    world, stable = with_stable()
    world.models[stable].ready = False
    name = world.passes("b", bad_model())
    play(world, 100, until=lambda w: w.weights == {name: 100})
    play(world, 10)
    assert world.rollout(name)["rejection"]["reason"] == "SloBreached"
    assert world.condition("Ready")["reason"] == "NoHealthyStable"
    world.models[stable].ready = None
    play(world, 3)
    assert world.weights == {stable: 100}
    better = world.passes("c")
    play(world, 100, until=lambda w: w.weights.get(better) == 10)
    assert world.weights == {stable: 90, better: 10}


def test_an_slo_with_an_unknown_source_keeps_the_candidate_without_traffic_and_lists_the_known_ones() -> None:
    service = a_service()
    world = World(service)
    stable = world.passes("a")
    play(world, 20)
    world.edit(lambda spec: spec["slos"][0].update(source="mimir"))
    world.passes("b")
    play(world, 60)
    assert world.weights == {stable: 100}
    assert "'mimir' is not known; the operator's metricSources are: default" in world.status["message"]
    assert world.condition("Stalled")["reason"] == "UnknownMetricSource"


def test_an_unknown_placeholder_is_named() -> None:
    world, _ = with_stable()
    world.edit(lambda spec: spec["slos"][0].update(query='x{revision="{{revision}}",pod="{{pod}}"}'))
    play(world, 3)
    assert "{{pod}} is not known" in world.condition("MetricsAvailable")["message"]


def test_a_missing_gateway_is_named_with_advice() -> None:
    world = World()
    del world.objects[("Gateway", "public")]
    world.look()
    assert world.condition("GatewayReady")["reason"] == "GatewayNotFound"
    assert "spec.traffic.gatewayRef" in world.condition("GatewayReady")["message"]


def test_somebody_elses_route_of_the_same_name_is_left_alone() -> None:
    world = World()
    theirs = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "bot", "namespace": "ml", "uid": "uid-theirs", "generation": 1, "resourceVersion": "1"},
        "spec": {"rules": []},
    }
    world.objects[("HTTPRoute", "bot")] = theirs
    world.passes("a")
    play(world, 20)
    assert world.objects[("HTTPRoute", "bot")]["spec"] == {"rules": []}
    assert world.condition("Stalled")["reason"] == "RouteNameTaken"


# --- newer candidates ---------------------------------------------------------------------------------------------


def test_a_newer_candidate_takes_over_and_the_old_one_is_superseded_with_weight_zero_first() -> None:
    world, stable = with_stable()
    old = world.passes("b")
    play(world, 100, until=lambda w: w.weights.get(old) == 10)
    play(world, 5)
    new = world.passes("c")
    world.weight_log.clear()
    play(world, 200, until=stable_is(new))
    assert world.weight_log[0][1] == {stable: 100}
    assert "supersededAt" in world.rollout(old)
    assert all(old not in weights for _, weights in world.weight_log)
    play(world, 60)
    assert world.running() == {new}


def test_of_several_waiting_the_newest_is_tried_and_the_others_are_superseded() -> None:
    world, _ = with_stable()
    older = world.passes("b")
    world.tick()
    newer = world.passes("c")
    play(world, 3)
    assert world.status["candidate"]["revision"] == newer
    assert "supersededAt" in world.rollout(older)


def test_after_a_rollback_the_next_revision_gets_its_canary() -> None:
    world, _ = with_stable()
    bad = world.passes("b", bad_model())
    play(world, 100, until=lambda w: "rejection" in w.rollout(bad))
    good = world.passes("c")
    play(world, 300, until=stable_is(good))
    assert world.status["stable"]["revision"] == good


def test_a_candidate_whose_gates_no_longer_say_passed_is_withdrawn() -> None:
    world, stable = with_stable()
    name = world.passes("b")
    play(world, 100, until=lambda w: w.weights.get(name) == 10)
    world.objects[("ModelRevision", name)]["status"]["gate"]["verdict"] = "Failed"
    play(world, 3)
    assert world.weights == {stable: 100}
    assert "candidate" not in world.status


# --- being level-based --------------------------------------------------------------------------------------------


def test_a_second_look_at_a_settled_service_writes_nothing() -> None:
    world, _ = with_stable()
    play(world, 20)
    assert world.writes == []


def test_being_woken_often_does_not_make_more_looks_at_the_metrics_or_more_writes() -> None:
    world, _ = with_stable()
    name = world.passes("b")
    play(world, 100, until=lambda w: (w.status.get("candidate") or {}).get("stepStartedAt") is not None)
    world.sources.queries.clear()
    world.writes.clear()
    for _ in range(100):
        world.look()
        world.tick(0.1)
    assert world.weights[name] == 10
    assert len(world.sources.queries) == 2 * 3  # two looks in ten seconds; two SLOs and the requests
    assert len(world.writes) == 2


def test_a_weight_that_somebody_changed_by_hand_is_set_back_and_the_step_begins_anew() -> None:
    world, _ = with_stable()
    name = world.passes("b")
    play(world, 100, until=lambda w: w.weights.get(name) == 10)
    play(world, 10)
    route = world.objects[("HTTPRoute", "bot")]
    for ref in route["spec"]["rules"][0]["backendRefs"]:
        ref["weight"] = 50
    route["metadata"]["generation"] += 1
    world.look()
    assert world.weights[name] == 10
    assert world.status["candidate"].get("stepStartedAt") is None


def test_a_deleted_child_comes_back() -> None:
    world, stable = with_stable()
    del world.objects[("Service", stable)]
    world.look()
    assert ("Service", stable) in world.objects


def test_an_edit_of_hostnames_reaches_the_route() -> None:
    world, _ = with_stable()
    world.edit(lambda spec: spec["traffic"].update(hostnames=["other.example.com"]))
    world.look()
    assert world.objects[("HTTPRoute", "bot")]["spec"]["hostnames"] == ["other.example.com"]


def test_times_of_conditions_move_only_when_their_status_does() -> None:
    world, _ = with_stable()
    before = world.condition("Ready")["lastTransitionTime"]
    world.passes("b")
    play(world, 30)
    assert world.condition("Ready")["lastTransitionTime"] == before
    assert world.condition("Ready")["status"] == "True"


def test_a_clock_that_was_set_back_begins_the_step_anew_and_the_canary_still_ends() -> None:
    world, _ = with_stable()
    name = world.passes("b")
    play(world, 100, until=lambda w: (w.status.get("candidate") or {}).get("stepStartedAt") is not None)
    world.skew = -timedelta(hours=1)
    play(world, 300, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


# --- dying after any write ----------------------------------------------------------------------------------------


def test_a_rollback_survives_death_before_any_of_its_writes() -> None:
    world, stable = with_stable()
    name = world.passes("b", bad_model())
    stories = 0
    for after in deaths(world, 60):
        stories += 1
        play(after, 90, until=lambda w: w.running() == {stable} and "weightZeroAt" in rejection_of(w, name))
        assert rejection_of(after, name)["reason"] == "SloBreached"
        assert after.weights == {stable: 100}
        assert after.running() == {stable}
        assert after.failures == 0
    assert stories > 15


def rejection_of(world: World, name: str) -> Json:
    return world.rollout(name).get("rejection", {})


def test_a_promotion_survives_death_before_any_of_its_writes() -> None:
    world, _ = with_stable(steps=[{"weightPercent": 10, "holdSeconds": 5}, {"weightPercent": 100, "holdSeconds": 5}])
    name = world.passes("b")
    stories = 0
    for after in deaths(world, 70):
        stories += 1
        play(after, 90, until=lambda w: w.running() == {name})
        assert after.weights == {name: 100}
        assert after.running() == {name}
        assert after.failures == 0
        assert "promotedAt" in after.rollout(name)
    assert stories > 15


def test_a_change_of_candidates_survives_death_before_any_of_its_writes() -> None:
    world, stable = with_stable()
    old = world.passes("b", bad_model())
    play(world, 60, until=lambda w: w.weights.get(old) == 10)
    new = world.passes("c")
    for after in deaths(world, 12):
        play(after, 4)
        assert after.status["candidate"]["revision"] == new
        assert after.weights.get(old, 0) == 0
        assert after.weights[stable] >= 90


def test_the_first_deployment_survives_death_before_any_of_its_writes() -> None:
    world = World()
    name = world.passes("a")
    for after in deaths(world, 10):
        play(after, 12)
        assert after.weights == {name: 100}
        assert "promotedAt" in after.rollout(name)
