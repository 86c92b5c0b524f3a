"""Is a row that the gates measure with among those that are learned? Then the gate would measure memory.

The evaluation sets are read here and nothing of them is written: the account has counts, and the places of training
rows. Two rows are the same by the measure of `duplicates.py`; a text that is trained on whole is searched for an evaluation
row's word sequences instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from .cleaning import Cleaning
from .duplicates import Known, normalised
from .errors import DataError
from .reading import Source, documents
from .rows import Refusal, Row, from_document

WORDS = 8
# A text holds an evaluation row when it has this share of the row's sequences of eight words.
CONTAINED = 0.8
PLACES = 5

_WORD = re.compile(r"\w+")


@dataclass
class Overlap:
    """What one evaluation set and the training rows have in common."""

    name: str
    rows: int = 0
    shared: set[int] = field(default_factory=set)
    same_question: set[int] = field(default_factory=set)
    learned: list[Row] = field(default_factory=list)

    @property
    def percent(self) -> float:
        return 100 * len(self.shared) / self.rows if self.rows else 0.0


class EvaluationSet:
    """The rows of one gate's data set, to be found among training rows."""

    def __init__(self, name: str, rows: list[Row], similarity_percent: int) -> None:
        self._known = Known(similarity_percent)
        self._questions: dict[str, list[int]] = {}
        self._sequences: dict[str, list[int]] = {}
        self._sizes: list[int] = []
        self.found = Overlap(name, len(rows))
        for index, row in enumerate(rows):
            self._known.add(row)
            if row.asked():
                self._questions.setdefault(normalised(row.asked()), []).append(index)
            sequences = word_sequences(f"{row.asked()} {row.answered()}")
            self._sizes.append(len(sequences))
            for sequence in sequences:
                self._sequences.setdefault(sequence, []).append(index)

    def look_at(self, row: Row) -> bool:
        """Notes what a training row shares; True when it is the same as an evaluation row, or holds one."""
        self.found.same_question.update(self._questions.get(normalised(row.asked()), ()) if row.asked() else ())
        same = {match.index for match in self._known.matches(row)}
        if row.shape == "text":
            same |= self._held_by(row)
        self.found.shared |= same
        if same:
            self.found.learned.append(row)
        return bool(same)

    def _held_by(self, row: Row) -> set[int]:
        hits: dict[int, int] = {}
        for sequence in word_sequences(row.answered()):
            for index in self._sequences.get(sequence, ()):
                hits[index] = hits.get(index, 0) + 1
        return {index for index, count in hits.items() if count >= CONTAINED * self._sizes[index]}


def read_set(name: str, source: Source, similarity_percent: int) -> EvaluationSet:
    """The rows that can be compared; what is wrong with the others is evaluation's to say."""
    rows: list[Row] = []
    for number, document in documents(source):
        try:
            if isinstance(document, Refusal):
                raise document
            rows.append(from_document(document, f"{source.uri}:{number}"))
        except Refusal:
            continue
    return EvaluationSet(name, rows, similarity_percent)


def refuse(overlaps: Iterable[Overlap], max_percent: int) -> None:
    """An error when a set has more in common with training than it may."""
    for found in overlaps:
        if found.percent > max_percent:
            raise DataError(
                "DataOverlap",
                f"{len(found.shared)} of {found.rows} rows ({found.percent:.1f} percent) of the evaluation set"
                f" {found.name} are in the training data, at most {max_percent} percent may be; the first that trains on"
                f" one is {found.learned[0].place}",
                "take such rows out of the files, or set data.overlap.action to Drop and Prepare does it",
            )


def drop(overlaps: Iterable[Overlap], cleaning: Cleaning) -> set[str]:
    """Counts the training rows that are to go; returns their places."""
    gone: set[str] = set()
    for found in overlaps:
        for row in found.learned:
            if row.place not in gone:
                gone.add(row.place)
                cleaning.refuse(row, Refusal("InEvaluation", f"the evaluation set {found.name} has it"))
    return gone


def word_sequences(text: str) -> set[str]:
    words = _WORD.findall(normalised(text))
    return {" ".join(words[at : at + WORDS]) for at in range(len(words) - WORDS + 1)}
