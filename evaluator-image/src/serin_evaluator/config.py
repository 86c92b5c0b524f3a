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
    """What can be measured. The first three read the model's likelihoods of the answers, the next its own answers, those
    from Accuracy on its choice among given ones, the next four the time and memory that answers take, those from Toxicity
    on what classifiers say of its answers, the next two what a judge or people prefer, and those from AccuracyNorm on are
    of benchmarks only."""

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
    METEOR = "METEOR"
    ACCURACY = "Accuracy"
    F1_MICRO = "F1Micro"
    F1_MACRO = "F1Macro"
    BRIER = "Brier"
    ECE = "ECE"
    ADAPTIVE_ECE = "AdaptiveECE"
    TIME_TO_FIRST_TOKEN = "TimeToFirstToken"
    TIME_PER_OUTPUT_TOKEN = "TimePerOutputToken"
    TOKENS_PER_SECOND = "TokensPerSecond"
    PEAK_MEMORY = "PeakMemory"
    TOXICITY = "Toxicity"
    BIAS = "Bias"
    FAITHFULNESS = "Faithfulness"
    REFUSAL = "Refusal"
    OVER_REFUSAL = "OverRefusal"
    JAILBREAK_SUCCESS = "JailbreakSuccess"
    JUDGE_WIN_RATE = "JudgeWinRate"
    HUMAN_WIN_RATE = "HumanWinRate"
    ACCURACY_NORM = "AccuracyNorm"
    F1 = "F1"
    MCC = "MCC"
    WORD_PERPLEXITY = "WordPerplexity"
    BYTE_PERPLEXITY = "BytePerplexity"
    BITS_PER_BYTE = "BitsPerByte"


OF_CHOICES = frozenset(
    {Metric.ACCURACY, Metric.F1_MICRO, Metric.F1_MACRO, Metric.BRIER, Metric.ECE, Metric.ADAPTIVE_ECE}
)
OF_LABELS = frozenset({Metric.F1_MICRO, Metric.F1_MACRO})
OF_SPEED = frozenset(
    {Metric.TIME_TO_FIRST_TOKEN, Metric.TIME_PER_OUTPUT_TOKEN, Metric.TOKENS_PER_SECOND, Metric.PEAK_MEMORY}
)
OF_REFUSALS = frozenset({Metric.REFUSAL, Metric.OVER_REFUSAL, Metric.JAILBREAK_SUCCESS})
"""Without a classifier these go by phrases."""
OF_CLASSIFIERS = OF_REFUSALS | {Metric.TOXICITY, Metric.BIAS, Metric.FAITHFULNESS}
PAIRWISE = frozenset({Metric.JUDGE_WIN_RATE, Metric.HUMAN_WIN_RATE})
"""How often the candidate's answer is preferred to another model's: a score of the candidate only."""
OF_BENCHMARKS_ONLY = frozenset(
    {
        Metric.ACCURACY_NORM,
        Metric.F1,
        Metric.MCC,
        Metric.WORD_PERPLEXITY,
        Metric.BYTE_PERPLEXITY,
        Metric.BITS_PER_BYTE,
    }
)
OF_BENCHMARKS = OF_BENCHMARKS_ONLY | {Metric.ACCURACY, Metric.EXACT_MATCH, Metric.BRIER, Metric.BLEU, Metric.CHR_F}
"""What lm-evaluation-harness measures, under our names (`benchmarks.NAMES`)."""
WITHOUT_ANSWERS = OF_SPEED | OF_CLASSIFIERS | PAIRWISE
"""What needs no right answer in its rows."""


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


class Base(Document):
    """The base model of an adapter, and the digest that its files must have."""

    uri: ModelUri
    digest: Digest


class Model(Document):
    """A model and the digest that its files must have; with a base it is an adapter."""

    role: Role
    uri: ModelUri
    digest: Digest
    base: Base | None = None


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


class FewShot(Document):
    """So many solved examples before each question: from a data set of their own, or from rows that are not evaluated."""

    examples: Annotated[int, Field(ge=1, le=64)]
    dataset: Dataset | None = None
    separator: Annotated[str, Field(min_length=1, max_length=16)] = "\n\n"


class SliceBy(Document):
    """A field of the rows: the examples that share its value are a slice."""

    field: FieldName


class Slice(Document):
    """The examples whose field has this value."""

    field: FieldName
    value: Annotated[str, Field(min_length=1, max_length=128)]

    def __str__(self) -> str:
        return f"{self.field}={self.value}"


class Classifier(Document):
    """A sequence classifier and the label by which it tells something of an answer, from `threshold` on."""

    name: Name
    metric: Metric
    uri: PvcUri
    digest: Digest
    label: Annotated[str, Field(min_length=1, max_length=128)]
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5

    @model_validator(mode="after")
    def tells_something(self) -> "Classifier":
        """A classifier of ROUGE would be ignored."""
        if self.metric not in OF_CLASSIFIERS:
            raise ValueError(f"classifiers score {', '.join(sorted(OF_CLASSIFIERS))}, not {self.metric}")
        return self


