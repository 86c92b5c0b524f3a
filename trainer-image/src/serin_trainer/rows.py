"""One row as people write it: five formats become four shapes, and each refusal says why.

Which file a row came from is `reading.py`'s business; what it becomes for the model (chat template, tokens) is `tokens.py`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Shape = Literal["messages", "prompt/completion", "input/output", "text"]
Format = Literal["Messages", "PromptCompletion", "InputOutput", "Instruction", "Text"]
Drop = Literal[
    "Unparsable",
    "UnknownFormat",
    "Empty",
    "Incomplete",
    "WrongLanguage",
    "Duplicate",
    "NearDuplicate",
    "TooShort",
    "TooLong",
    "TemplateMismatch",
    "NoTimestamp",
    "InEvaluation",
]

ROLES = ("system", "user", "assistant", "tool")

# How conversations of other tools name who speaks.
_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
# Message fields beside role and content that chat templates know.
_CARRIED = ("name", "tool_calls", "tool_call_id", "reasoning_content", "weight")


class Refusal(Exception):
    """A row that cannot be used."""

    def __init__(self, reason: Drop, why: str) -> None:
        super().__init__(why)
        self.reason: Drop = reason
        self.why = why


@dataclass(frozen=True)
class Row:
    """One usable row. `document` is what the person wrote, in one of the four shapes that evaluation reads as well."""

    shape: Shape
    document: dict[str, Any]
    place: str
    format: Format = "Text"
    source: str = ""
    part: str = "train"

    def asked(self) -> str:
        """What the model is given, as plain text; empty for text rows."""
        if self.shape == "messages":
            return _spoken(message for message in self.document["messages"] if message["role"] != "assistant")
        return "" if self.shape == "text" else self.document[self.shape.split("/")[0]]

    def answered(self) -> str:
        """What it is to write, as plain text."""
        if self.shape == "messages":
            return _spoken(message for message in self.document["messages"] if message["role"] == "assistant")
        return self.document[self.shape.split("/")[-1]]


def parse(line: str, place: str, wanted: Format | None = None, source: str = "") -> Row:
    """One line of JSONL as a row, or the reason why not."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Refusal("Unparsable", f"not JSON: {error}") from error
    return from_document(document, place, wanted, source)


def from_document(
    document: Any, place: str, wanted: Format | None = None, source: str = "", part: str = "train"
) -> Row:
    """A parsed row in the named format, or in the one that its fields show."""
    if not isinstance(document, dict):
        raise Refusal("UnknownFormat", f"a {type(document).__name__}, not an object")
    found = wanted or _format_of(document)
    shape, shaped = _READERS[found](document)
    return Row(shape, shaped, place, found, source, part)


def _format_of(document: Mapping[str, Any]) -> Format:
    """The first format of which the row has a field. The order matters: an instruction row may have an input as well."""
    for found, fields in _TELLING.items():
        if any(field in document for field in fields):
            return found
    names = ", ".join(sorted(document)[:5]) or "no fields"
    raise Refusal(
        "UnknownFormat", f"none of messages, prompt and completion, input and output, instruction, text ({names})"
    )


_TELLING: dict[Format, tuple[str, ...]] = {
    "Messages": ("messages", "conversations"),
    "Instruction": ("instruction",),
    "PromptCompletion": ("prompt", "completion"),
    "InputOutput": ("input", "output"),
    "Text": ("text",),
}


def _from_messages(document: dict[str, Any]) -> tuple[Shape, dict[str, Any]]:
    if "messages" not in document and "conversations" not in document:
        raise Refusal("Incomplete", "messages is missing")
    name = "messages" if "messages" in document else "conversations"
    messages = _decoded(document[name])
    if not isinstance(messages, list) or not messages:
        raise Refusal("Empty", f"{name} is not a list with at least one message")
    turns = [_turn(message, number) for number, message in enumerate(messages, 1)]
    if turns[-1]["role"] != "assistant":
        raise Refusal("Incomplete", "the last message is not the assistant's: there is no answer to learn")
    return "messages", {**_without(document, "conversations"), "messages": turns}


