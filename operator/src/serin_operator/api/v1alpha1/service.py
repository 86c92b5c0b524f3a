"""ModelService: a served model, its traffic, its SLOs and how a candidate takes over."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from serin_operator.api.base import ApiModel, Hostname, Name, decimal, field_rules, list_map, object_name, rule, rules
from serin_operator.api.v1alpha1.approval import ApprovalStatus, GivenApproval, GroupName
from serin_operator.api.v1alpha1.commands import CommandStatus, PauseStatus, RollbackStatus
from serin_operator.api.v1alpha1.data import Copies
from serin_operator.api.v1alpha1.experiment import Experiment, ExperimentStatus
from serin_operator.api.v1alpha1.gate import ORDERED
from serin_operator.api.v1alpha1.selectors import Selector, points, token
from serin_operator.api.v1alpha1.shared import Condition, Decimal, ObjectMeta, Resources, Text
from serin_operator.api.v1alpha1.verdicts import Verdict


class Engine(StrEnum):
    CPU = "CPU"
    VLLM = "VLLM"
    CUSTOM = "Custom"


Image = Annotated[
    str,
    Field(
        min_length=1,
        max_length=512,
        json_schema_extra=field_rules(
            [
                rule(
                    "self.matches('^[^@[:space:]]+@sha256:[0-9a-f]{64}$')"
                    " || self.matches('^[^@[:space:]]+:[A-Za-z0-9_][A-Za-z0-9._-]*$') && !self.endsWith(':latest')",
                    "name an image with its digest, or with a tag that is not latest: what serves must not change by itself",
                )
            ]
        ),
    ),
]


class Vllm(ApiModel):
    """vLLM's OpenAI server, `vllm serve` in an image of the user's choice (https://docs.vllm.ai, "Using Kubernetes")."""

    image: Image
    tensor_parallel_size: Annotated[int, Field(ge=1, le=64)] = 1
    max_model_len: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    gpu_memory_utilization: (
        Annotated[
            str,
            decimal(
                "gpuMemoryUtilization must be above 0, at most 1",
                "double(self) > 0.0 && double(self) <= 1.0",
                "0.9",
            ),
        ]
        | None
    ) = None
    extra_args: Annotated[
        list[Annotated[str, Field(max_length=1024)]],
        Field(
            max_length=64,
            json_schema_extra=field_rules(
                [
                    rule(
                        "self.all(a, a.matches('^--[a-z0-9][a-z0-9-]*(=.*)?$'))",
                        "give each argument as one word, --name or --name=value, with dashes in the name",
                    ),
                    rule(
                        "!self.exists(a, a.matches("
                        "'^--(model|served|host|port|tensor-parallel|max-model-len|gpu-memory-util|config|tru|lora|tokenizer|hf-|speculative)'))",
                        "model, tokenizer, adapters, names, host, port and config are Serin's; tensorParallelSize, maxModelLen and"
                        " gpuMemoryUtilization have fields; code that comes with a model is not run",
                    ),
                ],
                **{"x-kubernetes-list-type": "atomic"},
            ),
        ),
    ] = []


class EnvVar(ApiModel):
    """A literal value; Secrets are for the image's own mounts."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)]
    value: Annotated[str, Field(max_length=4096)]


Words = Annotated[
    list[Annotated[str, Field(max_length=4096)]],
    Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
]


class Custom(ApiModel):
    """Any server of OpenAI's API that listens on port 8000. `{{modelPath}}` and `{{modelName}}` are filled in, in
    `command`, `args` and the values of `env`."""

    model_config = rules(
        rule(
            "(has(self.command) && self.command.exists(w, w.contains('{{modelPath}}')))"
            " || (has(self.args) && self.args.exists(w, w.contains('{{modelPath}}')))"
            " || (has(self.env) && self.env.exists(e, e.value.contains('{{modelPath}}')))",
            "command, args or env must name {{modelPath}}: a server that is not told the model would serve another one",
        )
    )

    image: Image
    command: Words = []
    args: Words = []
    env: Annotated[list[EnvVar], list_map("name", 64)] = []
    health_path: Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/-]*$", max_length=256)] = "/health"


class Runtime(ApiModel):
    """What serves the model. CPU is Serin's own small OpenAI-compatible server."""

    model_config = rules(
        rule(
            "(self.engine == 'VLLM') == has(self.vllm)",
            "engine VLLM and the block vllm belong together: give vllm.image at least, or choose another engine",
        ),
        rule(
            "(self.engine == 'Custom') == has(self.custom)",
            "engine Custom and the block custom belong together: give custom.image and how it is told the model",
        ),
        rule(
            "self.engine == 'CPU' || !has(self.maxNewTokens)",
            "maxNewTokens is the CPU server's limit: vLLM has vllm.maxModelLen, and requests say max_tokens",
        ),
        rule(
            "!has(self.vllm) || !has(self.resources.limits) || !('nvidia.com/gpu' in self.resources.limits)"
            " || int(string(self.resources.limits['nvidia.com/gpu'])) >= self.vllm.tensorParallelSize",
            "vllm.tensorParallelSize must not be above resources.limits['nvidia.com/gpu']: the ranks of a pod need a GPU each",
        ),
    )

    engine: Engine
    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    resources: Resources = Resources()
    weights: Annotated[
        Copies | None,
        Field(
            description="Where pods fetch the model's files from, onto their node's disk. Without it they mount the claim that"
            " the model was written to."
        ),
    ] = None
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] | None = None
    vllm: Vllm | None = None
    custom: Custom | None = None


