"""Do the answers that the client saw come from the revisions in the shares that the route promised?

Pure. A share is a chance, so what is seen is compared by an exact binomial test; 0 and 100 percent have no tolerance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

from serin_demo import plan
from serin_demo.weights import Weight


@dataclass(frozen=True, slots=True)
class Share:
    """One step of the route, and what the client saw while it lasted."""

    percent: int
    requests: int
    candidate: int
    p_value: float

    @property
    def matches(self) -> bool:
        return self.p_value >= plan.SHARE_SIGNIFICANCE

    @property
    def seen_percent(self) -> float:
        return 100 * self.candidate / self.requests if self.requests else 0.0


def shares_by_step(
    weights: Sequence[Weight], requests: Sequence[dict[str, Any]], revision: str, end: float
) -> list[Share]:
    """One entry for each weight that lasted longer than the gateway needs to take it up."""
    found: list[Share] = []
    for number, weight in enumerate(weights):
        until = weights[number + 1].at if number + 1 < len(weights) else end
        inside = [one for one in requests if weight.at + plan.SETTLE_SECONDS <= one["at"] < until and one["revision"]]
        if not inside:
            continue
        hits = sum(one["revision"] == revision for one in inside)
        found.append(Share(weight.percent, len(inside), hits, p_value(hits, len(inside), weight.percent / 100)))
    return found


def p_value(hits: int, trials: int, chance: float) -> float:
    """How likely an outcome at least as odd as this one is, when the share is right (exact, two-sided)."""
    if chance in (0.0, 1.0):
        return 1.0 if hits == trials * chance else 0.0
    odds = [comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(trials + 1)]
    # Equal odds may differ in their last digits.
    return min(1.0, sum(one for one in odds if one <= odds[hits] * (1 + 1e-9)))


def failures(requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Requests that did not get an answer."""
    return [one for one in requests if one["status"] != 200]
