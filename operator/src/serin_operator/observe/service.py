"""Gathers everything the service loop decides on, live from the apiserver and the metric sources. Writes nothing."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from serin_operator import rest
from serin_operator.api.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    FINE_TUNE_JOB,
    GATEWAY,
    HTTP_ROUTE,
    MODEL_REVISION,
    MODEL_SERVICE,
    POD,
    SERVICE,
)
from serin_operator.api.v1alpha1 import COMMAND, COMMAND_BY, ModelRevision, ModelService, TrafficProvider
from serin_operator.decide.policies import NO_POLICIES, Policies
from serin_operator.decide.service import (
    approvers,
    canary,
    comparisons,
    drift,
    experiment,
    facts,
    failing,
    fetching,
    history,
    hostnames,
    monitoring,
    policy,
    preflight,
    slos,
)
from serin_operator.decide.service.asking import Ask
from serin_operator.decide.service.counters import Sampled
from serin_operator.decide.service.snapshot import (
    Child,
    Grouped,
    Look,
    Reading,
    ReadingKind,
    RouteView,
    ServiceSnapshot,
    ServingSettings,
    ServingView,
)
from serin_operator.errors import Refused
from serin_operator.manifests import names
from serin_operator.manifests.serving import FINGERPRINT
from serin_operator.observe.admission import admission_of
from serin_operator.observe.fields import Json, by_type, owned_by, part, parts
from serin_operator.observe.front import front_view
from serin_operator.observe.lent import gateways_of, lent_view
from serin_operator.observe.pods import PodsView, pods_view
from serin_operator.observe.policies import policies_of
from serin_operator.observe.prometheus import MetricSources
from serin_operator.observe.traffic import gateway_view, other_routes, route_view
from serin_operator.settings import Settings

OF_SERVICE = "kubernetes.io/service-name"
"""The label that an EndpointSlice's controller gives it."""
OURS = f"{names.MANAGED_BY}={names.MANAGER}"


@dataclass(frozen=True, slots=True)
class Ways:
    """How requests come to the pods: by a route at a Gateway, or by a Service in front of all of them."""

    route: Json | None = None
    gateway: Json | None = None
    gateway_problem: str = ""
    front: Json | None = None
    slices: Sequence[Json] = ()


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
    names_held: bool = True  # an admission policy lets nobody give a command in another's name
    front: Json | None = None  # the Service that clients use, where there is no gateway
    slices: Sequence[Json] = ()  # its EndpointSlices


async def observe_service(
    cluster: rest.Cluster, sources: MetricSources, settings: Settings, namespace: str, name: str, now: datetime
) -> ServiceSnapshot | None:
    """The world of one ModelService; None when it is gone or on its way out (its children follow by ownership)."""
    service = await cluster.get(MODEL_SERVICE, namespace, name)
    if service is None or service["metadata"].get("deletionTimestamp") is not None:
        return None
    found = replace(await _read(cluster, service, now), names_held=await names_held(cluster, settings, service))
    snapshot = snapshot_of(found, settings, sources.names, now)
    if approvers.asked(snapshot):
        snapshot = replace(snapshot, admission=await admission_of(cluster, settings.approval_policy))
    if hostnames.to_be_asked(snapshot):
        snapshot = hostnames.beside(snapshot, other_routes(await cluster.list(HTTP_ROUTE, None, OURS)))
    if history.beyond(snapshot):
        snapshot = of_jobs(snapshot, await cluster.list(FINE_TUNE_JOB, namespace))
    asked = questions(snapshot)
    patience = facts.patience(snapshot) if facts.look_due(snapshot) else facts.SLOWEST_LOOK
    answers = await asyncio.gather(*(_answer(sources, question, patience) for question in asked))
    return with_answers(snapshot, dict(zip(asked, answers, strict=True)))


