"""Estimates with honest uncertainty: value, standard error and a confidence curve over examples.

Most metrics are a ratio of sums over examples (a mean is the ratio with weight 1; cross-entropy weighs by tokens), seen
through a monotone function (perplexity is the exponential of cross-entropy). So one estimator serves them all; BLEU and
its like (`sums.py`) and calibration (`calibration.py`) have their own, and a mean of several tasks' figures is put together
of theirs. Not here: where the numbers come from
(`metrics.py`), the shapes of curves (`curves.py`), and whether a difference is good or bad (the operator).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from serin_evaluator import curves, sums
from serin_evaluator.calibration import Confidences
from serin_evaluator.config import Method
from serin_evaluator.curves import FAR, PROBABILITIES, Array
from serin_evaluator.sums import Sums

RESAMPLES: Final = 10_000
_FEWEST_RESAMPLES: Final = 2000
_DRAWN: Final = 200_000_000
"""Examples drawn in all: large suites get fewer resamples, which they need less."""
_BLOCK_CELLS: Final = 4_000_000
"""Resampled cells held in memory at once: 32 MB."""
_NO_SPREAD: Final = 1e-10
_NO_SPREAD_OF_SUMS: Final = 1e-5
"""Of the metric's range: the slopes of `sums.py` are measured in steps, so a perfect score seems to have a little spread."""


@dataclass(frozen=True)
class Transform:
    """A monotone function that a ratio is seen through, and its slope."""

    of: Callable[[Array], Array]
    slope: Callable[[Array], Array]


LINEAR: Final = Transform(lambda ratio: ratio, np.ones_like)
EXPONENTIAL: Final = Transform(np.exp, np.exp)


@dataclass(frozen=True)
class Sample:
    """What each example adds to the numerator and the denominator of a metric, and the metric's range."""

    ids: tuple[int, ...]
    numerators: Array
    weights: Array
    transform: Transform = LINEAR
    lowest: float = -math.inf
    highest: float = math.inf

    def __len__(self) -> int:
        return len(self.ids)

    def value(self) -> float:
        """The metric over all examples."""
        with np.errstate(over="ignore"):
            return float(self.transform.of(np.asarray(self.numerators.sum() / self.weights.sum())))

    def by_example(self) -> dict[int, float | None]:
        """The metric of each example alone; None where it is not a finite number."""
        with np.errstate(over="ignore"):
            values = self.transform.of(self.numerators / self.weights)
        return {one: float(v) if np.isfinite(v) else None for one, v in zip(self.ids, values, strict=True)}

    def only(self, ids: set[int]) -> "Sample":
        """The same metric over some of the examples."""
        keep = np.array([one in ids for one in self.ids], dtype=bool)
        left = tuple(one for one in self.ids if one in ids)
        return Sample(left, self.numerators[keep], self.weights[keep], self.transform, self.lowest, self.highest)

    def right_or_wrong(self) -> bool:
        """Whether every example counts the same and is either right or wrong."""
        return bool(np.all((self.numerators == 0) | (self.numerators == 1)) and np.all(self.weights == 1))


@dataclass(frozen=True)
class Several:
    """Samples of several tasks, whose figures have a mean: each task counts the same, or as its number of examples.

    The tasks are given and their examples drawn, so how far the tasks lie apart is no uncertainty of it.
    """

    parts: tuple[Sample | Sums, ...]
    by_size: bool = False

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def ids(self) -> tuple[int, ...]:
        """The examples of all tasks."""
        return tuple(one for part in self.parts for one in part.ids)

    @property
    def fewest(self) -> int:
        """The examples of the task that has the fewest."""
        return min(len(part) for part in self.parts)

    def weights(self, sizes: Sequence[int] | None = None) -> Array:
        """How much each task's figure counts; together one."""
        sizes = sizes or [len(part) for part in self.parts]
        counts = np.array(sizes if self.by_size else [1] * len(self.parts), dtype=float)
        return counts / counts.sum()

    def value(self) -> float:
        """The mean of the tasks' figures."""
        return float(self.weights() @ [part.value() for part in self.parts])

    def by_example(self) -> dict[int, float | None]:
        """The metric of each example alone."""
        return {one: value for part in self.parts for one, value in part.by_example().items()}

    def only(self, ids: set[int]) -> "Several":
        """The same mean over some of the examples."""
        return Several(tuple(part.only(ids) for part in self.parts), self.by_size)


