"""Metrics that are a function of sums over examples and not a mean of them: BLEU, chrF, macro F1.

Each example adds a row of counts; the metric is a smooth function of the columns' sums. So it can be computed for any
resample without looking at a text again, and its standard error comes from the function's slopes (the delta method).
Not here: which functions (`corpus.py`, `labels.py`), and the shapes of curves (`curves.py`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from serin_evaluator.curves import FAR, Array

_STEP = 1e-4


@dataclass(frozen=True)
class Sums:
    """What each example adds to the sums, the function of the sums, and what each example scores alone."""

    ids: tuple[int, ...]
    rows: Array
    of: Callable[[Array], Array]
    """From sums along the last axis to the metric."""
    alone: Array
    lowest: float = 0.0
    highest: float = math.inf
    ends: tuple[Array, Array] | None = None
    """The rows of the worst and of the best example that could have been among them; None when these are not known."""

    def __len__(self) -> int:
        return len(self.ids)

    def value(self) -> float:
        """The metric over all examples."""
        return float(self.of(self.rows.sum(0)))

    def by_example(self) -> dict[int, float | None]:
        """The metric of each example alone."""
        return {one: float(v) for one, v in zip(self.ids, self.alone, strict=True)}

    def only(self, ids: set[int]) -> "Sums":
        """The same metric over some of the examples."""
        keep = np.array([one in ids for one in self.ids], dtype=bool)
        left = tuple(one for one in self.ids if one in ids)
        return replace(self, ids=left, rows=self.rows[keep], alone=self.alone[keep])

    def right_or_wrong(self) -> bool:
        """Never: an example alone says little of such a metric."""
        return False


def studentised(samples: Sequence[Sums], counts: Array) -> tuple[Array, Array, Array]:
    """The first sample's metric minus the second's, its standard error, and each resample's distance from it in
    standard errors of its own. `counts` says how often each example is drawn in each resample."""
    value, stderr = _moments(samples, np.ones((1, counts.shape[1])))
    values, stderrs = _moments(samples, counts)
    away = values - value
    with np.errstate(all="ignore"):
        found = np.where(stderrs > 0, away / stderrs, np.where(away == 0, 0.0, np.sign(away) * np.inf))
    return value[0], stderr[0], np.nan_to_num(np.clip(found, -FAR, FAR))


def with_unseen(samples: Sequence[Sums], weights: Array, best: bool) -> Array:
    """The first sample's metric minus the second's under weights of the examples and, last, of one that was not seen: the
    best for the first sample and the worst for the second, or the other way round."""
    value = np.zeros(len(weights))
    for place, sample in enumerate(samples):
        assert sample.ends is not None
        rows = np.vstack([sample.rows, sample.ends[int(best != bool(place))]])
        value += (-1.0 if place else 1.0) * sample.of(weights @ rows)
    return value


def _moments(samples: Sequence[Sums], counts: Array) -> tuple[Array, Array]:
    """The statistic and its standard error under each row of counts."""
    n = counts.shape[1]
    value, influence = np.zeros(len(counts)), np.zeros(counts.shape)
    for sign, sample in zip((1.0, -1.0), samples, strict=False):
        totals = counts @ sample.rows
        slopes = _slopes(sample.of, totals)
        value = value + sign * sample.of(totals)
        influence += sign * (slopes @ sample.rows.T - (slopes * totals).sum(1, keepdims=True) / n)
    variance = (counts * influence**2).sum(1) * (n / (n - 1))
    return value, np.sqrt(variance)


def _slopes(of: Callable[[Array], Array], totals: Array) -> Array:
    """The function's partial derivatives. A count of zero stays zero in this: what was never seen has no slope."""
    slopes = np.zeros_like(totals)
    for column in range(totals.shape[1]):
        step = _STEP * np.abs(totals[:, column])
        above, below = totals.copy(), totals.copy()
        above[:, column] += step
        below[:, column] -= step
        change = of(above) - of(below)
        slopes[:, column] = np.divide(change, 2 * step, out=np.zeros_like(step), where=step > 0)
    return slopes