async def _read(cluster: rest.Cluster, service: Json, now: datetime) -> Found:
    namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
    mine = f"{names.SERVICE}={name}"
    serving = f"{mine},{names.STAGE}=serve"
    lists = asyncio.gather(
        cluster.list(MODEL_REVISION, namespace, mine),
        *(cluster.list(kind, namespace, serving) for kind in (DEPLOYMENT, SERVICE, CONFIG_MAP, POD)),
    )
    (revisions, deployments, services, config_maps, pods), ways, policies = await asyncio.gather(
        lists, _ways(cluster, service), policies_of(cluster, namespace, now)
    )
    return Found(
        service=service,
        revisions=revisions,
        deployments=deployments,
        services=services,
        config_maps=config_maps,
        pods=pods,
        route=ways.route,
        gateway=ways.gateway,
        gateway_problem=ways.gateway_problem,
        policies=policies,
        front=ways.front,
        slices=ways.slices,
    )


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
        servings=fetching.explained(service, _servings(found.deployments, found.services, found.pods)),
        route=_route(found, service),
        gateway=gateway_view(found.gateway),
        look=None,
        now=now,
        settings=_serving_settings(settings, sources),
        gateway_problem=found.gateway_problem,
        asked_through=_writer_of_command(found.service),
        names_held=found.names_held,
    )
    return policy.under(snapshot, found.policies)


def of_jobs(snapshot: ServiceSnapshot, jobs: Sequence[Json]) -> ServiceSnapshot:
    """With what the namespace's jobs lay claim to."""
    living = [job for job in jobs if job["metadata"].get("deletionTimestamp") is None]
    found = [
        (job["metadata"]["name"], [stage.get("key", "") for stage in parts(job, "status", "stages")]) for job in living
    ]
    return history.with_jobs(snapshot, [history.MakingJob(name, frozenset(keys)) for name, keys in found])


async def names_held(cluster: rest.Cluster, settings: Settings, service: Json) -> bool:
    """Looked up only for a command with a name that is new: what it says is written down once."""
    said = part(service, "metadata", "annotations")
    known = {command.get("request") for command in parts(service, "status", "commands")}
    if COMMAND_BY not in said or str(said.get(COMMAND, "")).strip() in known:
        return True
    return not (await admission_of(cluster, settings.approval_policy)).problem


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


async def _ways(cluster: rest.Cluster, service: Json) -> Ways:
    namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
    if service["spec"]["traffic"].get("provider") == TrafficProvider.REPLICA_RATIO:
        front, slices = await asyncio.gather(
            cluster.get(SERVICE, namespace, name), cluster.list(ENDPOINT_SLICE, namespace, f"{OF_SERVICE}={name}")
        )
        return Ways(front=front, slices=slices)
    route, (gateway, problem) = await _traffic(cluster, service)
    return Ways(route, gateway, problem)


async def _traffic(cluster: rest.Cluster, service: Json) -> tuple[Json | None, tuple[Json | None, str]]:
    """The route, and its Gateway or why there is none. Which Gateways a route of the user's has, it says itself."""
    namespace, name, traffic = service["metadata"]["namespace"], service["metadata"]["name"], service["spec"]["traffic"]
    if not (lent := part(traffic, "routeRef")):
        ref = traffic["gatewayRef"]
        return await asyncio.gather(
            cluster.get(HTTP_ROUTE, namespace, name), _gateway(cluster, ref["namespace"], ref["name"])
        )
    route = await cluster.get(HTTP_ROUTE, namespace, lent["name"])
    named = f"the parentRefs of HTTPRoute {lent['name']}"
    found: Json | None = None
    for where in gateways_of(route):
        found, problem = await _gateway(cluster, *where)
        if (view := gateway_view(found)) is None:
            return route, (None, problem or f"Gateway {'/'.join(where)} does not exist; create it, or correct {named}")
        if not view.programmed:
            break  # the first that keeps users from their answers
    return route, (found, "" if found else f"{named} name no Gateway")


async def _gateway(cluster: rest.Cluster, namespace: str, name: str) -> tuple[Json | None, str]:
    """The Gateway is another team's, in another namespace: being refused is an answer."""
    try:
        return await cluster.get(GATEWAY, namespace, name), ""
    except Refused as error:
        return None, f"the operator may not read Gateway {namespace}/{name}: {error}"


def _route(found: Found, service: ModelService) -> RouteView | None:
    ref = service.spec.traffic.route_ref
    if service.spec.traffic.by_pods:
        return front_view(found.front, found.slices, found.pods, found.deployments, service)
    return route_view(found.route, service) if ref is None else lent_view(found.route, service, ref)


def _serving_settings(settings: Settings, sources: tuple[str, ...]) -> ServingSettings:
    return ServingSettings(
        image=settings.images.server,
        pull_policy=settings.image_pull_policy,
        scale_down_delay=timedelta(seconds=settings.scale_down_delay_seconds),
        sources=sources,
        fetcher=settings.images.trainer,
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
        tried=pods.tried,
        reachable=reachable,
    )


