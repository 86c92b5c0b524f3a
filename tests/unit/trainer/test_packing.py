"""Rows are packed whole, into few sequences, and the beginning of each is known."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from serin_trainer.packing import groups, joined
from serin_trainer.tokens import Sequence

LIMIT = 64


@given(st.lists(st.integers(1, LIMIT), max_size=200))
@settings(deadline=None)
def test_every_row_is_in_one_sequence_that_holds_it(lengths: list[int]) -> None:
    found = groups(lengths, LIMIT)
    assert sorted(index for group in found for index in group) == list(range(len(lengths)))
    assert all(group and sum(lengths[index] for index in group) <= LIMIT for group in found)
    # No two sequences could be one: at most one is half empty.
    assert len(found) * LIMIT < 2 * sum(lengths) + LIMIT


def test_few_places_are_left_empty() -> None:
    chance = random.Random(7)
    lengths = [chance.randint(3, 200) for _ in range(2000)]
    assert sum(lengths) / (len(groups(lengths, 512)) * 512) > 0.99


def test_packing_many_rows_is_quick() -> None:
    import time

    chance = random.Random(7)
    lengths = [chance.randint(3, 2000) for _ in range(100_000)]
    started = time.process_time()
    groups(lengths, 4096)
    assert time.process_time() - started < 5


def row(*ids: int) -> Sequence:
    return Sequence(list(ids), [True] * len(ids))


def test_no_row_is_learned_from_the_one_before_it() -> None:
    one = joined([row(1, 2, 3), row(4, 5), row(6)])
    assert one.ids == [1, 2, 3, 4, 5, 6]
    assert one.starts == (0, 3, 5)
    assert one.counts == [False, True, True, False, True, False]
