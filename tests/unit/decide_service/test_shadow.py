"""Before any user gets an answer of it: copies of requests for a candidate, and testers who ask it themselves."""

import re
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import ModelService
from serin_operator.decide.service.snapshot import ReadingKind
from serin_operator.manifests.route import http_route
from serin_operator.observe.traffic import route_view
from support.service_world import (
    Json,
    Model,
    World,
    a_service,
    deaths,
    for_testers,
    mirrors_of,
    play,
    stable_is,
    with_stable,
)

SHADOW, FIRST, LAST = {"shadow": {}, "holdSeconds": 10}, {"weightPercent": 20, "holdSeconds": 5}, {"weightPercent": 100}
HEADERS: Json = {"headers": [{"name": "X-Tester", "value": "yes"}]}
ROUTE = ("HTTPRoute", "bot")


def shadowed(*more: Json, **canary: Any) -> tuple[World, str, str]:
    """A candidate that gets copies."""
    world, stable = with_stable(steps=[SHADOW, *more, FIRST, {**LAST, "holdSeconds": 1}], **canary)
    name = world.passes("b")
    play(world, 60, until=lambda w: "stepStartedAt" in w.status.get("candidate", {}))
    return world, stable, name


def mirrors(world: World) -> set[str]:
    return mirrors_of(world.objects[ROUTE])


# --- copies -------------------------------------------------------------------------------------------------------


def test_a_candidate_gets_copies_and_no_user_its_answers() -> None:
    world, stable, name = shadowed()
    assert world.weights == {stable: 100}
    assert mirrors(world) == {name}
    assert world.status["canaryPercent"] == 0
    assert world.status["state"] == "Canary"
    assert "gets copies of all requests, step 1 of 3" in world.status["message"]


def test_it_is_judged_by_its_own_metrics_and_then_gets_a_share() -> None:
    world, stable, name = shadowed()
    play(world, 60, until=lambda w: w.weights.get(name) == 20)
    assert world.weights == {stable: 80, name: 20}
    assert mirrors(world) == set()
    play(world, 200, until=stable_is(name))
    assert world.weights == {name: 100}


def test_a_bad_one_is_rejected_before_any_user_met_it() -> None:
    world, stable, name = shadowed()
    world.models[name].says("length", ReadingKind.VALUE, 126.0)
    play(world, 20)
    assert world.rollout(name)["rejection"]["reason"] == "SloBreached"
    assert (world.weights, mirrors(world)) == ({stable: 100}, set())
    assert all(name not in weights for _, weights in world.weight_log)


def test_a_crash_under_copies_counts() -> None:
    world, _, name = shadowed()
    world.models[name].crashed_at = world.now
    play(world, 5)
    assert world.rollout(name)["rejection"]["reason"] == "CandidateCrashed"


def test_copies_count_as_requests_and_too_few_hold_it() -> None:
    world, stable, name = shadowed(minRequests=1000)
    play(world, 60)
    assert world.weights == {stable: 100}
    play(world, 80, until=lambda w: w.weights.get(name) == 20)
    assert world.weights == {stable: 80, name: 20}


def test_copies_go_on_in_an_approval_and_an_analysis_behind_them() -> None:
    world, stable, name = shadowed({"approval": {}}, {"analysis": {"passingSeconds": 5}})
    play(world, 60, until=lambda w: w.status["state"] == "AwaitingApproval")
    assert (world.weights, mirrors(world)) == ({stable: 100}, {name})
    world.say("approve/1")
    play(world, 60, until=lambda w: w.weights.get(name) == 20)
    assert world.status["candidate"]["step"] == 4


def test_a_route_that_lost_its_copies_gets_them_again_and_the_step_begins_anew() -> None:
    world, _, name = shadowed()
    del world.objects[ROUTE]["spec"]["rules"][-1]["filters"]
    world.objects[ROUTE]["metadata"]["generation"] += 1
    world.look()
    assert mirrors(world) == {name}
    assert "stepStartedAt" not in world.status["candidate"]


def test_pods_that_go_away_get_no_copies() -> None:
    world, _, name = shadowed()
    world.models[name].ready = False
    play(world, 3)
    assert mirrors(world) == set()
    world.models[name].ready = True
    play(world, 5)
    assert mirrors(world) == {name}


@pytest.mark.parametrize("bad", [False, True], ids=["a good one", "a bad one"])
def test_whenever_the_operator_dies_it_ends_the_same(bad: bool) -> None:
    world, stable, name = shadowed()
    if bad:
        world.models[name].says("length", ReadingKind.VALUE, 126.0)
    else:
        play(world, 9)
    for other in deaths(world, 4):
        play(other, 200, until=stable_is(name))
        assert other.weights == ({stable: 100} if bad else {name: 100})
        assert mirrors(other) == set()


