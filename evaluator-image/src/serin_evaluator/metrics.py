"""From what was measured of a model on each example to the metrics' samples.

Pure: a new metric over old measurements costs nothing. Not here: the measuring (`likelihood.py`, `generation.py`)
and the uncertainty (`uncertainty.py`).
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from serin_evaluator.config import OF_BENCHMARKS_ONLY, OF_CHOICES, OF_CLASSIFIERS, OF_SPEED, PAIRWISE, Metric
from serin_evaluator.corpus import corpus_sample
from serin_evaluator.measured import Generation, Likelihood, Speed
from serin_evaluator.meteor import meteor
from serin_evaluator.sums import Sums
from serin_evaluator.texts import exact_match, rouge_1, rouge_2, rouge_l, token_f1
from serin_evaluator.uncertainty import EXPONENTIAL, Sample

FROM_LIKELIHOOD: Final = frozenset({Metric.PERPLEXITY, Metric.CROSS_ENTROPY, Metric.TOKEN_ACCURACY})
_OTHERS: Final = OF_CHOICES | OF_SPEED | OF_CLASSIFIERS | PAIRWISE | OF_BENCHMARKS_ONLY
FROM_GENERATION: Final = frozenset(Metric) - FROM_LIKELIHOOD - _OTHERS
LOWER_IS_BETTER: Final = frozenset(
    {
        Metric.PERPLEXITY,
        Metric.CROSS_ENTROPY,
        Metric.BRIER,
        Metric.ECE,
        Metric.ADAPTIVE_ECE,
        Metric.TIME_TO_FIRST_TOKEN,
        Metric.TIME_PER_OUTPUT_TOKEN,
        Metric.PEAK_MEMORY,
        Metric.TOXICITY,
        Metric.BIAS,
        Metric.OVER_REFUSAL,
        Metric.JAILBREAK_SUCCESS,
        Metric.WORD_PERPLEXITY,
        Metric.BYTE_PERPLEXITY,
        Metric.BITS_PER_BYTE,
    }
)
UNITS: Final[Mapping[Metric, str]] = {
    Metric.PERPLEXITY: "choices per token",
    Metric.CROSS_ENTROPY: "nats per token",
    Metric.BRIER: "squared error, 0 to 2",
    Metric.BLEU: "0 to 100",
    Metric.CHR_F: "0 to 100",
    Metric.TIME_TO_FIRST_TOKEN: "seconds, on the evaluator's machine",
    Metric.TIME_PER_OUTPUT_TOKEN: "seconds per token, on the evaluator's machine",
    Metric.TOKENS_PER_SECOND: "tokens per second of one answer, on the evaluator's machine",
    Metric.PEAK_MEMORY: "MiB of the evaluator, mean over answers",
    Metric.MCC: "correlation, -1 to 1",
    Metric.WORD_PERPLEXITY: "choices per word",
    Metric.BYTE_PERPLEXITY: "choices per byte",
    Metric.BITS_PER_BYTE: "bits per byte",
    Metric.JUDGE_WIN_RATE: "share of wins, ties half, 0 to 1",
    Metric.HUMAN_WIN_RATE: "share of wins, ties half, 0 to 1",
}
"""What a number of the metric is; all others are shares from 0 to 1."""


def unit(metric: Metric) -> str:
    """What a number of this metric is."""
    return UNITS.get(metric, "share, 0 to 1")


def direction(metric: Metric) -> str:
    """Which numbers are better."""
    return "LowerIsBetter" if metric in LOWER_IS_BETTER else "HigherIsBetter"


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


def generation_sample(metric: Metric, measured: Mapping[int, Generation], answers: Mapping[int, str]) -> Sample | Sums:
    """The sample of a metric that compares a model's answers with the right ones."""
    if metric in (Metric.BLEU, Metric.CHR_F):
        return corpus_sample(metric, {one: row.text for one, row in measured.items()}, answers)
    ids = tuple(sorted(measured))
    score = _TEXT_METRICS[metric]
    values = np.array([score(measured[one].text, answers[one]) for one in ids], dtype=float)
    return Sample(ids, values, np.ones(len(ids)), lowest=0.0, highest=1.0)


def speed_sample(metric: Metric, measured: Mapping[int, Speed]) -> Sample:
    """The sample of a metric that reads times or memory. Rates weigh by tokens or by seconds."""
    least = 2 if metric is Metric.TIME_PER_OUTPUT_TOKEN else 1  # one token alone has no token after the first
    ids = tuple(one for one in sorted(measured) if measured[one].tokens >= least)
    rows = [measured[one] for one in ids]
    first = np.array([row.first_seconds for row in rows], dtype=float)
    more = np.array([row.more_seconds for row in rows], dtype=float)
    tokens = np.array([row.tokens for row in rows], dtype=float)
    if metric is Metric.TIME_TO_FIRST_TOKEN:
        return Sample(ids, first, np.ones(len(ids)), lowest=0.0)
    if metric is Metric.TIME_PER_OUTPUT_TOKEN:
        return Sample(ids, more, tokens - 1, lowest=0.0)
    if metric is Metric.TOKENS_PER_SECOND:
        return Sample(ids, tokens, first + more, lowest=0.0)
    return Sample(ids, np.array([row.peak_bytes for row in rows]) / 2**20, np.ones(len(ids)), lowest=0.0)


_TEXT_METRICS: Final[Mapping[Metric, Callable[[str, str], float]]] = {
    Metric.EXACT_MATCH: exact_match,
    Metric.TOKEN_F1: token_f1,
    Metric.ROUGE_1: rouge_1,
    Metric.ROUGE_2: rouge_2,
    Metric.ROUGE_L: rouge_l,
    Metric.METEOR: meteor,
}
