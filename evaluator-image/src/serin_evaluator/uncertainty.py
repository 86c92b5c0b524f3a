"""Estimates with honest uncertainty: value, standard error, and a seeded bootstrap interval over examples.

Every metric here is a ratio of sums over examples (a mean is the ratio with weight 1; cross-entropy weighs by
tokens), seen through a monotone function (perplexity is the exponential of cross-entropy). So one estimator serves
them all. Not here: where the numbers come from (`metrics.py`) and whether a difference is good or bad (the operator).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RESAMPLES = 2000
_BLOCK_CELLS = 4_000_000
"""Resampled cells held in memory at once: 32 MB."""


@dataclass(frozen=True)
class Sample:
    """What each example adds to the numerator and the denominator of a metric."""

    ids: tuple[int, ...]
    numerators: Array
    weights: Array
    transform: Callable[[Array], Array] = field(default=lambda ratio: ratio)

    def __len__(self) -> int:
        return len(self.ids)

    def value(self) -> float:
        """The metric over all examples."""
        with np.errstate(over="ignore"):
            return float(self.transform(np.asarray(self.numerators.sum() / self.weights.sum())))

    def by_example(self) -> dict[int, float | None]:
        """The metric of each example alone; None where it is not a finite number."""
        with np.errstate(over="ignore"):
            values = self.transform(self.numerators / self.weights)
        return {one: float(v) if np.isfinite(v) else None for one, v in zip(self.ids, values, strict=True)}

    def only(self, ids: set[int]) -> "Sample":
        """The same metric over some of the examples."""
        keep = np.array([one in ids for one in self.ids], dtype=bool)
        left = tuple(one for one in self.ids if one in ids)
        return Sample(left, self.numerators[keep], self.weights[keep], self.transform)


@dataclass(frozen=True)
class Estimate:
    """A value over n examples, its standard error and interval."""

    value: float
    n: int
    stderr: float
    low: float
    high: float


def estimate(sample: Sample, seed: Sequence[int], confidence_percent: int = 95) -> Estimate:
    """The metric with its uncertainty; the interval holds the value even where resampling is skewed."""
    value = sample.value()
    if _is_proportion(sample):
        low, high = wilson(value, len(sample), confidence_percent)
        return Estimate(value, len(sample), float(np.sqrt(value * (1 - value) / len(sample))), low, high)
    resampled = _resample([sample], seed)[0]
    low, high = _interval(resampled, confidence_percent)
    return Estimate(value, len(sample), float(resampled.std(ddof=1)), min(low, value), max(high, value))


def difference(candidate: Sample, other: Sample, seed: Sequence[int], confidence_percent: int = 95) -> Estimate | None:
    """Candidate minus other over the examples that both have; each resample draws the same examples for both.

    None when fewer than two examples are shared: then there is nothing to tell.
    """
    shared = set(candidate.ids) & set(other.ids)
    if len(shared) < 2:
        return None
    ours, theirs = candidate.only(shared), other.only(shared)
    drawn = _resample([ours, theirs], seed)
    differences = drawn[0] - drawn[1]
    value = ours.value() - theirs.value()
    low, high = _interval(differences, confidence_percent)
    return Estimate(value, len(shared), float(differences.std(ddof=1)), min(low, value), max(high, value))


def wilson(share: float, n: int, confidence_percent: int) -> tuple[float, float]:
    """Wilson's interval of a proportion: unlike the bootstrap's, it is not empty when all examples agree."""
    z = NormalDist().inv_cdf(0.5 + confidence_percent / 200)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def _is_proportion(sample: Sample) -> bool:
    return bool(np.all((sample.numerators == 0) | (sample.numerators == 1)) and np.all(sample.weights == 1))


def _resample(samples: Sequence[Sample], seed: Sequence[int]) -> list[Array]:
    """The metric of each sample in RESAMPLES bootstrap worlds; in one world all samples draw the same examples."""
    n = len(samples[0])
    random = np.random.default_rng(list(seed))
    block = max(1, _BLOCK_CELLS // n)
    worlds: list[list[Array]] = [[] for _ in samples]
    for start in range(0, RESAMPLES, block):
        drawn = random.integers(0, n, size=(min(block, RESAMPLES - start), n))
        for sample, values in zip(samples, worlds, strict=True):
            ratio = sample.numerators[drawn].sum(axis=1) / sample.weights[drawn].sum(axis=1)
            with np.errstate(over="ignore"):
                values.append(sample.transform(ratio))
    return [np.concatenate(values) for values in worlds]


def _interval(resampled: Array, confidence_percent: int) -> tuple[float, float]:
    tail = (100 - confidence_percent) / 2
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return float(low), float(high)
