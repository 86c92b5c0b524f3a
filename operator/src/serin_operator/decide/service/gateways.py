"""Whether requests come through at all: the Gateway that the route is at, which is another team's."""

from serin_operator.decide.service import ratio
from serin_operator.decide.service.snapshot import ServiceSnapshot


def trouble(s: ServiceSnapshot) -> tuple[str, str] | None:
    """Why the Gateway serves nobody: a reason and a sentence. None when it does, or when there is to be none.

    A route goes on saying Accepted after its Gateway has gone: then nobody is left who would take that back.
    """
    if ratio.by_pods(s):
        return None
    if s.gateway is None:
        return "GatewayNotFound", s.gateway_problem or _not_there(s)
    if not s.gateway.programmed:
        problem = s.gateway.problem or "its controller has not programmed it yet"
        return "GatewayNotProgrammed", f"Gateway {s.gateway.name}: {problem}"
    return None


def _not_there(s: ServiceSnapshot) -> str:
    ref = s.service.spec.traffic.gateway
    return f"Gateway {ref.namespace}/{ref.name} does not exist; create it, or correct spec.traffic.gatewayRef"
