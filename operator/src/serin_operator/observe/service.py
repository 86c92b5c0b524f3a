"""Gathers everything the service loop decides on, live from the apiserver and the metric sources. Writes nothing."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

from serin_operator import rest
from serin_operator.api.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    GATEWAY,
    HTTP_ROUTE,
    MODEL_REVISION,
    MODEL_SERVICE,
    POD,
    SERVICE,
)
from serin_operator.api.v1alpha1 import CandidateStatus, ModelRevision, ModelService, Slo
from serin_operator.decide.service import facts, slos
from serin_operator.decide.service.snapshot import (
    Child,
    GatewayView,
    Look,
    Reading,
    ReadingKind,
    ServiceSnapshot,
    ServingSettings,
    ServingView,
)
from serin_operator.errors import Refused
from serin_operator.manifests import names
from serin_operator.manifests.serving import FINGERPRINT
from serin_operator.observe.fields import Json, by_type, part, parts
from serin_operator.observe.pods import PodsView, pods_view
from serin_operator.observe.prometheus import MetricSources
from serin_operator.observe.traffic import gateway_view, route_view
from serin_operator.settings import Settings


async def observe_service(
    cluster: rest.Cluster, sources: MetricSources, settings: Settings, namespace: str, name: str, now: datetime
) -> ServiceSnapshot | None:
    """The world of one ModelService; None when it is gone or on its way out (its children follow by ownership)."""
    found = await cluster.get(MODEL_SERVICE, namespace, name)
    if found is None:
        return None
    service = ModelService.model_validate(found)
    if service.metadata.deletion_timestamp is not None:
        return None
    snapshot = await _snapshot(cluster, sources, settings, service, now)
    if not facts.look_due(snapshot):
        return snapshot
    return _with_look(snapshot, await _look(sources, snapshot, facts.the_candidate(snapshot)))


async def _snapshot(
    cluster: rest.Cluster, sources: MetricSources, settings: Settings, service: ModelService, now: datetime
) -> ServiceSnapshot:
    namespace, name = service.metadata.namespace, service.metadata.name
    mine = f"{names.SERVICE}={name}"
    serving = f"{mine},{names.STAGE}=serve"
    lists = asyncio.gather(
        cluster.list(MODEL_REVISION, namespace, mine),
        *(cluster.list(kind, namespace, serving) for kind in (DEPLOYMENT, SERVICE, CONFIG_MAP, POD)),
    )
    single = asyncio.gather(cluster.get(HTTP_ROUTE, namespace, name), _gateway(cluster, service))
    (revisions, deployments, services, config_maps, pods), (route, (gateway, problem)) = await asyncio.gather(
        lists, single
    )
    return ServiceSnapshot(
        service=service,
        revisions=tuple(_of_service(name, [ModelRevision.model_validate(item) for item in revisions])),
        children=tuple(_child(item) for item in [*config_maps, *services, *deployments]),
        servings=_servings(deployments, pods),
        route=route_view(route, service),
        gateway=gateway,
        look=None,
        now=now,
        settings=_serving_settings(settings, sources),
        gateway_problem=problem,
    )


def _of_service(name: str, revisions: list[ModelRevision]) -> list[ModelRevision]:
    """The label finds them, the spec decides: it cannot be changed."""
    return [revision for revision in revisions if revision.spec.model_service_ref.name == name]


def _with_look(s: ServiceSnapshot, look: Look) -> ServiceSnapshot:
    return ServiceSnapshot(
        service=s.service,
        revisions=s.revisions,
        children=s.children,
        servings=s.servings,
        route=s.route,
        gateway=s.gateway,
        look=look,
        now=s.now,
        settings=s.settings,
        gateway_problem=s.gateway_problem,
    )


async def _gateway(cluster: rest.Cluster, service: ModelService) -> tuple[GatewayView | None, str]:
    """The Gateway is another team's, in another namespace: being refused is an answer."""
    ref = service.spec.traffic.gateway_ref
    try:
        return gateway_view(await cluster.get(GATEWAY, ref.namespace, ref.name)), ""
    except Refused as error:
        return None, f"the operator may not read Gateway {ref.namespace}/{ref.name}: {error}"


def _serving_settings(settings: Settings, sources: MetricSources) -> ServingSettings:
    return ServingSettings(
        image=settings.images.server,
        pull_policy=settings.image_pull_policy,
        scale_down_delay=timedelta(seconds=settings.scale_down_delay_seconds),
        sources=sources.names,
    )


def _child(item: Json) -> Child:
    meta = item["metadata"]
    return Child(
        api_version=item["apiVersion"],
        kind=item["kind"],
        name=meta["name"],
        uid=meta["uid"],
        revision=_revision(item),
        fingerprint=part(meta, "annotations").get(FINGERPRINT, ""),
        resource_version=meta["resourceVersion"],
    )


def _servings(deployments: list[Json], pods: list[Json]) -> Mapping[str, ServingView]:
    found = {_revision(item): item for item in deployments}
    return {
        revision: serving_view(revision, item, pods_view([pod for pod in pods if _revision(pod) == revision]))
        for revision, item in found.items()
    }


def _revision(item: Json) -> str:
    return part(item, "metadata", "labels").get(names.REVISION, "")


def serving_view(revision: str, deployment: Json, pods: PodsView) -> ServingView:
    meta, spec, status = deployment["metadata"], deployment["spec"], part(deployment, "status")
    conditions = by_type(parts(status, "conditions"))
    available = part(conditions, "Available")
    lost = available.get("lastTransitionTime") if available.get("status") == "False" else None
    failure = part(conditions, "ReplicaFailure")
    refused = str(failure.get("message", "")) if failure.get("status") == "True" else ""
    return ServingView(
        revision=revision,
        created_at=datetime.fromisoformat(meta["creationTimestamp"]),
        observed=status.get("observedGeneration", 0) >= meta.get("generation", 1),
        wanted=spec.get("replicas", 1),
        ready=status.get("readyReplicas", 0),
        updated=status.get("updatedReplicas", 0),
        unavailable_since=datetime.fromisoformat(lost) if lost else None,
        crashed_at=pods.crashed_at,
        trouble=pods.trouble or refused,
    )


# --- the metrics --------------------------------------------------------------------------------------------------


async def _look(sources: MetricSources, s: ServiceSnapshot, candidate: CandidateStatus) -> Look:
    """All SLOs, and the requests of this step, asked at the same time."""
    words = slos.words_for(s, candidate)
    readings = await asyncio.gather(*(_sample(sources, slo, words) for slo in s.service.spec.slos))
    return Look(
        samples={slo.name: reading for slo, reading in zip(s.service.spec.slos, readings, strict=True)},
        requests=await _requests(sources, s, candidate),
    )


async def _sample(sources: MetricSources, slo: Slo, words: Mapping[str, str]) -> Reading:
    query = slos.filled(slo.query, words)
    if isinstance(query, slos.Unusable):
        return Reading(ReadingKind.INVALID_QUERY, text=query.message)
    return await sources.query(slo.source, query)


async def _requests(sources: MetricSources, s: ServiceSnapshot, candidate: CandidateStatus) -> Reading | None:
    if s.service.spec.canary.min_requests == 0:
        return None
    query = slos.requests_query(s.service.metadata.namespace, candidate.revision, facts.held(s))
    return await sources.query(slos.DEFAULT_SOURCE, query)
