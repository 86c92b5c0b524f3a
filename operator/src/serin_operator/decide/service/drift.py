"""Whether what users ask and get still looks like what the model was evaluated on: the population stability index (PSI).

PSI is the sum over buckets of `(a - e) * ln(a / e)`, for the shares `a` of the answers and `e` of the evaluation set. Common advice
calls 0.1 to 0.2 a shift worth a look. It is never 0 by chance alone: two samples of n and m from one population have
`(1/n + 1/m)` times a chi-squared variable with a degree of freedom less than there are buckets. An evaluation set of 50 rows
would so "drift" every day; here an index counts only above what 99 of 100 such samples have. Not here: the evaluator's side.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from serin_operator.api.v1alpha1 import Drift, DriftSignal, DriftStatus, MonitoringStatus, Reference, Verdict
from serin_operator.decide import conditions
from serin_operator.decide.conditions import Finding
from serin_operator.decide.decision import Event, Told
from serin_operator.decide.service import slos
from serin_operator.decide.service.snapshot import Grouped, Reading, ServiceSnapshot

CONDITION: Final = "Drifted"
METRIC: Final = "serin_drift_psi"
CHARACTERS: Final = tuple(2**power for power in range(4, 15))
KINDS: Final = ("plain", "refused", "repetitive", "empty")
LANGUAGES: Final = (
    "ar", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ru", "tr", "zh", "other", "unknown"
)  # fmt: skip
"""As the server counts and the evaluator describes: a test holds the three together."""
_HALF: Final = 0.5  # is added to each count, so that an empty bucket is a small share and not an infinite index
_Z99: Final = 2.3263


@dataclass(frozen=True, slots=True)
class Signal:
    """Something of what is asked and answered: the query for its counts, by which label, and what it is compared with."""

    name: str
    series: str
    label: str
    buckets: tuple[str, ...]
    cumulative: bool

    def expected(self, reference: Reference) -> Sequence[int]:
        return {
            "promptCharacters": reference.prompt_characters,
            "answerCharacters": reference.answer_characters,
            "answerKinds": reference.answer_kinds,
            "promptLanguages": reference.prompt_languages,
            "answerLanguages": reference.answer_languages,
        }[self.name]


_EDGES: Final = (*(f"{edge:.1f}" for edge in CHARACTERS), "+Inf")
SIGNALS: Final = (
    Signal("promptCharacters", "serin_prompt_characters_bucket", "le", _EDGES, cumulative=True),
    Signal("answerCharacters", "serin_answer_characters_bucket", "le", _EDGES, cumulative=True),
    Signal("answerKinds", "serin_answers_total", "kind", KINDS, cumulative=False),
    Signal("promptLanguages", "serin_prompt_languages_total", "language", LANGUAGES, cumulative=False),
    Signal("answerLanguages", "serin_answer_languages_total", "language", LANGUAGES, cumulative=False),
)


def signals(reference: Reference) -> tuple[Signal, ...]:
    """Those that the evaluation set was described by: an older release knew no languages."""
    return tuple(signal for signal in SIGNALS if signal.expected(reference) or signal.label != "language")


# --- the index ----------------------------------------------------------------------------------------------------


def index(expected: Sequence[float], found: Sequence[float]) -> float:
    """The PSI of two rows of counts, over the buckets in which there is anything."""
    pairs = _filled(expected, found)
    n, m = (sum(side) + _HALF * len(pairs) for side in zip(*pairs, strict=True)) if pairs else (1.0, 1.0)
    shares = [((e + _HALF) / n, (a + _HALF) / m) for e, a in pairs]
    return sum((a - e) * math.log(a / e) for e, a in shares)


def by_chance(expected: Sequence[float], found: Sequence[float]) -> float:
    """What 99 of 100 indices of two samples from one population stay below (Wilson's and Hilferty's chi-squared)."""
    free = len(_filled(expected, found)) - 1
    if free < 1:
        return 0.0
    part = 2 / (9 * free)
    return (1 / sum(expected) + 1 / sum(found)) * free * (1 - part + _Z99 * math.sqrt(part)) ** 3


def _filled(expected: Sequence[float], found: Sequence[float]) -> list[tuple[float, float]]:
    return [(e, a) for e, a in zip(expected, found, strict=True) if e or a]


# --- asking -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """A question for counts by a label."""

    signal: str
    source: str
    query: str | slos.Unusable
    label: str


def asks(s: ServiceSnapshot) -> list[Ask]:
    """What to ask of the stable; nothing when nobody wants to know, or there is nothing to compare with."""
    wanted, stable = s.service.spec.monitoring.drift, s.stable
    reference = _reference(s)
    if wanted is None or stable is None or reference is None:
        return []
    words = {**slos.words_for(s, stable.revision, stable.revision), "window": f"{wanted.window_seconds}s"}
    ours = 'namespace="{{namespace}}",service="{{service}}",revision="{{revision}}"'
    return [
        Ask(
            signal.name,
            wanted.source,
            slos.filled(f"sum by ({signal.label}) (increase({signal.series}{{{ours}}}[{{{{window}}}}]))", words),
            signal.label,
        )
        for signal in signals(reference)
    ]


def _reference(s: ServiceSnapshot) -> Reference | None:
    revision = s.by_name.get(s.stable.revision) if s.stable is not None else None
    gate = revision.status.gate if revision is not None else None
    return gate.reference if gate is not None else None


# --- judging ------------------------------------------------------------------------------------------------------


def after(s: ServiceSnapshot, before: MonitoringStatus | None) -> DriftStatus | None:
    """With this look; None when nobody wants to know."""
    wanted = s.service.spec.monitoring.drift
    known = before.drift if before is not None else None
    if wanted is None or s.drifting is None:
        return known if wanted is not None else None
    reference = _reference(s)
    if reference is None:
        return DriftStatus()
    rows = [
        judged(wanted, signal, signal.expected(reference), s.drifting.get(signal.name)) for signal in signals(reference)
    ]
    last = {row.name: row for row in known.signals} if known is not None else {}
    return DriftStatus(signals=[_since(row, last.get(row.name), s) for row in rows])


def _since(row: DriftSignal, before: DriftSignal | None, s: ServiceSnapshot) -> DriftSignal:
    """Silence neither begins a drift nor ends one."""
    since = before.since if before is not None else None
    if row.verdict is Verdict.PASSED:
        return row
    return row.model_copy(update={"since": since or (s.now if row.verdict is Verdict.FAILED else None)})


def judged(wanted: Drift, signal: Signal, expected: Sequence[int], answer: Reading | Grouped | None) -> DriftSignal:
    """One signal on one look."""
    if len(expected) != len(signal.buckets) or not sum(expected):
        why = "the evaluation set was described in other buckets; evaluate the model again"
        return DriftSignal(name=signal.name, verdict=Verdict.ERROR, message=why)
    if not isinstance(answer, Grouped):
        return DriftSignal(name=signal.name, verdict=Verdict.ERROR, message=slos.explained(answer or slos.NOT_ASKED))
    found = _counts(signal, answer.values)
    if sum(found) < wanted.min_answers:
        few = f"{sum(found):.0f} of {wanted.min_answers} answers within {wanted.window_seconds} s"
        return DriftSignal(name=signal.name, verdict=Verdict.INCONCLUSIVE, message=few)
    psi, chance, most = index(expected, found), by_chance(expected, found), float(wanted.max_psi)
    drifted = psi > max(most, chance)
    bound = f"{'>' if drifted else '<='} {max(most, chance):.3g}"
    why = " (the most that chance does with so few examples)" if chance > most else ""
    return DriftSignal(
        name=signal.name,
        verdict=Verdict.FAILED if drifted else Verdict.PASSED,
        psi=slos.shown(psi),
        message=f"{signal.name} PSI {psi:.3g} {bound}{why}, {sum(found):.0f} answers beside {sum(expected)} examples",
    )


def _counts(signal: Signal, values: Mapping[str, float]) -> list[float]:
    """By bucket; Prometheus' histograms are cumulative, and its extrapolation may make one a little less than the last."""
    given = [max(values.get(_edge(bucket, values), 0.0), 0.0) for bucket in signal.buckets]
    if not signal.cumulative:
        return given
    return [max(here - below, 0.0) for below, here in zip([0.0, *given[:-1]], given, strict=True)]


