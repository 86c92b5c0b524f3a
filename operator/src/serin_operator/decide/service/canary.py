"""The service's rules: the first that matches says what should be true next. Not here: how it is written or shown.

Every rule is level-based: it looks at what is, never at what was done before, so a look may be lost, repeated or cut
off after any single write. What cannot be seen again (which digest is bad, when a step began) is in the plan's records
and status, and those are written before the route moves.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from serin_operator.api.v1alpha1 import (
    BakeStatus,
    CandidateStatus,
    ModelRevision,
    Rejection,
    RolloutRecord,
    StableStatus,
    Verb,
)
from serin_operator.decide.decision import Event
from serin_operator.decide.service import (
    approvers,
    commands,
    experiment,
    facts,
    failing,
    hostnames,
    preflight,
    revisions,
    slos,
    steering,
    watch,
    words,
)
from serin_operator.decide.service.facts import READINESS, Weights
from serin_operator.decide.service.plan import IDLE, ROUTE, SOON, Plan
from serin_operator.decide.service.snapshot import ServiceSnapshot
from serin_operator.decide.service.watch import OnTrial

OVERDUE: Final = "Overdue"
NOT_BETTER: Final = "ExperimentLost"
NO_FAULT: Final = (OVERDUE, NOT_BETTER)  # nothing was seen to be wrong with the model
BLOCKED: Final = "PodsBlocked"
HELD: Final = "RollbackTargetNotReady"
TOO_COARSE: Final = "ShareTooCoarse"
HOSTNAME: Final = timedelta(seconds=10)  # until a hostname that is another's is looked at again

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


def await_hostname(s: ServiceSnapshot) -> Plan:
    """Nobody could reach it: no pods are started for that."""
    return Plan(words.hostname_taken(s), None, None, None, HOSTNAME, hold=hostnames.TAKEN)


# --- no canary ----------------------------------------------------------------------------------------------------


def keep_stable(s: ServiceSnapshot) -> Plan:
    weights = facts.all_to_stable(s)
    if weights is None:
        bad = facts.rejected_with_weight(s)
        sentence, late = words.stable_silent(s, bad), facts.way_back_late(s)
        reason = HELD if late else "NoHealthyStable" if bad else "StableNotReady"
        told = any(one.type == "Ready" and one.reason == HELD for one in s.service.status.conditions)
        events = (Event("RollbackHeld", sentence, warning=True),) if late and not told else ()
        return Plan(sentence, s.stable, None, None, READINESS, hold=reason, events=events)
    settled = facts.routed(s.route, weights) and s.route is not None and s.route.programmed
    return Plan(words.stable_serves(s), s.stable, None, weights, IDLE if settled else ROUTE)


def change_candidate(s: ServiceSnapshot) -> Plan:
    """Drop the one in status, begin with the newest; there may be neither. All traffic goes to the stable meanwhile."""
    chosen = revisions.next_candidate(s)
    weights = facts.all_to_stable(s)
    if chosen is None:
        return Plan(words.candidate_dropped(s), s.stable, None, weights, SOON, slos=())
    name = chosen.metadata.name
    candidate = CandidateStatus(revision=name, digest=chosen.spec.artifact.digest, step=0, since=s.now)
    sentence = words.candidate_begins(s, name)
    return Plan(sentence, s.stable, candidate, weights, READINESS, events=(Event("CanaryBegins", sentence),), slos=())


# --- on trial: a candidate in its steps, or the new stable in its bake ----------------------------------------------


def _on(
    s: ServiceSnapshot,
    sentence: str,
    trial: OnTrial,
    requeue_after: timedelta,
    weights: Weights | None = None,
    events: tuple[Event, ...] = (),
    hold: str = "",
) -> Plan:
    """The trial goes on in this state."""
    return Plan(
        sentence,
        s.stable,
        trial if isinstance(trial, CandidateStatus) else None,
        weights,
        requeue_after,
        bake=trial if isinstance(trial, BakeStatus) else None,
        events=events,
        slos=tuple(facts.verdicts(s)) or None,
        hold=hold,
    )


def _stay(
    s: ServiceSnapshot, sentence: str, requeue_after: timedelta, hold: str = "", weights: Weights | None = None
) -> Plan:
    return _on(s, sentence, facts.watch_after(s), requeue_after, weights, hold=hold)


def reject(s: ServiceSnapshot, reason: str, why: str, request: str | None = None) -> Plan:
    """Write down that this digest is bad, then send everything to where it was before. `request`: a person's command."""
    trial = facts.trial(s)
    rejection = Rejection(
        reason=reason,
        message=words.rejection(s, why, may_be_good=request is not None or reason in NO_FAULT),
        at=s.now,
        step=facts.step_number(s),
        weight_percent=trial.weight_percent,
        breach_observed_at=s.now if request is None and reason not in NO_FAULT else None,
        request=request,
    )
    return _back_to_refuge(s, words.rolling_back(s, why), s.now, _recorded(s, trial.revision, rejection))


