"""ClusterEvalPolicy: what the platform team asks of every job that it selects."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from serin_operator.api.base import ApiModel, Name, field_rules, list_map, rule, rules
from serin_operator.api.v1alpha1.approval import Approvals
from serin_operator.api.v1alpha1.gate import (
    BOUND_OR_COMPARISON,
    COMPARISON_MARGIN,
    ONE_KIND,
    ORDERED,
    ComparedTo,
    ComparisonMethod,
    Confidence,
    MeasuredMetric,
    MethodName,
    Slice,
    Suite,
    metric_rules,
)
from serin_operator.api.v1alpha1.shared import Condition, Decimal, NonNegativeDecimal, ObjectMeta


class PolicyMode(StrEnum):
    ENFORCE = "Enforce"
    AUDIT = "Audit"


class LabelOperator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]


class LabelExpression(ApiModel):
    """What a label must, or must not, be."""

    model_config = rules(
        rule(
            "has(self.values) == (self.operator == 'In' || self.operator == 'NotIn')",
            "In and NotIn need values; Exists and DoesNotExist have none",
        )
    )

    key: LabelKey
    operator: LabelOperator
    values: Annotated[list[LabelValue], Field(min_length=1, max_length=16)] | None = None


class LabelSelector(ApiModel):
    """Objects by their labels, as everywhere in Kubernetes; an empty selector is every object."""

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=16)] = Field(default_factory=dict)
    match_expressions: Annotated[
        list[LabelExpression], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = []


class PolicyRequirement(ApiModel):
    """A requirement on a metric of the policy's own suite that it names. Without `suite` it holds on every suite of the
    job's gates and of the policy that measures the metric; at least one must. With `slice`, over the rows of that slice
    only, on the suites that are sliced by its field."""

    model_config = rules(BOUND_OR_COMPARISON, ONE_KIND, ORDERED, COMPARISON_MARGIN, *metric_rules("^%s$"))

    name: Name
    suite: Name | None = None
    metric: MeasuredMetric
    slice: Slice | None = None
    min: Decimal | None = None
    max: Decimal | None = None
    compared_to: ComparedTo | None = None
    max_regression: NonNegativeDecimal | None = None
    min_improvement: NonNegativeDecimal | None = None
    test_method: MethodName = ComparisonMethod.AUTO
    confidence_percent: Confidence = 95


ModelPrefix = Annotated[
    str,
    Field(
        max_length=512,
        json_schema_extra=field_rules(
            [
                rule(
                    "self.matches('^(pvc|hf)://[A-Za-z0-9][A-Za-z0-9/._@+=-]*$')",
                    "a base model is allowed by the beginning of its uri: hf://<organisation>,"
                    " hf://<organisation>/<model> or pvc://<claim>/<folder>",
                )
            ]
        ),
    ),
]


class Limits(ApiModel):
    """Floors and ceilings. What a job or a service asks for beyond them is brought within; where several policies set
    one, the strictest holds. `allowedBaseModels` are beginnings of addresses, cut at a slash or an @."""

    model_config = rules(
        rule(
            "has(self.minExamples) || has(self.maxCanaryStepPercent) || has(self.minStepSeconds)"
            " || has(self.minBakeSeconds) || has(self.allowedBaseModels)",
            "limits needs at least one limit",
        )
    )

    min_examples: Annotated[int, Field(ge=20, le=100_000)] | None = None
    max_canary_step_percent: Annotated[int, Field(ge=1, le=100)] | None = None
    min_step_seconds: Annotated[int, Field(ge=1, le=604800)] | None = None
    min_bake_seconds: Annotated[int, Field(ge=1, le=2_592_000)] | None = None
    allowed_base_models: (
        Annotated[
            list[ModelPrefix], Field(min_length=1, max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})
        ]
        | None
    ) = None


class ClusterEvalPolicySpec(ApiModel):
    """What every model of the selected namespaces and jobs must show, beside its own gates. It only adds."""

    model_config = rules(
        rule(
            "(has(self.requirements) && size(self.requirements) > 0) || has(self.limits)"
            " || (has(self.approvals) && size(self.approvals) > 0)",
            "a policy needs requirements, limits or approvals: it would ask for nothing",
        ),
        rule(
            "!has(self.requirements) || self.requirements.all(r, !has(r.suite) || has(self.suites) && self.suites.exists(s, s.name == r.suite"
            " && s.metrics.exists(m, m == r.metric)))",
            "every requirement with a suite must name one of this policy's suites that lists the metric",
        ),
        rule(
            "!has(self.requirements) || self.requirements.all(r, !has(r.slice) || !has(r.suite) || !has(self.suites)"
            " || self.suites.exists(s, s.name == r.suite && has(s.slices) && s.slices.exists(f, f.field == r.slice.field)))",
            "a requirement's slice must be by a field that the suite it names is sliced by: add the field to"
            " spec.suites[].slices",
        ),
    )

    mode: PolicyMode = PolicyMode.ENFORCE
    namespace_selector: LabelSelector = LabelSelector()
    job_selector: LabelSelector = LabelSelector()
    suites: Annotated[list[Suite], list_map("name", 16)] = []
    requirements: Annotated[list[PolicyRequirement], list_map("name", 32)] = []
    limits: Limits | None = None
    approvals: Approvals = []


class ClusterEvalPolicyStatus(ApiModel):
    """Whether the policy was read and is in force, and how much it selects. Nothing is decided by it: for people."""

    observed_generation: int | None = None
    conditions: Annotated[list[Condition], list_map("type", 8)] = []
    selected_namespaces: int | None = None
    selected_jobs: int | None = None
    selected_services: int | None = None  # ModelServices of the selected namespaces


class ClusterEvalPolicy(ApiModel):
    """The platform team's requirements for every model of the cluster."""

    metadata: ObjectMeta
    spec: ClusterEvalPolicySpec
    status: ClusterEvalPolicyStatus = ClusterEvalPolicyStatus()
