"""Pairs of answers, the candidate's and another model's, that a judge or people choose from: what was said, counted.

A pair is worth 1 when the candidate's answer is preferred, 0 when the other one is, and one half when neither is. Answers that
are the same need nobody to choose. Not here: who chooses (`judging.py`, `preference.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from serin_evaluator.config import Role
from serin_evaluator.uncertainty import Sample

MOST_UNSAID: Final = 0.1
"""With more pairs without a verdict the rest may be another kind of pair, so there is no score."""


@dataclass(frozen=True)
class Pairs:
    """What became of all pairs of a suite."""

    against: Role
    by: str
    worth: Mapping[int, float]
    """By line; only pairs with a verdict."""
    pairs: int
    same: int
    reversed: int = 0
    """The verdict went with the place of the answers, not with the answers."""
    first: int = 0
    """Verdicts for the answer that was shown first."""
    second: int = 0
    unreadable: int = 0
    refused: int = 0
    waiting: int = 0
    """Pairs that nobody has chosen from yet."""
    rated_by_several: int = 0
    """Pairs that more than one person chose from."""
    agreement: float | None = None
    """Krippendorff's alpha over these (`agreement.py`); None where nobody could have disagreed."""
    notes: tuple[str, ...] = field(default=())

    @property
    def unsaid(self) -> int:
        return self.pairs - len(self.worth)

    @property
    def why_unscored(self) -> str:
        """Why there is no score; empty when there is one."""
        if not self.worth:
            return "no pair has a verdict"
        if self.unsaid > MOST_UNSAID * self.pairs and not self.waiting:
            return f"{self.unsaid} of {self.pairs} pairs have no verdict ({self.unreadable} unreadable, {self.refused} refused)"
        return ""

    def sample(self) -> Sample:
        """The win rate, ties counting half."""
        ids = tuple(sorted(self.worth))
        return Sample(ids, np.array([self.worth[one] for one in ids]), np.ones(len(ids)), lowest=0.0, highest=1.0)

    @property
    def first_share(self) -> float | None:
        """How often the answer that was shown first is chosen, among verdicts that choose: 0.5 is without bias."""
        chosen = self.first + self.second
        return self.first / chosen if chosen else None


def both_said(ours: Mapping[int, str], theirs: Mapping[int, str]) -> dict[int, tuple[str, str]]:
    """The answers of both models to the prompts that both could be given."""
    return {line: (ours[line], theirs[line]) for line in sorted(ours.keys() & theirs.keys())}
