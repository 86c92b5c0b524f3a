"""Questions for raw samples of counters, as comparisons, experiments and the rule for most requests put them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from serin_operator.decide.service import slos

LOOKBACK: Final = 300
"""Seconds before what was read already, in which the last sample before it must be found: a few scrapes."""
CATCH_UP: Final = 600
"""Seconds of samples that one look reads at most."""


class Role(StrEnum):
    """What the samples of a question are to a comparison."""

    CANDIDATE = "candidate"
    CANDIDATE_FAILURES = "candidate-failures"
    STABLE = "stable"
    STABLE_FAILURES = "stable-failures"
    PAST = "past"


@dataclass(frozen=True, slots=True)
class Ask:
    """One question for raw samples, evaluated at `moment` of the source's clock, or now."""

    about: str
    role: str
    source: str
    query: str | slos.Unusable
    moment: float | None = None
