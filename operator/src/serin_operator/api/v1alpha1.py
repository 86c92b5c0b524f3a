"""The objects of group serin.dev, version v1alpha1. The CRDs in `crds/` are generated from here (`make generate`).

A field stands here only when something acts on it. Not here: decisions, defaults that depend on the cluster.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from serin_operator.api.base import (
    ApiModel,
    DatasetUri,
    DataUri,
    Hostname,
    MadeUri,
    ModelUri,
    ModuleName,
    Name,
    PvcUri,
    Word,
    decimal,
    field_rules,
    list_map,
    rule,
    rules,
)

GROUP = "serin.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

Percent = Annotated[int, Field(ge=0, le=100)]
Text = Annotated[str, Field(max_length=4096)]
Preserved = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]


Dropout = Annotated[
    str,
    decimal("dropout must be a number of at least 0 and below 1", "double(self) >= 0.0 && double(self) < 1.0", "0.05"),
]
LearningRate = Annotated[
    str,
    decimal("learningRate must be a number above 0, at most 1", "double(self) > 0.0 && double(self) <= 1.0", "2e-4"),
]
WarmupRatio = Annotated[
    str, decimal("warmupRatio must be a number from 0 to 1", "double(self) >= 0.0 && double(self) <= 1.0", "0.03")
]
NonNegativeDecimal = Annotated[str, decimal("it must be a number of at least 0", "double(self) >= 0.0", "0.02")]
PositiveDecimal = Annotated[str, decimal("it must be a number above 0", "double(self) > 0.0", "1.0")]
Decimal = Annotated[str, decimal("it must be a decimal number", "true", "0.35")]


# --- shared -------------------------------------------------------------------------------------------------------


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """A condition as Kubernetes' API conventions describe it (metav1.Condition)."""

    type: Annotated[str, Field(max_length=64)]
    status: ConditionStatus
    reason: Annotated[str, Field(min_length=1, max_length=64)]
    message: Text = ""
    last_transition_time: datetime
    observed_generation: int | None = None


class ObjectMeta(ApiModel):
    """What the operator reads of an object's metadata."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class LocalRef(ApiModel):
    """An object of the same namespace, by name."""

    name: Name


Quantities = Annotated[
    dict[str, int | str],
    Field(
        max_length=8,
        json_schema_extra=field_rules(
            [
                rule(
                    "self.all(k, type(self[k]) == int ? int(self[k]) >= 0 : isQuantity(self[k])"
                    " && !quantity(self[k]).isLessThan(quantity('0')) && quantity(self[k]).isLessThan(quantity('1E')))",
                    "each value must be a quantity, such as cpu: 500m, memory: 2Gi or nvidia.com/gpu: 1",
                ),
                rule(
                    "self.all(k, k.matches('^([a-z0-9.-]{1,63}/)?[A-Za-z0-9._-]{1,63}$'))",
                    "each key must be a resource's name, such as cpu, memory or nvidia.com/gpu",
                ),
            ]
        ),
    ),
]


class Resources(ApiModel):
    """CPU, memory and accelerators of one pod, as in a container's `resources`."""

    limits: Quantities | None = None
    requests: Quantities | None = None


# --- FineTuneJob --------------------------------------------------------------------------------------------------


class ModelSource(ApiModel):
    """The model to start from: safetensors on a volume, or on the Hugging Face hub."""

    uri: ModelUri


class RowFormat(StrEnum):
    """What a row looks like. Each row is recognised by its fields where the format is not named."""

    MESSAGES = "Messages"
    PROMPT_COMPLETION = "PromptCompletion"
    INPUT_OUTPUT = "InputOutput"
    INSTRUCTION = "Instruction"
    TEXT = "Text"


class DataSource(ApiModel):
    """A file of rows: JSON Lines (.jsonl, .jsonl.gz), CSV or Parquet."""

    name: Name
    uri: DataUri
    format: RowFormat | None = None


