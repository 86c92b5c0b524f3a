"""What was read, what was left out and why: the account that the report and the result are made from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .rows import Drop, Refusal, Row

SAMPLES_PER_REASON = 5
EXCERPT = 160


@dataclass
class Cleaning:
    """Counts for each reason, with samples that name the line."""

    read: int = 0
    read_by_source: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    dropped_by_source: dict[str, Counter[str]] = field(default_factory=dict)
    samples: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    truncated: int = 0

    def saw(self, source: str) -> None:
        self.read += 1
        self.read_by_source[source] += 1

    def drop(self, reason: Drop, source: str, place: str, why: str, excerpt: str = "") -> None:
        self.dropped[reason] += 1
        self.dropped_by_source.setdefault(source, Counter())[reason] += 1
        samples = self.samples.setdefault(reason, [])
        if len(samples) < SAMPLES_PER_REASON:
            samples.append({"place": place, "why": why[:300], "text": excerpt[:EXCERPT]})

    def refuse(self, row: Row, refusal: Refusal) -> None:
        """A row that was read and is left out all the same."""
        self.drop(refusal.reason, f"{row.part}/{row.source}", row.place, refusal.why, excerpt(row))


def excerpt(row: Row) -> str:
    """The beginning of what a row says."""
    asked = row.asked()
    return (f"{asked[: EXCERPT // 2]} → {row.answered()}" if asked else row.answered())[:EXCERPT]


def shortened(document: Any) -> str:
    return str(document)[:EXCERPT]
