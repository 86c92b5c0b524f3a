"""The report of Prepare: everything that was counted, as one JSON document with a versioned schema.

The result for the operator is small and comes from the same numbers. How the report looks is `report_page.py`'s business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from .cleaning import Cleaning
from .config import PrepareConfig
from .estimate import Plan
from .mixing import Mixture
from .origins import UNREAD, Origin
from .overlap import PLACES, Overlap
from .result import Document
from .rows import Row
from .split import MISSING, field_of
from .tokens import Sequence

SCHEMA: Literal["serin.dev/prepare-report/v1"] = "serin.dev/prepare-report/v1"
BINS = 24
EXAMPLES = 3
MOST_VALUES = 50

PartName = Literal["train", "validation", "test"]
Encoded = tuple[Row, Sequence]


class SourceReport(Document):
    """One file."""

    part: PartName
    name: str
    uri: str
    files: int
    left_out: int  # objects beside them that are no files of rows
    size_bytes: int
    digest: str
    read: int
    dropped: dict[str, int]
    kept: int
    weight_percent: int | None
    available: int | None  # training rows of a weighted source, and how many of them are used
    used: int | None


class Sample(Document):
    place: str
    why: str
    text: str


class Dropped(Document):
    """One reason, how often, and some of the rows."""

    reason: str
    count: int
    samples: list[Sample]


class Histogram(Document):
    """Counts between edges: `counts[i]` values lie in [edges[i], edges[i + 1])."""

    edges: list[int]
    counts: list[int]


class PartReport(Document):
    """One part, in rows. Tokens that are learned are those that the loss counts on."""

    rows: int
    tokens: int
    learned_tokens: int
    p50: int
    p95: int
    max: int


class Packed(Document):
    """What packing made of the training rows."""

    sequences: int
    fill_percent: int


class Value(Document):
    """A value of the field that the split is stratified by."""

    value: str
    train: int
    validation: int
    test: int


class OverlapReport(Document):
    """What a gate's evaluation set shares with the rows that are learned. Its own rows are not shown."""

    name: str
    rows: int
    shared: int
    shared_percent: float
    same_question: int
    places: list[str]


class Example(Document):
    """A row as the model is shown it: pieces of text, and whether each is learned."""

    place: str
    pieces: list[tuple[str, bool]]


class RecipeKeyReport(Document):
    """A key of the recipe: what it set, or why it set nothing."""

    key: str
    field: str | None
    value: str | None
    why: str | None


class RecipeReport(Document):
    """What became of each key of `spec.configFrom`."""

    format: str
    source: str
    keys: list[RecipeKeyReport]
    unknown: list[str]


class PrepareReport(Document):
    schema_version: Literal["serin.dev/prepare-report/v1"] = SCHEMA
    namespace: str
    job: str
    key: str
    outcome: Literal["Succeeded", "Failed"]
    message: str
    advice: str
    config: dict[str, Any]
    read: int
    kept: int
    truncated: int
    formats: dict[str, int]
    sources: list[SourceReport]
    dropped: list[Dropped]
    parts: dict[PartName, PartReport]
    row_tokens: Histogram
    learned_tokens: Histogram
    packed: Packed | None
    values: list[Value]
    overlap: list[OverlapReport]
    examples: list[Example]
    plan: Plan | None
    recipe: RecipeReport | None


