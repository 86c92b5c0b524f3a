"""FineTuneJob: a base model, data and a method become a candidate model."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from serin_operator.api.base import ApiModel, Name, PvcUri, list_map, rule, rules
from serin_operator.api.v1alpha1.approval import GivenApproval
from serin_operator.api.v1alpha1.data import CopyTo, Data, ModelSource
from serin_operator.api.v1alpha1.deepspeed import DeepSpeed
from serin_operator.api.v1alpha1.gate import Ratings
from serin_operator.api.v1alpha1.method import Method
from serin_operator.api.v1alpha1.placement import Memory, Scheduling, Variable
from serin_operator.api.v1alpha1.shared import (
    Condition,
    ConfigMapKey,
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
from serin_operator.api.v1alpha1.tracking import Tracking
from serin_operator.api.v1alpha1.training import EarlyStopping, Health
from serin_operator.api.v1alpha1.verdicts import GateStatus


class Scheduler(StrEnum):
    COSINE = "Cosine"
    LINEAR = "Linear"
    CONSTANT = "Constant"


class Precision(StrEnum):
    """The numbers that are computed with. The optimizer keeps weights in fp32 beside those of 16 bits."""

    BF16 = "BF16"
    FP16 = "FP16"
    FP32 = "FP32"


USUAL_WARMUP_RATIO = "0.03"


class Hyperparameters(ApiModel):
    """How the optimiser walks. `batchSize` is per process; the global batch is batchSize x processes x accumulation.

    Without `learningRate` it follows from the method and the base model's size; the report's plan says which, and why.
    Without `precision` it is BF16 where an accelerator computes in it, otherwise FP32.
    """

    model_config = rules(
        rule(
            "!has(self.warmupSteps) || !has(self.warmupRatio)",
            "give warmupSteps or warmupRatio, not both: each says how long the learning rate rises",
        ),
        rule(
            "!has(self.globalBatchSize) || self.gradientAccumulationSteps == 1",
            "give globalBatchSize or gradientAccumulationSteps, not both: with the first, accumulation follows from it",
        ),
    )

    learning_rate: LearningRate | None = None
    epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 8
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=4096)] = 1
    global_batch_size: Annotated[
        int | None,
        Field(
            ge=1,
            le=16_777_216,
            description="Rows in a step of all processes, however many there are: gradient accumulation follows from it.",
        ),
    ] = None
    scheduler: Scheduler = Scheduler.COSINE
    warmup_ratio: Annotated[
        WarmupRatio | None, Field(description="Share of the steps; 0.03 when neither it nor warmupSteps is given.")
    ] = None
    warmup_steps: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    weight_decay: NonNegativeDecimal = "0.0"
    max_gradient_norm: PositiveDecimal = "1.0"
    max_sequence_length: Annotated[int, Field(ge=8, le=1_048_576)] = 512
    save_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    seed: Annotated[int, Field(ge=0, le=4294967295)] = 7
    precision: Precision | None = None
    gradient_checkpointing: Annotated[
        bool,
        Field(
            description="Compute activations again in the backward pass: less memory, about a third more time.",
            exclude_if=lambda wanted: not wanted,  # so that the key of training is as it was before there was a choice
        ),
    ] = False

    def filled(self) -> dict[str, Any]:
        """As the trainer wants it, with what is meant where nothing is said of the warmup."""
        said = self.manifest()
        if self.warmup_ratio is None and self.warmup_steps is None:
            said["warmupRatio"] = USUAL_WARMUP_RATIO
        return said

    def accumulation(self, processes: int) -> int:
        """Batches of each process in one step."""
        if self.global_batch_size is None:
            return self.gradient_accumulation_steps
        return max(1, self.global_batch_size // (self.batch_size * processes))


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
    """Where data, checkpoints, models and reports are written, and where the finished model is copied to beside."""

    uri: PvcUri
    copy_to: Annotated[
        CopyTo | None,
        Field(
            description="Before it is evaluated the model is copied there, for servers that do not mount the volume."
        ),
    ] = None

    @property
    def place(self) -> dict[str, Any]:
        """What keys depend on: a copy makes no other model."""
        return {"uri": self.uri}


class Rollout(ApiModel):
    """The service that gets the model once the gates pass. Without it the job only produces a model."""

    model_service_ref: LocalRef


_BATCHES = (
    "self.hyperparameters.batchSize * self.distribution.nodes * self.distribution.processesPerNode"  # in one step
)


class RecipeFormat(StrEnum):
    """Whose YAML it is."""

    AXOLOTL = "Axolotl"
    LLAMA_FACTORY = "LLaMAFactory"


class ConfigFrom(ApiModel):
    """A YAML that was written for Axolotl or LLaMA-Factory, in a ConfigMap of the job's namespace.

    Its keys set method, hyperparameters and their like where the spec has not; the base model and the data are the
    spec's to name. The condition ConfigTranslated and Prepare's report say what became of each key.
    """

    format: RecipeFormat
    config_map_ref: LocalRef
    key: ConfigMapKey = "config.yaml"


class Evaluation(ApiModel):
    """How the gates' suites are measured. No number of pods makes other scores.

    Of several pods each measures its share of the examples and hands it to the others on the artifacts' volume, which all
    their nodes must be able to mount; where a policy is enforced one pod measures all, since a volume can be written by others.
    """

    parallelism: Annotated[int, Field(ge=1, le=64)] = 1


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
        rule(
            f"!has(self.hyperparameters.globalBatchSize) || self.hyperparameters.globalBatchSize % ({_BATCHES}) == 0",
            "hyperparameters.globalBatchSize must be a multiple of hyperparameters.batchSize x distribution.nodes x"
            " distribution.processesPerNode: so many rows are computed at once",
        ),
        rule(
            "!has(self.hyperparameters.precision) || self.hyperparameters.precision != 'FP16'"
            " || (has(self.distribution.resources.limits)"
            " && self.distribution.resources.limits.exists(name, name.contains('/')))",
            "hyperparameters.precision FP16 needs an accelerator in distribution.resources.limits: its range is too small"
            " for gradients unless they are scaled, which is not done on a CPU; use BF16 or FP32 there",
        ),
        rule(
            "self.method.type != 'Auto' || has(self.method.auto) || (has(self.distribution.resources.limits)"
            " && 'memory' in self.distribution.resources.limits"
            " && !self.distribution.resources.limits.exists(name, name.contains('/')))",
            "method.type Auto needs to know how much memory there is: give method.auto.deviceMemory, that of one"
            " accelerator; without accelerators distribution.resources.limits.memory is enough",
        ),
        rule(
            "self.method.type != 'PromptTuning' || !has(self.data.packing) || self.data.packing == 'None'",
            "method.type PromptTuning needs data.packing None: the learned prompt stands before each row, and packed rows have"
            " one beginning together",
        ),
        rule(
            "self.method.type != 'QLoRA' || self.distribution.deepspeed.zeroStage < 3",
            "method.type QLoRA needs distribution.deepspeed.zeroStage below 3: weights of 4 bits are not cut among processes;"
            " they take a quarter of the memory of 16 bits on each",
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
    tracking: Tracking | None = None
    config_from: ConfigFrom | None = None
    artifacts: Artifacts
    gates: Annotated[list[LocalRef], list_map("name", 16)] = []
    evaluation: Evaluation = Evaluation()
    ratings: Annotated[
        list[Ratings],
        list_map("suite", 16),
        Field(description="What people said of the packs of pairs that the gates' suites with a preference made."),
    ] = []
    rollout: Rollout | None = None
    suspend: Annotated[
        bool,
        Field(
            description="While true no pod of the job runs: what trains saves first and ends, and goes on from there later."
        ),
    ] = False

    @property
    def copies_public_base(self) -> bool:
        """A kept adapter is served with its base model, which must then be on a volume."""
        source = self.base_model
        return self.method.kept and source.uri.startswith("hf://") and source.secret_ref is None


class StageName(StrEnum):
    PREPARE = "Prepare"
    TRAIN = "Train"
    CONSOLIDATE = "Consolidate"
    COPY = "Copy"  # only of jobs with `artifacts.copyTo`
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
    # metadata.generation of the spec that this attempt was started for; absent in entries of older releases.
    generation: int | None = None
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
    train_perplexity: str | None = None
    eval_perplexity: str | None = None
    loss_curve: Annotated[str | None, Field(max_length=64)] = None
    """The training loss from the first step until now, as bars: the highest is the largest so far."""
    learning_rate: str | None = None
    gradient_norm: str | None = None
    tokens_per_second: int | None = None
    gpu_percent: int | None = None
    """Of rank 0's GPU: the share of the time in which it computed. Absent without a GPU, as the next one."""
    gpu_memory_percent: int | None = None
    warnings: Annotated[
        list[TrainingWarning], list_map("reason", 8), Field(exclude_if=lambda warnings: not warnings)
    ] = []


