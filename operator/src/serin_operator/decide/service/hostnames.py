"""Two ModelServices with one hostname at one Gateway: who has it, and what is left to the other.

A Gateway follows the oldest of the routes that name a hostname, so whoever's route names it first has it, and a second one
would take requests from nobody while its canary believed that it has them. Who comes later leaves that hostname out of its
route, or waits when there is no other. An edit takes no hostname from a service whose route has it, however old the route is
that would name it now. Not here: routes that Serin did not make; the Gateway's listeners say who may attach those.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from serin_operator.decide.service.snapshot import RouteView, ServiceSnapshot

TAKEN = "HostnameTaken"


@dataclass(frozen=True, slots=True)
class OtherRoute:
    """The route of another ModelService."""

    namespace: str
    name: str  # of the route, and of its service
    gateway: tuple[str, str] | None
    hostnames: frozenset[str]
    made_at: datetime


def to_be_asked(s: ServiceSnapshot) -> bool:
    """Whether to look at the others' routes now: not at each look at a step or bake that runs, which come often and
    whose route was looked at before. Of what is taken, each look asks whether it is still so."""
    running = (s.candidate.step_started_at if s.candidate else None) or (s.bake.started_at if s.bake else None)
    if not _wanted(s):
        return False  # the route is the user's, and so are its hostnames
    told = any(one.type == "RouteProgrammed" and one.reason == TAKEN for one in s.service.status.conditions)
    return told or running is None or s.route is None or set(s.route.hostnames) != set(_wanted(s))


def beside(s: ServiceSnapshot, others: Iterable[OtherRoute]) -> ServiceSnapshot:
    """The snapshot with the hostnames that others have."""
    if not _wanted(s):
        return s
    ref, meta = s.service.spec.traffic.gateway, s.service.metadata
    found = sorted(
        (one for one in others if one.gateway == (ref.namespace, ref.name)),
        key=lambda one: (one.made_at, one.namespace, one.name),
        reverse=True,
    )
    mine = (meta.namespace, meta.name)
    taken = {
        hostname: f"{other.namespace}/{other.name}"
        for other in found  # the oldest last: it is the one that is told of
        if (other.namespace, other.name) != mine
        for hostname in _wanted(s)
        if hostname in other.hostnames and not _earlier(s.route, hostname, s, other)
    }
    return replace(s, taken=taken)


def _earlier(route: RouteView | None, hostname: str, s: ServiceSnapshot, other: OtherRoute) -> bool:
    """Our route names it at this Gateway already, and the Gateway follows ours of the two."""
    ref, meta = s.service.spec.traffic.gateway, s.service.metadata
    if route is None or route.made_at is None or route.gateway != (ref.namespace, ref.name):
        return False
    first = (route.made_at, meta.namespace, meta.name) < (other.made_at, other.namespace, other.name)
    return hostname in route.hostnames and first


def _wanted(s: ServiceSnapshot) -> list[str]:
    return list(s.service.spec.traffic.hostnames or ())


def free(s: ServiceSnapshot) -> list[str]:
    """The hostnames that are ours to write into the route."""
    return [hostname for hostname in _wanted(s) if hostname not in s.taken]


def none_free(s: ServiceSnapshot) -> bool:
    """There is nothing that requests could come by."""
    return bool(s.taken) and not free(s)


def sentence(taken: Mapping[str, str], gateway: str) -> str:
    """Who has what, and what helps."""
    held = ", ".join(f"{hostname} belongs to ModelService {other}" for hostname, other in sorted(taken.items()))
    return (
        f"{held}, whose route at Gateway {gateway} named it first; give this service another hostname, or take it from"
        " the other's spec.traffic.hostnames"
    )
