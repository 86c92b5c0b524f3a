"""From what was measured of a model on each example to the metrics' samples.

Pure: a new metric over old measurements costs nothing. Not here: the measuring (`likelihood.py`, `generation.py`)
and the uncertainty (`uncertainty.py`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from serin_evaluator.config import Metric
from serin_evaluator.uncertainty import EXPONENTIAL, Sample


@dataclass(frozen=True)
class Pair:
    """The tokens of a prompt and of the answer to it."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True)
class Likelihood:
    """How likely a model finds the answer of one example: minus the log-likelihood of its tokens, in nats."""

    negative_log_likelihood: float
    tokens: int
    correct: int
    """Tokens that the model itself would have chosen, given the ones before."""


@dataclass(frozen=True)
class Generation:
    """What a model answers to the prompt of one example."""

    text: str
    tokens: int
    finish: str
    """`stop`: it ended by itself or at a stop string. `length`: it was cut at the most tokens allowed."""


FROM_LIKELIHOOD: Final = frozenset({Metric.PERPLEXITY, Metric.CROSS_ENTROPY, Metric.TOKEN_ACCURACY})


def likelihood_sample(metric: Metric, measured: Mapping[int, Likelihood]) -> Sample:
    """The sample of a metric that reads likelihoods; examples weigh by their tokens."""
    ids = tuple(sorted(measured))
    rows = [measured[one] for one in ids]
    weights = np.array([row.tokens for row in rows], dtype=float)
    if metric is Metric.TOKEN_ACCURACY:
        right = np.array([row.correct for row in rows], dtype=float)
        return Sample(ids, right, weights, lowest=0.0, highest=1.0)
    losses = np.array([row.negative_log_likelihood for row in rows], dtype=float)
    if metric is Metric.PERPLEXITY:
        return Sample(ids, losses, weights, EXPONENTIAL, lowest=1.0)
    return Sample(ids, losses, weights, lowest=0.0)


def generation_sample(metric: Metric, measured: Mapping[int, Generation], answers: Mapping[int, str]) -> Sample:
    """The sample of a metric that compares a model's answers with the right ones; examples weigh the same."""
    ids = tuple(sorted(measured))
    score = _TEXT_METRICS[metric]
    values = np.array([score(measured[one].text, answers[one]) for one in ids], dtype=float)
    return Sample(ids, values, np.ones(len(ids)), lowest=0.0, highest=1.0)


def exact_match(text: str, answer: str) -> float:
    """1 when the texts are the same but for white space around them."""
    return float(text.strip() == answer.strip())


def rouge_l(text: str, answer: str) -> float:
    """ROUGE-L (Lin 2004, aclanthology.org/W04-1013): F1 of the longest common subsequence of words.

    Words are runs of a-z and 0-9 in lower case, as in the `rouge-score` package, so that numbers are comparable.
    """
    said, right = _words(text), _words(answer)
    common = _longest_common_subsequence(said, right)
    return 2 * common / (len(said) + len(right)) if common else 0.0


_TEXT_METRICS: Final[Mapping[Metric, Callable[[str, str], float]]] = {
    Metric.EXACT_MATCH: exact_match,
    Metric.ROUGE_L: rouge_l,
}


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _longest_common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    """Its length, by the bit-parallel method (Crochemore et al. 2001): a whole row of the table is one integer."""
    places: dict[str, int] = {}
    for index, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << index
    everything = (1 << len(left)) - 1
    row = everything
    for word in right:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & everything
    return len(left) - row.bit_count()
