"""The route to write: the plan's weights, and with 0 those that have just lost theirs. Not here: who deserves what."""

from collections.abc import Mapping, Sequence
from typing import Any

from serin_operator.decide.decision import Action, Apply
from serin_operator.decide.service import children
from serin_operator.decide.service.facts import Weights
from serin_operator.decide.service.plan import Plan
from serin_operator.decide.service.snapshot import RouteView, ServiceSnapshot
from serin_operator.manifests import names
from serin_operator.manifests.drift import covers
from serin_operator.manifests.route import http_route

Backends = tuple[tuple[str, int], ...]


def applies(s: ServiceSnapshot, plan: Plan) -> list[Action]:
    """The route, when it is not as it should be."""
    if s.route is not None and not s.route.ours:
        return []
    backends = wanted_backends(s, plan)
    if not backends or (s.route is not None and _as_wanted(s, s.route, backends)):
        return []
    version = s.route.resource_version if s.route is not None else None
    return [Apply(http_route(s.service, backends), names.FIELD_MANAGER_TRAFFIC, expect=version)]


def wanted_backends(s: ServiceSnapshot, plan: Plan) -> Backends:
    """(Service, weight); empty while there is nothing to send anybody to."""
    there = s.route.backends if s.route is not None else ()
    given = dict(there) if plan.weights is None else _by_service(plan.weights)
    lingering = {service: 0 for service, _ in there if service not in given}
    gone = _gone(s, plan)
    kept = [(service, weight) for service, weight in {**given, **lingering}.items() if weight or service not in gone]
    return tuple(kept)


def _by_service(weights: Weights) -> dict[str, int]:
    return {names.serving(revision): weight for revision, weight in weights.items()}


def _gone(s: ServiceSnapshot, plan: Plan) -> set[str]:
    """Services that may leave the route: their revision has been without traffic for long enough, or they do not exist
    (a route that names a missing Service is refused by its Gateway, even with weight 0)."""
    keep = {names.serving(name) for name in children.kept(plan)}
    there = {child.name: child.revision for child in s.children if child.kind == "Service"}
    routed = s.route.backends if s.route is not None else ()
    return {
        service
        for service, _ in routed
        if service not in there or (service not in keep and children.expired(s, plan, there[service]))
    }


def _as_wanted(s: ServiceSnapshot, route: RouteView, backends: Backends) -> bool:
    traffic = s.service.spec.traffic
    gateway = (traffic.gateway_ref.namespace, traffic.gateway_ref.name)
    return (
        dict(route.backends) == dict(backends)  # their order says nothing
        and sorted(route.hostnames) == sorted(traffic.hostnames)
        and route.gateway == gateway
        and covers(_without_backends(route.rules), _without_backends(http_route(s.service, ())["spec"]["rules"]))
    )


def _without_backends(rules: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Which requests the route is for, and how long they may take."""
    return [{name: value for name, value in rule.items() if name != "backendRefs"} for rule in rules]
