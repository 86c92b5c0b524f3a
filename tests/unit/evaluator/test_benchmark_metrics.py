"""What the harness says of rows becomes samples: known answers, and formulas made another way."""

import math
from typing import Any

import numpy as np
import pytest
from sacrebleu import corpus_bleu, corpus_chrf
from serin_evaluator.benchmark_metrics import AGGREGATIONS, NAMES, POOLED, Unfit, value_sample
from serin_evaluator.config import OF_BENCHMARKS, Metric
from serin_evaluator.uncertainty import Sample, difference, estimate


def of(metric: Metric, aggregation: str, values: list[Any]) -> Any:
    return value_sample(metric, aggregation, dict(enumerate(values, start=1)))


def test_every_metric_of_benchmarks_has_the_harnesss_name() -> None:
    assert set(NAMES) == OF_BENCHMARKS
    assert AGGREGATIONS.keys() > POOLED


def test_a_share_of_right_rows_is_a_share() -> None:
    sample = of(Metric.ACCURACY, "mean", [1.0, 0.0, True, 1])

    assert (sample.value(), sample.right_or_wrong(), sample.lowest, sample.highest) == (0.75, True, 0.0, 1.0)


def test_brier_is_the_mean_over_rows_of_any_number_of_choices() -> None:
    sample = of(Metric.BRIER, "brier_score", [(0, np.array([0.7, 0.2, 0.1])), (1, np.array([1.0, 0.0]))])

    assert sample.value() == pytest.approx((0.09 + 0.04 + 0.01 + 2.0) / 2)
    assert sample.highest == 2.0


def test_perplexities_weigh_by_words_and_bytes() -> None:
    rows = [(-12.0, 4), (-3.0, 6)]

    assert of(Metric.WORD_PERPLEXITY, "weighted_perplexity", rows).value() == pytest.approx(math.exp(1.5))
    assert of(Metric.BITS_PER_BYTE, "bits_per_byte", rows).value() == pytest.approx(1.5 / math.log(2))


def test_f1_is_of_label_one() -> None:
    # Two chosen rightly, one wrongly, one not chosen though right: precision and recall are 2/3.
    sample = of(Metric.F1, "f1", [(1, 1), (1, 1), (0, 1), (1, 0), (0, 0)])

    assert sample.value() == pytest.approx(2 / 3)
    assert of(Metric.F1, "f1", [(0, 0), (0, 0)]).value() == 0.0
    with pytest.raises(Unfit, match="F1 is of two labels"):
        of(Metric.F1, "f1", [(0, 1), (2, 1)])


def test_matthews_correlation_has_its_textbook_values() -> None:
    sample = of(Metric.MCC, "matthews_corrcoef", [(1, 1), (1, 0), (1, 1), (0, 1)])

    assert sample.value() == pytest.approx(-1 / 3)
    assert of(Metric.MCC, "matthews_corrcoef", [(1, 1), (0, 0)]).value() == pytest.approx(1.0)
    assert of(Metric.MCC, "matthews_corrcoef", [(1, 0), (0, 1)]).value() == pytest.approx(-1.0)
    assert of(Metric.MCC, "matthews_corrcoef", [(1, 1), (0, 1)]).value() == 0.0  # always the same label: none


def test_matthews_correlation_of_several_labels_is_the_correlation_of_their_indicators() -> None:
    drawn = np.random.default_rng(3)
    right, said = drawn.integers(0, 4, 200), drawn.integers(0, 4, 200)
    said = np.where(drawn.random(200) < 0.5, right, said)
    ours = of(Metric.MCC, "matthews_corrcoef", list(zip(right.tolist(), said.tolist(), strict=True))).value()
    one, other = np.eye(4)[right], np.eye(4)[said]
    one, other = one - one.mean(0), other - other.mean(0)

    assert ours == pytest.approx((one * other).sum() / math.sqrt((one**2).sum() * (other**2).sum()))


def test_corpus_metrics_are_sacrebleus() -> None:
    pairs = [
        ("the pod runs on a node", "the pod runs on the node"),
        (["a field of a pod"], "a field of the pod"),
        ("no", "a node is there"),
    ]
    said, right = [said for _, said in pairs], [[right if isinstance(right, str) else right[0] for right, _ in pairs]]

    assert of(Metric.BLEU, "bleu", [list(pair) for pair in pairs]).value() == pytest.approx(
        corpus_bleu(said, right).score
    )
    assert of(Metric.CHR_F, "chrf", pairs).value() == pytest.approx(corpus_chrf(said, right).score)
    with pytest.raises(Unfit, match="a row has 2 right answers"):
        of(Metric.BLEU, "bleu", [(["a", "b"], "a")])


def test_a_metric_out_of_its_range_is_refused() -> None:
    with pytest.raises(Unfit, match="it goes from 0 to 35, and ExactMatch from 0 to 1"):
        of(Metric.EXACT_MATCH, "mean", [0.0, 35.0])


@pytest.mark.parametrize(
    ("metric", "aggregation", "draw"),
    [
        (Metric.F1, "f1", lambda drawn: (int(drawn.random() < 0.4), int(drawn.random() < 0.5))),
        (Metric.MCC, "matthews_corrcoef", lambda drawn: (int(drawn.random() < 0.4), int(drawn.random() < 0.5))),
        (Metric.WORD_PERPLEXITY, "weighted_perplexity", lambda drawn: (-30 * drawn.random(), 10)),
    ],
)
def test_every_kind_has_an_interval_and_is_compared_by_pairs(metric: Metric, aggregation: str, draw: Any) -> None:
    drawn = np.random.default_rng(5)
    ours, theirs = (of(metric, aggregation, [draw(drawn) for _ in range(60)]) for _ in range(2))
    made, change = estimate(ours, (7, 1)), difference(ours, theirs, (7, 1))

    assert made.low < made.value < made.high
    assert (made.n, len(made.curve)) == (60, 13)
    assert change is not None
    assert change.low < change.value < change.high
    assert change.value == pytest.approx(ours.value() - theirs.value())


@pytest.mark.parametrize(("metric", "aggregation"), [(Metric.F1, "f1"), (Metric.MCC, "matthews_corrcoef")])
def test_one_wrong_row_in_sixty_leaves_the_interval_an_end(metric: Metric, aggregation: str) -> None:
    rows = {line: (line % 2, 1 if line == 0 else line % 2) for line in range(60)}

    made = estimate(value_sample(metric, aggregation, rows), (7,))

    assert 0.8 < made.low < made.value < made.high <= 1.0


def test_rows_are_in_the_order_of_their_numbers() -> None:
    sample = value_sample(Metric.ACCURACY, "mean", {9: 1.0, 2: 0.0})

    assert isinstance(sample, Sample)
    assert sample.ids == (2, 9)
    assert list(sample.numerators) == [0.0, 1.0]
