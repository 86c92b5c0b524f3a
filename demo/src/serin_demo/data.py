"""Second step of the demo's data: documented fields -> the JSON Lines files that the stories train and measure on.

Pure and deterministic: the same cluster gives the same bytes. Not here: reading the cluster (`stage.py`).
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from serin_demo.openapi import ApiField

DESCRIPTIONS = "descriptions.jsonl"
QUESTIONS = "questions.jsonl"
PLACEHOLDERS = "placeholders.jsonl"
PLACEHOLDER = " TBD."
HELDOUT = "heldout.jsonl"
WORDS = "words.jsonl"

HELDOUT_PERCENT = 8
MAX_ANSWER_CHARACTERS = 90
# Fields that stand in many kinds, such as those of a pod template: a small model has a minute to learn a few hundred
# answers, and meets each of them in other kinds again and again.
MIN_KINDS = 12
MAX_TEXT_CHARACTERS = 320
# Real exports are not clean. One row in so many is spoiled, each in a way that Prepare has to find and count.
DUPLICATE_EVERY, EMPTY_EVERY, OVERLONG_EVERY = 40, 61, 97

_SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\betc)\.(?=\s|$)")
_MORE_INFO = re.compile(r"\s*More info: \S+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one field, and its answer."""

    field: str
    prompt: str
    completion: str


@dataclass(frozen=True, slots=True)
class DataFiles:
    """The files by name, and how many rows stand in each."""

    files: dict[str, str]
    rows: dict[str, int]


def make_files(fields: Sequence[ApiField]) -> DataFiles:
    """All files of the demo. A held-out question is in no training file."""
    asked = recurring(questions_of(fields))
    questions = [question for question in asked if not held_out(question)]
    texts = texts_of(fields)
    lines = {
        WORDS: [json.dumps({"text": text}) for text in (*texts, *(question.prompt for question in questions))],
        DESCRIPTIONS: [json.dumps({"text": text}) for text in texts],
        QUESTIONS: messy(questions),
        PLACEHOLDERS: [_row(question) for question in unanswered(questions)],
        HELDOUT: [_row(question) for question in asked if held_out(question)],
    }
    return DataFiles(
        {name: "\n".join(found) + "\n" for name, found in lines.items()},
        {name: len(found) for name, found in lines.items()},
    )


def recurring(questions: Sequence[Question]) -> list[Question]:
    """Those whose field, by name and meaning, stands in several places."""
    places = Counter((_leaf(question), question.completion) for question in questions)
    return [question for question in questions if places[_leaf(question), question.completion] >= MIN_KINDS]


def _leaf(question: Question) -> str:
    return question.field.rsplit(".", 1)[-1]


def held_out(question: Question) -> bool:
    """Decided by kind and path alone, so that no question is ever on both sides, in any run.

    The same field of another kind may be on the other side (a Job has a pod template as a Deployment has): what is
    measured is whether the model carries over what it learned.
    """
    return _number(question.field) % 100 < HELDOUT_PERCENT


def questions_of(fields: Iterable[ApiField]) -> list[Question]:
    """One question for each field that has a sentence to answer it with, in an order that mixes the kinds."""
    found = [
        Question(f"{field.kind}.{field.path}", prompt_for(field), f" {answer}")
        for field in fields
        if (answer := first_sentence(field.description))
    ]
    return sorted(found, key=lambda question: _number(question.field))


def prompt_for(field: ApiField) -> str:
    """The question as training, evaluation and the demo's clients all write it.

    The field's name comes last: a model that is trained for a minute learns to look at what it has just read.
    """
    return f"In {field.kind}, what is the {field.type} {field.path}?"


def first_sentence(description: str) -> str:
    """A one-line answer, at most 90 characters; empty when the description has no sentence of that size."""
    line = " ".join(_MORE_INFO.sub("", description).split())
    end = _SENTENCE_END.search(line)
    sentence = line[: end.end()] if end else line
    if len(sentence) > MAX_ANSWER_CHARACTERS or len(sentence.split()) < 3:
        return ""
    return sentence


def texts_of(fields: Iterable[ApiField]) -> list[str]:
    """Distinct descriptions as running text, cut after a whole sentence."""
    texts = dict.fromkeys(_shortened(" ".join(field.description.split())) for field in fields)
    return sorted((text for text in texts if text), key=_number)


def _shortened(text: str) -> str:
    if len(text) <= MAX_TEXT_CHARACTERS:
        return text
    ends = [found.end() for found in _SENTENCE_END.finditer(text) if found.end() <= MAX_TEXT_CHARACTERS]
    return text[: ends[-1]] if ends else ""


def messy(questions: Sequence[Question]) -> list[str]:
    """The rows as an export would have them: some twice, some without an answer, some far too long, one cut off."""
    lines: list[str] = []
    for number, question in enumerate(questions, start=1):
        row = _row(question)
        if number % OVERLONG_EVERY == 0:
            lines.append(_row(Question(question.field, question.prompt, question.completion * 60)))
        elif number % EMPTY_EVERY == 0:
            lines.append(_row(Question(question.field, question.prompt, "")))
        else:
            lines.append(row)
        if number % DUPLICATE_EVERY == 0:
            lines.append(row)
    if lines:
        lines.append(lines[0][: len(lines[0]) // 2])
    return lines


def unanswered(questions: Sequence[Question]) -> list[Question]:
    """Every question with the placeholder of an export that lost its answers: clean rows, and nothing to learn."""
    return [Question(question.field, question.prompt, PLACEHOLDER) for question in questions]


def _row(question: Question) -> str:
    return json.dumps({"prompt": question.prompt, "completion": question.completion})


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
