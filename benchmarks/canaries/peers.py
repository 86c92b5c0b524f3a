"""How others decide, on the same counts: fixed thresholds with strikes, and Mann-Whitney.

Read from their sources: Argo Rollouts (`analysis`): a run fails when more measurements than `failureLimit` have failed,
in a row or not. Flagger (`pkg/controller/scheduler.go`): failed checks add up over the analysis, and the tick after the
`threshold`th rolls back. Kayenta (`MannWhitneyClassifier.scala`, `NetflixACAJudge.scala`): High when the lower end of the
98 % confidence interval of the Hodges-Lehmann estimate is over a quarter of that estimate.

All see the same warm-up left out as Serin does. Thresholds are set by somebody who knows the healthy p95 exactly.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from canaries.traffic import (
    EDGES,
    LOG_SPREAD,
    MEDIAN_SECONDS,
    TICK_SECONDS,
    TICKS,
    WARM_UP_TICKS,
    Canaries,
    Counts,
    Values,
)

Flags = npt.NDArray[np.bool_]

MAX_ERRORS: Final = 0.05
"""Argo Rollouts' documented example asks for 95 percent of successes."""


@dataclass(frozen=True, slots=True)
class Strikes:
    """p95 within `times` of its healthy value and errors within MAX_ERRORS, else a strike; too many are a rollback."""

    name: str
    times: float
    window_seconds: int
    every_seconds: int
    allowed: int
    late: int = 0
    """Measurements between the last strike and the rollback."""

    def rolled_back(self, canaries: Canaries) -> Flags:
        window, every = self.window_seconds // TICK_SECONDS, self.every_seconds // TICK_SECONDS
        looks = np.arange(WARM_UP_TICKS + window - 1, TICKS, every)
        buckets = _over(canaries.candidate.buckets, window)[:, looks]
        failed = _over(canaries.candidate.failed, window)[:, looks]
        requests = buckets.sum(axis=2)
        slow = quantile(buckets, 0.95) > self.times * HEALTHY_P95
        failing = failed > MAX_ERRORS * requests
        strikes = (np.cumsum(slow & (requests > 0), axis=1) > self.allowed) | (
            np.cumsum(failing, axis=1) > self.allowed
        )
        found = np.zeros((len(buckets), TICKS), dtype=bool)
        later = looks + self.late * every
        found[:, later[later < TICKS]] = strikes[:, later < TICKS]
        return np.maximum.accumulate(found, axis=1)


def _over(counts: Counts, window: int) -> Counts:
    """Sums over the last `window` ticks."""
    total = np.cumsum(counts, axis=1)
    total[:, window:] -= total[:, :-window].copy()
    return total


def quantile(buckets: Counts, q: float) -> Values:
    """As PromQL's histogram_quantile: linear within the bucket."""
    below = np.cumsum(buckets, axis=-1)
    rank = q * below[..., -1:]
    at = np.minimum((below < rank).sum(axis=-1), len(EDGES) - 1)
    edges = np.array([0.0, *EDGES])
    inside = np.take_along_axis(buckets, at[..., None], axis=-1)[..., 0]
    before = np.take_along_axis(below, at[..., None], axis=-1)[..., 0] - inside
    return edges[at] + (edges[at + 1] - edges[at]) * np.clip((rank[..., 0] - before) / np.maximum(inside, 1), 0, 1)


def _healthy_p95() -> float:
    """What histogram_quantile says of very many healthy requests."""
    sample = np.exp(np.log(MEDIAN_SECONDS) + LOG_SPREAD * np.random.default_rng(0).standard_normal(1_000_000))
    counts = np.bincount(np.searchsorted(EDGES, sample), minlength=len(EDGES) + 1)
    return float(quantile(counts, 0.95))


HEALTHY_P95: Final = _healthy_p95()

POINT_TICKS: Final = 6  # a point is 30 seconds
LOOK_POINTS: Final = 2  # judged each minute, over all points so far
Z_98: Final = 2.3263
MIN_POINTS: Final = 5  # fewer have no 98 % interval


@dataclass(frozen=True, slots=True)
class MannWhitney:
    """Kayenta's judge on two metrics, mean latency and share of errors; either High is a rollback."""

    name: str

    def rolled_back(self, canaries: Canaries) -> Flags:
        found = np.zeros((len(canaries.past), TICKS), dtype=bool)
        for candidate, stable in zip(
            self._points(canaries, "candidate"), self._points(canaries, "stable"), strict=True
        ):
            for count in range(MIN_POINTS, candidate.shape[1] + 1, LOOK_POINTS):
                tick = WARM_UP_TICKS + count * POINT_TICKS - 1
                open_ = np.flatnonzero(~found[:, tick])
                high = _high(candidate[open_, :count], stable[open_, :count])
                found[open_[high], tick:] = True
        return found

    @staticmethod
    def _points(canaries: Canaries, arm: str) -> tuple[Values, Values]:
        one = getattr(canaries, arm)
        points = (TICKS - WARM_UP_TICKS) // POINT_TICKS
        seconds = one.buckets @ np.array([*_MIDDLE, EDGES[-1]])
        grouped = [
            v[:, WARM_UP_TICKS:].reshape(len(v), points, POINT_TICKS).sum(axis=2)
            for v in (seconds, one.failed, one.requests)
        ]
        return grouped[0] / np.maximum(grouped[2], 1), grouped[1] / np.maximum(grouped[2], 1)


_MIDDLE: Final = [(a + b) / 2 for a, b in zip((0.0, *EDGES), EDGES, strict=False)]


def _high(candidate: Values, stable: Values) -> Flags:
    n = candidate.shape[1]
    differences = (candidate[:, :, None] - stable[:, None, :]).reshape(len(candidate), n * n).astype(np.float32)
    low = max(int(n * n / 2 - Z_98 * np.sqrt(n * n * (2 * n + 1) / 12)), 1) - 1
    middle = n * n // 2
    ordered = np.partition(differences, (low, middle), axis=1)
    return ordered[:, low] > 0.25 * np.abs(ordered[:, middle])
