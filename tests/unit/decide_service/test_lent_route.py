"""A route of the user's: Serin writes the backends of its rule, and nothing else, no faster than it looks."""

from copy import deepcopy
from typing import Any

import pytest
from serin_operator.decide.service import decide_service
from serin_operator.errors import Conflict
from serin_operator.manifests import names
from support.lent import RULES, a_lent_route, a_lent_world
from support.service_world import NOON, World, deaths, play, revision_name, stable_is

A, B = revision_name("a"), revision_name("b")
AMENDED = "amend HTTPRoute chat"


def lent_with_stable(**canary: Any) -> World:
    world = a_lent_world(**canary)
    world.passes("a")
    play(world, 10, until=stable_is(A))
    play(world, 5)
    assert world.weights == {A: 100}
    world.writes.clear()
    world.events.clear()
    return world


def in_its_first_step(**canary: Any) -> World:
    world = lent_with_stable(**canary)
    world.passes("b")
    play(world, 30, until=lambda world: world.weights == {A: 90, B: 10})
    play(world, 2)
    assert world.status["candidate"]["step"] == 1
    return world


def rules(world: World) -> list[dict[str, Any]]:
    return world.objects[world.route_key]["spec"]["rules"]


def with_backends(*backends: tuple[str, int]) -> list[dict[str, Any]]:
    """The rules with these in the model's."""
    web, model = deepcopy(RULES)
    like = model["backendRefs"][0]
    return [web, {**model, "backendRefs": [{**like, "name": name, "weight": weight} for name, weight in backends]}]


def test_a_canary_goes_all_its_way_by_a_users_route() -> None:
    world = lent_with_stable()
    world.passes("b")
    play(world, 120, until=stable_is(B))
    play(world, 3)
    shares = [weights for _, weights in world.weight_log]
    assert shares == [{A: 100}, {A: 90, B: 10}, {A: 50, B: 50}, {B: 100}]
    assert world.condition("RouteProgrammed")["status"] == "True"
    assert world.condition("GatewayReady")["status"] == "True"
    assert world.condition("Reconciling")["status"] == "False"


def test_nothing_but_the_rules_backends_is_changed_and_no_route_is_made() -> None:
    world = lent_with_stable()
    route = world.objects[("HTTPRoute", "chat")]
    assert rules(world) == with_backends((A, 100))
    before = a_lent_route()
    assert {**route["spec"], "rules": 0} == {**before["spec"], "rules": 0}
    assert route["metadata"]["annotations"] == before["metadata"]["annotations"]
    assert "ownerReferences" not in route["metadata"]
    assert [name for kind, name in world.objects if kind == "HTTPRoute"] == ["chat"]


def test_what_the_user_serves_until_the_first_model_is_ready_is_left_alone() -> None:
    world = a_lent_world(a_lent_route(with_backends(("bot", 7))))
    play(world, 5)
    assert world.condition("RouteProgrammed")["reason"] == "NoModel"
    world.passes("a")
    play(world, 2)
    assert rules(world) == with_backends(("bot", 7))
    play(world, 10, until=stable_is(A))
    assert rules(world) == with_backends((A, 100))


def test_a_settled_route_is_not_written_again() -> None:
    world = lent_with_stable()
    play(world, 40)
    assert world.writes == []


def test_a_rule_is_found_by_its_name() -> None:
    twice = [{**RULES[1], "name": "old", "matches": [{"path": {"type": "Exact", "value": "/old"}}]}, *RULES]
    world = a_lent_world(a_lent_route(twice), rule_name="model")
    world.passes("a")
    play(world, 15, until=stable_is(A))
    assert [rule["backendRefs"][0]["name"] for rule in rules(world)] == ["bot", "web", A]


def elsewhere(name: str, weight: int) -> dict[str, Any]:
    return {"group": "", "kind": "Service", "name": name, "port": 80, "weight": weight}