# --- testers ------------------------------------------------------------------------------------------------------


def with_testers(**canary: Any) -> tuple[World, str, str]:
    world, stable = with_stable(**canary)
    world.edit(lambda spec: spec["traffic"].update(testers=HEADERS))
    name = world.passes("b", Model(starts_in=3.0))
    return world, stable, name


def asked_by_testers(world: World) -> set[str]:
    return for_testers(world.objects[ROUTE])


def test_testers_get_the_candidate_while_it_is_on_its_way_and_the_stable_otherwise() -> None:
    world, stable, name = with_testers()
    assert asked_by_testers(world) == set()
    play(world, 60, until=lambda w: w.weights.get(name) == 10)
    assert asked_by_testers(world) == {name}
    assert world.weights == {stable: 90, name: 10}
    play(world, 3)
    assert "gets 10 percent and what testers ask" in world.status["message"]
    play(world, 300, until=stable_is(name))
    play(world, 3)
    assert asked_by_testers(world) == set()


def test_testers_can_try_it_before_any_user_while_a_person_has_paused_it() -> None:
    world, stable, name = with_testers()
    world.look()
    world.say("pause/1")
    play(world, 20)
    assert asked_by_testers(world) == {name}
    assert world.weights == {stable: 100}


@pytest.mark.parametrize("why", ["breach", "abort", "withdrawn", "pods", "no more testers"])
def test_testers_leave_it_with_everybody_else(why: str) -> None:
    world, stable, name = with_testers(blindness={"timeoutSeconds": 10, "action": "Withdraw"})
    play(world, 60, until=lambda w: "stepStartedAt" in w.status.get("candidate", {}))
    if why == "breach":
        world.models[name].says("length", ReadingKind.VALUE, 126.0)
    if why == "abort":
        world.say("abort/1")
    if why == "withdrawn":
        world.sources.away = True
    if why == "pods":
        world.models[name].ready = False
    if why == "no more testers":
        world.edit(lambda spec: spec["traffic"].pop("testers"))
    play(world, 17)
    assert asked_by_testers(world) == set()
    assert why == "no more testers" or world.weights == {stable: 100}


def test_the_pods_of_a_rejected_one_go_once_no_route_names_them() -> None:
    world, _, name = with_testers()
    play(world, 60, until=lambda w: "stepStartedAt" in w.status.get("candidate", {}))
    world.say("abort/1")
    play(world, 100)
    assert name not in world.running()


# --- the route itself -----------------------------------------------------------------------------------------------


def a_route(testers: Json, mirror: str = "") -> Json:
    service = a_service()
    service["spec"]["traffic"]["testers"] = testers
    return http_route(ModelService.model_validate(service), [("a", 90), ("b", 10)], testers="b", mirror=mirror)


def test_each_of_testers_marks_is_enough_and_goes_before_the_weights() -> None:
    both = {**HEADERS, "cookies": [{"name": "preview", "value": "on.1"}]}
    first, last = a_route(both)["spec"]["rules"]
    assert [match["headers"][0]["type"] for match in first["matches"]] == ["Exact", "RegularExpression"]
    assert first["backendRefs"] == [{"group": "", "kind": "Service", "name": "b", "port": 8000, "weight": 1}]
    assert [ref["weight"] for ref in last["backendRefs"]] == [90, 10]


@pytest.mark.parametrize(
    ("cookies", "is_tester"),
    [
        ("preview=on.1", True),
        ("a=b; preview=on.1", True),
        ("a=b;preview=on.1;c=d", True),
        ("preview=on.1; c=d", True),
        ("preview=on01", False),
        ("preview=on.12", False),
        ("no-preview=on.1", False),
        ("a=preview=on.1", False),
    ],
)
def test_a_cookie_is_found_among_others_and_only_as_a_whole(cookies: str, is_tester: bool) -> None:
    first, _ = a_route({"cookies": [{"name": "preview", "value": "on.1"}]})["spec"]["rules"]
    pattern = first["matches"][0]["headers"][0]["value"]
    assert (re.fullmatch(pattern, cookies) is not None) is is_tester
    assert (re.search(pattern, cookies) is not None) is is_tester  # however the Gateway applies it


def test_what_is_aside_is_read_back_and_is_no_share() -> None:
    route = a_route(HEADERS, mirror="b")
    route["metadata"] |= {"resourceVersion": "1", "ownerReferences": [{"uid": "uid-bot"}]}
    found = route_view(route, ModelService.model_validate(a_service()))
    assert found is not None
    assert dict(found.backends) == {"a": 90, "b": 10}
    assert (found.testers, found.mirrors) == (("b",), ("b",))
    assert found.mentions("b")
