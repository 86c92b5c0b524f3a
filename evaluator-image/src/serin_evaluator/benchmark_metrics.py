"""From what lm-evaluation-harness says of each row to samples of our metrics, with the uncertainty of all others.

The harness has a function for each metric that makes one number of all rows; here the same number comes of sums over rows
(held against the harness's own functions in a test), so it has an interval and can be compared by pairs. Pure.
Not here: the rows' values, which the harness computes (`benchmarks.py`).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from serin_evaluator.config import Metric
from serin_evaluator.corpus import corpus_sample
from serin_evaluator.curves import Array
from serin_evaluator.labels import WORST_BRIER, ends
from serin_evaluator.sums import Sums
from serin_evaluator.uncertainty import EXPONENTIAL, AnySample, Sample

NAMES: Final[Mapping[Metric, str]] = {
    Metric.ACCURACY: "acc",
    Metric.ACCURACY_NORM: "acc_norm",
    Metric.EXACT_MATCH: "exact_match",
    Metric.F1: "f1",
    Metric.MCC: "mcc",
    Metric.BRIER: "brier_score",
    Metric.BLEU: "bleu",
    Metric.CHR_F: "chrf",
    Metric.WORD_PERPLEXITY: "word_perplexity",
    Metric.BYTE_PERPLEXITY: "byte_perplexity",
    Metric.BITS_PER_BYTE: "bits_per_byte",
}
"""What the harness calls our metrics."""
POOLED: Final = frozenset({"mean", "brier_score"})
"""Aggregations of which the rows of several tasks together have one as well: the mean over all of them."""
_MOST_LABELS: Final = 16


class Unfit(ValueError):
    """Values of which this metric cannot be made."""


def value_sample(metric: Metric, aggregation: str, values: Mapping[int, Any]) -> AnySample:
    """The sample of a metric whose rows the harness would put together by `aggregation`."""
    return AGGREGATIONS[aggregation](metric, dict(sorted(values.items())))


def _mean(metric: Metric, values: Mapping[int, Any]) -> Sample:
    numbers = np.array([float(value) for value in values.values()], dtype=float)
    highest = WORST_BRIER if metric is Metric.BRIER else 100.0 if metric in (Metric.BLEU, Metric.CHR_F) else 1.0
    lowest = -1.0 if metric is Metric.MCC else 0.0
    if len(numbers) and not (lowest <= numbers.min() and numbers.max() <= highest):
        raise Unfit(
            f"it goes from {numbers.min():.6g} to {numbers.max():.6g}, and {metric} from {lowest:g} to {highest:g}"
        )
    return Sample(tuple(values), numbers, np.ones(len(numbers)), lowest=lowest, highest=highest)


def _brier(metric: Metric, values: Mapping[int, Any]) -> Sample:
    losses = {one: _brier_of(int(right), np.asarray(shares, dtype=float)) for one, (right, shares) in values.items()}
    return _mean(metric, losses)


def _brier_of(right: int, shares: Array) -> float:
    truth = np.zeros(len(shares))
    truth[right] = 1.0
    return float(((shares - truth) ** 2).sum())


def _f1(_: Metric, values: Mapping[int, Any]) -> Sums:
    pairs = [(int(right), int(said)) for right, said in values.values()]
    if not {one for pair in pairs for one in pair} <= {0, 1}:
        raise Unfit("its labels are more than 0 and 1, and F1 is of two labels")
    rows = [(right and said, said and not right, right and not said) for right, said in pairs]
    alone = [float(right == said) for right, said in pairs]
    counts = np.array(rows, dtype=float).reshape(-1, 3)
    return Sums(tuple(values), counts, f1, np.array(alone), highest=1.0, ends=ends(counts) if rows else None)


def f1(sums: Array) -> Array:
    """F1 of sums [chosen rightly, chosen wrongly, not chosen though right] of label 1."""
    hits, around = 2 * sums[..., 0], 2 * sums[..., 0] + sums[..., 1] + sums[..., 2]
    return np.divide(hits, around, out=np.zeros_like(hits), where=around > 0)


def _mcc(_: Metric, values: Mapping[int, Any]) -> Sums:
    pairs = [(int(right), int(said)) for right, said in values.values()]
    labels = {label: place for place, label in enumerate(sorted({one for pair in pairs for one in pair}))}
    if len(labels) > _MOST_LABELS:
        raise Unfit(f"it has {len(labels)} labels, and MCC is made of at most {_MOST_LABELS} here")
    rows = np.zeros((len(pairs), max(len(labels), 1), max(len(labels), 1)))
    for row, (right, said) in zip(rows, pairs, strict=True):
        row[labels[right], labels[said]] = 1.0
    alone = [float(right == said) for right, said in pairs]
    counts = rows.reshape(len(pairs), -1)
    both = _ends_of_tables(counts) if pairs else None
    return Sums(tuple(values), counts, mcc, np.array(alone), lowest=-1.0, highest=1.0, ends=both)


def _ends_of_tables(rows: Array) -> tuple[Array, Array]:
    """What an example with the usual labels adds that is given any other label, and the right one."""
    size = math.isqrt(rows.shape[-1])
    right = np.diag(rows.mean(0).reshape(size, size).sum(-1))
    others = 1.0 - np.eye(size)
    return (right @ others / max(size - 1, 1)).ravel(), right.ravel()


def mcc(sums: Array) -> Array:
    """Matthews' correlation (Gorodkin 2004 for more than two labels) of sums that are a confusion matrix."""
    size = math.isqrt(sums.shape[-1])
    table = sums.reshape(*sums.shape[:-1], size, size)
    right, said, all_of = table.sum(-1), table.sum(-2), sums.sum(-1)
    hits = np.trace(table, axis1=-2, axis2=-1)
    above = hits * all_of - (right * said).sum(-1)
    below = np.sqrt(np.maximum((all_of**2 - (said**2).sum(-1)) * (all_of**2 - (right**2).sum(-1)), 0.0))
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _weighted_perplexity(_: Metric, values: Mapping[int, Any]) -> Sample:
    losses, weights = _weighted(values)
    return Sample(tuple(values), losses, weights, EXPONENTIAL, lowest=1.0)


def _bits_per_byte(_: Metric, values: Mapping[int, Any]) -> Sample:
    losses, weights = _weighted(values)
    return Sample(tuple(values), losses / math.log(2), weights, lowest=0.0)


def _weighted(values: Mapping[int, Any]) -> tuple[Array, Array]:
    """Losses and the numbers of words or bytes that they are of."""
    rows = np.array([(-float(likelihood), float(size)) for likelihood, size in values.values()], dtype=float)
    rows = rows.reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _corpus(metric: Metric, values: Mapping[int, Any]) -> Sums:
    answers = {one: _only(right) for one, (right, _) in values.items()}
    return corpus_sample(metric, {one: str(said) for one, (_, said) in values.items()}, answers)


def _only(right: Any) -> str:
    if isinstance(right, list | tuple):
        if len(right) != 1:
            raise Unfit(f"a row has {len(right)} right answers, and this metric is made of one here")
        right = right[0]
    return str(right)


AGGREGATIONS: Final[Mapping[str, Callable[[Metric, Mapping[int, Any]], AnySample]]] = {
    "mean": _mean,
    "brier_score": _brier,
    "f1": _f1,
    "matthews_corrcoef": _mcc,
    "weighted_perplexity": _weighted_perplexity,
    "bits_per_byte": _bits_per_byte,
    "bleu": _corpus,
    "chrf": _corpus,
}
"""The harness's functions, by its names of them, of which ours make the same number."""