def _back_to_refuge(
    s: ServiceSnapshot, sentence: str, since: datetime, records: tuple[tuple[ModelRevision, RolloutRecord], ...] = ()
) -> Plan:
    weights = facts.all_to_refuge(s)
    return Plan(
        sentence,
        _stable_again(s, since),
        None,
        weights,
        SOON,
        records=records,
        events=(Event("RolledBack", sentence, warning=True),),
        slos=tuple(facts.verdicts(s)) or None,
        hold="" if weights is not None else "NoHealthyStable",
    )


def _stable_again(s: ServiceSnapshot, since: datetime) -> StableStatus | None:
    """After a bake the previous revision is the stable again."""
    if s.bake is None:
        return s.stable
    return StableStatus(revision=s.bake.previous, digest=s.bake.previous_digest, since=since)


def _recorded(s: ServiceSnapshot, name: str, rejection: Rejection) -> tuple[tuple[ModelRevision, RolloutRecord], ...]:
    """Nowhere, when somebody deleted the record: without it the model cannot be a candidate again either."""
    revision = s.by_name.get(name)
    if revision is None:
        return ()
    return ((revision, revisions.record(revision).model_copy(update={"rejection": rejection})),)


def roll_back_on_breach(s: ServiceSnapshot) -> Plan:
    return reject(s, "SloBreached", words.breach(s))


def reject_failing(s: ServiceSnapshot) -> Plan:
    return reject(s, "MostRequestsFail", words.most_fail(s))


def reject_crashed(s: ServiceSnapshot) -> Plan:
    return reject(s, "CandidateCrashed", words.crashed(s))


def reject_late(s: ServiceSnapshot) -> Plan:
    return reject(s, "CandidateNotReady", words.late(s))


def reject_overdue(s: ServiceSnapshot) -> Plan:
    return reject(s, OVERDUE, words.why_overdue(s))


def reject_not_better(s: ServiceSnapshot) -> Plan:
    known = experiment.standing(s)
    assert known is not None
    return reject(s, NOT_BETTER, known.message)


def reject_as_told(s: ServiceSnapshot) -> Plan:
    """A person said abort, or rollback in a bake."""
    command = commands.unfinished(s)
    assert command is not None
    reason = "AbortedByPerson" if command.verb is Verb.ABORT else "RolledBackByPerson"
    return reject(s, reason, words.told(command), command.request)


def hold_unjudgeable(s: ServiceSnapshot) -> Plan:
    """No user meets a candidate that nobody can judge."""
    found = slos.unusable(s)
    assert found is not None
    return _stay(s, words.unjudgeable(s, found), IDLE, hold=found.reason, weights=facts.all_to_stable(s))


def await_pods(s: ServiceSnapshot) -> Plan:
    """Traffic waits for readiness; when it was lost under traffic, the step or the bake begins anew afterwards."""
    blocked = facts.blocked(s)
    status = watch.waiting(facts.trial(s).status, s.now, READINESS, counts=not blocked)
    hold = BLOCKED if blocked else ""
    return _on(s, words.not_ready(s), status, READINESS, facts.all_to_refuge(s), hold=hold)


def hold_without_stable(s: ServiceSnapshot) -> Plan:
    return _stay(s, words.stable_silent(s, []), READINESS, hold="StableNotReady")


def route_step(s: ServiceSnapshot) -> Plan:
    """The route has other weights than it should: set them; the clock starts when they are read back."""
    return _on(s, words.routing(s), watch.stopped(facts.trial(s).status), ROUTE, facts.trial_weights(s))


def await_gateway(s: ServiceSnapshot) -> Plan:
    return _stay(s, words.routing(s), ROUTE)


def await_preflight(s: ServiceSnapshot) -> Plan:
    """Nobody has asked on this look whether it can be measured: the observer does where this rule is met and it is due."""
    sentence = s.service.status.message or words.asks_first(s)
    return _stay(s, sentence, max(preflight.next_in(s), timedelta(milliseconds=100)))


