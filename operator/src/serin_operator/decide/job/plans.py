"""What each stage of a job should run: its key, its config for the pod, its image and its volumes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from serin_operator.api.contract import (
    ConsolidateConfig,
    EvaluateConfig,
    EvaluateSuite,
    EvaluationSet,
    JobName,
    Model,
    ModelLineage,
    PrepareConfig,
    PrepareData,
    PrepareOutput,
    PrepareTraining,
    RoleModel,
    TrainConfig,
    TrainDistribution,
    WantedComparison,
)
from serin_operator.api.v1alpha1 import (
    Data,
    FineTuneJobSpec,
    Lora,
    LossOn,
    Method,
    MethodType,
    Mixing,
    Packing,
    PolicyMode,
    RowEnding,
    StageName,
    StageStatus,
)
from serin_operator.decide.job.demands import Asked, asked_suites
from serin_operator.decide.job.snapshot import JobSnapshot
from serin_operator.decide.job.stages import Plan
from serin_operator.decide.keys import key_of, model_key, prepare_key, train_key
from serin_operator.manifests.stage_job import StageJob
from serin_operator.manifests.volumes import joined

_DIRECTORY = {
    StageName.PREPARE: "prepare",
    StageName.TRAIN: "train",
    StageName.CONSOLIDATE: "model",
    StageName.EVALUATE: "evaluate",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A consolidated model, wherever it came from: this job's pods, or a revision of the same key."""

    uri: str
    digest: str


def prepare_plan(s: JobSnapshot) -> Plan:
    spec = s.job.spec
    sets = evaluation_sets(s)
    key = prepare_key(spec, [one.uri for one in sets])
    config = PrepareConfig(
        **_common(s, StageName.PREPARE, key),
        base_model=Model(uri=spec.base_model.uri),
        data=_prepare_data(spec.data),
        evaluation_sets=sets,
        training=_outline(spec),
        max_sequence_length=spec.hyperparameters.max_sequence_length,
    )
    reads = (spec.base_model.uri, *(source.uri for source in spec.data.sources()), *(one.uri for one in sets))
    return _plan(s, StageName.PREPARE, key, config.dump(), reads)


def evaluation_sets(s: JobSnapshot) -> tuple[EvaluationSet, ...]:
    """The data sets of the job's gates and policies, each once: what is measured with them must not have been learned."""
    found: dict[str, EvaluationSet] = {}
    gates = [gate for ref in s.job.spec.gates if (gate := (s.gates or {}).get(ref.name)) is not None]
    for one in asked_suites(gates, s.asking):
        uri = one.suite.dataset.uri
        found.setdefault(uri, EvaluationSet(name=f"{one.source.split()[-1]}/{one.suite.name}", uri=uri))
    return tuple(found.values())


def _outline(spec: FineTuneJobSpec) -> PrepareTraining:
    """What the report's plan is made for. It is not in the key: the data do not depend on it."""
    hyper, distribution = spec.hyperparameters, spec.distribution
    lora = spec.method.lora or Lora()
    asked = {**(distribution.resources.requests or {}), **(distribution.resources.limits or {})}
    return PrepareTraining(
        method=spec.method.type.value,
        lora_rank=lora.rank,
        lora_target_modules=tuple(lora.target_modules),
        batch_size=hyper.batch_size,
        gradient_accumulation_steps=hyper.gradient_accumulation_steps,
        epochs=hyper.epochs,
        max_steps=hyper.max_steps,
        nodes=distribution.nodes,
        processes_per_node=distribution.processes_per_node,
        zero_stage=distribution.deepspeed.zero_stage,
        accelerated=any("/" in name for name in asked),  # extended resources, such as nvidia.com/gpu
    )


def _prepare_data(data: Data) -> PrepareData:
    """The data with its defaults filled in; of running text all is learned, and nothing stands between its lines."""
    running = data.row_ending is RowEnding.NEWLINE
    return PrepareData(
        train=tuple(data.train),
        mixing=data.mixing or Mixing.SUBSAMPLE,
        validation=tuple(data.validation),
        test=tuple(data.test),
        split=data.split,
        cleaning=data.cleaning,
        row_ending=data.row_ending,
        loss_on=data.loss_on or (LossOn.ALL_TOKENS if running else LossOn.COMPLETIONS),
        packing=data.packing or (Packing.NONE if running else Packing.ISOLATED),
        too_long=data.too_long,
        overlap=data.overlap,
    )


