"""The demo's training and test rows."""

import json

from serin_demo import data
from serin_demo.openapi import ApiField


def api_field(number: int, description: str = "", kind: str = "Thing") -> ApiField:
    return ApiField(kind, f"spec.field{number}", "string", description or f"Says what field number {number} is.")


KINDS = [f"Kind{number}" for number in range(data.MIN_KINDS + 1)]
RARE = ApiField("Thing", "rare", "string", "Stands in one kind only.")
FIELDS = [api_field(number, kind=kind) for number in range(100) for kind in KINDS] + [RARE]
MADE = data.make_files(FIELDS)


def parsed(name: str) -> list[dict[str, str]]:
    rows = []
    for line in MADE.files[name].splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            rows.append({"broken": line})
    return rows


def test_the_same_fields_give_the_same_bytes() -> None:
    assert data.make_files(FIELDS).files == MADE.files


def test_no_held_out_question_is_in_a_training_file() -> None:
    held = {row["prompt"] for row in parsed(data.HELDOUT)}
    assert held
    assert not held & {row.get("prompt") for row in parsed(data.QUESTIONS)}
    assert not held & {row["prompt"] for row in parsed(data.PLACEHOLDERS)}


def test_the_questions_are_messy_in_four_ways() -> None:
    rows = parsed(data.QUESTIONS)
    whole = [row for row in rows if "broken" not in row]
    assert len(rows) - len(whole) == 1
    assert any(row["completion"] == "" for row in whole)
    assert any(len(row["completion"]) > 1000 for row in whole)
    assert len({json.dumps(row) for row in whole}) < len(whole)


def test_the_held_out_rows_are_clean() -> None:
    rows = parsed(data.HELDOUT)
    assert all(row["completion"].strip() for row in rows)
    assert len({json.dumps(row) for row in rows}) == len(rows)


def test_placeholders_keep_the_questions_and_lose_every_answer() -> None:
    asked = {question.prompt for question in data.questions_of(FIELDS)}
    rows = parsed(data.PLACEHOLDERS)
    assert rows
    assert {row["prompt"] for row in rows} <= asked
    assert {row["completion"] for row in rows} == {data.PLACEHOLDER}


def test_an_answer_is_one_line_of_one_sentence() -> None:
    text = "The name\n of the thing, e.g. a pod. It is long. More info: https://example.com/x"
    assert data.first_sentence(text) == "The name of the thing, e.g. a pod."


def test_a_description_without_a_short_first_sentence_has_no_answer() -> None:
    assert data.first_sentence("word " * 100) == ""
    assert data.first_sentence("Required.") == ""


def test_long_texts_are_cut_after_a_whole_sentence() -> None:
    text = "This is a sentence of the text. " * 30
    (cut,) = data.texts_of([api_field(1, text)])
    assert len(cut) <= data.MAX_TEXT_CHARACTERS
    assert cut.endswith("text.")


def test_a_field_of_one_kind_is_read_about_and_not_asked_about() -> None:
    assert RARE.description in {row["text"] for row in parsed(data.DESCRIPTIONS)}
    assert not any("rare" in row.get("prompt", "") for name in (data.QUESTIONS, data.HELDOUT) for row in parsed(name))


def test_the_row_counts_are_those_of_the_files() -> None:
    assert all(len(MADE.files[name].splitlines()) == count for name, count in MADE.rows.items())
