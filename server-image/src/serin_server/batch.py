"""The requests that are being answered, as tensors: one row each, padded on the left, with a key-value cache.

Rows join and leave between steps, so a short answer never waits for a long one. Not here: which requests (`engine.py`).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache

from serin_server.sampling import Sampler


class Batch:
    """The rows in progress; `samplers` are in the order of the rows."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.clear()

    def clear(self) -> None:
        """Drop all rows."""
        self.samplers: list[Sampler] = []
        self._cache = DynamicCache()
        self._mask = torch.zeros((0, 0), dtype=torch.long)
        self._padded = False
        self._positions = torch.zeros((0, 1), dtype=torch.long)
        self._chosen = torch.zeros((0, 1), dtype=torch.long)

    def __len__(self) -> int:
        return len(self.samplers)

    def held(self) -> int:
        """Places of the cache that are taken, those of padding too."""
        return self._mask.numel()

    @torch.inference_mode()
    def admit(self, prompts: Sequence[Sequence[int]], samplers: Sequence[Sampler]) -> list[int]:
        """Read new prompts, and join them to the rows; the first token of each."""
        width = max(len(prompt) for prompt in prompts)
        tokens = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        cache = DynamicCache()
        chosen = self._forward(tokens, _needed(mask), positions, cache, samplers)
        self._join(cache, mask)
        self._positions = torch.cat([self._positions, positions[:, -1:]])
        self._chosen = torch.cat([self._chosen, chosen])
        self.samplers = [*self.samplers, *samplers]
        return chosen.squeeze(1).tolist()

    @torch.inference_mode()
    def step(self) -> list[int]:
        """The next token of every row."""
        self._mask = torch.cat([self._mask, self._mask.new_ones((len(self), 1))], dim=1)
        self._positions = self._positions + 1
        mask = self._mask if self._padded else None
        self._chosen = self._forward(self._chosen, mask, self._positions, self._cache, self.samplers)
        return self._chosen.squeeze(1).tolist()

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        """Let all other rows leave, and with them the padding that only they needed."""
        if not rows:
            self.clear()
            return
        index = torch.tensor(rows)
        self.samplers = [self.samplers[row] for row in rows]
        self._positions, self._chosen = self._positions[index], self._chosen[index]
        mask = self._mask[index]
        padding = int(mask.argmax(dim=1).min())
        self._mask = mask[:, padding:]
        self._padded = _needed(self._mask) is not None
        self._cache = _cache_of([(key[index, :, padding:], value[index, :, padding:]) for key, value in self._layers()])

    def _forward(
        self,
        tokens: torch.Tensor,
        mask: torch.Tensor | None,
        positions: torch.Tensor,
        cache: DynamicCache,
        samplers: Sequence[Sampler],
    ) -> torch.Tensor:
        logits = self._model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        chosen = logits.argmax(-1, keepdim=True)
        for row, sampler in enumerate(samplers):
            if not sampler.greedy:
                chosen[row, 0] = sampler.choose(logits[row])
        return chosen

    def _join(self, cache: DynamicCache, mask: torch.Tensor) -> None:
        if not len(self):
            self._cache, self._mask = cache, mask
            self._padded = _needed(mask) is not None
            return
        old, new = self._mask.shape[1], mask.shape[1]
        width = max(old, new)
        self._mask = torch.cat([pad(self._mask, (width - old, 0)), pad(mask, (width - new, 0))])
        joined = [
            tuple(
                torch.cat([pad(ours, (0, 0, width - old, 0)), pad(theirs, (0, 0, width - new, 0))])
                for ours, theirs in zip(here, there, strict=True)
            )
            for here, there in zip(self._layers(), _layers(cache), strict=True)
        ]
        self._cache = _cache_of(joined)
        self._padded = _needed(self._mask) is not None

    def _layers(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return _layers(self._cache)


def _needed(mask: torch.Tensor) -> torch.Tensor | None:
    """None where no row is padded: the model then makes no mask of its own at each step, a sixth of a small model's time."""
    return None if bool(mask.all()) else mask


def _layers(cache: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(layer.keys, layer.values) for layer in cache.layers]


def _cache_of(layers: Sequence[tuple[torch.Tensor, ...]]) -> DynamicCache:
    return DynamicCache(ddp_cache_data=layers)
