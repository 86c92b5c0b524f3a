"""FineTuneJob: a base model, data and a method become a candidate model."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from serin_operator.api.base import ApiModel, ModuleName, Name, PvcUri, list_map, rule, rules
from serin_operator.api.v1alpha1.data import Data, ModelSource
from serin_operator.api.v1alpha1.placement import Memory, Scheduling, Variable
from serin_operator.api.v1alpha1.shared import (
    Condition,
    Dropout,
    LearningRate,
    LocalRef,
    NonNegativeDecimal,
    ObjectMeta,
    PositiveDecimal,
    Preserved,
    Resources,
    Text,
    WarmupRatio,
)
from serin_operator.api.v1alpha1.training import EarlyStopping, Health
from serin_operator.api.v1alpha1.verdicts import GateStatus


class MethodType(StrEnum):
    FULL = "Full"
    LORA = "LoRA"


class Lora(ApiModel):
    """Low-rank adaptation (Hu et al., arXiv 2106.09685)."""

    rank: Annotated[int, Field(ge=1, le=512)] = 16
    alpha: Annotated[int, Field(ge=1, le=1024)] = 32
    target_modules: Annotated[
        list[ModuleName],
        Field(min_length=1, max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = ["q_proj", "v_proj"]
    dropout: Dropout = "0.0"


class Method(ApiModel):
    """Which parameters are trained."""

    model_config = rules(
        rule("self.type == 'LoRA' || !has(self.lora)", "lora may be given only when type is LoRA"),
    )

    type: MethodType = MethodType.FULL
    lora: Lora | None = None


class Scheduler(StrEnum):
    COSINE = "Cosine"
    LINEAR = "Linear"
    CONSTANT = "Constant"


class Hyperparameters(ApiModel):
    """How the optimiser walks. `batchSize` is per process; the global batch is batchSize x processes x accumulation."""

    learning_rate: LearningRate = "2e-4"
    epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 8
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=4096)] = 1
    scheduler: Scheduler = Scheduler.COSINE
    warmup_ratio: WarmupRatio = "0.03"
    weight_decay: NonNegativeDecimal = "0.0"
    max_gradient_norm: PositiveDecimal = "1.0"
    max_sequence_length: Annotated[int, Field(ge=8, le=1_048_576)] = 512
    save_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    seed: Annotated[int, Field(ge=0, le=4294967295)] = 7


class DeepSpeed(ApiModel):
    """ZeRO stage (Rajbhandari et al., arXiv 1910.02054)."""

    zero_stage: Annotated[int, Field(ge=0, le=3)] = 2


class Distribution(ApiModel):
    """How many pods train, with how many processes in each, and what each pod may use."""

    nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    processes_per_node: Annotated[int, Field(ge=1, le=64)] = 1
    deepspeed: DeepSpeed = DeepSpeed()
    resources: Resources = Resources()
    max_restarts: Annotated[int, Field(ge=0, le=100)] = 2
    scheduling: Scheduling = Scheduling()
    shared_memory: Annotated[
        Memory | None,
        Field(
            description="Size of /dev/shm; it counts as memory of the pod. Without it /dev/shm may fill the pod's memory."
        ),
    ] = None
    env: Annotated[list[Variable], list_map("name", 40)] = []
    queue_name: Annotated[
        Name | None, Field(description="Kueue's LocalQueue in whose quota the training pods run.")
    ] = None


class Consolidated(StrEnum):
    """Which checkpoint becomes the model: that of the last step, or the one with the lowest validation loss."""

    NEWEST = "Newest"
    BEST = "Best"


class Checkpoints(ApiModel):
    """Which saved states stay: the newest, and those with the lowest validation loss. The others are deleted.

    With `keepBest`, the validation loss is measured at each save.
    """

    model_config = rules(
        rule(
            "!has(self.consolidate) || self.consolidate != 'Best' || (has(self.keepBest) && self.keepBest > 0)",
            "consolidate: Best needs keepBest of at least 1: otherwise the best would be gone",
        )
    )

    keep_recent: Annotated[int, Field(ge=1, le=100)] = 2
    keep_best: Annotated[int, Field(ge=0, le=100)] = 0
    consolidate: Consolidated = Consolidated.NEWEST


class Artifacts(ApiModel):
    """Where data, checkpoints, models and reports are written."""

    uri: PvcUri


class Rollout(ApiModel):
    """The service that gets the model once the gates pass. Without it the job only produces a model."""

    model_service_ref: LocalRef


class FineTuneJobSpec(ApiModel):
    """Base model + data + method -> a candidate model for a ModelService."""

    model_config = rules(
        rule(
            "!has(self.rollout) || (has(self.gates) && size(self.gates) > 0)",
            "rollout needs at least one gate in spec.gates: a model that nobody measured is not rolled out",
        ),
        rule(
            "!has(self.earlyStopping) || self.data.split.strategy == 'Provided'"
            " || self.data.split.validationPercent > 0",
            "earlyStopping needs validation rows: set data.split.validationPercent above 0",
        ),
    )

    base_model: ModelSource
    data: Data
    method: Method = Method()
    hyperparameters: Hyperparameters = Hyperparameters()
    distribution: Distribution = Distribution()
    checkpoints: Checkpoints = Checkpoints()
    early_stopping: EarlyStopping | None = None
    health: Health = Health()
    artifacts: Artifacts
    gates: Annotated[list[LocalRef], list_map("name", 16)] = []
    rollout: Rollout | None = None
    suspend: Annotated[
        bool,
        Field(
            description="While true no pod of the job runs: what trains saves first and ends, and goes on from there later."
        ),
    ] = False


class StageName(StrEnum):
    PREPARE = "Prepare"
    TRAIN = "Train"
    CONSOLIDATE = "Consolidate"
    EVALUATE = "Evaluate"


class StageOutcome(StrEnum):
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class FailureClass(StrEnum):
    """Whose turn it is after a failure. Infrastructure's do not count against `maxRestarts`."""

    USER = "User"
    INFRASTRUCTURE = "Infrastructure"
    UNKNOWN = "Unknown"


