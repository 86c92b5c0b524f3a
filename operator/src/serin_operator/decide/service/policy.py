"""Whether a verdict still lets a model in: what ClusterEvalPolicies say, and what the engine can serve. Facts only."""

from dataclasses import replace

from serin_operator.api.v1alpha1 import LabelSelector, Limits, ModelRevision
from serin_operator.decide.policies import Policies, bounded, changed_since, no_longer_waived, strictest
from serin_operator.decide.service.snapshot import ServiceSnapshot
from serin_operator.manifests.engines import WITH_ADAPTERS


def under(s: ServiceSnapshot, policies: Policies) -> ServiceSnapshot:
    """The snapshot with its policies, and the service's canary within their limits: nobody need ask for them again."""
    found = replace(s, policies=policies)
    limits = limits_of(found)
    return replace(found, limits=limits, service=bounded(s.service, limits))


def limits_of(s: ServiceSnapshot) -> Limits | None:
    """Of the policies for all jobs, and of those that selected the job of the model on trial."""
    trial = s.bake.revision if s.bake is not None else s.candidate.revision if s.candidate is not None else ""
    gate = s.by_name[trial].status.gate if trial in s.by_name else None
    selected = {ref.name for ref in gate.policies if ref.selected} if gate is not None else set[str]()
    everybody = [p for p in s.policies.found if p.spec.job_selector == LabelSelector() or p.metadata.name in selected]
    return strictest(everybody)


def objection(s: ServiceSnapshot, revision: ModelRevision) -> str:
    """Why its verdict does not stand now; empty when it does. What was promoted once was let in by the rules of then."""
    if revision.status.rollout is not None and revision.status.rollout.promoted_at is not None:
        return ""
    engine = s.service.spec.runtime.engine
    if revision.spec.artifact.base is not None and engine not in WITH_ADAPTERS:
        return f"it is an adapter, and spec.runtime.engine {engine.value} is given merged models only"
    if s.policies.unreadable:
        policy = s.policies.unreadable[0]
        return f"the ClusterEvalPolicy {policy.name!r} {policy.why}"
    gate = revision.status.gate
    changed = changed_since(gate.policies if gate is not None else (), s.policies.found)
    if changed:
        what = ", ".join(changed)
        return f"it was judged under other policies ({what} changed since): its job judges it anew, if it still exists"
    gone = no_longer_waived(gate.waivers if gate is not None else (), s.policies.waivers, s.now)
    return f"the waiver {gone}: its job judges it anew, if it still exists" if gone else ""
