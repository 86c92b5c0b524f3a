"""Gathers everything the service loop decides on, live from the apiserver and the metric sources. Writes nothing."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from serin_operator.api.v1alpha1 import COMMAND, ModelRevision, ModelService
from serin_operator.decide.policies import NO_POLICIES, Policies
from serin_operator.decide.service import comparisons, facts, policy, slos
from serin_operator.decide.service.counters import Sampled
from serin_operator.decide.service.snapshot import (
    Child,
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
from serin_operator.observe.fields import Json, by_type, owned_by, part, parts
from serin_operator.observe.pods import PodsView, pods_view
from serin_operator.observe.policies import policies_of
from serin_operator.observe.prometheus import MetricSources
from serin_operator.observe.traffic import gateway_view, route_view
from serin_operator.settings import Settings


@dataclass(frozen=True, slots=True)
class Found:
    """What was read of the cluster for one ModelService, as the apiserver gave it."""

    service: Json
    revisions: Sequence[Json]
    deployments: Sequence[Json]
    services: Sequence[Json]
    config_maps: Sequence[Json]
    pods: Sequence[Json]
    route: Json | None
    gateway: Json | None
    gateway_problem: str = ""
    policies: Policies = NO_POLICIES


async def observe_service(
    cluster: rest.Cluster, sources: MetricSources, settings: Settings, namespace: str, name: str, now: datetime
) -> ServiceSnapshot | None:
    """The world of one ModelService; None when it is gone or on its way out (its children follow by ownership)."""
    service = await cluster.get(MODEL_SERVICE, namespace, name)
    if service is None or service["metadata"].get("deletionTimestamp") is not None:
        return None
    snapshot = snapshot_of(await _read(cluster, service), settings, sources.names, now)
    asked = questions(snapshot)
    patience = facts.patience(snapshot) if asked else 0
    answers = await asyncio.gather(*(_answer(sources, question, patience) for question in asked))
    return with_answers(snapshot, dict(zip(asked, answers, strict=True)))


async def _read(cluster: rest.Cluster, service: Json) -> Found:
    namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
    mine = f"{names.SERVICE}={name}"
    serving = f"{mine},{names.STAGE}=serve"
    lists = asyncio.gather(
        cluster.list(MODEL_REVISION, namespace, mine),
        *(cluster.list(kind, namespace, serving) for kind in (DEPLOYMENT, SERVICE, CONFIG_MAP, POD)),
    )
    single = asyncio.gather(cluster.get(HTTP_ROUTE, namespace, name), _gateway(cluster, service))
    (revisions, deployments, services, config_maps, pods), (route, (gateway, problem)), policies = await asyncio.gather(
        lists, single, policies_of(cluster, namespace)
    )
    return Found(service, revisions, deployments, services, config_maps, pods, route, gateway, problem, policies)


def snapshot_of(found: Found, settings: Settings, sources: tuple[str, ...], now: datetime) -> ServiceSnapshot:
    """What was read, as the decision wants it; nothing was asked of the metric sources yet."""
    service = ModelService.model_validate(found.service)
    name = service.metadata.name
    snapshot = ServiceSnapshot(
        service=service,
        revisions=tuple(_of_service(name, [ModelRevision.model_validate(item) for item in found.revisions])),
        children=tuple(
            _child(item)
            for item in [*found.config_maps, *found.services, *found.deployments]
            if owned_by(item, service.metadata.uid)
        ),
        servings=_servings(found.deployments, found.services, found.pods),
        route=route_view(found.route, service),
        gateway=gateway_view(found.gateway),
        look=None,
        now=now,
        settings=_serving_settings(settings, sources),
        gateway_problem=found.gateway_problem,
        asked_through=_writer_of_command(found.service),
    )
    return policy.under(snapshot, found.policies)


def _writer_of_command(service: Json) -> str:
    """The field manager that owns the annotation: a program, and no proof of who used it."""
    field = f"f:{COMMAND}"
    for entry in parts(service, "metadata", "managedFields"):
        if field in part(entry, "fieldsV1", "f:metadata", "f:annotations"):
            return str(entry.get("manager", ""))
    return ""


def _of_service(name: str, revisions: list[ModelRevision]) -> list[ModelRevision]:
    """The label finds them, the spec decides: it cannot be changed."""
    return [revision for revision in revisions if revision.spec.model_service_ref.name == name]


async def _gateway(cluster: rest.Cluster, service: Json) -> tuple[Json | None, str]:
    """The Gateway is another team's, in another namespace: being refused is an answer."""
    ref = service["spec"]["traffic"]["gatewayRef"]
    try:
        return await cluster.get(GATEWAY, ref["namespace"], ref["name"]), ""
    except Refused as error:
        return None, f"the operator may not read Gateway {ref['namespace']}/{ref['name']}: {error}"


