"""Which rows are for training, for validation and for test: by seed, the same on every machine."""

from __future__ import annotations

import random

from .errors import DataError

MINIMUM_ROWS = 10


def split_indices(count: int, percents: tuple[int, int, int], seed: int) -> tuple[list[int], list[int], list[int]]:
    """Shares of 0..count-1 for train, validation and test. A share above 0 percent has at least one row."""
    if count < MINIMUM_ROWS:
        raise DataError(
            "TooFewRows",
            f"{count} usable rows are left after cleaning, at least {MINIMUM_ROWS} are needed",
            "add rows; the report says which were dropped and why",
        )
    order = list(range(count))
    random.Random(seed).shuffle(order)
    validation = _share(count, percents[1])
    test = _share(count, percents[2])
    train = count - validation - test
    if train < 1:
        raise DataError("TooFewRows", f"no row of {count} is left for training", "raise data.split.trainPercent")
    return sorted(order[:train]), sorted(order[train : train + validation]), sorted(order[train + validation :])


def _share(count: int, percent: int) -> int:
    return max(1, round(count * percent / 100)) if percent else 0
