"""What the pod gives back: one JSON document of at most 4,096 bytes (docs/reference/contract.md).

Not here: which scores there are. Too many of them are left out from the end, so callers put the important first.
"""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from serin_evaluator import languages, shapes
from serin_evaluator.config import Document, Method, Metric, Name, PvcUri, Role, Slice

LIMIT_BYTES = 4096
"""Kubernetes cuts a termination message here."""
_LONG = 400
"""A message longer than this gives way to scores."""
Curve = Annotated[tuple[float, ...], Field(max_length=13)]


class Score(Document):
    """One metric of one model on one suite: its value over n examples, standard error and 95 percent interval.

    Scores that bounds are judged by have their confidence curve as well (`curves.PROBABILITIES`).
    """

    suite: Name
    metric: Metric
    role: Role
    value: float
    n: int
    stderr: float
    low: float
    high: float
    curve: Curve = ()
    slice: Slice | None = None
    """The part of the suite that it is of; None: all of it."""
    against: Literal[Role.BASE, Role.INCUMBENT] | None = None
    """Of a metric of pairs: whose answers the candidate's are preferred to."""


class Difference(Document):
    """Candidate minus the other model, whichever direction is better for the metric, with its interval."""

    suite: Name
    metric: Metric
    against: Literal[Role.BASE, Role.INCUMBENT]
    method: Method
    difference: float
    n: int
    stderr: float
    low: float
    high: float
    curve: Curve
    slice: Slice | None = None


Counts = Annotated[tuple[int, ...], Field(max_length=len(shapes.CHARACTERS) + 1)]
OfLanguages = Annotated[tuple[int, ...], Field(max_length=len(languages.LANGUAGES))]


class Reference(Document):
    """How many examples fell into each bucket of length, how many answers were of each kind (`shapes.KINDS`), and how many of
    both in each language (`languages.LANGUAGES`)."""

    prompt_characters: Counts
    answer_characters: Counts
    answer_kinds: Annotated[tuple[int, ...], Field(max_length=len(shapes.KINDS))]
    prompt_languages: OfLanguages = ()
    answer_languages: OfLanguages = ()


class Awaiting(Document):
    """A pack of pairs that people have not rated yet."""

    suite: Name
    pack_uri: PvcUri
    pairs: int


class Output(Document):
    """What a finished evaluation hands on."""

    report_uri: PvcUri
    scores: tuple[Score, ...]
    comparisons: tuple[Difference, ...]
    reference: Reference | None = None
    """What the examples and the candidate's answers look like; None when it answered nothing by itself."""
    awaiting: tuple[Awaiting, ...] = ()


class NoOutput(Document):
    """A failed evaluation hands nothing on."""


class Result(Document):
    """How the stage went."""

    stage: Literal["Evaluate"] = "Evaluate"
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{0,128}$")]
    outcome: Literal["Succeeded", "Failed"]
    reason: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]{0,63}$")]
    message: str
    advice: str = ""
    output: Output | NoOutput = NoOutput()

    def encoded(self) -> bytes:
        """The document, made to fit: first the texts are shortened, then scores are left out from the end."""
        document = self.model_dump(mode="json", by_alias=True)
        for row in [*document["output"].get("scores", ()), *document["output"].get("comparisons", ())]:
            for field in ("slice", "against"):
                if row[field] is None:
                    del row[field]  # most have none, and bytes are few
        if document["output"].get("reference", 0) is None:
            del document["output"]["reference"]
        document["message"] = _cut(document["message"], 1200)
        document["advice"] = _cut(document["advice"], 400)
        while len(_json(document)) > LIMIT_BYTES and _shrink(document):
            pass
        return _json(document)


def finished(folder: Path, key: str) -> Result | None:
    """The result of an earlier pod with the same key, when that pod succeeded."""
    try:
        result = Result.model_validate_json((folder / "result.json").read_bytes())
    except (OSError, ValidationError):
        return None
    return result if result.key == key and result.outcome == "Succeeded" else None


def report(result: Result) -> None:
    """Write the termination message. SERIN_RESULT_PATH stands in for /dev/termination-log outside a pod."""
    Path(os.environ.get("SERIN_RESULT_PATH", "/dev/termination-log")).write_bytes(result.encoded())


def write_atomically(path: Path, content: bytes) -> None:
    """The file is there whole, or not at all, whenever the machine stops."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")


def _cut(text: str, most_bytes: int) -> str:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= most_bytes:
        return text
    return encoded[: most_bytes - 3].decode("utf-8", "ignore") + "…"


def _shrink(document: dict[str, Any]) -> bool:
    """Make the document smaller by one step; False when nothing is left to take away."""
    output = document["output"]
    if len(document["message"].encode("utf-8", "replace")) > _LONG:
        document["message"] = _cut(document["message"], _LONG)
        return True
    for field in ("scores", "comparisons"):
        if output.get(field):
            output[field].pop()
            _say_left_out(document)
            return True
    if len(document["message"]) > 100:
        document["message"], document["advice"] = _cut(document["message"], 100), ""
        return True
    return False


def _say_left_out(document: dict[str, Any]) -> None:
    note = " Some scores did not fit here; the report has them all."
    if not document["message"].endswith(note):
        document["message"] = _cut(document["message"], _LONG - len(note)) + note
