"""Confidence curves: for each probability, the value that the truth stays below with that confidence.

A curve answers every later question about the same measurement: whether a bound or a margin is met, at any
confidence, is read off it by the operator, so a changed threshold needs no new evaluation. The half below the middle
holds lower confidence bounds, the half above it upper ones, and each half errs to the safe side by itself.
Not here: where the numbers come from (`uncertainty.py`), and judging (the operator).
"""

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PROBABILITIES: Final = (0.001, 0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.995, 0.999)
"""The confidences that a curve is told at; the operator knows the same list (docs/reference/contract.md)."""
_MIDDLE: Final = PROBABILITIES.index(0.5)
FAR: Final = 99.0
"""Stands for a studentised resample without any spread of its own."""
_TRUSTED: Final = 10.0
"""Standard errors that a studentised resample may tell of. What lies further out drew next to none of the few examples that
differ: that says how little spread it has, not how far away the truth may be."""
_NORMAL: Final = NormalDist()


def student(probability: float, degrees: int) -> float:
    """The quantile of Student's t (Abramowitz and Stegun 26.7.5); good to 1e-3 from ten degrees of freedom on."""
    z, v = _NORMAL.inv_cdf(probability), max(degrees, 1)
    z3, z5, z7, z9 = z**3, z**5, z**7, z**9
    return (
        z
        + (z3 + z) / (4 * v)
        + (5 * z5 + 16 * z3 + 3 * z) / (96 * v**2)
        + (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * v**3)
        + (79 * z9 + 776 * z7 + 1482 * z5 - 1920 * z3 - 945 * z) / (92160 * v**4)
    )


def of_resamples(
    value: Array, stderr: Array, studentised: Array, n: int, with_unseen: Callable[[], Array] | None = None
) -> Array:
    """From studentised resamples (the last axis): the bootstrap-t (Efron and Tibshirani 1993, 12.5), or Student's t
    where that is the wider one.

    Each is too sure of itself where the other is not: Student's t when a few examples collapse (the spread is then
    underestimated together with the loss), the bootstrap-t when few examples differ at all.

    When so few differ that many resamples hold none of them, the bootstrap-t has no end: a BLEU of 91 would go from 0 to
    100. There `with_unseen` gives the bounds (those of `of_weightings`), or again Student's t.
    """
    drawn = np.quantile(studentised, [1 - p for p in PROBABILITIES], axis=-1)
    deviations = np.empty_like(drawn)
    for place, probability in enumerate(PROBABILITIES):
        wider = np.minimum if place < _MIDDLE else np.maximum
        deviations[place] = wider(-drawn[place], student(probability, n - 1)) if place != _MIDDLE else 0.0
    bounds = value + stderr * deviations
    if with_unseen is not None and np.abs(drawn).max() > _TRUSTED:
        for place, bound in enumerate(with_unseen()):
            if place != _MIDDLE and abs(drawn[place]) > _TRUSTED and math.isfinite(bound):
                wider = min if place < _MIDDLE else max
                bounds[place] = wider(bound, value + stderr * student(PROBABILITIES[place], n - 1))
    return np.moveaxis(np.maximum.accumulate(bounds, axis=0), 0, -1)


def of_weightings(value: float, with_worst: Array, with_best: Array) -> Array:
    """From the statistic under weightings drawn alike from all there are (a flat Dirichlet) of the examples and one that was
    not seen: the worst that there could be for lower limits, the best for upper ones.

    Of a mean these are Gaffke's limits (2005; Learned-Miller and Thomas 2020, arXiv 1905.06208), which need no spread; of a
    share they are Clopper and Pearson's.
    """
    bounds = np.full(len(PROBABILITIES), value)
    for place, probability in enumerate(PROBABILITIES):
        if place != _MIDDLE:
            bounds[place] = np.quantile(with_worst if place < _MIDDLE else with_best, probability)
    return bounds


