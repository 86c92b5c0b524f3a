"""Prepared data on disk: token sequences laid end to end in safetensors, which is read by mapping and never unpickled.

Prepare writes them and Train reads them. The test rows lie in another folder, which training is never given.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import DataError
from .tokens import Sequence

if TYPE_CHECKING:
    import numpy

TRAIN, VALIDATION, TEST = "train.safetensors", "validation.safetensors", "test.jsonl"

# What torch's cross entropy passes over.
IGNORED = -100

# Rows of like length are looked for among this many batches: enough to find them, few enough that an epoch stays mixed.
POOL_BATCHES = 50


def write_sequences(path: Path, sequences: Iterable[Sequence]) -> list[int]:
    """Writes the sequences; returns their lengths."""
    import numpy
    from safetensors.numpy import save_file

    ids: list[int] = []
    counts: list[bool] = []
    ends: list[int] = [0]
    starts: list[int] = []
    for sequence in sequences:
        starts += [len(ids) + start for start in sequence.starts]
        ids += sequence.ids
        counts += sequence.counts
        ends.append(len(ids))
    tensors = {
        "ids": numpy.asarray(ids, dtype=numpy.int32),
        "counts": numpy.asarray(counts, dtype=numpy.uint8),
        "ends": numpy.asarray(ends, dtype=numpy.int64),
        "starts": numpy.asarray(starts, dtype=numpy.int64),
    }
    save_file(tensors, path)
    return [end - start for start, end in pairwise(ends)]


class Sequences:
    """The sequences of one file, as the trainer's data set."""

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise DataError(
                "DataDamaged", f"the prepared data {path.name} cannot be read: {error}", "prepare again"
            ) from error
        self._ids: numpy.ndarray[Any, Any] = tensors["ids"]
        self._counts: numpy.ndarray[Any, Any] = tensors["counts"]
        self._ends: numpy.ndarray[Any, Any] = tensors["ends"]
        self._starts: numpy.ndarray[Any, Any] = tensors["starts"]
        self.lengths: list[int] = (self._ends[1:] - self._ends[:-1]).tolist()

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def packed(self) -> bool:
        """True when a sequence may hold several rows that must not see each other."""
        return len(self._starts) > len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        start, end = int(self._ends[index]), int(self._ends[index + 1])
        low, high = self._starts.searchsorted([start, end])
        return {
            "ids": self._ids[start:end],
            "counts": self._counts[start:end],
            "starts": self._starts[low:high] - start,
        }


class InOrder:
    """A data set seen through a list of indices: all epochs of training, laid out in advance."""

    def __init__(self, sequences: Sequences, order: list[int]) -> None:
        self._sequences = sequences
        self._order = order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, position: int) -> dict[str, Any]:
        return self._sequences[self._order[position]]


def training_order(lengths: list[int], batch: int, steps: int, seed: int) -> list[int]:
    """Indices for `steps` batches: each epoch shuffled by its own seed, rows of like length together.

    The order depends on nothing but the arguments, so a resumed attempt goes on with exactly the rows that were next.
    Rows of like length share a batch since padding is computed like any token: on short, uneven rows it would be a
    third of the work. What does not fill a batch at the end of an epoch begins the next one.
    """
    order: list[int] = []
    left_over: list[int] = []
    epoch = 0
    while len(order) < steps * batch:
        chance = random.Random(f"{seed}/{epoch}")
        shuffled = list(range(len(lengths)))
        chance.shuffle(shuffled)
        groups, left_over = _groups([*left_over, *shuffled], lengths, batch)
        chance.shuffle(groups)
        order += [index for group in groups for index in group]
        epoch += 1
    return order[: steps * batch]


def _groups(indices: list[int], lengths: list[int], batch: int) -> tuple[list[list[int]], list[int]]:
    """Full batches of rows of like length, and the rows that fill none."""
    full = len(indices) - len(indices) % batch
    groups: list[list[int]] = []
    for start in range(0, full, batch * POOL_BATCHES):
        pool = indices[start : min(full, start + batch * POOL_BATCHES)]
        pool.sort(key=lambda index: lengths[index], reverse=True)
        groups += [pool[at : at + batch] for at in range(0, len(pool), batch)]
    return groups, indices[full:]


class Collator:
    """Sequences of a batch, padded to its longest.

    Where rows are packed, positions begin anew with every row and there is no attention mask: that is how transformers
    tells packed rows apart and keeps each to itself (masking_utils.find_packed_sequence_indices; flash attention takes
    the same positions). Padding is one more row.
    """

    def __init__(self, padding_id: int, packed: bool = False) -> None:
        self._padding_id = padding_id
        self._packed = packed

    def __call__(self, batch: list[dict[str, Any]]) -> dict[str, Any]:
        import torch

        longest = max(len(row["ids"]) for row in batch)
        ids = torch.full((len(batch), longest), self._padding_id, dtype=torch.long)
        labels = torch.full((len(batch), longest), IGNORED, dtype=torch.long)
        mask = torch.zeros((len(batch), longest), dtype=torch.long)
        positions = torch.zeros((len(batch), longest), dtype=torch.long)
        for number, row in enumerate(batch):
            length = len(row["ids"])
            values = torch.from_numpy(row["ids"].astype("int64"))
            ids[number, :length] = values
            mask[number, :length] = 1
            labels[number, :length] = torch.where(torch.from_numpy(row["counts"]).bool(), values, IGNORED)
            for start, end in pairwise([*row["starts"].tolist(), length, longest]):
                positions[number, start:end] = torch.arange(end - start)
        if self._packed:
            return {"input_ids": ids, "position_ids": positions, "labels": labels}
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}
