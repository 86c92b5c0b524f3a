"""The configuration of one evaluation, as the operator mounts it (docs/reference/contract.md, "Evaluate").

Wrong combinations stop here, before a model is looked at. Not here: anything that needs a file other than the config.
"""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from serin_evaluator.errors import ConfigError

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{1,128}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$")]
PvcUri = Annotated[str, Field(pattern=r"^pvc://[a-z0-9]", max_length=1024)]
ModelUri = Annotated[str, Field(pattern=r"^(pvc|hf)://[A-Za-z0-9]", max_length=1024)]
Wanted = Annotated[str, Field(pattern=r"^[^/]+/[A-Za-z0-9]+(@[A-Za-z0-9_.-]+=.+)?$", max_length=512)]
"""`<suite>/<Metric>`, or `<suite>/<Metric>@<field>=<value>` of a slice."""
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class Document(BaseModel):
    """A part of the config: camelCase, unknown fields refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Metric(StrEnum):
    """What can be measured. The first three read the model's likelihoods of the answers, the next its own answers, the
    last its choice among given ones."""

    PERPLEXITY = "Perplexity"
    CROSS_ENTROPY = "CrossEntropy"
    TOKEN_ACCURACY = "TokenAccuracy"
    EXACT_MATCH = "ExactMatch"
    TOKEN_F1 = "TokenF1"
    ROUGE_1 = "Rouge1"
    ROUGE_2 = "Rouge2"
    ROUGE_L = "RougeL"
    BLEU = "BLEU"
    CHR_F = "ChrF"
    ACCURACY = "Accuracy"
    F1_MICRO = "F1Micro"
    F1_MACRO = "F1Macro"
    BRIER = "Brier"
    ECE = "ECE"
    ADAPTIVE_ECE = "AdaptiveECE"


OF_CHOICES = frozenset(
    {Metric.ACCURACY, Metric.F1_MICRO, Metric.F1_MACRO, Metric.BRIER, Metric.ECE, Metric.ADAPTIVE_ECE}
)
OF_LABELS = frozenset({Metric.F1_MICRO, Metric.F1_MACRO})


class Role(StrEnum):
    """Why a model is measured: as the candidate, or as one it is compared with."""

    CANDIDATE = "Candidate"
    BASE = "Base"
    INCUMBENT = "Incumbent"


class Method(StrEnum):
    """How two models are compared over the same examples."""

    PAIRED_BOOTSTRAP = "PairedBootstrap"
    MCNEMAR = "McNemar"
    WILCOXON = "Wilcoxon"


class Job(Document):
    """The FineTuneJob that this evaluation belongs to."""

    namespace: Name
    name: Name


class Model(Document):
    """A model and the digest that its files must have."""

    role: Role
    uri: ModelUri
    digest: Digest


class Dataset(Document):
    """A JSON Lines file of rows with answers, and the digest that it must have when one is asked for."""

    uri: PvcUri
    digest: Digest | None = None


class Choices(Document):
    """The answers that a model chooses from: the same labels for every row, or those in a field of each row."""

    labels: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=128)], ...], Field(max_length=64)] = ()
    field: Annotated[str, Field(max_length=64)] = ""

    @model_validator(mode="after")
    def one_of_both(self) -> "Choices":
        """Labels of which one is given twice could not be told apart."""
        if bool(self.labels) == bool(self.field):
            raise ValueError("choices needs either labels or field")
        if self.labels and len({label.strip() for label in self.labels}) < max(2, len(self.labels)):
            raise ValueError("choices.labels needs at least two labels, each given once")
        return self


class SliceBy(Document):
    """A field of the rows: the examples that share its value are a slice."""

    field: FieldName


class Slice(Document):
    """The examples whose field has this value."""

    field: FieldName
    value: Annotated[str, Field(min_length=1, max_length=128)]

    def __str__(self) -> str:
        return f"{self.field}={self.value}"


def named(suite: str, metric: "Metric", part: Slice | None = None) -> str:
    """A score's name: `heldout/RougeL`, or `heldout/RougeL@language=de` of a slice."""
    return f"{suite}/{metric}@{part}" if part else f"{suite}/{metric}"


class Suite(Document):
    """Examples, and what is measured on them."""

    name: Name
    dataset: Dataset
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)]
    max_examples: Annotated[int, Field(ge=1, le=100_000)] = 200
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = 128
    stop: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=64)], ...], Field(max_length=8)] = ()
    choices: Choices | None = None
    slices: Annotated[tuple[SliceBy, ...], Field(max_length=4)] = ()

    @model_validator(mode="after")
    def metrics_have_what_they_read(self) -> "Suite":
        """Calibration of free text, say, means nothing."""
        chosen = self.choices.labels if self.choices else ()
        for metric in self.metrics:
            if metric in OF_CHOICES and not self.choices:
                raise ValueError(f"{metric} needs choices: what the model may choose from")
            if metric in OF_LABELS and not chosen:
                raise ValueError(f"{metric} needs choices.labels: the same for every row")
        return self


class Comparison(Document):
    """The difference between the candidate and another model on one metric, with its confidence curve."""

    suite: Name
    metric: Metric
    against: Literal[Role.BASE, Role.INCUMBENT]
    method: Method = Method.PAIRED_BOOTSTRAP
    slice: Slice | None = None


class EvaluateConfig(Document):
    """One evaluation."""

    stage: Literal["Evaluate"]
    key: Key
    job: Job
    output: PvcUri
    cache: PvcUri | None = None
    models: Annotated[tuple[Model, ...], Field(min_length=1, max_length=3)]
    suites: Annotated[tuple[Suite, ...], Field(min_length=1, max_length=512)]
    comparisons: Annotated[tuple[Comparison, ...], Field(max_length=2048)] = ()
    wanted: Annotated[tuple[Wanted, ...], Field(max_length=2048)] = ()
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 7

    @model_validator(mode="after")
    def names_are_unique(self) -> "EvaluateConfig":
        """Two models of one role, or two suites of one name, could not be told apart in the result."""
        roles = [str(model.role) for model in self.models]
        if Role.CANDIDATE not in roles:
            raise ValueError("models has no Candidate, so there is nothing to evaluate")
        for what, names in (("role", roles), ("suite", [suite.name for suite in self.suites])):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} {twice[0]} is given more than once")
        return self

    def wants(self, suite: str, metric: Metric, part: Slice | None = None) -> bool:
        """Whether the operator asked for this score by name."""
        return named(suite, metric, part) in self.wanted


def load(path: Path) -> EvaluateConfig:
    """The config in the file, or a ConfigError that names the field."""
    try:
        return EvaluateConfig.model_validate(json.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ConfigError("InvalidConfig", f"The config {path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        raise ConfigError("InvalidConfig", _first_of(error), "Change the named field.") from error
    except ValueError as error:
        raise ConfigError("InvalidConfig", f"The config {path} is not JSON: {error}.") from error


def _first_of(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False)
    first = problems[0]
    field = ".".join(str(part) for part in first["loc"])
    more = f" ({len(problems) - 1} more problems)" if len(problems) > 1 else ""
    return f"The config's {field or 'content'}: {first['msg']}{more}."
