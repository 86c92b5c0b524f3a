"""Reads a route of the user's: which of its rules is Serin's to weigh, may it be written, is it in force.

What keeps Serin from writing it is an obstacle with a sentence that says what helps. Meanwhile nothing is believed of it: it
counts as not in force, so that no weight is taken for moved. Not here: what the weights should be.
"""

from dataclasses import dataclass
from typing import Any

from serin_operator.api.kinds import GATEWAY
from serin_operator.api.v1alpha1 import ModelService, RouteRef
from serin_operator.decide.service.lent import OTHER_BACKENDS
from serin_operator.decide.service.snapshot import Lent, RouteView
from serin_operator.manifests import names
from serin_operator.manifests.engines import PORT
from serin_operator.manifests.route import GATEWAY_GROUP, leads_to
from serin_operator.observe.fields import Json, by_type, part, parts
from serin_operator.observe.traffic import NEEDED, all_true, problem_of


@dataclass(frozen=True, slots=True)
class _Obstacle:
    reason: str
    message: str


def lent_view(route: Json | None, service: ModelService, ref: RouteRef) -> RouteView:
    """The route that `ref` names, also when there is none."""
    if route is None:
        where = f"{service.metadata.namespace}/{ref.name}"
        return _unknown("RouteNotFound", f"HTTPRoute {where} does not exist; create it, Serin writes weights only")
    rule = _rule(route, service, ref)
    if isinstance(rule, _Obstacle):
        return _unknown(rule.reason, rule.message, route)
    mine = service.metadata.name
    refs = parts(route, "spec", "rules")[rule]["backendRefs"]
    ours = {one["name"]: _weight(one) for one in refs if leads_to(one, service)}
    others = tuple(one["name"] for one in refs if not leads_to(one, service) and _weight(one))
    obstacle = _consent(route, service, ref) or _others(others, service, ref)
    said = _said_by_all(route)
    generation = route["metadata"].get("generation", 0)
    accepted = bool(said) and all(all_true(conditions) for conditions in said)
    current = all(one.get("observedGeneration", 0) == generation for found in said for one in found.values())
    problem = "; ".join(dict.fromkeys(text for found in said if (text := problem_of(found))))
    return RouteView(
        backends=tuple(ours.items()),
        hostnames=(),
        gateway=None,
        programmed=accepted and current and obstacle is None,
        serving=accepted and any(weight for name, weight in ours.items() if name != mine),
        resource_version=route["metadata"]["resourceVersion"],
        problem=obstacle.message if obstacle is not None else problem,
        rules=parts(route, "spec", "rules"),
        obstacle=obstacle.reason if obstacle is not None else "",
        lent=Lent(ref.name, generation, rule, others),
    )


def _unknown(reason: str, message: str, route: Json | None = None) -> RouteView:
    """Nothing can be said of where requests go."""
    version = route["metadata"]["resourceVersion"] if route is not None else ""
    return RouteView((), (), None, False, False, version, message, obstacle=reason)


def _rule(route: Json, service: ModelService, ref: RouteRef) -> int | _Obstacle:
    """The place of the rule."""
    rules, mine = parts(route, "spec", "rules"), service.metadata.name
    if ref.rule_name is not None:
        named = [number for number, rule in enumerate(rules) if rule.get("name") == ref.rule_name]
        if not named:
            return _Obstacle(
                "RuleNotFound",
                f"HTTPRoute {ref.name} has no rule named {ref.rule_name}; give one that name (Gateway API before 1.4 keeps"
                " names of rules in its experimental channel only), or leave out routeRef.ruleName",
            )
        found = named
    else:
        found = [
            number
            for number, rule in enumerate(rules)
            if any(leads_to(one, service) for one in parts(rule, "backendRefs"))
        ]
    if len(found) > 1:
        return _Obstacle(
            "SeveralRules",
            f"{len(found)} rules of HTTPRoute {ref.name} lead to {mine}; give one of them a name and name it in"
            " spec.traffic.routeRef.ruleName",
        )
    if not found or not any(leads_to(one, service) for one in parts(rules[found[0]], "backendRefs")):
        where = f"rule {ref.rule_name}" if ref.rule_name is not None else "no rule"
        lacks = "has no backendRef" if ref.rule_name is not None else "has a backendRef"
        return _Obstacle(
            "RuleNotFound",
            f"{where} of HTTPRoute {ref.name} {lacks} named {mine}; write backendRefs: [{{name: {mine}, port: {PORT}}}] in"
            " the rule that is to lead to this service",
        )
    return found[0]


def _consent(route: Json, service: ModelService, ref: RouteRef) -> _Obstacle | None:
    """Who may write a ModelService need not be allowed to write the route: whoever owns it says who may."""
    said, mine = part(route, "metadata", "annotations").get(names.LENT_TO), service.metadata.name
    if said == mine:
        return None
    why = f"is lent to ModelService {said}" if said else "is not lent to this service"
    return _Obstacle(
        "RouteNotLent",
        f"HTTPRoute {ref.name} {why}; annotate it with {names.LENT_TO}: {mine}, or give each service a route of its own",
    )


def _others(others: tuple[str, ...], service: ModelService, ref: RouteRef) -> _Obstacle | None:
    if not others:
        return None
    return _Obstacle(
        OTHER_BACKENDS,
        f"the rule of HTTPRoute {ref.name} also leads to {', '.join(others)}, so a share of 10 percent would not be one; take"
        f" them out, or give them another rule than that of {service.metadata.name}",
    )


def _weight(ref: Json) -> int:
    return int(ref.get("weight", 1))


# --- what its Gateways say ----------------------------------------------------------------------------------------


def gateways_of(route: Json | None) -> list[tuple[str, str]]:
    """(namespace, name) of the Gateways it asks for."""
    if route is None:
        return []
    where = route["metadata"]["namespace"]
    found = [
        parent for parent in parts(route, "spec", "parentRefs") if parent.get("kind", GATEWAY.kind) == GATEWAY.kind
    ]
    return list(dict.fromkeys((parent.get("namespace", where), parent["name"]) for parent in found))


def _said_by_all(route: Json) -> list[dict[str, Json]]:
    """The conditions that count, for each parent that the route asks for: a share is only one when all of them give it."""
    where = route["metadata"]["namespace"]
    told: dict[tuple[Any, ...], list[dict[str, Json]]] = {}
    for status in parts(route, "status", "parents"):
        found = by_type(parts(status, "conditions"))
        told.setdefault(_identity(part(status, "parentRef"), where), []).append(
            {type_: found[type_] for type_ in NEEDED if type_ in found}
        )
    asked = [_identity(parent, where) for parent in parts(route, "spec", "parentRefs")]
    return [conditions for parent in asked for conditions in told.get(parent, [{}])]


def _identity(parent: Json, where: str) -> tuple[Any, ...]:
    return (
        parent.get("group", GATEWAY_GROUP),
        parent.get("kind", GATEWAY.kind),
        parent.get("namespace", where),
        parent.get("name"),
        parent.get("sectionName"),
        parent.get("port"),
    )
