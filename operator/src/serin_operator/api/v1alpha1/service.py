"""ModelService: a served model, its traffic, its SLOs and how a candidate takes over."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from serin_operator.api.base import ApiModel, Hostname, Name, decimal, field_rules, list_map, rule, rules
from serin_operator.api.v1alpha1.commands import CommandStatus, PauseStatus, RollbackStatus
from serin_operator.api.v1alpha1.gate import ORDERED
from serin_operator.api.v1alpha1.shared import Condition, Decimal, ObjectMeta, Resources, Text
from serin_operator.api.v1alpha1.verdicts import Verdict


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


class SloComparedTo(StrEnum):
    STABLE = "Stable"


class WhenInconclusive(StrEnum):
    """What a step does at its end when a comparison has its data and still cannot tell."""

    HOLD = "Hold"
    PROCEED = "Proceed"


_LABELS = '([^{}"]|"([^"{}]|[{][{](namespace|service|revision)[}][}])*")*'

Selector = Annotated[
    str,
    Field(
        min_length=1,
        max_length=512,
        json_schema_extra=field_rules(
            [
                rule(
                    f"self.matches('^[a-zA-Z_:][a-zA-Z0-9_:]*[{{]{_LABELS}[}}]$')",
                    "give a counter as a metric with labels and nothing around it, such as"
                    ' http_requests_total{revision="{{revision}}"}: its raw samples are read; {{namespace}}, {{service}}'
                    " and {{revision}} are filled in, for the stable too",
                ),
                rule(
                    "self.contains('{{revision}}')",
                    "a compared counter must contain {{revision}}: otherwise both arms would be the same",
                ),
            ]
        ),
    ),
]


Points = Annotated[
    str, decimal("maxIncreasePoints must be above 0, at most 50", "double(self) > 0.0 && double(self) <= 50.0", "0.5")
]


class Slo(ApiModel):
    """A bound on a PromQL query, a comparison with the stable, or both side by side. `{{namespace}}`, `{{service}}`,
    `{{revision}}` and, in `query`, `{{stable}}` are filled in."""

    model_config = rules(
        rule(
            "has(self.min) || has(self.max) || has(self.comparedTo)",
            "an SLO needs min or max: without a bound it would always pass; comparedTo: Stable does without one",
        ),
        rule(
            "has(self.query) == (has(self.min) || has(self.max))",
            "query and its bounds belong together: give query with min or max, or neither",
        ),
        rule(
            "has(self.comparedTo) ? (has(self.histogram) != (has(self.requests) && has(self.failures)))"
            " && has(self.requests) == has(self.failures)"
            " : !has(self.histogram) && !has(self.requests) && !has(self.failures)",
            "comparedTo needs what to compare: histogram (latency), or requests and failures (errors); and these need"
            " comparedTo",
        ),
        rule(
            "has(self.comparedTo) == (has(self.maxIncreasePercent) || has(self.maxIncreasePoints))",
            "comparedTo needs its tolerance, maxIncreasePercent or (for errors) maxIncreasePoints; and these need comparedTo",
        ),
        rule(
            "!has(self.maxIncreasePoints) || has(self.failures)",
            "maxIncreasePoints are percentage points of failed requests: latency takes maxIncreasePercent",
        ),
        rule(
            "has(self.comparedTo) || !has(self.whenInconclusive) && !has(self.warmUpSeconds)",
            "whenInconclusive and warmUpSeconds are of comparisons: they need comparedTo",
        ),
        ORDERED,
    )

    name: Name
    source: Name = "default"
    query: (
        Annotated[
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
        | None
    ) = None
    min: Decimal | None = None
    max: Decimal | None = None
    compared_to: SloComparedTo | None = None
    histogram: Selector | None = None
    requests: Selector | None = None
    failures: Selector | None = None
    max_increase_percent: Annotated[int, Field(ge=1, le=1000)] | None = None
    max_increase_points: Points | None = None
    when_inconclusive: WhenInconclusive | None = None
    warm_up_seconds: Annotated[int, Field(ge=0, le=3600)] | None = None


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
    slos: Annotated[
        list[Slo],
        list_map(
            "name",
            32,
            **field_rules(
                [
                    rule(
                        "self.exists(slo, has(slo.min) || has(slo.max))",
                        "at least one SLO needs min or max: at 100 percent and in the bake nobody is on the stable to be"
                        " compared with",
                    ),
                    rule(
                        "self.filter(slo, has(slo.comparedTo)).size() <= 8",
                        "at most 8 SLOs may be compared: what they have seen is kept in status",
                    ),
                ]
            ),
        ),
        Field(min_length=1),
    ]
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


class ComparisonStatus(ApiModel):
    """What a comparison has seen in the running step: all that a later look needs, so that a crash loses none of it and
    a look that is repeated counts none of it twice."""

    name: str
    key: str  # of what is compared with what, and how; another key begins anew
    looked_at: datetime  # when samples were last read, by the cluster's clock
    state: Annotated[str, Field(max_length=32768)]


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
    comparisons: Annotated[list[ComparisonStatus], list_map("name", 8)] = []
    promotion_request: str | None = None  # a person wants no more steps: the command that said so
    skipped_step: int | None = None  # a person wants no more of this step


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
    rollback: RollbackStatus | None = None
    paused: PauseStatus | None = None
    commands: Annotated[list[CommandStatus], Field(max_length=20)] = []
    canary_percent: int | None = None
    slos: Annotated[list[SloStatus], list_map("name", 32)] = []
    slos_judged_at: datetime | None = None


class ModelService(ApiModel):
    """A model served to users, kept good by canaries and rollbacks."""

    metadata: ObjectMeta
    spec: ModelServiceSpec
    status: ModelServiceStatus = ModelServiceStatus()
