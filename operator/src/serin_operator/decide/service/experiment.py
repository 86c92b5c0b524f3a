"""A/B experiments: what is asked, what was seen, the verdict, and which way it lets the candidate go.

An experiment is a step of a canary. So everything that protects users in a step protects them here: SLOs, crashes, a
stable that falls silent, a pause, a person's word. It adds who gets which revision (`arms`), and a verdict.

The verdict is in status before anything follows from it, and is never judged again: the look that finds it writes it, the
next one acts. It is of this candidate, from the moment it became one, against this stable and by these counters; anything
else begins anew. What was seen so far outlives a candidate that loses its pods: outcomes of the time in between, when all
users were on the stable, are left out.

Not here: the arithmetic (`sequential/shares.py`), how samples are added up (`counters.py`), the route (`traffic.py`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pydantic import TypeAdapter, ValidationError

from serin_operator.api.v1alpha1 import (
    Arm,
    CandidateStatus,
    Experiment,
    ExperimentStatus,
    ExperimentVerdict,
    WhenBetter,
    WhenNoDifference,
    WhenWorse,
)
from serin_operator.decide.decision import Event
from serin_operator.decide.service import slos
from serin_operator.decide.service.asking import CATCH_UP, LOOKBACK, Ask
from serin_operator.decide.service.counters import Sampled, of_errors
from serin_operator.decide.service.sequential import shares
from serin_operator.decide.service.sequential.shares import Interval, Outcomes
from serin_operator.decide.service.snapshot import Reading, RouteView, ServiceSnapshot, Tried
from serin_operator.decide.steps import Step, steps_of
from serin_operator.manifests import names
from serin_operator.manifests.arms import Arms

ABOUT: Final = "experiment/"
"""What its questions are about; no SLO can have this name."""
CANDIDATE, STABLE, TOTAL, SUCCESSES = "candidate", "stable", "total", "successes"
VERSION: Final = 1
"""Of the state."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Outcomes of both arms so far, and up to which moment of the metric source's clock."""

    read_to: float
    candidate: tuple[float, float] = (0.0, 0.0)
    stable: tuple[float, float] = (0.0, 0.0)


_TEXT: Final = TypeAdapter(Seen)


# --- is there one -------------------------------------------------------------------------------------------------


def _step(s: ServiceSnapshot, candidate: CandidateStatus | None) -> Step | None:
    if s.bake is not None or candidate is None or candidate.step == 0 or candidate.withdrawn_at is not None:
        return None
    steps = steps_of(s.service.spec.canary)
    return steps[min(candidate.step, len(steps)) - 1]


def _running(s: ServiceSnapshot) -> Experiment | None:
    step = _step(s, s.candidate)
    return step.experiment if step is not None and s.stable is not None else None


def running(s: ServiceSnapshot) -> bool:
    """The candidate is in a step that is one."""
    return _running(s) is not None


def measurable(s: ServiceSnapshot) -> bool:
    """Both revisions have users."""
    experiment, candidate, stable = _running(s), s.candidate, s.stable
    return experiment is not None and all(s.weight(one.revision) for one in (candidate, stable) if one is not None)


def standing(s: ServiceSnapshot) -> ExperimentStatus | None:
    """What status has of the one that runs."""
    known = s.service.status.experiment
    return known if known is not None and running(s) and known.key == _key(s) else None


def _key(s: ServiceSnapshot) -> str:
    experiment = _running(s)
    assert experiment is not None
    assert s.candidate is not None
    assert s.stable is not None
    asked = (experiment.source, experiment.total, experiment.successes)
    rule = (experiment.min_difference_points, experiment.confidence_percent)
    who = (s.candidate.revision, s.candidate.since.isoformat(), s.stable.revision)
    return hashlib.sha256(json.dumps([VERSION, *asked, *rule, *who]).encode()).hexdigest()[:16]


# --- what is asked, and what came back ----------------------------------------------------------------------------