class TrainSource(DataSource):
    """A file of rows to train on. With weights, a source is that share of the training rows."""

    weight_percent: Annotated[int, Field(ge=1, le=100)] | None = None


class Mixing(StrEnum):
    """How weights are met. Subsample leaves rows out and takes none twice; Repeat takes all, and some again."""

    SUBSAMPLE = "Subsample"
    REPEAT = "Repeat"


class SplitStrategy(StrEnum):
    """Random; Stratified: the same shares of every value of a field; Temporal: the newest rows are for the test;
    Provided: the parts come as files of their own."""

    RANDOM = "Random"
    STRATIFIED = "Stratified"
    TEMPORAL = "Temporal"
    PROVIDED = "Provided"


class Split(ApiModel):
    """How rows are divided. The test part is never seen by training, nor by anything that stops or chooses it.

    A part of 0 percent is left out; one that is asked for and would have fewer rows than its minimum is an error.
    """

    model_config = rules(
        rule(
            "self.trainPercent + self.validationPercent + self.testPercent == 100",
            "trainPercent, validationPercent and testPercent must add up to 100",
        ),
        rule(
            "has(self.field) == (self.strategy == 'Stratified' || self.strategy == 'Temporal')",
            "field names the rows' field that Stratified and Temporal go by: they need it, the other strategies do not",
        ),
        rule(
            "self.strategy != 'Provided' || (self.trainPercent == 80 && self.validationPercent == 10"
            " && self.testPercent == 10)",
            "with strategy Provided the files are the parts: leave the percentages out",
        ),
    )

    strategy: SplitStrategy = SplitStrategy.RANDOM
    field: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    train_percent: Annotated[int, Field(ge=1, le=100)] = 80
    validation_percent: Annotated[int, Field(ge=0, le=99)] = 10
    test_percent: Annotated[int, Field(ge=0, le=99)] = 10
    seed: Annotated[int, Field(ge=0, le=4294967295)] = 7
    min_validation_rows: Annotated[int, Field(ge=0, le=1_000_000)] = 100
    min_test_rows: Annotated[int, Field(ge=0, le=1_000_000)] = 100


class RowEnding(StrEnum):
    """EndOfSequence ends each row with the model's end token; Newline makes rows the lines of a running text."""

    END_OF_SEQUENCE = "EndOfSequence"
    NEWLINE = "Newline"


class NearDuplicatesAction(StrEnum):
    DROP = "Drop"
    KEEP = "Keep"


class NearDuplicates(ApiModel):
    """Rows whose question and whose answer are both nearly those of an earlier row (Jaccard similarity of 5-grams)."""

    action: NearDuplicatesAction = NearDuplicatesAction.DROP
    similarity_percent: Annotated[int, Field(ge=70, le=100)] = 90


