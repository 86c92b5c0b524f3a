"""What is asked of a comparison, what it answers, and arithmetic on evidence."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from serin_operator.api.v1alpha1 import Verdict


@dataclass(frozen=True, slots=True)
class Rule:
    """How much worse is too much, and how sure one must be. Shares are of 1, not percent."""

    max_increase_percent: float = 20.0
    """Of what the stable has: 20 tolerates 1.2 times as much."""
    max_increase_share: float = 0.0
    """For errors, on top of that: 0.005 tolerates half a percent of the requests more. Few errors need it to ever pass."""
    level: float = 0.01
    """At most this share of the candidates that are no worse than the stable is failed."""
    tolerance_level: float = 0.2
    """At most this share of those that are worse but within the tolerance is failed."""
    warm_up_seconds: float = 60.0
    """What happens in this time after the start is not judged: caches are cold."""

    def __post_init__(self) -> None:
        if not (
            self.max_increase_percent >= 0 <= self.max_increase_share < 1
            and self.max_increase_percent + self.max_increase_share > 0
            and 0 < self.level < 1
            and 0 < self.tolerance_level < 1
        ):
            raise ValueError(f"a comparison needs a tolerance above 0 and levels between 0 and 1: {self}")

    @property
    def confidence(self) -> str:
        """For people: `99 %`, `99.83 %`."""
        return f"{100 * (1 - self.level):.4g} %"

    @property
    def tolerated(self) -> float:
        """The largest ratio of candidate to stable that is tolerable."""
        return 1 + self.max_increase_percent / 100


@dataclass(frozen=True, slots=True)
class Evidence:
    """Natural logarithms of three e-processes. The larger, the stronger the data speaks against the named hypothesis."""

    no_worse: float
    """Against "the candidate is not worse than the stable"."""
    tolerable: float
    """Against "the candidate is worse by at most the tolerance"."""
    intolerable: float
    """Against "the candidate is worse by the tolerance or more"."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict in one sentence with its numbers."""

    verdict: Verdict
    message: str


def verdict(rule: Rule, evidence: Evidence) -> Verdict:
    """Failed, Passed, or not known yet."""
    worse = evidence.no_worse >= -math.log(rule.level)
    if worse and evidence.tolerable >= -math.log(rule.tolerance_level):
        return Verdict.FAILED
    if evidence.intolerable >= -math.log(rule.level):
        return Verdict.PASSED
    return Verdict.INCONCLUSIVE


def log_sum(values: Iterable[float]) -> float:
    """log(sum(exp(v))) without overflow."""
    found = tuple(values)
    top = max(found)
    return top + math.log(sum(math.exp(value - top) for value in found))


def log_mean(values: Sequence[float]) -> float:
    """log(mean(exp(v))): a mixture with equal weights is as good a bet as its parts."""
    return log_sum(values) - math.log(len(values))


TIGHTEST: Final = 20.0  # a standard error of 0.22 on the log scale, a quarter up or down


def bound(information: float, level: float, tightest: float = TIGHTEST) -> float:
    """Half the width of a two-sided confidence sequence for a normal mean known with `information` (1 / variance).

    The normal mixture of Robbins, in the form of Howard, Ramdas, McAuliffe, Sekhon (Ann. Stat. 2021, arXiv 1810.08240),
    eq. 14, tuned to be tightest near `tightest`.
    """
    if information <= 0:
        return math.inf
    total = information + tightest
    return math.sqrt(total * (math.log(total / tightest) - 2 * math.log(level))) / information
