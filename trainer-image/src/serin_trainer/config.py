"""The wish: what the operator writes into the pod's config file, one model a stage.

The other side of these models is the operator's own; `tests/golden/contract` holds the schemas that pin the two
together. Unknown fields are refused: a field that is accepted and ignored would be a promise not kept.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from .errors import ConfigError
from .mixing import Mixing
from .rows import Format
from .tokens import LossOn, TooLong


def _finite(text: str) -> str:
    if not math.isfinite(float(text)):
        raise ValueError("must be a finite decimal")
    return text


Decimal = Annotated[str, Field(pattern=r"^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$"), AfterValidator(_finite)]
Uri = Annotated[str, Field(pattern=r"^(pvc|hf)://\S+$", max_length=512)]
FetchedUri = Annotated[str, Field(pattern=r"^(pvc|hf|s3)://\S+$", max_length=512)]
DataUri = Annotated[str, Field(pattern=r"^(pvc|hf)://\S+$", max_length=512)]
PvcUri = Annotated[str, Field(pattern=r"^pvc://\S+$", max_length=512)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{6,64}$")]
Percent = Annotated[int, Field(ge=0, le=100)]
MethodType = Literal["Full", "LoRA", "QLoRA", "IA3", "PromptTuning"]
ChosenType = Literal["Full", "LoRA", "QLoRA"]
Precision = Literal["BF16", "FP16", "FP32"]
Offload = Literal["Optimizer", "OptimizerAndParameters"]


class Wish(BaseModel):
    """The base of all config models: camelCase outside, snake_case inside, nothing unknown, nothing changed later."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True, frozen=True)


class JobName(Wish):
    namespace: str
    name: str


class SecretRef(Wish):
    """Whose environment variables hold the credentials (`credentials.py`)."""

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")


class Authority(Wish):
    """Certificates of an authority of one's own, where the pod mounts them."""

    kind: Literal["ConfigMap", "Secret"]
    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    key: str = Field(pattern=r"^\.?[A-Za-z0-9_-][A-Za-z0-9._-]*$")


class ObjectStore(Wish):
    """Where a bucket is; AWS when there is no endpoint."""

    endpoint: str | None = Field(default=None, pattern=r"^https?://[a-z0-9.-]+(:[0-9]+)?$")
    region: str | None = Field(default=None, pattern=r"^[a-z0-9-]+$")
    addressing: Literal["Path", "VirtualHosted"] = "Path"
    ca_ref: Authority | None = None


class Fetched(Wish):
    """Something at an address, and what it takes to read it."""

    uri: FetchedUri
    s3: ObjectStore | None = None
    secret_ref: SecretRef | None = None

    @model_validator(mode="after")
    def _goes_with_the_address(self) -> Fetched:
        if self.s3 is not None and not self.uri.startswith("s3://"):
            raise ValueError("s3 goes with a uri that is s3://")
        if self.secret_ref is not None and self.uri.startswith("pvc://"):
            raise ValueError("a volume needs no secretRef")
        return self


class BaseModelUri(Fetched):
    """From a bucket, or with credentials, it is copied: later pods have none."""

    @property
    def copied(self) -> bool:
        return self.secret_ref is not None or self.uri.startswith("s3://")


class BaseModelVersion(Wish):
    """`source` is the address that a copy came from."""

    uri: Uri
    digest: Digest
    source: FetchedUri | None = None

    @property
    def known_as(self) -> str:
        return self.source or self.uri


class DataSource(Fetched):
    name: str = Field(min_length=1)
    format: Format | None = None


class TrainSource(DataSource):
    weight_percent: int | None = Field(default=None, ge=1, le=100)