@dataclass(frozen=True)
class Estimate:
    """A value over n examples, its standard error and its confidence curve."""

    value: float
    n: int
    stderr: float
    curve: tuple[float, ...]

    @property
    def low(self) -> float:
        """The lower end of the two-sided 95 percent interval."""
        return self.curve[PROBABILITIES.index(0.025)]

    @property
    def high(self) -> float:
        """Its upper end."""
        return self.curve[PROBABILITIES.index(0.975)]


class Unfit(ValueError):
    """The method does not fit what was measured; the text says why."""


AnySample = Sample | Sums | Confidences | Several


def estimate(sample: AnySample, seed: Sequence[int]) -> Estimate:
    """The metric with its uncertainty."""
    if isinstance(sample, Several):
        one = sample.parts[0]
        return _together(sample, [estimate(part, seed) for part in sample.parts], one.lowest, one.highest)
    if isinstance(sample, Sums):
        return _of_sums([sample], seed, sample.lowest, sample.highest)
    if isinstance(sample, Confidences):
        return _of_confidences(sample, seed)
    value, n = sample.value(), len(sample)
    if sample.right_or_wrong():
        curve = curves.of_share(round(float(sample.numerators.sum())), n)
        return _estimate(value, n, math.sqrt(value * (1 - value) / n), curve)
    ratio = Sample(sample.ids, sample.numerators, sample.weights)
    ends = (sample.lowest, sample.highest) if sample.transform is LINEAR else (-math.inf, math.inf)
    made = _by_bootstrap([ratio], seed, *ends)
    if made.stderr == 0:
        return _estimate(value, n, 0.0, curves.of_no_spread(value, n, sample.lowest, sample.highest))
    with np.errstate(over="ignore"):
        curve = np.clip(sample.transform.of(np.array(made.curve)), sample.lowest, sample.highest)
        stderr = made.stderr * float(sample.transform.slope(np.asarray(made.value)))
    return _estimate(value, n, stderr, curve)


def difference(
    candidate: AnySample, other: AnySample, seed: Sequence[int], method: Method = Method.PAIRED_BOOTSTRAP
) -> Estimate | None:
    """Candidate minus other over the examples that both have, in pairs.

    None when fewer than two examples are shared (of each task, where a mean of tasks is compared): then there is nothing to
    tell.
    """
    if isinstance(candidate, Several) and isinstance(other, Several):
        if method is Method.WILCOXON:
            raise Unfit("Wilcoxon's test ranks all examples alike, and in a mean of tasks they do not count alike")
        both = zip(candidate.parts, other.parts, strict=True)
        of_tasks = [made for one, same in both if (made := difference(one, same, seed, method)) is not None]
        if len(of_tasks) < len(candidate.parts):
            return None
        span = candidate.parts[0].highest - candidate.parts[0].lowest
        return _together(candidate, of_tasks, -span, span)
    assert not isinstance(candidate, Several)
    assert not isinstance(other, Several)
    shared = set(candidate.ids) & set(other.ids)
    if len(shared) < 2:
        return None
    ours, theirs = candidate.only(shared), other.only(shared)
    if isinstance(ours, Confidences) or isinstance(theirs, Confidences):
        raise Unfit("noise makes calibration errors larger, so a difference of two says little: compare Brier instead")
    if isinstance(ours, Sums) or isinstance(theirs, Sums):
        if not (isinstance(ours, Sums) and isinstance(theirs, Sums) and method is Method.PAIRED_BOOTSTRAP):
            raise Unfit(f"{method} needs a score of each example, and this metric is one of all of them together")
        span = ours.highest - ours.lowest
        return _of_sums([ours, theirs], seed, -span, span)
    if method is Method.MCNEMAR:
        return _by_mcnemar(ours, theirs)
    if method is Method.WILCOXON:
        return _by_signed_ranks(ours, theirs)
    lowest, highest = ours.lowest - theirs.highest, ours.highest - theirs.lowest
    if ours.transform is LINEAR and np.array_equal(ours.weights, theirs.weights):
        pairs = Sample(ours.ids, ours.numerators - theirs.numerators, ours.weights)
        return _by_bootstrap([pairs], seed, lowest, highest)
    return _by_bootstrap([ours, theirs], seed, lowest, highest)


def _together(sample: Several, estimates: Sequence[Estimate], lowest: float, highest: float) -> Estimate:
    """The mean of figures of different examples, which know nothing of each other: variances add up."""
    sizes = [one.n for one in estimates]
    weights = sample.weights(sizes)
    values, stderrs, bounds = (
        np.array(of) for of in zip(*((one.value, one.stderr, one.curve) for one in estimates), strict=True)
    )
    curve = curves.of_weighted_sum(values, stderrs, bounds, np.array(sizes), weights)
    stderr = math.hypot(*(weights * stderrs))
    return _estimate(float(weights @ values), sum(sizes), stderr, np.clip(curve, lowest, highest))


