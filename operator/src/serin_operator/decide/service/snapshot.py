"""What the service loop sees of the world at one moment; `observe/service.py` fills it. Nothing is decided here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from serin_operator.api.v1alpha1 import (
    BakeStatus,
    CandidateStatus,
    CommandStatus,
    ComparisonStatus,
    Limits,
    ModelRevision,
    ModelService,
    SloStatus,
    StableStatus,
)
from serin_operator.decide.policies import NO_POLICIES, Policies
from serin_operator.decide.refusals import Refusal
from serin_operator.manifests import names


class ReadingKind(StrEnum):
    """What came back from a metric source. Everything but VALUE means: could not measure."""

    VALUE = "Value"
    NO_DATA = "NoData"
    NOT_A_NUMBER = "NotANumber"
    STALE = "StaleSample"
    SEVERAL_SERIES = "SeveralSeries"
    UNUSABLE_ANSWER = "UnusableAnswer"
    INVALID_QUERY = "InvalidQuery"
    UNKNOWN_SOURCE = "UnknownMetricSource"
    OUTAGE = "MetricsOutage"


@dataclass(frozen=True, slots=True)
class Reading:
    """The answer to one query: a number, or why there is none."""

    kind: ReadingKind
    value: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """An SLO's comparison with the stable after this look."""

    shown: SloStatus
    reading: Reading  # VALUE when all samples that were asked for came; otherwise why nothing could be measured
    seen: ComparisonStatus | None  # what status is to keep of it
    proceeds: bool = False  # it cannot tell, and the user lets that pass


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the metrics of the running canary step; there is one for each `intervalSeconds`."""

    samples: Mapping[str, Reading]  # by name of the SLO
    requests: Reading | None  # answered since the step began; None when minRequests is 0 and nobody asked
    compared: Mapping[str, Compared] = field(default_factory=dict[str, Compared])  # by name of the SLO


@dataclass(frozen=True, slots=True)
class ServingView:
    """The Deployment of one revision as it is now."""

    revision: str
    observed: bool  # the Deployment's controller has seen its newest generation
    wanted: int
    ready: int  # pods that answer
    updated: int  # pods of the newest template
    crashed_at: datetime | None = None  # when a server last ended by itself
    trouble: str = ""  # what the pods say about why they are not ready
    reachable: bool = True  # its Service exists

    @property
    def answers(self) -> bool:
        """At least one pod can be sent requests."""
        return self.reachable and self.ready > 0

    @property
    def complete(self) -> bool:
        """All pods of the newest template are ready: fit to be given more traffic."""
        return self.reachable and self.observed and self.updated >= self.wanted and self.ready >= self.wanted > 0


@dataclass(frozen=True, slots=True)
class Child:
    """A ConfigMap, Service or Deployment of this service that exists for a revision, with the fingerprint it was applied
    with and what it says now."""

    api_version: str
    kind: str
    name: str
    uid: str
    revision: str
    fingerprint: str
    resource_version: str
    says: Mapping[str, Any] = field(repr=False)  # its spec or data


@dataclass(frozen=True, slots=True)
class RouteView:
    """The HTTPRoute, read back."""

    backends: tuple[tuple[str, int], ...]  # (Service, weight), in the order of the route
    hostnames: tuple[str, ...]
    gateway: tuple[str, str] | None  # (namespace, name) of the only parent; None when it is not one Gateway
    programmed: bool  # our Gateway accepted this very generation and resolved its backends
    serving: bool  # our Gateway accepted it or the generation before: requests are answered meanwhile
    resource_version: str
    problem: str = ""  # what the Gateway says against it
    rules: Sequence[Any] = field(default=(), repr=False)
    ours: bool = True  # False when a route of this name exists that somebody else made

    def weight(self, revision: str) -> int:
        """What a revision gets by this route; 0 when it is not named."""
        return dict(self.backends).get(names.serving(revision), 0)

    def mentions(self, revision: str) -> bool:
        return any(service == names.serving(revision) for service, _ in self.backends)


@dataclass(frozen=True, slots=True)
class GatewayView:
    """The platform team's Gateway."""

    programmed: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """What the operator's configuration says about serving."""

    image: str
    pull_policy: str
    scale_down_delay: timedelta
    sources: tuple[str, ...] = ()  # metric sources that SLOs may name


@dataclass(frozen=True, slots=True)
class ServiceSnapshot:
    """Everything the decision may use; time is an input."""

    service: ModelService
    revisions: tuple[ModelRevision, ...]
    children: tuple[Child, ...]
    servings: Mapping[str, ServingView]  # by revision
    route: RouteView | None
    gateway: GatewayView | None
    look: Look | None  # None when no look was due
    now: datetime
    settings: ServingSettings
    gateway_problem: str = ""  # why the Gateway could not be read
    asked_through: str = ""  # the field manager that wrote the command's annotation
    heard: CommandStatus | None = None  # a command that came with this look (decide/service/commands.py)
    refused: Refusal | None = None  # a write of the last look that the apiserver refused
    policies: Policies = NO_POLICIES  # ClusterEvalPolicies that select the namespace
    limits: Limits | None = None  # theirs; the service's canary is within them already
    by_name: Mapping[str, ModelRevision] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {revision.metadata.name: revision for revision in self.revisions})

    @property
    def stable(self) -> StableStatus | None:
        return self.service.status.stable

    @property
    def candidate(self) -> CandidateStatus | None:
        return self.service.status.candidate

    @property
    def bake(self) -> BakeStatus | None:
        return self.service.status.bake

    def serving(self, revision: str) -> ServingView | None:
        return self.servings.get(revision)

    def weight(self, revision: str) -> int:
        """Read back from the route, never from status."""
        return self.route.weight(revision) if self.route is not None else 0
