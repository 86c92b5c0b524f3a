"""From rows to token sequences: rendering, tokenising, and which tokens the loss counts on.

It needs the base model's tokenizer, not the model: torch is not imported here, so that Prepare starts in two seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import DataError
from .rows import Refusal, Row


@dataclass(frozen=True)
class Sequence:
    """Token ids, and for each whether the loss counts on it."""

    ids: list[int]
    counts: list[bool]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Rendered:
    """A row as text, and the character ranges that the model is to learn to write."""

    text: str
    learned: list[tuple[int, int]]


def load_tokenizer(directory: Path) -> Any:
    """The base model's tokenizer. Only one without a tokenizer.json takes the slow way, which imports torch."""
    try:
        if (directory / "tokenizer.json").is_file():
            from transformers import PreTrainedTokenizerFast

            return PreTrainedTokenizerFast.from_pretrained(directory, local_files_only=True)
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise DataError(
            "TokenizerInvalid",
            f"the base model's tokenizer cannot be loaded ({type(error).__name__}: {str(error)[:200]})",
            "the base model needs a tokenizer.json that this image's tokenizers library can read",
        ) from error


class Encoder:
    """Rows to sequences with one tokenizer, one row ending and one length limit."""

    def __init__(self, tokenizer: Any, row_ending: str, max_length: int) -> None:
        if row_ending == "EndOfSequence" and tokenizer.eos_token_id is None:
            raise DataError(
                "TokenizerInvalid",
                "the base model's tokenizer has no end-of-sequence token, which rowEnding EndOfSequence needs",
                "use a base model whose tokenizer names eos_token",
            )
        self._tokenizer = tokenizer
        self._running = row_ending == "Newline"
        self._max_length = max_length
        self._bos = tokenizer.bos_token_id

    def render(self, row: Row) -> Rendered:
        """A row as the text that the model sees, in training as in serving."""
        document = row.document
        if row.shape == "text":
            return Rendered(document["text"], [(0, len(document["text"]))])
        if row.shape == "prompt/completion":
            return _joined(document["prompt"], document["completion"])
        if row.shape == "input/output":
            if not self._tokenizer.chat_template:
                return _joined(document["input"] + "\n", document["output"])
            turn = [
                {"role": "user", "content": document["input"]},
                {"role": "assistant", "content": document["output"]},
            ]
            return self._conversation(turn)
        if not self._tokenizer.chat_template:
            raise DataError(
                "ChatTemplateMissing",
                f"{row.place} has messages, but the base model has no chat template",
                "use a base model with a chat template, or rows with prompt and completion",
            )
        return self._conversation(document["messages"])

    def encode(self, row: Row) -> Sequence:
        """One row as a sequence of its own, or as a line of the running text."""
        rendered = self.render(row)
        sequence = self._line(rendered) if self._running else self._example(rendered)
        if len(sequence) > self._max_length - (1 if self._running else 0):
            raise Refusal("TooLong", f"{len(sequence)} tokens, the limit is {self._max_length}")
        if not any(sequence.counts):
            raise Refusal("TemplateMismatch", "the chat template leaves nothing of the answer to learn")
        return sequence

    def pack(self, lines: Iterable[Sequence]) -> Iterator[Sequence]:
        """The running text in pieces of at most the length limit, each begun with BOS; no line is cut."""
        start = [] if self._bos is None else [self._bos]
        ids = list(start)
        for line in lines:
            if len(ids) + len(line) > self._max_length and len(ids) > len(start):
                yield Sequence(ids, [True] * len(ids))
                ids = list(start)
            ids += line.ids
        if len(ids) > len(start):
            yield Sequence(ids, [True] * len(ids))

    def _example(self, rendered: Rendered) -> Sequence:
        ids, offsets = self._tokenised(rendered.text)
        counts = [_inside(offset, rendered.learned) for offset in offsets]
        if self._bos is not None and (not ids or ids[0] != self._bos):
            ids, counts = [self._bos, *ids], [False, *counts]
        # Some templates write a newline after the end-of-turn token, so it is looked for in the last two places.
        if self._tokenizer.eos_token_id not in ids[-2:]:
            ids, counts = [*ids, self._tokenizer.eos_token_id], [*counts, True]
        return Sequence(ids, counts)

    def _line(self, rendered: Rendered) -> Sequence:
        text = rendered.text
        for special in (self._tokenizer.bos_token, self._tokenizer.eos_token):
            if special:
                text = text.replace(special, "")
        ids, _ = self._tokenised(text.rstrip("\n") + "\n")
        return Sequence(ids, [True] * len(ids))

    def _tokenised(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        # Special tokens are written by the template and by us, not added by the tokenizer a second time.
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return encoded["input_ids"], encoded["offset_mapping"]

    def _conversation(self, messages: list[dict[str, Any]]) -> Rendered:
        text = self._template(messages, answer_next=False)
        learned: list[tuple[int, int]] = []
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._template(messages[:number], answer_next=True)
            after = self._template(messages[: number + 1], answer_next=False)
            # A template may rewrite earlier turns (drop reasoning, say); what it then shows is no longer what was
            # answered.
            if text.startswith(after) and after.startswith(before):
                learned.append((len(before), len(after)))
        return Rendered(text, learned)

    def _template(self, messages: list[dict[str, Any]], answer_next: bool) -> str:
        try:
            return self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer_next)
        except Exception as error:
            raise Refusal("TemplateMismatch", f"the chat template refuses the conversation: {error}") from error


def _joined(prompt: str, completion: str) -> Rendered:
    return Rendered(prompt + completion, [(len(prompt), len(prompt) + len(completion))])


def _inside(offset: tuple[int, int], ranges: list[tuple[int, int]]) -> bool:
    start, end = offset
    return any(low <= start and end <= high for low, high in ranges) if end > start else False
