"""Reads the ClusterEvalPolicies that concern a namespace. What cannot be understood is told, never left out."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from pydantic import ValidationError

from serin_operator import telemetry
from serin_operator.api import kinds
from serin_operator.api.base import ApiModel
from serin_operator.api.v1alpha1 import ClusterEvalPolicy, ClusterEvalPolicySpec, EvalWaiver, EvalWaiverSpec
from serin_operator.decide.policies import NO_POLICIES, Policies, Unreadable, in_force, matches, of_namespace
from serin_operator.errors import ClusterUnavailable
from serin_operator.observe.fields import part
from serin_operator.rest import Cluster, Json

log = logging.getLogger("serin.policies")
M = TypeVar("M", bound=ApiModel)


async def policies_of(cluster: Cluster, namespace: str, now: datetime) -> Policies:
    """Policies that select this namespace, those that cannot be gone by, and what is waived of them."""
    items = await cluster.list(kinds.CLUSTER_EVAL_POLICY, None)
    if not items:
        return NO_POLICIES
    found = sorted_out(items, await _labels(cluster, namespace))
    waivers = readable(await cluster.list(kinds.EVAL_WAIVER, None))
    _count(waivers, now)
    return replace(found, waivers=of_namespace(waivers, namespace))


def readable(items: list[Json]) -> tuple[EvalWaiver, ...]:
    """A waiver that says what this version does not know may be narrower than it looks: it lifts nothing."""
    found: list[EvalWaiver] = []
    for item in items:
        waiver, _ = waiver_in(item)
        if waiver is None:
            name = part(item, "metadata").get("name", "")
            log.warning("the EvalWaiver %s cannot be read by this version of Serin: it lifts nothing", name)
            continue
        found.append(waiver)
    return tuple(found)


def waiver_in(item: Json) -> tuple[EvalWaiver | None, str]:
    """The waiver, or what of it this version does not understand."""
    return _strictly(EvalWaiver, EvalWaiverSpec, item)


def policy_in(item: Json) -> tuple[ClusterEvalPolicy | None, str]:
    """The policy, or what of it this version does not understand."""
    return _strictly(ClusterEvalPolicy, ClusterEvalPolicySpec, item)


def _strictly(model: type[M], spec: type[ApiModel], item: Json) -> tuple[M | None, str]:
    """The status is left out: what another version wrote there must not make its object unreadable."""
    if "spec" not in item:
        return None, "it has no spec"
    try:
        found = model.model_validate({"metadata": item["metadata"], "spec": item["spec"]})
        spec.model_validate(item["spec"], extra="forbid")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"] if step != "spec")
        return None, f"spec.{where}: {first['msg']}"
    return found, ""


def _count(waivers: Iterable[EvalWaiver], now: datetime) -> None:
    """All of the cluster: every look sees them all."""
    holds = [in_force(waiver, now) for waiver in waivers]
    telemetry.WAIVERS.labels("InForce").set(holds.count(True))
    telemetry.WAIVERS.labels("Expired").set(holds.count(False))


def sorted_out(items: list[Json], labels: dict[str, str]) -> Policies:
    """One that is on its way out, or that names what this version does not know, might ask for anything."""
    found: list[ClusterEvalPolicy] = []
    unreadable: list[Unreadable] = []
    for item in items:
        name = item["metadata"]["name"]
        policy, _ = policy_in(item)
        if policy is None:
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