def asks(s: ServiceSnapshot) -> list[Ask]:
    """Nothing once it is decided."""
    experiment, known = _running(s), standing(s)
    if experiment is None or not measurable(s) or (known is not None and known.verdict is not None):
        return []
    assert s.candidate is not None
    assert s.stable is not None
    window, moment = _window(s, known)
    return [
        Ask(ABOUT, f"{of}/{arm}", experiment.source, _query(s, selector, revision, window), moment)
        for arm, revision in ((CANDIDATE, s.candidate.revision), (STABLE, s.stable.revision))
        for of, selector in ((TOTAL, experiment.total), (SUCCESSES, experiment.successes))
    ]


def _query(s: ServiceSnapshot, selector: str, revision: str, window: int) -> str | slos.Unusable:
    assert s.stable is not None
    query = slos.filled(selector, slos.words_for(s, revision, s.stable.revision))
    return f"{query}[{window}s]" if isinstance(query, str) else query


def _window(s: ServiceSnapshot, known: ExperimentStatus | None) -> tuple[int, float | None]:
    """How far back to ask, and when to stop; our clock and the source's need not agree."""
    if known is None or _interrupted(s, known):
        return LOOKBACK, None
    since = int((s.now - known.looked_at).total_seconds())
    if since < 0:  # our clock was set back
        return CATCH_UP + LOOKBACK, None
    if since > CATCH_UP and (seen := _loaded(known)) is not None:
        return CATCH_UP + LOOKBACK, seen.read_to + CATCH_UP
    return min(since, CATCH_UP) + LOOKBACK, None


def _interrupted(s: ServiceSnapshot, known: ExperimentStatus) -> bool:
    """The step was begun anew since outcomes were last read: the candidate had lost its users."""
    started = s.candidate.step_started_at if s.candidate is not None else None
    return started is not None and known.looked_at < started


def _loaded(known: ExperimentStatus) -> Seen | None:
    try:
        return _TEXT.validate_json(known.state)
    except ValidationError:
        return None


Answers = Mapping[str, Sampled | Reading]
"""By role."""


def looked(s: ServiceSnapshot, answers: Answers) -> Tried | None:
    """The experiment after this look; None when none was asked about."""
    known = standing(s)
    if not answers:
        return None
    told = {role: answer for role, answer in answers.items() if isinstance(answer, Sampled)}
    if len(told) < len(answers):
        trouble = next(slos.explained(answer) for answer in answers.values() if isinstance(answer, Reading))
        return Tried(known, f"users' outcomes could not be read: {trouble}")
    return Tried(_judged(s, *_read_on(s, known, told)))


def _read_on(
    s: ServiceSnapshot, known: ExperimentStatus | None, told: Mapping[str, Sampled]
) -> tuple[ExperimentStatus | None, Seen, datetime]:
    until = min(answer.at for answer in told.values())
    seen = _loaded(known) if known is not None else None
    if known is None or seen is None or _interrupted(s, known):
        kept = seen or Seen(until)
        return known, Seen(until, kept.candidate, kept.stable), s.now
    if until <= seen.read_to:
        return known, seen, known.looked_at
    # A success is to all outcomes what a failure is to all requests.
    ours, theirs = (of_errors(told[f"{TOTAL}/{arm}"], told[f"{SUCCESSES}/{arm}"]) for arm in (CANDIDATE, STABLE))
    candidate = ours.between(seen.read_to, until, seen.candidate)
    stable = theirs.between(seen.read_to, until, seen.stable)
    _, moment = _window(s, known)
    at = s.now if moment is None else known.looked_at + timedelta(seconds=int(until - seen.read_to))
    return known, Seen(until, (candidate[0], candidate[1]), (stable[0], stable[1])), at


# --- the verdict --------------------------------------------------------------------------------------------------


def _judged(s: ServiceSnapshot, known: ExperimentStatus | None, seen: Seen, at: datetime) -> ExperimentStatus:
    experiment = _running(s)
    assert experiment is not None
    assert s.candidate is not None
    assert s.stable is not None
    ours, theirs = Outcomes(*seen.candidate), Outcomes(*seen.stable)
    matters = float(experiment.min_difference_points) / 100
    found = shares.difference(ours, theirs, matters, 1 - experiment.confidence_percent / 100)
    verdict = _verdict(s, experiment, ours, theirs, found)
    said = _said(s, experiment, ours, theirs, found, verdict)
    return ExperimentStatus(
        key=_key(s),
        candidate=_arm(s.candidate.revision, ours),
        stable=_arm(s.stable.revision, theirs),
        since=known.since if known is not None else s.now,
        looked_at=at,
        state=_TEXT.dump_json(seen).decode(),
        difference_points=_points(found.difference) if found is not None else None,
        from_points=_points(found.low) if found is not None else None,
        to_points=_points(found.high) if found is not None else None,
        verdict=verdict,
        decided_at=s.now if verdict is not None else None,
        message=said,
    )