def _edge(bucket: str, values: Mapping[str, float]) -> str:
    """`16.0` is also written `16`, which newer Prometheus turns into `16.0`."""
    return bucket if bucket in values else bucket.removesuffix(".0")


# --- telling ------------------------------------------------------------------------------------------------------


def finding(s: ServiceSnapshot, status: MonitoringStatus | None) -> Finding:
    """True is the alarm."""
    if s.service.spec.monitoring.drift is None:
        return conditions.unknown(CONDITION, "NotWanted", "spec.monitoring.drift is not set")
    drift = status.drift if status is not None else None
    if drift is None:
        return conditions.unknown(CONDITION, "NotJudgedYet", "the stable was not looked at yet")
    if not drift.signals:
        why = "no suite of the stable's gates lets it answer by itself, so there is nothing to compare with"
        return conditions.unknown(CONDITION, "NoReference", why)
    if drifted := _drifted(drift):
        told = "; ".join(f"{row.message} (since {row.since:%Y-%m-%d %H:%M:%S})" for row in drifted)
        advice = "look at what users ask now, and evaluate on it; nothing is rolled back for it"
        return conditions.true(CONDITION, "Drifted", f"{told}: {advice}")
    silent = [row for row in drift.signals if row.verdict is not Verdict.PASSED]
    if silent:
        return conditions.unknown(CONDITION, "NotMeasured", f"{silent[0].name}: {silent[0].message}")
    return conditions.false(CONDITION, "NotDrifted", "; ".join(row.message for row in drift.signals))


def events(s: ServiceSnapshot, before: MonitoringStatus | None, status: MonitoringStatus | None) -> Iterable[Event]:
    """When it begins, and when it ends."""
    if s.drifting is None or status is None or status.drift is None:
        return
    was = (
        {row.name for row in _drifted(before.drift)} if before is not None and before.drift is not None else set[str]()
    )
    now = {row.name: row.message for row in _drifted(status.drift)}
    if now.keys() - was:
        yield Event("Drifted", finding(s, status).message, warning=True)
    if over := [row.message for row in status.drift.signals if row.name in was - now.keys()]:
        yield Event("DriftOver", "; ".join(over))


def _drifted(drift: DriftStatus) -> list[DriftSignal]:
    return [row for row in drift.signals if row.since is not None]


def told(status: MonitoringStatus | None) -> tuple[Told, ...]:
    """For Prometheus: the index of each signal that was measured."""
    rows = status.drift.signals if status is not None and status.drift is not None else []
    return tuple(Told(METRIC, row.name, float(row.psi)) for row in rows if row.psi is not None)
