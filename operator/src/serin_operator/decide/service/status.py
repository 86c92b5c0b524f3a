"""The status of a ModelService, for people and for kstatus: computed anew on every look from snapshot and plan.

`state` is for eyes only and is never read back.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from serin_operator.api.v1alpha1 import (
    ApprovalOutcome,
    CommandOutcome,
    CommandStatus,
    Condition,
    ModelServiceStatus,
    ReplicaRatioStatus,
    RolloutRecord,
)
from serin_operator.decide import conditions, refusals
from serin_operator.decide.conditions import Finding
from serin_operator.decide.service import (
    approvers,
    commands,
    drift,
    experiment,
    facts,
    front,
    gateways,
    hostnames,
    lent,
    monitoring,
    preflight,
    ratio,
    revisions,
    slos,
    traffic,
    words,
)
from serin_operator.decide.service.plan import Plan
from serin_operator.decide.service.snapshot import Compared, ReadingKind, ServiceSnapshot


class State(StrEnum):
    WAITING = "Waiting"
    DEPLOYING = "Deploying"
    STABLE = "Stable"
    CANARY = "Canary"
    PAUSED = "Paused"
    WITHDRAWN = "Withdrawn"
    AWAITING_APPROVAL = "AwaitingApproval"
    BAKING = "Baking"
    ROLLING_BACK = "RollingBack"
    DEGRADED = "Degraded"


def wanted_status(s: ServiceSnapshot, plan: Plan) -> ModelServiceStatus:
    before = s.service.status
    generation = s.service.metadata.generation
    found = [finding(s, plan) for finding in FINDINGS]
    shared = front.told(s, plan)
    return ModelServiceStatus(
        observed_generation=generation,
        state=state(s, plan).value,
        message=plan.sentence,
        conditions=conditions.merged(before.conditions, found, generation, s.now),
        stable=plan.stable,
        candidate=plan.candidate,
        bake=plan.bake,
        monitoring=monitoring.after(s, plan),
        experiment=experiment.after(s),
        lent_route=lent.after(s, traffic.wanted_backends(s, plan)),
        replica_ratio=shared,
        rollback=plan.rollback,
        paused=before.paused,
        commands=_journal(s, plan),
        canary_percent=_canary_percent(s, plan, shared),
        slos=list(plan.slos) if plan.slos is not None else before.slos,
        slos_judged_at=s.now if s.look is not None else before.slos_judged_at,
    )


def _canary_percent(s: ServiceSnapshot, plan: Plan, shared: ReplicaRatioStatus | None) -> int | None:
    """By the weights of the route, or by the pods that are ready."""
    if shared is not None:
        return round(float(shared.given_percent))
    return s.weight(plan.candidate.revision) if plan.candidate is not None else None


def _journal(s: ServiceSnapshot, plan: Plan) -> list[CommandStatus]:
    said = commands.journal(s, plan.rollback, plan.sentence)
    return [*approvers.ended_by(s, plan.stable, plan.candidate), *said][: commands.REMEMBERED]


# --- state --------------------------------------------------------------------------------------------------------


def _rejecting(s: ServiceSnapshot, plan: Plan) -> bool:
    return bool(_rejections(plan)) or bool(facts.rejected_with_weight(s)) or plan.rollback is not None


def _stable_silent(s: ServiceSnapshot, plan: Plan) -> bool:
    return plan.stable is not None and facts.stable_silent(s) and s.stable is not None


def _paused(s: ServiceSnapshot, plan: Plan) -> bool:
    return facts.paused(s) and (plan.candidate is not None or plan.bake is not None)


def _under_traffic(s: ServiceSnapshot, plan: Plan) -> bool:
    return plan.candidate is not None and plan.candidate.step > 0


def _awaiting_approval(s: ServiceSnapshot, plan: Plan) -> bool:
    candidate = plan.candidate
    if candidate is None or candidate.step == 0:
        return False
    steps = facts.steps(s)
    step = steps[min(candidate.step, len(steps)) - 1]
    if approvers.named(step):
        return candidate.approval is None or candidate.approval.outcome is not ApprovalOutcome.APPROVED
    return step.approval is not None and candidate.approved_step != candidate.step


def _withdrawn(s: ServiceSnapshot, plan: Plan) -> bool:
    return plan.candidate is not None and plan.candidate.withdrawn_at is not None


def _baking(s: ServiceSnapshot, plan: Plan) -> bool:
    return plan.bake is not None


def _being_started(s: ServiceSnapshot, plan: Plan) -> bool:
    return plan.candidate is not None or plan.deploy != ""


def _has_stable(s: ServiceSnapshot, plan: Plan) -> bool:
    return plan.stable is not None


STATES: Final[tuple[tuple[State, Callable[[ServiceSnapshot, Plan], bool]], ...]] = (  # the first match wins
    (State.ROLLING_BACK, _rejecting),
    (State.DEGRADED, _stable_silent),
    (State.PAUSED, _paused),
    (State.WITHDRAWN, _withdrawn),
    (State.AWAITING_APPROVAL, _awaiting_approval),
    (State.CANARY, _under_traffic),
    (State.BAKING, _baking),
    (State.DEPLOYING, _being_started),
    (State.STABLE, _has_stable),
)


def state(s: ServiceSnapshot, plan: Plan) -> State:
    return next((state for state, holds in STATES if holds(s, plan)), State.WAITING)


# --- conditions ---------------------------------------------------------------------------------------------------


def ready(s: ServiceSnapshot, plan: Plan) -> Finding:
    """True while users get answers, also during a canary."""
    if plan.stable is None:
        return conditions.false("Ready", "Deploying" if plan.deploy else "NoModel", plan.sentence)
    view = s.serving(plan.stable.revision)
    if view is None or not view.answers:
        if (previous := _standing_in(s, plan)) is not None:
            return conditions.true("Ready", "PreviousServes", f"{previous} answers in place of {plan.stable.revision}")
        return conditions.false("Ready", plan.hold or "StableNotReady", plan.sentence)
    if s.route is None or not s.route.serving:
        way = f"Service {s.service.metadata.name}" if ratio.by_pods(s) else "route"
        waits = _taken(s) if hostnames.none_free(s) else f"the {way} is being written"
        problem = s.route.problem if s.route is not None else waits
        problem = problem or ("its rule is being written" if lent.is_lent(s) else "")
        return conditions.false("Ready", "RouteNotProgrammed", problem)
    return conditions.true("Ready", "Serving", f"{plan.stable.revision} answers")


def _standing_in(s: ServiceSnapshot, plan: Plan) -> str | None:
    """In a bake: the previous revision, when it has all the traffic and answers."""
    previous = plan.bake.previous if plan.bake is not None else ""
    view = s.serving(previous)
    in_force = s.route is not None and s.route.serving and s.weight(previous) == 100
    return previous if view is not None and view.answers and in_force else None


def reconciling(s: ServiceSnapshot, plan: Plan) -> Finding:
    if s.refused is not None:
        return conditions.true("Reconciling", "WriteRefused", refusals.sentence(s.refused))
    if plan.stable is None or plan.candidate is not None or plan.records or plan.rollback is not None:
        return conditions.true("Reconciling", state(s, plan).value, plan.sentence)
    if plan.bake is not None and facts.routed(s.route, {plan.stable.revision: 100}):
        return conditions.false("Reconciling", "Baking", "users are on the new stable; it is still watched")
    settled = plan.weights is not None and facts.routed(s.route, plan.weights)
    if settled and s.route is not None and s.route.programmed:
        return conditions.false("Reconciling", "Settled")
    return conditions.true("Reconciling", state(s, plan).value, plan.sentence)


def stalled(s: ServiceSnapshot, plan: Plan) -> Finding:
    """Only what a change of an object alone can heal."""
    if (found := slos.unusable(s)) is not None:
        return conditions.true("Stalled", found.reason, found.message)
    if s.route is not None and not s.route.ours:
        return conditions.true("Stalled", s.route.obstacle, s.route.problem)
    if hostnames.none_free(s):
        return conditions.true("Stalled", hostnames.TAKEN, _taken(s))
    if plan.hold == "ShareTooCoarse":
        return conditions.true("Stalled", plan.hold, plan.sentence)
    return conditions.false("Stalled", "NotStalled")


def gateway_ready(s: ServiceSnapshot, plan: Plan) -> Finding:
    if ratio.by_pods(s):
        return conditions.unknown("GatewayReady", "NoGateway", "spec.traffic.provider is ReplicaRatio: there is none")
    if (trouble := gateways.trouble(s)) is not None:
        return conditions.false("GatewayReady", *trouble)
    return conditions.true("GatewayReady", "Programmed")


def _taken(s: ServiceSnapshot) -> str:
    ref = s.service.spec.traffic.gateway
    return hostnames.sentence(s.taken, f"{ref.namespace}/{ref.name}")


def _front_in_force(s: ServiceSnapshot, plan: Plan) -> Finding:
    """Of the Service that clients use, and of who is behind it."""
    if s.route is None:
        return conditions.unknown("RouteProgrammed", "NoRoute", "there is a Service once a model is ready")
    if not s.route.ours:
        return conditions.false("RouteProgrammed", s.route.obstacle, s.route.problem)
    shared = front.told(s, plan)
    said = shared.message if shared is not None else ""
    if s.route.programmed:
        return conditions.true("RouteProgrammed", "EndpointsAgree", said)
    return conditions.unknown("RouteProgrammed", "Pending", said or "its endpoints are not yet those that it selects")


def route_programmed(s: ServiceSnapshot, plan: Plan) -> Finding:
    if ratio.by_pods(s):
        return _front_in_force(s, plan)
    if s.taken:
        return conditions.false("RouteProgrammed", hostnames.TAKEN, _taken(s))
    if s.route is None:
        return conditions.unknown("RouteProgrammed", "NoRoute", "there is a route once a model is ready")
    if not s.route.ours and lent.is_lent(s):
        return conditions.false("RouteProgrammed", s.route.obstacle, s.route.problem)
    if lent.is_lent(s) and plan.stable is None:
        return conditions.unknown("RouteProgrammed", "NoModel", "its rule is written once a model is ready")
    if s.route.programmed:
        return conditions.true("RouteProgrammed", "Programmed")
    if s.route.problem:
        return conditions.false("RouteProgrammed", "Refused", s.route.problem)
    return conditions.unknown("RouteProgrammed", "Pending", "the Gateway has not taken up the newest route yet")


def canary_healthy(s: ServiceSnapshot, plan: Plan) -> Finding:
    if (rejections := _rejections(plan)) and (rejection := rejections[0].rejection) is not None:
        return conditions.false("CanaryHealthy", rejection.reason, rejection.message)
    if plan.candidate is not None:
        return _running_canary(s, plan)
    if plan.stable != s.stable and s.stable is not None:
        return conditions.true("CanaryHealthy", "Promoted", plan.sentence)
    if (bad := revisions.last_rejected(s)) is not None and (old := revisions.record(bad).rejection) is not None:
        return conditions.false("CanaryHealthy", old.reason, f"{bad.metadata.name}: {old.message}")
    before = _before(s, "CanaryHealthy")
    if before is not None and before.reason == "Promoted":
        return _kept(before)
    return conditions.unknown("CanaryHealthy", "NoCanary", "no canary is running")


def _running_canary(s: ServiceSnapshot, plan: Plan) -> Finding:
    assert plan.candidate is not None
    if plan.candidate.withdrawn_at is not None:
        return conditions.unknown("CanaryHealthy", "Withdrawn", plan.sentence)
    if plan.candidate.step == 0:
        return conditions.unknown("CanaryHealthy", _blocked(s, plan) or "NoTrafficYet", plan.sentence)
    view = s.serving(plan.candidate.revision)
    if view is None or not view.answers:
        return conditions.unknown("CanaryHealthy", _blocked(s, plan) or "NotReady", plan.sentence)
    if s.look is None:
        same = s.candidate is not None and s.candidate.revision == plan.candidate.revision and s.candidate.step > 0
        before = _before(s, "CanaryHealthy") if same else None
        return _kept(before) if before is not None else conditions.unknown("CanaryHealthy", "NotJudgedYet")
    if plan.hold == "Overdue":
        return conditions.unknown("CanaryHealthy", "Overdue", plan.sentence)
    if facts.all_passed(s):
        return conditions.true("CanaryHealthy", "SlosHold", plan.sentence)
    return conditions.unknown("CanaryHealthy", "Blind" if plan.hold == "Blind" else "NotMeasured", plan.sentence)


def _blocked(s: ServiceSnapshot, plan: Plan) -> str:
    """The reason, when the cluster does not run the candidate's pods and they say why."""
    view = s.serving(plan.candidate.revision) if plan.candidate is not None else None
    return plan.hold if plan.hold == "PodsBlocked" and view is not None and view.trouble else ""


