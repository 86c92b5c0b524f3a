"""What each stage of a job should run: its key, its config for the pod, its image and its volumes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from serin_operator.api.contract import (
    Base,
    ConsolidateConfig,
    CopiedModel,
    CopyConfig,
    EvaluateConfig,
    EvaluateJudge,
    EvaluatePreference,
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
    TrackedByMlflow,
    TrackedByWandb,
    TrainConfig,
    TrainDistribution,
    TrainTracking,
    WantedComparison,
)
from serin_operator.api.v1alpha1 import (
    Authority,
    CopyTo,
    Data,
    Dataset,
    FineTuneJobSpec,
    Ia3,
    Lora,
    LossOn,
    Method,
    MethodType,
    Mixing,
    Mlflow,
    MlflowAuthentication,
    ModelBase,
    Packing,
    PolicyMode,
    PromptTuning,
    RowEnding,
    StageName,
    StageStatus,
    Wandb,
)
from serin_operator.decide.job.authorities import copy_authorities, data_authorities, trackers_authorities
from serin_operator.decide.job.demands import Asked, asked_suites, opponent
from serin_operator.decide.job.recipe import told
from serin_operator.decide.job.secrets import copy_secrets, judges_secrets, trackers_secrets, used_secrets
from serin_operator.decide.job.snapshot import JobSnapshot
from serin_operator.decide.job.stages import Plan
from serin_operator.decide.keys import copy_key, key_of, model_key, prepare_key, train_key
from serin_operator.manifests.quantities import whole_mebibytes
from serin_operator.manifests.secrets import UsedSecret
from serin_operator.manifests.stage_job import StageJob
from serin_operator.manifests.volumes import joined

_DIRECTORY = {
    StageName.PREPARE: "prepare",
    StageName.TRAIN: "train",
    StageName.CONSOLIDATE: "model",
    StageName.COPY: "copy",
    StageName.EVALUATE: "evaluate",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A consolidated model, wherever it came from: this job's pods, or a revision of the same key. A kept adapter has a
    base that it is used with."""

    uri: str
    digest: str
    base: ModelBase | None = None
    size_bytes: int | None = None


def prepare_plan(s: JobSnapshot) -> Plan:
    spec = s.job.spec
    sets = evaluation_sets(s)
    key = prepare_key(spec, [one.uri for one in sets])
    config = PrepareConfig(
        **_common(s, StageName.PREPARE, key),
        base_model=spec.base_model,
        copy_base=spec.copies_public_base,
        data=_prepare_data(spec.data, spec.method),
        evaluation_sets=sets,
        training=_outline(spec),
        max_sequence_length=spec.hyperparameters.max_sequence_length,
        recipe=told(s),
    )
    reads = (spec.base_model.uri, *(source.uri for source in spec.data.sources()), *(one.uri for one in sets))
    return _plan(
        s, StageName.PREPARE, key, config.dump(), reads, secrets=used_secrets(spec), authorities=data_authorities(spec)
    )


def base_model(spec: FineTuneJobSpec, prepared: PrepareOutput) -> Model:
    """The base model where pods without credentials find it."""
    copy = prepared.base_model_uri
    source = spec.base_model.uri if copy else None
    return Model(uri=copy or spec.base_model.uri, digest=prepared.base_model_digest, source=source)


def served_with(spec: FineTuneJobSpec, prepared: PrepareOutput) -> ModelBase | None:
    """The base model that the job's adapter is used with; None when it is merged, or there is none."""
    if not spec.method.kept:
        return None
    return ModelBase(uri=base_model(spec, prepared).uri, digest=prepared.base_model_digest)


def role_model(role: str, model: Candidate) -> RoleModel:
    """A model as the evaluator is told of it."""
    base = Base(uri=model.base.uri, digest=model.base.digest) if model.base is not None else None
    return RoleModel(role=role, uri=model.uri, digest=model.digest, base=base)