class Cleaning(ApiModel):
    """Which rows are left out. Unparsable, empty, incomplete and identical ones always are."""

    min_tokens: Annotated[int, Field(ge=1, le=100_000)] = 1
    languages: Annotated[
        list[Annotated[str, Field(min_length=2, max_length=3, pattern="^[a-z]+$")]],
        Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = []
    near_duplicates: NearDuplicates = NearDuplicates()


class LossOn(StrEnum):
    """Completions: everything that the assistant says; LastCompletion: its last turn; AllTokens: questions as well."""

    COMPLETIONS = "Completions"
    LAST_COMPLETION = "LastCompletion"
    ALL_TOKENS = "AllTokens"


class Packing(StrEnum):
    """Isolated: several whole rows share a sequence, and none attends to another; None: one row a sequence."""

    ISOLATED = "Isolated"
    NONE = "None"


class TooLong(StrEnum):
    """What becomes of a row of more than maxSequenceLength tokens: it is left out, or loses its end."""

    DROP = "Drop"
    TRUNCATE = "Truncate"


class OverlapAction(StrEnum):
    """Refuse: the job does not train; Drop: training rows that an evaluation set has as well are left out."""

    REFUSE = "Refuse"
    DROP = "Drop"


class OverlapBound(ApiModel):
    """How much of a gate's data set may be among the rows that are learned."""

    action: OverlapAction = OverlapAction.REFUSE
    max_percent: Percent = 1


class Data(ApiModel):
    """What to learn from. `lossOn` is Completions and `packing` Isolated, unless rowEnding is Newline."""

    model_config = rules(
        rule(
            "self.train.all(s, has(s.weightPercent)) ? self.train.map(s, s.weightPercent).sum() == 100"
            " : !self.train.exists(s, has(s.weightPercent))",
            "weightPercent must be given for every source of train or for none, and add up to 100",
        ),
        rule(
            "!has(self.mixing) || self.train.exists(s, has(s.weightPercent))",
            "mixing says how weights are met: give every source of train a weightPercent",
        ),
        rule(
            "self.rowEnding != 'Newline' || (!has(self.lossOn) && !has(self.packing) && self.tooLong == 'Drop')",
            "with rowEnding Newline rows are the lines of one running text that is learned whole: leave lossOn, packing"
            " and tooLong out",
        ),
        rule(
            "(self.split.strategy == 'Provided') == (size(self.validation) > 0 || size(self.test) > 0)",
            "validation and test are the files of split.strategy Provided, which needs at least one of them",
        ),
    )

    train: Annotated[list[TrainSource], list_map("name", 32), Field(min_length=1)]
    mixing: Mixing | None = None
    validation: Annotated[list[DataSource], list_map("name", 32)] = []
    test: Annotated[list[DataSource], list_map("name", 32)] = []
    split: Split = Split()
    cleaning: Cleaning = Cleaning()
    row_ending: RowEnding = RowEnding.END_OF_SEQUENCE
    loss_on: LossOn | None = None
    packing: Packing | None = None
    too_long: TooLong = TooLong.DROP
    overlap: OverlapBound = OverlapBound()

    def sources(self) -> list[DataSource]:
        """Every file that Prepare reads, of all parts."""
        return [*self.train, *self.validation, *self.test]


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
        )
    )

    base_model: ModelSource
    data: Data
    method: Method = Method()
    hyperparameters: Hyperparameters = Hyperparameters()
    distribution: Distribution = Distribution()
    checkpoints: Checkpoints = Checkpoints()
    artifacts: Artifacts
    gates: Annotated[list[LocalRef], list_map("name", 16)] = []
    rollout: Rollout | None = None


class StageName(StrEnum):
    PREPARE = "Prepare"
    TRAIN = "Train"
    CONSOLIDATE = "Consolidate"
    EVALUATE = "Evaluate"


class StageOutcome(StrEnum):
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class StageStatus(ApiModel):
    """What is known of one stage under its current key: the journal that outlives pods and restarts."""

    name: StageName
    key: str
    attempt: int = 1
    restarts: int = 0
    outcome: StageOutcome
    reason: str = ""
    message: Text = ""
    started_at: datetime
    finished_at: datetime | None = None
    retry_at: datetime | None = None
    image: Annotated[str, Field(max_length=512)] = ""
    # An empty map that takes the place of a full one is merged to null by server-side apply, and then refused.
    output: Preserved = Field(default_factory=dict, exclude_if=lambda output: not output)


class Progress(ApiModel):
    """How far the running training is; numbers that are not whole are strings."""

    step: int
    total_steps: int
    percent: int
    eta_seconds: int | None = None
    train_loss: str | None = None
    eval_loss: str | None = None
    tokens_per_second: int | None = None


class Verdict(StrEnum):
    """Passed; Failed; Inconclusive (within noise, or too few samples); Error (could not measure)."""

    PASSED = "Passed"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    ERROR = "Error"


