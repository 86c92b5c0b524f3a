"""The route to write: the plan's weights, and with 0 those that have just lost theirs. Not here: who deserves what."""

from collections.abc import Mapping, Sequence
from typing import Any

from serin_operator.decide.decision import Action, Apply
from serin_operator.decide.service import children, experiment, facts, hostnames, lent, ratio
from serin_operator.decide.service.facts import Weights
from serin_operator.decide.service.plan import Plan
from serin_operator.decide.service.snapshot import RouteView, ServiceSnapshot
from serin_operator.manifests import names
from serin_operator.manifests.drift import covers
from serin_operator.manifests.route import http_route

Backends = tuple[tuple[str, int], ...]


def applies(s: ServiceSnapshot, plan: Plan) -> list[Action]:
    """The route, when it is not as it should be."""
    if ratio.by_pods(s):
        return []
    if lent.is_lent(s):
        amendment = lent.amendment(s, wanted_backends(s, plan))
        return [amendment] if amendment is not None else []
    if s.route is not None and not s.route.ours:
        return []
    backends, hosts = wanted_backends(s, plan), _hostnames(s)
    if not hosts:
        return []
    testers, mirror = _testers(s, plan), _mirror(s, plan)
    arms = experiment.arms(s, plan.candidate, dict(backends))
    wish = http_route(s.service, backends, hosts, testers, mirror, arms)
    kept = s.route is not None and set(s.route.arms) == {service for _, service in (arms.rules() if arms else ())}
    copies = s.route is not None and s.route.mirrors == ((mirror,) if mirror else ())
    own = s.route is not None and s.route.testers == ((testers,) if testers else ())
    if not backends or (
        kept and copies and own and s.route is not None and _as_wanted(s, s.route, backends, hosts, wish)
    ):
        return []
    version = s.route.resource_version if s.route is not None else None
    return [Apply(wish, names.FIELD_MANAGER_TRAFFIC, expect=version)]


def _testers(s: ServiceSnapshot, plan: Plan) -> str:
    """The Service that testers' requests go to: the candidate's, from when it is ready until it is none any more."""
    candidate = plan.candidate
    if s.service.spec.traffic.testers is None or candidate is None or candidate.withdrawn_at is not None:
        return ""
    view = s.serving(candidate.revision)
    there = view is not None and (view.complete if candidate.step == 0 else view.answers)
    same = s.candidate is not None and s.candidate.revision == candidate.revision
    return names.serving(candidate.revision) if there and same and not facts.objected(s) else ""


def _mirror(s: ServiceSnapshot, plan: Plan) -> str:
    """The Service that copies of requests go to: that of a candidate in a step of shadows, while it answers."""
    candidate = plan.candidate
    if candidate is None or candidate.step == 0 or candidate.withdrawn_at is not None:
        return ""
    steps, view = facts.steps(s), s.serving(candidate.revision)
    share = facts.percent_of(s, steps[min(candidate.step, len(steps)) - 1])
    return names.serving(candidate.revision) if share == 0 and view is not None and view.answers else ""


def _hostnames(s: ServiceSnapshot) -> Sequence[str]:
    """Those that nobody else has. When there are none a route that is there keeps what it names: without any it would be
    for all requests of the Gateway. It moves weights all the same, since its hostname may be its own again any time."""
    return hostnames.free(s) or (s.route.hostnames if s.route is not None else ())


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


def _as_wanted(
    s: ServiceSnapshot, route: RouteView, backends: Backends, hosts: Sequence[str], wish: Mapping[str, Any]
) -> bool:
    traffic = s.service.spec.traffic
    gateway = (traffic.gateway.namespace, traffic.gateway.name)
    return (
        dict(route.backends) == dict(backends)  # their order says nothing
        and sorted(route.hostnames) == sorted(hosts)
        and route.gateway == gateway
        and covers(_without_backends(route.rules), _without_backends(wish["spec"]["rules"]))
        and _filters(route.rules) == _filters(wish["spec"]["rules"])
    )


def _without_backends(rules: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Which requests the route is for, and how long they may take."""
    return [{name: value for name, value in rule.items() if name != "backendRefs"} for rule in rules]


def _filters(rules: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is added to answers of each Service."""
    refs = [ref for rule in rules for ref in rule.get("backendRefs", ())]
    return {ref["name"]: ref["filters"] for ref in refs if ref.get("filters")}