def hold_unmeasurable(s: ServiceSnapshot) -> Plan:
    """Nobody meets a candidate of which an SLO could not tell. It is asked again, and never rejected for that."""
    told = preflight.status_after(s)
    candidate = facts.the_candidate(s).model_copy(update={"preflight": told})
    sentence = words.unmeasurable(s, told.seconds)
    events = (Event("CanaryBlind", sentence, warning=True),) if preflight.just_too_long(s) else ()
    plan = _on(s, sentence, candidate, _interval(s), facts.all_to_stable(s), events, hold="NotMeasurable")
    return replace(plan, slos=tuple(preflight.rows(s)))


def begin_step(s: ServiceSnapshot) -> Plan:
    """The step is written down before its weight is set."""
    return _begin(s, facts.the_candidate(s).step + 1)


def _begin(s: ServiceSnapshot, number: int) -> Plan:
    candidate = watch.stopped(facts.the_candidate(s)).model_copy(
        update={
            "step": number,
            "skipped_step": None,
            "approved_step": None,
            "step_seconds": 0,
            "overdue_at": None,
            "preflight": None,
        }
    )
    step = facts.steps(s)[number - 1]
    candidate = candidate.model_copy(update={"asked_at": s.now if step.approval is not None else None})
    percent = facts.percent_of(s, step)
    assert s.stable is not None
    weights = {s.stable.revision: 100 - percent, candidate.revision: percent}
    sentence = words.step_begins(s, number)
    asked = (Event("ApprovalNeeded", sentence),) if step.approval is not None else ()
    return _on(s, sentence, candidate, SOON, weights, events=(Event("CanaryStep", sentence), *asked))


def go_to_the_end(s: ServiceSnapshot) -> Plan:
    """A person wants it promoted: the last step at once. It becomes the stable when its Gateway has taken that up."""
    return _begin(s, len(facts.steps(s)))


def hold_paused(s: ServiceSnapshot) -> Plan:
    """Before its first step; in a step or a bake the clock goes on, and only the end waits."""
    return _stay(s, words.paused_before_traffic(s), IDLE, weights=facts.all_to_stable(s))


def start_clock(s: ServiceSnapshot) -> Plan:
    """The route was read back with this weight, taken up by its Gateway: from here on requests can be counted."""
    view = facts.trial_view(s)
    status = watch.begun(facts.trial(s).status, s.now, view.crashed_at if view is not None else None)
    return _on(s, words.holding(s), status, min(_interval(s), facts.hold(s) or SOON))


def await_delay(s: ServiceSnapshot) -> Plan:
    """Under traffic, and not judged yet."""
    candidate = watch.polled(watch.delayed(facts.the_candidate(s), s.now, READINESS), s.failing)
    wait = _interval(s) if s.failing is not None else max(failing.next_in(s), timedelta(milliseconds=100))
    return _on(s, words.delayed(s), candidate, min(wait, READINESS))


def hold_overdue(s: ServiceSnapshot) -> Plan:
    """It goes no further by itself; what goes badly ends it all the same."""
    candidate, sentence = facts.watch_after(s), words.overdue(s)
    assert isinstance(candidate, CandidateStatus)
    if candidate.overdue_at is not None:
        return _on(s, sentence, candidate, _interval(s), hold=OVERDUE)
    event = Event("CanaryOverdue", sentence, warning=True)
    return _on(
        s, sentence, candidate.model_copy(update={"overdue_at": s.now}), _interval(s), events=(event,), hold=OVERDUE
    )


def await_look(s: ServiceSnapshot) -> Plan:
    """Woken before the next look is due: nothing to judge, nothing new to say."""
    wait = max(facts.next_look_in(s), timedelta(milliseconds=100))
    return _on(s, s.service.status.message or words.holding(s), facts.trial(s).status, wait)


def hold_step(s: ServiceSnapshot) -> Plan:
    left = facts.hold(s) - facts.held(s)
    wait = min(_interval(s), left) if left > timedelta() else _interval(s)
    unusable = slos.unusable(s)
    return _stay(s, words.holding(s), wait, hold=unusable.reason if unusable is not None else "")


def _interval(s: ServiceSnapshot) -> timedelta:
    return timedelta(seconds=s.service.spec.canary.interval_seconds)