def _by_mcnemar(ours: Sample, theirs: Sample) -> Estimate:
    if not (ours.right_or_wrong() and theirs.right_or_wrong()):
        raise Unfit("McNemar's test needs examples that are right or wrong, and these are not")
    n = len(ours)
    change = ours.numerators - theirs.numerators
    wins, losses = int((change > 0).sum()), int((change < 0).sum())
    value = (wins - losses) / n
    stderr = math.sqrt(max((wins + losses) / n - value * value, 0.0) / n)
    return _estimate(value, n, stderr, curves.of_paired_shares(wins, losses, n))


def _by_signed_ranks(ours: Sample, theirs: Sample) -> Estimate:
    if not (np.all(ours.weights == 1) and np.all(theirs.weights == 1)):
        raise Unfit("Wilcoxon's test weighs every example the same, and this metric weighs them by their tokens")
    if ours.right_or_wrong() and theirs.right_or_wrong():
        raise Unfit("Wilcoxon's test ranks differences, and examples that are right or wrong have no ranks")
    curve = curves.of_signed_ranks(ours.numerators - theirs.numerators)
    low, middle, high = (float(curve[PROBABILITIES.index(p)]) for p in (0.025, 0.5, 0.975))
    return _estimate(middle, len(ours), (high - low) / (2 * 1.96), curve)


def _by_bootstrap(samples: Sequence[Sample], seed: Sequence[int], lowest: float, highest: float) -> Estimate:
    """The first sample's value, minus the second's when there are two; each resample draws the same examples for both."""
    n = len(samples[0])
    columns = [(sample.numerators, sample.weights) for sample in samples]
    transforms = [sample.transform for sample in samples]
    drawn = [studentised(columns, transforms, counts) for counts in resamples(n, seed)]
    value, stderr = float(drawn[0][0]), float(drawn[0][1])
    if not math.isfinite(value + stderr) or stderr <= _NO_SPREAD * max(1.0, abs(value)):
        return _estimate(value, n, 0.0, curves.of_no_spread(value, n, lowest, highest))
    resampled = np.concatenate([found for _, _, found in drawn], axis=-1)

    def statistic(weights: Array, best: bool) -> Array:
        sample, usual = samples[0], samples[0].weights.mean()
        of_unseen = (highest if best else lowest) * usual
        return weights @ np.append(sample.numerators, of_unseen) / (weights @ np.append(sample.weights, usual))

    bounded = len(samples) == 1 and math.isfinite(lowest) and math.isfinite(highest)
    curve = curves.of_resamples(
        drawn[0][0], drawn[0][1], resampled, n, _with_unseen(statistic, value, n, seed) if bounded else None
    )
    return _estimate(value, n, stderr, np.clip(curve, lowest, highest))


def _of_sums(samples: Sequence[Sums], seed: Sequence[int], lowest: float, highest: float) -> Estimate:
    """The first sample's metric, minus the second's when there are two."""
    n = len(samples[0])
    drawn = [sums.studentised(samples, counts) for counts in resamples(n, seed)]
    value, stderr = float(drawn[0][0]), float(drawn[0][1])
    if not math.isfinite(value + stderr) or stderr <= _NO_SPREAD_OF_SUMS * (highest - lowest):
        return _estimate(value, n, 0.0, curves.of_no_spread(value, n, lowest, highest))

    def statistic(weights: Array, best: bool) -> Array:
        return sums.with_unseen(samples, weights, best)

    bounded = all(sample.ends is not None for sample in samples)
    resampled = np.concatenate([found for _, _, found in drawn])
    curve = curves.of_resamples(
        drawn[0][0], drawn[0][1], resampled, n, _with_unseen(statistic, value, n, seed) if bounded else None
    )
    return _estimate(value, n, stderr, np.clip(curve, lowest, highest))


def _with_unseen(
    statistic: Callable[[Array, bool], Array], value: float, n: int, seed: Sequence[int]
) -> Callable[[], Array]:
    """The limits of a statistic of few examples that differ, worked out when they are asked for."""

    def limits() -> Array:
        drawn = [(statistic(weights, False), statistic(weights, True)) for weights in weightings(n + 1, seed)]
        with_worst, with_best = (np.concatenate(of) for of in zip(*drawn, strict=True))
        return curves.of_weightings(value, with_worst, with_best)

    return limits