TWO_RULES = [RULES[1], {**RULES[1], "name": "other"}]
SHARED = [RULES[0], {**RULES[1], "backendRefs": [*RULES[1]["backendRefs"], elsewhere("old", 1)]}]
OBSTACLES = [
    pytest.param(a_lent_route(name="other"), None, "RouteNotFound", "HTTPRoute ml/chat does not exist; create it", id="none"),
    pytest.param(
        a_lent_route(consent=None), None, "RouteNotLent", "annotate it with serin.dev/managed-by-service: bot", id="not lent"
    ),
    pytest.param(
        a_lent_route(consent="rival"), None, "RouteNotLent", "is lent to ModelService rival", id="lent to another"
    ),
    pytest.param(
        a_lent_route(RULES[:1]), None, "RuleNotFound", "write backendRefs: [{name: bot, port: 8000}]", id="no backend of ours"
    ),
    pytest.param(a_lent_route(), "web", "RuleNotFound", "rule web of HTTPRoute chat has no backendRef named bot", id="not its rule"),
    pytest.param(a_lent_route(), "models", "RuleNotFound", "no rule named models", id="no rule of this name"),
    pytest.param(a_lent_route(TWO_RULES), None, "SeveralRules", "spec.traffic.routeRef.ruleName", id="several rules"),
    pytest.param(a_lent_route(SHARED), None, "OtherBackends", "also leads to old", id="a backend of others"),
]  # fmt: skip


@pytest.mark.parametrize(("route", "rule_name", "reason", "fix"), OBSTACLES)
def test_what_keeps_it_from_the_route_is_said_with_the_fix_and_nothing_is_written(
    route: dict[str, Any], rule_name: str | None, reason: str, fix: str
) -> None:
    world = a_lent_world(route, rule_name)
    world.passes("a")
    play(world, 20)
    for type_, status in (("RouteProgrammed", "False"), ("Stalled", "True")):
        found = world.condition(type_)
        assert (found["status"], found["reason"]) == (status, reason)
        assert fix in found["message"]
    assert world.condition("Ready")["status"] == "False"
    assert fix in world.condition("Ready")["message"]
    assert AMENDED not in world.writes


@pytest.mark.parametrize(("route", "rule_name", "reason", "fix"), OBSTACLES)
def test_no_canary_begins_behind_an_obstacle_and_it_goes_on_when_that_is_gone(
    route: dict[str, Any], rule_name: str | None, reason: str, fix: str
) -> None:
    world = a_lent_world(rule_name="model")
    world.passes("a")
    play(world, 15, until=stable_is(A))
    world.remove("HTTPRoute", "chat")
    world.edit(lambda spec: spec["traffic"]["routeRef"].update(ruleName=rule_name or "model"))
    if rule_name is None:
        world.edit(lambda spec: spec["traffic"].update(routeRef={"name": "chat"}))
    world.objects[("HTTPRoute", route["metadata"]["name"])] = deepcopy(route)
    world.passes("b")
    play(world, 15)
    assert world.status["candidate"]["step"] == 0
    assert B not in world.backends
    world.edit(lambda spec: spec["traffic"].update(routeRef={"name": "chat"}))
    world.objects[("HTTPRoute", "chat")] = a_lent_route()
    play(world, 10, until=lambda world: world.weights == {A: 90, B: 10})
    assert world.weights == {A: 90, B: 10}
    play(world, 2)
    assert world.condition("Stalled")["status"] == "False"


# --- Git, too, writes the route -------------------------------------------------------------------------------------


def test_what_git_writes_back_is_put_right_and_told() -> None:
    world = lent_with_stable()
    play(world, 10)
    world.write_rules(RULES)
    world.look()
    assert rules(world) == with_backends((A, 100))
    assert world.events.count("RouteRewritten") == 1


def test_git_that_writes_each_second_is_answered_once_in_an_interval() -> None:
    world = lent_with_stable(intervalSeconds=7)
    for _ in range(70):
        world.write_rules(RULES)
        play(world, 1)
    assert world.writes.count(AMENDED) == 10
    play(world, 8)
    assert world.weights == {A: 100}


def test_git_in_the_middle_of_a_step_begins_it_anew() -> None:
    world = in_its_first_step()
    play(world, 12)
    assert world.status["candidate"]["watchedSeconds"] >= 10
    world.write_rules(RULES)
    world.look()
    assert world.weights == {A: 90, B: 10}
    play(world, 5)
    assert (world.status["candidate"]["step"], world.status["candidate"]["watchedSeconds"]) == (1, 0)
    play(world, 120, until=stable_is(B))
    assert world.weights == {B: 100}


def test_other_weights_than_the_last_ones_never_wait() -> None:
    world = in_its_first_step(intervalSeconds=30)
    assert world.status["lentRoute"]["backends"] == [{"name": A, "weight": 90}, {"name": B, "weight": 10}]
    world.say("abort/1")
    world.look()
    world.look()
    assert world.weights == {A: 100}


