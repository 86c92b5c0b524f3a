"""The examples of a suite: rows of a JSON Lines file, each with a prompt and the right answer.

A row without an answer cannot be scored; it is counted, so that nobody takes it for scored. Not here: how a prompt
becomes tokens (`prompts.py`).
"""

import gzip
import hashlib
import io
import json
import random
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from serin_evaluator.config import Choices, Slice, SliceBy, Suite
from serin_evaluator.errors import DataError
from serin_evaluator.uris import local_path

MOST_CHOICES = 64
MOST_SLICES = 50
_LONGEST_VALUE = 128
_ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Example:
    """One row: a plain prompt, chat messages, or both when the model decides, and the answer that is right."""

    line: int
    prompt: str
    messages: tuple[dict[str, str], ...]
    answer: str
    choices: tuple[str, ...] = ()
    """What the model may choose from, each as it would stand after the prompt."""
    right: int = 0
    """The place of the answer among the choices."""
    slices: tuple[Slice, ...] = ()
    """The slices that it is in."""


@dataclass(frozen=True)
class LoadedSuite:
    """A suite's chosen examples by line number, and what its file holds."""

    suite: Suite
    digest: str
    rows: int
    without_answer: int
    examples: dict[int, Example]

    def slices(self) -> dict[Slice, set[int]]:
        """The chosen examples of each slice, the slices in the order of their names."""
        found: dict[Slice, set[int]] = {}
        for line, example in self.examples.items():
            for one in example.slices:
                found.setdefault(one, set()).add(line)
        return dict(sorted(found.items(), key=lambda of: (of[0].field, of[0].value)))


def load_suite(suite: Suite, seed: int) -> LoadedSuite:
    """Read the dataset and choose `maxExamples` of the rows that have an answer, at random with the seed."""
    path = local_path(suite.dataset.uri)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            "DatasetNotFound",
            f"The dataset {suite.dataset.uri} of suite {suite.name} cannot be read: {error.strerror}.",
            "Check the URI, and that the claim holds the file.",
        ) from error
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    if suite.dataset.digest not in (None, digest):
        raise DataError(
            "DatasetChanged",
            f"The dataset {suite.dataset.uri} of suite {suite.name} has digest {digest}, but {suite.dataset.digest} was"
            " asked for.",
            "Put the file back that the suite was made with, or have the suite name the new digest.",
        )
    found = [example for _, example in _examples(content, suite)]
    answerable = [example for example in found if example.answer.strip()]
    if not answerable:
        raise DataError(
            "DatasetInvalid",
            f"None of the {len(found)} rows of {suite.dataset.uri} has an answer: suite {suite.name} is empty.",
            "Give rows with messages, prompt and completion, or input and output.",
        )
    chosen = answerable
    if len(answerable) > suite.max_examples:
        indices = sorted(random.Random(seed).sample(range(len(answerable)), suite.max_examples))
        chosen = [answerable[index] for index in indices]
    _sliceable(suite, chosen)
    return LoadedSuite(
        suite=suite,
        digest=digest,
        rows=len(found),
        without_answer=len(found) - len(answerable),
        examples={example.line: example for example in chosen},
    )