def train_plan(s: JobSnapshot, prepared: PrepareOutput) -> Plan:
    spec = s.job.spec
    key = train_key(spec, prepared.base_model_digest, prepared.data_digest)

    def wish(attempt: int) -> StageJob:
        config = TrainConfig(
            **_common(s, StageName.TRAIN, key),
            attempt=attempt,
            base_model=Model(uri=spec.base_model.uri, digest=prepared.base_model_digest),
            data_uri=prepared.data_uri,
            data_digest=prepared.data_digest,
            method=_method(spec.method),
            hyperparameters=spec.hyperparameters.manifest(),
            distribution=TrainDistribution(
                nodes=spec.distribution.nodes,
                processes_per_node=spec.distribution.processes_per_node,
                zero_stage=spec.distribution.deepspeed.zero_stage,
            ),
            checkpoints=spec.checkpoints,
            early_stopping=spec.early_stopping,
            health=spec.health,
        )
        return StageJob(
            owner=s.job,
            stage=StageName.TRAIN,
            key=key,
            attempt=attempt,
            image=s.configured.trainer_image,
            pull_policy=s.configured.pull_policy,
            config=config.dump(),
            reads=(spec.base_model.uri,),
            writes=(spec.artifacts.uri,),
            nodes=spec.distribution.nodes,
            processes_per_node=spec.distribution.processes_per_node,
            resources=spec.distribution.resources,
            distribution=spec.distribution,
        )

    return Plan(StageName.TRAIN, key, wish)


def consolidate_plan(
    s: JobSnapshot, prepared: PrepareOutput, checkpoint_uri: str, before: Iterable[StageStatus]
) -> Plan:
    """`before` are the stages before it as this look sees them: what the journal holds is a look old."""
    spec = s.job.spec
    trained = train_key(spec, prepared.base_model_digest, prepared.data_digest)
    key = model_key(trained)
    config = ConsolidateConfig(
        **_common(s, StageName.CONSOLIDATE, key),
        base_model=Model(uri=spec.base_model.uri, digest=prepared.base_model_digest),
        checkpoint_uri=checkpoint_uri,
        method=_method(spec.method),
        lineage=ModelLineage(
            data_digest=prepared.data_digest,
            train_key=trained,
            hyperparameters=spec.hyperparameters.manifest(),
            images=_images(s, before),
        ),
    )
    return _plan(s, StageName.CONSOLIDATE, key, config.dump(), (spec.base_model.uri,))


def evaluate_plan(
    s: JobSnapshot,
    asked: tuple[Asked, ...],
    roles: tuple[RoleModel, ...],
    comparisons: tuple[WantedComparison, ...],
    wanted: tuple[str, ...],
) -> Plan:
    suites = tuple(
        EvaluateSuite(
            name=one.name,
            dataset=one.suite.dataset,
            metrics=tuple(metric.value for metric in one.suite.metrics),
            max_examples=one.suite.max_examples,
            max_new_tokens=one.suite.max_new_tokens,
            stop=tuple(one.suite.stop),
            choices=one.suite.choices,
            slices=tuple(one.suite.slices) if one.suite.slices else None,
        )
        for one in asked
    )
    key = key_of(
        "evaluate-with-curves",  # results of before cannot be judged
        sorted((role.role, role.digest) for role in roles),
        [suite.dump() for suite in suites],
        [comparison.dump() for comparison in comparisons],
        sorted(wanted),
    )
    config = EvaluateConfig(
        **_common(s, StageName.EVALUATE, key),
        cache=_cache(s),
        models=roles,
        suites=suites,
        comparisons=comparisons,
        wanted=wanted,
    )
    reads = (*(role.uri for role in roles), *(suite.dataset.uri for suite in suites))
    return _plan(s, StageName.EVALUATE, key, config.dump(), reads, s.configured.evaluator_image)


def _cache(s: JobSnapshot) -> str | None:
    """Scores of before, on a volume that the namespace's people can write: what a policy enforces is measured anew."""
    if any(policy.spec.mode is PolicyMode.ENFORCE for policy in s.asking):
        return None
    return joined(s.job.spec.artifacts.uri, s.job.metadata.namespace, "scores")


def _plan(
    s: JobSnapshot,
    stage: StageName,
    key: str,
    config: Mapping[str, Any],
    reads: tuple[str, ...],
    image: str | None = None,
) -> Plan:
    def wish(attempt: int) -> StageJob:
        return StageJob(
            owner=s.job,
            stage=stage,
            key=key,
            attempt=attempt,
            image=image or s.configured.trainer_image,
            pull_policy=s.configured.pull_policy,
            config=config,
            reads=reads,
            writes=(s.job.spec.artifacts.uri,),
        )

    return Plan(stage, key, wish)


def _common(s: JobSnapshot, stage: StageName, key: str) -> dict[str, Any]:
    meta = s.job.metadata
    output = joined(s.job.spec.artifacts.uri, meta.namespace, meta.name, f"{_DIRECTORY[stage]}-{key}")
    job = JobName(namespace=meta.namespace, name=meta.name)
    return {"stage": stage.value, "key": key, "job": job, "output": output}


def _images(s: JobSnapshot, before: Iterable[StageStatus]) -> dict[str, str]:
    """What ran so far, by digest as its kubelet reported it, and what consolidates, by its configured name."""
    ran = {stage.name.value: stage.image for stage in before if stage.image}
    return ran | {StageName.CONSOLIDATE.value: s.configured.trainer_image}


def _method(method: Method) -> Method:
    """LoRA with its defaults filled in, so that the pod need not know them."""
    if method.type is MethodType.LORA and method.lora is None:
        return method.model_copy(update={"lora": Lora()})
    return method
