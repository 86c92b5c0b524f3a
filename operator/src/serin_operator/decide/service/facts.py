"""Named facts about a snapshot: the predicates that the rules in `canary.py` are written in.

What is on trial is either a candidate, on its way through the steps, or the new stable, in its bake. Either has a
revision that its traffic goes back to: the stable, or the stable before. Most facts are the same for both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Final

from serin_operator.api.v1alpha1 import (
    BakeStatus,
    BlindAction,
    CandidateStatus,
    OverdueAction,
    PreviousRevision,
    Slo,
    SloCounts,
    SloStatus,
)
from serin_operator.decide.service import (
    approvers,
    experiment,
    gateways,
    hostnames,
    judging,
    policy,
    ratio,
    revisions,
    slos,
    watch,
)
from serin_operator.decide.service.judging import Judged
from serin_operator.decide.service.ratio import Split
from serin_operator.decide.service.snapshot import ReadingKind, RouteView, ServiceSnapshot, ServingView
from serin_operator.decide.service.watch import OnTrial
from serin_operator.decide.steps import Step, steps_of
from serin_operator.manifests import names

READINESS: Final = timedelta(seconds=3)  # how often pods that start are looked at
SLOWEST_LOOK: Final = 5  # seconds after which a metric source is given up
LEAST_PATIENCE: Final = 1  # seconds that a metric source is given in any case
LONGEST_PAUSE: Final = 3600  # seconds between two tries of a candidate that could not be measured

Weights = Mapping[str, int]  # revision -> percent


# --- the stable ---------------------------------------------------------------------------------------------------


def no_model_yet(s: ServiceSnapshot) -> bool:
    return s.stable is None and revisions.first_stable(s) is None


def no_stable(s: ServiceSnapshot) -> bool:
    return s.stable is None


def stable_answers(s: ServiceSnapshot) -> bool:
    view = s.serving(s.stable.revision) if s.stable is not None else None
    return view is not None and view.answers


def stable_silent(s: ServiceSnapshot) -> bool:
    return not stable_answers(s)


def stable_lost(s: ServiceSnapshot) -> bool:
    """It has not answered for so long that nobody is protected by waiting for it."""
    if s.candidate is None or not stable_silent(s):
        return False
    return s.candidate.stable_silent_seconds >= s.service.spec.canary.progress_deadline_seconds


def begins_alone(s: ServiceSnapshot) -> bool:
    """Nobody would ever answer beside it: its first step waits for no route of the stable."""
    return before_traffic(s) and stable_lost(s)


def all_to_stable(s: ServiceSnapshot) -> Weights | None:
    """Everything to the stable; None (leave the route as it is) while no pod of the stable answers."""
    return {s.stable.revision: 100} if s.stable is not None and stable_answers(s) else None


# --- hostnames ----------------------------------------------------------------------------------------------------


def first_unreachable(s: ServiceSnapshot) -> bool:
    """Nothing serves yet, and another service has all the hostnames."""
    return s.stable is None and hostnames.none_free(s)


def unreachable(s: ServiceSnapshot) -> bool:
    """The candidate could get no requests: another service has all the hostnames."""
    return not baking(s) and hostnames.none_free(s)


# --- what is on trial ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trial:
    """A revision that is being watched under traffic, and where its traffic goes when that ends badly."""

    status: OnTrial
    refuge: str
    weight_percent: int
    hold: timedelta

    @property
    def revision(self) -> str:
        return self.status.revision


def on_trial(s: ServiceSnapshot) -> Trial | None:
    """The bake comes first: a new candidate waits until it is over."""
    canary = s.service.spec.canary
    if s.bake is not None:
        return Trial(s.bake, s.bake.previous, 100, timedelta(seconds=canary.bake_seconds))
    if s.candidate is None or s.stable is None:
        return None
    step = step_of(s)
    hold = step.hold if step is not None else timedelta()
    return Trial(s.candidate, s.stable.revision, percent_of(s, step), hold)


def steps(s: ServiceSnapshot) -> tuple[Step, ...]:
    return steps_of(s.service.spec.canary)


def percent_of(s: ServiceSnapshot, step: Step | None) -> int:
    """The candidate's share. All of it, once the stable is lost: the rest would meet nobody."""
    if step is None:
        return 0
    return 100 if stable_lost(s) else step.weight_percent


