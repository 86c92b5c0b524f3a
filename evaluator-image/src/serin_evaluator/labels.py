"""Metrics of a choice among given answers: Accuracy, F1, Brier and the calibration errors.

The model chooses the answer that it finds likeliest; its confidence is that answer's share of the likelihood of all of
them. Not here: how likely it finds them (`likelihood.py`).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from serin_evaluator.calibration import Confidences, by_count, by_width
from serin_evaluator.config import Metric
from serin_evaluator.curves import Array
from serin_evaluator.measured import Choice
from serin_evaluator.sums import Sums
from serin_evaluator.uncertainty import Sample

WORST_BRIER = 2.0


def choice_sample(
    metric: Metric, measured: Mapping[int, Choice], right: Mapping[int, int], labels: Sequence[str]
) -> Sample | Sums | Confidences:
    """The sample of a metric that reads choices; `right` is the place of the right answer among the choices."""
    ids = tuple(sorted(measured))
    shares = [probabilities(measured[one].log_likelihoods) for one in ids]
    chosen = [int(share.argmax()) for share in shares]
    hit = np.array([float(right[one] == said) for one, said in zip(ids, chosen, strict=True)])
    if metric in (Metric.ACCURACY, Metric.F1_MICRO):  # one label each: every miss is one false of both kinds
        return Sample(ids, hit, np.ones(len(ids)), lowest=0.0, highest=1.0)
    if metric is Metric.F1_MACRO:
        rows = counts([right[one] for one in ids], chosen, len(labels))
        return Sums(ids, rows, macro_f1, hit, highest=1.0, ends=ends(rows) if ids else None)
    if metric is Metric.BRIER:
        losses = [brier(share, right[one]) for one, share in zip(ids, shares, strict=True)]
        return Sample(ids, np.array(losses, dtype=float), np.ones(len(ids)), lowest=0.0, highest=WORST_BRIER)
    confidence = np.array([float(share.max()) for share in shares])
    return Confidences(ids, confidence, hit, by_width if metric is Metric.ECE else by_count)


def probabilities(log_likelihoods: Sequence[float]) -> Array:
    """The choices' shares of their common likelihood."""
    logs = np.array(log_likelihoods, dtype=float)
    with np.errstate(all="ignore"):
        weights = np.exp(logs - logs.max())
        return weights / weights.sum()


def brier(shares: Array, right: int) -> float:
    """Brier's score (1950) of one forecast over all choices: 0 is perfect, 2 is sure and wrong."""
    truth = np.zeros(len(shares))
    truth[right] = 1.0
    return float(((shares - truth) ** 2).sum())


def counts(right: Sequence[int], chosen: Sequence[int], labels: int) -> Array:
    """For each example and label: chosen rightly, chosen wrongly, not chosen though right."""
    rows = np.zeros((len(right), labels, 3))
    for row, truth, said in zip(rows, right, chosen, strict=True):
        row[said, 0 if truth == said else 1] += 1
        row[truth, 2] += float(truth != said)
    return rows.reshape(len(right), labels * 3)


def ends(rows: Array) -> tuple[Array, Array]:
    """What an example with the usual labels adds that is chosen wrongly, and rightly."""
    hits, false, missed = rows.mean(0).reshape(-1, 3).T
    nothing = np.zeros_like(hits)
    worst = np.stack([nothing, hits + false, hits + missed], axis=1)
    best = np.stack([hits + missed, nothing, nothing], axis=1)
    return worst.ravel(), best.ravel()


def macro_f1(sums: Array) -> Array:
    """The mean of the labels' F1, over the labels that occur or are chosen (as scikit-learn has it)."""
    by_label = sums.reshape(*sums.shape[:-1], -1, 3)
    hits, false, missed = by_label[..., 0], by_label[..., 1], by_label[..., 2]
    around = 2 * hits + false + missed
    with np.errstate(all="ignore"):
        scores = np.where(around > 0, 2 * hits / around, 0.0)
        return np.nan_to_num(scores.sum(-1) / (around > 0).sum(-1))
