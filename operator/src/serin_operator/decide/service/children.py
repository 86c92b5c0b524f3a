"""Which children to apply and which to delete. A revision without traffic is kept for a while, then leaves the route,
and only then goes: a route that names a missing Service is refused by its Gateway."""

from datetime import timedelta

from serin_operator.api.kinds import DEPLOYMENT
from serin_operator.api.v1alpha1 import ModelRevision
from serin_operator.decide.decision import Action, Amend, Apply, Delete, Manifest
from serin_operator.decide.service import front, ratio, resting, revisions
from serin_operator.decide.service.plan import Plan
from serin_operator.decide.service.snapshot import Child, ServiceSnapshot
from serin_operator.manifests import names
from serin_operator.manifests.drift import covers
from serin_operator.manifests.serving import Serving, fingerprint, serving_objects


def kept(plan: Plan) -> list[str]:
    """Revisions that have pods, the stable first; one that may have to take over again stays ready."""
    stable = plan.stable.revision if plan.stable is not None else ""
    candidate = plan.candidate.revision if plan.candidate is not None else ""
    previous = plan.bake.previous if plan.bake is not None else ""
    older = plan.rollback.revision if plan.rollback is not None else ""
    return [name for name in (stable, candidate, previous, older, plan.deploy) if name]


def applies(s: ServiceSnapshot, plan: Plan) -> list[Action]:
    """Children that are missing, that were applied with another wish, or that somebody has edited since."""
    there = {(child.kind, child.name): child for child in s.children}
    applied: list[Action] = [
        Apply(manifest, names.FIELD_MANAGER_CHILDREN)
        for name in kept(plan)
        if (revision := s.by_name.get(name)) is not None and front.may_start(s, plan, name)
        for manifest in serving_objects(_serving(s, plan, revision))
        if not _as_wished(there.get((manifest["kind"], manifest["metadata"]["name"])), manifest)
    ]
    return [*applied, *_rescaled(s, plan)]


def _rescaled(s: ServiceSnapshot, plan: Plan) -> list[Action]:
    """Where pods divide the requests, the numbers of those whose ModelRevision somebody has deleted. What else their Deployments
    say is known from it alone, and stays."""
    unknown = {name: front.replicas(s, plan, name) for name in kept(plan) if name not in s.by_name}
    return [
        Amend(
            child.api_version,
            child.kind,
            s.service.metadata.namespace,
            child.name,
            {"spec": {"replicas": pods}},
            names.FIELD_MANAGER_CHILDREN,
            child.resource_version,
        )
        for child in s.children
        if child.kind == DEPLOYMENT.kind
        and (pods := unknown.get(child.revision)) is not None
        and child.says.get("replicas") != pods
    ]


def _serving(s: ServiceSnapshot, plan: Plan, revision: ModelRevision) -> Serving:
    pods = resting.replicas(s, plan, revision.metadata.name)
    return Serving(s.service, revision, s.settings.image, s.settings.pull_policy, pods, s.settings.fetcher)


def _as_wished(child: Child | None, manifest: Manifest) -> bool:
    if child is None or child.fingerprint != fingerprint(manifest):
        return False
    return covers(child.says, manifest.get("spec", manifest.get("data")))


def deletes(s: ServiceSnapshot, plan: Plan) -> list[Action]:
    """Children of revisions that nobody is sent to any more."""
    namespace = s.service.metadata.namespace
    return [
        Delete(child.api_version, child.kind, namespace, child.name, child.uid, child.resource_version)
        for child in s.children
        if child.revision not in kept(plan) and expired(s, plan, child.revision) and _unrouted(s, child.revision)
    ]


def expired(s: ServiceSnapshot, plan: Plan, name: str) -> bool:
    """Without traffic for longer than the delay."""
    if plan.stable is None:
        return True
    left_at, delay = plan.stable.since, s.settings.scale_down_delay
    revision = s.by_name.get(name)
    if revision is not None:
        record = revisions.record(revision)
        if record.rejection is not None:
            if record.rejection.weight_zero_at is None:
                return False
            left_at, delay = record.rejection.weight_zero_at, _lingers(s)
        elif record.superseded_at is not None:
            left_at, delay = record.superseded_at, _lingers(s)
    return not -delay < s.now - left_at < delay  # a set clock keeps nobody


def _lingers(s: ServiceSnapshot) -> timedelta:
    """How long a candidate that lost its requests keeps its pods. Without a gateway clients stay on connections that they have,
    whoever is behind the Service now: those end with the pods, after the answers that are on their way."""
    return timedelta() if ratio.by_pods(s) else s.settings.scale_down_delay


def _unrouted(s: ServiceSnapshot, name: str) -> bool:
    """The route that is in force does not name it."""
    return s.route is None or (s.route.programmed and not s.route.mentions(name))
