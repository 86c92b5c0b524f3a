"""A user's route, read back: which backends are ours, and whether all of its Gateways have taken it up."""

from copy import deepcopy
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import ModelService, RouteRef
from serin_operator.decide.service.snapshot import RouteView
from serin_operator.manifests import names
from serin_operator.manifests.route import reweighed
from serin_operator.observe.lent import gateways_of, lent_view
from support.lent import RULES, a_borrower, a_lent_route
from support.service_world import revision_name

SERVICE = ModelService.model_validate(a_borrower())
A, B = revision_name("a"), revision_name("b")
INSIDE = {"namespace": "infra", "name": "inside"}
PUBLIC = {"namespace": "infra", "name": "public"}


def said(parent: dict[str, Any], generation: int = 1, **otherwise: str) -> dict[str, Any]:
    """What a Gateway's controller says."""
    statuses = {"Accepted": "True", "ResolvedRefs": "True"} | otherwise
    return {
        "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", **parent},
        "conditions": [
            {"type": type_, "status": status, "observedGeneration": generation, "reason": "R", "message": f"{type_}!"}
            for type_, status in statuses.items()
        ],
    }


def a_route(*backends: dict[str, Any], parents: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    rules = deepcopy(RULES)
    rules[1]["backendRefs"] = list(backends) or [to(A, 90), to(B, 10)]
    route = a_lent_route(rules)
    route["spec"]["parentRefs"] = parents or [PUBLIC]
    route["status"] = {"parents": [said(PUBLIC)]}
    return route


def to(name: str, weight: int = 1, **more: Any) -> dict[str, Any]:
    return {"group": "", "kind": "Service", "name": name, "port": 8000, "weight": weight, **more}


def view(route: dict[str, Any], service: ModelService = SERVICE) -> RouteView:
    return lent_view(route, service, RouteRef(name="chat"))


def test_the_weights_of_its_rule_are_read_and_those_of_other_rules_are_not() -> None:
    found = view(a_route())
    assert (found.weight(A), found.weight(B)) == (90, 10)
    assert found.backends == ((A, 90), (B, 10))
    assert (found.programmed, found.serving, found.ours) == (True, True, True)
    assert found.lent is not None
    assert (found.lent.rule, found.lent.others) == (1, ())


@pytest.mark.parametrize(
    "foreign",
    [
        pytest.param(to("old"), id="another Service"),
        pytest.param(to("bot-tools"), id="a Service with a name like ours"),
        pytest.param(to(A, namespace="elsewhere"), id="our name in another namespace"),
        pytest.param({"name": "bot", "group": "example.com", "kind": "Backend"}, id="our name, and no Service"),
    ],
)
def test_what_leads_elsewhere_is_none_of_ours(foreign: dict[str, Any]) -> None:
    found = view(a_route(to(B, 100), foreign))
    assert found.backends == ((B, 100),)
    assert found.obstacle == "OtherBackends"
    assert not found.programmed


@pytest.mark.parametrize(
    ("backend", "is_ours"),
    [
        ("bot-0123456789", True), ("bot-012345678", False), ("bot-01234567890", False), ("bot-012345678x", False),
        ("bot", False), ("bots-0123456789", False), ("my-bot-0123456789", False), ("0123456789", False),
    ],
)  # fmt: skip
def test_a_revisions_service_is_known_by_its_name(backend: str, is_ours: bool) -> None:
    assert names.is_of("bot", backend) is is_ours


@pytest.mark.parametrize("name", ["bot", "a" * 40])
def test_every_name_that_serin_makes_is_known(name: str) -> None:
    assert names.is_of(name, names.serving(names.revision(name, "sha256:" + "0123456789abcdef" * 4)))


def test_a_rule_with_the_users_stand_in_only_serves_nobody_yet() -> None:
    found = view(a_route(to("bot")))
    assert (found.programmed, found.serving) == (True, False)


@pytest.mark.parametrize(
    ("route", "programmed", "serving", "problem"),
    [
        pytest.param(a_route(parents=[PUBLIC, INSIDE]), False, False, "", id="one of two Gateways says nothing"),
        pytest.param(a_route(), True, True, "", id="the only one"),
        pytest.param({**a_route(), "status": {}}, False, False, "", id="nobody has looked at it"),
        pytest.param(
            {**a_route(), "status": {"parents": [said(PUBLIC, 0)]}}, False, True, "", id="the generation before"
        ),
        pytest.param(
            {**a_route(), "status": {"parents": [said(PUBLIC, ResolvedRefs="False")]}},
            False, False, "ResolvedRefs is False (R): ResolvedRefs!", id="no backend",
        ),
        pytest.param(
            {**a_route(parents=[PUBLIC, INSIDE]), "status": {"parents": [said(PUBLIC), said(INSIDE)]}},
            True, True, "", id="both of two Gateways",
        ),
        pytest.param(
            {**a_route(parents=[PUBLIC, INSIDE]), "status": {"parents": [said(PUBLIC), said(INSIDE, Accepted="False")]}},
            False, False, "Accepted is False (R): Accepted!", id="one of two refuses it",
        ),
        pytest.param(
            {**a_route(parents=[PUBLIC | {"sectionName": "https"}]), "status": {"parents": [said(PUBLIC)]}},
            False, False, "", id="another listener was told of",
        ),
        pytest.param(
            {**a_route(), "status": {"parents": [said(PUBLIC), said(INSIDE, Accepted="False")]}},
            True, True, "", id="a Gateway that it asks for no more",
        ),
    ],
)  # fmt: skip
def test_weights_count_once_every_gateway_that_the_route_names_has_taken_this_generation_up(
    route: dict[str, Any], programmed: bool, serving: bool, problem: str
) -> None:
    found = view(route)
    assert (found.programmed, found.serving, found.problem) == (programmed, serving, problem)


def test_the_gateways_of_a_route_are_those_that_it_names() -> None:
    mesh = {"group": "", "kind": "Service", "name": "web"}
    route = a_route(
        parents=[PUBLIC | {"sectionName": "http"}, PUBLIC | {"sectionName": "https"}, {"name": "near"}, mesh]
    )
    assert gateways_of(route) == [("infra", "public"), ("ml", "near")]
    assert gateways_of(None) == []


# --- what is written ------------------------------------------------------------------------------------------------


def test_stable_and_candidate_are_alike_in_all_that_the_user_says_of_a_backend() -> None:
    added = [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["x"]}}]
    rules = a_route(to("bot", filters=added))["spec"]["rules"]
    found = reweighed(rules, 1, SERVICE, [(A, 90), (B, 10)])
    assert found[1]["backendRefs"] == [to(A, 90, filters=added), to(B, 10, filters=added)]


def test_only_the_backends_of_the_rule_change() -> None:
    rules = a_route(to(A, 100), to("old", 0), to(B, 0))["spec"]["rules"]
    before = deepcopy(rules)
    found = reweighed(rules, 1, SERVICE, [(A, 50), (B, 50)])
    assert rules == before
    assert found[0] is rules[0]
    assert {**found[1], "backendRefs": 0} == {**rules[1], "backendRefs": 0}
    assert found[1]["backendRefs"] == [to(A, 50), to(B, 50), to("old", 0)]


def test_a_port_that_somebody_changed_is_put_right_and_the_stand_ins_is_not() -> None:
    rules = a_route(to(A, 100, port=80))["spec"]["rules"]
    assert reweighed(rules, 1, SERVICE, [(A, 100)])[1]["backendRefs"] == [to(A, 100)]
    rules = a_route(to("bot", 1, port=80))["spec"]["rules"]
    assert reweighed(rules, 1, SERVICE, [("bot", 1)])[1]["backendRefs"] == [to("bot", 1, port=80)]