class PodProgress(ApiModel):
    """How far one pod of the running evaluation is."""

    index: int
    done: int
    total: int
    eta_seconds: int | None = None


class EvaluationProgress(ApiModel):
    """How far the running evaluation is, in examples of each model and suite, and when its slowest pod will be done."""

    done: int
    total: int
    percent: int
    eta_seconds: int | None = None
    pods: Annotated[list[PodProgress], list_map("index", 64)] = []


class RetryStatus(ApiModel):
    """The last `serin.dev/retry` that was acted on. The same nonce is not acted on again."""

    nonce: Annotated[str, Field(max_length=128)]
    acted_at: datetime
    message: Text = ""


class RecipeField(ApiModel):
    """A field that a key of the recipe sets; the value as JSON."""

    field: Annotated[str, Field(max_length=128)]
    key: Annotated[str, Field(max_length=128)]
    value: Annotated[str, Field(max_length=8192)]


class RecipeStatus(ApiModel):
    """What `configFrom` came to when it was last understood. It holds while the ConfigMap is away or cannot be."""

    fields: Annotated[list[RecipeField], list_map("field", 64), Field(exclude_if=lambda fields: not fields)] = []


class FineTuneJobStatus(ApiModel):
    observed_generation: int | None = None
    state: str | None = None
    message: Text | None = None
    conditions: Annotated[list[Condition], list_map("type", 32)] = []
    stages: Annotated[list[StageStatus], list_map("name", 8)] = []
    progress: Progress | None = None
    evaluation: EvaluationProgress | None = None
    gate: GateStatus | None = None
    recipe: RecipeStatus | None = None
    model_digest: str | None = None
    revision: str | None = None
    retry: RetryStatus | None = None
    approvals: Annotated[list[GivenApproval], Field(max_length=32, exclude_if=lambda approvals: not approvals)] = []


class FineTuneJob(ApiModel):
    """A fine-tune, from data to a candidate model for a ModelService."""

    metadata: ObjectMeta
    spec: FineTuneJobSpec
    status: FineTuneJobStatus = FineTuneJobStatus()