def _arm(revision: str, outcomes: Outcomes) -> Arm:
    return Arm(revision=revision, outcomes=round(outcomes.count), successes=round(outcomes.successes))


def _verdict(
    s: ServiceSnapshot, experiment: Experiment, ours: Outcomes, theirs: Outcomes, found: Interval | None
) -> ExperimentVerdict | None:
    """None while it is not known. A winner by less than what matters is none."""
    if found is None or _waits_for(s, experiment, ours, theirs):
        return None
    matters = float(experiment.min_difference_points) / 100
    if -matters < found.low and found.high < matters:
        return ExperimentVerdict.NO_DIFFERENCE
    if found.low > 0:
        return ExperimentVerdict.CANDIDATE_BETTER
    if found.high < 0:
        return ExperimentVerdict.STABLE_BETTER
    return ExperimentVerdict.NO_DIFFERENCE if _time_is_over(s) else None


def _waits_for(s: ServiceSnapshot, experiment: Experiment, ours: Outcomes, theirs: Outcomes) -> str:
    """What must be there before anything is said; empty when it is."""
    fewest = min(ours.count, theirs.count)
    if fewest < experiment.min_outcomes:
        return f"{fewest:.0f} of {experiment.min_outcomes} outcomes on the arm that has fewer"
    if not shares.enough(ours, theirs):
        return f"so few outcomes of the rarer kind that nothing can be said ({shares.FEWEST} on either arm are needed)"
    seconds = s.candidate.step_seconds if s.candidate is not None else 0
    return f"{seconds} of {experiment.min_seconds} s at least" if seconds < experiment.min_seconds else ""


def _time_is_over(s: ServiceSnapshot) -> bool:
    step = _step(s, s.candidate)
    assert s.candidate is not None
    return step is not None and s.candidate.step_seconds >= step.trial_seconds


def _said(
    s: ServiceSnapshot,
    experiment: Experiment,
    ours: Outcomes,
    theirs: Outcomes,
    found: Interval | None,
    verdict: ExperimentVerdict | None,
) -> str:
    assert s.stable is not None
    if found is None:
        return f"experiment: no outcome of the {'stable' if ours.count else 'candidate'} was counted yet"
    numbers = (
        f"{ours.share:.2%} of {ours.count:.0f} outcomes are successes, {theirs.share:.2%} of {theirs.count:.0f} on"
        f" {s.stable.revision}: a difference of {_signed(found.difference)} points ({_signed(found.low)} to"
        f" {_signed(found.high)} with {experiment.confidence_percent} % confidence)"
    )
    return f"experiment: {numbers}; {_meaning(s, experiment, ours, theirs, found, verdict)}"


def _meaning(
    s: ServiceSnapshot,
    experiment: Experiment,
    ours: Outcomes,
    theirs: Outcomes,
    found: Interval,
    verdict: ExperimentVerdict | None,
) -> str:
    limit = f"{experiment.min_difference_points} points"
    if verdict is ExperimentVerdict.CANDIDATE_BETTER:
        return "the candidate is better"
    if verdict is ExperimentVerdict.STABLE_BETTER:
        return "the stable is better"
    matters = float(experiment.min_difference_points) / 100
    if verdict is ExperimentVerdict.NO_DIFFERENCE:
        shown = -matters < found.low and found.high < matters
        return (
            f"no difference of {limit}"
            if shown
            else f"no difference was found in its time, though {limit} may be there"
        )
    if waits := _waits_for(s, experiment, ours, theirs):
        late = "its time is over, and it goes on: " if _time_is_over(s) else ""
        return f"{late}{waits}"
    most = shares.needed(ours, theirs, matters, 1 - experiment.confidence_percent / 100)
    return f"not known yet; some {most:.2g} outcomes would show it if there is no difference of {limit}"