def evaluation_sets(s: JobSnapshot) -> tuple[EvaluationSet, ...]:
    """The data sets of the job's gates and policies, each once: what is measured with them must not have been learned."""
    found: dict[str, EvaluationSet] = {}
    gates = [gate for ref in s.job.spec.gates if (gate := (s.gates or {}).get(ref.name)) is not None]
    for one in asked_suites(gates, s.asking):
        if one.suite.dataset is None:
            continue  # a benchmark's rows are read by the evaluator only
        uri = one.suite.dataset.uri
        found.setdefault(uri, EvaluationSet(name=f"{one.source.split()[-1]}/{one.suite.name}", uri=uri))
    return tuple(found.values())


def _outline(spec: FineTuneJobSpec) -> PrepareTraining:
    """What the report's plan is made for. It is not in the key: the data do not depend on it."""
    hyper, distribution = spec.hyperparameters, spec.distribution
    lora, ia3 = spec.method.lora or Lora(), spec.method.ia3 or Ia3()
    asked = {**(distribution.resources.requests or {}), **(distribution.resources.limits or {})}
    return PrepareTraining(
        method=spec.method.type.value,
        lora_rank=lora.rank,
        lora_target_modules=tuple(lora.target_modules),
        ia3_target_modules=tuple(ia3.target_modules),
        ia3_feedforward_modules=tuple(ia3.feedforward_modules),
        virtual_tokens=(spec.method.prompt_tuning or PromptTuning()).virtual_tokens,
        batch_size=hyper.batch_size,
        gradient_accumulation_steps=hyper.accumulation(distribution.nodes * distribution.processes_per_node),
        epochs=hyper.epochs,
        max_steps=hyper.max_steps,
        nodes=distribution.nodes,
        processes_per_node=distribution.processes_per_node,
        zero_stage=distribution.deepspeed.zero_stage,
        accelerated=any("/" in name for name in asked),  # extended resources, such as nvidia.com/gpu
        learning_rate=hyper.learning_rate,
        precision=hyper.precision and hyper.precision.value,
        gradient_checkpointing=hyper.gradient_checkpointing,
        offload=distribution.deepspeed.offload,
        device_mib=_memory_of_a_process(spec),
    )


def _memory_of_a_process(spec: FineTuneJobSpec) -> int | None:
    """That of its accelerator; on CPUs the processes of a pod share the pod's."""
    if spec.method.type is not MethodType.AUTO:
        return None
    if spec.method.auto is not None:
        return whole_mebibytes(spec.method.auto.device_memory)
    limits = spec.distribution.resources.limits or {}
    return whole_mebibytes(limits.get("memory", 0)) // spec.distribution.processes_per_node


def with_chosen_method(s: JobSnapshot, prepared: PrepareOutput) -> JobSnapshot:
    """The snapshot of a job that asks for the method that Prepare chose, where it was to choose one. So the training and
    its key are those of a job that names this method."""
    spec = s.job.spec
    if spec.method.type is not MethodType.AUTO or prepared.method is None:
        return s
    method = spec.method.chosen(MethodType(prepared.method))
    return replace(s, job=s.job.model_copy(update={"spec": spec.model_copy(update={"method": method})}))


def _prepare_data(data: Data, method: Method) -> PrepareData:
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
        packing=data.packing or (Packing.NONE if running or method.prompts else Packing.ISOLATED),
        too_long=data.too_long,
        overlap=data.overlap,
    )


def train_plan(s: JobSnapshot, prepared: PrepareOutput) -> Plan:
    spec = s.job.spec
    key = train_key(spec, prepared.base_model_digest, prepared.data_digest)
    base = base_model(spec, prepared)

    def wish(attempt: int) -> StageJob:
        config = TrainConfig(
            **_common(s, StageName.TRAIN, key),
            attempt=attempt,
            base_model=base,
            data_uri=prepared.data_uri,
            data_digest=prepared.data_digest,
            method=_method(spec.method),
            hyperparameters=spec.hyperparameters.filled(),
            distribution=TrainDistribution(
                nodes=spec.distribution.nodes,
                processes_per_node=spec.distribution.processes_per_node,
                zero_stage=spec.distribution.deepspeed.zero_stage,
                offload=spec.distribution.deepspeed.offload,
                config_override=spec.distribution.deepspeed.config_override,
            ),
            checkpoints=spec.checkpoints,
            early_stopping=spec.early_stopping,
            health=spec.health,
            tracking=_tracking(s, key),
        )
        return StageJob(
            owner=s.job,
            stage=StageName.TRAIN,
            key=key,
            attempt=attempt,
            image=s.configured.trainer_image,
            pull_policy=s.configured.pull_policy,
            config=config.dump(),
            reads=(base.uri,),
            writes=(spec.artifacts.uri,),
            nodes=spec.distribution.nodes,
            processes_per_node=spec.distribution.processes_per_node,
            resources=spec.distribution.resources,
            distribution=spec.distribution,
            secrets=tuple(secret for _, secret in trackers_secrets(spec)),
            authorities=trackers_authorities(spec),
        )

    return Plan(StageName.TRAIN, key, wish)


