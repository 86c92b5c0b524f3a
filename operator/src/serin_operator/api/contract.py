"""The operator's own model of the contract with its images (docs/reference/contract.md): configs out, results in.

The images own theirs; `tests/golden/contract` holds the schemas that both must agree with.
"""

import json
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from serin_operator.api.v1alpha1 import (
    Authority,
    Benchmark,
    Checkpoints,
    Choices,
    Classifier,
    Cleaning,
    ComparedTo,
    ComparisonMethod,
    Copies,
    CopyTo,
    Dataset,
    DataSource,
    EarlyStopping,
    FewShot,
    Health,
    LossOn,
    Method,
    Mixing,
    ModelSource,
    OverlapBound,
    Packing,
    Reference,
    RowEnding,
    Slice,
    SliceBy,
    Split,
    StageName,
    StageOutcome,
    TooLong,
    TrainingWarning,
    TrainSource,
)

MAX_RESULT_BYTES = 4096


class _Contract(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")

    def dump(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class JobName(_Contract):
    namespace: str
    name: str


class Model(_Contract):
    """`source` is the address that a copied base model came from."""

    uri: str
    digest: str | None = None
    source: str | None = None


class _Config(_Contract):
    stage: str
    key: str
    job: JobName
    output: str


class PrepareData(_Contract):
    train: tuple[TrainSource, ...]
    mixing: Mixing
    validation: tuple[DataSource, ...]
    test: tuple[DataSource, ...]
    split: Split
    cleaning: Cleaning
    row_ending: RowEnding
    loss_on: LossOn
    packing: Packing
    too_long: TooLong
    overlap: OverlapBound


class EvaluationSet(_Contract):
    """Rows that a gate measures with, named <gate>/<suite>."""

    name: str
    uri: str


class PrepareTraining(_Contract):
    """The settings that the plan in Prepare's report is made for."""

    method: str
    lora_rank: int
    lora_target_modules: tuple[str, ...]
    ia3_target_modules: tuple[str, ...]
    ia3_feedforward_modules: tuple[str, ...]
    virtual_tokens: int
    batch_size: int
    gradient_accumulation_steps: int
    epochs: int | None
    max_steps: int | None
    nodes: int
    processes_per_node: int
    zero_stage: int
    accelerated: bool
    learning_rate: str | None
    precision: str | None
    gradient_checkpointing: bool
    offload: str | None
    device_mib: int | None = None  # what one process has, when the method is to be chosen by it


class RecipeKey(_Contract):
    """A key of the recipe: with the field that it sets and the value, or with the reason why it sets none."""

    key: str
    field: str | None = None
    value: str | None = None
    why: str | None = None


class PrepareRecipe(_Contract):
    """What became of each key of `spec.configFrom`, for the report. The settings themselves are where they always are."""

    format: str
    source: str
    keys: tuple[RecipeKey, ...]
    unknown: tuple[str, ...]


class PrepareConfig(_Config):
    base_model: ModelSource
    copy_base: bool = False  # though later pods could fetch it: the servers of an adapter cannot
    data: PrepareData
    evaluation_sets: tuple[EvaluationSet, ...]
    training: PrepareTraining
    max_sequence_length: int
    recipe: PrepareRecipe | None = None


class TrainDistribution(_Contract):
    nodes: int
    processes_per_node: int
    zero_stage: int
    offload: str | None
    config_override: dict[str, str]


class TrackedByMlflow(_Contract):
    """`secret` is the name of the Secret whose MLFLOW_TRACKING_TOKEN (or -USERNAME and -PASSWORD) the pods are given."""

    uri: str
    experiment: str
    authentication: str | None = None
    secret: str | None = None
    ca_ref: Authority | None = None


class TrackedByWandb(_Contract):
    """`secret` is the name of the Secret whose WANDB_API_KEY the pods are given; there is none offline."""

    project: str
    entity: str | None = None
    mode: str
    base_url: str | None = None
    secret: str | None = None
    ca_ref: Authority | None = None


class TrainTracking(_Contract):
    """`run` names the run over all attempts."""

    run: str
    mlflow: TrackedByMlflow | None = None
    wandb: TrackedByWandb | None = None


class TrainConfig(_Config):
    attempt: int
    base_model: Model
    data_uri: str
    data_digest: str
    method: Method
    hyperparameters: dict[str, Any]
    distribution: TrainDistribution
    checkpoints: Checkpoints
    early_stopping: EarlyStopping | None = None
    health: Health
    tracking: TrainTracking | None = None


class ModelLineage(_Contract):
    """What the image writes into the model's manifest. It decides nothing, and so is in no key."""

    data_digest: str
    sources_digest: str | None = None
    train_key: str
    method_reason: str | None = None
    hyperparameters: dict[str, Any]
    images: dict[str, str]


class ConsolidateConfig(_Config):
    base_model: Model
    checkpoint_uri: str
    method: Method
    lineage: ModelLineage


class Base(_Contract):
    """The base model of an adapter. `path` is where its files were fetched to, if they were."""

    uri: str
    digest: str
    path: str | None = None


class CopiedModel(_Contract):
    uri: str
    digest: str
    base: Base | None = None


class CopyConfig(_Config):
    model: CopiedModel
    to: CopyTo


class FetchedModel(_Contract):
    """A folder of that name is made of the files of this digest."""

    folder: str
    digest: str


class FetchConfig(_Config):
    """`output` is a folder of the pod's own."""

    weights: Copies
    models: tuple[FetchedModel, ...]


class RoleModel(_Contract):
    role: str
    uri: str
    digest: str
    base: Base | None = None


class EvaluateJudge(_Contract):
    """`secret` is the name of the Secret whose OPENAI_API_KEY the pod is given."""

    url: str
    model: str
    against: str
    secret: str | None
    criteria: str | None
    timeout_seconds: int
    retries: int
    max_tokens: int
    concurrency: int


class EvaluatePreference(_Contract):
    against: str
    question: str | None
    ratings: Dataset | None


class EvaluateSuite(_Contract):
    name: str
    dataset: Dataset | None
    metrics: tuple[str, ...]
    max_examples: int
    max_new_tokens: int
    stop: tuple[str, ...] = ()
    choices: Choices | None = None  # None: not in the key, which is then as before there were any
    slices: tuple[SliceBy, ...] | None = None
    few_shot: FewShot | None = None
    classifiers: tuple[Classifier, ...] | None = None
    context_field: str | None = None
    refusal_phrases: tuple[str, ...] | None = None
    judge: EvaluateJudge | None = None
    preference: EvaluatePreference | None = None
    benchmark: Benchmark | None = None

    def keyed(self) -> dict[str, Any]:
        """All that the numbers depend on: not how patiently a judge is asked, nor with which key."""
        found = self.dump()
        for field in ("secret", "timeoutSeconds", "retries", "concurrency"):
            found.get("judge", {}).pop(field, None)
        return found


class WantedComparison(_Contract):
    suite: str
    metric: str
    against: str
    method: ComparisonMethod
    slice: Slice | None = None


class EvaluateConfig(_Config):
    cache: str | None
    pods: int | None = None  # that share the measuring; None: one does it all
    models: tuple[RoleModel, ...]
    suites: tuple[EvaluateSuite, ...]
    comparisons: tuple[WantedComparison, ...]
    wanted: tuple[str, ...]
    seed: int = 7


class ServedModel(_Contract):
    """`path` is where the files were fetched to, if they were."""

    uri: str
    digest: str
    path: str | None = None
    base: Base | None = None
    name: str


class ServeConfig(_Config):
    model: ServedModel
    revision: str
    port: int
    max_new_tokens: int
    max_queue: int = 64
    feedback_key: str | None = None


class StageResult(_Contract):
    """What a pod says at its end, in at most 4,096 bytes of its termination message. The stages of a job are not all that
    speak: Serve and Fetch do as well."""

    stage: str
    key: str
    outcome: StageOutcome
    reason: str
    message: str
    advice: str = ""
    output: dict[str, Any] = Field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """What happened, and what to do."""
        return f"{self.message.rstrip('.')}; {self.advice}" if self.advice else self.message


def parse_result(text: str) -> StageResult | None:
    """The result in a termination message; None when it holds something else (a log tail, say)."""
    try:
        return StageResult.model_validate(json.loads(text, parse_constant=_not_json))
    except (ValueError, RecursionError):
        return None


def _not_json(word: str) -> None:
    """NaN and Infinity: Python reads them, the apiserver would not take a status that holds them."""
    raise ValueError(f"{word} is not JSON")


class PrepareOutput(_Contract):
    data_uri: str
    data_digest: str
    test_uri: str = ""
    base_model_digest: str
    base_model_uri: str | None = None  # of the copy, where there is one
    sources_digest: str = ""
    method: str | None = None  # the one that was chosen, where that was asked for, and why
    method_reason: str | None = None
    rows: dict[str, int] = Field(default_factory=dict)
    dropped: dict[str, int] = Field(default_factory=dict)


class TrainOutput(_Contract):
    checkpoint_uri: str
    steps: int
    train_loss_first: float | None = None
    train_loss_last: float | None = None
    eval_loss: float | None = None
    world_size: int | None = None
    zero_stage: int | None = None
    precision: str | None = None
    warnings: tuple[TrainingWarning, ...] = ()


class CopyOutput(_Contract):
    uri: str


class ConsolidateOutput(_Contract):
    model_uri: str
    digest: str
    size_bytes: int | None = None
    parameters: int | None = None


PROBABILITIES = (0.001, 0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.995, 0.999)
"""The confidences that the evaluator tells a curve at: the truth lies below curve[i] with PROBABILITIES[i]."""

Curve = Annotated[tuple[float | None, ...], Field(max_length=len(PROBABILITIES))]


class Score(_Contract):
    """A measured value, with its confidence curve when a bound is asked of it. Numbers that are none are None."""

    suite: str
    metric: str
    role: str
    value: float | None
    n: int
    stderr: float | None = None
    curve: Curve = ()
    slice: Slice | None = None  # None: of the whole suite
    against: ComparedTo | None = None  # whose answers the candidate's are preferred to


class Comparison(_Contract):
    """Candidate minus other, by pairs of examples, with its confidence curve."""

    suite: str
    metric: str
    against: ComparedTo
    method: ComparisonMethod
    difference: float | None
    n: int
    stderr: float | None = None
    curve: Curve
    slice: Slice | None = None


class Awaiting(_Contract):
    """A pack of pairs that people have not rated yet."""

    suite: str
    pack_uri: str
    pairs: int


class EvaluateOutput(_Contract):
    report_uri: str
    scores: tuple[Score, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    reference: Reference | None = None
    awaiting: tuple[Awaiting, ...] = ()


_OUTPUTS: Final[dict[StageName, type[_Contract]]] = {
    StageName.PREPARE: PrepareOutput,
    StageName.TRAIN: TrainOutput,
    StageName.CONSOLIDATE: ConsolidateOutput,
    StageName.COPY: CopyOutput,
    StageName.EVALUATE: EvaluateOutput,
}


def unreadable(stage: StageName, output: dict[str, Any]) -> str:
    """What of a finished stage's output is not as the contract says, such as `baseModelDigest: Field required`; "" when
    all is. An image of another release than the operator's is how this comes about."""
    try:
        _OUTPUTS[stage].model_validate(output)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return ""
