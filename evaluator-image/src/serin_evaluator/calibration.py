"""Calibration error: how far a model's confidence is from how often it is right.

The usual estimate puts examples into bins and adds up the bins' gaps. Noise makes every gap larger, never smaller, so
the estimate lies above the truth, most of all in small samples: a perfectly calibrated model shows 0.08 on 200 examples.
As an upper limit that errs to the safe side; as a lower limit it would condemn good models. So the lower half of the
curve is another estimate, which lies below the truth: each example is counted by the direction that its bin has in the
*other* half of the examples. Not here: where confidences come from (`labels.py`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from serin_evaluator.curves import Array

BINS: Final = 15
Binning = Callable[[Array], Array]


def by_width(confidence: Array, bins: int = BINS) -> Array:
    """The bin of each confidence: bins of equal width, each with its upper end (Guo et al. 2017)."""
    return np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)


def by_count(confidence: Array, bins: int = BINS) -> Array:
    """Bins that hold as many examples each (adaptive calibration error); equal confidences stay together."""
    order = np.sort(confidence)
    ends = (
        order[[min(len(order) - 1, round(len(order) * part / bins)) for part in range(1, bins)]] if len(order) else []
    )
    return np.searchsorted(np.unique(ends), confidence, side="right")


@dataclass(frozen=True)
class Confidences:
    """Each example's confidence and whether it was right."""

    ids: tuple[int, ...]
    confidence: Array
    right: Array
    binning: Binning = by_width
    lowest: float = 0.0
    highest: float = 1.0

    def __len__(self) -> int:
        return len(self.ids)

    def value(self) -> float:
        """The usual estimate: the bins' gaps, weighed by how many examples they hold."""
        return float(np.mean(self.gaps_by_example())) if self.ids else math.nan

    def by_example(self) -> dict[int, float | None]:
        """How far each example's confidence is from the truth."""
        away = np.abs(self.confidence - self.right)
        return {one: float(v) for one, v in zip(self.ids, away, strict=True)}

    def only(self, ids: set[int]) -> "Confidences":
        """The same over some of the examples."""
        keep = np.array([one in ids for one in self.ids], dtype=bool)
        left = tuple(one for one in self.ids if one in ids)
        return Confidences(left, self.confidence[keep], self.right[keep], self.binning)

    def right_or_wrong(self) -> bool:
        """Never: calibration is a property of many examples."""
        return False

    def gaps_by_example(self) -> Array:
        """What each example adds to the usual estimate: its own gap, in its bin's direction."""
        bins = self.binning(self.confidence)
        gap = self.confidence - self.right
        return gap * _directions(bins, gap, bins)

    def gaps_without_noise(self, seed: Sequence[int]) -> Array:
        """What each example adds to the careful estimate: its own gap, in the direction that its bin has among
        examples of the other half."""
        bins = self.binning(self.confidence)
        gap = self.confidence - self.right
        half = np.random.default_rng(list(seed)).permutation(len(self)) % 2 == 0
        found = np.zeros(len(self))
        for ours in (half, ~half):
            found[ours] = gap[ours] * _directions(bins[~ours], gap[~ours], bins[ours])
        return found

    def diagram(self) -> list[dict[str, float]]:
        """The reliability diagram: for each bin that holds examples, how sure the model was and how often right."""
        bins = self.binning(self.confidence)
        return [
            {
                "n": int((bins == one).sum()),
                "confidence": float(self.confidence[bins == one].mean()),
                "accuracy": float(self.right[bins == one].mean()),
            }
            for one in np.unique(bins)
        ]


def _directions(bins: Array, gaps: Array, asked: Array) -> Array:
    """Whether the asked bins are too sure (+1) or too modest (-1) by these gaps; 0 where there is nothing to tell by."""
    size = int(max(bins.max(initial=0), asked.max(initial=0))) + 1
    return np.sign(np.bincount(bins, weights=gaps, minlength=size))[asked]