def _tracking(s: JobSnapshot, key: str) -> TrainTracking | None:
    wish = s.job.spec.tracking
    if wish is None:
        return None
    return TrainTracking(
        run=f"{s.job.metadata.uid}-{key}",
        mlflow=_by_mlflow(wish.mlflow) if wish.mlflow is not None else None,
        wandb=_by_wandb(wish.wandb) if wish.wandb is not None else None,
    )


def _by_mlflow(wish: Mlflow) -> TrackedByMlflow:
    secret = wish.secret_ref
    sent = wish.authentication or MlflowAuthentication.TOKEN
    return TrackedByMlflow(
        uri=wish.uri,
        experiment=wish.experiment,
        authentication=sent.value if secret is not None else None,
        secret=secret.name if secret is not None else None,
        ca_ref=wish.ca_ref,
    )


def _by_wandb(wish: Wandb) -> TrackedByWandb:
    return TrackedByWandb(
        project=wish.project,
        entity=wish.entity,
        mode=wish.mode.value,
        base_url=wish.base_url,
        secret=wish.secret_ref.name if wish.secret_ref is not None else None,
        ca_ref=wish.ca_ref,
    )


def consolidate_plan(
    s: JobSnapshot, prepared: PrepareOutput, checkpoint_uri: str, before: Iterable[StageStatus]
) -> Plan:
    """`before` are the stages before it as this look sees them: what the journal holds is a look old."""
    spec = s.job.spec
    trained = train_key(spec, prepared.base_model_digest, prepared.data_digest)
    key = model_key(trained, spec.method)
    base = base_model(spec, prepared)
    config = ConsolidateConfig(
        **_common(s, StageName.CONSOLIDATE, key),
        base_model=base,
        checkpoint_uri=checkpoint_uri,
        method=_method(spec.method),
        lineage=ModelLineage(
            data_digest=prepared.data_digest,
            sources_digest=prepared.sources_digest or None,
            train_key=trained,
            method_reason=prepared.method_reason,
            hyperparameters=spec.hyperparameters.filled(),
            images=_images(s, before),
        ),
    )
    return _plan(s, StageName.CONSOLIDATE, key, config.dump(), (base.uri,))


def copy_plan(s: JobSnapshot, candidate: Candidate, to: CopyTo) -> Plan:
    """The model as it lies on its volume, and with an adapter its base: who serves it from there mounts neither."""
    base = Base(uri=candidate.base.uri, digest=candidate.base.digest) if candidate.base is not None else None
    key = copy_key(candidate.digest, to)
    config = CopyConfig(
        **_common(s, StageName.COPY, key),
        model=CopiedModel(uri=candidate.uri, digest=candidate.digest, base=base),
        to=to,
    )
    reads = (candidate.uri, *([base.uri] if base is not None else []))
    secrets = tuple(secret for _, secret in copy_secrets(s.job.spec))
    authorities = copy_authorities(s.job.spec)
    return _plan(s, StageName.COPY, key, config.dump(), reads, secrets=secrets, authorities=authorities)


@dataclass(frozen=True, slots=True)
class Measuring:
    """What is measured of which models, beside the suites."""

    roles: tuple[RoleModel, ...]
    comparisons: tuple[WantedComparison, ...]
    wanted: tuple[str, ...]
    first_deployment: bool


