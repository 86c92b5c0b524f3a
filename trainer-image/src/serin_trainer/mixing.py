"""How many rows of each source are trained on, where the wish gives them weights.

Weights are shares of the training rows, after cleaning and splitting; validation and test stay as the rows are.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .errors import DataError
from .rows import Row

Mixing = Literal["Subsample", "Repeat"]


@dataclass(frozen=True)
class Mixture:
    """Indices into the training rows, and for each source how many there were and how many are used."""

    order: list[int]
    available: dict[str, int]
    used: dict[str, int]


def mix(rows: Sequence[Row], weights: Mapping[str, int], mixing: Mixing, seed: int) -> Mixture:
    """Rows of each source by its weight in percent.

    Subsample leaves rows out until the shares are right, and never takes one twice; Repeat takes every row at least
    once, and those of sources that are too small again and again.
    """
    by_source: dict[str, list[int]] = {name: [] for name in weights}
    for index, row in enumerate(rows):
        by_source[row.source].append(index)
    for name, indices in by_source.items():
        if not indices:
            raise DataError(
                "TooFewRows",
                f"data.train[{name}] is to be {weights[name]} percent of training, but no row of it is left",
                "the report says why its rows were dropped; mend the file or take the source out of data.train",
            )
    totals = [100 * len(indices) / weights[name] for name, indices in by_source.items()]
    total = min(totals) if mixing == "Subsample" else max(totals)
    used = {name: max(1, round(total * weight / 100)) for name, weight in weights.items()}
    order = [index for name, indices in by_source.items() for index in _take(indices, used[name], f"{seed}/{name}")]
    available = {name: len(indices) for name, indices in by_source.items()}
    return Mixture(sorted(order), available, used)


def describe(mixture: Mixture, weights: Mapping[str, int]) -> str:
    """What the weights came to, in words."""
    parts = [
        f"{weights[name]} percent {name} ({used:,} of {mixture.available[name]:,} rows"
        + (f", each about {used / mixture.available[name]:.1f} times)" if used > mixture.available[name] else ")")
        for name, used in mixture.used.items()
    ]
    return ", ".join(parts)


def _take(indices: list[int], wanted: int, seed: str) -> list[int]:
    """So many of them: all, as often as it takes, and a random rest."""
    times, rest = divmod(wanted, len(indices))
    return indices * times + random.Random(seed).sample(indices, rest)
