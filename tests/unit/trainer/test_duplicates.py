"""What counts as the same row, and what does not."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serin_trainer.duplicates import Deduplicator, Known, bands_and_rows, grams, jaccard
from serin_trainer.rows import Refusal, Row, parse

PASSAGE = "The serin is a small finch of southern Europe; its song is a hurried, jingling stream of notes. " * 5


def row(place: str = "f:1", **document: object) -> Row:
    return parse(json.dumps(document), place)


def refusal_of(found: Deduplicator, one: Row) -> tuple[str, str] | None:
    try:
        found.check(one)
    except Refusal as refusal:
        return refusal.reason, refusal.why
    return None


@pytest.mark.parametrize("near", [True, False])
def test_an_identical_row_is_refused_with_the_place_of_the_first(near: bool) -> None:
    found = Deduplicator(near, 90)
    found.check(row("a:1", input="a", output="b", id=1))
    assert refusal_of(found, row("a:2", output="b ", input="a", id=2)) == ("Duplicate", "identical to a:1")
    assert refusal_of(found, row("a:3", input="a", output="c")) is None


def test_a_row_that_differs_by_a_slip_is_a_near_duplicate() -> None:
    found = Deduplicator(True, 90)
    found.check(row("a:1", input="What does a serin sound like?", output=PASSAGE))
    again = row("a:2", input="what does a  serin sound like?", output=PASSAGE.replace("hurried", "hurrried", 1))
    reason, why = refusal_of(found, again) or ("", "")
    assert reason == "NearDuplicate"
    assert why.endswith("percent like a:1")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        pytest.param(f"{PASSAGE} Who sings?", "A serin does, jingling away.", id="another question on one passage"),
        pytest.param("What is an oak?", "A serin is a small finch, I would say.", id="one answer to many questions"),
    ],
)
def test_rows_that_share_only_one_side_are_both_kept(question: str, answer: str) -> None:
    found = Deduplicator(True, 90)
    found.check(row(input=f"{PASSAGE} What is it?", output="A serin is a small finch, I would say."))
    assert refusal_of(found, row(input=question, output=answer)) is None


def test_rows_that_say_the_same_in_different_shapes_are_not_identical() -> None:
    found = Deduplicator(False, 90)
    found.check(row(input="a", output="b"))
    assert refusal_of(found, row(prompt="a", completion="b")) is None


def test_keeping_near_duplicates_still_drops_identical_rows() -> None:
    found = Deduplicator(False, 90)
    found.check(row(text=PASSAGE))
    assert refusal_of(found, row(text=PASSAGE.replace("finch", "fink", 1))) is None
    assert (refusal_of(found, row(text=PASSAGE)) or ("", ""))[0] == "Duplicate"


@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([70, 80, 90, 95]))
@settings(max_examples=60, deadline=None)
def test_what_is_called_near_is_near_by_the_exact_measure_and_little_is_missed(
    seed: int, changes: int, percent: int
) -> None:
    chance = random.Random(seed)
    words = [f"w{chance.randrange(500)}" for _ in range(120)]
    changed = list(words)
    for _ in range(changes):
        changed[chance.randrange(len(changed))] = f"x{chance.randrange(500)}"
    one, other = row(text=" ".join(words)), row(text=" ".join(changed))
    known = Known(percent)
    known.add(one)
    exact = jaccard(grams(one.answered()), grams(other.answered()))
    match = known.similar(other)
    assert (match is None) == (exact < percent / 100) or percent / 100 <= exact < percent / 100 + 0.02
    if match is not None:
        assert match.similarity == exact


@pytest.mark.parametrize("threshold", [0.7, 0.8, 0.9, 0.95, 1.0])
def test_the_bands_find_nearly_all_that_is_just_similar_enough(threshold: float) -> None:
    bands, rows = bands_and_rows(threshold)
    assert bands * rows <= 256
    assert 1 - (1 - threshold**rows) ** bands >= 0.99


def test_short_and_empty_texts_are_compared_whole() -> None:
    assert grams("ab") == {"ab"}
    assert grams("") == frozenset()
    assert jaccard(grams(""), grams("")) == 1.0
    assert jaccard(grams("yes"), grams("no")) == 0.0


def test_templated_rows_stay_fast() -> None:
    import time

    known, started = Deduplicator(True, 90), time.process_time()
    for number in range(1500):
        refusal_of(
            known, row(input=f"In kind {number:05}, what is the field spec.template?", output=f"Field {number:05}.")
        )
    assert time.process_time() - started < 10
