"""The operator's configuration: a YAML file (SERIN_CONFIG), written by the chart. Unknown keys are an error."""

import os
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from serin_operator.errors import SerinError

DEFAULT_PATH = "/etc/serin/operator.yaml"


class InvalidSettings(SerinError):
    """The configuration file is missing or wrong."""


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")


class Images(_Model):
    """The images of the pods that the operator starts."""

    trainer: str
    evaluator: str
    server: str


class MetricSource(_Model):
    """A Prometheus that SLOs may name. A URL in a user's object would let users reach any address (SSRF)."""

    name: str
    url: str


class LeaderElection(_Model):
    """How long a Lease lasts, as in client-go: a leader that could not renew it within `renewDeadlineSeconds` stops, and
    another begins when it has not changed for `leaseDurationSeconds`."""

    lease_duration_seconds: int = Field(default=15, ge=1)
    renew_deadline_seconds: float = Field(default=10, gt=0)
    retry_period_seconds: float = Field(default=2, gt=0)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.retry_period_seconds < self.renew_deadline_seconds < self.lease_duration_seconds:
            raise ValueError(
                "retryPeriodSeconds must be below renewDeadlineSeconds, and that below leaseDurationSeconds"
            )
        return self


class Settings(_Model):
    images: Images
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    metric_sources: tuple[MetricSource, ...] = ()
    prepare_retry_seconds: int = 60
    scale_down_delay_seconds: int = 30
    leader_election: LeaderElection = LeaderElection()
    log_format: Literal["json", "plain"] = "json"


def load(path: str | None = None) -> Settings:
    """Settings from the file, or an InvalidSettings that names the field."""
    where = Path(path or os.environ.get("SERIN_CONFIG", DEFAULT_PATH))
    try:
        return Settings.model_validate(yaml.safe_load(where.read_text()) or {})
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise InvalidSettings(f"the configuration file {where} cannot be used: {error}") from error