class RequirementVerdict(ApiModel):
    """One requirement, judged, with the sentence that says why.

    `pValue` is how often chance alone would speak this strongly for the verdict, corrected for the number of
    requirements; `neededExamples` is how many examples would settle an Inconclusive, should the value stay.
    """

    name: str
    source: str
    verdict: Verdict
    message: Text
    p_value: str | None = None
    examples: int | None = None
    needed_examples: int | None = None


class GateStatus(ApiModel):
    """The verdict over all gates and policies, and what was judged."""

    verdict: Verdict
    key: str
    message: Text
    warning: bool | None = None
    requirements: Annotated[list[RequirementVerdict], Field(max_length=256)] = []


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


class FineTuneJob(ApiModel):
    """A fine-tune, from data to a candidate model for a ModelService."""

    metadata: ObjectMeta
    spec: FineTuneJobSpec
    status: FineTuneJobStatus = FineTuneJobStatus()


# --- gates and policies -------------------------------------------------------------------------------------------


class Metric(StrEnum):
    PERPLEXITY = "Perplexity"
    CROSS_ENTROPY = "CrossEntropy"
    TOKEN_ACCURACY = "TokenAccuracy"
    EXACT_MATCH = "ExactMatch"
    ROUGE_L = "RougeL"


LOWER_IS_BETTER = frozenset({Metric.PERPLEXITY, Metric.CROSS_ENTROPY})
SHARES = frozenset({Metric.TOKEN_ACCURACY, Metric.EXACT_MATCH, Metric.ROUGE_L})
"""Metrics from 0 to 1, higher being better."""
RIGHT_OR_WRONG = frozenset({Metric.EXACT_MATCH})
"""Metrics for which each example is either right or wrong."""
BY_EXAMPLE = frozenset({Metric.ROUGE_L})
"""Metrics that weigh every example the same and give it a degree."""
LOWEST = {Metric.PERPLEXITY: 1.0}
"""Where a metric's range begins when not at 0."""
HIGHEST = dict.fromkeys(SHARES, 1.0)
"""Where a metric's range ends, when it does."""

MeasuredMetric = Annotated[Metric, Field(json_schema_extra={"maxLength": 32})]  # CEL's cost needs a bound of its own


class Dataset(ApiModel):
    """Rows with known answers: a JSON Lines file (.jsonl or .jsonl.gz)."""

    uri: DatasetUri


class Suite(ApiModel):
    """Rows with known answers, and what is measured on them."""

    name: Name
    dataset: Dataset
    metrics: Annotated[
        list[MeasuredMetric], Field(min_length=1, max_length=8, json_schema_extra={"x-kubernetes-list-type": "set"})
    ]
    max_examples: Annotated[int, Field(ge=1, le=100_000)] = 200
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = 128
    stop: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=8)] = []


class ComparedTo(StrEnum):
    BASE = "Base"
    INCUMBENT = "Incumbent"


class ComparisonMethod(StrEnum):
    """Auto is McNemar for metrics that are right or wrong, and PairedBootstrap for all others."""

    AUTO = "Auto"
    PAIRED_BOOTSTRAP = "PairedBootstrap"
    MCNEMAR = "McNemar"
    WILCOXON = "Wilcoxon"


_BOUND_OR_COMPARISON = rule(
    "has(self.min) || has(self.max) || has(self.comparedTo)",
    "a requirement needs min, max or comparedTo: without one of them it would always pass",
)
_ONE_KIND = rule(
    "!(has(self.comparedTo) && (has(self.min) || has(self.max)))",
    "min and max are bounds of the score itself and cannot stand beside comparedTo; write two requirements",
)


def _number(field: str) -> str:
    """Comparisons wait until a field is a number: its own rule says so when it is not."""
    return f"!has(self.{field}) || !self.{field}.matches('^[-0-9.eE+]+$')"


