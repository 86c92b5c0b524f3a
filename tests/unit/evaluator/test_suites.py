"""Rows become examples, or a refusal that names file and line."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from serin_evaluator.config import Suite
from serin_evaluator.errors import ConfigError, DataError
from serin_evaluator.suites import Example, load_suite, parse_row
from serin_evaluator.uris import local_path
from support.evaluation import suite_document


@pytest.fixture(autouse=True)
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SERIN_PVC_ROOT", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    return tmp_path


def suite(rows: list[Any], volumes: Path, **changes: Any) -> Suite:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    (volumes / "datasets" / "heldout.jsonl").write_text(text)
    return Suite.model_validate(suite_document(**changes))


@pytest.mark.parametrize(
    ("row", "example"),
    [
        pytest.param(
            {"prompt": "2+2=", "completion": "4"}, Example(1, "2+2=", (), "4"), id="prompt and completion are joined"
        ),
        pytest.param(
            {"input": "Hi?", "output": "Yes"},
            Example(1, "Hi?\n", ({"role": "user", "content": "Hi?"},), "Yes"),
            id="input and output are a line or a turn, as the model has it",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Yes"}]},
            Example(1, "", ({"role": "user", "content": "Hi?"},), "Yes"),
            id="the last assistant message is the answer",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": "Hi?"}]},
            Example(1, "", ({"role": "user", "content": "Hi?"},), ""),
            id="messages without an answer",
        ),
        pytest.param({"prompt": "2+2="}, Example(1, "2+2=", (), ""), id="a prompt without completion"),
        pytest.param(
            {"input": "a", "output": None}, Example(1, "a\n", ({"role": "user", "content": "a"},), ""), id="null"
        ),
    ],
)
def test_a_row_becomes_an_example(row: Any, example: Example) -> None:
    assert parse_row(1, row) == example


QUIZ = {"choices": {"field": "options"}}


@pytest.mark.parametrize(
    ("row", "choices", "taken", "right"),
    [
        pytest.param({"options": ["4", "5"]}, {"field": "options"}, (" 4", " 5"), 0, id="the row's own"),
        pytest.param({}, {"labels": ["5", "4"]}, (" 5", " 4"), 1, id="the suite's labels"),
    ],
)
def test_choices_stand_after_the_prompt_as_the_answer_does(
    volumes: Path, row: Any, choices: Any, taken: Any, right: int
) -> None:
    wanted = suite([{"prompt": "2+2=", "completion": " 4", **row}], volumes, choices=choices)

    example = load_suite(wanted, seed=7).examples[1]

    assert (example.choices, example.right) == (taken, right)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        pytest.param(["4", "5"], "the answer '6' is none of the choices 4, 5", id="the answer is not among them"),
        pytest.param(None, "options is not a list of texts", id="no such field"),
        pytest.param(["6", 5], "options is not a list of texts", id="a number"),
        pytest.param(["6"], "2 to 64 choices", id="nothing to choose"),
        pytest.param(["6", " 6"], "each once", id="the same twice"),
    ],
)
def test_choices_that_cannot_be_scored_are_named_by_line(volumes: Path, options: Any, why: str) -> None:
    wanted = suite([{"prompt": "3+3=", "completion": "6", "options": options}], volumes, **QUIZ)

    with pytest.raises(DataError) as caught:
        load_suite(wanted, seed=7)

    assert f"heldout.jsonl:1: {why}" in caught.value.message or why in caught.value.message


def test_a_row_without_an_answer_needs_no_choices(volumes: Path) -> None:
    rows = [{"prompt": "a", "completion": "b", "options": ["b", "c"]}, {"prompt": "d"}]

    assert load_suite(suite(rows, volumes, **QUIZ), seed=7).without_answer == 1


@pytest.mark.parametrize(
    ("row", "why"),
    [
        pytest.param("{", "not JSON", id="not JSON"),
        pytest.param([1], "not a JSON object", id="a list"),
        pytest.param({"text": "a"}, "none of messages, prompt and input; it has text", id="no question"),
        pytest.param({"prompt": 3, "completion": "x"}, "prompt is not a text but int", id="a number as prompt"),
        pytest.param({"prompt": "", "completion": "x"}, "prompt is empty", id="an empty prompt"),
        pytest.param({"messages": [{"role": "robot", "content": ""}]}, "messages[0] has no role", id="an unknown role"),
        pytest.param({"messages": []}, "messages is not a list of messages", id="no messages"),
        pytest.param(
            {"messages": [{"role": "assistant", "content": "x"}]}, "nothing that it answers", id="an answer alone"
        ),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(volumes: Path, row: Any, why: str) -> None:
    with pytest.raises(DataError) as caught:
        load_suite(suite([{"prompt": "a", "completion": "b"}, "", row], volumes), seed=7)

    assert caught.value.exit_code == 65
    assert "pvc://datasets/heldout.jsonl:3: " in caught.value.message
    assert why in caught.value.message


def test_rows_without_an_answer_are_counted_and_not_scored(volumes: Path) -> None:
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": " "}, {"prompt": "d"}]

    loaded = load_suite(suite(rows, volumes), seed=7)

    assert (loaded.rows, loaded.without_answer, list(loaded.examples)) == (3, 2, [1])


def test_a_file_without_any_answer_is_refused(volumes: Path) -> None:
    with pytest.raises(DataError, match="None of the 1 rows"):
        load_suite(suite([{"prompt": "a"}], volumes), seed=7)


def test_examples_are_chosen_from_the_whole_file_and_the_same_ones_each_time(volumes: Path) -> None:
    rows = [{"prompt": str(index), "completion": "x"} for index in range(1000)]
    wanted = suite(rows, volumes, maxExamples=50)

    one, two, other = load_suite(wanted, seed=7), load_suite(wanted, seed=7), load_suite(wanted, seed=8)

    assert list(one.examples) == list(two.examples) != list(other.examples)
    assert len(one.examples) == 50
    assert max(one.examples) > 900


def test_a_changed_file_has_another_digest(volumes: Path) -> None:
    one = load_suite(suite([{"prompt": "a", "completion": "b"}], volumes), seed=7)
    two = load_suite(suite([{"prompt": "a", "completion": "c"}], volumes), seed=7)

    assert one.digest != two.digest


def test_a_compressed_file_is_read(volumes: Path) -> None:
    wanted = suite([], volumes, dataset={"uri": "pvc://datasets/heldout.jsonl.gz"})
    (volumes / "datasets" / "heldout.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "a", "completion": "b"}\n'))

    assert load_suite(wanted, seed=7).rows == 1


def test_a_torn_compressed_file_is_refused(volumes: Path) -> None:
    wanted = suite([], volumes, dataset={"uri": "pvc://datasets/heldout.jsonl.gz"})
    (volumes / "datasets" / "heldout.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "a"}\n')[:-9])

    with pytest.raises(DataError, match="not a whole gzip file"):
        load_suite(wanted, seed=7)


def test_a_missing_file_is_told(volumes: Path) -> None:
    wanted = suite([], volumes, dataset={"uri": "pvc://datasets/none.jsonl"})

    with pytest.raises(DataError) as caught:
        load_suite(wanted, seed=7)

    assert caught.value.reason == "DatasetNotFound"


@pytest.mark.parametrize("uri", ["pvc://claim/../other", "pvc://Claim/x", "pvc:///etc", "file:///etc", "pvc://a/b//c"])
def test_a_uri_cannot_leave_its_claim(uri: str) -> None:
    with pytest.raises(ConfigError):
        local_path(uri)


def test_a_file_that_is_not_the_one_asked_for_is_refused_and_the_very_one_is_taken(volumes: Path) -> None:
    """Swapping the rows of a suite that a policy pins makes no easier suite."""
    digest = load_suite(suite([{"prompt": "2+2=", "completion": "4"}], volumes), 7).digest
    pinned = {"dataset": {"uri": "pvc://datasets/heldout.jsonl", "digest": digest}}
    assert load_suite(suite([{"prompt": "2+2=", "completion": "4"}], volumes, **pinned), 7).rows == 1
    swapped = suite([{"prompt": "1+1=", "completion": "2"}], volumes, **pinned)
    with pytest.raises(DataError) as refused:
        load_suite(swapped, 7)
    assert refused.value.reason == "DatasetChanged"
    assert digest in refused.value.message
