"""A route of the user's, as Git has it, and a world whose service is given it."""

from copy import deepcopy
from typing import Any

from serin_operator.api.kinds import HTTP_ROUTE, SERVICE
from serin_operator.manifests import names
from support.service_world import GATEWAY_NAME, INFRA, NAMESPACE, World, a_service

Json = dict[str, Any]
RULES: list[Json] = [
    {
        "name": "web",
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "backendRefs": [{"group": "", "kind": "Service", "name": "web", "port": 8080, "weight": 1}],
    },
    {
        "name": "model",
        "matches": [{"path": {"type": "PathPrefix", "value": "/v1"}}],
        "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["x-debug"]}}],
        "backendRefs": [{"group": "", "kind": "Service", "name": "bot", "port": 8000, "weight": 1}],
        "timeouts": {"request": "10m"},
    },
]


def a_lent_route(rules: list[Json] | None = None, consent: str | None = "bot", name: str = "chat") -> Json:
    annotations = {} if consent is None else {names.LENT_TO: consent}
    return {
        "apiVersion": HTTP_ROUTE.api_version,
        "kind": "HTTPRoute",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": "uid-chat",
            "generation": 1,
            "resourceVersion": "1",
            "annotations": annotations,
        },
        "spec": {
            "parentRefs": [{"namespace": INFRA, "name": GATEWAY_NAME}],
            "hostnames": ["chat.example.com"],
            "rules": deepcopy(RULES if rules is None else rules),
        },
    }


def a_borrower(rule_name: str | None = None, **canary: Any) -> Json:
    """A service with `routeRef`."""
    found = a_service(**canary)
    ref = {"name": "chat"} | ({"ruleName": rule_name} if rule_name is not None else {})
    found["spec"]["traffic"] = {"provider": "GatewayAPI", "routeRef": ref}
    return found


def a_lent_world(route: Json | None = None, rule_name: str | None = None, **canary: Any) -> World:
    world = World(a_borrower(rule_name, **canary))
    world.put(HTTP_ROUTE, route or a_lent_route())
    world.put(SERVICE, {"kind": "Service", "metadata": {"name": "web", "namespace": NAMESPACE, "uid": "uid-web"}})
    return world