def test_a_clock_that_was_set_back_makes_nobody_wait() -> None:
    world = lent_with_stable(intervalSeconds=300)
    world.status["lentRoute"]["writtenAt"] = NOON.replace(hour=20).isoformat()
    world.write_rules(RULES)
    world.look()
    assert world.weights == {A: 100}


def test_a_write_that_a_crash_left_out_is_made_at_the_next_look() -> None:
    world = in_its_first_step(intervalSeconds=30)
    world.say("abort/1")
    seen = 0
    for other in deaths(world, 2):
        seen += 1
        play(other, 2)
        assert other.weights == {A: 100}
        assert other.is_rejected(B)
    assert seen >= 4


def test_somebody_who_writes_between_the_look_and_the_write_is_not_overwritten() -> None:
    world = lent_with_stable()
    world.write_rules(RULES)
    decision = decide_service(world.snapshot())
    theirs = with_backends(("bot", 3))
    world.write_rules(theirs)
    with pytest.raises(Conflict):
        world.carry_out(decision)
    assert rules(world) == theirs
    play(world, 8)
    assert world.weights == {A: 100}


# --- in the middle of a canary --------------------------------------------------------------------------------------


def test_a_route_that_is_taken_back_is_written_no_more_and_nothing_counts() -> None:
    world = in_its_first_step()
    world.annotate("HTTPRoute", "chat", names.LENT_TO, None)
    world.writes.clear()
    play(world, 60)
    assert world.weights == {A: 90, B: 10}
    assert AMENDED not in world.writes
    assert world.status["candidate"]["step"] == 1
    assert world.condition("RouteProgrammed")["reason"] == "RouteNotLent"
    assert world.condition("Ready")["status"] == "True"  # users are answered as before


def test_a_bad_model_is_rejected_but_not_taken_for_gone_while_its_route_may_not_be_written() -> None:
    world = in_its_first_step()
    world.annotate("HTTPRoute", "chat", names.LENT_TO, None)
    world.say("abort/1")
    play(world, 60)
    assert "weightZeroAt" not in world.rollout(B)["rejection"]
    assert B in world.running()  # users are still sent to it
    world.annotate("HTTPRoute", "chat", names.LENT_TO, "bot")
    play(world, 60)
    assert "weightZeroAt" in world.rollout(B)["rejection"]
    assert world.weights == {A: 100}
    assert world.running() == {A}


def test_beside_backends_of_others_a_bad_model_still_loses_its_share_and_they_keep_theirs() -> None:
    world = in_its_first_step()
    found = deepcopy(rules(world))
    found[1]["backendRefs"].append(elsewhere("old", 50))
    world.write_rules(found)
    play(world, 60)
    assert world.status["candidate"]["step"] == 1
    assert world.weights == {A: 90, B: 10}
    assert "also leads to old" in world.condition("RouteProgrammed")["message"]
    world.say("abort/1")
    play(world, 2)
    assert world.weights == {A: 100}
    assert rules(world)[1]["backendRefs"][-1] == elsewhere("old", 50)


def test_backends_of_others_without_weight_are_left_alone() -> None:
    found = with_backends(("bot", 1))
    found[1]["backendRefs"].append(elsewhere("web", 0))
    world = a_lent_world(a_lent_route(found))
    world.passes("a")
    play(world, 15, until=stable_is(A))
    assert rules(world)[1]["backendRefs"][-1] == elsewhere("web", 0)
    assert world.weights == {A: 100}


def test_a_gateway_that_refuses_the_route_holds_the_canary() -> None:
    world = lent_with_stable()
    world.gateway_up = False
    world.passes("b")
    play(world, 40)
    assert world.status["candidate"]["step"] == 1
    assert "watchedSeconds" not in world.status["candidate"] or world.status["candidate"]["watchedSeconds"] == 0
    assert world.condition("RouteProgrammed")["status"] == "Unknown"


def test_no_gateway_is_told_of_where_the_route_names_none() -> None:
    world = lent_with_stable()
    world.objects[("Gateway", "public")]["status"]["conditions"][0] |= {"status": "False", "message": "no address"}
    play(world, 2)
    assert world.condition("GatewayReady")["message"] == "Gateway infra/public: no address"
