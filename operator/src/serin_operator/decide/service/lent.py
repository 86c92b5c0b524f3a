"""A route of the user's: its rule's weights are written, and the same ones again no sooner than an interval later.

Git may write its own weights whenever it likes. Those are put right at once, and then once in each `intervalSeconds`, so two
that disagree do not write faster than anybody looks; other weights than those that were written last (a step, a way back)
never wait. Not here: which weights (traffic.py), and what is read of the route (observe/lent.py).
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from serin_operator.api.kinds import HTTP_ROUTE
from serin_operator.api.v1alpha1 import LentRouteStatus, WrittenBackend
from serin_operator.decide.decision import Amend, Event
from serin_operator.decide.service.snapshot import Lent, RouteView, ServiceSnapshot
from serin_operator.manifests import names
from serin_operator.manifests.route import reweighed

OTHER_BACKENDS: Final = "OtherBackends"

Backends = Sequence[tuple[str, int]]


def is_lent(s: ServiceSnapshot) -> bool:
    return s.service.spec.traffic.route_ref is not None


def amendment(s: ServiceSnapshot, wanted: Backends) -> Amend | None:
    """The write, when one is needed and due."""
    route = s.route
    if (
        route is None
        or route.lent is None
        or not _differs(s, route, route.lent, wanted)
        or not _due(s, route.lent, wanted)
    ):
        return None
    rules = reweighed(route.rules, route.lent.rule, s.service, wanted)
    return Amend(
        HTTP_ROUTE.api_version,
        HTTP_ROUTE.kind,
        s.service.metadata.namespace,
        route.lent.name,
        {"spec": {"rules": rules}},
        names.FIELD_MANAGER_TRAFFIC,
        route.resource_version,
    )


def _differs(s: ServiceSnapshot, route: RouteView, lent: Lent, wanted: Backends) -> bool:
    """It may be written, and it is not as it should be; the order of backends says nothing."""
    if not wanted or not _may_write(route, lent, wanted):
        return False
    is_, should = (
        {ref["name"]: ref for ref in rules[lent.rule]["backendRefs"]}
        for rules in (route.rules, reweighed(route.rules, lent.rule, s.service, wanted))
    )
    return is_ != should


def _may_write(route: RouteView, lent: Lent, wanted: Backends) -> bool:
    """Beside backends of others weights move among ours alone, and only while the others keep their part of the requests: no
    step goes on there, but what is bad can still lose its share."""
    if not lent.others:
        return route.ours
    return route.obstacle == OTHER_BACKENDS and _sum(route.backends) == _sum(wanted)


def _sum(backends: Backends) -> int:
    return sum(weight for _, weight in backends)


def _due(s: ServiceSnapshot, lent: Lent, wanted: Backends) -> bool:
    last = s.service.status.lent_route
    if last is None or _weights(last) != _shares(wanted) or last.generation == lent.generation:
        return True
    return not timedelta() <= s.now - last.written_at < _interval(s)  # a set clock makes nobody wait


def _weights(last: LentRouteStatus) -> dict[str, int]:
    return {one.name: one.weight for one in last.backends}


def _shares(backends: Backends) -> dict[str, int]:
    """Who gets requests: one that is named with 0 is no other wish."""
    return {name: weight for name, weight in backends if weight}


def _interval(s: ServiceSnapshot) -> timedelta:
    return timedelta(seconds=s.service.spec.canary.interval_seconds)


def after(s: ServiceSnapshot, wanted: Backends) -> LentRouteStatus | None:
    """What status says of the last write, with this look's. It is written before it."""
    if not is_lent(s):
        return None
    if amendment(s, wanted) is None or s.route is None or s.route.lent is None:
        return s.service.status.lent_route
    backends = [WrittenBackend(name=name, weight=weight) for name, weight in _shares(wanted).items()]
    return LentRouteStatus(written_at=s.now, generation=s.route.lent.generation, backends=backends)


def events(s: ServiceSnapshot, wanted: Backends) -> tuple[Event, ...]:
    """That somebody else had written the weights."""
    last = s.service.status.lent_route
    amended = amendment(s, wanted)
    if amended is None or last is None or s.route is None or s.route.lent is None:
        return ()
    if _weights(last) != _shares(wanted) or last.generation == s.route.lent.generation:
        return ()
    if _shares(s.route.backends) == _shares(wanted):
        return ()
    found = ", ".join(f"{name} {weight}" for name, weight in s.route.backends)
    sentence = (
        f"somebody else wrote the backends of HTTPRoute {amended.name} ({found}), and they are put right; when Git did, let it"
        " ignore them (docs/user/serving.md)"
    )
    return (Event("RouteRewritten", sentence, warning=True),)
