"""What a measurement says about a claim: p-values for any bound or margin, read off the evaluator's confidence curve.

The curve is measured once; a changed threshold is another place on it. Not here: which claims are made (`gates.py`).
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Final

from serin_operator.api.contract import PROBABILITIES

_NORMAL: Final = NormalDist()
_Z: Final = tuple(_NORMAL.inv_cdf(p) for p in PROBABILITIES)
_MIDDLE: Final = PROBABILITIES.index(0.5)
_POWER: Final = _NORMAL.inv_cdf(0.8)
"""A sample size is named that settles the matter in four of five cases."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A value over n examples, its standard error, and its confidence curve."""

    value: float
    n: int
    stderr: float
    curve: tuple[float, ...]

    def p_above(self, claim: float) -> float:
        """How often a measurement would speak this strongly for "the truth lies above `claim`" when it does not."""
        return self._at(claim, bisect_right(self.curve, claim))

    def p_below(self, claim: float) -> float:
        """The same for "the truth lies below `claim`"."""
        return 1 - self._at(claim, bisect_left(self.curve, claim))

    def bounds(self, confidence_percent: int) -> tuple[float, float]:
        """The lower and the upper limit, each at this confidence by itself."""
        z = _NORMAL.inv_cdf(confidence_percent / 100)
        return self._quantile(-z), self._quantile(z)

    def examples_to_settle(self, claim: float, p: float) -> int | None:
        """How many examples would bring the p-value down to `p`, should the value stay; None when none would."""
        distance = abs(self.value - claim)
        if not 0 < p < 0.5 or distance <= 1e-12:
            return None
        wanted = self._without_spread(claim, p)
        if wanted is None and self.stderr > 0:
            wanted = self.n * ((_POWER - _NORMAL.inv_cdf(p)) * self.stderr / distance) ** 2
        if wanted is None or wanted > 1e9:
            return None
        return max(_rounded_up(wanted), self.n + max(1, self.n // 10))

    def _without_spread(self, claim: float, p: float) -> float | None:
        """When all examples agree, what matters is the share of others that may still be hidden: it is 1 - p^(1/n)."""
        end = self.curve[0] if claim < self.value else self.curve[-1]
        hidden_now = 1 - PROBABILITIES[0] ** (1 / self.n)
        worst = self.value + (end - self.value) / hidden_now
        if self.stderr > 0 or worst == self.value:
            return None
        share = (claim - self.value) / (worst - self.value)
        return math.log(p) / math.log1p(-share) if 0 < share < 1 else None

    def _at(self, claim: float, place: int) -> float:
        """The confidence that the truth lies at or below the claim; `place` is how many bounds lie before it."""
        if place == 0:
            return self._beyond(PROBABILITIES[0], _Z[0], -1, self._steepness(0, 1), self.curve[0] - claim)
        if place == len(self.curve):
            return self._beyond(PROBABILITIES[-1], _Z[-1], 1, self._steepness(-2, -1), claim - self.curve[-1])
        low, high = self.curve[place - 1], self.curve[place]
        share = (claim - low) / (high - low) if high > low else 0.0
        return _NORMAL.cdf(_Z[place - 1] + share * (_Z[place] - _Z[place - 1]))

    def _beyond(self, outermost: float, z: float, side: int, steepness: float, distance: float) -> float:
        """At an end and beyond it: without any spread up to the middle it is certain, one way or the other."""
        if math.isinf(steepness):
            return 0.0 if side < 0 else 1.0
        return _NORMAL.cdf(z + side * steepness * distance) if distance > 0 else outermost

    def _steepness(self, first: int, second: int) -> float:
        """Beyond its ends the curve goes on as a normal one, no steeper than it is there or on the whole."""
        outer = _Z[0] if first == 0 else _Z[-1]
        end = self.curve[0] if first == 0 else self.curve[-1]
        near = _slope(self.curve[first], self.curve[second], _Z[second] - _Z[first])
        whole = _slope(min(end, self.curve[_MIDDLE]), max(end, self.curve[_MIDDLE]), abs(outer))
        return min(near, whole)

    def _quantile(self, z: float) -> float:
        for (left, right), (low, high) in zip(pairwise(_Z), pairwise(self.curve), strict=True):
            if left <= z <= right:
                return low + (z - left) / (right - left) * (high - low)
        return self.curve[0] if z < 0 else self.curve[-1]


def evidence(value: float | None, n: int, stderr: float | None, curve: Sequence[float | None]) -> Evidence | None:
    """Evidence, when the numbers are whole: none is missing, infinite or out of order."""
    numbers = [number for number in (value, stderr, *curve) if number is not None and math.isfinite(number)]
    bounds = tuple(numbers[2:])
    if len(numbers) != len(PROBABILITIES) + 2 or n < 1 or any(left > right for left, right in pairwise(bounds)):
        return None
    return Evidence(numbers[0], n, numbers[1], bounds)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted for how many there are (Holm 1979): the chance of even one wrong claim among them stays as promised."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def _slope(low: float, high: float, z: float) -> float:
    return z / (high - low) if high > low else math.inf


def _rounded_up(number: float) -> int:
    """To two digits: more would promise too much."""
    step = 10 ** max(0, math.floor(math.log10(max(number, 1))) - 1)
    return math.ceil(number / step) * step
