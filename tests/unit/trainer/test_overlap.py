"""Rows that a gate measures with are found among training rows, and are shown to nobody."""

import json
from pathlib import Path

import pytest
from serin_trainer.cleaning import Cleaning
from serin_trainer.errors import DataError
from serin_trainer.overlap import EvaluationSet, drop, read_set, refuse
from serin_trainer.reading import Source
from serin_trainer.rows import Row, parse

SECRET = "The serin sings from the top of a cypress, and it never stops before noon."


def row(place: str, **document: str) -> Row:
    return parse(json.dumps(document), place)


def a_set(*rows: Row) -> EvaluationSet:
    return EvaluationSet("answers/heldout", list(rows), 90)


HELD_OUT = row("eval:1", input="When does a serin sing?", output=SECRET)


@pytest.mark.parametrize(
    ("learned", "shared"),
    [
        pytest.param(row("f:1", input="When does a serin sing?", output=SECRET), True, id="the row itself"),
        pytest.param(row("f:1", prompt="when does a  serin sing?", completion=SECRET.upper()), True, id="in another form"),
        pytest.param(row("f:1", text=f"Birds. When does a serin sing? {SECRET} More birds."), True, id="in a long text"),
        pytest.param(row("f:1", input="When does a serin sing?", output="In May."), False, id="another answer"),
        pytest.param(row("f:1", input="What do cypresses hear?", output=SECRET), False, id="another question"),
        pytest.param(row("f:1", text="The serin sings from the top of a tree until the evening comes."), False, id="a like text"),
    ],
)  # fmt: skip
def test_a_training_row_shares_what_says_the_same(learned: Row, shared: bool) -> None:
    known = a_set(HELD_OUT, row("eval:2", input="And a finch?", output="All day long, it is said."))
    assert known.look_at(learned) is shared
    assert known.found.shared == ({0} if shared else set())
    assert known.found.percent == (50.0 if shared else 0.0)


def test_the_same_question_is_counted_apart() -> None:
    known = a_set(HELD_OUT)
    known.look_at(row("f:1", input="When does a serin SING?", output="In May."))
    assert (known.found.same_question, known.found.shared) == ({0}, set())


def test_above_the_bound_the_job_is_refused_without_showing_the_row() -> None:
    known = a_set(
        HELD_OUT, *(row(f"eval:{n}", input=f"{n} {n * n}?", output=f"It is {n * 7919}.") for n in range(2, 101))
    )
    known.look_at(row("f:7", input="When does a serin sing?", output=SECRET))
    refuse([known.found], 1)
    with pytest.raises(
        DataError, match=r"1 of 100 rows \(1\.0 percent\) of the evaluation set answers/heldout"
    ) as refusal:
        refuse([known.found], 0)
    assert refusal.value.reason == "DataOverlap"
    assert "f:7" in refusal.value.message
    assert "data.overlap.action to Drop" in refusal.value.advice
    assert SECRET not in refusal.value.message


def test_dropping_counts_each_training_row_once() -> None:
    one, other = a_set(HELD_OUT), EvaluationSet("safety/smoke", [HELD_OUT], 90)
    learned = row("f:7", input="When does a serin sing?", output=SECRET)
    for known in (one, other):
        known.look_at(learned)
    cleaning = Cleaning()
    assert drop([one.found, other.found], cleaning) == {"f:7"}
    assert cleaning.dropped == {"InEvaluation": 1}


def test_rows_that_cannot_be_compared_do_not_stop_it(tmp_path: Path) -> None:
    path = tmp_path / "heldout.jsonl"
    path.write_text(json.dumps(HELD_OUT.document) + '\n{broken\n{"prompt": "only"}\n')
    assert read_set("answers/heldout", Source("h", "pvc://d/heldout.jsonl", path), 90).found.rows == 1