def _points(share: float) -> str:
    return f"{100 * share:.4g}"


def _signed(share: float) -> str:
    return f"{100 * share:+.2f}"


# --- what follows -------------------------------------------------------------------------------------------------


def after(s: ServiceSnapshot) -> ExperimentStatus | None:
    """For status: with this look. The last one stays until another begins."""
    tried = s.look.tried if s.look is not None else None
    return tried.status if tried is not None and tried.status is not None else s.service.status.experiment


def events(s: ServiceSnapshot) -> tuple[Event, ...]:
    """When it is decided."""
    tried = s.look.tried if s.look is not None else None
    if tried is None or tried.status is None or tried.status.verdict is None:
        return ()
    return (Event("ExperimentDecided", f"{tried.status.verdict.value}: {tried.status.message}"),)


def verdict(s: ServiceSnapshot) -> ExperimentVerdict | None:
    """As it is in status: what this very look has found is written first."""
    known = standing(s)
    return known.verdict if known is not None else None


def lets_go_on(s: ServiceSnapshot) -> bool:
    """The step may end well."""
    experiment, found = _running(s), verdict(s)
    if experiment is None or found is None:
        return False
    if found is ExperimentVerdict.NO_DIFFERENCE:
        return experiment.when_no_difference is WhenNoDifference.PROCEED
    return found is ExperimentVerdict.CANDIDATE_BETTER and experiment.when_better is WhenBetter.PROCEED


def rejects(s: ServiceSnapshot) -> bool:
    """The candidate did not win, and the user wants it out for that."""
    experiment, found = _running(s), verdict(s)
    if experiment is None or found is None:
        return False
    if found is ExperimentVerdict.NO_DIFFERENCE:
        return experiment.when_no_difference is WhenNoDifference.REJECT
    return found is ExperimentVerdict.STABLE_BETTER and experiment.when_worse is WhenWorse.REJECT


def told(s: ServiceSnapshot) -> str:
    """What is known of it, and who goes on from here."""
    known, tried = standing(s), s.look.tried if s.look is not None else None
    now = tried.status if tried is not None and tried.status is not None else known
    said = [now.message] if now is not None else ["experiment: nothing was counted yet"]
    if tried is not None and tried.trouble:
        said.append(tried.trouble)
    if verdict(s) is not None and not lets_go_on(s) and not rejects(s):
        said.append("a person decides: skip/<nonce> takes the candidate on, abort/<nonce> takes it out")
    return "; ".join(said)


def unkept(s: ServiceSnapshot, route: RouteView) -> bool:
    """The route does not keep users with their revision, as it should by now."""
    weights = dict(route.backends)
    found = arms(s, s.candidate, weights)
    return found is not None and {service for _, service in found.rules()} != set(route.arms)


# --- who gets which -----------------------------------------------------------------------------------------------


def arms(s: ServiceSnapshot, candidate: CandidateStatus | None, weights: Mapping[str, int]) -> Arms | None:
    """How users stay with their revision, while this candidate is in its experiment and both have a share. `weights` are by
    Service, as they are to be."""
    step = _step(s, candidate)
    if step is None or step.experiment is None or candidate is None or s.stable is None or s.candidate is None:
        return None
    ours, theirs = names.serving(candidate.revision), names.serving(s.stable.revision)
    both = all(weights.get(service) for service in (ours, theirs))
    if not both or s.candidate.revision != candidate.revision or not _answer(s, candidate.revision, s.stable.revision):
        return None
    sticky = step.experiment.sticky
    return Arms(
        candidate=ours,
        stable=theirs,
        percent=weights[ours],
        salt=candidate.digest,
        header=sticky.header or "",
        cookie_seconds=sticky.cookie.max_age_seconds if sticky.cookie is not None else None,
    )


def _answer(s: ServiceSnapshot, *revisions: str) -> bool:
    views = [s.serving(revision) for revision in revisions]
    return all(view is not None and view.answers for view in views)