def evaluate_plan(s: JobSnapshot, asked: tuple[Asked, ...], measuring: Measuring) -> Plan:
    roles, comparisons, wanted = measuring.roles, measuring.comparisons, measuring.wanted
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
            few_shot=one.suite.few_shot,
            classifiers=tuple(one.suite.classifiers) if one.suite.classifiers else None,
            context_field=one.suite.context_field,
            refusal_phrases=tuple(one.suite.refusal_phrases) if one.suite.refusal_phrases else None,
            judge=_judge(one, measuring.first_deployment),
            preference=_preference(s, one, measuring.first_deployment),
            benchmark=one.suite.benchmark,
        )
        for one in asked
    )
    key = key_of(
        "evaluate-with-curves",  # results of before cannot be judged
        sorted((role.role, role.digest) for role in roles),
        [suite.keyed() for suite in suites],
        [comparison.dump() for comparison in comparisons],
        sorted(wanted),
    )
    cache = _cache(s)
    pods = s.job.spec.evaluation.parallelism if cache is not None else 1
    config = EvaluateConfig(
        **_common(s, StageName.EVALUATE, key),
        cache=cache,
        pods=pods if pods > 1 else None,
        models=roles,
        suites=suites,
        comparisons=comparisons,
        wanted=wanted,
    )
    bases = (role.base.uri for role in roles if role.base is not None)
    sets = (uri for one in asked for uri in one.suite.uris())
    reads = (*(role.uri for role in roles), *bases, *sets, *read_beside(s, asked))
    secrets = tuple(sorted({secret for _, secret in judges_secrets(asked)}))
    return _plan(s, StageName.EVALUATE, key, config.dump(), reads, s.configured.evaluator_image, secrets, pods)


def measured_by_one(s: JobSnapshot) -> str:
    """Why one pod measures all, though the spec asks for several; "" when it does not."""
    if s.job.spec.evaluation.parallelism == 1 or _cache(s) is not None:
        return ""
    policy = next(one.metadata.name for one in s.asking if one.spec.mode is PolicyMode.ENFORCE)
    return (
        f"spec.evaluation.parallelism is {s.job.spec.evaluation.parallelism}, and one pod measures all: what pods hand each"
        f" other lies on a volume of the namespace, which the enforced ClusterEvalPolicy {policy!r} does not trust"
    )


def read_beside(s: JobSnapshot, asked: Iterable[Asked]) -> tuple[str, ...]:
    """What the evaluator reads beside models and data sets: classifiers and ratings."""
    classifiers = [found.uri for one in asked for found in one.suite.classifiers or ()]
    return (*classifiers, *(ratings.uri for ratings in s.job.spec.ratings))


def _judge(asked: Asked, first_deployment: bool) -> EvaluateJudge | None:
    judge = asked.suite.judge
    if judge is None:
        return None
    return EvaluateJudge(
        url=judge.url,
        model=judge.model,
        against=opponent(judge.against, first_deployment).value,
        secret=judge.secret_ref.name if judge.secret_ref is not None else None,
        criteria=judge.criteria,
        timeout_seconds=judge.timeout_seconds,
        retries=judge.retries,
        max_tokens=judge.max_tokens,
        concurrency=judge.concurrency,
    )


def _preference(s: JobSnapshot, asked: Asked, first_deployment: bool) -> EvaluatePreference | None:
    preference = asked.suite.preference
    if preference is None:
        return None
    rated = next((one for one in s.job.spec.ratings if one.suite == asked.name), None)
    return EvaluatePreference(
        against=opponent(preference.against, first_deployment).value,
        question=preference.question,
        ratings=Dataset(uri=rated.uri, digest=rated.digest) if rated is not None else None,
    )


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
    secrets: tuple[UsedSecret, ...] = (),
    nodes: int = 1,
    authorities: tuple[Authority, ...] = (),
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
            nodes=nodes,
            secrets=secrets,
            authorities=authorities,
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
    """LoRA, QLoRA, IA3 and prompt tuning with their defaults filled in, so that the pod need not know them."""
    if method.type in (MethodType.LORA, MethodType.QLORA) and method.lora is None:
        return method.model_copy(update={"lora": Lora()})
    if method.type is MethodType.IA3 and method.ia3 is None:
        return method.model_copy(update={"ia3": Ia3()})
    if method.prompts and method.prompt_tuning is None:
        return method.model_copy(update={"prompt_tuning": PromptTuning()})
    return method