def baked(s: ServiceSnapshot, plan: Plan) -> Finding:
    """Whether the stable may still be rolled back."""
    if plan.bake is not None:
        return conditions.false("Baked", "Baking", plan.sentence)
    if s.bake is not None and plan.stable == s.stable:
        return conditions.true("Baked", "BakeOver", plan.sentence)
    before = _before(s, "Baked")
    if plan.stable == s.stable and s.bake is None and before is not None:
        return _kept(before)
    if plan.stable is not None and s.bake is not None:
        # Made of what is, and not of how this look came to it: after a crash another rule ends the rollback.
        return conditions.unknown("Baked", "RolledBack", words.bake_rolled_back(s, plan.stable.revision))
    return conditions.unknown("Baked", "NoBake", "no new stable is being watched")


def writes_accepted(s: ServiceSnapshot, plan: Plan) -> Finding:
    return refusals.refusal_finding(s.refused)


def command_accepted(s: ServiceSnapshot, plan: Plan) -> Finding:
    """What became of the newest command."""
    found = _journal(s, plan)
    if not found:
        return conditions.unknown("CommandAccepted", "NoCommand", "nobody has said anything by serin.dev/command")
    if found[0].outcome is CommandOutcome.REFUSED:
        return conditions.false("CommandAccepted", "Refused", words.heard(found[0]))
    return conditions.true("CommandAccepted", found[0].outcome.value, words.heard(found[0]))