def _examples(content: bytes, suite: Suite) -> Iterator[tuple[int, Example]]:
    uri = suite.dataset.uri
    for number, line in enumerate(_lines(content, uri), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            example = with_choices(parse_row(number, row), row, suite.choices)
            yield number, replace(example, slices=slices_of(row, suite.slices))
        except ValueError as error:
            raise DataError(
                "DatasetInvalid",
                f"{uri}:{number}: {_reason(error)}.",
                f"Correct line {number} of the dataset of suite {suite.name}.",
            ) from error


def parse_row(line: int, row: Any) -> Example:
    """The example in one row, or a ValueError that says what is wrong with the row."""
    if not isinstance(row, dict):
        raise ValueError("the row is not a JSON object")
    if "messages" in row:
        return _from_messages(line, row["messages"])
    if "prompt" in row:
        return Example(line, _asked(row, "prompt"), (), _text(row, "completion"))
    if "input" in row:
        asked = _asked(row, "input")
        return Example(line, asked + "\n", ({"role": "user", "content": asked},), _text(row, "output"))
    raise ValueError("the row has none of messages, prompt and input")


def with_choices(example: Example, row: Any, wanted: Choices | None) -> Example:
    """The example with what its model chooses from, when the suite has choices and the row an answer."""
    if wanted is None or not example.answer.strip():
        return example
    given = wanted.labels or row.get(wanted.field)
    if not isinstance(given, list | tuple) or not all(isinstance(one, str) and one.strip() for one in given):
        raise ValueError(f"{wanted.field} is not a list of texts to choose from")
    choices = [one.strip() for one in given]
    if len(set(choices)) < len(choices) or not 2 <= len(choices) <= MOST_CHOICES:
        raise ValueError(f"{wanted.field} needs 2 to {MOST_CHOICES} choices, each once")
    answer = example.answer.strip()
    if answer not in choices:
        raise ValueError(f"the answer {answer[:60]!r} is none of the choices {', '.join(choices)[:200]}")
    before = example.answer[: len(example.answer) - len(example.answer.lstrip())]
    return replace(example, choices=tuple(before + one for one in choices), right=choices.index(answer))


def slices_of(row: dict[str, Any], wanted: Iterable[SliceBy]) -> tuple[Slice, ...]:
    """The slices that a row is in; one without the field is in none of it."""
    found: list[Slice] = []
    for one in wanted:
        value = row.get(one.field)
        if value is None or value == "":
            continue
        if not isinstance(value, str | int | float) or len(str(value)) > _LONGEST_VALUE:
            raise ValueError(f"{one.field} is no text of at most {_LONGEST_VALUE} characters and no number to slice by")
        found.append(Slice(field=one.field, value=str(value).lower() if isinstance(value, bool) else str(value)))
    return tuple(found)


def _sliceable(suite: Suite, examples: Iterable[Example]) -> None:
    """Refuse a field that no row has, and one with a value for nearly every row."""
    values: dict[str, set[str]] = {one.field: set() for one in suite.slices}
    for example in examples:
        for one in example.slices:
            values[one.field].add(one.value)
    for field, of in values.items():
        if not 1 <= len(of) <= MOST_SLICES:
            raise DataError(
                "SliceFieldUnfit",
                f"The field {field} of {suite.dataset.uri} has {len(of)} different values, so suite {suite.name} cannot be"
                " sliced by it.",
                f"Slice by a field with 1 to {MOST_SLICES} values.",
            )


def _from_messages(line: int, messages: Any) -> Example:
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages is not a list of messages")
    turns: list[dict[str, str]] = []
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise ValueError(f"messages[{index}] has no role of {', '.join(_ROLES)}")
        turns.append({"role": message["role"], "content": _text(message, "content")})
    answer = turns.pop()["content"] if turns[-1]["role"] == "assistant" else ""
    if answer and not turns:
        raise ValueError("messages has an answer but nothing that it answers")
    return Example(line, "", tuple(turns), answer)


def _asked(row: dict[str, Any], field: str) -> str:
    text = _text(row, field)
    if not text:
        raise ValueError(f"{field} is empty")
    return text


def _text(row: dict[str, Any], field: str) -> str:
    value = row.get(field)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{field} is not a text but {type(value).__name__}")
    return value or ""


def _lines(content: bytes, uri: str) -> Iterator[bytes]:
    if not uri.endswith(".gz"):
        yield from io.BytesIO(content)
        return
    try:
        with gzip.open(io.BytesIO(content)) as lines:
            yield from lines
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            "DatasetInvalid", f"{uri} is not a whole gzip file: {error}.", "Upload the file again."
        ) from error


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error.msg} at column {error.colno})"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return str(error)
