"""Files of rows: JSON Lines (also gzipped), CSV and Parquet, told apart by their names, read piece by piece.

What a row must look like is `rows.py`'s business; where a file lies is `uris.py`'s.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cleaning import Cleaning, shortened
from .errors import DataError
from .rows import Format, Refusal, Row, from_document

PARQUET_BATCH = 1024


@dataclass(frozen=True)
class Source:
    """A file of the wish, and where it lies on this pod."""

    name: str
    uri: str
    path: Path
    format: Format | None = None
    part: str = "train"

    @property
    def key(self) -> str:
        """How the account names it: the same name may stand in several parts."""
        return f"{self.part}/{self.name}"


def read_source(source: Source, cleaning: Cleaning) -> list[Row]:
    """All rows of a file that can be used; a file without any is an error."""
    return read_files([source], cleaning, source.uri)


def read_files(files: Sequence[Source], cleaning: Cleaning, uri: str) -> list[Row]:
    """The same for a source of several files: one of them may be empty, all of them may not."""
    rows = [row for file in files for row in _rows(file, cleaning)]
    if not rows:
        raise _nothing_usable(files, cleaning, uri)
    return rows


def _rows(source: Source, cleaning: Cleaning) -> Iterator[Row]:
    for number, document in documents(source):
        cleaning.saw(source.key)
        place = f"{source.uri}:{number}"
        try:
            if isinstance(document, Refusal):
                raise document
            row = from_document(document, place, source.format, source.name, source.part)
        except Refusal as refusal:
            said = document.args[0] if isinstance(document, Refusal) else shortened(document)
            cleaning.drop(refusal.reason, source.key, place, refusal.why, said)
            continue
        cleaning.formats[row.format] += 1
        yield row


def documents(source: Source) -> Iterator[tuple[int, Any]]:
    """The documents of a file, each with its line (or row, in a table); a Refusal where a line cannot be read."""
    name = source.path.name.lower()
    if name.endswith((".jsonl", ".jsonl.gz")):
        return _json_lines(source)
    if name.endswith(".csv"):
        return _csv_rows(source)
    if name.endswith(".parquet"):
        return _parquet_rows(source)
    raise DataError(
        "DatasetInvalid",
        f"{source.uri} is not a .jsonl, .jsonl.gz, .csv or .parquet file",
        "convert it, or give it the ending of what it is",
    )


def _json_lines(source: Source) -> Iterator[tuple[int, Any]]:
    for number, line in _lines(source):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, Refusal("Unparsable", f"not JSON: {error}")


def _csv_rows(source: Source) -> Iterator[tuple[int, Any]]:
    """Every line under the header is a document. A cell that is not there is a field that is not there."""
    csv.field_size_limit(2**31 - 1)
    lines = (line for _number, line in _lines(source))
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise DataError(
            "DatasetInvalid", f"{source.uri}:1 is not CSV: {error}", "save the file as CSV again"
        ) from error
    if not any(name.strip() for name in header):
        return
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, Refusal("Unparsable", f"not CSV: {error}")
            continue
        if not cells:
            continue
        if len(cells) > len(header):
            yield number, Refusal("Unparsable", f"{len(cells)} cells under {len(header)} columns")
            continue
        yield number, dict(zip(header, cells, strict=False))


def _parquet_rows(source: Source) -> Iterator[tuple[int, Any]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(source.path) as file:
            for batch in file.iter_batches(batch_size=PARQUET_BATCH):
                for number, document in enumerate(batch.to_pylist(), number + 1):  # noqa: B020
                    # A table has every column in every row: a null is a field that is not there.
                    yield number, {name: value for name, value in document.items() if value is not None}
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            "DatasetInvalid",
            f"{source.uri} is not whole Parquet after row {number}: {str(error).splitlines()[0][:200]}",
            "write or copy the file again",
        ) from error


def _lines(source: Source) -> Iterator[tuple[int, str]]:
    opener = gzip.open if source.path.name.endswith(".gz") else open
    number = 0
    try:
        with opener(source.path, "rt", encoding="utf-8-sig", newline="\n") as stream:
            for number, line in enumerate(stream, 1):
                yield number, line
    except UnicodeDecodeError as error:
        raise DataError(
            "DatasetInvalid",
            f"{source.uri} is not UTF-8 text after line {number}: {error.reason}",
            "save the file as UTF-8",
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            "DatasetInvalid",
            f"{source.uri} is not whole gzip after line {number}: {error}",
            "compress or copy the file again",
        ) from error


def _nothing_usable(files: Sequence[Source], cleaning: Cleaning, uri: str) -> DataError:
    beginnings = tuple(f"{file.uri}:" for file in files)
    for samples in cleaning.samples.values():
        for sample in samples:
            if sample["place"].startswith(beginnings):
                return DataError(
                    "DatasetInvalid",
                    f"no row of {uri} can be used; the first is {sample['place']}: {sample['why']}",
                    "rows are JSON objects with messages, prompt and completion, input and output, instruction, or text",
                )
    return DataError("TooFewRows", f"{uri} has no rows", "fill the file, or remove it from data.train")