def metrics_available(s: ServiceSnapshot, plan: Plan) -> Finding:
    """False holds the canary or the bake: what cannot be measured is neither good nor bad."""
    if (found := slos.unusable(s)) is not None:
        return conditions.false("MetricsAvailable", found.reason, found.message)
    if s.look is not None:
        return _measured(s, plan)
    if s.preflight is not None:
        return _measurable(s)
    before = _before(s, "MetricsAvailable")
    held = plan.candidate is not None and plan.candidate.preflight is not None
    if before is not None and (held or _under_traffic(s, plan) or _withdrawn(s, plan) or _baking(s, plan)):
        return _kept(before)
    return conditions.unknown("MetricsAvailable", "NoCanary", "metrics are asked for while a canary runs or bakes")


def slos_hold(s: ServiceSnapshot, plan: Plan) -> Finding:
    """Of the stable, once nothing is on trial."""
    return monitoring.finding(plan, monitoring.after(s, plan))


def drifted(s: ServiceSnapshot, plan: Plan) -> Finding:
    """Whether what is asked and answered still looks like the evaluation set."""
    return drift.finding(s, monitoring.after(s, plan))


def _held(plan: Plan) -> str:
    if plan.bake is not None:
        return "the bake is not counted on meanwhile"
    if plan.candidate is not None and plan.candidate.withdrawn_at is not None:
        return "the candidate gets no traffic meanwhile"
    return "the canary holds"