class Split(Wish):
    strategy: Literal["Random", "Stratified", "Temporal", "Provided"]
    field: str | None = None
    train_percent: Percent
    validation_percent: Percent
    test_percent: Percent
    seed: int = Field(ge=0)
    min_validation_rows: int = Field(ge=0)
    min_test_rows: int = Field(ge=0)

    @model_validator(mode="after")
    def _adds_up(self) -> Split:
        total = self.train_percent + self.validation_percent + self.test_percent
        if total != 100:
            raise ValueError(f"trainPercent, validationPercent and testPercent add up to {total}, not 100")
        if self.train_percent == 0:
            raise ValueError("trainPercent is 0: nothing is left to train on")
        if (self.strategy in ("Stratified", "Temporal")) != (self.field is not None):
            raise ValueError("field is set when, and only when, strategy is Stratified or Temporal")
        return self


class NearDuplicates(Wish):
    action: Literal["Drop", "Keep"]
    similarity_percent: int = Field(ge=70, le=100)


class Cleaning(Wish):
    min_tokens: int = Field(ge=1)
    languages: list[str]
    near_duplicates: NearDuplicates


class OverlapBound(Wish):
    action: Literal["Refuse", "Drop"]
    max_percent: Percent


class EvaluationSet(Wish):
    name: str = Field(min_length=1)
    uri: DataUri


