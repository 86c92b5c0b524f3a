"""The wish: what the operator writes into the pod's config file, one model a stage.

The other side of these models is the operator's own; `tests/golden/contract` holds the schemas that pin the two
together. Unknown fields are refused: a field that is accepted and ignored would be a promise not kept.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Literal

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
DataUri = Annotated[str, Field(pattern=r"^(pvc|hf)://\S+$", max_length=512)]
PvcUri = Annotated[str, Field(pattern=r"^pvc://\S+$", max_length=512)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{6,64}$")]
Percent = Annotated[int, Field(ge=0, le=100)]


class Wish(BaseModel):
    """The base of all config models: camelCase outside, snake_case inside, nothing unknown, nothing changed later."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True, frozen=True)


class JobName(Wish):
    namespace: str
    name: str


class BaseModelUri(Wish):
    uri: Uri


class BaseModelVersion(Wish):
    uri: Uri
    digest: Digest


class DataSource(Wish):
    name: str = Field(min_length=1)
    uri: DataUri
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
    """What the plan in Prepare's report is made for. It changes nothing in the data."""

    method: Literal["Full", "LoRA"]
    lora_rank: int = Field(ge=1)
    lora_target_modules: list[str]
    batch_size: int = Field(ge=1)
    gradient_accumulation_steps: int = Field(ge=1)
    epochs: int | None = Field(default=None, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    nodes: int = Field(ge=1)
    processes_per_node: int = Field(ge=1)
    zero_stage: Literal[0, 1, 2, 3]
    accelerated: bool

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


class Method(Wish):
    type: Literal["Full", "LoRA"]
    lora: LoRA | None = None

    @model_validator(mode="after")
    def _lora_goes_with_its_type(self) -> Method:
        if (self.type == "LoRA") != (self.lora is not None):
            raise ValueError("lora is set when, and only when, type is LoRA")
        return self


class Hyperparameters(Wish):
    learning_rate: Decimal
    epochs: int | None = Field(default=None, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(ge=1)
    gradient_accumulation_steps: int = Field(ge=1)
    scheduler: Literal["Cosine", "Linear", "Constant"]
    warmup_ratio: Decimal
    weight_decay: Decimal
    max_gradient_norm: Decimal
    seed: int = Field(ge=0)
    max_sequence_length: int = Field(ge=8)
    save_steps: int = Field(ge=1)

    @model_validator(mode="after")
    def _ranges(self) -> Hyperparameters:
        if self.epochs is None and self.max_steps is None:
            raise ValueError("neither epochs nor maxSteps is set: training would have no end")
        if float(self.learning_rate) <= 0:
            raise ValueError(f"learningRate {self.learning_rate} is not above 0")
        if not 0 <= float(self.warmup_ratio) <= 1:
            raise ValueError(f"warmupRatio {self.warmup_ratio} is not in [0, 1]")
        if float(self.weight_decay) < 0 or float(self.max_gradient_norm) <= 0:
            raise ValueError("weightDecay must be 0 or more, and maxGradientNorm above 0")
        return self


class Distribution(Wish):
    nodes: int = Field(ge=1)
    processes_per_node: int = Field(ge=1)
    zero_stage: Literal[0, 1, 2, 3]


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


class Lineage(Wish):
    """What is written into the model's manifest as it is given: nothing here changes the weights."""

    data_digest: Digest
    train_key: Key
    hyperparameters: dict[str, int | float | str | bool] = {}
    images: dict[str, str] = {}


class StageConfig(Wish):
    """What every stage is told."""

    key: Key
    job: JobName
    output: PvcUri


class PrepareConfig(StageConfig):
    stage: Literal["Prepare"]
    base_model: BaseModelUri
    data: Data
    evaluation_sets: list[EvaluationSet]
    training: Training
    max_sequence_length: int = Field(ge=8)


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


AnyConfig = PrepareConfig | TrainConfig | ConsolidateConfig
_ADAPTER: TypeAdapter[AnyConfig] = TypeAdapter(Annotated[AnyConfig, Field(discriminator="stage")])


def load(path: Path) -> AnyConfig:
    """Reads and checks the config file; what is wrong with it is named by its field."""
    try:
        return _ADAPTER.validate_json(path.read_bytes())
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