def _measurable(s: ServiceSnapshot) -> Finding:
    """Before the first share."""
    held = next((one for one in preflight.checked(s) if one.holds), None)
    if held is None:
        return conditions.true("MetricsAvailable", "Answered", "every SLO can be asked")
    said = f"{held.row.name}: {held.row.message}; the candidate gets no traffic meanwhile"
    return conditions.false("MetricsAvailable", held.kind.value, said)


def _measured(s: ServiceSnapshot, plan: Plan) -> Finding:
    assert s.look is not None
    dry = {slo.name for slo in s.service.spec.slos if slo.dry_run}
    readings = {name: reading for name, reading in s.look.samples.items() if name not in dry}
    if s.look.requests is not None and s.look.requests.kind is not ReadingKind.NO_DATA:
        readings["requests"] = s.look.requests
    readings.update(
        (name, one.reading)
        for name, one in s.look.compared.items()
        if name not in dry and (name not in readings or _tells(one))
    )
    for name, reading in readings.items():
        if reading.kind is not ReadingKind.VALUE:
            text = slos.explained(reading)
            return conditions.false("MetricsAvailable", reading.kind.value, f"{name}: {text}; {_held(plan)}")
    return conditions.true("MetricsAvailable", "Measured")


def _tells(compared: Compared) -> bool:
    """It has something to say against measuring."""
    return compared.reading.kind is not ReadingKind.VALUE


FINDINGS: Final = (
    ready,
    reconciling,
    stalled,
    gateway_ready,
    route_programmed,
    canary_healthy,
    baked,
    metrics_available,
    slos_hold,
    drifted,
    writes_accepted,
    command_accepted,
)


def _rejections(plan: Plan) -> list[RolloutRecord]:
    """Those that are new with this plan."""
    return [record for _, record in plan.records if record.rejection is not None]


def _before(s: ServiceSnapshot, type_: str) -> Condition | None:
    return next((condition for condition in s.service.status.conditions if condition.type == type_), None)


def _kept(condition: Condition) -> Finding:
    return Finding(condition.type, condition.status, condition.reason, condition.message)
