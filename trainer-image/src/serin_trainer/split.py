"""Which rows are for training, for validation and for test: the same on every machine.

Every strategy gives the parts of one list of rows as indices; files that are parts already (Provided) never come here.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from .config import Split
from .errors import DataError
from .rows import Refusal, Row

MINIMUM_ROWS = 10
MISSING = "(missing)"

# Numbers above it are milliseconds since 1970: in seconds they would lie after the year 5000.
MILLISECONDS = 1e11


@dataclass(frozen=True)
class Parts:
    """Indices of the rows of each part, in the rows' own order."""

    train: list[int]
    validation: list[int]
    test: list[int]


def split_rows(rows: Sequence[Row], split: Split) -> Parts:
    """The parts that the strategy makes. A share above 0 percent has at least one row."""
    if len(rows) < MINIMUM_ROWS:
        raise DataError(
            "TooFewRows",
            f"{len(rows)} usable rows are left after cleaning, at least {MINIMUM_ROWS} are needed",
            "add rows; the report says which were dropped and why",
        )
    if split.strategy == "Stratified":
        parts = _stratified(rows, split)
    elif split.strategy == "Temporal":
        parts = _temporal(rows, split)
    else:
        parts = _cut(_shuffled(range(len(rows)), split.seed), split)
    if not parts.train:
        raise DataError("TooFewRows", f"no row of {len(rows)} is left for training", "raise data.split.trainPercent")
    return parts


def check_minimums(validation: int, test: int, kept: int, split: Split) -> None:
    """A part that is too small to tell anything is an error, unless the wish says so; the fix is in the advice."""
    for part, rows, percent, minimum in (
        ("validation", validation, split.validation_percent, split.min_validation_rows),
        ("test", test, split.test_percent, split.min_test_rows),
    ):
        provided = split.strategy == "Provided"
        if rows >= minimum or (percent == 0 and not provided):
            continue
        field = f"data.split.min{part.capitalize()}Rows"
        needed = math.ceil(100 * minimum / max(1, kept))
        more = (
            f"add rows to data.{part}"
            if provided
            else f"add rows, raise data.split.{part}Percent to {needed}"
            if needed < 50
            else f"add rows (at {percent} percent, {math.ceil(100 * minimum / percent):,} are needed)"
        )
        raise DataError(
            "TooFewRows",
            f"the {part} part would have {rows} rows, at least {minimum} are asked for ({field})",
            f"{more}, or set {field} to {rows} if so few shall do",
        )


def timestamp(value: Any) -> float:
    """Seconds since 1970 of an ISO 8601 text, a date, or a number of seconds or milliseconds."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value / 1000 if abs(value) > MILLISECONDS else float(value)
    if isinstance(value, str) and value.strip():
        text = value.strip()
        try:
            return timestamp(float(text))
        except ValueError:
            return timestamp(datetime.fromisoformat(text))
    raise ValueError(f"{value!r} is not a time")


def field_of(row: Row, path: str) -> Any:
    """A field of what the person wrote, by its name or its path (`meta.language`); None where it is not there."""
    if path in row.document:
        return row.document[path]
    value: Any = row.document
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return value


def check_timestamp(row: Row, field: str) -> None:
    """Refuses a row that cannot be placed in time."""
    value = field_of(row, field)
    if value is None:
        raise Refusal("NoTimestamp", f"{field} is missing")
    try:
        timestamp(value)
    except (ValueError, OverflowError) as error:
        raise Refusal("NoTimestamp", f"{field} is not a time: {str(value)[:60]}") from error


def _stratified(rows: Sequence[Row], split: Split) -> Parts:
    """Every value of the field has the same shares, as far as whole rows allow; what is rounded evens out over all."""
    assert split.field is not None
    strata: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        value = field_of(row, split.field)
        strata.setdefault(MISSING if value is None else str(value), []).append(index)
    if set(strata) == {MISSING}:
        raise DataError(
            "SplitFieldMissing",
            f"no row has the field {split.field}, by which data.split is Stratified",
            "name a field that the rows have in data.split.field",
        )
    # All strata one after another, each shuffled: every part takes every n-th row, so it takes its share of each.
    order = [index for value in sorted(strata) for index in _shuffled(strata[value], f"{split.seed}/{value}")]
    total = len(order)
    test = _every_nth(total, _share(total, split.test_percent))
    rest = [at for at in range(total) if at not in test]
    validation = {rest[at] for at in _every_nth(len(rest), _share(total, split.validation_percent))}
    train = [order[at] for at in rest if at not in validation]
    return Parts(sorted(train), sorted(order[at] for at in validation), sorted(order[at] for at in test))


def _every_nth(total: int, wanted: int) -> set[int]:
    """So many places, evenly spread over `total`."""
    return {(2 * number + 1) * total // (2 * wanted) for number in range(wanted)} if wanted else set()


def _temporal(rows: Sequence[Row], split: Split) -> Parts:
    """The oldest rows train, newer ones validate, the newest test: as it will be when the model is used."""
    assert split.field is not None
    times = [timestamp(field_of(row, split.field)) for row in rows]
    return _cut(sorted(range(len(rows)), key=lambda index: (times[index], index)), split)


def _cut(order: list[int], split: Split) -> Parts:
    validation = _share(len(order), split.validation_percent)
    test = _share(len(order), split.test_percent)
    train = max(0, len(order) - validation - test)
    return Parts(sorted(order[:train]), sorted(order[train : train + validation]), sorted(order[train + validation :]))


def _shuffled(indices: Sequence[int], seed: int | str) -> list[int]:
    order = list(indices)
    random.Random(seed).shuffle(order)
    return order


def _share(count: int, percent: int) -> int:
    return max(1, round(count * percent / 100)) if percent else 0
