"""Several rows in one sequence, so that little of a batch is padding.

Best fit decreasing: the longest row first, each into the fullest sequence that still has room. Rows stay whole, and where
each begins is kept: in training a row attends to nothing but itself (`data.py`, `Collator`).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence as SequenceOf

from .tokens import Sequence


def packed(rows: SequenceOf[Sequence], limit: int) -> list[Sequence]:
    """The rows in as few sequences of at most `limit` tokens as best fit finds."""
    return [joined([rows[index] for index in group]) for group in groups([len(row) for row in rows], limit)]


def groups(lengths: SequenceOf[int], limit: int) -> list[list[int]]:
    """Indices of the rows of each sequence."""
    found: list[list[int]] = []
    with_room: dict[int, list[int]] = {}  # sequences by the room that they have left
    rooms: list[int] = []  # the keys above, sorted
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        length = lengths[index]
        at = bisect_left(rooms, length)
        if at == len(rooms):
            number, room = len(found), limit
            found.append([])
        else:
            room = rooms[at]
            number = with_room[room].pop()
            if not with_room[room]:
                del with_room[room]
                rooms.pop(at)
        found[number].append(index)
        left = room - length
        if left > 0:
            if left not in with_room:
                with_room[left] = []
                insort(rooms, left)
            with_room[left].append(number)
    return found


def joined(rows: SequenceOf[Sequence]) -> Sequence:
    """Rows one after another. A row's first token follows from nothing, least of all from the row before it."""
    ids: list[int] = []
    counts: list[bool] = []
    starts: list[int] = []
    for row in rows:
        starts.append(len(ids))
        ids += row.ids
        counts += [False, *row.counts[1:]]
    return Sequence(ids, counts, tuple(starts))
