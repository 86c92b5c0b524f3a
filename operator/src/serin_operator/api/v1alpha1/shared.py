"""What several objects have in common: conditions, references, resources, numbers."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from serin_operator.api.base import ApiModel, Name, decimal, field_rules, rule

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
    annotations: dict[str, str] = Field(default_factory=dict)
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class LocalRef(ApiModel):
    """An object of the same namespace, by name."""

    name: Name


ConfigMapKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        json_schema_extra=field_rules(
            [
                rule(
                    "self.matches('^[A-Za-z0-9._-]+$') && self != '.' && !self.startsWith('..')",
                    "a ConfigMap's key has letters, digits, dots, dashes and underscores",
                )
            ]
        ),
    ),
]


class AuthorityKind(StrEnum):
    CONFIG_MAP = "ConfigMap"
    SECRET = "Secret"


class Authority(ApiModel):
    """The certificates (PEM) of an authority of one's own, under a key of a ConfigMap or Secret of the job's namespace.

    Of a server that names one, only certificates of this authority are believed. The pods mount it, and need not wait for it: what
    is missing is told, and looked for again.
    """

    kind: AuthorityKind = AuthorityKind.CONFIG_MAP
    name: Name
    key: ConfigMapKey = "ca.crt"


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