class StageStatus(ApiModel):
    """What is known of one stage under its current key: the journal that outlives pods and restarts."""

    name: StageName
    key: str
    attempt: int = 1
    restarts: int = 0
    interruptions: int = 0
    outcome: StageOutcome
    reason: str = ""
    message: Text = ""
    failure_class: FailureClass | None = None
    started_at: datetime
    finished_at: datetime | None = None
    retry_at: datetime | None = None
    image: Annotated[str, Field(max_length=512)] = ""
    # An empty map that takes the place of a full one is merged to null by server-side apply, and then refused.
    output: Preserved = Field(default_factory=dict, exclude_if=lambda output: not output)


class TrainingWarning(ApiModel):
    """Something that a person should look at, though training went on."""

    reason: Annotated[str, Field(max_length=64)]
    message: Annotated[str, Field(max_length=512)]


class Progress(ApiModel):
    """How far the running training is; numbers that are not whole are strings."""

    step: int
    total_steps: int
    percent: int
    eta_seconds: int | None = None
    train_loss: str | None = None
    eval_loss: str | None = None
    tokens_per_second: int | None = None
    warnings: Annotated[
        list[TrainingWarning], list_map("reason", 8), Field(exclude_if=lambda warnings: not warnings)
    ] = []


class RetryStatus(ApiModel):
    """The last `serin.dev/retry` that was acted on. The same nonce is not acted on again."""

    nonce: Annotated[str, Field(max_length=128)]
    acted_at: datetime
    message: Text = ""


class FineTuneJobStatus(ApiModel):
    observed_generation: int | None = None
    state: str | None = None
    message: Text | None = None
    conditions: Annotated[list[Condition], list_map("type", 32)] = []
    stages: Annotated[list[StageStatus], list_map("name", 8)] = []
    progress: Progress | None = None
    gate: GateStatus | None = None
    model_digest: str | None = None
    revision: str | None = None
    retry: RetryStatus | None = None


class FineTuneJob(ApiModel):
    """A fine-tune, from data to a candidate model for a ModelService."""

    metadata: ObjectMeta
    spec: FineTuneJobSpec
    status: FineTuneJobStatus = FineTuneJobStatus()
