"""The status of a ClusterEvalPolicy: whether it is in force, in one sentence, and how much it selects."""

from serin_operator.api.v1alpha1 import ClusterEvalPolicy, ClusterEvalPolicyStatus, PolicyMode, PolicyRequirement
from serin_operator.decide.conditions import Finding, false, merged, true
from serin_operator.decide.platform.snapshot import PlatformSnapshot, PolicyView
from serin_operator.decide.policies import matches


def policy_status(s: PlatformSnapshot, view: PolicyView) -> ClusterEvalPolicyStatus:
    """Of one that cannot be understood nobody knows what it selects: the counts are absent then."""
    generation, before = view.meta.generation, view.status.conditions
    if view.policy is None:
        return ClusterEvalPolicyStatus(
            observed_generation=generation, conditions=merged(before, [_unreadable(view.problem)], generation, s.now)
        )
    policy, chosen = view.policy, selected_namespaces(s, view.policy)
    jobs = [job for job in s.jobs if job.namespace in chosen and matches(policy.spec.job_selector, job.labels)]
    return ClusterEvalPolicyStatus(
        observed_generation=generation,
        conditions=merged(before, [_finding(policy, chosen, len(jobs))], generation, s.now),
        selected_namespaces=len(chosen),
        selected_jobs=len(jobs),
        selected_services=sum(namespace in chosen for namespace in s.services),
    )


def selected_namespaces(s: PlatformSnapshot, policy: ClusterEvalPolicy) -> frozenset[str]:
    return frozenset(name for name, labels in s.namespaces.items() if matches(policy.spec.namespace_selector, labels))


def _unreadable(problem: str) -> Finding:
    return false(
        "Ready",
        "Unreadable",
        f"this version of Serin does not understand it ({problem}), so no model of any namespace goes on: upgrade Serin, or"
        " correct the policy",
    )


def _finding(policy: ClusterEvalPolicy, namespaces: frozenset[str], jobs: int) -> Finding:
    if policy.metadata.deletion_timestamp is not None:
        return false(
            "Ready",
            "BeingDeleted",
            "it is being deleted and still there, so every model of the namespaces that it selects is held: remove its"
            " finalizers, and it goes",
        )
    clash = _clash(policy.spec.requirements)
    if clash is not None:
        floor, ceiling = clash
        return false(
            "Ready",
            "Contradicts",
            f"spec.requirements {floor.name} asks for {_what(floor)} of at least {floor.min}, and {ceiling.name} for at"
            f" most {ceiling.max}: no model can meet both; correct one of them",
        )
    if not namespaces:
        return true(
            "Ready", "SelectsNothing", f"{_mode(policy)}, but no namespace has the labels of spec.namespaceSelector"
        )
    if not jobs:
        return true("Ready", "SelectsNoJob", f"{_mode(policy)}; no FineTuneJob is selected by spec.jobSelector now")
    return true("Ready", "Enforced" if _enforced(policy) else "Audited", _mode(policy))


def _enforced(policy: ClusterEvalPolicy) -> bool:
    return policy.spec.mode is PolicyMode.ENFORCE


def _mode(policy: ClusterEvalPolicy) -> str:
    return "in force" if _enforced(policy) else "judged and told, and nobody is held: spec.mode is Audit"


def _clash(requirements: list[PolicyRequirement]) -> tuple[PolicyRequirement, PolicyRequirement] | None:
    """Two that no model can meet together. One without a suite holds on every suite that measures the metric."""
    for floor in requirements:
        for ceiling in requirements:
            if floor.min is None or ceiling.max is None or not _same(floor, ceiling):
                continue
            if float(floor.min) > float(ceiling.max):
                return floor, ceiling
    return None


def _same(one: PolicyRequirement, other: PolicyRequirement) -> bool:
    """Whether both speak of one score; a requirement's own floor and ceiling are in order by its CEL rule."""
    suites = one.suite is None or other.suite is None or one.suite == other.suite
    return suites and one.metric == other.metric and one.slice == other.slice


def _what(requirement: PolicyRequirement) -> str:
    name = f"{requirement.suite}/{requirement.metric.value}" if requirement.suite else requirement.metric.value
    return f"{name}@{requirement.slice}" if requirement.slice is not None else name
