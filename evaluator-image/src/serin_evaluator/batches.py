"""Batches of rows of like length, padded on the left, so that little is computed in vain.

The batches depend on nothing but the rows, so the same rows give the same numbers. Not here: the model.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch

MOST_ROWS = 32
MOST_TOKENS = 8192


def length_sorted(lengths: Mapping[int, int], most_rows: int = MOST_ROWS, room: int = 0) -> Iterator[list[int]]:
    """Ids in batches, the longest first (so that what does not fit in memory fails early).

    `room` is what each row may still grow by.
    """
    batch: list[int] = []
    for one in sorted(lengths, key=lambda one: (-lengths[one], one)):
        widest = lengths[batch[0]] if batch else lengths[one]
        if batch and (len(batch) >= min(most_rows, MOST_ROWS) or (len(batch) + 1) * (widest + room) > MOST_TOKENS):
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


def left_padded(rows: Sequence[Sequence[int]], device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows as one tensor, each ending at the right edge, and the mask of what is not padding."""
    width = max(len(row) for row in rows)
    tokens = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for index, row in enumerate(rows):
        tokens[index, width - len(row) :] = torch.tensor(row, dtype=torch.long)
        mask[index, width - len(row) :] = 1
    return tokens.to(device), mask.to(device)