_ORDERED = rule(
    f"{_number('min')} || {_number('max')} || double(self.min) <= double(self.max)",
    "min must not be above max",
)
_COMPARISON_MARGIN = rule(
    "has(self.comparedTo) == (has(self.maxRegression) || has(self.minImprovement))"
    " && !(has(self.maxRegression) && has(self.minImprovement))",
    "comparedTo needs exactly one of maxRegression and minImprovement, and those need comparedTo",
)


def _metric_rules(pattern: str) -> tuple[dict[str, str], ...]:
    """What a metric allows; `pattern` holds %s where the metric's name stands in self.metric."""

    def one_of(metrics: Iterable[Metric]) -> str:
        return "self.metric.matches('" + pattern % f"({'|'.join(sorted(metrics))})" + "')"

    def words(metrics: Iterable[Metric]) -> str:
        return ", ".join(sorted(metrics))

    within = " && ".join(
        f"({_number(field)} || (double(self.{field}) >= 0.0 && double(self.{field}) <= 1.0))"
        for field in ("min", "max", "maxRegression", "minImprovement")
    )
    return (
        rule(
            f"!{one_of(SHARES)} || ({within})",
            f"{words(SHARES)} go from 0 to 1, and so must their bounds and margins: write 0.35 for 35 percent",
        ),
        rule(
            f"!{one_of(LOWER_IS_BETTER)} || !has(self.min) || has(self.max)",
            f"{words(LOWER_IS_BETTER)} are better when lower, so a floor alone asks for a bad model: give max",
        ),
        rule(
            f"!{one_of(SHARES)} || !has(self.max) || has(self.min)",
            f"{words(SHARES)} are better when higher, so a ceiling alone asks for a bad model: give min",
        ),
        rule(
            f"!{one_of(LOWEST)} || {_number('max')} || double(self.max) > 1.0",
            "Perplexity is never below 1, so max must be above 1 (CrossEntropy is its logarithm, in nats)",
        ),
        rule(
            f"!{one_of({Metric.CROSS_ENTROPY})} || {_number('max')} || double(self.max) > 0.0",
            "CrossEntropy is never below 0, so max must be above 0",
        ),
        rule(
            "self.testMethod == 'Auto' || has(self.comparedTo)",
            "testMethod is how two models are compared, so it needs comparedTo; bounds are judged by the score's own"
            " confidence limits",
        ),
        rule(
            f"self.testMethod != 'McNemar' || {one_of(RIGHT_OR_WRONG)}",
            f"McNemar's test fits metrics for which an example is right or wrong ({words(RIGHT_OR_WRONG)}): use"
            " PairedBootstrap or leave testMethod out",
        ),
        rule(
            f"self.testMethod != 'Wilcoxon' || {one_of(BY_EXAMPLE)}",
            f"Wilcoxon's test fits metrics that give each example a degree and the same weight ({words(BY_EXAMPLE)}):"
            " use PairedBootstrap or leave testMethod out",
        ),
    )


Confidence = Annotated[int, Field(ge=50, le=99)]
MethodName = Annotated[ComparisonMethod, Field(json_schema_extra={"maxLength": 16})]


class Requirement(ApiModel):
    """What a score must show. `metric` is `<suite>/<Metric>`.

    `confidencePercent` is one-sided: with 95, a model that misses the requirement passes it in at most 5 of 100 cases.
    """

    model_config = rules(_BOUND_OR_COMPARISON, _ONE_KIND, _ORDERED, _COMPARISON_MARGIN, *_metric_rules("/%s$"))

    name: Name
    metric: Annotated[
        str,
        Field(
            max_length=128,
            json_schema_extra=field_rules(
                [
                    rule(
                        "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?/"
                        "(Perplexity|CrossEntropy|TokenAccuracy|ExactMatch|RougeL)$')",
                        "metric must be <suite>/<Metric>, such as heldout/RougeL; Metric is one of Perplexity,"
                        " CrossEntropy, TokenAccuracy, ExactMatch, RougeL",
                    )
                ]
            ),
        ),
    ]
    min: Decimal | None = None
    max: Decimal | None = None
    compared_to: ComparedTo | None = None
    max_regression: NonNegativeDecimal | None = None
    min_improvement: NonNegativeDecimal | None = None
    test_method: MethodName = ComparisonMethod.AUTO
    confidence_percent: Confidence = 95
    weight: Annotated[int, Field(ge=0, le=100)] = 1
    must_pass: bool = False


