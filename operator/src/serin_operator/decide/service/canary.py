"""The service's rules: the first that matches says what should be true next. Not here: how it is written or shown.

Every rule is level-based: it looks at what is, never at what was done before, so a look may be lost, repeated or cut
off after any single write. What cannot be seen again (which digest is bad, when a step began) is in the plan's records
and status, and those are written before the route moves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from serin_operator.api.v1alpha1 import (
    CandidateStatus,
    ModelRevision,
    Rejection,
    RolloutRecord,
    SloStatus,
    StableStatus,
)
from serin_operator.decide.decision import Event
from serin_operator.decide.service import facts, revisions, slos, words
from serin_operator.decide.service.facts import Weights
from serin_operator.decide.service.snapshot import ServiceSnapshot

SOON: Final = timedelta(seconds=1)
ROUTE: Final = timedelta(seconds=2)
READINESS: Final = timedelta(seconds=3)
LEAVING: Final = timedelta(seconds=5)  # pods wait to be scaled down
IDLE: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Plan:
    """What should be true after this look."""

    sentence: str
    stable: StableStatus | None
    candidate: CandidateStatus | None
    weights: Weights | None  # by revision; None leaves the shares as they are
    requeue_after: timedelta
    deploy: str = ""  # a revision to run beside stable and candidate: the first one, before there is a stable
    records: tuple[tuple[ModelRevision, RolloutRecord], ...] = ()
    events: tuple[Event, ...] = ()
    slos: tuple[SloStatus, ...] | None = None  # None keeps what status shows
    hold: str = ""  # the reason, when something must change before it goes on
    quiet: bool = False  # nothing new to say: status keeps its sentence


# --- before there is a stable -------------------------------------------------------------------------------------


def await_model(s: ServiceSnapshot) -> Plan:
    return Plan(words.no_model(s), None, None, None, IDLE)


def deploy_first(s: ServiceSnapshot) -> Plan:
    """There is nothing to compare with and nobody to protect: it serves as soon as it is ready."""
    first = revisions.first_stable(s)
    assert first is not None
    name = first.metadata.name
    view = s.serving(name)
    if view is None or not view.complete:
        return Plan(words.first_deploying(s, name), None, None, None, READINESS, deploy=name)
    stable = StableStatus(revision=name, digest=first.spec.artifact.digest, since=s.now)
    sentence = words.first_deployment(s, first)
    return Plan(sentence, stable, None, {name: 100}, ROUTE, events=(Event("FirstDeployment", sentence),))


# --- no canary ----------------------------------------------------------------------------------------------------


def keep_stable(s: ServiceSnapshot) -> Plan:
    weights = facts.all_to_stable(s)
    if weights is None:
        bad = facts.rejected_with_weight(s)
        reason = "NoHealthyStable" if bad else "StableNotReady"
        return Plan(words.stable_silent(s, bad), s.stable, None, None, READINESS, hold=reason)
    settled = facts.routed(s.route, weights) and s.route is not None and s.route.programmed
    return Plan(words.stable_serves(s), s.stable, None, weights, IDLE if settled else ROUTE)


def change_candidate(s: ServiceSnapshot) -> Plan:
    """Drop the one in status, begin with the newest; there may be neither. All traffic goes to the stable meanwhile."""
    chosen = revisions.next_candidate(s)
    weights = facts.all_to_stable(s)
    if chosen is None:
        return Plan(words.candidate_dropped(s), s.stable, None, weights, SOON)
    name = chosen.metadata.name
    candidate = CandidateStatus(revision=name, digest=chosen.spec.artifact.digest, step=0, since=s.now)
    sentence = words.candidate_begins(s, name)
    return Plan(sentence, s.stable, candidate, weights, READINESS, events=(Event("CanaryBegins", sentence),), slos=())


# --- a canary -----------------------------------------------------------------------------------------------------


def _stay(
    s: ServiceSnapshot, sentence: str, requeue_after: timedelta, hold: str = "", weights: Weights | None = None
) -> Plan:
    return Plan(
        sentence,
        s.stable,
        s.candidate,
        weights,
        requeue_after,
        slos=tuple(facts.verdicts(s)) or None,
        hold=hold,
    )


def reject(s: ServiceSnapshot, reason: str, why: str) -> Plan:
    """Write down that this digest is bad, then send everything to the stable."""
    candidate = facts.the_candidate(s)
    step = facts.step_of(s)
    percent = step.weight_percent if step is not None else 0
    rejection = Rejection(
        reason=reason,
        message=words.rejection(s, why),
        at=s.now,
        step=candidate.step,
        weight_percent=percent,
        breach_observed_at=s.now,
    )
    weights = facts.all_to_stable(s)
    sentence = words.rolling_back(s, why, moves=weights is not None)
    return Plan(
        sentence,
        s.stable,
        None,
        weights,
        SOON,
        records=_recorded(s, candidate.revision, rejection),
        events=(Event("RolledBack", sentence, warning=True),),
        slos=tuple(facts.verdicts(s)) or None,
        hold="" if weights is not None else "NoHealthyStable",
    )


def _recorded(s: ServiceSnapshot, name: str, rejection: Rejection) -> tuple[tuple[ModelRevision, RolloutRecord], ...]:
    revision = s.by_name[name]
    return ((revision, revisions.record(revision).model_copy(update={"rejection": rejection})),)


def roll_back_on_breach(s: ServiceSnapshot) -> Plan:
    return reject(s, "SloBreached", words.breach(s))


def reject_crashed(s: ServiceSnapshot) -> Plan:
    return reject(s, "CandidateCrashed", words.crashed(s))


def reject_late(s: ServiceSnapshot) -> Plan:
    return reject(s, "CandidateNotReady", words.late(s))


def hold_unjudgeable(s: ServiceSnapshot) -> Plan:
    """No user meets a candidate that nobody can judge."""
    found = slos.unusable(s)
    assert found is not None
    return _stay(s, words.unjudgeable(s, found), IDLE, hold=found.reason, weights=facts.all_to_stable(s))


def await_candidate(s: ServiceSnapshot) -> Plan:
    """Traffic waits for readiness; when it was lost under traffic, the step begins anew afterwards."""
    candidate = facts.the_candidate(s).model_copy(update={"step_started_at": None})
    return Plan(words.candidate_not_ready(s), s.stable, candidate, facts.all_to_stable(s), READINESS)


def hold_without_stable(s: ServiceSnapshot) -> Plan:
    return _stay(s, words.stable_silent(s, []), READINESS, hold="StableNotReady")


def route_step(s: ServiceSnapshot) -> Plan:
    """The route has other weights than the running step: set them; the clock starts when they are read back."""
    candidate = facts.the_candidate(s).model_copy(update={"step_started_at": None})
    return Plan(words.routing(s), s.stable, candidate, facts.step_weights(s), ROUTE)


def await_gateway(s: ServiceSnapshot) -> Plan:
    return _stay(s, words.routing(s), ROUTE)


def begin_step(s: ServiceSnapshot) -> Plan:
    """The step is written down before its weight is set."""
    number = facts.the_candidate(s).step + 1
    candidate = facts.the_candidate(s).model_copy(update={"step": number, "step_started_at": None})
    after = s.service.spec.canary.steps[number - 1]
    assert s.stable is not None
    weights = {s.stable.revision: 100 - after.weight_percent, candidate.revision: after.weight_percent}
    sentence = words.step_begins(s, number)
    return Plan(
        sentence,
        s.stable,
        candidate,
        weights,
        SOON,
        events=(Event("CanaryStep", sentence),),
        slos=tuple(facts.verdicts(s)) or None,
    )


def start_clock(s: ServiceSnapshot) -> Plan:
    """The route was read back with this weight, taken up by its Gateway: from here on requests can be counted."""
    candidate = facts.the_candidate(s).model_copy(update={"step_started_at": s.now})
    interval = timedelta(seconds=s.service.spec.canary.interval_seconds)
    return Plan(words.holding(s), s.stable, candidate, None, min(interval, facts.hold(s) or SOON))


def await_look(s: ServiceSnapshot) -> Plan:
    """Woken before the next look is due: nothing to judge, nothing new to say."""
    plan = _stay(s, words.holding(s), max(facts.next_look_in(s), timedelta(milliseconds=100)))
    return Plan(
        s.service.status.message or plan.sentence,
        plan.stable,
        plan.candidate,
        None,
        plan.requeue_after,
        quiet=True,
    )


def promote(s: ServiceSnapshot) -> Plan:
    """Names and weights move; nothing is copied or loaded again."""
    candidate = facts.the_candidate(s)
    stable = StableStatus(revision=candidate.revision, digest=candidate.digest, since=s.now)
    sentence = words.promoted(s)
    return Plan(
        sentence,
        stable,
        None,
        {stable.revision: 100},
        ROUTE,
        events=(Event("Promoted", sentence),),
        slos=tuple(facts.verdicts(s)) or None,
    )


def hold_step(s: ServiceSnapshot) -> Plan:
    left = facts.hold(s) - facts.held(s)
    interval = timedelta(seconds=s.service.spec.canary.interval_seconds)
    wait = min(interval, left) if left > timedelta() else interval
    unusable = slos.unusable(s)
    return _stay(s, words.holding(s), wait, hold=unusable.reason if unusable is not None else "")


def always(s: ServiceSnapshot) -> bool:
    return True


Rule = tuple[Callable[[ServiceSnapshot], bool], Callable[[ServiceSnapshot], Plan]]

RULES: Final[tuple[Rule, ...]] = (  # the first match wins
    (facts.no_model_yet, await_model),
    (facts.no_stable, deploy_first),
    (facts.candidate_out_of_date, change_candidate),
    (facts.no_candidate, keep_stable),
    # from here on there are a stable and a candidate that may go on
    (facts.slo_breached, roll_back_on_breach),
    (facts.candidate_crashed, reject_crashed),
    (facts.candidate_late, reject_late),
    (facts.candidate_not_ready, await_candidate),
    (facts.stable_silent, hold_without_stable),
    (facts.held_before_traffic, hold_unjudgeable),
    (facts.step_not_routed, route_step),
    (facts.step_not_programmed, await_gateway),
    (facts.before_traffic, begin_step),
    (facts.clock_not_started, start_clock),
    (facts.no_look, await_look),
    (facts.last_step_passed, promote),
    (facts.step_passed, begin_step),
    (always, hold_step),
)


def plan(s: ServiceSnapshot) -> Plan:
    return next(rule(s) for applies, rule in RULES if applies(s))
