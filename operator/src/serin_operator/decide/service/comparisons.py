"""SLOs with `comparedTo: Stable`: what is asked for, what is kept in status, and the verdict.

What a comparison has seen lies in `ModelService.status.candidate.comparisons`, together with the moment of the metric
source's own clock up to which it has read. Each look reads on from there, so

- a look that did not happen, or found the source away, is made up for by the next one, up to CATCH_UP seconds at a time;
- a look that is repeated reads the same samples to the same state, and one whose write was lost reads them again;
- a crash loses nothing: the status is written before anything follows from it.

It is not computed anew from all samples of a step on each look: an hour of histograms of many pods is megabytes, and a
source that forgets (a restart without its disk) would take back what had been shown. What is fed to the test is cut at
whole blocks of seconds since its start, so that the verdict does not depend on when somebody looked.

A comparison is begun anew with each step, since weights and load change there, and since one that has seen ten good
minutes finds a fault that begins late only late. The promise of 1 percent false rollbacks is for the whole rollout: it is
shared out to the steps and to the SLOs that compare. At 100 percent and in the bake there is nobody to compare with, so
there is no comparison; the bounds of the SLOs judge alone (the API asks for at least one).

Not here: the tests themselves (`sequential/`) and how samples are added up (`counters.py`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from pydantic import TypeAdapter, ValidationError

from serin_operator.api.v1alpha1 import CandidateStatus, ComparisonStatus, Slo, SloStatus, Verdict, WhenInconclusive
from serin_operator.decide.service import facts, slos
from serin_operator.decide.service.asking import CATCH_UP, LOOKBACK, Ask, Role
from serin_operator.decide.service.counters import Growth, Sampled, Vector, of_errors, of_histogram
from serin_operator.decide.service.sequential import errors, hard, latency
from serin_operator.decide.service.sequential.errors import ErrorState, Tally
from serin_operator.decide.service.sequential.hard import HardState
from serin_operator.decide.service.sequential.latency import BLOCK_SECONDS, Counts, LatencyState
from serin_operator.decide.service.sequential.rule import Judgement, Rule
from serin_operator.decide.service.snapshot import Compared, Reading, ReadingKind, ServiceSnapshot

LEVEL: Final = 0.01
"""Of the rollouts whose candidate is no worse, at most this share ends in a rollback by comparisons."""
PAST: Final = 3600
"""Seconds of the stable's past from which latency learns how noisy the load is."""
WARM_UP: Final = 60
JUMP: Final = 10
"""A block of the past with so many times the usual requests is a pod that came back into sight, and is left out."""


Answer = Sampled | Reading
Answers = Mapping[tuple[str, str], Answer]
"""By SLO and role."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of a comparison. Moments are of the metric source's clock."""

    began: float
    read_to: float
    candidate: Vector
    """Everything that was read so far, added up: what the tests take as counters. Requests and failures, or buckets."""
    stable: Vector
    lost: float = 0.0
    """Seconds of which there were no samples any more."""
    failures: ErrorState | None = None
    polls: HardState | None = None
    times: LatencyState | None = None
    edges: Vector = ()


_TEXT: Final = TypeAdapter(Seen)


# --- what is asked ------------------------------------------------------------------------------------------------


def asks(s: ServiceSnapshot) -> list[Ask]:
    """Everything that this look wants to know. A withdrawn candidate has no requests: the stable tells whether there
    are counters again."""
    if facts.withdrawn(s):
        return [_ask(s, slo, Role.STABLE, f"[{LOOKBACK}s]") for slo in facts.compared(s)]
    return [ask for slo in facts.compared(s) for ask in _of(s, slo)]


def _of(s: ServiceSnapshot, slo: Slo) -> list[Ask]:
    found = _loaded(s, slo)
    window, moment = _window(s, *found) if found is not None else (LOOKBACK, None)
    roles = [Role.CANDIDATE, Role.STABLE]
    if slo.failures is not None:
        roles += [Role.CANDIDATE_FAILURES, Role.STABLE_FAILURES]
    asked = [_ask(s, slo, role, f"[{window}s]", moment) for role in roles]
    if slo.histogram is not None and found is None:
        asked.append(_ask(s, slo, Role.PAST, f"[{PAST}s:{BLOCK_SECONDS:g}s]"))
    return asked


