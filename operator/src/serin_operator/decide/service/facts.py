"""Named facts about a snapshot: the predicates that the rules in `canary.py` are written in."""

from collections.abc import Mapping
from datetime import timedelta

from serin_operator.api.v1alpha1 import CanaryStep, CandidateStatus, SloStatus, Verdict
from serin_operator.decide.service import revisions, slos
from serin_operator.decide.service.snapshot import ReadingKind, RouteView, ServiceSnapshot, ServingView
from serin_operator.manifests import names

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


def all_to_stable(s: ServiceSnapshot) -> Weights | None:
    """Everything to the stable; None (leave the route as it is) while no pod of the stable answers."""
    return {s.stable.revision: 100} if s.stable is not None and stable_answers(s) else None


def rejected_with_weight(s: ServiceSnapshot) -> list[str]:
    return [
        revision.metadata.name
        for revision in s.revisions
        if revisions.rejected(s, revision) and s.weight(revision.metadata.name)
    ]


# --- the candidate ------------------------------------------------------------------------------------------------


def candidate_out_of_date(s: ServiceSnapshot) -> bool:
    """The candidate in status is not the one that should be on its way in."""
    wanted = revisions.next_candidate(s)
    return (wanted.metadata.name if wanted is not None else None) != (
        s.candidate.revision if s.candidate is not None else None
    )


def no_candidate(s: ServiceSnapshot) -> bool:
    return s.candidate is None


def the_candidate(s: ServiceSnapshot) -> CandidateStatus:
    """For rules that stand below `no_candidate`."""
    assert s.candidate is not None
    return s.candidate


def candidate_view(s: ServiceSnapshot) -> ServingView | None:
    return s.serving(the_candidate(s).revision)


def before_traffic(s: ServiceSnapshot) -> bool:
    return the_candidate(s).step == 0


def slos_unusable(s: ServiceSnapshot) -> bool:
    return slos.unusable(s) is not None


def held_before_traffic(s: ServiceSnapshot) -> bool:
    """Nobody could judge it, and nobody has met it yet."""
    return before_traffic(s) and slos_unusable(s)


def candidate_crashed(s: ServiceSnapshot) -> bool:
    """A server of the candidate ended by itself while users' requests went to it."""
    view, since = candidate_view(s), the_candidate(s).step_started_at
    return view is not None and view.crashed_at is not None and since is not None and view.crashed_at >= since


def candidate_late(s: ServiceSnapshot) -> bool:
    """Not ready for longer than progressDeadlineSeconds, counted from the Deployment and not from our memory."""
    view = candidate_view(s)
    if view is None or view.unavailable_since is None or not candidate_not_ready(s):
        return False
    return s.now - view.unavailable_since >= timedelta(seconds=s.service.spec.canary.progress_deadline_seconds)


def candidate_not_ready(s: ServiceSnapshot) -> bool:
    """Before its first request all pods must be ready; later one that answers is enough to stay."""
    view = candidate_view(s)
    if view is None:
        return True
    return not view.complete if before_traffic(s) else not view.answers


# --- the step -----------------------------------------------------------------------------------------------------


def step_of(s: ServiceSnapshot) -> CanaryStep | None:
    """The running step; None before the first. A spec that became shorter meanwhile means its last step."""
    steps, number = s.service.spec.canary.steps, the_candidate(s).step
    return steps[min(number, len(steps)) - 1] if number > 0 else None


def step_weights(s: ServiceSnapshot) -> Weights:
    """Who gets what in the running step."""
    assert s.stable is not None
    step = step_of(s)
    percent = step.weight_percent if step is not None else 0
    shares = {s.stable.revision: 100 - percent, the_candidate(s).revision: percent}
    return {revision: share for revision, share in shares.items() if share or revision == s.stable.revision}


def routed(route: RouteView | None, weights: Weights) -> bool:
    """The route names exactly these weights (it may name others with 0)."""
    if route is None:
        return False
    given = {service: weight for service, weight in route.backends if weight}
    return given == _by_service(weights)


def _by_service(weights: Weights) -> dict[str, int]:
    return {names.serving(revision): weight for revision, weight in weights.items() if weight}


