"""From an example to tokens, in exactly the form that training saw.

A prompt and its completion are joined and tokenised as one text, begun with BOS when the tokenizer has one; chat
messages are rendered by the tokenizer's chat template. `serin_trainer/tokens.py` is the same rule on the other side;
tests/images holds the two together. Not here: what the model does with the tokens.
"""

from collections.abc import Sequence
from typing import Any

from serin_evaluator.errors import DataError
from serin_evaluator.measured import Pair
from serin_evaluator.suites import Example


class Prompts:
    """The prompts of one model's tokenizer."""

    def __init__(self, tokenizer: Any, uri: str, before: Sequence[int] = ()) -> None:
        """`before` are the tokens of a learned prompt."""
        self._before = tuple(before)
        self._tokenizer = tokenizer
        self._uri = uri

    def prompt(self, example: Example) -> tuple[int, ...]:
        """The tokens after which the model answers."""
        ids, _ = self._tokens(self._text(example))
        return tuple(self._begun(ids))

    def pair(self, example: Example) -> Pair:
        """The tokens of prompt and answer; a token that holds some of both belongs to the prompt, as in training.

        The answer's tokens are those of its text: whether a model ends its answers is told by generation.
        """
        prompt = self._text(example)
        whole, end = self._with_answer(example, prompt)
        ids, offsets = self._tokens(whole)
        inside = [index for index, (start, stop) in enumerate(offsets) if start >= len(prompt) and start < stop <= end]
        if not inside:
            return Pair(tuple(self._begun(ids)), ())
        first, last = inside[0], inside[-1] + 1
        return Pair(tuple(self._begun(ids[:first])), tuple(ids[first:last]))

    def _text(self, example: Example) -> str:
        if example.messages and self._tokenizer.chat_template:
            return self._render(example, answered=False)
        if not example.prompt:
            raise DataError(
                "ChatTemplateMissing",
                f"Line {example.line} has messages, but the model {self._uri} has no chat template.",
                "Use a model with a chat template, or rows with prompt and completion.",
            )
        return example.prompt

    def _with_answer(self, example: Example, prompt: str) -> tuple[str, int]:
        """The whole text, and where the answer ends in it."""
        if not (example.messages and self._tokenizer.chat_template):
            return prompt + example.answer, len(prompt) + len(example.answer)
        whole = self._render(example, answered=True)
        if not whole.startswith(prompt):
            # The template writes an answered turn differently from an open one; then the open one is what it answers.
            return prompt + example.answer, len(prompt) + len(example.answer)
        for answer in (example.answer, example.answer.strip()):
            if whole.startswith(answer, len(prompt)):
                return whole, len(prompt) + len(answer)
        return prompt + example.answer, len(prompt) + len(example.answer)

    def _render(self, example: Example, *, answered: bool) -> str:
        messages = list(example.messages)
        if answered:
            messages.append({"role": "assistant", "content": example.answer})
        try:
            return self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=not answered)
        except Exception as error:
            raise DataError(
                "TemplateMismatch",
                f"The chat template of {self._uri} refuses the messages of line {example.line}: {error}.",
                "Correct the row, or use a model whose template takes such conversations.",
            ) from error

    def _tokens(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return encoded["input_ids"], encoded["offset_mapping"]

    def _begun(self, ids: list[int]) -> list[int]:
        bos = self._tokenizer.bos_token_id
        begun = ids if bos is None or ids[:1] == [bos] else [bos, *ids]
        return [*self._before, *begun]