class EvalGateSpec(ApiModel):
    """What a candidate must show before it gets traffic: `passPercent` of its requirements' weight, and all with mustPass.

    A model that passes with less than `warnPercent` goes on with a warning.
    """

    model_config = rules(
        rule(
            "self.requirements.exists(r, r.weight > 0 || r.mustPass)",
            "at least one requirement needs a weight above 0 or mustPass: the gate would pass every model",
        ),
        rule(
            "!has(self.warnPercent) || self.warnPercent > self.passPercent",
            "warnPercent must be above passPercent: below passPercent a model does not pass at all",
        ),
        rule(
            # Written so that CEL's cost estimate stays low: names hold no slash, so this is r.metric == name/metric.
            "self.requirements.all(r, self.suites.exists(s, r.metric.startsWith(s.name + '/')"
            " && s.metrics.exists(m, r.metric.endsWith('/' + m))))",
            "every requirement's metric must be <suite>/<Metric> of a suite of this gate that lists the metric: add the"
            " metric to spec.suites[].metrics, or name another in spec.requirements[].metric",
        ),
    )

    suites: Annotated[list[Suite], list_map("name", 16), Field(min_length=1)]
    requirements: Annotated[list[Requirement], list_map("name", 32), Field(min_length=1)]
    pass_percent: Annotated[int, Field(ge=1, le=100)] = 100
    warn_percent: Annotated[int, Field(ge=1, le=100)] | None = None


class EvalGate(ApiModel):
    """What a candidate of this namespace must show."""

    metadata: ObjectMeta
    spec: EvalGateSpec


class PolicyMode(StrEnum):
    ENFORCE = "Enforce"
    AUDIT = "Audit"


class NamespaceSelector(ApiModel):
    """Namespaces by their labels; an empty selector is every namespace."""

    match_labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=16)] = Field(
        default_factory=dict
    )


class PolicyRequirement(ApiModel):
    """A requirement on a metric, on every suite that measures it; at least one suite must."""

    model_config = rules(_BOUND_OR_COMPARISON, _ONE_KIND, _ORDERED, _COMPARISON_MARGIN, *_metric_rules("^%s$"))

    name: Name
    metric: MeasuredMetric
    min: Decimal | None = None
    max: Decimal | None = None
    compared_to: ComparedTo | None = None
    max_regression: NonNegativeDecimal | None = None
    min_improvement: NonNegativeDecimal | None = None
    test_method: MethodName = ComparisonMethod.AUTO
    confidence_percent: Confidence = 95


class ClusterEvalPolicySpec(ApiModel):
    """What every model of the selected namespaces must show, beside its own gates. It only adds."""

    mode: PolicyMode = PolicyMode.ENFORCE
    namespace_selector: NamespaceSelector = NamespaceSelector()
    requirements: Annotated[list[PolicyRequirement], list_map("name", 32), Field(min_length=1)]


class ClusterEvalPolicy(ApiModel):
    """The platform team's requirements for every model of the cluster."""

    metadata: ObjectMeta
    spec: ClusterEvalPolicySpec


# --- ModelService -------------------------------------------------------------------------------------------------


class Engine(StrEnum):
    CPU = "CPU"


class Runtime(ApiModel):
    """What serves the model. CPU is Serin's own small OpenAI-compatible server."""

    engine: Engine
    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    resources: Resources = Resources()
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = 128


class TrafficProvider(StrEnum):
    GATEWAY_API = "GatewayAPI"


