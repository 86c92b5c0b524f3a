"""The order of training rows: fixed by the seed, every row once an epoch, like lengths together."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from serin_trainer.data import training_order


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=200), batch=st.integers(1, 16), steps=st.integers(1, 40)
)
def test_it_is_as_long_as_asked_and_fixed_by_its_arguments(lengths: list[int], batch: int, steps: int) -> None:
    order = training_order(lengths, batch, steps, seed=7)
    assert len(order) == batch * steps
    assert order == training_order(lengths, batch, steps, seed=7)


@given(rows=st.integers(1, 100), batch=st.integers(1, 16))
def test_no_row_is_seen_twice_more_often_than_another(rows: int, batch: int) -> None:
    steps = 3 * rows // batch + 1
    seen = Counter(training_order([5] * rows, batch, steps, seed=1))
    assert max(seen.values()) - min(seen.get(row, 0) for row in range(rows)) <= 2


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    lengths = [(index * 37) % 101 + 1 for index in range(123)]
    assert training_order(lengths, 8, 50, seed=3)[:80] == training_order(lengths, 8, 10, seed=3)


def test_padding_is_a_small_part_of_the_work() -> None:
    lengths = [(index * 7919) % 250 + 5 for index in range(2000)]
    order = training_order(lengths, 16, 125, seed=7)
    batches = [[lengths[index] for index in order[at : at + 16]] for at in range(0, len(order), 16)]
    computed = sum(max(batch) * len(batch) for batch in batches)
    assert sum(map(sum, batches)) / computed > 0.9


def test_another_seed_is_another_order() -> None:
    lengths = list(range(1, 101))
    assert training_order(lengths, 8, 12, seed=1) != training_order(lengths, 8, 12, seed=2)
