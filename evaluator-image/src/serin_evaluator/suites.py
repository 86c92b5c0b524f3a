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
from typing import TYPE_CHECKING, Any

from serin_evaluator.config import Choices, Dataset, Slice, SliceBy, Suite
from serin_evaluator.errors import DataError
from serin_evaluator.uris import local_path

if TYPE_CHECKING:
    from serin_evaluator.benchmarks import Benchmarked

MOST_CHOICES = 64
MOST_SLICES = 50
_LONGEST_VALUE = 128
_ROLES = ("system", "user", "assistant", "tool")
ROWS = "Give rows with messages, with prompt and completion, or with input and output."
_SHOWN = 12


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
    context: str = ""
    """What its answer should follow from."""


@dataclass(frozen=True)
class LoadedSuite:
    """A suite's chosen examples by line number, and what its file holds."""

    suite: Suite
    digest: str
    rows: int
    without_answer: int
    examples: dict[int, Example]
    left: tuple[Example, ...] = ()
    """The rows with an answer that were not chosen."""
    shots: tuple[Example, ...] = ()
    """Solved examples that stand before each question."""
    shots_digest: str | None = None
    """Of the file that they are from."""
    benchmark: "Benchmarked | None" = None
    """What its examples are from, when it is a benchmark."""

    def slices(self) -> dict[Slice, set[int]]:
        """The chosen examples of each slice, the slices in the order of their names."""
        found: dict[Slice, set[int]] = {}
        for line, example in self.examples.items():
            for one in example.slices:
                found.setdefault(one, set()).add(line)
        return dict(sorted(found.items(), key=lambda of: (of[0].field, of[0].value)))


def load_suite(suite: Suite, seed: int) -> LoadedSuite:
    """Read the dataset and choose `maxExamples` of the rows that have an answer, at random with the seed."""
    assert suite.dataset is not None
    content, digest = read_dataset(suite.name, suite.dataset)
    found = [example for _, example in _examples(content, suite)]
    asked = suite.needs_answers
    answerable = [example for example in found if example.answer.strip() or not asked]
    if not answerable:
        raise _empty(suite, len(found))
    chosen = answerable
    if len(answerable) > suite.max_examples:
        indices = sorted(random.Random(seed).sample(range(len(answerable)), suite.max_examples))
        chosen = [answerable[index] for index in indices]
    _sliceable(suite, chosen)
    examples = {example.line: example for example in chosen}
    return LoadedSuite(
        suite=suite,
        digest=digest,
        rows=len(found),
        without_answer=len(found) - len(answerable),
        examples=examples,
        left=tuple(example for example in answerable if example.line not in examples),
    )


def _empty(suite: Suite, rows: int) -> DataError:
    """Nothing to measure on: no row at all, or none with what is needed."""
    uri, needed = suite.uri, "an answer" if suite.needs_answers else "a prompt"
    if not rows:
        return DataError(
            "DatasetInvalid", f"{uri} has no rows: suite {suite.name} is empty.", f"Put rows into it. {ROWS}"
        )
    return DataError(
        "DatasetInvalid",
        f"None of the {rows} rows of {uri} has {needed}: suite {suite.name} is empty.",
        f"{ROWS} The answer is the last message, if it is the assistant's, or completion, or output.",
    )


def read_dataset(suite: str, dataset: Dataset) -> tuple[bytes, str]:
    """The file, which must be the one that was asked for, and its digest."""
    path = local_path(dataset.uri)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            "DatasetNotFound",
            f"The dataset {dataset.uri} of suite {suite} cannot be read: {error.strerror}.",
            "Check the URI, and that the claim holds the file.",
        ) from error
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    if dataset.digest not in (None, digest):
        raise DataError(
            "DatasetChanged",
            f"The dataset {dataset.uri} of suite {suite} has digest {digest}, but {dataset.digest} was asked for.",
            "Put the file back that the suite was made with, or have the suite name the new digest.",
        )
    return content, digest


def solved_examples(content: bytes, suite: Suite) -> list[Example]:
    """The rows of a file that have an answer."""
    return [example for _, example in _examples(content, suite) if example.answer.strip()]


def _examples(content: bytes, suite: Suite) -> Iterator[tuple[int, Example]]:
    uri = suite.uri
    for number, line in enumerate(_lines(content, uri), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            example = with_choices(parse_row(number, row), row, suite.choices)
            yield number, replace(example, slices=slices_of(row, suite.slices), context=_context(row, suite))
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
    raise ValueError(f"the row has none of messages, prompt and input; {_columns(row)}")


def _columns(row: dict[str, Any]) -> str:
    """What it has instead, so that a misspelt or other name is seen at once."""
    names = [str(name)[:40] for name in row]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"it has {', '.join(names[:_SHOWN])}{more}" if names else "it is empty"


def with_choices(example: Example, row: Any, wanted: Choices | None) -> Example:
    """The example with what its model chooses from, when the suite has choices and the row an answer."""
    if wanted is None or not example.answer.strip():
        return example
    if not wanted.labels and wanted.field not in row:
        raise ValueError(f"the row has no {wanted.field}, which choices.field names; {_columns(row)}")
    given = wanted.labels or row[wanted.field]
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


def _context(row: dict[str, Any], suite: Suite) -> str:
    if suite.context_field is None:
        return ""
    if suite.context_field not in row:
        raise ValueError(f"the row has no {suite.context_field}, which contextField names; {_columns(row)}")
    text = row[suite.context_field]
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{suite.context_field} is no text that an answer could follow from")
    return text


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
                f"The field {field} of {suite.uri} has {len(of)} different values, so suite {suite.name} cannot be"
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
        return f"not JSON ({error.msg} at column {error.colno}); each line is one JSON object"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8: save the file as UTF-8"
    return str(error)