def step_not_routed(s: ServiceSnapshot) -> bool:
    """The route has other weights than the step, or its Gateway refuses it."""
    return not routed(s.route, step_weights(s)) or s.route is None or not s.route.serving


def step_not_programmed(s: ServiceSnapshot) -> bool:
    """Weights are in the route, but the Gateway has not taken them up yet."""
    return s.route is not None and not s.route.programmed


def clock_not_started(s: ServiceSnapshot) -> bool:
    """Not yet, or in the future: then the machine's clock was set back and the step begins anew."""
    since = the_candidate(s).step_started_at
    return since is None or since > s.now


def held(s: ServiceSnapshot) -> timedelta:
    """How long the step has run."""
    since = the_candidate(s).step_started_at
    return max(s.now - since, timedelta()) if since is not None else timedelta()


def hold(s: ServiceSnapshot) -> timedelta:
    step = step_of(s)
    return timedelta(seconds=step.hold_seconds if step is not None else 0)


def no_look(s: ServiceSnapshot) -> bool:
    return s.look is None


def next_look_in(s: ServiceSnapshot) -> timedelta:
    """Time until the SLOs are judged again: each interval, and once more when the hold is over.

    Counted from the last look that status remembers, so that our own writes, which wake us, do not make more looks.
    """
    interval = timedelta(seconds=s.service.spec.canary.interval_seconds)
    started = the_candidate(s).step_started_at
    if started is None:
        return interval
    last = s.service.status.slos_judged_at
    last = started if last is None or last < started else last
    if last > s.now:  # the clock was set back
        return timedelta()
    due = last + interval
    end = started + hold(s)
    if last < end < due:
        due = end
    return max(due - s.now, timedelta())


def look_due(s: ServiceSnapshot) -> bool:
    """Is there something to judge now? The observer asks the metric sources only then."""
    if s.candidate is None or s.candidate.step_started_at is None or s.stable is None:
        return False
    return next_look_in(s) == timedelta()


# --- the verdict --------------------------------------------------------------------------------------------------


def verdicts(s: ServiceSnapshot) -> list[SloStatus]:
    """All SLOs judged on this look; one that nobody asked about counts as not measured."""
    if s.look is None:
        return []
    return [slos.judged(slo, s.look.samples.get(slo.name, slos.NOT_ASKED)) for slo in s.service.spec.slos]


def breaches(s: ServiceSnapshot) -> list[SloStatus]:
    return [found for found in verdicts(s) if found.verdict is Verdict.FAILED]


def slo_breached(s: ServiceSnapshot) -> bool:
    return bool(breaches(s))


def unmeasured(s: ServiceSnapshot) -> list[SloStatus]:
    return [found for found in verdicts(s) if found.verdict in (Verdict.INCONCLUSIVE, Verdict.ERROR)]


def all_passed(s: ServiceSnapshot) -> bool:
    found = verdicts(s)
    return bool(found) and all(one.verdict is Verdict.PASSED for one in found)


def requests_seen(s: ServiceSnapshot) -> int | None:
    """Answered since the step began; None when it could not be counted."""
    reading = s.look.requests if s.look is not None else None
    if reading is None:
        return None
    if reading.kind is ReadingKind.NO_DATA:
        return 0
    return max(0, round(reading.value)) if reading.kind is ReadingKind.VALUE and reading.value is not None else None


def enough_requests(s: ServiceSnapshot) -> bool:
    wanted = s.service.spec.canary.min_requests
    seen = requests_seen(s)
    return wanted == 0 or (seen is not None and seen >= wanted)


def step_passed(s: ServiceSnapshot) -> bool:
    """Held long enough, every SLO passed on this very look, enough requests, and fit for more."""
    view = candidate_view(s)
    fit = view is not None and view.complete
    return fit and held(s) >= hold(s) and all_passed(s) and enough_requests(s) and not slos_unusable(s)


def last_step_passed(s: ServiceSnapshot) -> bool:
    return step_passed(s) and the_candidate(s).step >= len(s.service.spec.canary.steps)
