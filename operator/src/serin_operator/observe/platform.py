"""One look at the platform's policies and waivers. Of jobs and services just the metadata is read, which is cheap; the
verdicts are read in the namespaces alone that a waiver names."""

import asyncio
from datetime import datetime
from typing import TypeVar

from pydantic import ValidationError

from serin_operator.api import kinds
from serin_operator.api.base import ApiModel
from serin_operator.api.kinds import Kind
from serin_operator.api.v1alpha1 import ClusterEvalPolicyStatus, EvalWaiverStatus, ObjectMeta, WaiverUse
from serin_operator.decide.platform.snapshot import Labelled, PlatformSnapshot, PolicyView, WaiverView
from serin_operator.observe.fields import by_type, part, parts
from serin_operator.observe.policies import policy_in, waiver_in
from serin_operator.rest import Cluster, Json

S = TypeVar("S", bound=ApiModel)


async def observe_platform(cluster: Cluster, now: datetime) -> PlatformSnapshot | None:
    """The snapshot; None when there is neither a policy nor a waiver."""
    policies, waivers = await asyncio.gather(
        cluster.list(kinds.CLUSTER_EVAL_POLICY, None), cluster.list(kinds.EVAL_WAIVER, None)
    )
    if not policies and not waivers:
        return None
    namespaces, jobs, services, uses = await asyncio.gather(
        _metadata(cluster, kinds.NAMESPACE),
        _metadata(cluster, kinds.FINE_TUNE_JOB),
        _metadata(cluster, kinds.MODEL_SERVICE),
        _uses(cluster, waivers),
    )
    return PlatformSnapshot(
        now=now,
        policies=tuple(_policy(item) for item in policies),
        waivers=tuple(_waiver(item, uses) for item in waivers),
        namespaces={meta["name"]: meta.get("labels") or {} for meta in namespaces},
        jobs=tuple(Labelled(meta["namespace"], meta.get("labels") or {}) for meta in jobs),
        services=tuple(meta["namespace"] for meta in services),
    )


async def _metadata(cluster: Cluster, kind: Kind) -> list[Json]:
    """Of what is there and not on its way out."""
    found: list[Json] = []
    async for chunk, _ in cluster.metadata(kind, ""):
        found += [meta for meta in chunk if meta.get("deletionTimestamp") is None]
    return found


def _policy(item: Json) -> PolicyView:
    policy, problem = policy_in(item)
    return PolicyView(
        ObjectMeta.model_validate(item["metadata"]), policy, problem, _status(ClusterEvalPolicyStatus, item)
    )


def _waiver(item: Json, uses: list[tuple[str, WaiverUse]]) -> WaiverView:
    waiver, problem = waiver_in(item)
    meta = ObjectMeta.model_validate(item["metadata"])
    own = tuple(use for uid, use in uses if uid == meta.uid)
    return WaiverView(meta, waiver, problem, _status(EvalWaiverStatus, item), own)


def _status(model: type[S], item: Json) -> S:
    """What was told before. What another version wrote is written anew."""
    try:
        return model.model_validate(part(item, "status"))
    except ValidationError:
        return model()


async def _uses(cluster: Cluster, waivers: list[Json]) -> list[tuple[str, WaiverUse]]:
    """By the waiver's uid: the jobs whose verdict was given under it, as they say themselves."""
    named: list[str] = [name for item in waivers for name in part(item, "spec").get("namespaces") or ()]
    wanted = sorted(set(named))
    lists = await asyncio.gather(*(cluster.list(kinds.FINE_TUNE_JOB, namespace) for namespace in wanted))
    return [use for jobs in lists for job in jobs for use in _used(job)]


def _used(job: Json) -> list[tuple[str, WaiverUse]]:
    passed = by_type(parts(job, "status", "conditions")).get("GatePassed", {})
    return [
        (
            str(ref.get("uid")),
            WaiverUse(
                namespace=job["metadata"]["namespace"],
                job=job["metadata"]["name"],
                revision=part(job, "status").get("revision"),
                requirements=ref.get("requirements") or [],
                since=passed.get("lastTransitionTime"),
            ),
        )
        for ref in parts(job, "status", "gate", "waivers")
    ]