def _window(s: ServiceSnapshot, kept: ComparisonStatus, seen: Seen) -> tuple[int, float | None]:
    """How far back to ask, and when to stop. Our clock and the source's need not agree: only differences count."""
    since = int((s.now - kept.looked_at).total_seconds())
    if since < 0:  # our clock was set back
        return CATCH_UP + LOOKBACK, None
    if since > CATCH_UP:
        return CATCH_UP + LOOKBACK, seen.read_to + CATCH_UP
    return since + LOOKBACK, None


def _ask(s: ServiceSnapshot, slo: Slo, role: Role, span: str, moment: float | None = None) -> Ask:
    trial = facts.trial(s)
    revision = trial.revision if role in (Role.CANDIDATE, Role.CANDIDATE_FAILURES) else trial.refuge
    selector = slo.histogram or slo.requests or ""
    if role in (Role.CANDIDATE_FAILURES, Role.STABLE_FAILURES):
        selector = slo.failures or ""
    query = slos.filled(selector, slos.words_for(s, revision, trial.refuge))
    if isinstance(query, str):
        query = f"sum by (le) ({query}){span}" if role is Role.PAST else f"{query}{span}"
    return Ask(slo.name, role, slo.source, query, moment)


# --- what came back -----------------------------------------------------------------------------------------------


def looked(s: ServiceSnapshot, answers: Answers) -> Mapping[str, Compared]:
    """Each comparison after this look, by SLO."""
    return {slo.name: _compared(s, slo, answers) for slo in facts.compared(s)}


def _compared(s: ServiceSnapshot, slo: Slo, answers: Answers) -> Compared:
    told = {role: answers.get((slo.name, role), slos.NOT_ASKED) for role in Role if (slo.name, role) in answers}
    kept = _kept(s, slo)
    if (trouble := _trouble(slo, told)) is not None:
        return Compared(_unmeasured(slo, trouble), trouble, kept)
    if facts.withdrawn(s):
        return Compared(SloStatus(name=slo.name, verdict=Verdict.PASSED, message="counted again"), _READ, None)
    rule = rule_of(s, slo)
    found = _loaded(s, slo)
    try:
        seen = _read_on(s, slo, rule, found[1] if found is not None else None, told)
    except ValueError as error:
        wrong = Reading(ReadingKind.UNUSABLE_ANSWER, text=f"{slo.histogram}: {error}")
        return Compared(_unmeasured(slo, wrong), wrong, kept)
    state = _TEXT.dump_json(seen).decode()
    at = _looked_at(s, *found, seen) if found is not None else s.now
    after = ComparisonStatus(name=slo.name, key=_key(s, slo), looked_at=at, state=state)
    return _verdict(slo, rule, seen, after)


def _looked_at(s: ServiceSnapshot, kept: ComparisonStatus, before: Seen, after: Seen) -> datetime:
    """By our clock: while a look reads only a part of what it has missed, no further than what was read."""
    _, moment = _window(s, kept, before)
    return s.now if moment is None else kept.looked_at + timedelta(seconds=int(after.read_to - before.read_to))


_READ: Final = Reading(ReadingKind.VALUE)


def _trouble(slo: Slo, told: Mapping[Role, Answer]) -> Reading | None:
    """Why there is nothing to compare: an arm that was not told of, or has no such counter at all."""
    for role, answer in told.items():
        if isinstance(answer, Reading):
            if role is Role.PAST and answer.kind is not ReadingKind.OUTAGE:
                continue  # without a past it takes longer
            return answer
    for role in (Role.CANDIDATE, Role.STABLE):
        answer = told.get(role)
        if isinstance(answer, Sampled) and not answer.series:
            name = (slo.histogram or slo.requests or "").split("{")[0]
            return Reading(
                ReadingKind.NO_DATA,
                text=f"the {role.value} has no series of {name} yet; if this lasts, check that Prometheus scrapes its pods"
                " and that the metric has this name",
            )
    return None if told else slos.NOT_ASKED


def _unmeasured(slo: Slo, reading: Reading) -> SloStatus:
    verdict = Verdict.INCONCLUSIVE if reading.kind is ReadingKind.NO_DATA else Verdict.ERROR
    return SloStatus(
        name=slo.name, verdict=verdict, message=f"cannot be compared: {reading.text or reading.kind.value}"
    )


