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
    ExperimentStatus,
    Limits,
    ModelRevision,
    ModelService,
    SloStatus,
    StableStatus,
)
from serin_operator.decide.job.approvals import NOT_LOOKED, Admission
from serin_operator.decide.policies import NO_POLICIES, Policies
from serin_operator.decide.refusals import Refusal
from serin_operator.manifests import names
from serin_operator.manifests.front import EVERYBODY


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
class Grouped:
    """The answer to one query by a label: numbers, by the label's value."""

    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Compared:
    """An SLO's comparison with the stable after this look."""

    shown: SloStatus
    reading: Reading  # VALUE when all samples that were asked for came; otherwise why nothing could be measured
    seen: ComparisonStatus | None  # what status is to keep of it
    proceeds: bool = False  # it cannot tell, and the user lets that pass


@dataclass(frozen=True, slots=True)
class Failing:
    """What an SLO's counters of failed requests said: a sentence when most fail, and what status is to keep of them."""

    message: str
    seen: ComparisonStatus | None


@dataclass(frozen=True, slots=True)
class Tried:
    """The experiment after this look: what status is to keep of it, and why outcomes could not be read."""

    status: ExperimentStatus | None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the metrics of the running canary step; there is one for each `intervalSeconds`."""

    samples: Mapping[str, Reading]  # by name of the SLO
    requests: Reading | None  # answered since the step began; None when minRequests is 0 and nobody asked
    compared: Mapping[str, Compared] = field(default_factory=dict[str, Compared])  # by name of the SLO
    tried: Tried | None = None


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
    tried: bool = True  # a pod that is not ready did run: what keeps it is not the cluster

    @property
    def answers(self) -> bool:
        """At least one pod can be sent requests; those of a Deployment that is to have none are on their way out."""
        return self.reachable and self.ready > 0 and self.wanted > 0

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
class Lent:
    """What Serin may write of a user's route: one rule's backends that lead to this service."""

    name: str
    generation: int
    rule: int  # its place in the route
    others: tuple[str, ...] = ()  # that lead elsewhere, and have a weight


@dataclass(frozen=True, slots=True)
class Front:
    """The Service that clients use where there is no gateway: whom it selects, and who is really behind it."""

    selects: str  # a revision, EVERYBODY, or "" when somebody wrote something else
    ready: Mapping[str, int]  # pods that its EndpointSlices give requests to, by revision; "" is of pods nobody knows
    pods: Mapping[str, int]  # of this service, by revision, ready or not, but for those on their way out
    says: Mapping[str, Any] = field(repr=False)  # its spec


@dataclass(frozen=True, slots=True)
class RouteView:
    """The HTTPRoute, read back; or, where there is no gateway, the Service in its place (`front`)."""

    backends: tuple[tuple[str, int], ...]  # (Service, weight), in the order of the route
    hostnames: tuple[str, ...]
    gateway: tuple[str, str] | None  # (namespace, name) of the only parent; None when it is not one Gateway
    programmed: bool  # our Gateway accepted this very generation and resolved its backends
    serving: bool  # our Gateway accepted it or the generation before: requests are answered meanwhile
    resource_version: str
    problem: str = ""  # what the Gateway says against it
    rules: Sequence[Any] = field(default=(), repr=False)
    made_at: datetime | None = None
    testers: tuple[str, ...] = ()  # Services that get testers' requests
    mirrors: tuple[str, ...] = ()  # Services that get copies of requests
    arms: tuple[str, ...] = ()  # Services that users of an experiment are kept at
    obstacle: str = ""  # the reason why it, or a part of its rule, is not Serin's to write; `problem` says it in words
    lent: Lent | None = None  # of a route of the user's
    front: Front | None = None  # in place of a route

    @property
    def ours(self) -> bool:
        return not self.obstacle

    def weight(self, revision: str) -> int:
        """What a revision gets by this route; 0 when it is not named."""
        return dict(self.backends).get(names.serving(revision), 0)

    def mentions(self, revision: str) -> bool:
        if self.front is not None:  # with all pods selected, each that starts is behind it
            return self.front.selects in (revision, EVERYBODY, "") or revision in self.front.ready
        named = (*(service for service, _ in self.backends), *self.testers, *self.mirrors, *self.arms)
        return names.serving(revision) in named


@dataclass(frozen=True, slots=True)
class GatewayView:
    """The platform team's Gateway."""

    programmed: bool
    problem: str = ""
    name: str = ""  # with its namespace


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """What the operator's configuration says about serving."""

    image: str
    pull_policy: str
    scale_down_delay: timedelta
    sources: tuple[str, ...] = ()  # metric sources that SLOs may name
    fetcher: str = ""  # the image that fetches weights


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
    monitored: Mapping[str, Reading] | None = None  # of the stable, by name of the SLO; None when no look was due
    failing: Mapping[str, Failing] | None = None  # by name of the SLO; None when nobody asked
    preflight: Mapping[tuple[str, str], Reading] | None = None  # by source and query; None when nobody asked
    drifting: Mapping[str, Reading | Grouped] | None = None  # of the stable, by signal; None when nobody asked
    gateway_problem: str = ""  # why the Gateway could not be read
    asked_through: str = ""  # the field manager that wrote the command's annotation
    names_held: bool = True  # an admission policy lets nobody give a command in another's name
    admission: Admission = NOT_LOOKED  # looked up while a step waits for an approval of named people
    heard: CommandStatus | None = None  # a command that came with this look (decide/service/commands.py)
    refused: Refusal | None = None  # a write of the last look that the apiserver refused
    policies: Policies = NO_POLICIES  # ClusterEvalPolicies that select the namespace
    taken: Mapping[str, str] = field(default_factory=dict[str, str])  # hostnames that other services have, and which
    claimed: frozenset[str] | None = None  # revisions that jobs which exist have made; None when nobody looked
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
