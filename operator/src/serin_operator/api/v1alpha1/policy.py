"""ClusterEvalPolicy: what the platform team asks of every job that it selects."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from serin_operator.api.base import ApiModel, Name, list_map, rules
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
    metric_rules,
)
from serin_operator.api.v1alpha1.shared import Decimal, NonNegativeDecimal, ObjectMeta


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

    model_config = rules(BOUND_OR_COMPARISON, ONE_KIND, ORDERED, COMPARISON_MARGIN, *metric_rules("^%s$"))

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
