"""What a model answers by itself: greedy decoding of many prompts at once, with a key-value cache and stop strings.

Greedy, because a gate must give the same answer twice. Not here: sampling (the server's business) and metrics.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from serin_evaluator.batches import left_padded, length_sorted
from serin_evaluator.measured import Generation
from serin_evaluator.parts import Parts


@dataclass(frozen=True)
class Limits:
    """When an answer ends: at an end token, at a stop string, or after this many tokens."""

    end_tokens: Collection[int]
    stop: Sequence[str]
    max_new_tokens: int


@dataclass
class Answer:
    """One answer in the making."""

    limits: Limits
    decode: Callable[[Sequence[int]], str]
    tokens: list[int] = field(default_factory=list)
    finish: str = ""

    def take(self, token: int) -> None:
        if token in self.limits.end_tokens:
            self.finish = "stop"
            return
        self.tokens.append(token)
        if self._stop_string_seen():
            self.finish = "stop"
        elif len(self.tokens) >= self.limits.max_new_tokens:
            self.finish = "length"

    def _stop_string_seen(self) -> bool:
        if not self.limits.stop:
            return False
        # A character may be as many tokens as it has bytes, so this tail holds any stop string that ends now.
        tail = self.tokens[-4 * max(len(stop) for stop in self.limits.stop) - 4 :]
        text = self.decode(tail)
        return any(stop in text for stop in self.limits.stop)

    def generation(self) -> Generation:
        text = self.decode(self.tokens)
        cuts = [text.index(stop) for stop in self.limits.stop if stop in text]
        return Generation(text=text[: min(cuts)] if cuts else text, tokens=len(self.tokens), finish=self.finish)


def decoder(tokenizer: Any) -> Callable[[Sequence[int]], str]:
    """From tokens to the text that a user would see."""

    def decode(tokens: Sequence[int]) -> str:
        return tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    return decode


def measure_generation(
    model: Any,
    tokenizer: Any,
    prompts: Mapping[int, Sequence[int]],
    limits: Limits,
    progress: Callable[[int], None] = lambda done: None,
    parts: Parts[Generation] | None = None,
) -> dict[int, Generation]:
    """The model's answer to each prompt, by id; batches that were answered before are not answered again."""
    parts = parts or Parts(None, Generation)

    decode = decoder(tokenizer)
    measured: dict[int, Generation] = {}
    lengths = {one: len(prompt) for one, prompt in prompts.items()}
    for ids in parts.batches(length_sorted(lengths, room=limits.max_new_tokens)):
        rows = parts.of(ids)
        if rows is None:
            answers = [Answer(limits, decode) for _ in ids]
            _decode_batch(model, [prompts[one] for one in ids], answers)
            rows = {one: answer.generation() for one, answer in zip(ids, answers, strict=True)}
            parts.keep(rows)
        measured.update(rows)
        progress(len(measured))
    return measured


@torch.inference_mode()
def _decode_batch(model: Any, prompts: Sequence[Sequence[int]], answers: list[Answer]) -> None:
    """Fill the answers; rows that are done leave the batch."""
    tokens, mask = left_padded(prompts, model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache()
    while True:
        logits = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        chosen = logits.argmax(-1)
        for answer, token in zip(answers, chosen.tolist(), strict=True):
            answer.take(token)
        left = [row for row, answer in enumerate(answers) if not answer.finish]
        if not left:
            return
        if len(left) < len(answers):
            rows = torch.tensor(left, device=model.device)
            answers = [answers[row] for row in left]
            chosen, mask, positions = chosen[rows], mask[rows], positions[rows]
            cache.batch_select_indices(rows)
        tokens = chosen.unsqueeze(1)
        mask = torch.cat([mask, mask.new_ones((len(answers), 1))], dim=1)
        positions = positions[:, -1:] + 1
