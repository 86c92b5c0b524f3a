"""SLOs: the query for a candidate, and the verdict on what came back.

Four answers: Passed, Failed (a breach), Inconclusive (nothing measured yet) and Error (could not measure). Only Passed
lets a step go on, and only Failed rolls back: an outage of Prometheus is not a bad model.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from serin_operator.api.v1alpha1 import Slo, SloStatus, Verdict
from serin_operator.decide.service import presets
from serin_operator.decide.service.presets import query_of
from serin_operator.decide.service.snapshot import Reading, ReadingKind, ServiceSnapshot
from serin_operator.manifests import names

DEFAULT_SOURCE = "default"
_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
WORDS: Final[tuple[str, ...]] = ("namespace", "service", "revision", "stable", "backend", "window")
WINDOW_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Unusable:
    """An SLO that cannot be asked as it is written; the user must change it."""

    reason: str
    message: str


def words_for(s: ServiceSnapshot, revision: str, stable: str) -> dict[str, str]:
    """What the placeholders stand for, where an SLO has no window of its own."""
    meta = s.service.metadata
    return {
        "namespace": meta.namespace,
        "service": meta.name,
        "revision": revision,
        "stable": stable,
        "backend": names.serving(revision),
        "window": f"{WINDOW_SECONDS}s",
    }


def asked_as(slo: Slo, words: Mapping[str, str]) -> str | Unusable:
    """What a metric source is asked for an SLO with bounds."""
    own = {} if slo.window_seconds is None else {"window": f"{slo.window_seconds}s"}
    return filled(query_of(slo) or "", {**words, **own})


def compares(slo: Slo) -> bool:
    """It needs answers of the stable beside those of the candidate."""
    return any(found.strip() == "stable" for found in _PLACEHOLDER.findall(query_of(slo) or ""))


def filled(query: str, words: Mapping[str, str]) -> str | Unusable:
    """The query with its placeholders filled in.

    Only names that Kubernetes itself has checked are put in, so a value can never end a PromQL string.
    """
    unknown = sorted({found.strip() for found in _PLACEHOLDER.findall(query)} - set(WORDS))
    if unknown:
        known = ", ".join(f"{{{{{word}}}}}" for word in WORDS)
        return Unusable("InvalidQuery", f"placeholder {{{{{unknown[0]}}}}} is not known; use one of {known}")
    text = _PLACEHOLDER.sub(lambda match: words[match.group(1).strip()], query)
    if "{{" in text or "}}" in text:
        return Unusable("InvalidQuery", "a placeholder is opened by {{ but not closed by }}, or the other way round")
    bad = [word for word in WORDS if words[word] and not _NAME.fullmatch(words[word])]
    if bad:
        return Unusable(
            "InvalidQuery", f"{bad[0]} {words[bad[0]]!r} is not a Kubernetes name and is not put in a query"
        )
    return text


def unusable(s: ServiceSnapshot) -> Unusable | None:
    """The first thing in the spec's SLOs that no canary could be judged by; found before any canary starts."""
    dummy: dict[str, str] = dict.fromkeys(WORDS, "x")
    for slo in s.service.spec.slos:
        if slo.dry_run:
            continue
        if slo.source not in s.settings.sources:
            return Unusable("UnknownMetricSource", f"SLO {slo.name}: {unknown_source(slo.source, s.settings.sources)}")
        for query in (query_of(slo), slo.histogram, slo.requests, slo.failures):
            if query is not None and isinstance(found := filled(query, dummy), Unusable):
                return Unusable(found.reason, f"SLO {slo.name}: {found.message}")
    if _requests_counted(s) and DEFAULT_SOURCE not in s.settings.sources:
        return Unusable(
            "UnknownMetricSource",
            f"canary.minRequests: requests are counted by the metric source {DEFAULT_SOURCE!r}, which the operator does"
            " not have; ask for it in the operator's metricSources, or set minRequests to 0",
        )
    return None