def hold_unreachable(s: ServiceSnapshot) -> Plan:
    """Its share would be of nobody's requests, and what is measured of nobody."""
    return _stay(s, words.hostname_taken(s), HOSTNAME, hold=hostnames.TAKEN)


def hold_too_coarse(s: ServiceSnapshot) -> Plan:
    """Nobody gets more of it than was asked: nothing at all, until somebody allows more pods or larger steps."""
    candidate = watch.stopped(facts.the_candidate(s)) if not facts.before_traffic(s) else facts.the_candidate(s)
    return _on(s, words.too_coarse(s), candidate, IDLE, facts.all_to_stable(s), hold=TOO_COARSE)


def hold_before_coarse(s: ServiceSnapshot) -> Plan:
    """It keeps the share that it has."""
    return _stay(s, words.too_coarse(s), _interval(s), hold=TOO_COARSE)


# --- policies -----------------------------------------------------------------------------------------------------


def hold_for_policy(s: ServiceSnapshot) -> Plan:
    """It keeps what it has: its job is judging it anew, and what comes of that is a new look."""
    before = facts.before_traffic(s)
    weights = facts.all_to_stable(s) if before else None
    return _stay(s, words.objected(s), READINESS, hold="PolicyChanged", weights=weights)


def step_back(s: ServiceSnapshot) -> Plan:
    """Back to the step that its share belongs to; from there it goes on in strides that policies allow."""
    number = facts.step_within_reach(s)
    candidate = watch.stopped(facts.the_candidate(s)).model_copy(
        update={"step": number, "approved_step": None, "step_seconds": 0}
    )
    weights = facts.all_to_stable(s) if number == 0 else None
    return _on(s, words.steps_back(s, number), candidate, SOON, weights)


# --- blind --------------------------------------------------------------------------------------------------------


def withdraw(s: ServiceSnapshot) -> Plan:
    """Nobody could say for too long whether it is good: users are taken away from it. It is not rejected for that."""
    before = facts.the_candidate(s)
    candidate = watch.stopped(before).model_copy(
        update={
            "step": 0,
            "skipped_step": None,
            "approved_step": None,
            "looked_at": s.now,
            "withdrawn_at": s.now,
            "withdrawals": before.withdrawals + 1,
        }
    )
    sentence = words.withdrawn(s)
    event = Event("CanaryWithdrawn", sentence, warning=True)
    return _on(s, sentence, candidate, _interval(s), facts.all_to_stable(s), (event,), hold="Withdrawn")


def await_metrics(s: ServiceSnapshot) -> Plan:
    """The SLOs are asked for the stable: when they can be measured again, the canary begins anew."""
    weights = facts.all_to_stable(s)
    if s.look is None:
        wait = max(facts.next_look_in(s), timedelta(milliseconds=100))
        sentence = s.service.status.message or words.awaits_metrics(s)
        return _on(s, sentence, facts.the_candidate(s), wait, weights, hold="Withdrawn")
    if not facts.may_begin_anew(s):
        return _stay(s, words.awaits_metrics(s), _interval(s), hold="Withdrawn", weights=weights)
    candidate = watch.stopped(facts.the_candidate(s)).model_copy(update={"withdrawn_at": None})
    sentence = words.begins_anew(s)
    return _on(s, sentence, candidate, SOON, weights, events=(Event("CanaryBegins", sentence),))


def hold_blindly(s: ServiceSnapshot) -> Plan:
    """The share stays, since the user wants it so, and it is said once more loudly."""
    sentence = words.holds_blindly(s)
    events = () if facts.blind_before(s) else (Event("CanaryBlind", sentence, warning=True),)
    return _on(s, sentence, facts.watch_after(s), _interval(s), events=events, hold="Blind")


# --- the end ------------------------------------------------------------------------------------------------------


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
        SOON,
        bake=_bake(s, candidate.revision),
        events=(Event("Promoted", sentence),),
        slos=tuple(facts.verdicts(s)) or None,
    )


def _bake(s: ServiceSnapshot, revision: str) -> BakeStatus | None:
    """Only when there is something to go back to."""
    if s.stable is None or s.stable.revision not in s.by_name or s.service.spec.canary.bake_seconds == 0:
        return None
    return BakeStatus(revision=revision, previous=s.stable.revision, previous_digest=s.stable.digest)


def end_bake(s: ServiceSnapshot) -> Plan:
    sentence = words.baked(s)
    return _after_bake(s, sentence, Event("Baked", sentence))


