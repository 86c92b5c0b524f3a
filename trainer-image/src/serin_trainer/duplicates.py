"""Rows that were there before: identical ones, and ones whose question and answer are both nearly the same.

Candidates come from MinHash signatures (rensa); each is then compared by the exact Jaccard similarity of its character
5-grams, so that no row is called a duplicate by chance. Question and answer are compared apart: many questions about one
long passage, or one answer to many questions, are not duplicates.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .rows import Refusal, Row

GRAM = 5
PERMUTATIONS = 256
SEED = 7
# Of two rows that are just similar enough, this share is found; of more similar ones, more.
RECALL = 0.99
# Data made from a template are all a little alike. No row is compared with more than so many others.
MOST_CANDIDATES = 200

_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Match:
    """An earlier row that says the same, by its place in the order of adding."""

    index: int
    similarity: float


class Known:
    """The rows that were seen so far."""

    def __init__(self, similarity_percent: int) -> None:
        from rensa import RMinHashLSH

        self._threshold = similarity_percent / 100
        bands, rows = bands_and_rows(self._threshold)
        self._signature_size = bands * rows
        self._index = RMinHashLSH(threshold=self._threshold, num_perm=self._signature_size, num_bands=bands)
        self._rows: list[Row] = []
        self._signatures: list[Any] = []

    def __getitem__(self, index: int) -> Row:
        return self._rows[index]

    def similar(self, row: Row) -> Match | None:
        """The first row that is similar enough in what is asked and in what is answered."""
        return next(self.matches(row), None)

    def matches(self, row: Row) -> Iterator[Match]:
        """All such rows, the first to be added first."""
        asked, answered = grams(row.asked()), grams(row.answered())
        signature = self._sign(asked, answered)
        candidates = sorted(self._index.query(signature))[:MOST_CANDIDATES]
        for index in candidates:
            # The estimate is off by 0.1 in one comparison of a thousand; it only saves the exact one.
            if signature.jaccard(self._signatures[index]) < self._threshold - 0.1:
                continue
            other = self._rows[index]
            found = min(jaccard(asked, grams(other.asked())), jaccard(answered, grams(other.answered())))
            if found >= self._threshold:
                yield Match(index, found)

    def add(self, row: Row) -> None:
        index = len(self._rows)
        signature = self._sign(grams(row.asked()), grams(row.answered()))
        self._rows.append(row)
        self._signatures.append(signature)
        self._index.insert(index, signature)

    def _sign(self, asked: frozenset[str], answered: frozenset[str]) -> Any:
        from rensa import RMinHash

        signature = RMinHash(num_perm=self._signature_size, seed=SEED)
        signature.update([f"q{gram}" for gram in asked] + [f"a{gram}" for gram in answered])
        return signature


class Deduplicator:
    """Refuses a row that repeats one it let through before."""

    def __init__(self, near: bool, similarity_percent: int) -> None:
        self._near = near
        self._known: Known | None = Known(similarity_percent) if near else None
        self._identities: dict[bytes, str] = {}

    def check(self, row: Row) -> None:
        said = identity(row)
        before = self._identities.get(said)
        if before is not None:
            raise Refusal("Duplicate", f"identical to {before}")
        if self._known is not None:
            match = self._known.similar(row)
            if match is not None:
                percent = int(100 * match.similarity)
                raise Refusal("NearDuplicate", f"{percent} percent like {self._known[match.index].place}")
            self._known.add(row)
        self._identities[said] = row.place


def identity(row: Row) -> bytes:
    """What a row says, ignoring fields that the model never sees and space at the ends."""
    said: list[Any] = [row.shape]
    if row.shape == "messages":
        said += [
            [message["role"], message["content"].strip(), message.get("tool_calls")]
            for message in row.document["messages"]
        ]
    else:
        said += [row.document[name].strip() for name in row.shape.split("/")]
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).digest()


def normalised(text: str) -> str:
    """Text without what a copy changes by accident: case, width, spacing."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def grams(text: str) -> frozenset[str]:
    plain = normalised(text)
    if len(plain) <= GRAM:
        return frozenset([plain] if plain else [])
    return frozenset(plain[at : at + GRAM] for at in range(len(plain) - GRAM + 1))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """The share of all grams that both have; 1 for two empty texts."""
    if not one and not other:
        return 1.0
    return len(one & other) / len(one | other)


def bands_and_rows(threshold: float) -> tuple[int, int]:
    """The widest bands that still find the wished share of pairs: wide bands give few false candidates."""
    for rows in range(PERMUTATIONS // 2, 0, -1):
        bands = PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= RECALL:
            return bands, rows
    return PERMUTATIONS, 1
