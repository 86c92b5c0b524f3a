"""Reads the ClusterEvalPolicies that concern a namespace. What cannot be understood is told, never left out."""

from pydantic import ValidationError

from serin_operator.api import kinds
from serin_operator.api.v1alpha1 import ClusterEvalPolicy, ClusterEvalPolicySpec
from serin_operator.decide.policies import NO_POLICIES, Policies, Unreadable, matches
from serin_operator.errors import ClusterUnavailable
from serin_operator.rest import Cluster, Json


async def policies_of(cluster: Cluster, namespace: str) -> Policies:
    """Policies that select this namespace, and those that cannot be gone by."""
    items = await cluster.list(kinds.CLUSTER_EVAL_POLICY, None)
    return sorted_out(items, await _labels(cluster, namespace)) if items else NO_POLICIES


def sorted_out(items: list[Json], labels: dict[str, str]) -> Policies:
    """One that is on its way out, or that names what this version does not know, might ask for anything."""
    found: list[ClusterEvalPolicy] = []
    unreadable: list[Unreadable] = []
    for item in items:
        name = item["metadata"]["name"]
        try:
            policy = ClusterEvalPolicy.model_validate(item)
            ClusterEvalPolicySpec.model_validate(item["spec"], extra="forbid")
        except (ValidationError, KeyError):
            unreadable.append(Unreadable(name, "cannot be read by this version of Serin"))
            continue
        if not matches(policy.spec.namespace_selector, labels):
            continue
        if policy.metadata.deletion_timestamp is not None:
            unreadable.append(Unreadable(name, "is being deleted and still there"))
        else:
            found.append(policy)
    return Policies(tuple(found), tuple(unreadable))


async def _labels(cluster: Cluster, namespace: str) -> dict[str, str]:
    found = await cluster.get(kinds.NAMESPACE, None, namespace)
    if found is None:
        raise ClusterUnavailable(f"the namespace {namespace} cannot be read, so nobody knows which policies select it")
    return dict(found["metadata"].get("labels") or {})
