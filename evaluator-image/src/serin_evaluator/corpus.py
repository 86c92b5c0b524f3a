"""BLEU and chrF of a whole suite, by sacrebleu: it splits the texts and counts; the sums are put together here for many
resamples at once, by the formulas that it has (held against it in tests). Both go from 0 to 100, as everybody writes
them. Not here: resampling (`sums.py`).
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from serin_evaluator.config import Metric
from serin_evaluator.curves import Array
from serin_evaluator.sums import Sums

_ORDERS: Final = 4
_BETA_SQUARED: Final = 4.0
HIGHEST: Final = 100.0
OF_CORPORA: Final = frozenset({Metric.BLEU, Metric.CHR_F})


def corpus_sample(metric: Metric, said: Mapping[int, str], answers: Mapping[int, str]) -> Sums:
    """The sample of BLEU or ChrF."""
    ids = tuple(sorted(said))
    library, of = (_bleu(), bleu) if metric is Metric.BLEU else (_chrf(), chrf)
    rows = (
        library._extract_corpus_statistics([said[one] for one in ids], [[answers[one] for one in ids]]) if ids else []
    )
    library.effective_order = True  # one example alone may have no four words in a row, and is scored by what it has
    alone = np.array([library._compute_score_from_stats(list(row)).score for row in rows], dtype=float)
    counts = np.array(rows, dtype=float)
    return Sums(ids, counts, of, alone, highest=HIGHEST, ends=_ends(metric, counts) if ids else None)


def _ends(metric: Metric, rows: Array) -> tuple[Array, Array]:
    """What an example of the usual length adds of whose n-grams none is found, and one that says the right answer."""
    worst = rows.mean(0)
    best = worst.copy()
    if metric is Metric.CHR_F:
        worst[2::3] = 0.0
        best[0::3] = best[2::3] = best[1::3]
    else:
        worst[2 : 2 + _ORDERS] = 0.0
        best[0] = best[1]
        best[2 : 2 + _ORDERS] = best[2 + _ORDERS :] = np.maximum(best[1] - np.arange(_ORDERS), 0.0)
    return worst, best


def signatures() -> dict[Metric, str]:
    """What the scores can be compared under, as sacrebleu's users write it."""
    found: dict[Metric, str] = {}
    for metric, library in ((Metric.BLEU, _bleu()), (Metric.CHR_F, _chrf())):
        library.num_refs = 1
        found[metric] = str(library.get_signature())
    return found


def _bleu() -> Any:
    from sacrebleu.metrics import BLEU  # half a second to import: only where it is asked for

    return BLEU()


def _chrf() -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()


def bleu(sums: Array) -> Array:
    """BLEU of sums [length said, length of the answers, found n-grams by order, said n-grams by order], smoothed as
    `exp` does: each order without a hit counts half as much as the one before it. Without any four words in a row it
    is 0."""
    said, right = sums[..., 0], sums[..., 1]
    found, total = sums[..., 2 : 2 + _ORDERS], sums[..., 2 + _ORDERS :]
    with np.errstate(all="ignore"):
        missed = np.cumsum(found == 0, axis=-1)
        precision = np.where(found > 0, found / total, 1.0 / (2.0**missed * total))
        logs = np.log(precision).mean(-1)
        short = np.where(said < right, np.exp(1 - right / said), 1.0)
        score = HIGHEST * short * np.exp(logs)
    return np.where((found.sum(-1) > 0) & (total > 0).all(-1), score, 0.0)


def chrf(sums: Array) -> Array:
    """chrF2 of sums [n-grams said, n-grams in the answers, found n-grams] by order."""
    said, right, found = (sums[..., place::3] for place in range(3))
    both = (said > 0) & (right > 0)
    with np.errstate(all="ignore"):
        orders = both.sum(-1)
        precision = np.where(both, found / said, 0.0).sum(-1) / orders
        recall = np.where(both, found / right, 0.0).sum(-1) / orders
        score = (1 + _BETA_SQUARED) * precision * recall / (_BETA_SQUARED * precision + recall)
    return np.where((orders > 0) & (precision + recall > 0), HIGHEST * np.nan_to_num(score), 0.0)