def _requests_counted(s: ServiceSnapshot) -> bool:
    canary = s.service.spec.canary
    return canary.min_requests > 0 or any(
        step.analysis is not None and step.analysis.min_requests for step in canary.steps
    )


def unknown_source(name: str, known: tuple[str, ...]) -> str:
    there = ", ".join(known) or "none"
    return f"metric source {name!r} is not known; the operator's metricSources are: {there}"


def requests_query(namespace: str, revision: str, since: timedelta) -> str:
    """Requests answered by a revision during the running step."""
    seconds = max(1, int(since.total_seconds()))
    series = f'vllm:request_success_total{{namespace="{namespace}",revision="{revision}"}}'
    return f"sum(increase({series}[{seconds}s]))"


def judged(slo: Slo, reading: Reading) -> SloStatus:
    """One SLO against one reading."""
    if slo.preset is not None and reading.kind is ReadingKind.NO_DATA:
        return SloStatus(name=slo.name, verdict=Verdict.ERROR, message=presets.absent(slo.preset))
    if slo.preset is not None and reading.kind is ReadingKind.NOT_A_NUMBER:
        return SloStatus(name=slo.name, verdict=Verdict.INCONCLUSIVE, message=UNUSED)
    if reading.kind is ReadingKind.NO_DATA:
        return SloStatus(name=slo.name, verdict=Verdict.INCONCLUSIVE, message=explained(reading))
    if reading.kind is not ReadingKind.VALUE or reading.value is None:
        return SloStatus(name=slo.name, verdict=Verdict.ERROR, message=explained(reading))
    verdict = Verdict.FAILED if breached(slo, reading.value) else Verdict.PASSED
    return SloStatus(name=slo.name, verdict=verdict, value=shown(reading.value), message=_compared(slo, reading.value))


_WORST_FIRST: Final = (Verdict.FAILED, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASSED)


def beside(bound: SloStatus | None, compared: SloStatus | None) -> SloStatus:
    """A bound and a comparison of one SLO as one row: the worse verdict, and what both say."""
    if bound is None or compared is None:
        found = bound or compared
        assert found is not None
        return found
    worse = min(bound.verdict, compared.verdict, key=_WORST_FIRST.index)
    said = [one.message for one in (bound, compared) if one.verdict is worse or worse is not Verdict.FAILED]
    value = bound.value if compared.value is not None else None
    return SloStatus(name=bound.name, verdict=worse, value=value, message="; ".join(said))


NOT_ASKED: Final = Reading(ReadingKind.OUTAGE, text="the SLO was not asked about on this look")
_NO_DATA = (
    "the query found no series yet; if this lasts, check that requests reach the candidate, that Prometheus scrapes its"
    " pods, and the metric's name in the query"
)

UNUSED: Final = "the metric is there, but no request within its window has moved it yet"


def explained(reading: Reading) -> str:
    """Why there is no number, and what to do."""
    return reading.text or (_NO_DATA if reading.kind is ReadingKind.NO_DATA else reading.kind.value)


def breached(slo: Slo, value: float) -> bool:
    """Outside of its bounds; a value on the bound is inside."""
    return (slo.max is not None and value > float(slo.max)) or (slo.min is not None and value < float(slo.min))


def _compared(slo: Slo, value: float) -> str:
    """`latency-p95 0.41 <= 2`."""
    if slo.max is not None and value > float(slo.max):
        return f"{slo.name} {shown(value)} > {slo.max}"
    if slo.min is not None and value < float(slo.min):
        return f"{slo.name} {shown(value)} < {slo.min}"
    low = f"{slo.min} <= " if slo.min is not None else ""
    high = f" <= {slo.max}" if slo.max is not None else ""
    return f"{low}{slo.name} {shown(value)}{high}"


def shown(value: float) -> str:
    """Four digits are enough for a person."""
    return f"{value:.4g}"