class GatewayRef(ApiModel):
    """The Gateway that the platform team runs; it must allow routes from this namespace."""

    name: Name
    namespace: Name


class Traffic(ApiModel):
    provider: TrafficProvider
    gateway_ref: GatewayRef
    hostnames: Annotated[
        list[Hostname],
        Field(min_length=1, max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ]


class Slo(ApiModel):
    """A bound on a PromQL query. `{{namespace}}`, `{{service}}`, `{{revision}}` and `{{stable}}` are filled in."""

    model_config = rules(
        rule("has(self.min) || has(self.max)", "an SLO needs min or max: without a bound it would always pass"),
        _ORDERED,
    )

    name: Name
    source: Name = "default"
    query: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2048,
            json_schema_extra=field_rules(
                [
                    rule(
                        "self.contains('{{revision}}')",
                        "query must contain {{revision}}: otherwise it would judge all revisions together",
                    ),
                    rule(
                        "!self.replace('{{namespace}}', '').replace('{{service}}', '').replace('{{revision}}', '')"
                        ".replace('{{stable}}', '').matches('[{][{]|[}][}]')",
                        "query may name {{namespace}}, {{service}}, {{revision}} and {{stable}} in double braces, and"
                        " nothing else",
                    ),
                ]
            ),
        ),
    ]
    min: Decimal | None = None
    max: Decimal | None = None


class CanaryStep(ApiModel):
    """A share of the traffic, held for a time."""

    weight_percent: Annotated[int, Field(ge=1, le=100)]
    hold_seconds: Annotated[int, Field(ge=0, le=604800)] = 60


class BlindAction(StrEnum):
    """Hold keeps the candidate's share; Withdraw takes it away, and begins anew when there are metrics again."""

    HOLD = "Hold"
    WITHDRAW = "Withdraw"


class Blindness(ApiModel):
    """What to do when a candidate with traffic cannot be judged: for so long not every SLO gave one fresh number."""

    timeout_seconds: Annotated[int, Field(ge=1, le=86400)] = 300
    action: BlindAction = BlindAction.HOLD


class Canary(ApiModel):
    """How a candidate earns its traffic, and how long it is watched once it has all of it."""

    model_config = rules(
        rule(
            "self.blindness.timeoutSeconds >= self.intervalSeconds",
            "blindness.timeoutSeconds must be at least intervalSeconds: a single look that measured nothing is no outage",
        )
    )

    steps: Annotated[
        list[CanaryStep],
        Field(
            min_length=1,
            max_length=32,
            json_schema_extra=field_rules(
                [
                    rule("self[size(self) - 1].weightPercent == 100", "the last step must have weightPercent 100"),
                    rule(
                        "self.all(a, self.filter(b, b.weightPercent == a.weightPercent).size() == 1) &&"
                        " self.map(s, s.weightPercent).isSorted()",
                        "weightPercent must rise from step to step",
                    ),
                ],
                **{"x-kubernetes-list-type": "atomic"},
            ),
        ),
    ] = [
        CanaryStep(weight_percent=5, hold_seconds=300),
        CanaryStep(weight_percent=25, hold_seconds=600),
        CanaryStep(weight_percent=100, hold_seconds=600),
    ]
    min_requests: Annotated[int, Field(ge=0, le=1_000_000)] = 100
    interval_seconds: Annotated[int, Field(ge=1, le=3600)] = 5
    progress_deadline_seconds: Annotated[int, Field(ge=10, le=86400)] = 600
    blindness: Blindness = Blindness()
    bake_seconds: Annotated[int, Field(ge=0, le=2_592_000)] = 600


class ModelServiceSpec(ApiModel):
    """A served model: what runs it, how traffic reaches it, what must hold, and how a candidate is let in."""

    runtime: Runtime
    traffic: Traffic
    slos: Annotated[list[Slo], list_map("name", 32), Field(min_length=1)]
    canary: Canary = Canary()


