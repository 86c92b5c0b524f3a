"""From rows to token sequences: rendering, tokenising, and which tokens the loss counts on.

It needs the base model's tokenizer, not the model: torch is not imported here, so that Prepare starts in two seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .errors import DataError
from .rows import Refusal, Row

LossOn = Literal["Completions", "LastCompletion", "AllTokens"]
TooLong = Literal["Drop", "Truncate"]


@dataclass(frozen=True)
class Sequence:
    """Token ids, for each whether the loss counts on it, and where in it rows begin that must not see each other."""

    ids: list[int]
    counts: list[bool]
    starts: tuple[int, ...] = (0,)
    cut: int = 0  # how many tokens of a row that was too long are gone

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

    def __init__(
        self,
        tokenizer: Any,
        row_ending: str,
        max_length: int,
        loss_on: LossOn = "Completions",
        too_long: TooLong = "Drop",
    ) -> None:
        if row_ending == "EndOfSequence" and tokenizer.eos_token_id is None:
            raise DataError(
                "TokenizerInvalid",
                "the base model's tokenizer has no end-of-sequence token, which rowEnding EndOfSequence needs",
                "use a base model whose tokenizer names eos_token",
            )
        self._tokenizer = tokenizer
        self._running = row_ending == "Newline"
        self._max_length = max_length
        self._loss_on: LossOn = loss_on
        self._too_long: TooLong = too_long
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

    def _learned(self, rendered: Rendered) -> list[tuple[int, int]]:
        """The ranges that the wish wants the loss on."""
        if self._loss_on == "AllTokens":
            return [(0, len(rendered.text))]
        return rendered.learned[-1:] if self._loss_on == "LastCompletion" else rendered.learned

    def encode(self, row: Row) -> Sequence:
        """One row as a sequence of its own, or as a line of the running text."""
        rendered = self.render(row)
        sequence = self._line(rendered) if self._running else self._example(rendered)
        if not any(sequence.counts):
            raise Refusal("TemplateMismatch", "the chat template leaves nothing of the answer to learn")
        limit = self._max_length - (1 if self._running else 0)
        return sequence if len(sequence) <= limit else self._shortened(sequence, limit)

    def _shortened(self, sequence: Sequence, limit: int) -> Sequence:
        """The beginning of a row that is too long, where the wish allows it and something of an answer is left.

        The end token goes with the end: a model must not learn to stop in the middle of a sentence.
        """
        if self._too_long == "Drop":
            raise Refusal("TooLong", f"{len(sequence)} tokens, the limit is {self._max_length}")
        counts = sequence.counts[:limit]
        if not any(counts):
            first = sequence.counts.index(True)
            raise Refusal("TooLong", f"the answer begins after {first} tokens, the limit is {self._max_length}")
        return Sequence(sequence.ids[:limit], counts, cut=len(sequence) - limit)

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
        learned = self._learned(rendered)
        counts = [_inside(offset, learned) for offset in offsets]
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
            if message["role"] != "assistant" or message.get("weight") == 0:
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