def _read_on(s: ServiceSnapshot, slo: Slo, rule: Rule, seen: Seen | None, told: Mapping[Role, Answer]) -> Seen:
    """The state after what was told, whole block by whole block, until it has failed. ValueError: no use can be made of it."""
    until = min(answer.at for answer in told.values() if isinstance(answer, Sampled))
    candidate, stable = _sampled(told, Role.CANDIDATE), _sampled(told, Role.STABLE)
    if slo.histogram is None:
        ours = of_errors(candidate, _sampled(told, Role.CANDIDATE_FAILURES))
        theirs = of_errors(stable, _sampled(told, Role.STABLE_FAILURES))
        seen = seen or _errors_begun(until)
    else:
        (edges, ours), (others, theirs) = of_histogram(candidate), of_histogram(stable)
        if edges != others:
            raise ValueError("candidate and stable have different buckets, so their latency cannot be compared")
        if seen is None or seen.edges != edges:
            seen = _latency_begun(until, edges, _past(told.get(Role.PAST)))
    seen = _gaps(seen, ours, theirs)
    while seen.read_to + BLOCK_SECONDS <= until and judged(seen, rule).verdict is not Verdict.FAILED:
        seen = _block(seen, rule, ours, theirs)
    return _polled(seen)


def _sampled(told: Mapping[Role, Answer], role: Role) -> Sampled:
    found = told[role]
    assert isinstance(found, Sampled)
    return found


def _errors_begun(at: float) -> Seen:
    nothing = ErrorState(started_at=at)
    none = (0.0, 0.0)
    begun = replace(nothing, at=at)
    return Seen(began=at, read_to=at, candidate=none, stable=none, failures=begun, polls=HardState())


def _latency_begun(at: float, edges: Vector, past: list[tuple[float, Counts]]) -> Seen:
    none = (0.0,) * (len(edges) + 1)
    begun = replace(latency.started(at, past), at=at, edges=edges, candidate=none, stable=none)
    return Seen(began=at, read_to=at, candidate=none, stable=none, times=begun, edges=edges)


def _past(told: Answer | None) -> list[tuple[float, Counts]]:
    """The stable's histogram at moments of the past, pods added up. What looks like a pod that comes back is cut out."""
    if not isinstance(told, Sampled):
        return []
    by_moment: dict[float, list[tuple[float, float]]] = {}
    for series in told.series:
        for at, value in series.samples:
            by_moment.setdefault(at, []).append((float(series.labels.get("le", "nan")), value))
    whole = max((len(found) for found in by_moment.values()), default=0)
    moments = sorted(at for at, found in by_moment.items() if len(found) == whole)
    counts = [(at, Counts.of_le(by_moment[at])) for at in moments]
    return _without_jumps(counts)


