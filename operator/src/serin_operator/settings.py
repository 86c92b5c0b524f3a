"""The operator's configuration: a YAML file (SERIN_CONFIG), written by the chart. Unknown keys are an error."""

import os
import re
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
    url: str = Field(pattern="^https?://")
    bearer_token_file: str = ""
    """A file with a token, read anew for each question: tokens are replaced while we run."""
    ca_file: str = ""
    """Who signs its certificate, when that is not one of the usual authorities. Read again when it changes."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Sent with each question: X-Scope-OrgID names a tenant."""
    method: Literal["POST", "GET"] = "POST"
    """GET for what stands before a source and lets nothing else through; long queries need POST."""
    timeout_seconds: float = Field(default=5, gt=0, le=5)
    """After which it counts as away. Not more than 5: so much is known to be the longest look."""
    delay_seconds: float = Field(default=2, ge=0, le=300)
    """How late samples may come into it (remote write): comparisons read no further than this."""

    @model_validator(mode="after")
    def _sendable(self) -> Self:
        for name, value in self.headers.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not re.fullmatch(r"[\x20-\x7e]*", value):
                raise ValueError(f"metric source {self.name}: {name!r} is not a header that can be sent")
            if name.lower() in _OURS:
                raise ValueError(f"metric source {self.name}: header {name} is set by the operator (bearerTokenFile?)")
        if self.ca_file and not self.url.startswith("https://"):
            raise ValueError(f"metric source {self.name}: caFile says who signs a certificate, and {self.url} has none")
        return self


_OURS = frozenset({"authorization", "content-type", "content-length", "host"})


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
    approval_policy: str = "serin-approvals"
    """The ValidatingAdmissionPolicy, and its binding, that hold people to their own names. Empty: there is none."""
    leader_election: LeaderElection = LeaderElection()
    log_format: Literal["json", "plain"] = "json"


def load(path: str | None = None) -> Settings:
    """Settings from the file, or an InvalidSettings that names the field."""
    where = Path(path or os.environ.get("SERIN_CONFIG", DEFAULT_PATH))
    try:
        return Settings.model_validate(yaml.safe_load(where.read_text()) or {})
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise InvalidSettings(f"the configuration file {where} cannot be used: {error}") from error
