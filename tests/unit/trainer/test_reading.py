"""Files of rows: what is read of each kind, and what is said about lines and files that cannot be."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from serin_trainer.cleaning import SAMPLES_PER_REASON, Cleaning
from serin_trainer.errors import DataError
from serin_trainer.reading import Source, read_source
from serin_trainer.rows import Format, Row

SCHEMA = pyarrow.schema(
    [(name, pyarrow.string()) for name in ("text", "input", "output")] + [("at", pyarrow.timestamp("us", "UTC"))]
)
GOOD: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]},
    {"prompt": "1 + 1 =", "completion": " 2"},
    {"input": "hi", "output": "hello"},
    {"instruction": "Say hi.", "output": "hi"},
    {"text": "A serin is a bird."},
]


def _read(path: Path, content: str | bytes | None = None, wanted: Format | None = None) -> tuple[list[Row], Cleaning]:
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    cleaning = Cleaning()
    return read_source(Source("tickets", f"pvc://d/{path.name}", path, wanted), cleaning), cleaning


def test_rows_of_all_formats_may_be_mixed_and_are_counted(tmp_path: Path) -> None:
    rows, cleaning = _read(tmp_path / "a.jsonl", "".join(json.dumps(document) + "\n" for document in GOOD))
    assert len(rows) == 5
    assert cleaning.formats == dict.fromkeys(["Messages", "PromptCompletion", "InputOutput", "Instruction", "Text"], 1)
    assert {row.source for row in rows} == {"tickets"}


def test_what_was_dropped_is_counted_with_samples_that_name_the_line(tmp_path: Path) -> None:
    lines = ['{"text": "a"}', "{", "", '{"text": "", "id": 7}', '{"text": "b"}']
    rows, cleaning = _read(tmp_path / "a.jsonl", "\n".join(lines))
    assert [row.document["text"] for row in rows] == ["a", "b"]
    assert cleaning.read == 4
    assert cleaning.dropped == {"Unparsable": 1, "Empty": 1}
    assert cleaning.dropped_by_source == {"train/tickets": {"Unparsable": 1, "Empty": 1}}
    assert cleaning.samples["Unparsable"][0]["place"] == "pvc://d/a.jsonl:2"
    assert cleaning.samples["Empty"][0]["place"] == "pvc://d/a.jsonl:4"
    assert "'id': 7" in cleaning.samples["Empty"][0]["text"]


def test_only_a_few_samples_are_kept(tmp_path: Path) -> None:
    _, cleaning = _read(tmp_path / "a.jsonl", '{"text": "a"}\n' + "{\n" * 100)
    assert cleaning.dropped["Unparsable"] == 100
    assert len(cleaning.samples["Unparsable"]) == SAMPLES_PER_REASON


def test_a_file_without_a_usable_row_is_refused_with_its_first_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pvc://d/a\.jsonl:1: none of messages") as refusal:
        _read(tmp_path / "a.jsonl", '{"question": "a"}\n')
    assert refusal.value.reason == "DatasetInvalid"


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_an_empty_file_has_too_few_rows(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="has no rows") as refusal:
        _read(tmp_path / name, "\n \n")
    assert refusal.value.reason == "TooFewRows"


def test_gzip_is_read_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    assert len(_read(path, gzip.compress(b'{"text": "a"}\n' * 3))[0]) == 3
    with pytest.raises(DataError, match="not whole gzip"):
        _read(path, gzip.compress(b'{"text": "a"}\n' * 5000)[:-20])
    with pytest.raises(DataError, match="not whole gzip"):
        _read(path, b"plain text")


def test_other_encodings_and_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not UTF-8"):
        _read(tmp_path / "a.jsonl", '{"text": "Zeisig grüßt"}'.encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        _read(tmp_path / "a.csv", "text\nZeisig grüßt".encode("latin-1"))
    with pytest.raises(DataError, match=r"not a \.jsonl"):
        _read(tmp_path / "a.xlsx", "")


def test_a_byte_order_mark_is_no_hindrance(tmp_path: Path) -> None:
    assert len(_read(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + b'{"text": "a"}\n')[0]) == 1
    assert _read(tmp_path / "a.csv", b"\xef\xbb\xbftext\r\na\r\n")[0][0].document == {"text": "a"}


def test_unusual_line_separators_inside_strings_do_not_cut_rows(tmp_path: Path) -> None:
    rows, cleaning = _read(tmp_path / "a.jsonl", '{"text": "a\u2028b\x85c"}\n')
    assert (len(rows), cleaning.read) == (1, 1)


def test_csv_cells_may_hold_lines_commas_and_quotes(tmp_path: Path) -> None:
    text = 'prompt,completion,team\n"What, ""now""?\nTell.", yes,a\nWho?, me,b\n'
    rows, cleaning = _read(tmp_path / "a.csv", text)
    assert [row.document for row in rows] == [
        {"prompt": 'What, "now"?\nTell.', "completion": " yes", "team": "a"},
        {"prompt": "Who?", "completion": " me", "team": "b"},
    ]
    assert [row.place for row in rows] == ["pvc://d/a.csv:2", "pvc://d/a.csv:4"]
    assert cleaning.read == 2


def test_csv_lines_that_do_not_fit_their_header_are_counted(tmp_path: Path) -> None:
    rows, cleaning = _read(tmp_path / "a.csv", 'input,output\na,b\na,b,c\na\n\nc,d\n"x" y,z\ne,f\n')
    assert [row.document["input"] for row in rows] == ["a", "c", "e"]
    assert cleaning.dropped == {"Unparsable": 2, "Incomplete": 1}
    assert [sample["place"] for sample in cleaning.samples["Unparsable"]] == ["pvc://d/a.csv:3", "pvc://d/a.csv:7"]
    assert cleaning.samples["Unparsable"][0]["why"] == "3 cells under 2 columns"


def test_parquet_is_read_with_its_types_and_nulls_are_fields_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    when = datetime(2026, 1, 2, tzinfo=UTC)
    table = [{"text": "a", "at": when}, {"text": None, "input": "i", "output": "o"}, {"text": ""}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table, schema=SCHEMA), path)
    rows, cleaning = _read(path)
    assert [(row.shape, row.document) for row in rows] == [
        ("text", {"text": "a", "at": when}),
        ("input/output", {"input": "i", "output": "o"}),
    ]
    assert cleaning.samples["Empty"][0]["place"] == "pvc://d/a.parquet:3"


def test_parquet_of_many_batches_keeps_counting(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": [f"row {number}" for number in range(2500)]}), path)
    rows, _ = _read(path)
    assert rows[-1].place == "pvc://d/a.parquet:2500"


def test_parquet_holds_whole_conversations(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([GOOD[0]]), path)
    assert _read(path)[0][0].document == GOOD[0]


def test_damaged_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"] * 100}), path)
    with pytest.raises(DataError, match="not whole Parquet") as refusal:
        _read(path, path.read_bytes()[:-10])
    assert refusal.value.reason == "DatasetInvalid"


def test_a_named_format_holds_for_the_whole_file(tmp_path: Path) -> None:
    rows, cleaning = _read(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in GOOD), "Text")
    assert [row.shape for row in rows] == ["text"]
    assert cleaning.dropped == {"Incomplete": 4}