class TrafficProvider(StrEnum):
    """What divides the requests: the weights of a route at a Gateway, or, without one, how many pods each revision has."""

    GATEWAY_API = "GatewayAPI"
    REPLICA_RATIO = "ReplicaRatio"


class GatewayRef(ApiModel):
    """The Gateway that the platform team runs; it must allow routes from this namespace."""

    name: Name
    namespace: Name


class TesterHeader(ApiModel):
    """Requests with exactly this header are a tester's."""

    name: Annotated[str, token("a header's name")]
    value: Annotated[str, token("the value of a tester's header")]


class TesterCookie(ApiModel):
    """Requests with this cookie are a tester's."""

    model_config = rules(
        rule("self.name != 'serin-arm'", "the cookie serin-arm is that of experiments: testers need another name")
    )

    name: Annotated[str, token("a cookie's name")]
    value: Annotated[str, token("the value of a tester's cookie")]


class Testers(ApiModel):
    """Whose requests go to the candidate, whatever its share, as long as it is on its way in: one of these is enough."""

    model_config = rules(
        rule(
            "has(self.headers) && self.headers.size() > 0 || has(self.cookies) && self.cookies.size() > 0",
            "testers are known by headers or cookies: give one",
        )
    )

    headers: Annotated[list[TesterHeader], list_map("name", 4)] = []
    cookies: Annotated[list[TesterCookie], list_map("name", 4)] = []


class RouteRef(ApiModel):
    """An HTTPRoute of the user's, in the same namespace, whose annotation `serin.dev/managed-by-service` names this
    ModelService. Of the rule (`ruleName`, or the only one that names the Service `<name of the ModelService>`) the
    backendRefs are Serin's to write, and nothing else."""

    name: Annotated[str, object_name("routeRef.name must be the name of an HTTPRoute of this namespace")]
    rule_name: (
        Annotated[str, object_name("ruleName must be the name of a rule of the route (spec.rules[].name)")] | None
    ) = None


