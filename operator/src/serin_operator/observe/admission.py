"""Whether the apiserver holds people to their own names: the chart's ValidatingAdmissionPolicy for approvals and commands."""

from datetime import datetime
from typing import Any

from serin_operator.api import kinds
from serin_operator.decide.job.approvals import Admission
from serin_operator.errors import Refused
from serin_operator.observe.fields import Json
from serin_operator.rest import Cluster


async def admission_of(cluster: Cluster, name: str) -> Admission:
    """Which policy and binding are there, of which version. Whoever changes or replaces them makes another identity."""
    if not name:
        return Admission(problem="the chart's admission policies are switched off (admission.enabled)")
    try:
        policy = await cluster.get(kinds.ADMISSION_POLICY, None, name)
        binding = await cluster.get(kinds.ADMISSION_BINDING, None, name)
    except Refused as error:
        return Admission(problem=f"the operator may not read the ValidatingAdmissionPolicy {name}: {error}")
    for kind, found in (("ValidatingAdmissionPolicy", policy), ("ValidatingAdmissionPolicyBinding", binding)):
        if found is None or found["metadata"].get("deletionTimestamp") is not None:
            return Admission(problem=f"there is no {kind} {name}; install the chart with admission.enabled")
    assert policy is not None
    assert binding is not None
    if not _refuses(policy["spec"], binding["spec"], name):
        return Admission(problem=f"the ValidatingAdmissionPolicy {name} is not bound so that it refuses everywhere")
    return Admission(identity=f"{_version(policy)} {_version(binding)}", since=max(_made(policy), _made(binding)))


def _refuses(policy: Json, binding: Json, name: str) -> bool:
    bound = binding.get("policyName") == name and "Deny" in binding.get("validationActions", ())
    return bound and policy.get("failurePolicy", "Fail") == "Fail" and not binding.get("matchResources")


def _version(found: dict[str, Any]) -> str:
    meta = found["metadata"]
    return f"{meta['uid']}/{meta.get('generation', 0)}"


def _made(found: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(found["metadata"]["creationTimestamp"])
