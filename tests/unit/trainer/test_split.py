"""The split is by seed, whole, disjoint, and never leaves a wished-for part empty."""

from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serin_trainer.config import Split
from serin_trainer.errors import DataError
from serin_trainer.rows import Refusal, Row
from serin_trainer.split import MINIMUM_ROWS, Parts, check_minimums, check_timestamp, field_of, split_rows, timestamp


def a_split(validation: int = 10, test: int = 10, seed: int = 7, **more: Any) -> Split:
    given = {
        "strategy": "Random",
        "trainPercent": 100 - validation - test,
        "validationPercent": validation,
        "testPercent": test,
        "seed": seed,
        "minValidationRows": 100,
        "minTestRows": 100,
    }
    return Split.model_validate(given | more)


def rows(count: int, **fields: Any) -> list[Row]:
    """Rows whose fields are functions of their number."""
    return [
        Row("text", {"text": str(n), **{name: of(n) for name, of in fields.items()}}, f"f:{n}") for n in range(count)
    ]


def random_split(count: int, split: Split) -> Parts:
    return split_rows(rows(count), split)


@given(
    count=st.integers(MINIMUM_ROWS, 300),
    percents=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    seed=st.integers(0, 2**32),
    strategy=st.sampled_from(["Random", "Stratified", "Temporal"]),
)
@settings(deadline=None)
def test_every_row_is_in_exactly_one_part(count: int, percents: tuple[int, int], seed: int, strategy: str) -> None:
    validation, test = percents
    field = None if strategy == "Random" else "at"
    parts = split_rows(
        rows(count, at=lambda n: n * 7 % 11), a_split(validation, test, seed, strategy=strategy, field=field)
    )
    assert sorted(parts.train + parts.validation + parts.test) == list(range(count))
    assert len(parts.validation) == (max(1, round(count * validation / 100)) if validation else 0)
    assert len(parts.test) == (max(1, round(count * test / 100)) if test else 0)
    assert parts.train


def test_the_same_seed_gives_the_same_parts_and_another_does_not() -> None:
    assert random_split(100, a_split()) == random_split(100, a_split())
    assert random_split(100, a_split()) != random_split(100, a_split(seed=8))


@pytest.mark.parametrize(("validation", "test"), [(10, 10), (15, 15), (15, 5)])
def test_shares_are_the_asked_for_percents(validation: int, test: int) -> None:
    parts = random_split(1000, a_split(validation, test))
    assert (len(parts.validation), len(parts.test)) == (10 * validation, 10 * test)


def test_strata_have_the_same_shares_in_every_part() -> None:
    languages = ["en"] * 700 + ["de"] * 200 + ["fr"] * 100
    found = rows(1000, language=lambda n: languages[n])
    parts = split_rows(found, a_split(strategy="Stratified", field="language"))
    for part, share in ((parts.train, 0.8), (parts.validation, 0.1), (parts.test, 0.1)):
        seen = Counter(languages[index] for index in part)
        for language, count in Counter(languages).items():
            assert seen[language] == pytest.approx(share * count, abs=1.5)


def test_a_stratum_is_shuffled_before_it_is_cut() -> None:
    parts = split_rows(rows(100, kind=lambda n: n % 2), a_split(strategy="Stratified", field="kind"))
    assert parts.test != sorted(range(5, 100, 10))
    assert parts != split_rows(rows(100, kind=lambda n: n % 2), a_split(strategy="Stratified", field="kind", seed=8))


def test_rows_without_the_field_are_a_stratum_of_their_own_but_not_all_of_them_may_be() -> None:
    some = rows(100, meta=lambda n: {"language": "en"} if n < 50 else {})
    parts = split_rows(some, a_split(strategy="Stratified", field="meta.language"))
    assert sum(index >= 50 for index in parts.test) == 5
    with pytest.raises(DataError, match=r"no row has the field meta\.langage") as refusal:
        split_rows(some, a_split(strategy="Stratified", field="meta.langage"))
    assert refusal.value.reason == "SplitFieldMissing"


def test_in_time_the_newest_rows_are_for_the_test() -> None:
    found = rows(100, at=lambda n: f"2026-01-{1 + (n * 37) % 28:02}T00:00:{n % 60:02}Z")
    parts = split_rows(found, a_split(strategy="Temporal", field="at"))
    times = [timestamp(field_of(row, "at")) for row in found]
    assert max(times[n] for n in parts.train) <= min(times[n] for n in parts.validation)
    assert max(times[n] for n in parts.validation) <= min(times[n] for n in parts.test)
    assert len(parts.test) == 10


NEW_YEAR = 1767225600.0


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01",
        "2026-01-01T01:00:00+01:00",
        NEW_YEAR,
        1767225600000,
        "1767225600",
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1),
        date(2026, 1, 1),
    ],
)
def test_times_are_read_as_people_write_them(value: Any) -> None:
    assert timestamp(value) == NEW_YEAR


@pytest.mark.parametrize("value", ["yesterday", "", None, True, [], float("nan")])
def test_a_row_without_a_time_is_refused(value: Any) -> None:
    with pytest.raises(Refusal) as refusal:
        check_timestamp(Row("text", {"text": "a", "at": value}, "f:1"), "at")
    assert refusal.value.reason == "NoTimestamp"


def test_too_few_rows_are_refused_with_both_numbers() -> None:
    with pytest.raises(DataError, match=r"9 usable rows .* at least 10") as refusal:
        random_split(9, a_split())
    assert refusal.value.reason == "TooFewRows"


def test_a_split_that_leaves_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(DataError, match="no row of 10 is left"):
        random_split(10, a_split(50, 49))


@pytest.mark.parametrize(
    ("counts", "split", "said", "advice"),
    [
        pytest.param(
            (50, 50, 500), a_split(), "the validation part would have 50 rows, at least 100 are asked for",
            "raise data.split.validationPercent to 20, or set data.split.minValidationRows to 50", id="validation",
        ),
        pytest.param(
            (200, 99, 990), a_split(20, 10), "data.split.minTestRows", "raise data.split.testPercent to 11", id="test",
        ),
        pytest.param(
            (6, 100, 60), a_split(), "6 rows", "at 10 percent, 1,000 are needed", id="far too few",
        ),
        pytest.param(
            (100, 0, 900), a_split(strategy="Provided"), "the test part would have 0 rows",
            "add rows to data.test, or set data.split.minTestRows to 0", id="provided",
        ),
    ],
)  # fmt: skip
def test_parts_that_are_too_small_are_refused_with_the_fix(
    counts: tuple[int, int, int], split: Split, said: str, advice: str
) -> None:
    with pytest.raises(DataError) as refusal:
        check_minimums(*counts, split)
    assert refusal.value.reason == "TooFewRows"
    assert said in refusal.value.message
    assert advice in refusal.value.advice


@pytest.mark.parametrize(
    ("counts", "split"),
    [
        pytest.param((100, 100, 1000), a_split(), id="enough"),
        pytest.param((5, 5, 50), a_split(minValidationRows=0, minTestRows=5), id="said otherwise"),
        pytest.param((100, 0, 1000), a_split(10, 0), id="a part that is not asked for"),
    ],
)
def test_parts_that_are_large_enough_or_said_to_be_pass(counts: tuple[int, int, int], split: Split) -> None:
    check_minimums(*counts, split)