class Training(Wish):
    """What the plan in Prepare's report is made for, and a method is chosen by. It changes nothing in the data."""

    method: MethodType | Literal["Auto"]
    lora_rank: int = Field(ge=1)
    lora_target_modules: list[str]
    ia3_target_modules: list[str] = []
    ia3_feedforward_modules: list[str] = []
    virtual_tokens: int = Field(default=20, ge=1)
    batch_size: int = Field(ge=1)
    gradient_accumulation_steps: int = Field(ge=1)
    epochs: int | None = Field(default=None, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    nodes: int = Field(ge=1)
    processes_per_node: int = Field(ge=1)
    zero_stage: Literal[0, 1, 2, 3]
    accelerated: bool
    learning_rate: Decimal | None = None
    precision: Precision | None = None
    gradient_checkpointing: bool = False
    offload: Offload | None = None
    device_mib: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _there_is_something_to_choose_by(self) -> Training:
        if self.method == "Auto" and not self.device_mib:
            raise ValueError("method is Auto, and deviceMib does not say how much memory a process has")
        return self

    @model_validator(mode="after")
    def _ends(self) -> Training:
        if self.epochs is None and self.max_steps is None:
            raise ValueError("neither epochs nor maxSteps is set: training would have no end")
        return self


class Data(Wish):
    train: list[TrainSource] = Field(min_length=1)
    mixing: Mixing
    validation: list[DataSource]
    test: list[DataSource]
    split: Split
    cleaning: Cleaning
    row_ending: Literal["EndOfSequence", "Newline"]
    loss_on: LossOn
    packing: Literal["Isolated", "None"]
    too_long: TooLong
    overlap: OverlapBound

    @model_validator(mode="after")
    def _running_text_is_whole(self) -> Data:
        running = self.row_ending == "Newline"
        if running and (self.loss_on, self.packing, self.too_long) != ("AllTokens", "None", "Drop"):
            raise ValueError("rowEnding Newline goes with lossOn AllTokens, packing None and tooLong Drop")
        return self

    @model_validator(mode="after")
    def _weights_are_whole(self) -> Data:
        weights = [source.weight_percent for source in self.train if source.weight_percent is not None]
        if weights and (len(weights) < len(self.train) or sum(weights) != 100):
            raise ValueError("weightPercent is given for every source of train or for none, and adds up to 100")
        return self

    @model_validator(mode="after")
    def _parts_are_provided(self) -> Data:
        if (self.split.strategy == "Provided") != bool(self.validation or self.test):
            raise ValueError("validation or test are given when, and only when, split.strategy is Provided")
        return self


class LoRA(Wish):
    rank: int = Field(ge=1, le=1024)
    alpha: int = Field(ge=1)
    target_modules: list[str] = Field(min_length=1)
    dropout: Decimal

    @model_validator(mode="after")
    def _dropout_is_a_share(self) -> LoRA:
        if not 0 <= float(self.dropout) < 1:
            raise ValueError(f"dropout {self.dropout} is not in [0, 1)")
        return self


class IA3(Wish):
    target_modules: list[str] = Field(min_length=1)
    feedforward_modules: list[str]

    @model_validator(mode="after")
    def _feedforward_ones_are_targets(self) -> IA3:
        if strangers := sorted(set(self.feedforward_modules) - set(self.target_modules)):
            raise ValueError(f"feedforwardModules names {strangers[0]}, which is not among targetModules")
        return self


class PromptTuning(Wish):
    virtual_tokens: int = Field(ge=1, le=1024)


class Method(Wish):
    type: MethodType
    lora: LoRA | None = None
    ia3: IA3 | None = None
    prompt_tuning: PromptTuning | None = None
    adapter: Literal["Merged", "Kept"] | None = None  # None: merged, where there is one

    @property
    def kept(self) -> bool:
        return self.adapter == "Kept" or self.type == "PromptTuning"

    @property
    def virtual_tokens(self) -> int:
        """Positions of the model's context that a learned prompt takes."""
        return self.prompt_tuning.virtual_tokens if self.prompt_tuning is not None else 0

    @property
    def quantised(self) -> bool:
        """The base model's weights are held in 4 bits while adapters are trained beside them."""
        return self.type == "QLoRA"

    @model_validator(mode="after")
    def _full_has_no_adapter(self) -> Method:
        if self.type == "Full" and self.adapter is not None:
            raise ValueError("adapter is set, and type Full has none")
        return self

    @model_validator(mode="after")
    def _details_go_with_their_type(self) -> Method:
        if (self.type in ("LoRA", "QLoRA")) != (self.lora is not None):
            raise ValueError("lora is set when, and only when, type is LoRA or QLoRA")
        if (self.type == "IA3") != (self.ia3 is not None):
            raise ValueError("ia3 is set when, and only when, type is IA3")
        if (self.type == "PromptTuning") != (self.prompt_tuning is not None):
            raise ValueError("promptTuning is set when, and only when, type is PromptTuning")
        if self.prompt_tuning is not None and self.adapter == "Merged":
            raise ValueError("adapter is Merged, and a prompt is in no weight")
        return self


class Hyperparameters(Wish):
    learning_rate: Decimal | None = None  # None: by the method and the model's size
    epochs: int | None = Field(default=None, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(ge=1)
    gradient_accumulation_steps: int = Field(ge=1)
    global_batch_size: int | None = Field(default=None, ge=1)
    scheduler: Literal["Cosine", "Linear", "Constant"]
    warmup_ratio: Decimal | None = None
    warmup_steps: int | None = Field(default=None, ge=0)
    weight_decay: Decimal
    max_gradient_norm: Decimal
    seed: int = Field(ge=0)
    max_sequence_length: int = Field(ge=8)
    save_steps: int = Field(ge=1)
    precision: Precision | None = None
    gradient_checkpointing: bool = False

    @model_validator(mode="after")
    def _ranges(self) -> Hyperparameters:
        if self.epochs is None and self.max_steps is None:
            raise ValueError("neither epochs nor maxSteps is set: training would have no end")
        if self.learning_rate is not None and float(self.learning_rate) <= 0:
            raise ValueError(f"learningRate {self.learning_rate} is not above 0")
        if (self.warmup_ratio is None) == (self.warmup_steps is None):
            raise ValueError("one of warmupRatio and warmupSteps is given, not both")
        if self.warmup_ratio is not None and not 0 <= float(self.warmup_ratio) <= 1:
            raise ValueError(f"warmupRatio {self.warmup_ratio} is not in [0, 1]")
        if self.global_batch_size is not None and self.gradient_accumulation_steps != 1:
            raise ValueError(
                "globalBatchSize and gradientAccumulationSteps are given: the second follows from the first"
            )
        if float(self.weight_decay) < 0 or float(self.max_gradient_norm) <= 0:
            raise ValueError("weightDecay must be 0 or more, and maxGradientNorm above 0")
        return self


# Settings of DeepSpeed that are made from other fields of the job, and those fields.
MADE_FROM = {
    "train_batch_size": "hyperparameters.globalBatchSize",
    "train_micro_batch_size_per_gpu": "hyperparameters.batchSize",
    "gradient_accumulation_steps": "hyperparameters.gradientAccumulationSteps",
    "gradient_clipping": "hyperparameters.maxGradientNorm",
    "bf16.enabled": "hyperparameters.precision",
    "fp16.enabled": "hyperparameters.precision",
    "zero_optimization.stage": "distribution.deepspeed.zeroStage",
    "zero_optimization.offload_optimizer": "distribution.deepspeed.offload",
    "zero_optimization.offload_param": "distribution.deepspeed.offload",
    "zero_optimization.stage3_gather_16bit_weights_on_model_save": "consolidation, which reads the shards",
}
FREE = re.compile(
    r"zero_optimization\.[a-z][a-z0-9_]*|fp16\.(initial_scale_power|loss_scale_window|hysteresis|min_loss_scale)"
    r"|communication_data_type|prescale_gradients|gradient_predivide_factor|sparse_gradients|wall_clock_breakdown"
)


class Distribution(Wish):
    nodes: int = Field(ge=1)
    processes_per_node: int = Field(ge=1)
    zero_stage: Literal[0, 1, 2, 3]
    offload: Offload | None = None
    config_override: dict[str, str] = {}

    @model_validator(mode="after")
    def _stage_can_offload(self) -> Distribution:
        if self.offload and self.zero_stage < (1 if self.offload == "Optimizer" else 3):
            raise ValueError(f"offload {self.offload} is not possible with zeroStage {self.zero_stage}")
        return self

    @model_validator(mode="after")
    def _override_leaves_the_rest_alone(self) -> Distribution:
        for name in sorted(self.config_override):
            if name in MADE_FROM:
                raise ValueError(f"{name} is not for configOverride to set: Serin makes it from {MADE_FROM[name]}")
            if not FREE.fullmatch(name):
                raise ValueError(f"{name} is not among what configOverride may set")
        return self


class Checkpoints(Wish):
    """Which saved states stay, and which of them becomes the model."""

    keep_recent: int = Field(default=2, ge=1)
    keep_best: int = Field(default=0, ge=0)
    consolidate: Literal["Newest", "Best"] = "Newest"

    @model_validator(mode="after")
    def _best_is_kept(self) -> Checkpoints:
        if self.consolidate == "Best" and not self.keep_best:
            raise ValueError("consolidate is Best and keepBest is 0: the best would be gone")
        return self


class EarlyStopping(Wish):
    """When a validation loss that falls no more ends the run."""

    patience: int = Field(ge=1)
    min_delta: Decimal
    min_steps: int = Field(ge=0)

    @model_validator(mode="after")
    def _delta_is_a_distance(self) -> EarlyStopping:
        if float(self.min_delta) < 0:
            raise ValueError(f"minDelta {self.min_delta} is below 0")
        return self


Reaction = Literal["Stop", "Warn", "Ignore"]


class Health(Wish):
    """What is watched while training runs, and what to do about it."""

    loss_explosion: Reaction = "Warn"
    explosion_factor: Decimal = "2.0"
    overfitting: Reaction = "Ignore"
    overfitting_percent: int = Field(default=10, ge=1)
    hung_after_seconds: int | None = Field(default=None, ge=10)

    @model_validator(mode="after")
    def _factor_is_above_one(self) -> Health:
        if float(self.explosion_factor) <= 1:
            raise ValueError(
                f"explosionFactor {self.explosion_factor} is not above 1: every loss would be an explosion"
            )
        return self


class Mlflow(Wish):
    """A server that is told of the run; `secret` is the name of the Secret with the credentials for it."""

    uri: str = Field(pattern=r"^https?://\S+$", max_length=512)
    experiment: str = Field(min_length=1, max_length=250)
    authentication: Literal["Token", "Password"] | None = None
    secret: str | None = None
    ca_ref: Authority | None = None

    @model_validator(mode="after")
    def _no_secret_is_overheard(self) -> Mlflow:
        if self.secret is not None and not self.uri.startswith("https://"):
            raise ValueError("credentials are sent over https only")
        if (self.secret is None) != (self.authentication is None):
            raise ValueError("authentication says how secret is used: both are given, or neither")
        return self


class Wandb(Wish):
    """A W&B server that is told of the run, or the files for one; `secret` is the name of the Secret with the key for it."""

    project: str = Field(min_length=1, max_length=128)
    entity: str | None = Field(default=None, min_length=1, max_length=64)
    mode: Literal["Online", "Offline"]
    base_url: str | None = Field(default=None, pattern=r"^https?://\S+$", max_length=512)
    secret: str | None = None
    ca_ref: Authority | None = None

    @model_validator(mode="after")
    def _no_secret_is_overheard(self) -> Wandb:
        if self.secret is not None and not self.address.startswith("https://"):
            raise ValueError("credentials are sent over https only")
        return self

    @property
    def address(self) -> str:
        return self.base_url or "https://api.wandb.ai"


class Tracking(Wish):
    """Who is told of a run beside its files. `run` is the same in all attempts of a training, and in no other one."""

    run: str = Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")
    mlflow: Mlflow | None = None
    wandb: Wandb | None = None


class Lineage(Wish):
    """What is written into the model's manifest as it is given: nothing here changes the weights."""

    data_digest: Digest
    sources_digest: Digest | None = None
    train_key: Key
    method_reason: str | None = None
    hyperparameters: dict[str, int | float | str | bool] = {}
    images: dict[str, str] = {}


class StageConfig(Wish):
    """What every stage is told."""

    key: Key
    job: JobName
    output: PvcUri


class RecipeKey(Wish):
    """A key of a recipe: the field that it set and the value, or the reason why it set none."""

    key: str
    field: str | None = None
    value: str | None = None
    why: str | None = None


class Recipe(Wish):
    """What the operator made of a YAML that was written for another trainer. It is told in the report, and read nowhere
    else: the settings are where they always are."""

    format: str
    source: str
    keys: list[RecipeKey]
    unknown: list[str]


class PrepareConfig(StageConfig):
    stage: Literal["Prepare"]
    base_model: BaseModelUri
    copy_base: bool = False  # also where later pods could fetch it: an adapter that is kept is served with it
    data: Data
    evaluation_sets: list[EvaluationSet]
    training: Training
    max_sequence_length: int = Field(ge=8)
    recipe: Recipe | None = None

    @property
    def copies_base(self) -> bool:
        return self.base_model.copied or (self.copy_base and self.base_model.uri.startswith("hf://"))


class TrainConfig(StageConfig):
    stage: Literal["Train"]
    attempt: int = Field(ge=1)
    base_model: BaseModelVersion
    data_uri: PvcUri
    data_digest: Digest
    method: Method
    hyperparameters: Hyperparameters
    distribution: Distribution
    checkpoints: Checkpoints = Checkpoints()
    early_stopping: EarlyStopping | None = None
    health: Health = Health()
    tracking: Tracking | None = None

    @model_validator(mode="after")
    def _global_batch_is_whole(self) -> TrainConfig:
        wish, at_once = self.hyperparameters, self.hyperparameters.batch_size * self.world
        if wish.global_batch_size is not None and wish.global_batch_size % at_once:
            raise ValueError(
                f"globalBatchSize {wish.global_batch_size} is no multiple of batchSize x nodes x processesPerNode, which is"
                f" {wish.batch_size} x {self.distribution.nodes} x {self.distribution.processes_per_node} = {at_once}"
            )
        return self

    @model_validator(mode="after")
    def _four_bits_stay_whole(self) -> TrainConfig:
        if self.method.quantised and self.distribution.zero_stage == 3:
            raise ValueError(
                "type QLoRA is not possible with zeroStage 3: weights of 4 bits are not cut among processes"
            )
        return self

    @property
    def world(self) -> int:
        return self.distribution.nodes * self.distribution.processes_per_node

    @property
    def accumulation(self) -> int:
        """Batches of each process in one step."""
        wish = self.hyperparameters
        if wish.global_batch_size is None:
            return wish.gradient_accumulation_steps
        return wish.global_batch_size // (wish.batch_size * self.world)

    @property
    def rows_per_step(self) -> int:
        return self.hyperparameters.batch_size * self.accumulation * self.world

    @property
    def validates(self) -> str:
        """The field that asks for a validation loss at each save; empty when none does."""
        if self.checkpoints.keep_best:
            return "checkpoints.keepBest"
        if self.early_stopping is not None:
            return "earlyStopping"
        return "" if self.health.overfitting == "Ignore" else "health.overfitting"


class ConsolidateConfig(StageConfig):
    stage: Literal["Consolidate"]
    base_model: BaseModelVersion
    checkpoint_uri: PvcUri
    method: Method
    lineage: Lineage


class Made(Wish):
    """Files on a volume, by the digest that they must have."""

    uri: PvcUri
    digest: Digest


class MadeModel(Made):
    """With a base it is an adapter."""

    base: Made | None = None


class CopyTarget(Fetched):
    uri: str = Field(pattern=r"^s3://\S+$", max_length=512)
    secret_ref: SecretRef


class CopyConfig(StageConfig):
    stage: Literal["Copy"]
    model: MadeModel
    to: CopyTarget


class Copies(Fetched):
    """Where copies of models lie, each under its digest."""

    uri: str = Field(pattern=r"^(s3|hf)://\S+$", max_length=512)


class FetchedModel(Wish):
    folder: str = Field(pattern=r"^[a-z]+$")
    digest: Digest


class FetchConfig(Wish):
    """What a pod that serves fetches before. It is no stage of a job, and `output` no claim, but a folder of the pod's own."""

    stage: Literal["Fetch"]
    key: Key
    job: JobName
    output: str = Field(pattern=r"^/[a-z0-9/._-]+$")
    weights: Copies
    models: list[FetchedModel] = Field(min_length=1)


AnyConfig = PrepareConfig | TrainConfig | ConsolidateConfig | CopyConfig
_ADAPTER: TypeAdapter[AnyConfig] = TypeAdapter(Annotated[AnyConfig, Field(discriminator="stage")])
Config = TypeVar("Config")
_FETCH: TypeAdapter[FetchConfig] = TypeAdapter(FetchConfig)


def load(path: Path) -> AnyConfig:
    """Reads and checks the config file; what is wrong with it is named by its field."""
    return _read(path, _ADAPTER)


def load_fetch(path: Path) -> FetchConfig:
    """The same, of a pod that serves."""
    return _read(path, _FETCH)


def _read(path: Path, kind: TypeAdapter[Config]) -> Config:
    try:
        return kind.validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError("InvalidConfig", f"the config {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigError("InvalidConfig", _first_problems(error), "correct the named fields of the job") from error


def identity(path: Path) -> tuple[str, str]:
    """Stage and key of a config that may be wrong elsewhere, so that even its refusal says whose it is."""
    try:
        document = json.loads(path.read_bytes())
        return str(document.get("stage", "")), str(document.get("key", ""))
    except (OSError, ValueError, AttributeError):
        return "", ""


def _first_problems(error: ValidationError, limit: int = 3) -> str:
    problems = error.errors(include_url=False)
    named = [f"{_field_path(problem['loc'])}: {problem['msg']}" for problem in problems[:limit]]
    more = f" (and {len(problems) - limit} more)" if len(problems) > limit else ""
    return "the config is not valid: " + "; ".join(named) + more


def _field_path(location: tuple[int | str, ...]) -> str:
    # The first part is the discriminator's value ("Train"), which no file contains.
    return ".".join(str(part) for part in location[1:]) or str(location[0] if location else "config")
