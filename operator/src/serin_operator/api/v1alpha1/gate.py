"""EvalGate: the suites that a candidate is measured with and what it must reach."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from serin_operator.api.base import ApiModel, DatasetUri, Name, field_rules, list_map, rule, rules
from serin_operator.api.v1alpha1.shared import Decimal, NonNegativeDecimal, ObjectMeta


class Metric(StrEnum):
    """The first three read the model's likelihoods of the answers, the next its own answers, the last its choice among
    given ones."""

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


OF_LABELS = frozenset({Metric.F1_MICRO, Metric.F1_MACRO})
"""Metrics that need the same choices for every row."""


CALIBRATION = frozenset({Metric.ECE, Metric.ADAPTIVE_ECE})
"""Metrics that noise makes larger, so that the difference of two says little."""


OF_CHOICES = OF_LABELS | CALIBRATION | {Metric.ACCURACY, Metric.BRIER}
"""Metrics that need choices."""


LOWER_IS_BETTER = CALIBRATION | {Metric.PERPLEXITY, Metric.CROSS_ENTROPY, Metric.BRIER}


TO_ONE_HUNDRED = frozenset({Metric.BLEU, Metric.CHR_F})
"""Metrics from 0 to 100, higher being better: everybody writes them so."""


HIGHER = frozenset(Metric) - LOWER_IS_BETTER


SHARES = HIGHER - TO_ONE_HUNDRED
"""Metrics from 0 to 1, higher being better."""


RIGHT_OR_WRONG = frozenset({Metric.EXACT_MATCH, Metric.ACCURACY, Metric.F1_MICRO})
"""Metrics for which each example is either right or wrong."""


BY_EXAMPLE = frozenset({Metric.TOKEN_F1, Metric.ROUGE_1, Metric.ROUGE_2, Metric.ROUGE_L, Metric.BRIER})
"""Metrics that weigh every example the same and give it a degree."""


LOWEST = {Metric.PERPLEXITY: 1.0}
"""Where a metric's range begins when not at 0."""


HIGHEST = dict.fromkeys(SHARES | CALIBRATION, 1.0) | dict.fromkeys(TO_ONE_HUNDRED, 100.0) | {Metric.BRIER: 2.0}
"""Where a metric's range ends, when it does."""


MeasuredMetric = Annotated[Metric, Field(json_schema_extra={"maxLength": 32})]  # CEL's cost needs a bound of its own


class Dataset(ApiModel):
    """Rows with known answers: a JSON Lines file (.jsonl or .jsonl.gz). With `digest`, only this very file is taken."""

    uri: DatasetUri
    digest: Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$", max_length=71)] | None = None


Label = Annotated[str, Field(min_length=1, max_length=128)]


class Choices(ApiModel):
    """What a model chooses from: `labels`, the same for every row, or the list of texts in a `field` of each row.

    The model's choice is the one it finds likeliest after the prompt; the row's answer must be one of them.
    """

    model_config = rules(
        rule("has(self.labels) != has(self.field)", "choices needs either labels (the same for every row) or field")
    )

    labels: (
        Annotated[list[Label], Field(min_length=2, max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})]
        | None
    ) = None
    field: Annotated[str, Field(min_length=1, max_length=64)] | None = None


FieldName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        json_schema_extra=field_rules(
            [
                rule(
                    "self.matches('^[A-Za-z0-9_.-]+$')",
                    "a field's name has letters, digits, dots, dashes and underscores",
                )
            ]
        ),
    ),
]


class SliceBy(ApiModel):
    """A field of the rows: those that share its value are a slice, which every metric is told of as well."""

    field: FieldName


class Slice(ApiModel):
    """The rows whose field has this value."""

    field: FieldName
    value: Annotated[str, Field(min_length=1, max_length=128)]

    def __str__(self) -> str:
        return f"{self.field}={self.value}"


def metrics_among(metrics: Iterable[Metric]) -> str:
    """Whether a suite measures one of these, in CEL."""
    return f"self.metrics.exists(m, m.matches('^({'|'.join(sorted(metrics))})$'))"


class Suite(ApiModel):
    """Rows with known answers, and what is measured on them."""

    model_config = rules(
        rule(
            f"has(self.choices) || !{metrics_among(OF_CHOICES)}",
            f"{', '.join(sorted(OF_CHOICES))} need choices: what the model may choose from",
        ),
        rule(
            f"(has(self.choices) && has(self.choices.labels)) || !{metrics_among(OF_LABELS)}",
            f"{', '.join(sorted(OF_LABELS))} need choices.labels: the same for every row",
        ),
    )

    name: Name
    dataset: Dataset
    metrics: Annotated[
        list[MeasuredMetric], Field(min_length=1, max_length=8, json_schema_extra={"x-kubernetes-list-type": "set"})
    ]
    max_examples: Annotated[int, Field(ge=1, le=100_000)] = 200
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = 128
    stop: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=8)] = []
    choices: Choices | None = None
    slices: Annotated[list[SliceBy], list_map("field", 4)] | None = None


class ComparedTo(StrEnum):
    BASE = "Base"
    INCUMBENT = "Incumbent"