def _without_jumps(past: list[tuple[float, Counts]]) -> list[tuple[float, Counts]]:
    totals = [sum(counts.counts) for _, counts in past]
    grown = sorted(b - a for a, b in pairwise(totals) if b > a)
    if not grown:
        return past
    most = JUMP * grown[len(grown) // 2]
    jumps = [i for i in range(1, len(past)) if totals[i] - totals[i - 1] > most]
    return past[jumps[-1] :] if jumps else past


def _gaps(seen: Seen, ours: Growth, theirs: Growth) -> Seen:
    """Whole blocks of which the source has no samples left, on an arm that had some: they are passed over."""
    firsts = [
        growth.known_since[0]
        for growth, counted in ((ours, seen.candidate), (theirs, seen.stable))
        if sum(counted) and growth.known_since
    ]
    lost = BLOCK_SECONDS * int(max((first - seen.read_to for first in firsts), default=0.0) // BLOCK_SECONDS)
    return replace(seen, lost=seen.lost + lost, read_to=seen.read_to + lost) if lost > 0 else seen


def _block(seen: Seen, rule: Rule, ours: Growth, theirs: Growth) -> Seen:
    at = seen.read_to + BLOCK_SECONDS
    c = ours.between(seen.read_to, at, seen.candidate)
    t = theirs.between(seen.read_to, at, seen.stable)
    read = replace(seen, read_to=at, candidate=c, stable=t)
    if seen.failures is not None:
        return replace(read, failures=errors.advance(seen.failures, rule, at, Tally(c[0], c[1]), Tally(t[0], t[1])))
    assert seen.times is not None
    return replace(read, times=latency.advance(seen.times, rule, at, Counts(seen.edges, c), Counts(seen.edges, t)))


def _polled(seen: Seen) -> Seen:
    """The rule for hard failures counts polls, which are looks with news."""
    if seen.polls is None:
        return seen
    now = Tally(seen.candidate[0], seen.candidate[1])
    return replace(seen, polls=hard.advance(seen.polls, now))


# --- the verdict --------------------------------------------------------------------------------------------------


def rule_of(s: ServiceSnapshot, slo: Slo) -> Rule:
    """The rollout's level, shared out."""
    steps = sum(step.weight_percent < 100 for step in facts.steps(s))
    comparing = sum(one.compared_to is not None and not one.dry_run for one in s.service.spec.slos)
    return Rule(
        max_increase_percent=slo.max_increase_percent or 0,
        max_increase_share=float(slo.max_increase_points or 0) / 100,
        level=LEVEL / (max(steps, 1) * max(comparing, 1)),
        warm_up_seconds=WARM_UP if slo.warm_up_seconds is None else slo.warm_up_seconds,
    )


def judged(seen: Seen, rule: Rule) -> Judgement:
    """A hard failure needs no statistics; otherwise what the test says."""
    if seen.polls is not None and (found := hard.judged(seen.polls)) is not None:
        return found
    if seen.failures is not None:
        return errors.judged(seen.failures, rule)
    assert seen.times is not None
    return latency.judged(seen.times, rule)


def _verdict(slo: Slo, rule: Rule, seen: Seen, after: ComparisonStatus) -> Compared:
    found = judged(seen, rule)
    lost = f"; {seen.lost:.0f} s could not be compared: the metric source has no samples of them" if seen.lost else ""
    if found.verdict is Verdict.ERROR and not _counted(seen):
        message = f"not compared yet: {_awaited(seen, rule)}{lost}"
        return Compared(SloStatus(name=slo.name, verdict=Verdict.INCONCLUSIVE, message=message), _READ, after)
    if found.verdict is Verdict.ERROR:
        trouble = Reading(ReadingKind.UNUSABLE_ANSWER, text=found.message)
        return Compared(SloStatus(name=slo.name, verdict=Verdict.ERROR, message=found.message), trouble, after)
    shown = SloStatus(
        name=slo.name, verdict=found.verdict, value=_ratio(seen, rule), message=f"{slo.name}: {found.message}{lost}"
    )
    proceeds = found.verdict is Verdict.INCONCLUSIVE and slo.when_inconclusive is WhenInconclusive.PROCEED
    return Compared(shown, _READ, after, proceeds)


def _counted(seen: Seen) -> bool:
    """Something was judged, on both arms."""
    if seen.failures is not None:
        return bool(seen.failures.candidate_seen.requests and seen.failures.stable_seen.requests)
    return seen.times is not None and seen.times.block_at is not None


def _awaited(seen: Seen, rule: Rule) -> str:
    age = seen.read_to - seen.began
    if age <= rule.warm_up_seconds:
        return f"{age:.0f} of {rule.warm_up_seconds:.0f} s of warm-up"
    missing = "candidate" if not sum(seen.candidate) else "stable" if not sum(seen.stable) else ""
    if missing:
        return f"no request of the {missing} was counted"
    least = f"fewer than {errors.LEAST:g}" if seen.failures is not None else "no"
    return f"{least} requests of both after the warm-up"


def _ratio(seen: Seen, rule: Rule) -> str:
    """How many times the stable's, as a person reads it."""
    if seen.failures is not None:
        c, t = (
            (seen.failures.candidate_seen, seen.failures.stable_seen)
            if _counted(seen)
            else (Tally(*seen.candidate), Tally(*seen.stable))
        )
        low, high = errors.ratio_bounds(c, t, rule.level)
        return f"{(low * high) ** 0.5:.3g}x"
    assert seen.times is not None
    return f"{latency.ratio_bounds(seen.times, rule.level)[0]:.3g}x"


# --- what is kept -------------------------------------------------------------------------------------------------


def _kept(s: ServiceSnapshot, slo: Slo) -> ComparisonStatus | None:
    """What status has of this very comparison."""
    status = facts.trial(s).status
    if not isinstance(status, CandidateStatus):
        return None
    key = _key(s, slo)
    return next((one for one in status.comparisons if one.name == slo.name and one.key == key), None)


def _loaded(s: ServiceSnapshot, slo: Slo) -> tuple[ComparisonStatus, Seen] | None:
    """Nothing when it is not readable, such as that of another version: it begins anew."""
    kept = _kept(s, slo)
    if kept is None:
        return None
    try:
        return kept, _TEXT.validate_json(kept.state)
    except ValidationError:
        return None


def _key(s: ServiceSnapshot, slo: Slo) -> str:
    trial, rule = facts.trial(s), rule_of(s, slo)
    what = [VERSION, slo.source, slo.histogram, slo.requests, slo.failures, repr(rule), trial.revision, trial.refuge]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


VERSION: Final = 2
"""Of the state. A newer one begins comparisons anew: states of before mean something else."""