def _from_prompt(document: dict[str, Any]) -> tuple[Shape, dict[str, Any]]:
    prompt, completion = document.get("prompt"), document.get("completion")
    if isinstance(prompt, list) and isinstance(completion, list):
        # Both sides are conversations: what the prompt's assistant says is given, not to be learned.
        given = [
            {**message, "weight": 0} if isinstance(message, dict) and message.get("role") == "assistant" else message
            for message in prompt
        ]
        rest = _without(document, "prompt", "completion")
        return _from_messages({**rest, "messages": [*given, *completion]})
    return "prompt/completion", {**document, **_texts(document, "prompt", "completion")}


def _from_input(document: dict[str, Any]) -> tuple[Shape, dict[str, Any]]:
    return "input/output", {**document, **_texts(document, "input", "output")}


def _from_instruction(document: dict[str, Any]) -> tuple[Shape, dict[str, Any]]:
    """The instruction, a blank line, and what it is about, if anything, become one user turn."""
    answer = next((name for name in ("output", "response") if name in document), "output")
    texts = _texts(document, "instruction", answer)
    about = next((document[name] for name in ("input", "context") if document.get(name)), "")
    if not isinstance(about, str):
        raise Refusal("UnknownFormat", f"input is a {type(about).__name__}, not a string")
    asked = texts["instruction"] + (f"\n\n{about}" if about.strip() else "")
    rest = _without(document, "instruction", "input", "context", "response")
    return "input/output", {**rest, "input": asked, "output": texts[answer]}


def _from_text(document: dict[str, Any]) -> tuple[Shape, dict[str, Any]]:
    return "text", {**document, **_texts(document, "text")}


_READERS = {
    "Messages": _from_messages,
    "PromptCompletion": _from_prompt,
    "InputOutput": _from_input,
    "Instruction": _from_instruction,
    "Text": _from_text,
}


def _turn(message: Any, number: int) -> dict[str, Any]:
    """One message in OpenAI's form, whichever form it came in."""
    if not isinstance(message, dict):
        raise Refusal("UnknownFormat", f"message {number} is a {type(message).__name__}, not an object")
    if "from" in message and "role" not in message:
        message = {"role": _SPEAKERS.get(str(message["from"])), "content": message.get("value")}
    if message.get("role") == "developer":
        message = {**message, "role": "system"}
    if message.get("role") not in ROLES:
        raise Refusal("UnknownFormat", f"message {number} has no role of {', '.join(ROLES)}")
    content = _plain(message.get("content"), number)
    calls = message.get("tool_calls") if message["role"] == "assistant" else None
    if content is None and not calls:
        raise Refusal("Incomplete", f"message {number} has no content")
    if not (content or "").strip() and not calls:
        raise Refusal("Empty", f"message {number} is empty")
    carried = {name: message[name] for name in _CARRIED if message.get(name) is not None}
    return {"role": message["role"], "content": content or "", **carried}


def _plain(content: Any, number: int) -> str | None:
    """The text of a content that may be a list of parts."""
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        other = next((str(part.get("type")) for part in content if part.get("type") != "text"), None)
        if other is not None:
            raise Refusal("UnknownFormat", f"message {number} has a part of type {other}; only text is learned")
        return "".join(str(part.get("text") or "") for part in content)
    raise Refusal("Incomplete", f"message {number} has no content")


def _texts(document: Mapping[str, Any], *names: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        if name not in document:
            raise Refusal("Incomplete", f"{name} is missing")
        value = document[name]
        if value is None:
            raise Refusal("Incomplete", f"{name} is null")
        if not isinstance(value, str):
            raise Refusal("UnknownFormat", f"{name} is a {type(value).__name__}, not a string")
        if not value.strip():
            raise Refusal("Empty", f"{name} is empty")
        found[name] = value
    return found


def _decoded(value: Any) -> Any:
    """A table's cell may hold a conversation as JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError as error:
            raise Refusal("Unparsable", f"messages is not JSON: {error}") from error
    return value


def _without(document: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}


def _spoken(messages: Any) -> str:
    return "\n".join(
        message["content"] or json.dumps(message.get("tool_calls"), ensure_ascii=False, sort_keys=True)
        for message in messages
    )
