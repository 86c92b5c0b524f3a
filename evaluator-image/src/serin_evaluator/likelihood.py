"""How likely a model finds given answers: the log-likelihood of the answer's tokens after its prompt.

Prompts are padded on the left, so that all answers of a batch end at the same place and only the last positions'
logits are computed. Not here: tokens from text (`prompts.py`) and metrics (`metrics.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from serin_evaluator.batches import left_padded, length_sorted
from serin_evaluator.measured import Likelihood, Pair
from serin_evaluator.parts import Parts

MOST_LOGITS = 64_000_000
"""Logits in memory at once (256 MB in fp32)."""


@torch.inference_mode()
def measure_likelihood(
    model: Any,
    pairs: Mapping[int, Pair],
    progress: Callable[[int], None] = lambda done: None,
    parts: Parts[Likelihood] | None = None,
) -> dict[int, Likelihood]:
    """The likelihood of each pair's answer, by id; batches that were measured before are not measured again."""
    parts = parts or Parts(None, Likelihood)
    measured: dict[int, Likelihood] = {}
    longest = max((len(pair.answer) for pair in pairs.values()), default=1)
    most = max(1, MOST_LOGITS // ((longest + 1) * model.config.vocab_size))
    lengths = {one: len(pair.prompt) + len(pair.answer) for one, pair in pairs.items()}
    for ids in parts.batches(length_sorted(lengths, most_rows=most)):
        rows = parts.of(ids)
        if rows is None:
            rows = dict(zip(ids, _batch(model, [pairs[one] for one in ids]), strict=True))
            parts.keep(rows)
        measured.update(rows)
        progress(len(measured))
    return measured


def _batch(model: Any, pairs: Sequence[Pair]) -> list[Likelihood]:
    tokens, mask = left_padded([pair.prompt + pair.answer for pair in pairs], model.device)
    keep = max(len(pair.answer) for pair in pairs) + 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(
        input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=keep
    ).logits[:, -keep:-1]
    targets = tokens[:, -(keep - 1) :]
    chosen = log_likelihoods(logits, torch.arange(len(pairs), device=model.device), targets)
    right = logits.argmax(-1) == targets
    return [
        Likelihood(
            negative_log_likelihood=-chosen[row, -len(pair.answer) :].sum().item(),
            tokens=len(pair.answer),
            correct=int(right[row, -len(pair.answer) :].sum().item()),
        )
        for row, pair in enumerate(pairs)
    ]


def log_likelihoods(logits: torch.Tensor, owners: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The log-likelihood of each row's targets by the logits of its owner, without a softmax of the whole vocabulary."""
    full = logits.float()
    # What stands before a shorter answer is not asked for; tokens of a learned prompt are behind the vocabulary.
    targets = targets.clamp(max=full.shape[-1] - 1)
    whole = full.logsumexp(-1)
    places = torch.arange(targets.shape[1], device=targets.device)
    return (full[owners.unsqueeze(1), places, targets] - whole[owners]).double()
