"""Reads the HTTPRoute and its Gateway back: which weights are there, and has the Gateway taken them up.

Truth about traffic is here and never in our own status. Not here: what the weights should be.
"""

from serin_operator.api.v1alpha1 import GatewayRef, ModelService
from serin_operator.decide.service.snapshot import GatewayView, RouteView
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
            ours=False,
            problem=f"an HTTPRoute {service.metadata.name} exists already and is not Serin's; delete it, or give the"
            " ModelService another name",
        )
    conditions = _parent_conditions(route, service.spec.traffic.gateway_ref)
    generation = route["metadata"].get("generation", 0)
    current = _all_true(conditions) and all(c.get("observedGeneration", 0) == generation for c in conditions.values())
    return RouteView(
        backends=_backends(route),
        hostnames=tuple(route["spec"].get("hostnames") or ()),
        gateway=_gateway(route),
        programmed=current,
        serving=_all_true(conditions),
        resource_version=route["metadata"]["resourceVersion"],
        problem=_problem(conditions),
        rules=parts(route, "spec", "rules"),
    )


def _backends(route: Json) -> tuple[tuple[str, int], ...]:
    rules = parts(route, "spec", "rules")
    return tuple((ref["name"], int(ref.get("weight", 1))) for rule in rules for ref in parts(rule, "backendRefs"))


def _gateway(route: Json) -> tuple[str, str] | None:
    parents = parts(route, "spec", "parentRefs")
    if len(parents) != 1:
        return None
    return parents[0].get("namespace", route["metadata"]["namespace"]), parents[0]["name"]


_NEEDED = ("Accepted", "ResolvedRefs")


def _parent_conditions(route: Json, ref: GatewayRef) -> dict[str, Json]:
    """What our Gateway's controller says about the route."""
    for parent in parts(route, "status", "parents"):
        named = part(parent, "parentRef")
        if (named.get("namespace", route["metadata"]["namespace"]), named.get("name")) == (ref.namespace, ref.name):
            found = by_type(parts(parent, "conditions"))
            return {type_: found[type_] for type_ in _NEEDED if type_ in found}
    return {}


def _all_true(conditions: dict[str, Json]) -> bool:
    return all(part(conditions, type_).get("status") == "True" for type_ in _NEEDED)


def _problem(conditions: dict[str, Json]) -> str:
    bad = [condition for condition in conditions.values() if condition.get("status") == "False"]
    return "; ".join(f"{c['type']} is False ({c.get('reason', '')}): {c.get('message', '')}" for c in bad)


def gateway_view(gateway: Json | None) -> GatewayView | None:
    """None when there is no such Gateway."""
    if gateway is None:
        return None
    programmed = part(by_type(parts(gateway, "status", "conditions")), "Programmed")
    return GatewayView(programmed.get("status") == "True", str(programmed.get("message", "")))