class Traffic(ApiModel):
    """By a route that Serin makes (`gatewayRef`, `hostnames`), by one of the user's (`routeRef`), or, with `provider:
    ReplicaRatio`, by one Service of the ModelService's name whose pods are those of stable and candidate, `maxReplicas` of
    both at most."""

    model_config = rules(
        rule(
            "self.provider == 'ReplicaRatio' || (has(self.routeRef) ? !has(self.gatewayRef) && !has(self.hostnames)"
            " : has(self.gatewayRef) && has(self.hostnames))",
            "give gatewayRef and hostnames, and Serin makes a route; or give routeRef alone, and Serin writes the weights of"
            " yours",
        ),
        rule(
            "!has(self.routeRef) || !has(self.testers)",
            "testers need a rule that Serin makes: leave them out, or give gatewayRef and hostnames in place of routeRef",
        ),
        rule(
            "has(self.routeRef) == has(oldSelf.routeRef) && (!has(self.routeRef) || self.routeRef == oldSelf.routeRef)",
            "routeRef cannot be changed, since a route that is no longer named would keep its weights: delete the"
            " ModelService and apply it again",
        ),
        rule(
            "self.provider != 'ReplicaRatio' || !has(self.gatewayRef) && !has(self.hostnames) && !has(self.routeRef)"
            " && !has(self.testers)",
            "with provider ReplicaRatio there is no gateway: leave out gatewayRef, hostnames, routeRef and testers, or give"
            " provider GatewayAPI",
        ),
        rule(
            "self.provider == 'ReplicaRatio' || !has(self.maxReplicas)",
            "maxReplicas is of provider ReplicaRatio: a gateway divides requests by weights, however many pods there are",
        ),
        rule(
            "self.provider == oldSelf.provider",
            "provider cannot be changed, since clients would still come by the old way: delete the ModelService and apply"
            " it again",
        ),
    )

    provider: TrafficProvider = TrafficProvider.GATEWAY_API
    gateway_ref: GatewayRef | None = None
    testers: Testers | None = None
    hostnames: (
        Annotated[
            list[Hostname],
            Field(min_length=1, max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = None
    route_ref: RouteRef | None = None
    max_replicas: Annotated[int, Field(ge=2, le=10_000)] | None = None  # of stable and candidate together

    @property
    def by_pods(self) -> bool:
        """Requests are divided by numbers of pods."""
        return self.provider is TrafficProvider.REPLICA_RATIO

    @property
    def gateway(self) -> GatewayRef:
        """Of a route that Serin makes: the schema asks for it there."""
        assert self.gateway_ref is not None
        return self.gateway_ref


class SloComparedTo(StrEnum):
    STABLE = "Stable"


class SloPreset(StrEnum):
    """A ready-made query; the catalogue of `decide/service/presets.py` says what each measures, in which unit."""

    TIME_TO_FIRST_TOKEN_P95 = "TimeToFirstTokenP95"
    INTER_TOKEN_LATENCY_P95 = "InterTokenLatencyP95"
    REQUEST_LATENCY_P95 = "RequestLatencyP95"
    QUEUE_TIME_P95 = "QueueTimeP95"
    ANSWER_TOKENS_P50 = "AnswerTokensP50"
    WAITING_REQUESTS = "WaitingRequests"
    CACHE_USAGE_PERCENT = "CacheUsagePercent"
    ERROR_PERCENT = "ErrorPercent"
    GATEWAY_ERROR_PERCENT = "GatewayErrorPercent"
    GATEWAY_LATENCY_P95 = "GatewayLatencyP95"
    FEEDBACK_POSITIVE_PERCENT = "FeedbackPositivePercent"
    TASK_SUCCESS_PERCENT = "TaskSuccessPercent"


class WhenInconclusive(StrEnum):
    """What a step does at its end when a comparison has its data and still cannot tell."""

    HOLD = "Hold"
    PROCEED = "Proceed"


class Slo(ApiModel):
    """A bound on a PromQL query, written out or ready-made, a comparison with the stable, or both side by side.
    `{{namespace}}`, `{{service}}`, `{{revision}}` are filled in, and, in `query`, `{{stable}}`, `{{backend}}` (the
    Service of the revision) and `{{window}}`. With `dryRun` it is measured and shown, and decides nothing."""

    model_config = rules(
        rule(
            "has(self.min) || has(self.max) || has(self.comparedTo)",
            "an SLO needs min or max: without a bound it would always pass; comparedTo: Stable does without one",
        ),
        rule(
            "(has(self.query) || has(self.preset)) == (has(self.min) || has(self.max))",
            "query and its bounds belong together: give query or preset with min or max, or none of them",
        ),
        rule("!has(self.query) || !has(self.preset)", "a preset brings its query: give query or preset, not both"),
        rule(
            "!has(self.windowSeconds) || has(self.preset) || has(self.query) && self.query.contains('{{window}}')",
            "windowSeconds is what {{window}} stands for in a query, and the window of a preset: it needs one of them",
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
        rule(
            "!has(self.failureLimit) || has(self.min) || has(self.max)",
            "failureLimit counts looks outside of the bounds: it needs min or max (a comparison that fails is sure already)",
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
                            "self.contains('{{revision}}') || self.contains('{{backend}}')",
                            "query must contain {{revision}} or {{backend}}: otherwise it would judge all revisions together",
                        ),
                        rule(
                            "!self.replace('{{namespace}}', '').replace('{{service}}', '').replace('{{revision}}', '')"
                            ".replace('{{stable}}', '').replace('{{backend}}', '').replace('{{window}}', '')"
                            ".matches('[{][{]|[}][}]')",
                            "query may name {{namespace}}, {{service}}, {{revision}}, {{stable}}, {{backend}} and"
                            " {{window}} in double braces, and nothing else",
                        ),
                    ]
                ),
            ),
        ]
        | None
    ) = None
    preset: SloPreset | None = None
    window_seconds: Annotated[int, Field(ge=5, le=86400)] | None = None
    min: Decimal | None = None
    max: Decimal | None = None
    compared_to: SloComparedTo | None = None
    histogram: Selector | None = None
    requests: Selector | None = None
    failures: Selector | None = None
    max_increase_percent: Annotated[int, Field(ge=1, le=1000)] | None = None
    max_increase_points: Annotated[str, points("maxIncreasePoints")] | None = None
    when_inconclusive: WhenInconclusive | None = None
    warm_up_seconds: Annotated[int, Field(ge=0, le=3600)] | None = None
    failure_limit: Annotated[int, Field(ge=0, le=100)] | None = None
    consecutive_error_limit: Annotated[int, Field(ge=1, le=1000)] | None = None
    dry_run: bool = False


