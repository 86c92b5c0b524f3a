"""EvalGate: the suites that a candidate is measured with and what it must reach."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from serin_operator.api.base import ApiModel, DatasetUri, Name, field_rules, list_map, rule, rules
from serin_operator.api.v1alpha1.shared import Decimal, NonNegativeDecimal, ObjectMeta


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

    within = " && ".join(
        f"({absent_or_no_number(field)} || (double(self.{field}) >= 0.0 && double(self.{field}) <= 1.0))"
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
    """What a score must show. `metric` is `<suite>/<Metric>`.

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
