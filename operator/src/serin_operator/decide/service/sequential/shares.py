"""Which of two arms has the larger share of successes: a confidence sequence for the difference.

The bets of `errors.py` are made for failures that multiply; what a business counts moves by a few points. Here the
difference of two observed shares is held against its own standard error, and the bound is the normal mixture of `rule.py`,
which holds at every look at once. So whoever declares a winner as soon as 0 is outside of it is wrong in `level` of the
experiments without a difference, however often they looked.

Two things it rests on. That shares of successes are sums of many outcomes, so that the normal law holds: hence a least
number of outcomes, and `tests/unit/sequential/test_shares.py` counts false winners down to shares of 1 percent. And that
outcomes are independent: a few users who say something each minute are fewer than they seem.

Both shares may drift together, as days do: with fixed shares of the users both arms see the same days.
"""

import math
from dataclasses import dataclass
from typing import Final

from serin_operator.decide.service.sequential.rule import bound

SHARPEST: Final = 3.0
"""The bound is sharpest when the difference that matters is about so many standard errors."""

FEWEST: Final = 20
"""Of what is rarer."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Of one arm, since the experiment began."""

    count: float
    successes: float

    @property
    def share(self) -> float:
        return self.successes / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True)
class Interval:
    """The difference, and where it lies. Shares are of 1."""

    difference: float
    low: float
    high: float


def difference(ours: Outcomes, theirs: Outcomes, matters: float, level: float) -> Interval | None:
    """Of our share less theirs; None while an arm has no outcome. `matters` is the smallest difference that counts."""
    if not (ours.count and theirs.count):
        return None
    found = ours.share - theirs.share
    width = bound(1 / _variance(ours, theirs), level, tightest=_tightest(matters))
    return Interval(found, max(found - width, -1.0), min(found + width, 1.0))


def enough(ours: Outcomes, theirs: Outcomes) -> bool:
    """Of what is rarer, success or failure, so many are to be expected on either arm that the normal law holds."""
    both = Outcomes(ours.count + theirs.count, ours.successes + theirs.successes)
    return min(ours.count, theirs.count) * min(both.share, 1 - both.share) >= FEWEST


def _variance(ours: Outcomes, theirs: Outcomes) -> float:
    """Of the difference, by the share of both together: an arm that has no success by chance must not seem certain of it.
    One success and one failure are added."""
    likely = (ours.successes + theirs.successes + 1) / (ours.count + theirs.count + 2)
    return likely * (1 - likely) * (1 / ours.count + 1 / theirs.count)


def _tightest(matters: float) -> float:
    """For `bound`, which is sharpest at about nine times this information."""
    return (SHARPEST / matters) ** 2 / 9


def needed(ours: Outcomes, theirs: Outcomes, matters: float, level: float) -> float:
    """So many outcomes of both arms together, shared out as they are now, would show that no difference matters if there is
    none at all. For people: an estimate."""
    of_one = _variance(ours, theirs) * (ours.count + theirs.count)
    low, high = 1.0, 1e12
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        wide = bound(middle / of_one, level, tightest=_tightest(matters)) > matters
        low, high = (middle, high) if wide else (low, middle)
    return high
