"""How likely a model finds each of the answers that it may choose from, their common prompt being read once.

The tokens that all answers of an example begin with are read in a batch of prompts, whose key-value cache then stands before
each answer: with four choices that is about a quarter of the work. Only the positions that say something of an answer are
projected to the vocabulary; answers of one token need no second pass at all. Not here: tokens from text (`prompts.py`).
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import DynamicCache

from serin_evaluator.batches import MOST_ROWS, MOST_TOKENS, left_padded, length_sorted
from serin_evaluator.likelihood import MOST_LOGITS, log_likelihoods, measure_likelihood
from serin_evaluator.measured import Choice, Likelihood, Pair
from serin_evaluator.parts import Parts

_NOTHING: Final = 0
"""Stands where an answer has ended; what comes after is never looked at."""


@dataclass(frozen=True)
class Asked:
    """The choices of one example: the tokens that all of them begin with, and how each goes on.

    Of an answer's rest the first `skip` tokens still belong to its prompt: a text may be cut differently before an answer.
    """

    shared: tuple[int, ...]
    rests: tuple[tuple[int, ...], ...]
    skips: tuple[int, ...]

    @property
    def widest(self) -> int:
        """The length of the longest choice with its prompt."""
        return len(self.shared) + max(map(len, self.rests))


def asked(pairs: Sequence[Pair]) -> Asked:
    """The choices of one example, given as pairs of prompt and answer."""
    shared = _common(pairs)
    return Asked(
        shared=pairs[0].prompt[:shared],
        rests=tuple((pair.prompt + pair.answer)[shared:] for pair in pairs),
        skips=tuple(len(pair.prompt) - shared for pair in pairs),
    )


def _common(pairs: Sequence[Pair]) -> int:
    """How many tokens all prompts begin with."""
    together = zip(*(pair.prompt for pair in pairs), strict=False)
    return next(
        (at for at, tokens in enumerate(together) if len(set(tokens)) > 1), min(len(one.prompt) for one in pairs)
    )


@torch.inference_mode()
def measure_choices(
    model: Any,
    examples: Mapping[int, Sequence[Pair]],
    progress: Callable[[int], None] = lambda done: None,
    parts: Parts[Choice] | None = None,
    greedy: bool = False,
) -> dict[int, Choice]:
    """The likelihoods of each example's choices, by id; batches that were measured before are not measured again.

    With `greedy` also whether the model would have given each of them by itself.
    """
    parts = parts or Parts(None, Choice)
    measured: dict[int, Choice] = {}
    alone = {one: pairs[0] for one, pairs in examples.items() if len(pairs) == 1}
    for ids in parts.batches(length_sorted({one: len(pair.prompt) + len(pair.answer) for one, pair in alone.items()})):
        rows = parts.of(ids)
        if rows is None:
            read = measure_likelihood(model, {one: alone[one] for one in ids})
            rows = {one: _chosen([found], greedy) for one, found in read.items()}
            parts.keep(rows)
        measured.update(rows)
        progress(len(measured))
    for ids in parts.batches(_batches({one: asked(pairs) for one, pairs in examples.items() if one not in alone})):
        rows = parts.of(ids)
        if rows is None:
            rows = dict(zip(ids, _measure(model, [examples[one] for one in ids], greedy), strict=True))
            parts.keep(rows)
        measured.update(rows)
        progress(len(measured))
    return measured


def _chosen(read: Sequence[Likelihood], greedy: bool) -> Choice:
    """From likelihoods that were measured one by one."""
    logs = tuple(-one.negative_log_likelihood for one in read)
    return Choice(logs, tuple(one.correct == one.tokens for one in read) if greedy else ())


def _batches(examples: Mapping[int, Asked]) -> Iterator[list[int]]:
    """Ids of examples of like length, the longest first; those whose choices share nothing stay alone."""
    batch: list[int] = []
    rows = 0
    for one in sorted(examples, key=lambda one: (-len(examples[one].shared), -examples[one].widest, one)):
        more, widest = len(examples[one].rests), max(examples[other].widest for other in [*batch, one])
        full = len(batch) >= MOST_ROWS or (rows + more) * widest > MOST_TOKENS or not examples[one].shared
        if batch and full:
            yield batch
            batch, rows = [], 0
        batch.append(one)
        rows += more
    if batch:
        yield batch


def _measure(model: Any, examples: Sequence[Sequence[Pair]], greedy: bool) -> list[Choice]:
    batch = [asked(pairs) for pairs in examples]
    if not batch[0].shared:
        alone = measure_likelihood(model, dict(enumerate(examples[0])))
        return [_chosen([alone[place] for place in range(len(examples[0]))], greedy)]
    prompts, mask = left_padded([one.shared for one in batch], model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    logits = model(
        input_ids=prompts, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
    ).logits[:, -1:]  # fmt: skip
    rows = [(at, place) for at, one in enumerate(batch) for place in range(len(one.rests))]
    owners = torch.tensor([at for at, _ in rows], device=model.device)
    firsts = torch.tensor([batch[at].rests[place][0] for at, place in rows], device=model.device)
    begun = log_likelihoods(logits, owners, firsts.unsqueeze(1))[:, 0].tolist()
    chosen = (logits.argmax(-1)[owners, 0] == firsts).tolist() if greedy else [True] * len(rows)
    skipped = [batch[at].skips[place] > 0 for at, place in rows]
    sums = {row: 0.0 if skip else first for row, skip, first in zip(rows, skipped, begun, strict=True)}
    itself = {row: skip or first for row, skip, first in zip(rows, skipped, chosen, strict=True)}
    longer = [row for row in rows if len(batch[row[0]].rests[row[1]]) > 1]
    pieces = list(_pieces(batch, longer, prompts.shape[1], model.config.vocab_size))
    for number, piece in enumerate(pieces):
        # The cache grows with what is read: each piece but the last goes on from a copy.
        going_on = cache if number == len(pieces) - 1 else copy.deepcopy(cache)
        for row, (more, right) in zip(piece, _go_on(model, batch, piece, going_on, mask, greedy), strict=True):
            sums[row] += more
            itself[row] = itself[row] and right
    return [
        Choice(
            tuple(sums[at, place] for place in range(len(one.rests))),
            tuple(itself[at, place] for place in range(len(one.rests))) if greedy else (),
        )
        for at, one in enumerate(batch)
    ]


def _pieces(
    batch: Sequence[Asked], rows: Sequence[tuple[int, int]], prompt: int, vocabulary: int
) -> Iterator[list[tuple[int, int]]]:
    """The rows in pieces that fit in memory, in their order."""
    piece: list[tuple[int, int]] = []
    for row in rows:
        longest = max(len(batch[at].rests[place]) for at, place in [*piece, row])
        tokens, logits = (len(piece) + 1) * (prompt + longest), (len(piece) + 1) * longest * vocabulary
        if piece and (tokens > MOST_TOKENS or logits > MOST_LOGITS):
            yield piece
            piece = []
        piece.append(row)
    if piece:
        yield piece


def _go_on(
    model: Any,
    batch: Sequence[Asked],
    rows: Sequence[tuple[int, int]],
    cache: DynamicCache,
    mask: torch.Tensor,
    greedy: bool,
) -> list[tuple[float, bool]]:
    """What the tokens after the first add to each row, and whether they are the likeliest: read after the prompts in the
    cache, padded on the right."""
    rests = [batch[at].rests[place] for at, place in rows]
    width = max(map(len, rests))
    tokens = torch.tensor([[*rest, *[_NOTHING] * (width - len(rest))] for rest in rests], device=model.device)
    owners = torch.tensor([at for at, _ in rows], device=model.device)
    cache.batch_select_indices(owners)
    before = mask[owners]
    read = before.new_tensor([[1] * (len(rest) - 1) + [0] * (width - len(rest)) for rest in rests])
    positions = before.sum(1, keepdim=True) + torch.arange(width - 1, device=model.device)
    logits = model(
        input_ids=tokens[:, :-1],
        attention_mask=torch.cat([before, read], dim=1),
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
    ).logits
    logs = log_likelihoods(logits, torch.arange(len(rests), device=model.device), tokens[:, 1:]).cpu()
    right = (logits.argmax(-1) == tokens[:, 1:]).cpu() if greedy else torch.ones_like(logs, dtype=torch.bool)
    own = [slice(max(0, batch[at].skips[place] - 1), len(rests[row]) - 1) for row, (at, place) in enumerate(rows)]
    return [(sum(logs[row, of].tolist()), bool(right[row, of].all())) for row, of in enumerate(own)]
