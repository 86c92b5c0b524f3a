"""Reads the HTTPRoute and its Gateway back: which weights are there, and has the Gateway taken them up.

Truth about traffic is here and never in our own status. Not here: what the weights should be.
"""

from collections.abc import Iterable
from datetime import datetime

from serin_operator.api.v1alpha1 import GatewayRef, ModelService
from serin_operator.decide.service.hostnames import OtherRoute
from serin_operator.decide.service.snapshot import GatewayView, RouteView
from serin_operator.manifests.arms import of_an_arm
from serin_operator.observe.fields import Json, by_type, owned_by, part, parts


def route_view(route: Json | None, service: ModelService) -> RouteView | None:
    """None when there is no route of this name."""
    if route is None:
        return None
    if not owned_by(route, service.metadata.uid):
        return RouteView(
            backends=(),
            hostnames=(),
            gateway=None,
            programmed=False,
            serving=False,
            resource_version=route["metadata"]["resourceVersion"],
            obstacle="RouteNameTaken",
            problem=f"an HTTPRoute {service.metadata.name} exists already and is not Serin's; delete it, or give the"
            " ModelService another name",
        )
    conditions = _parent_conditions(route, service.spec.traffic.gateway)
    generation = route["metadata"].get("generation", 0)
    current = all_true(conditions) and all(c.get("observedGeneration", 0) == generation for c in conditions.values())
    return RouteView(
        backends=_backends(route),
        hostnames=tuple(route["spec"].get("hostnames") or ()),
        gateway=_gateway(route),
        programmed=current,
        serving=all_true(conditions),
        resource_version=route["metadata"]["resourceVersion"],
        problem=problem_of(conditions),
        rules=parts(route, "spec", "rules"),
        made_at=_made_at(route),
        testers=_testers(route),
        mirrors=_mirrors(route),
        arms=_arms(route),
    )


def other_routes(routes: Iterable[Json]) -> list[OtherRoute]:
    """The routes of all services, as far as they are to stay."""
    return [
        OtherRoute(
            namespace=route["metadata"]["namespace"],
            name=route["metadata"]["name"],
            gateway=_gateway(route),
            hostnames=frozenset(part(route, "spec").get("hostnames") or ()),
            made_at=made_at,
        )
        for route in routes
        if (made_at := _made_at(route)) is not None and not route["metadata"].get("deletionTimestamp")
    ]


def _made_at(route: Json) -> datetime | None:
    stamp = route["metadata"].get("creationTimestamp")
    return datetime.fromisoformat(stamp) if stamp else None


def _backends(route: Json) -> tuple[tuple[str, int], ...]:
    rules = [rule for rule in parts(route, "spec", "rules") if not _of_some(rule)]
    return tuple((ref["name"], int(ref.get("weight", 1))) for rule in rules for ref in parts(rule, "backendRefs"))


def _of_some(rule: Json) -> bool:
    """Not for everybody: it asks for a header, of testers or of an experiment."""
    return any(match.get("headers") for match in parts(rule, "matches"))


def _testers(route: Json) -> tuple[str, ...]:
    """The Services that only testers' requests go to."""
    rules = [rule for rule in parts(route, "spec", "rules") if _of_some(rule) and not _of_an_arm(rule)]
    return tuple(ref["name"] for rule in rules for ref in parts(rule, "backendRefs"))


def _of_an_arm(rule: Json) -> bool:
    return any(of_an_arm(header) for match in parts(rule, "matches") for header in parts(match, "headers"))


def _arms(route: Json) -> tuple[str, ...]:
    """The Services that users of an experiment come back to."""
    rules = [rule for rule in parts(route, "spec", "rules") if _of_an_arm(rule)]
    return tuple(ref["name"] for rule in rules for ref in parts(rule, "backendRefs"))


def _mirrors(route: Json) -> tuple[str, ...]:
    """The Services that copies of requests go to."""
    filters = [one for rule in parts(route, "spec", "rules") for one in parts(rule, "filters")]
    return tuple(str(part(one, "requestMirror", "backendRef").get("name")) for one in filters if "requestMirror" in one)


def _gateway(route: Json) -> tuple[str, str] | None:
    parents = parts(route, "spec", "parentRefs")
    if len(parents) != 1:
        return None
    return parents[0].get("namespace", route["metadata"]["namespace"]), parents[0]["name"]


NEEDED = ("Accepted", "ResolvedRefs")


def _parent_conditions(route: Json, ref: GatewayRef) -> dict[str, Json]:
    """What our Gateway's controller says about the route."""
    for parent in parts(route, "status", "parents"):
        named = part(parent, "parentRef")
        if (named.get("namespace", route["metadata"]["namespace"]), named.get("name")) == (ref.namespace, ref.name):
            found = by_type(parts(parent, "conditions"))
            return {type_: found[type_] for type_ in NEEDED if type_ in found}
    return {}


def all_true(conditions: dict[str, Json]) -> bool:
    return all(part(conditions, type_).get("status") == "True" for type_ in NEEDED)


def problem_of(conditions: dict[str, Json]) -> str:
    bad = [condition for condition in conditions.values() if condition.get("status") == "False"]
    return "; ".join(f"{c['type']} is False ({c.get('reason', '')}): {c.get('message', '')}" for c in bad)


def gateway_view(gateway: Json | None) -> GatewayView | None:
    """None when there is no such Gateway."""
    if gateway is None:
        return None
    programmed = part(by_type(parts(gateway, "status", "conditions")), "Programmed")
    meta = part(gateway, "metadata")
    name = f"{meta.get('namespace', '')}/{meta.get('name', '')}"
    return GatewayView(programmed.get("status") == "True", str(programmed.get("message", "")), name)