class Judge(Document):
    """A model behind an OpenAI endpoint that says which of two answers is better."""

    url: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.:_\-\[\]]+(/[A-Za-z0-9._~/-]*)?$", max_length=512)]
    model: Annotated[str, Field(min_length=1, max_length=256)]
    against: Literal[Role.BASE, Role.INCUMBENT]
    secret: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")] | None = None
    criteria: Annotated[str, Field(max_length=2048)] = ""
    timeout_seconds: Annotated[int, Field(ge=1, le=600)] = 60
    retries: Annotated[int, Field(ge=0, le=20)] = 5
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = 512
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4


class Preference(Document):
    """A pack of pairs of answers for people, and their ratings once there are any."""

    against: Literal[Role.BASE, Role.INCUMBENT]
    question: Annotated[str, Field(max_length=1024)] = ""
    ratings: Dataset | None = None


class Benchmark(Document):
    """Tasks of lm-evaluation-harness, and the folder that holds their data and the YAML files of one's own."""

    tasks: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=128)], ...],
        Field(min_length=1, max_length=32),
    ]
    uri: PvcUri
    digest: Digest | None = None
    num_fewshot: Annotated[int, Field(ge=0, le=64)] | None = None
    filter: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    apply_chat_template: bool = False


def named(suite: str, metric: "Metric", part: Slice | None = None) -> str:
    """A score's name: `heldout/RougeL`, or `heldout/RougeL@language=de` of a slice."""
    return f"{suite}/{metric}@{part}" if part else f"{suite}/{metric}"


class Suite(Document):
    """Examples, or a benchmark that brings its own, and what is measured on them."""

    name: Name
    dataset: Dataset | None = None
    benchmark: Benchmark | None = None
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)]
    max_examples: Annotated[int, Field(ge=1, le=100_000)] = 200
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = 128
    stop: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=64)], ...], Field(max_length=8)] = ()
    choices: Choices | None = None
    slices: Annotated[tuple[SliceBy, ...], Field(max_length=4)] = ()
    few_shot: FewShot | None = None
    classifiers: Annotated[tuple[Classifier, ...], Field(max_length=8)] = ()
    context_field: FieldName | None = None
    refusal_phrases: Annotated[
        tuple[Annotated[str, Field(min_length=3, max_length=128)], ...], Field(max_length=64)
    ] = ()
    judge: Judge | None = None
    preference: Preference | None = None

    @model_validator(mode="after")
    def rows_or_a_benchmark(self) -> "Suite":
        """A benchmark's tasks say themselves how they ask."""
        if (self.dataset is None) == (self.benchmark is None):
            raise ValueError("a suite needs either dataset or benchmark")
        measured = set(self.metrics)
        if self.benchmark is None and measured & OF_BENCHMARKS_ONLY:
            raise ValueError(f"{min(measured & OF_BENCHMARKS_ONLY)} is of benchmarks only")
        if self.benchmark is not None and measured - OF_BENCHMARKS:
            raise ValueError(f"{min(measured - OF_BENCHMARKS)} is not measured by benchmarks")
        if self.benchmark is not None and (self.choices or self.slices or self.few_shot or self.stop):
            raise ValueError("choices, slices, fewShot and stop are not for benchmarks")
        return self

    @property
    def uri(self) -> str:
        """Where what it asks lies."""
        source = self.dataset or self.benchmark
        assert source is not None
        return source.uri

    @model_validator(mode="after")
    def others_have_what_they_read(self) -> "Suite":
        """What says something of answers needs to be there; what nobody asks for would be ignored."""
        told = {one.metric for one in self.classifiers}
        for metric in OF_CLASSIFIERS - OF_REFUSALS:
            if metric in self.metrics and metric not in told:
                raise ValueError(f"{metric} needs a classifier in classifiers")
        if told - set(self.metrics):
            raise ValueError(f"classifiers has one for {min(told - set(self.metrics))}, which metrics does not list")
        if len({one.name for one in self.classifiers}) < len(self.classifiers):
            raise ValueError("classifiers has two of one name")
        for needed, metric, field in (
            (self.context_field, Metric.FAITHFULNESS, "contextField"),
            (self.judge, Metric.JUDGE_WIN_RATE, "judge"),
            (self.preference, Metric.HUMAN_WIN_RATE, "preference"),
        ):
            if (needed is not None) != (metric in self.metrics):
                raise ValueError(f"{metric} and {field} need each other")
        return self

    @property
    def needs_answers(self) -> bool:
        """Whether a row without a right answer cannot be scored."""
        return bool(set(self.metrics) - WITHOUT_ANSWERS)

    @model_validator(mode="after")
    def metrics_have_what_they_read(self) -> "Suite":
        """Calibration of free text, say, means nothing."""
        chosen = self.choices.labels if self.choices else ()
        for metric in self.metrics:
            if metric in OF_CHOICES and not self.choices and not self.benchmark:
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
    pods: Annotated[int, Field(ge=1, le=64)] = 1
    """How many of them share the measuring, each finding its index in JOB_COMPLETION_INDEX."""
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
        opponents = {one.against for suite in self.suites for one in (suite.judge, suite.preference) if one}
        if opponents - {model.role for model in self.models}:
            raise ValueError(
                f"models has no {min(opponents - {model.role for model in self.models})} to be preferred to"
            )
        return self

    @model_validator(mode="after")
    def pods_meet_somewhere(self) -> "EvaluateConfig":
        """The pods hand each other what they measured in the cache."""
        if self.pods > 1 and self.cache is None:
            raise ValueError("pods above 1 need a cache, through which they hand over what they measured")
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