HOLD_SECONDS: Final = 60
"""How long a step with a share is watched, when nobody says it."""


class Approval(ApiModel):
    """The share stays until a person says approve. SLOs go on deciding meanwhile; `message` is for whoever is asked. With
    `groups` or `users` it must be one of these, which an admission policy of the chart proves; that holds for
    `validSeconds`, a week unless said otherwise."""

    model_config = rules(
        rule(
            "!has(self.validSeconds) || has(self.groups) && self.groups.size() > 0"
            " || has(self.users) && self.users.size() > 0",
            "validSeconds is of approvals by name: give groups or users",
        )
    )

    message: Annotated[str, Field(max_length=256)] | None = None
    groups: Annotated[list[GroupName], Field(max_length=8, json_schema_extra={"x-kubernetes-list-type": "set"})] = []
    users: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256)]],
        Field(max_length=8, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = []
    valid_seconds: Annotated[int, Field(ge=60, le=31_536_000)] | None = None


class Analysis(ApiModel):
    """The share stays until every SLO has passed at each look for so long, and so many requests were answered in it."""

    passing_seconds: Annotated[int, Field(ge=1, le=604800)]
    min_requests: Annotated[int, Field(ge=0, le=1_000_000)] | None = None


class Shadow(ApiModel):
    """A copy of all requests goes to the candidate; users get the stable's answers, and its own are thrown away."""


class CanaryStep(ApiModel):
    """A share of the traffic, or copies of all of it, held for a time; or, with the traffic of the step before, an approval,
    an analysis or an experiment."""

    model_config = rules(
        rule(
            "[has(self.weightPercent), has(self.shadow), has(self.approval), has(self.analysis), has(self.experiment)]"
            ".filter(kind, kind).size() == 1",
            "a step has exactly one of weightPercent, shadow, approval, analysis and experiment",
        ),
        rule(
            "has(self.weightPercent) || has(self.shadow) || !has(self.holdSeconds)",
            "holdSeconds goes with weightPercent or shadow: an analysis has passingSeconds, an approval takes as long as it takes",
        ),
        rule(
            "!has(self.maxDurationSeconds) || self.maxDurationSeconds > (has(self.holdSeconds) ? self.holdSeconds :"
            " has(self.analysis) ? self.analysis.passingSeconds :"
            f" has(self.approval) || has(self.experiment) ? 0 : {HOLD_SECONDS})",
            "maxDurationSeconds must be above holdSeconds (60 when it is not given) or passingSeconds: the step could never end",
        ),
        rule(
            "!has(self.experiment) || has(self.maxDurationSeconds) && self.maxDurationSeconds > self.experiment.minSeconds",
            "an experiment needs maxDurationSeconds, above its minSeconds: when nothing was found until then, there is no"
            " difference to be found",
        ),
    )

    weight_percent: Annotated[int, Field(ge=1, le=100)] | None = None
    shadow: Shadow | None = None
    hold_seconds: Annotated[int, Field(ge=0, le=604800)] | None = None
    approval: Approval | None = None
    analysis: Analysis | None = None
    experiment: Experiment | None = None
    max_duration_seconds: Annotated[int, Field(ge=1, le=2_592_000)] | None = None


class BlindAction(StrEnum):
    """Hold keeps the candidate's share; Withdraw takes it away, and begins anew when there are metrics again."""

    HOLD = "Hold"
    WITHDRAW = "Withdraw"


class Blindness(ApiModel):
    """What to do when a candidate with traffic cannot be judged: for so long not every SLO gave one fresh number."""

    timeout_seconds: Annotated[int, Field(ge=1, le=86400)] = 300
    action: BlindAction = BlindAction.HOLD


class SupersedePolicy(StrEnum):
    """What a newer revision does to a candidate that has requests: takes its place, or waits until it has finished."""

    REPLACE = "Replace"
    FINISH = "Finish"


class OverdueAction(StrEnum):
    """What becomes of a candidate that takes longer than it may: nothing more by itself, or it is rejected."""

    HOLD = "Hold"
    ROLL_BACK = "RollBack"


class PreviousRevision(StrEnum):
    """What becomes of the pods of the stable before while the new one bakes: kept ready, or started anew when they are needed."""

    WARM = "Warm"
    STOPPED = "Stopped"


class Canary(ApiModel):
    """How a candidate earns its traffic, and how long it is watched once it has all of it."""

    model_config = rules(
        rule(
            "self.blindness.timeoutSeconds >= self.intervalSeconds",
            "blindness.timeoutSeconds must be at least intervalSeconds: a single look that measured nothing is no outage",
        ),
        rule(
            "self.bakeSeconds > 0 || self.previousRevision == 'Warm'",
            "previousRevision is of the bake, and bakeSeconds is 0: leave it out, or give bakeSeconds",
        ),
    )

    steps: Annotated[
        list[CanaryStep],
        Field(
            min_length=1,
            max_length=32,
            json_schema_extra=field_rules(
                [
                    rule(
                        "has(self[0].weightPercent) || has(self[0].shadow)",
                        "the first step must have weightPercent or shadow: before it the candidate has no requests",
                    ),
                    rule(
                        "self.filter(s, has(s.weightPercent) || has(s.shadow)).map(s, has(s.shadow) ? 0 : 1).isSorted()",
                        "shadow comes before any weightPercent: a candidate that has users' requests needs no copies",
                    ),
                    rule(
                        "self.exists(s, has(s.weightPercent) && s.weightPercent == 100)",
                        "the last weightPercent must be 100",
                    ),
                    rule(
                        "self.all(a, !has(a.weightPercent) || self.filter(b, has(b.weightPercent) && b.weightPercent =="
                        " a.weightPercent).size() == 1)"
                        " && self.filter(s, has(s.weightPercent)).map(s, s.weightPercent).isSorted()",
                        "weightPercent must rise from step to step",
                    ),
                    rule(
                        "!self.exists(s, has(s.experiment)) || self.filter(s, has(s.experiment)).size() == 1"
                        " && self.filter(s, has(s.experiment) || has(s.weightPercent) && s.weightPercent == 100)"
                        ".map(s, has(s.experiment) ? 0 : 1).isSorted()"
                        " && has(self.filter(s, has(s.experiment) || has(s.weightPercent))[0].weightPercent)",
                        "there is one experiment at most, behind a weightPercent below 100: both revisions need users",
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
    initial_delay_seconds: Annotated[int, Field(ge=0, le=3600)] = 0
    max_duration_seconds: Annotated[int, Field(ge=1, le=2_592_000)] | None = None
    when_overdue: OverdueAction = OverdueAction.HOLD
    progress_deadline_seconds: Annotated[int, Field(ge=10, le=86400)] = 600
    blindness: Blindness = Blindness()
    supersede_policy: SupersedePolicy = SupersedePolicy.REPLACE
    bake_seconds: Annotated[int, Field(ge=0, le=2_592_000)] = 600
    previous_revision: PreviousRevision = PreviousRevision.WARM  # while it bakes


class Drift(ApiModel):
    """When what users ask and get no longer looks like the evaluation set: a population stability index above `maxPsi`, and
    above what chance does, over so many answers at least. It is told, and rolls nothing back."""

    source: Name = "default"
    window_seconds: Annotated[int, Field(ge=60, le=604800)] = 3600
    min_answers: Annotated[int, Field(ge=20, le=1_000_000)] = 200
    max_psi: Annotated[
        str, decimal("maxPsi must be above 0, at most 10", "double(self) > 0.0 && double(self) <= 10.0", "0.2")
    ] = "0.2"


class Monitoring(ApiModel):
    """The SLOs go on being asked for the stable while nothing is on trial; a breach is told and rolls nothing back."""

    interval_seconds: Annotated[int, Field(ge=5, le=3600)] = 60
    drift: Drift | None = None


class ModelServiceSpec(ApiModel):
    """A served model: what runs it, how traffic reaches it, what must hold, and how a candidate is let in."""

    model_config = rules(
        rule(
            "!has(self.traffic.routeRef) || !self.canary.steps.exists(s, has(s.shadow) || has(s.experiment))",
            "shadow and experiment need rules that Serin makes: leave these steps out, or give gatewayRef and hostnames in"
            " place of traffic.routeRef",
        ),
        rule(
            "self.traffic.provider != 'ReplicaRatio' || !self.canary.steps.exists(s, has(s.shadow) || has(s.experiment))",
            "shadow and experiment need a gateway, which copies requests and knows users by their headers: leave these steps"
            " out, or give traffic.provider GatewayAPI",
        ),
        rule(
            "self.traffic.provider != 'ReplicaRatio' || !self.slos.exists(s, has(s.preset) && s.preset.startsWith('Gateway'))",
            "presets whose names begin with Gateway ask what a gateway has measured, and ReplicaRatio has none: take"
            " ErrorPercent or RequestLatencyP95",
        ),
        rule(
            "!has(self.traffic.maxReplicas) || self.traffic.maxReplicas >= 2 * self.runtime.replicas",
            "traffic.maxReplicas must be at least twice runtime.replicas: before it gets everything, the candidate has as many"
            " pods as the stable",
        ),
        rule(
            "self.traffic.provider != 'ReplicaRatio' || self.canary.steps.all(s, !has(s.weightPercent) || s.weightPercent *"
            " (has(self.traffic.maxReplicas) ? self.traffic.maxReplicas : 2 * self.runtime.replicas) >= 100)",
            "with ReplicaRatio the smallest share is one pod of traffic.maxReplicas (twice runtime.replicas when it is not"
            " given): raise maxReplicas to 100 / weightPercent of the smallest step, or give larger steps",
        ),
    )

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
                        "self.exists(slo, (has(slo.min) || has(slo.max)) && !slo.dryRun)",
                        "at least one SLO needs min or max, and no dryRun: at 100 percent and in the bake nobody is on the"
                        " stable to be compared with",
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
    monitoring: Monitoring = Monitoring()
    revision_history_limit: Annotated[int, Field(ge=0, le=1000)] | None = None  # of those out of use; None keeps all


class SloStatus(ApiModel):
    """The last look at one SLO."""

    name: str
    verdict: Verdict
    value: str | None = None
    message: Text = ""
    dry_run: bool | None = None


class SloCounts(ApiModel):
    """Looks at one SLO in the running step or bake. Breaches and blindness are counted apart: one says that the model is
    bad, the other says nothing of it."""

    name: str
    failures: int = 0  # outside of its bounds, all of them
    consecutive_errors: int = 0  # it could not be measured, in a row up to the last look


class StableStatus(ApiModel):
    """What users get now."""

    revision: str
    digest: str
    since: datetime


class ComparisonStatus(ApiModel):
    """What a comparison has seen in the running step: all that a later look needs, so that a crash loses none of it and
    a look that is repeated counts none of it twice."""

    name: str
    key: str  # of what is compared with what, and how; another key begins anew
    looked_at: datetime  # when samples were last read, by the cluster's clock
    state: Annotated[str, Field(max_length=32768)]


class Watched(ApiModel):
    """Time under traffic as it was seen, counted from look to look. Each look adds what passed since the one before, but
    never less than nothing and never much more than an interval: neither a clock that is set nor an operator that was
    away counts as watching."""

    looked_at: datetime | None = None
    elapsed_seconds: int = 0  # all of it
    watched_seconds: int = 0  # of this, what ended with every SLO measured
    passing_seconds: int = 0  # since a look at which not every SLO passed
    blind_seconds: int = 0  # since every SLO was last measured
    not_ready_seconds: int = 0  # waiting for pods
    last_crash_at: datetime | None = None  # of its servers, before the watch began
    counts: Annotated[list[SloCounts], list_map("name", 32)] = []  # of SLOs where there is something to count
    polls: Annotated[list[ComparisonStatus], list_map("name", 32)] = []  # of counters of failed requests


class PreflightStatus(ApiModel):
    """The last time that the SLOs were asked before the first share, when some of them could not be measured."""

    looked_at: datetime
    seconds: int = 0  # for how long that has been so, as far as it was seen


class CandidateStatus(Watched):
    """The revision on its way in. `stepStartedAt` is when the route was first seen with this step's weight."""

    revision: str
    digest: str
    step: int
    since: datetime
    step_started_at: datetime | None = None
    preflight: PreflightStatus | None = None  # before its first share
    withdrawals: int = 0
    withdrawn_at: datetime | None = None
    stable_silent_seconds: int = 0  # without a pod of the stable that answers, as far as it was seen
    stable_silent_at: datetime | None = None  # when that was last seen
    comparisons: Annotated[list[ComparisonStatus], list_map("name", 8)] = []
    promotion_request: str | None = None  # a person wants no more steps: the command that said so
    skipped_step: int | None = None  # a person wants no more of this step
    approved_step: int | None = None  # a person said approve in it
    asked_at: datetime | None = None  # when its approval was asked for: what was said of an earlier try does not count
    approval: ApprovalStatus | None = None  # of a step that names who may approve it
    given: Annotated[list[GivenApproval], Field(max_length=32)] = []  # what was written for it, and when that was seen
    delayed_seconds: int = 0  # under traffic in this step, before anything is judged
    rollout_seconds: int = 0  # in steps, all of them, as far as it was seen; counted while something limits it
    step_seconds: int = 0  # in the running one
    counted_at: datetime | None = None  # when these were last counted
    overdue_at: datetime | None = None


class BakeStatus(Watched):
    """The new stable is still watched, and the one before it is kept ready to take over again."""

    revision: str
    previous: str
    previous_digest: str
    started_at: datetime | None = None


class SloBreach(ApiModel):
    """An SLO that the stable breaks, and since when."""

    name: str
    since: datetime


class DriftSignal(ApiModel):
    """How far something of what is asked or answered is from the evaluation set, and since when it is too far."""

    name: str
    verdict: Verdict
    psi: str | None = None
    message: Text = ""
    since: datetime | None = None


class DriftStatus(ApiModel):
    """Without signals there is nothing to compare with."""

    signals: Annotated[list[DriftSignal], list_map("name", 8)] = []


class MonitoringStatus(ApiModel):
    """What the SLOs say of the stable since nothing is on trial. `counts` are of looks in a row."""

    revision: str
    looked_at: datetime
    slos: Annotated[list[SloStatus], list_map("name", 32)] = []
    counts: Annotated[list[SloCounts], list_map("name", 32)] = []
    breached: Annotated[list[SloBreach], list_map("name", 32)] = []
    drift: DriftStatus | None = None


class WrittenBackend(ApiModel):
    """A Service and its weight."""

    name: str
    weight: int


class LentRouteStatus(ApiModel):
    """The last write to a route of the user's: the same weights are written again no sooner than `intervalSeconds` later,
    however often somebody else writes others."""

    written_at: datetime
    generation: int  # of the route, before this write: while it has it, the write did not happen
    backends: Annotated[list[WrittenBackend], list_map("name", 16)] = []


class ReplicaRatioStatus(ApiModel):
    """What the candidate's pods come to behind the Service that clients use (provider ReplicaRatio)."""

    asked_percent: int
    given_percent: str  # of the ready pods, to a tenth: by the EndpointSlices of the Service
    candidate_pods: int  # ready, and behind the Service
    stable_pods: int
    message: Text = ""


class ModelServiceStatus(ApiModel):
    observed_generation: int | None = None
    state: str | None = None
    message: Text | None = None
    conditions: Annotated[list[Condition], list_map("type", 32)] = []
    stable: StableStatus | None = None
    candidate: CandidateStatus | None = None
    bake: BakeStatus | None = None
    monitoring: MonitoringStatus | None = None
    experiment: ExperimentStatus | None = None
    lent_route: LentRouteStatus | None = None
    replica_ratio: ReplicaRatioStatus | None = None
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
