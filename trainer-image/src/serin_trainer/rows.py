"""Rows as people write them: JSONL in four shapes, read, checked and cleaned, each refusal counted with samples.

What a row becomes for the model (chat template, tokens) is `tokens.py`'s business.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .errors import DataError

Shape = Literal["messages", "prompt/completion", "input/output", "text"]
Drop = Literal["Unparsable", "UnknownFormat", "Empty", "Incomplete", "Duplicate", "TooLong", "TemplateMismatch"]

SAMPLES_PER_REASON = 5
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Row:
    """One usable row; `document` is what the person wrote."""

    shape: Shape
    document: dict[str, Any]
    place: str


@dataclass
class Cleaning:
    """What was read, what was dropped and why."""

    read: int = 0
    shapes: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[dict[str, str]]] = field(default_factory=dict)

    def drop(self, reason: Drop, place: str, why: str) -> None:
        self.dropped[reason] += 1
        samples = self.samples.setdefault(reason, [])
        if len(samples) < SAMPLES_PER_REASON:
            samples.append({"place": place, "why": why[:300]})


class Refusal(Exception):
    """A row that cannot be used."""

    def __init__(self, reason: Drop, why: str) -> None:
        super().__init__(why)
        self.reason: Drop = reason
        self.why = why


def read_sources(sources: list[tuple[str, str, Path]]) -> tuple[list[Row], Cleaning]:
    """All usable rows of (name, uri, path) sources in order, exact duplicates across all of them removed."""
    cleaning, rows, seen = Cleaning(), [], set()
    for _name, uri, path in sources:
        found = list(_read_file(uri, path, cleaning))
        if not found:
            raise _nothing_usable(uri, cleaning)
        for row in found:
            identity = content_hash(row)
            if identity in seen:
                cleaning.drop("Duplicate", row.place, "an identical row came before it")
                continue
            seen.add(identity)
            cleaning.shapes[row.shape] += 1
            rows.append(row)
    return rows, cleaning


def parse(line: str, place: str) -> Row:
    """One line of JSONL as a row, or the reason why not."""
    try:
        document = json.loads(line)
    except ValueError as error:
        raise Refusal("Unparsable", f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise Refusal("UnknownFormat", f"a {type(document).__name__}, not an object")
    shape = _shape(document)
    _check_content(shape, document)
    return Row(shape, document, place)


def content_hash(row: Row) -> bytes:
    """Identity of what a row says, ignoring fields that the model never sees and space at the ends."""
    said: list[Any] = [row.shape]
    if row.shape == "messages":
        said += [[message["role"], message["content"].strip()] for message in row.document["messages"]]
    else:
        said += [row.document[name].strip() for name in row.shape.split("/")]
    return hashlib.sha256(json.dumps(said).encode()).digest()


def _shape(document: dict[str, Any]) -> Shape:
    shapes: tuple[Shape, ...] = ("messages", "prompt/completion", "input/output", "text")
    for shape in shapes:
        present = [name in document for name in shape.split("/")]
        if all(present):
            return shape
        if any(present):
            missing = shape.split("/")[present.index(False)]
            raise Refusal("Incomplete", f"{missing} is missing")
    names = ", ".join(sorted(document)[:5]) or "no fields"
    raise Refusal("UnknownFormat", f"none of messages, prompt and completion, input and output, text ({names})")


def _check_content(shape: Shape, document: dict[str, Any]) -> None:
    if shape == "messages":
        _check_messages(document["messages"])
        return
    for name in shape.split("/"):
        value = document[name]
        if value is None:
            raise Refusal("Incomplete", f"{name} is null")
        if not isinstance(value, str):
            raise Refusal("UnknownFormat", f"{name} is a {type(value).__name__}, not a string")
        if not value.strip():
            raise Refusal("Empty", f"{name} is empty")


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise Refusal("Empty", "messages is not a list with at least one message")
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise Refusal("UnknownFormat", f"message {number} has no role of {', '.join(ROLES)}")
        content = message.get("content")
        if not isinstance(content, str):
            raise Refusal("Incomplete", f"message {number} has no content")
        if not content.strip():
            raise Refusal("Empty", f"message {number} is empty")
    if messages[-1]["role"] != "assistant":
        raise Refusal("Incomplete", "the last message is not the assistant's: there is no answer to learn")


def _read_file(uri: str, path: Path, cleaning: Cleaning) -> Iterator[Row]:
    for number, line in _lines(uri, path):
        if not line.strip():
            continue
        cleaning.read += 1
        place = f"{uri}:{number}"
        try:
            yield parse(line, place)
        except Refusal as refusal:
            cleaning.drop(refusal.reason, place, refusal.why)


def _lines(uri: str, path: Path) -> Iterator[tuple[int, str]]:
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise DataError(
            "DatasetInvalid", f"{uri} is not a .jsonl or .jsonl.gz file", "convert it to one JSON object a line"
        )
    opener = gzip.open if path.name.endswith(".gz") else open
    number = 0
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="\n") as stream:
            for number, line in enumerate(stream, 1):
                yield number, line
    except UnicodeDecodeError as error:
        raise DataError(
            "DatasetInvalid", f"{uri} is not UTF-8 text after line {number}: {error.reason}", "save the file as UTF-8"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            "DatasetInvalid", f"{uri} is not whole gzip after line {number}: {error}", "compress or copy the file again"
        ) from error


def _nothing_usable(uri: str, cleaning: Cleaning) -> DataError:
    for samples in cleaning.samples.values():
        for sample in samples:
            if sample["place"].startswith(uri + ":"):
                return DataError(
                    "DatasetInvalid",
                    f"no row of {uri} can be used; the first is {sample['place']}: {sample['why']}",
                    "rows are JSON objects with messages, prompt and completion, input and output, or text",
                )
    return DataError("TooFewRows", f"{uri} has no rows", "fill the file, or remove it from data.train")
