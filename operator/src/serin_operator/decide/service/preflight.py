"""Whether a candidate's SLOs can be measured, asked of their metric sources before it gets its first share.

A metric that is absent says nothing of a model, and is better noticed while nobody has met it. What only may be absent, since
nobody has used the candidate yet, is no reason to wait: metrics that come with requests are looked for at the stable as
well, and a written query that finds nothing is told and holds nobody. What no request can turn into a number holds: a source
that does not answer, a query that is refused, several series. Not here: how answers are judged under traffic (slos.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from serin_operator.api.v1alpha1 import Engine, PreflightStatus, Slo, SloStatus, Verdict
from serin_operator.decide.service import facts, presets, slos, watch
from serin_operator.decide.service.snapshot import Reading, ReadingKind, ServiceSnapshot

_MAY_COME: Final = (ReadingKind.VALUE, ReadingKind.NO_DATA, ReadingKind.NOT_A_NUMBER, ReadingKind.STALE)
"""Answers of a written query that requests may turn into a number."""
_THERE: Final = (ReadingKind.VALUE, ReadingKind.NOT_A_NUMBER, ReadingKind.STALE)
"""Answers of a preset whose metric is there."""
_UNSURE: Final = (
    "it finds no series{of} yet; whether the metric is absent or unused shows once the candidate has requests"
)
_FINE: Final = "can be asked; it is judged once the candidate has requests"


@dataclass(frozen=True, slots=True)
class Ask:
    """One question before the first share."""

    about: str
    source: str
    query: str | slos.Unusable


@dataclass(frozen=True, slots=True)
class Checked:
    """What came back for one SLO, as status shows it, and whether the first share waits for it."""

    row: SloStatus
    kind: ReadingKind
    holds: bool


# --- when ---------------------------------------------------------------------------------------------------------


def not_asked(s: ServiceSnapshot) -> bool:
    """For a rule that stands where nothing else keeps the first share."""
    return facts.before_traffic(s) and s.preflight is None


def next_in(s: ServiceSnapshot) -> timedelta:
    """At once, and then at each interval, by what status remembers."""
    before = facts.the_candidate(s).preflight
    if before is None or before.looked_at > s.now:  # the clock was set back
        return timedelta()
    return max(before.looked_at + timedelta(seconds=s.service.spec.canary.interval_seconds) - s.now, timedelta())


def status_after(s: ServiceSnapshot) -> PreflightStatus:
    """With this look counted, which has found something that holds."""
    before = facts.the_candidate(s).preflight
    if before is None:
        return PreflightStatus(looked_at=s.now)
    passed = watch.passed(before.looked_at, s.now, s.service.spec.canary.interval_seconds, late=facts.SLOWEST_LOOK)
    return PreflightStatus(looked_at=s.now, seconds=before.seconds + passed)


def just_too_long(s: ServiceSnapshot) -> bool:
    """With this look it has lasted for as long as a candidate under traffic may be blind."""
    before, most = facts.the_candidate(s).preflight, s.service.spec.canary.blindness.timeout_seconds
    return status_after(s).seconds >= most > (before.seconds if before is not None else 0)


# --- what is asked ------------------------------------------------------------------------------------------------


def asks(s: ServiceSnapshot) -> list[Ask]:
    """For each SLO, what it asks of the candidate, and of the stable where the candidate need not have it yet."""
    return [
        Ask(slo.name, slo.source, query)
        for slo in s.service.spec.slos
        for query in (*_of_bounds(s, slo), *_of_counters(s, slo))
    ]


def _of_bounds(s: ServiceSnapshot, slo: Slo) -> list[str | slos.Unusable]:
    if slos.query_of(slo) is None:
        return []
    candidate, stable = facts.trial(s).revision, facts.trial(s).refuge
    both = (candidate, stable) if _comes_with_requests(s, slo) else (candidate,)
    return [slos.asked_as(slo, slos.words_for(s, revision, stable)) for revision in both]


def _of_counters(s: ServiceSnapshot, slo: Slo) -> list[str | slos.Unusable]:
    """What a comparison reads, of the stable, which has requests."""
    stable = facts.trial(s).refuge
    selectors = [one for one in (slo.histogram, slo.requests, slo.failures) if one is not None]
    found = [slos.filled(selector, slos.words_for(s, stable, stable)) for selector in selectors]
    return [f"count({one})" if isinstance(one, str) else one for one in found]


def _comes_with_requests(s: ServiceSnapshot, slo: Slo) -> bool:
    """Of a server that is not known it may be so with every metric."""
    if slo.preset is None:
        return False
    custom = s.service.spec.runtime.engine is Engine.CUSTOM
    return custom or not all(series.from_start for series in presets.CATALOGUE[slo.preset].series)


# --- what came back -----------------------------------------------------------------------------------------------


def holds(s: ServiceSnapshot) -> bool:
    return facts.before_traffic(s) and bool(holding(s))


def holding(s: ServiceSnapshot) -> list[SloStatus]:
    return [one.row for one in checked(s) if one.holds]


def rows(s: ServiceSnapshot) -> list[SloStatus]:
    return [one.row for one in checked(s)]


def checked(s: ServiceSnapshot) -> list[Checked]:
    return [_checked(s, slo) for slo in s.service.spec.slos]


def _checked(s: ServiceSnapshot, slo: Slo) -> Checked:
    """One that only runs dry holds nobody."""
    bounds = [_answer(s, slo, query) for query in _of_bounds(s, slo)]
    counters = [_answer(s, slo, query) for query in _of_counters(s, slo)]
    found = _trouble(slo, bounds, counters)
    if found is None:
        empty = next((of for of, told in (("", bounds), (" of the stable", counters)) if _is_empty(slo, told)), None)
        said, verdict = _FINE if empty is None else _UNSURE.format(of=empty), Verdict.INCONCLUSIVE
    elif found.kind is ReadingKind.NO_DATA:
        said, verdict = _absent(s, slo), Verdict.ERROR
    else:
        said, verdict = slos.explained(found), Verdict.ERROR
    dry = " (dry run)" if slo.dry_run else ""
    row = SloStatus(name=slo.name, verdict=verdict, message=f"{said}{dry}", dry_run=slo.dry_run or None)
    return Checked(row, found.kind if found is not None else ReadingKind.VALUE, found is not None and not slo.dry_run)


def _trouble(slo: Slo, bounds: Iterable[Reading], counters: Iterable[Reading]) -> Reading | None:
    """The first answer that no request would turn into a number."""
    found = list(bounds)
    if slo.preset is not None and any(answer.kind in _THERE for answer in found):
        found = []
    bad = [answer for answer in (*found, *counters) if answer.kind not in _MAY_COME]
    absent = found if slo.preset is not None else []
    return next(iter((*bad, *absent)), None)


def _is_empty(slo: Slo, told: Sequence[Reading]) -> bool:
    """A written query, or the first counter of a comparison: failures may well have no series."""
    return slo.preset is None and bool(told) and told[0].kind is ReadingKind.NO_DATA


def _absent(s: ServiceSnapshot, slo: Slo) -> str:
    assert slo.preset is not None
    both = f"; it was looked for at the stable {facts.trial(s).refuge} as well, since it comes with the first request"
    return f"{presets.absent(slo.preset)}{both if _comes_with_requests(s, slo) else ''}"


def _answer(s: ServiceSnapshot, slo: Slo, query: str | slos.Unusable) -> Reading:
    if isinstance(query, slos.Unusable):
        return Reading(ReadingKind.INVALID_QUERY, text=query.message)
    return (s.preflight or {}).get((slo.source, query), slos.NOT_ASKED)