def trial(s: ServiceSnapshot) -> Trial:
    """For rules that stand below `nothing_on_trial`."""
    found = on_trial(s)
    assert found is not None
    return found


def nothing_on_trial(s: ServiceSnapshot) -> bool:
    return on_trial(s) is None


def baking(s: ServiceSnapshot) -> bool:
    return s.bake is not None


def all_to_refuge(s: ServiceSnapshot) -> Weights | None:
    """Everything to where the trial's traffic goes back to; None (leave the route as it is) while no pod answers."""
    refuge = trial(s).refuge
    view = s.serving(refuge)
    return {refuge: 100} if view is not None and view.answers else None


def rejected_with_weight(s: ServiceSnapshot) -> list[str]:
    return [
        revision.metadata.name
        for revision in s.revisions
        if revisions.rejected(s, revision) and s.weight(revision.metadata.name)
    ]


def way_back_seconds(s: ServiceSnapshot) -> int:
    """For how long a rejected revision has kept its traffic, to tens: it is told, and each telling is a write."""
    ats = [revisions.rejection_of(s, name).at for name in rejected_with_weight(s)]
    return max((int((s.now - at).total_seconds()) // 10 * 10 for at in ats), default=0)


def way_back_late(s: ServiceSnapshot) -> bool:
    """Longer than pods may take that had to be started for it."""
    if s.service.spec.canary.previous_revision is not PreviousRevision.STOPPED:
        return False
    waited = way_back_seconds(s)
    return waited > 0 and waited >= s.service.spec.canary.progress_deadline_seconds


# --- the candidate ------------------------------------------------------------------------------------------------


def candidate_out_of_date(s: ServiceSnapshot) -> bool:
    """The candidate in status is not the one that should be on its way in. None is on its way during a bake."""
    if baking(s):
        return False
    wanted = revisions.next_candidate(s)
    return (wanted.metadata.name if wanted is not None else None) != (
        s.candidate.revision if s.candidate is not None else None
    )


def the_candidate(s: ServiceSnapshot) -> CandidateStatus:
    """For rules that stand below `no_candidate`."""
    assert s.candidate is not None
    return s.candidate


def trial_view(s: ServiceSnapshot) -> ServingView | None:
    return s.serving(trial(s).revision)


def before_traffic(s: ServiceSnapshot) -> bool:
    return s.bake is None and the_candidate(s).step == 0


def slos_unusable(s: ServiceSnapshot) -> bool:
    return slos.unusable(s) is not None


def held_before_traffic(s: ServiceSnapshot) -> bool:
    """Nobody could judge it, and nobody has met it yet."""
    return before_traffic(s) and slos_unusable(s)


def crashed(s: ServiceSnapshot) -> bool:
    """A server ended by itself while users' requests went to it. Both moments are of the kubelet's clock."""
    view, status = trial_view(s), trial(s).status
    if view is None or view.crashed_at is None or watch.started_at(status) is None:
        return False
    return status.last_crash_at is None or view.crashed_at > status.last_crash_at


def late(s: ServiceSnapshot) -> bool:
    """Waited for in vain for progressDeadlineSeconds, as far as this was seen: a set clock rejects nobody, and neither
    does a cluster that has not run it."""
    if not not_ready(s) or blocked(s):
        return False
    return watch.waited(trial(s).status, s.now, READINESS) >= s.service.spec.canary.progress_deadline_seconds


def blocked(s: ServiceSnapshot) -> bool:
    """It is not ready because the cluster does not run its pods (quota, room, image, volume): that says nothing of the
    model, and takes nothing of its time."""
    view = trial_view(s)
    return not_ready(s) and (view is None or not view.tried)


def not_ready(s: ServiceSnapshot) -> bool:
    """Before its first request all pods must be ready; later one that answers is enough to stay."""
    view = trial_view(s)
    if view is None:
        return True
    return not view.complete if before_traffic(s) else not view.answers


def candidate_without_stable(s: ServiceSnapshot) -> bool:
    """A canary goes nowhere while its stable does not answer, but not for ever; a bake goes on in any case, since users
    are on the new one."""
    return not baking(s) and stable_silent(s) and not stable_lost(s) and not to_be_promoted(s)


# --- as a person wants it ------------------------------------------------------------------------------------------


def paused(s: ServiceSnapshot) -> bool:
    """Nobody gets more traffic and nothing ends well; what goes badly ends all the same."""
    return s.service.status.paused is not None


def paused_before_traffic(s: ServiceSnapshot) -> bool:
    return paused(s) and before_traffic(s)


def to_be_promoted(s: ServiceSnapshot) -> bool:
    return not baking(s) and the_candidate(s).promotion_request is not None


def at_the_last_step(s: ServiceSnapshot) -> bool:
    return the_candidate(s).step >= len(steps(s))


def fit(s: ServiceSnapshot) -> bool:
    """All pods are ready: it can be given more."""
    view = trial_view(s)
    return view is not None and view.complete


def hurries(s: ServiceSnapshot) -> bool:
    """To the last step, past all others."""
    return to_be_promoted(s) and not at_the_last_step(s) and fit(s) and not paced(s) and not approvers.awaited_later(s)


def hurried_to_the_end(s: ServiceSnapshot) -> bool:
    """For a rule that stands below those about the route: all traffic goes to it already."""
    return to_be_promoted(s) and at_the_last_step(s) and fit(s) and not paced(s) and not approvers.awaited(s)


def skips(s: ServiceSnapshot) -> bool:
    """Not past people who are named in the spec."""
    wanted = not baking(s) and the_candidate(s).step == the_candidate(s).skipped_step
    return wanted and fit(s) and not paced(s) and not approvers.awaited(s) and not next_too_coarse(s)


def skips_the_last(s: ServiceSnapshot) -> bool:
    return skips(s) and at_the_last_step(s)


# --- withdrawn ----------------------------------------------------------------------------------------------------


def withdrawn(s: ServiceSnapshot) -> bool:
    """The candidate lost its traffic because nobody could measure it."""
    return s.bake is None and s.candidate is not None and s.candidate.withdrawn_at is not None


def pause(s: ServiceSnapshot) -> timedelta:
    """Before a withdrawn candidate begins anew: twice as long each time, or it would be tried blindly for ever."""
    timeout = s.service.spec.canary.blindness.timeout_seconds
    times = max(the_candidate(s).withdrawals - 1, 0)
    return timedelta(seconds=min(timeout * 2 ** min(times, 16), max(LONGEST_PAUSE, timeout)))


def may_begin_anew(s: ServiceSnapshot) -> bool:
    """Its pause is over, and what is asked of the candidate can be measured on the stable."""
    return not paused(s) and measured(s) and watch_after(s).elapsed_seconds >= pause(s).total_seconds()


def blind(s: ServiceSnapshot) -> bool:
    """A candidate has traffic, and could not be judged for longer, or at more looks in a row, than the user allows."""
    return not baking(s) and s.look is not None and not measured(s) and _unseen_too_long(s, watch_after(s))


def blind_before(s: ServiceSnapshot) -> bool:
    """It was so at the last look already."""
    return _unseen_too_long(s, trial(s).status)


def _unseen_too_long(s: ServiceSnapshot, status: OnTrial) -> bool:
    return status.blind_seconds >= s.service.spec.canary.blindness.timeout_seconds or bool(erring(s, status))


def erring(s: ServiceSnapshot, status: OnTrial) -> list[SloCounts]:
    """SLOs that could not be measured at more looks in a row than the user tolerates."""
    return judging.erring(s.service.spec.slos, status.counts)


def patience(s: ServiceSnapshot) -> int:
    """Seconds that an answer of a metric source is waited for: no longer than until blindness is to be acted on.

    So a source that is slow delays this by LEAST_PATIENCE and not by its own slowness. Once it was acted on, a source
    that comes back slowly has all its time again.
    """
    timeout = s.service.spec.canary.blindness.timeout_seconds
    status = trial(s).status
    if baking(s) or blind_before(s):
        return SLOWEST_LOOK
    left = timeout - status.blind_seconds - watch.passed(status.looked_at, s.now, _interval(s), late=SLOWEST_LOOK)
    return min(max(left, LEAST_PATIENCE), SLOWEST_LOOK)


def to_withdraw(s: ServiceSnapshot) -> bool:
    return blind(s) and stable_answers(s) and s.service.spec.canary.blindness.action is BlindAction.WITHDRAW


# --- overdue ------------------------------------------------------------------------------------------------------


def time_counts(s: ServiceSnapshot) -> bool:
    """Something limits how long the candidate may be in its steps, and no person has stopped it."""
    limited = s.service.spec.canary.max_duration_seconds is not None
    limited = limited or any(step.max_seconds or step.trial_seconds for step in steps(s))
    return limited and not paused(s) and step_of(s) is not None


def overdue(s: ServiceSnapshot) -> bool:
    """It has been in its steps, or in this one, for longer than it may."""
    if not time_counts(s):
        return False
    most, step = s.service.spec.canary.max_duration_seconds, step_of(s)
    in_all = most is not None and the_candidate(s).rollout_seconds >= most
    return in_all or step_overdue(s, step)


def step_overdue(s: ServiceSnapshot, step: Step | None) -> bool:
    most = step.max_seconds if step is not None else None
    return most is not None and the_candidate(s).step_seconds >= most


def overdue_to_roll_back(s: ServiceSnapshot) -> bool:
    """Only toward a stable that answers: there is no haste."""
    return overdue(s) and s.service.spec.canary.when_overdue is OverdueAction.ROLL_BACK and stable_answers(s)


# --- experiments --------------------------------------------------------------------------------------------------


def lost_its_experiment(s: ServiceSnapshot) -> bool:
    """The stable is better, or as good: the candidate is to leave, toward a stable that answers; there is no haste."""
    return not baking(s) and not paused(s) and experiment.rejects(s) and stable_answers(s)


# --- the bake -----------------------------------------------------------------------------------------------------


def the_bake(s: ServiceSnapshot) -> BakeStatus:
    """For rules of the bake."""
    assert s.bake is not None
    return s.bake


def bake_void(s: ServiceSnapshot) -> bool:
    """There is nothing to go back to any more, or the stable is another one."""
    if s.bake is None or s.stable is None:
        return False
    previous = s.by_name.get(s.bake.previous)
    return s.stable.revision != s.bake.revision or previous is None or revisions.rejected(s, previous)


def rejected_in_bake(s: ServiceSnapshot) -> bool:
    """The rejection was written, and what follows from it was not."""
    if s.bake is None or s.stable is None or s.stable.revision != s.bake.revision:
        return False
    revision = s.by_name.get(s.bake.revision)
    return revision is not None and revisions.rejected(s, revision)


def bake_unwanted(s: ServiceSnapshot) -> bool:
    """The user has set bakeSeconds to 0 meanwhile."""
    return baking(s) and trial(s).hold == timedelta() and not paused(s)


def baked(s: ServiceSnapshot) -> bool:
    """Watched for long enough, and good on this very look."""
    return baking(s) and not paused(s) and held(s) >= trial(s).hold and all_passed(s) and not slos_unusable(s)


# --- policies -----------------------------------------------------------------------------------------------------


def objection(s: ServiceSnapshot) -> str:
    """Why the candidate on its way in may go no further now; empty when it may."""
    revision = s.by_name.get(s.candidate.revision) if s.candidate is not None and s.bake is None else None
    return policy.objection(s, revision) if revision is not None else ""


def objected(s: ServiceSnapshot) -> bool:
    return objection(s) != ""


def objected_before_traffic(s: ServiceSnapshot) -> bool:
    return before_traffic(s) and objected(s)


def paced(s: ServiceSnapshot) -> bool:
    """The platform team says how fast a canary may go, or its verdict does not stand now: nobody hurries it."""
    limited = s.limits is not None and bool(s.limits.max_canary_step_percent or s.limits.min_step_seconds)
    return limited or objected(s)


def leaps(s: ServiceSnapshot) -> bool:
    """The running step is further above what the route gives than policies let one step go: its steps were edited, or
    it had lost its traffic."""
    most = s.limits.max_canary_step_percent if s.limits is not None else None
    if most is None or s.bake is not None or before_traffic(s) or stable_lost(s):
        return False
    if ratio.by_pods(s):
        return _leaps_by_pods(s, Fraction(most, 100))
    return trial(s).weight_percent - s.weight(the_candidate(s).revision) > most


def _leaps_by_pods(s: ServiceSnapshot, stride: Fraction) -> bool:
    """By what the pods give, not by what was asked. On the way from one step to the next the share may be below both."""
    number = min(the_candidate(s).step, len(steps(s)))
    found, split = ratio.splits(s), split_of(s)
    if split is None or split.share - ratio.written(s) <= stride:
        return False
    return number < 2 or not ratio.on_the_way(s, found[number - 2], split)


def step_within_reach(s: ServiceSnapshot) -> int:
    """The last step that gives no more than the route does."""
    if ratio.by_pods(s):
        return sum(split is not None and split.share <= ratio.written(s) for split in ratio.splits(s))
    given = s.weight(the_candidate(s).revision)
    return sum(step.weight_percent <= given for step in steps(s))


# --- the step -----------------------------------------------------------------------------------------------------


def step_of(s: ServiceSnapshot) -> Step | None:
    """The running step; None before the first, and in a bake. A spec that became shorter meanwhile means its last step."""
    if baking(s) or s.candidate is None or s.candidate.step == 0:
        return None
    found = steps(s)
    return found[min(s.candidate.step, len(found)) - 1]


def split_of(s: ServiceSnapshot) -> Split | None:
    """The pods of the running step, where requests are divided by them; None when nobody shares them, or when no numbers
    give its share."""
    if not ratio.by_pods(s) or step_of(s) is None:
        return None
    if stable_lost(s):
        return Split(ratio.full(s), ratio.full(s), alone=True)
    found = ratio.splits(s)
    return found[min(the_candidate(s).step, len(found)) - 1]


def too_coarse(s: ServiceSnapshot) -> bool:
    """No numbers of pods give the share of the step that runs, or of the first one."""
    if not ratio.by_pods(s) or baking(s) or stable_lost(s):
        return False
    found = ratio.splits(s)
    return found[max(min(the_candidate(s).step, len(found)), 1) - 1] is None


def next_too_coarse(s: ServiceSnapshot) -> bool:
    """No numbers of pods give the share of the step that comes next."""
    if not ratio.by_pods(s) or baking(s) or at_the_last_step(s):
        return False
    return ratio.splits(s)[the_candidate(s).step] is None


def passed_and_next_too_coarse(s: ServiceSnapshot) -> bool:
    return next_too_coarse(s) and step_passed(s)


def asks_a_person(s: ServiceSnapshot) -> bool:
    """The running step is an approval."""
    step = step_of(s)
    return step is not None and step.approval is not None


def awaits_approval(s: ServiceSnapshot) -> bool:
    if approvers.named(step_of(s)):
        return approvers.awaited(s)
    return asks_a_person(s) and the_candidate(s).approved_step != the_candidate(s).step


def analysing(s: ServiceSnapshot) -> bool:
    """The running step ends when every SLO has passed for long enough."""
    step = step_of(s)
    return step is not None and step.analysis is not None


def step_number(s: ServiceSnapshot) -> int:
    """The last one in a bake: users met it at 100 percent."""
    return len(steps(s)) if baking(s) else the_candidate(s).step


def trial_weights(s: ServiceSnapshot) -> Weights:
    """Who gets what in the running step; all to the new stable in its bake."""
    found = trial(s)
    shares = {found.refuge: 100 - found.weight_percent, found.revision: found.weight_percent}
    return {revision: share for revision, share in shares.items() if share}


def routed(route: RouteView | None, weights: Weights) -> bool:
    """The route names exactly these weights (it may name others with 0)."""
    if route is None or not route.ours:
        return False
    if route.front is not None:
        return [revision for revision, weight in weights.items() if weight] == [route.front.selects]
    given = {service: weight for service, weight in route.backends if weight}
    return given == _by_service(weights)


def _by_service(weights: Weights) -> dict[str, int]:
    return {names.serving(revision): weight for revision, weight in weights.items() if weight}


def step_not_routed(s: ServiceSnapshot) -> bool:
    """The route has other weights than the step, or its Gateway refuses it."""
    if (split := split_of(s)) is not None:
        return not ratio.in_place(s, split) or s.route is None or not s.route.serving
    if not routed(s.route, trial_weights(s)) or s.route is None or not s.route.serving:
        return True
    if experiment.unkept(s, s.route):
        return True
    return shadowed(s) and s.route.mirrors != (names.serving(trial(s).revision),)


def shadowed(s: ServiceSnapshot) -> bool:
    """What is on trial gets copies of requests, and no user its answers."""
    return step_of(s) is not None and trial(s).weight_percent == 0


def step_not_programmed(s: ServiceSnapshot) -> bool:
    """Weights are in the route, but the Gateway has not taken them up yet, or serves nobody; or not all pods of the step are
    ready."""
    if (split := split_of(s)) is not None and not ratio.taken_up(s, split):
        return True
    return (s.route is not None and not s.route.programmed) or gateways.trouble(s) is not None


def clock_not_started(s: ServiceSnapshot) -> bool:
    return watch.started_at(trial(s).status) is None


def watch_after(s: ServiceSnapshot) -> OnTrial:
    """What is on trial, with this look counted."""
    status = trial(s).status
    if s.look is None or status.looked_at is None:
        return status
    told = watch.counted(status, s.now, _interval(s), measured(s), all_passed(s), SLOWEST_LOOK)
    after = watch.polled(watch.seen(told, s.look.compared), s.failing)
    return after if withdrawn(s) else watch.tallied(after, [found.count for found in _halves(s)])


def held(s: ServiceSnapshot) -> timedelta:
    """How long the running step, or the bake, was watched; in an analysis, how long every SLO has passed."""
    return timedelta(seconds=_held_by(s, watch_after(s)))


def _held_by(s: ServiceSnapshot, status: OnTrial) -> int:
    return status.passing_seconds if analysing(s) else status.watched_seconds


def elapsed(s: ServiceSnapshot) -> timedelta:
    """How long it has run, up to this moment."""
    status = trial(s).status
    now = watch.passed(status.looked_at, s.now, _interval(s))
    return timedelta(seconds=status.elapsed_seconds + now)


def hold(s: ServiceSnapshot) -> timedelta:
    return trial(s).hold


def delayed(s: ServiceSnapshot) -> bool:
    """It has its share, and is not judged yet, as the user wants it at the beginning of each share."""
    step = step_of(s)
    if step is None or not step.delays or clock_not_started(s):
        return False
    return the_candidate(s).delayed_seconds < s.service.spec.canary.initial_delay_seconds


def no_look(s: ServiceSnapshot) -> bool:
    return s.look is None


def _interval(s: ServiceSnapshot) -> int:
    return s.service.spec.canary.interval_seconds


def next_look_in(s: ServiceSnapshot) -> timedelta:
    """Time until the SLOs are judged again: each interval, and once more when the hold is over.

    Counted from the last look that status remembers, so that our own writes, which wake us, do not make more looks.
    """
    found = trial(s)
    interval = timedelta(seconds=_interval(s))
    last = found.status.looked_at
    if last is None:
        return interval
    if last > s.now:  # the clock was set back
        return timedelta()
    left = found.hold - timedelta(seconds=_held_by(s, found.status))
    wait = left if timedelta() < left < interval and not withdrawn(s) else interval
    return max(last + wait - s.now, timedelta())


def look_due(s: ServiceSnapshot) -> bool:
    """Is there something to judge now? The observer asks the metric sources only then."""
    if on_trial(s) is None or s.stable is None:
        return False
    begun = not clock_not_started(s) and not delayed(s)
    return (withdrawn(s) or begun) and next_look_in(s) == timedelta()


# --- the verdict --------------------------------------------------------------------------------------------------


def asked_of(s: ServiceSnapshot) -> str:
    """The revision that the SLOs are asked for: a withdrawn candidate has no requests, so the stable tells whether there
    are metrics again."""
    return trial(s).refuge if withdrawn(s) else trial(s).revision


def asked(s: ServiceSnapshot) -> list[Slo]:
    """The SLOs whose query is to be asked. In a bake nobody is on the previous revision: what compares with it cannot be
    measured."""
    return [
        slo for slo in s.service.spec.slos if slos.query_of(slo) is not None and not (baking(s) and slos.compares(slo))
    ]


def compared(s: ServiceSnapshot) -> list[Slo]:
    """The SLOs that are compared with the stable: while somebody is on it."""
    if baking(s) or trial(s).weight_percent >= 100:
        return []
    return [slo for slo in s.service.spec.slos if slo.compared_to is not None]


def not_compared(s: ServiceSnapshot) -> list[str]:
    """The comparisons that rest, by name: everybody is on what is on trial."""
    there = compared(s)
    return [slo.name for slo in s.service.spec.slos if slo.compared_to is not None and slo not in there]


def verdicts(s: ServiceSnapshot) -> list[SloStatus]:
    """All SLOs judged on this look; one that nobody asked about counts as not measured."""
    return [] if withdrawn(s) else [found.shown for found in _halves(s)]


def _halves(s: ServiceSnapshot) -> list[Judged]:
    """Each SLO that is judged now: by its bound, its comparison, or both."""
    if s.look is None:
        return []
    bounds = {slo.name: slos.judged(slo, s.look.samples.get(slo.name, slos.NOT_ASKED)) for slo in asked(s)}
    before = trial(s).status.counts
    both = [(slo, bounds.get(slo.name), s.look.compared.get(slo.name)) for slo in s.service.spec.slos]
    return [
        Judged(slo, bound, compared, judging.counted(slo, before, bound, compared))
        for slo, bound, compared in both
        if bound is not None or compared is not None
    ]


def _deciding(s: ServiceSnapshot) -> list[Judged]:
    return [found for found in _halves(s) if found.decides]


def measured(s: ServiceSnapshot) -> bool:
    """Every SLO that decides gave one fresh number on this look."""
    return s.look is not None and all(found.told for found in _deciding(s))


def breaches(s: ServiceSnapshot) -> list[SloStatus]:
    """Those that are acted on."""
    return [] if withdrawn(s) else [found.shown for found in _deciding(s) if found.breached]


def slo_breached(s: ServiceSnapshot) -> bool:
    return bool(breaches(s))


def all_passed(s: ServiceSnapshot) -> bool:
    return s.look is not None and not withdrawn(s) and all(found.good for found in _deciding(s))


def unopposed(s: ServiceSnapshot) -> bool:
    """Nothing is against it on this look. After an approval that is enough: a comparison need not be able to tell."""
    return s.look is not None and all(found.unopposed for found in _deciding(s))


def requests_seen(s: ServiceSnapshot) -> int | None:
    """Answered since the step began; None when it could not be counted."""
    reading = s.look.requests if s.look is not None else None
    if reading is None:
        return None
    if reading.kind is ReadingKind.NO_DATA:
        return 0
    return max(0, round(reading.value)) if reading.kind is ReadingKind.VALUE and reading.value is not None else None


def requests_wanted(s: ServiceSnapshot) -> int:
    """Steps count requests; an approval, a bake and the wait for metrics do not."""
    step = step_of(s)
    if baking(s) or withdrawn(s) or asks_a_person(s) or experiment.running(s):
        return 0  # an experiment counts outcomes
    wanted = step.analysis.min_requests if step is not None and step.analysis is not None else None
    return s.service.spec.canary.min_requests if wanted is None else wanted


def enough_requests(s: ServiceSnapshot) -> bool:
    wanted, seen = requests_wanted(s), requests_seen(s)
    return wanted == 0 or (seen is not None and seen >= wanted)


def step_passed(s: ServiceSnapshot) -> bool:
    """Held long enough, every SLO passed on this very look, enough requests, and fit for more."""
    if baking(s) or paused(s) or not fit(s):
        return False
    if asks_a_person(s):
        return not awaits_approval(s) and unopposed(s) and not slos_unusable(s)
    if experiment.running(s) and not experiment.lets_go_on(s):
        return False
    return held(s) >= hold(s) and all_passed(s) and enough_requests(s) and not slos_unusable(s)


def last_step_passed(s: ServiceSnapshot) -> bool:
    return step_passed(s) and at_the_last_step(s)