@dataclass
class Account:
    """What is known so far: a stage that fails reports this much."""

    config: PrepareConfig
    cleaning: Cleaning = field(default_factory=Cleaning)
    origins: dict[str, Origin] = field(default_factory=dict)
    parts: dict[PartName, list[Encoded]] = field(default_factory=dict)
    sequence_lengths: list[int] = field(default_factory=list)
    mixture: Mixture | None = None
    overlaps: list[Overlap] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    plan: Plan | None = None

    def report(self, outcome: Literal["Succeeded", "Failed"], message: str, advice: str = "") -> PrepareReport:
        config, cleaning = self.config, self.cleaning
        rows = [one for part in self.parts.values() for one in part]
        return PrepareReport(
            namespace=config.job.namespace,
            job=config.job.name,
            key=config.key,
            outcome=outcome,
            message=message,
            advice=advice,
            config=config.model_dump(by_alias=True, mode="json", exclude_none=True, exclude={"recipe"}),
            read=cleaning.read,
            kept=cleaning.read - sum(cleaning.dropped.values()),
            truncated=cleaning.truncated,
            formats=dict(sorted(cleaning.formats.items())),
            sources=self._sources(),
            dropped=[
                Dropped(reason=reason, count=count, samples=[Sample(**one) for one in cleaning.samples[reason]])
                for reason, count in cleaning.dropped.most_common()
            ],
            parts={name: _part([sequence for _row, sequence in part]) for name, part in self.parts.items()},
            row_tokens=histogram([len(sequence) for _row, sequence in rows]),
            learned_tokens=histogram([sum(sequence.counts) for _row, sequence in rows]),
            packed=self._packed(),
            values=self._values(),
            overlap=[_overlap(one) for one in self.overlaps],
            examples=self.examples,
            plan=self.plan,
            recipe=RecipeReport(**config.recipe.model_dump()) if config.recipe else None,
        )

    def _sources(self) -> list[SourceReport]:
        data, found = self.config.data, []
        files = [("train", data.train), ("validation", data.validation), ("test", data.test)]
        for part, sources in files:
            for source in sources:
                key = f"{part}/{source.name}"
                read, dropped = self.cleaning.read_by_source[key], self.cleaning.dropped_by_source.get(key, Counter())
                origin = self.origins.get(key, UNREAD)
                mixture = self.mixture if part == "train" else None
                found.append(
                    SourceReport(
                        part=part,
                        name=source.name,
                        uri=source.uri,
                        files=origin.files,
                        left_out=origin.left_out,
                        size_bytes=origin.size_bytes,
                        digest=origin.digest,
                        read=read,
                        dropped=dict(sorted(dropped.items())),
                        kept=read - sum(dropped.values()),
                        weight_percent=getattr(source, "weight_percent", None),
                        available=mixture.available[source.name] if mixture else None,
                        used=mixture.used[source.name] if mixture else None,
                    )
                )
        return found

    def _packed(self) -> Packed | None:
        if self.config.data.packing != "Isolated" or not self.sequence_lengths:
            return None
        room = len(self.sequence_lengths) * self.config.max_sequence_length
        return Packed(sequences=len(self.sequence_lengths), fill_percent=round(100 * sum(self.sequence_lengths) / room))

    def _values(self) -> list[Value]:
        split = self.config.data.split
        if split.strategy != "Stratified" or split.field is None:
            return []
        counts: dict[str, Counter[str]] = {}
        for name, part in self.parts.items():
            for row, _sequence in part:
                value = field_of(row, split.field)
                counts.setdefault(MISSING if value is None else str(value)[:100], Counter())[name] += 1
        largest = sorted(counts, key=lambda value: (-counts[value].total(), value))[:MOST_VALUES]
        return [
            Value(
                value=value,
                train=counts[value]["train"],
                validation=counts[value]["validation"],
                test=counts[value]["test"],
            )
            for value in largest
        ]


def histogram(values: SequenceOf[int]) -> Histogram:
    """At most so many bins of equal, whole width."""
    if not values:
        return Histogram(edges=[], counts=[])
    low, high = min(values), max(values)
    width = max(1, -(-(high - low + 1) // BINS))
    edges = list(range(low, high + width + 1, width))
    counts = [0] * (len(edges) - 1)
    for value in values:
        counts[(value - low) // width] += 1
    while counts and counts[-1] == 0:
        counts.pop()
        edges.pop()
    return Histogram(edges=edges, counts=counts)


def quantile(ordered: SequenceOf[int], share: float) -> int:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0


def example(tokenizer: Any, row: Row, sequence: Sequence) -> Example:
    """The row as text again, cut where learning begins and ends."""
    cuts = [0, *(at for at in range(1, len(sequence)) if sequence.counts[at] != sequence.counts[at - 1]), len(sequence)]
    pieces = [(tokenizer.decode(sequence.ids[low:high]), sequence.counts[low]) for low, high in pairwise(cuts)]
    return Example(place=row.place, pieces=pieces)


def _part(sequences: list[Sequence]) -> PartReport:
    ordered = sorted(len(sequence) for sequence in sequences)
    return PartReport(
        rows=len(ordered),
        tokens=sum(ordered),
        learned_tokens=sum(sum(sequence.counts) for sequence in sequences),
        p50=quantile(ordered, 0.50),
        p95=quantile(ordered, 0.95),
        max=ordered[-1] if ordered else 0,
    )


def _overlap(found: Overlap) -> OverlapReport:
    return OverlapReport(
        name=found.name,
        rows=found.rows,
        shared=len(found.shared),
        shared_percent=round(found.percent, 2),
        same_question=len(found.same_question),
        places=[row.place for row in found.learned[:PLACES]],
    )
