"""Sources are trained on in the shares that their weights say."""

from collections import Counter

import pytest
from serin_trainer.errors import DataError
from serin_trainer.mixing import Mixing, describe, mix
from serin_trainer.rows import Row


def rows(**counts: int) -> list[Row]:
    return [
        Row("text", {"text": f"{name} {number}"}, f"{name}:{number}", source=name)
        for name, count in counts.items()
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("counts", "mixing", "used"),
    [
        pytest.param((850, 10_000), "Subsample", (850, 150), id="of a large second source a part is taken"),
        pytest.param((8_500, 15), "Subsample", (85, 15), id="a small second source bounds the first"),
        pytest.param((8_500, 15), "Repeat", (8_500, 1_500), id="or is repeated"),
        pytest.param((850, 150), "Repeat", (850, 150), id="shares that are right already"),
    ],
)
def test_the_shares_are_the_weights(counts: tuple[int, int], mixing: Mixing, used: tuple[int, int]) -> None:
    given = rows(tickets=counts[0], general=counts[1])
    mixture = mix(given, {"tickets": 85, "general": 15}, mixing, 7)
    seen = Counter(given[index].source for index in mixture.order)
    assert (seen["tickets"], seen["general"]) == used == tuple(mixture.used.values())
    assert tuple(mixture.available.values()) == counts


def test_subsampling_takes_no_row_twice_and_repeating_leaves_none_out() -> None:
    given = rows(tickets=100, general=7)
    weights = {"tickets": 50, "general": 50}
    once = mix(given, weights, "Subsample", 7).order
    assert len(set(once)) == len(once) == 14
    again = Counter(mix(given, weights, "Repeat", 7).order)
    assert len(again) == 107
    assert {count for index, count in again.items() if index >= 100} == {14, 15}


def test_the_seed_chooses_the_rows() -> None:
    given = rows(tickets=100, general=50)
    weights = {"tickets": 90, "general": 10}
    assert mix(given, weights, "Subsample", 7) == mix(given, weights, "Subsample", 7)
    assert mix(given, weights, "Subsample", 7).order != mix(given, weights, "Subsample", 8).order


def test_a_source_without_rows_is_named() -> None:
    with pytest.raises(DataError, match=r"data\.train\[general\] is to be 15 percent"):
        mix(rows(tickets=10), {"tickets": 85, "general": 15}, "Repeat", 7)


def test_the_mixture_is_told_in_words() -> None:
    weights = {"tickets": 50, "general": 50}
    said = describe(mix(rows(tickets=100, general=40), weights, "Repeat", 7), weights)
    assert said == "50 percent tickets (100 of 100 rows), 50 percent general (100 of 40 rows, each about 2.5 times)"