def of_no_spread(value: float, n: int, low: float, high: float) -> Array:
    """When n examples all say the same: a share of 1 - q^(1/n) of others may still be hidden with probability q, and
    at worst they have the range's end. (At q = 5 percent this is the rule of three.)"""
    bounds = np.full(len(PROBABILITIES), value)
    for place, probability in enumerate(PROBABILITIES):
        hidden = 1 - min(probability, 1 - probability) ** (1 / n)
        end = low if place < _MIDDLE else high
        if place != _MIDDLE and math.isfinite(end):
            bounds[place] = value + hidden * (end - value)
    return bounds


def of_weighted_sum(values: Array, stderrs: Array, bounds: Array, sizes: Array, weights: Array) -> Array:
    """Of a weighted sum of figures that know nothing of each other, from the bounds of each (along the last axis): distances
    add up as standard errors do (MOVER; Zou, Huang and Zhang, Computational Statistics and Data Analysis 53, 2009), or
    Student's t with Welch's degrees of freedom where that is the wider one.

    MOVER keeps what exact bounds are worth and lets a figure without spread hide some, but of many small tasks with next to
    nothing wrong its upper end misses the truth in 8 to 11 percent instead of 2.5 (simulated), since a task with nothing wrong
    has no room above it; Student's t is too sure where all have none.
    """
    value, spread = weights @ values, (weights * stderrs) ** 2
    away = weights[:, None] * (bounds - values[:, None])
    below, above = (np.sqrt((np.clip(away, *ends) ** 2).sum(0)) for ends in ((-np.inf, 0.0), (0.0, np.inf)))
    degrees = spread.sum() ** 2 / (spread**2 / (sizes - 1)).sum() if spread.any() else 1.0
    found = np.full(len(PROBABILITIES), value)
    for place, probability in enumerate(PROBABILITIES):
        by_t = math.sqrt(spread.sum()) * student(probability, int(degrees))
        if place != _MIDDLE:
            found[place] += min(-below[place], by_t) if place < _MIDDLE else max(above[place], by_t)
    return np.maximum.accumulate(found)


def of_share(successes: int, n: int) -> Array:
    """Of a share: exact binomial bounds (Clopper and Pearson 1934), never too sure."""
    logarithms = np.log(np.arange(1, n + 1))
    factorials = np.concatenate([[0.0], np.cumsum(logarithms)])
    ways = factorials[n] - factorials - factorials[::-1]
    counts = np.arange(n + 1)

    def probability_of(first: int, last: int, share: float) -> float:
        """Of a number of successes from first to last."""
        within = slice(first, last + 1)
        logs = ways[within] + counts[within] * math.log(share) + (n - counts[within]) * math.log1p(-share)
        return float(np.exp(logs).sum())

    def bound(place: int, probability: float) -> float:
        if place == _MIDDLE:
            return successes / n
        if place < _MIDDLE:
            if successes == 0:
                return 0.0
            return _rising(lambda share: probability_of(successes, n, share), probability, 0.0, successes / n)
        if successes == n:
            return 1.0
        return _rising(lambda share: -probability_of(0, successes, share), probability - 1, successes / n, 1.0)

    return np.array([bound(*one) for one in enumerate(PROBABILITIES)])


def of_paired_shares(wins: int, losses: int, n: int) -> Array:
    """Of a difference between two shares over the same examples: McNemar's test, extended to any margin by Tango's
    score statistic (Statistics in Medicine 17, 1998), with a continuity correction of one half.

    At a margin of zero and without the correction it is McNemar's. Without it, equal models are told apart too often
    when few examples differ (7 percent instead of 5); with it, at most as often as promised (measured).
    """
    return _by_inversion(lambda margin: paired_shares_z(wins, losses, n, margin), (wins - losses) / n, -1.0, 1.0)