class SloStatus(ApiModel):
    """The last look at one SLO."""

    name: str
    verdict: Verdict
    value: str | None = None
    message: Text = ""


class StableStatus(ApiModel):
    """What users get now."""

    revision: str
    digest: str
    since: datetime


class Watched(ApiModel):
    """Time under traffic as it was seen, counted from look to look. Each look adds what passed since the one before, but
    never less than nothing and never much more than an interval: neither a clock that is set nor an operator that was
    away counts as watching."""

    looked_at: datetime | None = None
    elapsed_seconds: int = 0  # all of it
    watched_seconds: int = 0  # of this, what ended with every SLO measured
    blind_seconds: int = 0  # since every SLO was last measured
    not_ready_seconds: int = 0  # waiting for pods
    last_crash_at: datetime | None = None  # of its servers, before the watch began


class CandidateStatus(Watched):
    """The revision on its way in. `stepStartedAt` is when the route was first seen with this step's weight."""

    revision: str
    digest: str
    step: int
    since: datetime
    step_started_at: datetime | None = None
    withdrawals: int = 0
    withdrawn_at: datetime | None = None
    stable_silent_seconds: int = 0  # without a pod of the stable that answers, as far as it was seen
    stable_silent_at: datetime | None = None  # when that was last seen


class BakeStatus(Watched):
    """The new stable is still watched, and the one before it is kept ready to take over again."""

    revision: str
    previous: str
    previous_digest: str
    started_at: datetime | None = None


class ModelServiceStatus(ApiModel):
    observed_generation: int | None = None
    state: str | None = None
    message: Text | None = None
    conditions: Annotated[list[Condition], list_map("type", 32)] = []
    stable: StableStatus | None = None
    candidate: CandidateStatus | None = None
    bake: BakeStatus | None = None
    canary_percent: int | None = None
    slos: Annotated[list[SloStatus], list_map("name", 32)] = []
    slos_judged_at: datetime | None = None


class ModelService(ApiModel):
    """A model served to users, kept good by canaries and rollbacks."""

    metadata: ObjectMeta
    spec: ModelServiceSpec
    status: ModelServiceStatus = ModelServiceStatus()


# --- ModelRevision ------------------------------------------------------------------------------------------------


class JobRef(ApiModel):
    """The job that made a revision; it may be gone."""

    name: Name
    uid: Word


class ModelArtifact(ApiModel):
    """Where the model lies and what it is: the digest of its manifest."""

    uri: MadeUri
    digest: Word


class Lineage(ApiModel):
    """What went into the model."""

    base_model_uri: ModelUri
    base_model_digest: Word
    data_digest: Word
    prepare_key: Word
    train_key: Word
    model_key: Word


class ModelRevisionSpec(ApiModel):
    """One candidate, immutable; it outlives its job."""

    model_config = rules(rule("self == oldSelf", "a ModelRevision is a record and cannot be changed"))

    model_service_ref: LocalRef
    job_ref: JobRef
    artifact: ModelArtifact
    lineage: Lineage


class GateRecord(ApiModel):
    """How the gates judged this revision."""

    verdict: Verdict
    message: Text
    judged_at: datetime


class Rejection(ApiModel):
    """Why this digest may not serve. It stays until the digest changes."""

    reason: str
    message: Text
    at: datetime
    step: int
    weight_percent: int
    breach_observed_at: datetime | None = None
    weight_zero_at: datetime | None = None


class RolloutRecord(ApiModel):
    """What became of this revision under traffic. Written before the weight moves."""

    promoted_at: datetime | None = None
    rejection: Rejection | None = None
    superseded_at: datetime | None = None


class ModelRevisionStatus(ApiModel):
    gate: GateRecord | None = None
    rollout: RolloutRecord | None = None


class ModelRevision(ApiModel):
    """The record of one candidate model."""

    metadata: ObjectMeta
    spec: ModelRevisionSpec
    status: ModelRevisionStatus = ModelRevisionStatus()
