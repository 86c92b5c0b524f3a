"""Rows as people write them, and what is said about those that cannot be used."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from serin_trainer.errors import DataError
from serin_trainer.rows import SAMPLES_PER_REASON, Cleaning, Refusal, Row, parse, read_sources

GOOD = [
    ("messages", {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}),
    ("prompt/completion", {"prompt": "1 + 1 =", "completion": " 2"}),
    ("input/output", {"input": "hi", "output": "hello"}),
    ("text", {"text": "A serin is a bird."}),
]

BAD = [
    ("{", "Unparsable"),
    ("", "Unparsable"),
    ("[1]", "UnknownFormat"),
    ('"text"', "UnknownFormat"),
    ('{"question": "a", "answer": "b"}', "UnknownFormat"),
    ("{}", "UnknownFormat"),
    ('{"text": 5}', "UnknownFormat"),
    ('{"text": ""}', "Empty"),
    ('{"text": " \\n"}', "Empty"),
    ('{"input": "a", "output": ""}', "Empty"),
    ('{"input": "a"}', "Incomplete"),
    ('{"output": "a"}', "Incomplete"),
    ('{"prompt": "a", "completion": null}', "Incomplete"),
    ('{"messages": []}', "Empty"),
    ('{"messages": "hi"}', "Empty"),
    ('{"messages": [{"role": "user", "content": "hi"}]}', "Incomplete"),
    ('{"messages": [{"role": "assistant"}]}', "Incomplete"),
    ('{"messages": [{"role": "assistant", "content": " "}]}', "Empty"),
    ('{"messages": [{"role": "bird", "content": "hi"}]}', "UnknownFormat"),
    ('{"messages": [3]}', "UnknownFormat"),
]


@pytest.mark.parametrize(("shape", "document"), GOOD)
def test_each_shape_is_recognised(shape: str, document: dict[str, Any]) -> None:
    row = parse(json.dumps(document), "f:1")
    assert (row.shape, row.document) == (shape, document)


@pytest.mark.parametrize(("line", "reason"), BAD)
def test_each_unusable_row_has_a_reason(line: str, reason: str) -> None:
    with pytest.raises(Refusal) as refusal:
        parse(line, "f:1")
    assert refusal.value.reason == reason
    assert refusal.value.why


def test_further_fields_are_no_hindrance() -> None:
    assert parse('{"input": "a", "output": "b", "id": 7}', "f:1").shape == "input/output"


def _read(tmp_path: Path, *files: str) -> tuple[list[Row], Cleaning]:
    sources = []
    for number, content in enumerate(files):
        path = tmp_path / f"{number}.jsonl"
        path.write_text(content)
        sources.append((str(number), f"pvc://d/{number}.jsonl", path))
    return read_sources(sources)


def test_rows_of_all_shapes_may_be_mixed_and_are_counted(tmp_path: Path) -> None:
    rows, cleaning = _read(tmp_path, "".join(json.dumps(document) + "\n" for _, document in GOOD))
    assert len(rows) == 4
    assert dict(cleaning.shapes) == {shape: 1 for shape, _ in GOOD}


def test_what_was_dropped_is_counted_with_samples_that_name_the_line(tmp_path: Path) -> None:
    lines = ['{"text": "a"}', "{", "", '{"text": ""}', '{"text": "b"}']
    rows, cleaning = _read(tmp_path, "\n".join(lines))
    assert [row.document["text"] for row in rows] == ["a", "b"]
    assert cleaning.read == 4
    assert dict(cleaning.dropped) == {"Unparsable": 1, "Empty": 1}
    assert cleaning.samples["Unparsable"][0]["place"] == "pvc://d/0.jsonl:2"
    assert cleaning.samples["Empty"][0]["place"] == "pvc://d/0.jsonl:4"


def test_only_a_few_samples_are_kept(tmp_path: Path) -> None:
    _, cleaning = _read(tmp_path, '{"text": "a"}\n' + "{\n" * 100)
    assert cleaning.dropped["Unparsable"] == 100
    assert len(cleaning.samples["Unparsable"]) == SAMPLES_PER_REASON


def test_exact_duplicates_are_dropped_across_files(tmp_path: Path) -> None:
    row = '{"input": "a", "output": "b"}\n'
    other = '{"output": "b ", "input": "a", "id": 2}\n{"input": "a", "output": "c"}\n'
    rows, cleaning = _read(tmp_path, row, other)
    assert [row.place for row in rows] == ["pvc://d/0.jsonl:1", "pvc://d/1.jsonl:2"]
    assert dict(cleaning.dropped) == {"Duplicate": 1}


def test_rows_that_say_the_same_in_different_shapes_are_different(tmp_path: Path) -> None:
    rows, _ = _read(tmp_path, '{"input": "a", "output": "b"}\n{"prompt": "a", "completion": "b"}\n')
    assert len(rows) == 2


def test_a_file_without_a_usable_row_is_refused_with_its_first_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pvc://d/0\.jsonl:1: none of messages") as refusal:
        _read(tmp_path, '{"question": "a"}\n')
    assert refusal.value.reason == "DatasetInvalid"


def test_an_empty_file_has_too_few_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no rows") as refusal:
        _read(tmp_path, "\n \n")
    assert refusal.value.reason == "TooFewRows"


def test_one_of_two_files_being_unusable_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no row of pvc://d/1\.jsonl"):
        _read(tmp_path, '{"text": "a"}\n', "nonsense\n")


def test_gzip_is_read_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "a"}\n' * 1))
    rows, _ = read_sources([("a", "pvc://d/a.jsonl.gz", path)])
    assert len(rows) == 1
    path.write_bytes(gzip.compress(b'{"text": "a"}\n' * 5000)[:-20])
    with pytest.raises(DataError, match="not whole gzip"):
        read_sources([("a", "pvc://d/a.jsonl.gz", path)])
    path.write_bytes(b"plain text")
    with pytest.raises(DataError, match="not whole gzip"):
        read_sources([("a", "pvc://d/a.jsonl.gz", path)])


def test_other_encodings_and_formats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"text": "Zeisig grüßt"}'.encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        read_sources([("a", "pvc://d/a.jsonl", path)])
    with pytest.raises(DataError, match=r"not a \.jsonl"):
        read_sources([("a", "pvc://d/a.csv", tmp_path / "a.csv")])


def test_a_byte_order_mark_is_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"text": "a"}\n')
    assert len(read_sources([("a", "pvc://d/a.jsonl", path)])[0]) == 1


def test_unusual_line_separators_inside_strings_do_not_cut_rows(tmp_path: Path) -> None:
    rows, cleaning = _read(tmp_path, '{"text": "a\u2028b\x85c"}\n')
    assert (len(rows), cleaning.read) == (1, 1)
