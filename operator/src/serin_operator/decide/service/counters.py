"""Raw samples of counters, and what they grew by between two moments: exactly, and never twice.

Why raw samples and not `increase()`: that one extrapolates to the ends of its window, sees nothing in a window with one
sample, and leaves out what lies between two windows. And not `sum()` over pods: a pod whose series is gone for a while and
comes back would be counted whole again. Here every growth between two samples of one target (a pod, as Prometheus names it)
belongs to the moment of the later sample, so adjoining spans of time add up to the whole.

- A counter that fell was restarted: what it says now came since then. What it had counted between the last sample and its
  end nobody knows.
- The first sample of a target is where counting begins: how long it took to come to it is not known.
- A counter that appears beside others of its target was 0 until then, such as the first failure.

Not here: how samples are asked for (`comparisons.py`, `observe/prometheus.py`).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

TARGET = ("job", "namespace", "pod", "instance")
"""Labels by which Prometheus tells one scraped pod from another."""

MAX_BUCKETS = 256
"""What is seen of them is kept in status."""

Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """One series and its samples, each with its own time."""

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Sampled:
    """The answer to a question for raw samples."""

    series: tuple[Series, ...]
    at: float
    """Up to when it is complete, in seconds of the metric source's own clock."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What the counters of one arm grew by at which moments, and since when each of its targets is known."""

    steps: tuple[tuple[float, Vector], ...]
    known_since: tuple[float, ...]

    def between(self, after: float, until: float, zero: Vector) -> Vector:
        """All of it in (after, until]."""
        found = [grown for at, grown in self.steps if after < at <= until]
        return tuple(map(math.fsum, zip(zero, *found, strict=True)))


def of_errors(requests: Sampled, failures: Sampled) -> Growth:
    """Growth of (requests, failures). A target without a failing series has not failed yet."""
    counted, failed = _summed(requests.series), _summed(failures.series)
    return _growth({target: _with_failures(values, failed.get(target, {})) for target, values in counted.items()})


def from_zero(sampled: Sampled, after: float) -> Sampled:
    """With what each target that is first seen after a moment had counted until then. It may have been out of sight for as
    long as samples reach back, and would then be counted whole: only for who can live with that."""
    known = {_target(one) for one in sampled.series if one.samples and one.samples[0][0] <= after}
    grown = [
        one if _target(one) in known else Series(one.labels, ((after, 0.0), *one.samples)) for one in sampled.series
    ]
    return Sampled(tuple(grown), sampled.at)


def _target(series: Series) -> tuple[str, ...]:
    return tuple(series.labels.get(label, "") for label in TARGET)


def _with_failures(requests: Mapping[float, float], failures: Mapping[float, float]) -> list[tuple[float, Vector]]:
    """Two questions are asked one after the other, so one may know a sample more: the failures known last stand until the
    next are told, and only requests that fell mean a restart."""
    track: list[tuple[float, Vector]] = []
    requested, failed = 0.0, 0.0
    for at in sorted(requests):
        restarted = requests[at] < requested
        requested, failed = requests[at], failures.get(at, 0.0) if restarted else max(failed, failures.get(at, 0.0))
        track.append((at, (requested, failed)))
    return track


def of_histogram(sampled: Sampled) -> tuple[Vector, Growth]:
    """The buckets' edges, and growth of each bucket by itself. ValueError: not the buckets of one histogram."""
    by_edge: dict[float, list[Series]] = defaultdict(list)
    for series in sampled.series:
        by_edge[_edge(series.labels)].append(series)
    if not by_edge:
        return (), Growth((), ())
    edges = sorted(by_edge)
    if len(edges) > MAX_BUCKETS:
        raise ValueError(f"it has {len(edges)} buckets; at most {MAX_BUCKETS} can be compared")
    if not math.isinf(edges[-1]) or len(edges) < 3 or edges[0] <= 0:
        raise ValueError("its series are not the buckets of a histogram (le above 0, two or more, and +Inf)")
    values = {edge: _summed(found) for edge, found in by_edge.items()}
    whole = values[edges[-1]]
    tracks = {
        target: [
            (at, _apart([values[edge][target][at] for edge in edges]))
            for at in moments
            if all(at in values[edge].get(target, {}) for edge in edges)
        ]
        for target, moments in whole.items()
    }
    if any(whole.values()) and not any(tracks.values()):
        raise ValueError("the pods of this revision have different buckets")
    return tuple(edges[:-1]), _growth(tracks)


def _edge(labels: Mapping[str, str]) -> float:
    try:
        return float(labels["le"])
    except (KeyError, ValueError):
        raise ValueError("its series have no label le: it is not a histogram's _bucket") from None


def _apart(cumulative: Sequence[float]) -> Vector:
    """A bucket `le` counts all below it as well."""
    return tuple(b - a for a, b in zip((0.0, *cumulative), cumulative, strict=False))


def _summed(series: Iterable[Series]) -> dict[tuple[str, ...], dict[float, float]]:
    """By target and moment; a scrape gives all series of its target the same time."""
    found: dict[tuple[str, ...], dict[float, float]] = defaultdict(dict)
    for one in series:
        values = found[_target(one)]
        for at, value in one.samples:
            if math.isfinite(value):
                values[at] = values.get(at, 0.0) + value
    return found


def _growth(tracks: Mapping[tuple[str, ...], Sequence[tuple[float, Vector]]]) -> Growth:
    steps: list[tuple[float, Vector]] = []
    for track in tracks.values():
        ordered = sorted(track)
        for (_, before), (at, now) in pairwise(ordered):
            grown = tuple(b - a for a, b in zip(before, now, strict=True))
            steps.append((at, grown if min(grown) >= 0 else now))
    known = sorted(min(at for at, _ in track) for track in tracks.values() if track)
    return Growth(tuple(sorted(steps)), tuple(known))