def _serving_settings(settings: Settings, sources: tuple[str, ...]) -> ServingSettings:
    return ServingSettings(
        image=settings.images.server,
        pull_policy=settings.image_pull_policy,
        scale_down_delay=timedelta(seconds=settings.scale_down_delay_seconds),
        sources=sources,
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
        says=part(item, "spec") or part(item, "data"),
    )


def _servings(deployments: Sequence[Json], services: Sequence[Json], pods: Sequence[Json]) -> Mapping[str, ServingView]:
    reachable = {_revision(item) for item in services}
    found = {_revision(item): item for item in deployments}
    return {
        revision: serving_view(
            revision, item, pods_view([pod for pod in pods if _revision(pod) == revision]), revision in reachable
        )
        for revision, item in found.items()
    }


def _revision(item: Json) -> str:
    return part(item, "metadata", "labels").get(names.REVISION, "")


def serving_view(revision: str, deployment: Json, pods: PodsView, reachable: bool = True) -> ServingView:
    meta, spec, status = deployment["metadata"], deployment["spec"], part(deployment, "status")
    conditions = by_type(parts(status, "conditions"))
    failure = part(conditions, "ReplicaFailure")
    refused = str(failure.get("message", "")) if failure.get("status") == "True" else ""
    return ServingView(
        revision=revision,
        observed=status.get("observedGeneration", 0) >= meta.get("generation", 1),
        wanted=spec.get("replicas", 1),
        ready=status.get("readyReplicas", 0),
        updated=status.get("updatedReplicas", 0),
        crashed_at=pods.crashed_at,
        trouble=pods.trouble or refused or ("" if reachable else "its Service is gone"),
        reachable=reachable,
    )


# --- the metrics --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """One query to a metric source; `about` names the SLO, or is empty for the requests that were answered."""

    about: str
    source: str
    query: str | slos.Unusable
    role: str = ""  # of raw samples: what they are to the SLO's comparison
    moment: float | None = None  # by the source's clock, when it is not now


def questions(s: ServiceSnapshot) -> list[Question]:
    """What to ask now: every SLO and the requests of the running step, when a look is due."""
    if not facts.look_due(s):
        return []
    revision = facts.asked_of(s)
    words = slos.words_for(s, revision, facts.trial(s).refuge)
    asked = [Question(slo.name, slo.source, slos.filled(slo.query or "", words)) for slo in facts.asked(s)]
    asked += [Question(ask.about, ask.source, ask.query, ask.role, ask.moment) for ask in comparisons.asks(s)]
    if not facts.requests_count(s):
        return asked
    requests = slos.requests_query(s.service.metadata.namespace, revision, facts.elapsed(s))
    return [*asked, Question("", slos.DEFAULT_SOURCE, requests)]


async def _answer(sources: MetricSources, question: Question, patience: float) -> Reading | Sampled:
    if isinstance(question.query, slos.Unusable):
        return Reading(ReadingKind.INVALID_QUERY, text=question.query.message)
    if question.role:
        return await sources.samples(question.source, question.query, question.moment, patience)
    return await sources.query(question.source, question.query, patience)


def with_answers(s: ServiceSnapshot, answers: Mapping[Question, Reading | Sampled]) -> ServiceSnapshot:
    """The snapshot with its look at the metrics, when one was due."""
    if not facts.look_due(s):
        return s
    found = {
        question.about: answer
        for question, answer in answers.items()
        if isinstance(answer, Reading) and not question.role
    }
    requests = found.pop("", None)
    counters = {(question.about, question.role): answer for question, answer in answers.items() if question.role}
    return replace(s, look=Look(found, requests, comparisons.looked(s, counters)))