class ComparisonMethod(StrEnum):
    """Auto is McNemar for metrics that are right or wrong, and PairedBootstrap for all others."""

    AUTO = "Auto"
    PAIRED_BOOTSTRAP = "PairedBootstrap"
    MCNEMAR = "McNemar"
    WILCOXON = "Wilcoxon"


BOUND_OR_COMPARISON = rule(
    "has(self.min) || has(self.max) || has(self.comparedTo)",
    "a requirement needs min, max or comparedTo: without one of them it would always pass",
)


ONE_KIND = rule(
    "!(has(self.comparedTo) && (has(self.min) || has(self.max)))",
    "min and max are bounds of the score itself and cannot stand beside comparedTo; write two requirements",
)


def absent_or_no_number(field: str) -> str:
    """Comparisons wait until a field is a number: its own rule says so when it is not."""
    return f"!has(self.{field}) || !self.{field}.matches('^[-0-9.eE+]+$')"


ORDERED = rule(
    f"{absent_or_no_number('min')} || {absent_or_no_number('max')} || double(self.min) <= double(self.max)",
    "min must not be above max",
)


COMPARISON_MARGIN = rule(
    "has(self.comparedTo) == (has(self.maxRegression) || has(self.minImprovement))"
    " && !(has(self.maxRegression) && has(self.minImprovement))",
    "comparedTo needs exactly one of maxRegression and minImprovement, and those need comparedTo",
)


def metric_rules(pattern: str) -> tuple[dict[str, str], ...]:
    """What a metric allows; `pattern` holds %s where the metric's name stands in self.metric."""

    def one_of(metrics: Iterable[Metric]) -> str:
        return "self.metric.matches('" + pattern % f"({'|'.join(sorted(metrics))})" + "')"

    def words(metrics: Iterable[Metric]) -> str:
        return ", ".join(sorted(metrics))

    def within(highest: float) -> str:
        return " && ".join(
            f"({absent_or_no_number(field)} || (double(self.{field}) >= 0.0 && double(self.{field}) <= {highest}))"
            for field in ("min", "max", "maxRegression", "minImprovement")
        )

    return (
        rule(
            f"!{one_of(SHARES | CALIBRATION)} || ({within(1.0)})",
            f"{words(SHARES | CALIBRATION)} go from 0 to 1, and so must their bounds and margins: write 0.35 for 35"
            " percent",
        ),
        rule(
            f"!{one_of(TO_ONE_HUNDRED)} || ({within(100.0)} && ({absent_or_no_number('min')}"
            " || double(self.min) == 0.0 || double(self.min) > 1.0))",
            f"{words(TO_ONE_HUNDRED)} go from 0 to 100, and so must their bounds and margins: write 35, not 0.35",
        ),
        rule(
            f"!{one_of({Metric.BRIER})} || ({within(2.0)})",
            "Brier goes from 0 to 2 (over all choices), and so must its bounds and margins",
        ),
        rule(
            f"!{one_of(CALIBRATION)} || !has(self.comparedTo)",
            f"{words(CALIBRATION)} have bounds only: noise makes them larger, so the difference of two says little;"
            " compare Brier",
        ),
        rule(
            f"!{one_of(LOWER_IS_BETTER)} || !has(self.min) || has(self.max)",
            f"{words(LOWER_IS_BETTER)} are better when lower, so a floor alone asks for a bad model: give max",
        ),
        rule(
            f"!{one_of(HIGHER)} || !has(self.max) || has(self.min)",
            f"{words(HIGHER)} are better when higher, so a ceiling alone asks for a bad model: give min",
        ),
        rule(
            f"!{one_of(LOWEST)} || {absent_or_no_number('max')} || double(self.max) > 1.0",
            "Perplexity is never below 1, so max must be above 1 (CrossEntropy is its logarithm, in nats)",
        ),
        rule(
            f"!{one_of({Metric.CROSS_ENTROPY})} || {absent_or_no_number('max')} || double(self.max) > 0.0",
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
    """What a score must show. `metric` is `<suite>/<Metric>`; with `slice`, over the rows of that slice only.

    `confidencePercent` is one-sided: with 95, a model that misses the requirement passes it in at most 5 of 100 cases.
    """

    model_config = rules(BOUND_OR_COMPARISON, ONE_KIND, ORDERED, COMPARISON_MARGIN, *metric_rules("/%s$"))

    name: Name
    metric: Annotated[
        str,
        Field(
            max_length=128,
            json_schema_extra=field_rules(
                [
                    rule(
                        f"self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?/({'|'.join(Metric)})$')",
                        f"metric must be <suite>/<Metric>, such as heldout/RougeL; Metric is one of {', '.join(Metric)}",
                    )
                ]
            ),
        ),
    ]
    slice: Slice | None = None
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
        rule(
            "self.requirements.all(r, !has(r.slice) || self.suites.exists(s, r.metric.startsWith(s.name + '/')"
            " && has(s.slices) && s.slices.exists(f, f.field == r.slice.field)))",
            "a requirement's slice must be by a field that its suite is sliced by: add the field to spec.suites[].slices",
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
