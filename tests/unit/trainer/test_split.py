"""The split is by seed, whole, disjoint, and never leaves a wished-for part empty."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serin_trainer.errors import DataError
from serin_trainer.split import MINIMUM_ROWS, split_indices


@given(
    count=st.integers(MINIMUM_ROWS, 500),
    percents=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    seed=st.integers(0, 2**32),
)
def test_every_row_is_in_exactly_one_part(count: int, percents: tuple[int, int], seed: int) -> None:
    validation, test = percents
    parts = split_indices(count, (100 - validation - test, validation, test), seed)
    assert sorted(parts[0] + parts[1] + parts[2]) == list(range(count))
    assert bool(parts[1]) == (validation > 0)
    assert bool(parts[2]) == (test > 0)
    assert parts[0]


def test_the_same_seed_gives_the_same_parts_and_another_does_not() -> None:
    assert split_indices(100, (80, 10, 10), 7) == split_indices(100, (80, 10, 10), 7)
    assert split_indices(100, (80, 10, 10), 7) != split_indices(100, (80, 10, 10), 8)


def test_shares_are_the_asked_for_percents() -> None:
    assert [len(part) for part in split_indices(1000, (80, 15, 5), 7)] == [800, 150, 50]


def test_too_few_rows_are_refused_with_both_numbers() -> None:
    with pytest.raises(DataError, match=r"9 usable rows .* at least 10") as refusal:
        split_indices(9, (80, 10, 10), 7)
    assert refusal.value.reason == "TooFewRows"


def test_a_split_that_leaves_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(DataError, match="no row of 10 is left"):
        split_indices(10, (1, 50, 49), 7)
