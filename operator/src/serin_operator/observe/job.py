"""One look at the world for one FineTuneJob: live reads, gathered into a JobSnapshot."""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TypeVar

from serin_operator.api import kinds
from serin_operator.api.base import ApiModel
from serin_operator.api.kinds import Kind
from serin_operator.api.v1alpha1 import (
    ClusterEvalPolicy,
    EvalGate,
    FineTuneJob,
    ModelRevision,
    ModelService,
    Progress,
    StageName,
)
from serin_operator.decide.job.approvals import NOT_LOOKED, Admission, asked_approvals
from serin_operator.decide.job.references import needed_claims, uris_asked
from serin_operator.decide.job.snapshot import Configured, JobSnapshot, Measurer, RecipeSource, RunPhase, StageRun
from serin_operator.decide.policies import of_job
from serin_operator.http import httpx
from serin_operator.manifests import names
from serin_operator.observe import evaluating, training
from serin_operator.observe.admission import admission_of
from serin_operator.observe.fields import part
from serin_operator.observe.policies import policies_of
from serin_operator.observe.runs import pods_of, runs, training_pod_address
from serin_operator.rest import Cluster, Json
from serin_operator.settings import Settings

M = TypeVar("M", bound=ApiModel)


async def observe_job(
    cluster: Cluster, client: httpx.AsyncClient, settings: Settings, namespace: str, name: str, now: datetime
) -> JobSnapshot | None:
    """The snapshot; None when the job is gone or going."""
    found = await cluster.get(kinds.FINE_TUNE_JOB, namespace, name)
    if found is None or found["metadata"].get("deletionTimestamp") is not None:
        return None
    job = FineTuneJob.model_validate(found)
    selector = f"{names.JOB}={name},{names.MANAGED_BY}={names.MANAGER}"
    gates, policies, service, revisions, (jobs, pods) = await asyncio.gather(
        _gates(cluster, job),
        policies_of(cluster, namespace, now),
        _service(cluster, job),
        _revisions(cluster, job),
        jobs_and_their_pods(cluster, namespace, selector),
    )
    stage_runs = runs(jobs, pods, job.metadata.uid)
    claims, progress, measuring, admission, recipe = await asyncio.gather(
        claims_there(cluster, job, gates, policies.found),
        _progress(client, stage_runs, pods),
        _measuring(client, stage_runs, pods),
        _admission(cluster, settings, job, gates, policies.found),
        _recipe(cluster, job),
    )
    return JobSnapshot(
        job=job,
        now=now,
        configured=_configured(settings),
        claims=claims,
        gates=gates,
        policies=policies.found,
        unreadable_policies=policies.unreadable,
        waivers=policies.waivers,
        admission=admission,
        service=service,
        recipe=recipe,
        revisions=revisions,
        runs=stage_runs,
        progress=progress,
        measuring=measuring,
    )


async def jobs_and_their_pods(cluster: Cluster, namespace: str, selector: str) -> tuple[list[Json], list[Json]]:
    """Pods after Jobs, never beside them: a Job that has ended is then never seen with pods of before its end, which know
    nothing of what came of it. An apiserver that answers late or tells one to ask again may put seconds between the two."""
    jobs = await cluster.list(kinds.JOB, namespace, selector)
    return jobs, await cluster.list(kinds.POD, namespace, selector)


def _configured(settings: Settings) -> Configured:
    return Configured(
        trainer_image=settings.images.trainer,
        evaluator_image=settings.images.evaluator,
        pull_policy=settings.image_pull_policy,
        prepare_retry=timedelta(seconds=settings.prepare_retry_seconds),
    )


async def _get(cluster: Cluster, kind: Kind, model: type[M], namespace: str, name: str) -> M | None:
    found = await cluster.get(kind, namespace, name)
    return model.model_validate(found) if found is not None else None


async def _gates(cluster: Cluster, job: FineTuneJob) -> dict[str, EvalGate]:
    wanted = [ref.name for ref in job.spec.gates]
    found = await asyncio.gather(
        *(_get(cluster, kinds.EVAL_GATE, EvalGate, job.metadata.namespace, name) for name in wanted)
    )
    return {gate.metadata.name: gate for gate in found if gate is not None}


async def _service(cluster: Cluster, job: FineTuneJob) -> ModelService | None:
    if job.spec.rollout is None:
        return None
    name = job.spec.rollout.model_service_ref.name
    return await _get(cluster, kinds.MODEL_SERVICE, ModelService, job.metadata.namespace, name)


async def _recipe(cluster: Cluster, job: FineTuneJob) -> RecipeSource | None:
    """Of the ConfigMap just the one key that is named."""
    wanted = job.spec.config_from
    if wanted is None:
        return None
    found = await cluster.get(kinds.CONFIG_MAP, job.metadata.namespace, wanted.config_map_ref.name)
    if found is None:
        return RecipeSource(exists=False)
    data = part(found, "data")
    return RecipeSource(True, tuple(sorted(data)), data.get(wanted.key))


async def _revisions(cluster: Cluster, job: FineTuneJob) -> tuple[ModelRevision, ...]:
    if job.spec.rollout is None:
        return ()
    selector = f"{names.SERVICE}={job.spec.rollout.model_service_ref.name}"
    found = await cluster.list(kinds.MODEL_REVISION, job.metadata.namespace, selector)
    return tuple(ModelRevision.model_validate(item) for item in found)


async def claims_there(
    cluster: Cluster, job: FineTuneJob, gates: dict[str, EvalGate], policies: Iterable[ClusterEvalPolicy]
) -> frozenset[str]:
    """Of the claims that the job, its gates and its policies name, those that exist."""
    uris = uris_asked(gates.values(), of_job(policies, job.metadata.labels))
    wanted = list(needed_claims(job.spec, uris))
    found = await asyncio.gather(*(cluster.get(kinds.PVC, job.metadata.namespace, name) for name in wanted))
    return frozenset(name for name, claim in zip(wanted, found, strict=True) if claim is not None)


async def _admission(
    cluster: Cluster,
    settings: Settings,
    job: FineTuneJob,
    gates: dict[str, EvalGate],
    policies: Iterable[ClusterEvalPolicy],
) -> Admission:
    """Only where somebody's approval is asked for."""
    if not asked_approvals(gates.values(), of_job(policies, job.metadata.labels)):
        return NOT_LOOKED
    return await admission_of(cluster, settings.approval_policy)


async def _progress(client: httpx.AsyncClient, stage_runs: Iterable[StageRun], pods: list[Json]) -> Progress | None:
    for run in stage_runs:
        if run.stage is StageName.TRAIN and run.phase is RunPhase.RUNNING:
            address = training_pod_address(pods, run)
            return await training.progress(client, address) if address else None
    return None


async def _measuring(
    client: httpx.AsyncClient, stage_runs: Iterable[StageRun], pods: list[Json]
) -> tuple[Measurer, ...]:
    for run in stage_runs:
        if run.stage is StageName.EVALUATE and run.phase is RunPhase.RUNNING and run.key:
            return await evaluating.measurers(client, pods_of(pods, run))
    return ()
