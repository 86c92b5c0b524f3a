"""Both sides mean the same by a metric: the operator judges what the evaluator measures."""

import pytest
from serin_evaluator import config, metrics
from serin_evaluator.corpus import HIGHEST as HIGHEST_OF_CORPUS
from serin_evaluator.labels import WORST_BRIER
from serin_operator.api import v1alpha1


def test_both_sides_know_the_same_metrics() -> None:
    assert [metric.value for metric in v1alpha1.Metric] == [metric.value for metric in config.Metric]


@pytest.mark.parametrize("metric", list(config.Metric))
def test_both_sides_know_which_numbers_are_better(metric: config.Metric) -> None:
    lower = v1alpha1.Metric(metric) in v1alpha1.LOWER_IS_BETTER

    assert metrics.direction(metric) == ("LowerIsBetter" if lower else "HigherIsBetter")


@pytest.mark.parametrize(
    "fact",
    [
        "OF_CHOICES",
        "OF_LABELS",
        "OF_SPEED",
        "OF_REFUSALS",
        "OF_CLASSIFIERS",
        "PAIRWISE",
        "OF_BENCHMARKS",
        "OF_BENCHMARKS_ONLY",
    ],
)
def test_both_sides_know_what_metrics_read(fact: str) -> None:
    assert {str(one) for one in getattr(v1alpha1, fact)} == {str(one) for one in getattr(config, fact)}


def test_both_sides_know_where_a_metric_ends() -> None:
    assert v1alpha1.HIGHEST[v1alpha1.Metric.BRIER] == WORST_BRIER
    assert {v1alpha1.HIGHEST[one] for one in v1alpha1.TO_ONE_HUNDRED} == {HIGHEST_OF_CORPUS}
    assert {one for one in v1alpha1.Metric if one not in v1alpha1.HIGHEST} == {
        "Perplexity", "CrossEntropy", "WordPerplexity", "BytePerplexity", "BitsPerByte", *v1alpha1.OF_SPEED
    }  # fmt: skip


def test_what_takes_the_methods_of_single_examples_has_a_score_of_each() -> None:
    together = {
        v1alpha1.Metric.F1_MACRO,
        v1alpha1.Metric.F1,
        v1alpha1.Metric.MCC,
        *v1alpha1.TO_ONE_HUNDRED,
        *v1alpha1.CALIBRATION,
    }

    assert not together & (v1alpha1.RIGHT_OR_WRONG | v1alpha1.BY_EXAMPLE)