def give_up_bake(s: ServiceSnapshot) -> Plan:
    sentence = words.bake_void(s)
    return _after_bake(s, sentence, Event("BakeEnded", sentence, warning=True))


def _after_bake(s: ServiceSnapshot, sentence: str, event: Event) -> Plan:
    verdicts = tuple(facts.verdicts(s)) or None
    return Plan(sentence, s.stable, None, facts.all_to_stable(s), SOON, events=(event,), slos=verdicts)


def finish_rollback(s: ServiceSnapshot) -> Plan:
    """Its rejection is in the store, and the operator died before the rest."""
    rejection = revisions.rejection_of(s, facts.the_bake(s).revision)
    return _back_to_refuge(s, words.rollback_goes_on(s, rejection.message), rejection.at)


def always(s: ServiceSnapshot) -> bool:
    return True


Rule = tuple[Callable[[ServiceSnapshot], bool], Callable[[ServiceSnapshot], Plan]]

RULES: Final[tuple[Rule, ...]] = (  # the first match wins
    (facts.no_model_yet, await_model),
    (facts.first_unreachable, await_hostname),
    (facts.no_stable, deploy_first),
    (commands.just_journalled, steering.write_down),
    (commands.to_retry, steering.retry),
    (facts.rejected_in_bake, finish_rollback),
    (facts.bake_void, give_up_bake),
    (commands.to_reject, reject_as_told),
    (commands.rolling_back, steering.roll_back_to_older),
    (facts.candidate_out_of_date, change_candidate),
    (facts.nothing_on_trial, keep_stable),
    (facts.withdrawn, await_metrics),
    # from here on something is on trial: a candidate that may go on, or the new stable
    (failing.most_fail, reject_failing),
    (facts.slo_breached, roll_back_on_breach),
    (facts.crashed, reject_crashed),
    (facts.late, reject_late),
    (facts.overdue_to_roll_back, reject_overdue),
    (facts.lost_its_experiment, reject_not_better),
    (facts.not_ready, await_pods),
    (facts.candidate_without_stable, hold_without_stable),
    (facts.to_withdraw, withdraw),
    (facts.unreachable, hold_unreachable),
    (facts.held_before_traffic, hold_unjudgeable),
    (facts.objected_before_traffic, hold_for_policy),
    (facts.too_coarse, hold_too_coarse),
    (facts.hurries, go_to_the_end),
    (facts.paused_before_traffic, hold_paused),
    (facts.begins_alone, begin_step),
    (facts.leaps, step_back),
    (facts.step_not_routed, route_step),
    (facts.step_not_programmed, await_gateway),
    (preflight.not_asked, await_preflight),
    (preflight.holds, hold_unmeasurable),
    (facts.before_traffic, begin_step),
    (facts.hurried_to_the_end, promote),
    (facts.skips_the_last, promote),
    (facts.skips, begin_step),
    (facts.bake_unwanted, end_bake),
    (facts.clock_not_started, start_clock),
    (facts.delayed, await_delay),
    (facts.no_look, await_look),
    (facts.baked, end_bake),
    (facts.objected, hold_for_policy),
    (facts.overdue, hold_overdue),
    (facts.last_step_passed, promote),
    (facts.passed_and_next_too_coarse, hold_before_coarse),
    (facts.step_passed, begin_step),
    (facts.blind, hold_blindly),
    (always, hold_step),
)


def asks_first(s: ServiceSnapshot) -> bool:
    """The first share is all that is left, and it is time to ask whether the candidate could be measured."""
    return _rule(s) is await_preflight and preflight.next_in(s) == timedelta()


def _rule(s: ServiceSnapshot) -> Callable[[ServiceSnapshot], Plan]:
    return next(rule for applies, rule in RULES if applies(s))


def plan(s: ServiceSnapshot) -> Plan:
    found = _rule(s)(s)
    if found.candidate is None:
        return found
    silent = s.stable is not None and facts.stable_silent(s)
    candidate = watch.without_stable(found.candidate, s.now, READINESS, silent)
    return replace(found, candidate=approvers.noted(s, _counted(s, candidate)))


def _counted(s: ServiceSnapshot, candidate: CandidateStatus) -> CandidateStatus:
    """With the time that it has been on its way, where that is limited; its first moment is that of its first step."""
    here = s.candidate is not None and s.candidate.revision == candidate.revision
    counts = here and candidate.step > 0 and facts.time_counts(s)
    return watch.under_way(candidate, s.now, max(_interval(s), READINESS), counts)