def paired_shares_z(wins: int, losses: int, n: int, margin: float, correction: float = 0.5) -> float:
    """How many standard errors `wins - losses` lies above what a true difference of `margin` would give."""
    linear = -wins - losses + (2 * n - wins + losses) * margin
    root = math.sqrt(max(linear * linear + 8 * n * losses * margin * (1 - margin), 0.0))
    discordant = (root - linear) / (4 * n)
    variance = n * (2 * discordant + margin * (1 - margin))
    above = wins - losses - n * margin
    corrected = math.copysign(max(abs(above) - correction, 0.0), above)
    if variance > 0:
        return corrected / math.sqrt(variance)
    return math.copysign(math.inf, corrected) if corrected else 0.0


def of_signed_ranks(differences: Array) -> Array:
    """Of the middle of the differences: Wilcoxon's signed-rank test (1945), turned into bounds by shifting."""
    low, high = float(differences.min()), float(differences.max())
    if low == high:
        return np.full(len(PROBABILITIES), low)
    middle = _rising(lambda shift: -signed_ranks_z(differences, shift)[0], 0.0, low, high)

    def at_least(shift: float) -> float:
        return signed_ranks_p(differences, shift)

    def at_most(shift: float) -> float:
        return -signed_ranks_p(-differences, -shift)

    bounds = [
        middle
        if place == _MIDDLE
        else _rising(at_least, p, low, middle)
        if place < _MIDDLE
        else _rising(at_most, p - 1, middle, high)
        for place, p in enumerate(PROBABILITIES)
    ]
    return np.maximum.accumulate(np.array(bounds))


def signed_ranks_p(differences: Array, shift: float = 0.0) -> float:
    """One-sided p-value of "the differences lie above `shift`": exact up to 50 examples without ties, else normal with
    corrections for ties and continuity. Examples exactly at the shift say nothing and are left out."""
    z, positive, ranks = signed_ranks_z(differences, shift)
    if len(ranks) == 0:
        return 1.0
    if len(ranks) <= 50 and len(np.unique(ranks)) == len(ranks):
        return _exact_tail(round(positive), len(ranks))
    return _NORMAL.cdf(-z)


def signed_ranks_z(differences: Array, shift: float) -> tuple[float, float, Array]:
    """The normal statistic, the sum of the positive ranks, and the ranks."""
    moved = differences - shift
    moved = moved[moved != 0]
    n = len(moved)
    if n == 0:
        return 0.0, 0.0, moved
    _, inverse, counts = np.unique(np.abs(moved), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positive = float(ranks[moved > 0].sum())
    variance = n * (n + 1) * (2 * n + 1) / 24 - float((counts**3 - counts).sum()) / 48
    above = positive - n * (n + 1) / 4
    corrected = math.copysign(max(abs(above) - 0.5, 0.0), above)
    return (corrected / math.sqrt(variance) if variance > 0 else 0.0), positive, ranks


def _exact_tail(positive: int, n: int) -> float:
    """The probability of a sum of positive ranks of at least `positive` when all signs are a coin's."""
    ways = np.zeros(n * (n + 1) // 2 + 1)
    ways[0] = 1.0
    for rank in range(1, n + 1):
        ways[rank:] += ways[:-rank].copy()
    return float(ways[positive:].sum() / 2.0**n)


def _by_inversion(z: Callable[[float], float], value: float, low: float, high: float) -> Array:
    """The bounds where a statistic that falls with the assumed truth reaches each quantile."""
    bounds = [
        value
        if place == _MIDDLE
        else _rising(lambda assumed: -z(assumed), _NORMAL.inv_cdf(p), low, value)
        if place < _MIDDLE
        else _rising(lambda assumed: -z(assumed), _NORMAL.inv_cdf(p), value, high)
        for place, p in enumerate(PROBABILITIES)
    ]
    return np.maximum.accumulate(np.array(bounds))


def _rising(function: Callable[[float], float], target: float, low: float, high: float) -> float:
    """Where a rising function passes the target, by bisection; an end of the range when it never does."""
    for _ in range(60):
        middle = (low + high) / 2
        if function(middle) < target:
            low = middle
        else:
            high = middle
    return (low + high) / 2