# --- the metrics --------------------------------------------------------------------------------------------------


Answer = Reading | Sampled | Grouped


@dataclass(frozen=True, slots=True)
class Question:
    """One query to a metric source; `about` names the SLO, or is empty for the requests that were answered."""

    about: str
    source: str
    query: str | slos.Unusable
    role: str = ""  # of raw samples: what they are to the SLO's comparison
    moment: float | None = None  # by the source's clock, when it is not now
    by: str = ""  # the label by which counts are wanted, of a signal of drift


def questions(s: ServiceSnapshot) -> list[Question]:
    """What to ask now: every SLO and the requests of the running step, when a look is due; whether there will be something to
    ask, before the first one; or the SLOs of the stable."""
    if monitoring.due(s):
        return _of_the_stable(s)
    if canary.asks_first(s):
        return [Question(ask.about, ask.source, ask.query) for ask in preflight.asks(s)]
    polls = [_raw(ask) for ask in failing.asks(s)] if failing.due(s) else []
    if not facts.look_due(s):
        return polls
    revision = facts.asked_of(s)
    words = slos.words_for(s, revision, facts.trial(s).refuge)
    asked = [Question(slo.name, slo.source, slos.asked_as(slo, words)) for slo in facts.asked(s)]
    asked += [*polls, *map(_raw, (*comparisons.asks(s), *experiment.asks(s)))]
    if not facts.requests_wanted(s):
        return asked
    requests = slos.requests_query(s.service.metadata.namespace, revision, facts.elapsed(s))
    return [*asked, Question("", slos.DEFAULT_SOURCE, requests)]


def _raw(ask: Ask) -> Question:
    return Question(ask.about, ask.source, ask.query, ask.role, ask.moment)


def _of_the_stable(s: ServiceSnapshot) -> list[Question]:
    assert s.stable is not None
    words = slos.words_for(s, s.stable.revision, s.stable.revision)
    asked = [Question(slo.name, slo.source, slos.asked_as(slo, words)) for slo in monitoring.asked(s)]
    return [*asked, *(Question(ask.signal, ask.source, ask.query, by=ask.label) for ask in drift.asks(s))]


async def _answer(sources: MetricSources, question: Question, patience: float) -> Answer:
    if isinstance(question.query, slos.Unusable):
        return Reading(ReadingKind.INVALID_QUERY, text=question.query.message)
    if question.by:
        return await sources.groups(question.source, question.query, question.by, patience)
    if question.role:
        return await sources.samples(question.source, question.query, question.moment, patience)
    return await sources.query(question.source, question.query, patience)


def _with_the_stables(s: ServiceSnapshot, answers: Mapping[Question, Answer]) -> ServiceSnapshot:
    signals = {q.about: answer for q, answer in answers.items() if q.by and not isinstance(answer, Sampled)}
    told = {q.about: answer for q, answer in answers.items() if not q.by and isinstance(answer, Reading)}
    return replace(s, monitored=told, drifting=signals if s.service.spec.monitoring.drift is not None else None)


def _by_query(answers: Mapping[Question, Answer]) -> dict[tuple[str, str], Reading]:
    return {
        (question.source, question.query): answer
        for question, answer in answers.items()
        if isinstance(question.query, str) and isinstance(answer, Reading)
    }


def _counters(answers: Mapping[Question, Answer]) -> dict[tuple[str, str], Sampled | Reading]:
    """Raw samples, by what they are about and what they are to it."""
    return {
        (question.about, question.role): answer
        for question, answer in answers.items()
        if question.role and not isinstance(answer, Grouped)
    }


def with_answers(s: ServiceSnapshot, answers: Mapping[Question, Answer]) -> ServiceSnapshot:
    """The snapshot with its look at the metrics, when one was due."""
    if monitoring.due(s):
        return _with_the_stables(s, answers)
    if canary.asks_first(s):
        return replace(s, preflight=_by_query(answers))
    counters = _counters(answers)
    if failing.due(s):
        s = replace(s, failing=failing.looked(s, counters))
    if not facts.look_due(s):
        return s
    found = {
        question.about: answer
        for question, answer in answers.items()
        if isinstance(answer, Reading) and not question.role
    }
    requests = found.pop("", None)
    outcomes = {role: answer for (about, role), answer in counters.items() if about == experiment.ABOUT}
    return replace(s, look=Look(found, requests, comparisons.looked(s, counters), experiment.looked(s, outcomes)))
