"""More than half of the requests fail: a rule of its own beside the SLOs, which waits for nothing that these wait for.

An SLO's share is that of a window, and what it tolerates (`failureLimit`, `initialDelaySeconds`) is meant for failures that may
pass. So the counters themselves are read, at each look and from the first moment of a share on; two looks that agree reject.
Asked for are the counters of presets that measure failed requests, and those of comparisons where these rest. Comparisons
that run have the same rule within (comparisons.py), and what it says is in `sequential/hard.py`. That no pod is ready is no
matter of looks: the candidate then loses its traffic at once (canary.py).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pydantic import TypeAdapter, ValidationError

from serin_operator.api.v1alpha1 import ComparisonStatus, Slo
from serin_operator.decide.service import facts, presets, slos, watch
from serin_operator.decide.service.asking import CATCH_UP, LOOKBACK, Ask
from serin_operator.decide.service.counters import Sampled, Vector, from_zero, of_errors
from serin_operator.decide.service.sequential import hard
from serin_operator.decide.service.sequential.errors import Tally
from serin_operator.decide.service.sequential.hard import HardState
from serin_operator.decide.service.snapshot import Failing, Reading, ServiceSnapshot

HALF: Final = 50
"""Percent. Whoever lets an SLO be above it wants no such rule."""
VERSION: Final = 1

Answers = Mapping[tuple[str, str], Sampled | Reading]
"""By SLO and role."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Up to when counters were read, by the source's clock; what they grew by since the watch began; and the last polls."""

    read_to: float
    counted: Vector
    polls: HardState


_TEXT: Final = TypeAdapter(Seen)


# --- what is asked ------------------------------------------------------------------------------------------------


def due(s: ServiceSnapshot) -> bool:
    """With each look, and at the same pace while nothing else is judged yet."""
    if facts.look_due(s):
        return not facts.withdrawn(s)
    return not facts.nothing_on_trial(s) and facts.delayed(s) and next_in(s) == timedelta()


def next_in(s: ServiceSnapshot) -> timedelta:
    """While nothing else is judged yet, by what status remembers."""
    candidate, interval = facts.the_candidate(s), timedelta(seconds=s.service.spec.canary.interval_seconds)
    last = max((one.looked_at for one in candidate.polls), default=watch.started_at(candidate))
    if last is None or not _asked(s):
        return interval
    if last > s.now:  # the clock was set back
        return timedelta()
    return max(last + interval - s.now, timedelta())


def asks(s: ServiceSnapshot) -> list[Ask]:
    return [
        Ask(slo.name, _role(number), slo.source, _filled(s, selector, _window(s, slo)))
        for slo in _asked(s)
        for number, selector in enumerate(_selectors(slo))
    ]


def _asked(s: ServiceSnapshot) -> list[Slo]:
    """Those that decide, and count requests that failed."""
    compared = [] if facts.delayed(s) else facts.compared(s)
    return [slo for slo in s.service.spec.slos if not slo.dry_run and slo not in compared and _selectors(slo)]


def _selectors(slo: Slo) -> list[str]:
    """Pairs of requests and failures, one after the other; of a preset as many as it knows names."""
    if slo.requests is not None and slo.failures is not None:
        return [slo.requests, slo.failures]
    if slo.preset is None or slo.max is None or float(slo.max) >= HALF:
        return []
    return [selector for pair in presets.failures(slo.preset) for selector in pair]


def _role(number: int) -> str:
    return f"failing-{number}"


def _filled(s: ServiceSnapshot, selector: str, window: int) -> str | slos.Unusable:
    trial = facts.trial(s)
    query = slos.filled(selector, slos.words_for(s, trial.revision, trial.refuge))
    return f"{query}[{window}s]" if isinstance(query, str) else query


def _window(s: ServiceSnapshot, slo: Slo) -> int:
    found = _loaded(s, slo)
    return LOOKBACK + (_since(s, found[0]) if found is not None else _begun(s))


def _begun(s: ServiceSnapshot) -> int:
    """Seconds since the watch began; nothing when that cannot be believed."""
    started = watch.started_at(facts.trial(s).status)
    seconds = int((s.now - started).total_seconds()) if started is not None else 0
    return seconds if 0 <= seconds <= CATCH_UP else 0


def _since(s: ServiceSnapshot, kept: ComparisonStatus) -> int:
    return int((s.now - kept.looked_at).total_seconds())


# --- what came back -----------------------------------------------------------------------------------------------


def looked(s: ServiceSnapshot, answers: Answers) -> dict[str, Failing]:
    """What the counters say after this look, by SLO."""
    return {slo.name: _looked(s, slo, answers) for slo in _asked(s)}


def _looked(s: ServiceSnapshot, slo: Slo, answers: Answers) -> Failing:
    found = _loaded(s, slo)
    told = _told([answers.get((slo.name, _role(number))) for number in range(len(_selectors(slo)))])
    if told is None:
        return Failing("", found[0] if found is not None else None)
    until = min(one.at for one in told)
    seen = _read_on(found[1] if found is not None else _begins(until - _begun(s)), *told, until)
    judged = hard.judged(seen.polls)
    state = _TEXT.dump_json(seen).decode()
    kept = ComparisonStatus(name=slo.name, key=_key(s, slo), looked_at=s.now, state=state)
    return Failing(judged.message if judged is not None else "", kept)


def _told(answers: list[Sampled | Reading | None]) -> tuple[Sampled, Sampled] | None:
    """Requests and failures of the first name that is there; none when a source did not answer, or has nothing."""
    for requests, failures in zip(answers[::2], answers[1::2], strict=True):
        if not isinstance(requests, Sampled) or not isinstance(failures, Sampled):
            return None
        if requests.series:
            return requests, failures
    return None


def _read_on(seen: Seen, requests: Sampled, failures: Sampled, until: float) -> Seen:
    """A pod is counted from its first request on, though nobody scraped it before: two looks are to be enough."""
    if until <= seen.read_to:
        return seen
    growth = of_errors(from_zero(requests, seen.read_to), failures)
    counted = growth.between(seen.read_to, until, seen.counted)
    return Seen(until, counted, hard.advance(seen.polls, Tally(*counted)))


def _begins(at: float) -> Seen:
    return Seen(at, (0.0, 0.0), HardState(seen=Tally(0, 0)))


def _loaded(s: ServiceSnapshot, slo: Slo) -> tuple[ComparisonStatus, Seen] | None:
    """Nothing when it is of something else, or of so long ago that it is no poll before this one."""
    key = _key(s, slo)
    kept = next((one for one in facts.trial(s).status.polls if (one.name, one.key) == (slo.name, key)), None)
    if kept is None or not 0 <= _since(s, kept) <= CATCH_UP:
        return None
    try:
        return kept, _TEXT.validate_json(kept.state)
    except ValidationError:
        return None


def _key(s: ServiceSnapshot, slo: Slo) -> str:
    what = [VERSION, slo.source, *_selectors(slo), facts.trial(s).revision]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


# --- what follows -------------------------------------------------------------------------------------------------


def found(s: ServiceSnapshot) -> list[str]:
    """`errors: 9 of 10 requests of the last two polls failed`."""
    return [f"{name}: {one.message}" for name, one in (s.failing or {}).items() if one.message]


def most_fail(s: ServiceSnapshot) -> bool:
    return bool(found(s))