def _of_confidences(sample: Confidences, seed: Sequence[int]) -> Estimate:
    """The usual estimate and limits above it; the limits below it are those of the careful one.

    The careful estimate's two halves lend each other their directions, so they may err together: its standard error is
    taken as if they did.
    """
    n = len(sample)
    usual, careful = (
        _by_bootstrap([Sample(sample.ids, gaps, np.ones(n))], seed, -1.0, 1.0)
        for gaps in (sample.gaps_by_example(), sample.gaps_without_noise(seed))
    )
    low = careful.value - math.sqrt(2) * (careful.value - np.array(careful.curve))
    half = len(PROBABILITIES) // 2
    curve = np.concatenate([np.minimum(low[:half], usual.value), usual.curve[half:]])
    return _estimate(usual.value, n, usual.stderr, np.clip(curve, sample.lowest, sample.highest))


def resamples(n: int, seed: Sequence[int], number: int | None = None) -> Iterator[Array]:
    """How often each of n examples is drawn in each resample, in blocks of resamples."""
    random = np.random.default_rng(list(seed))
    left = number or max(_FEWEST_RESAMPLES, min(RESAMPLES, _DRAWN // n))
    while left > 0:
        block = min(left, max(1, _BLOCK_CELLS // n))
        left -= block
        places = random.integers(0, n, (block, n)) + n * np.arange(block)[:, None]
        yield np.bincount(places.ravel(), minlength=block * n).reshape(block, n).astype(float)


def weightings(n: int, seed: Sequence[int]) -> Iterator[Array]:
    """Weights of n examples, n together, drawn alike from all that there are (a flat Dirichlet), in blocks."""
    random = np.random.default_rng([*seed, 1])
    left = max(_FEWEST_RESAMPLES, min(RESAMPLES, _DRAWN // n))
    while left > 0:
        block = min(left, max(1, _BLOCK_CELLS // n))
        left -= block
        drawn = random.standard_exponential((block, n))
        yield drawn * (n / drawn.sum(1, keepdims=True))


def studentised(
    columns: Sequence[tuple[Array, Array]], transforms: Sequence[Transform], counts: Array
) -> tuple[Array, Array, Array]:
    """The statistic, its standard error, and each resample's (statistic* - statistic) / standard error*.

    The statistic is the first ratio seen through its function, minus the second's. Examples lie along the last axis;
    what is before it is kept, so that many worlds are resampled at once. Standard errors are the delta method's.
    """
    ratios = [numerators.sum(-1) / weights.sum(-1) for numerators, weights in columns]
    centred = [
        part
        for (numerators, weights), ratio in zip(columns, ratios, strict=True)
        for part in (numerators - ratio[..., None] * weights, weights)
    ]  # centred, so that what is left of a constant metric is zero and not a rounding error
    with np.errstate(all="ignore"):
        value, stderr = _moments(centred, ratios, transforms, np.ones((1, counts.shape[-1])))
        values, stderrs = _moments(centred, ratios, transforms, counts)
        away = values - value
        found = np.where(stderrs > 0, away / stderrs, np.where(away == 0, 0.0, np.sign(away) * np.inf))
    return value[..., 0], stderr[..., 0], np.nan_to_num(np.clip(found, -FAR, FAR))


def _moments(
    centred: Sequence[Array], ratios: Sequence[Array], transforms: Sequence[Transform], counts: Array
) -> tuple[Array, Array]:
    """The statistic and its standard error under each row of counts."""
    n = counts.shape[-1]

    def weigh(part: Array) -> Array:
        return part @ counts.T

    value: Array = np.zeros(())
    slopes: list[Array] = []
    for place, (ratio, transform) in enumerate(zip(ratios, transforms, strict=True)):
        sign = 1.0 if place == 0 else -1.0
        total = weigh(centred[2 * place + 1])
        moved = weigh(centred[2 * place]) / total
        now = ratio[..., None] + moved
        value = value + sign * transform.of(now)
        slope = sign * transform.slope(now) / total
        slopes += [slope, -slope * moved]
    variance: Array = np.zeros(())
    for i, left in enumerate(centred):
        for j in range(i, len(centred)):
            twice = 1.0 if i == j else 2.0
            variance = variance + twice * slopes[i] * slopes[j] * weigh(left * centred[j])
    return value, np.sqrt(np.maximum(variance, 0.0) * (n / (n - 1)))


def _estimate(value: float, n: int, stderr: float, curve: Array) -> Estimate:
    return Estimate(value, n, stderr, tuple(float(bound) for bound in curve))
