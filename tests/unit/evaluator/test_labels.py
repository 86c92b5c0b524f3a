"""Metrics of choices have the values that the libraries' documentation shows."""

import numpy as np
import pytest
from serin_evaluator.calibration import Confidences, by_count, by_width
from serin_evaluator.config import Metric
from serin_evaluator.curves import PROBABILITIES
from serin_evaluator.labels import brier, choice_sample, counts, macro_f1, probabilities
from serin_evaluator.measured import Choice
from serin_evaluator.uncertainty import estimate

# scikit-learn's example of f1_score: y_true, y_pred, macro 0.26..., micro 0.33...
TRUTH, CHOSEN = [0, 1, 2, 0, 1, 2], [0, 2, 1, 0, 0, 1]


def choices(chosen: list[int], labels: int = 3) -> dict[int, Choice]:
    """Models that are rather sure of what they choose."""
    return {line: Choice(tuple(-1.0 if place == one else -3.0 for place in range(labels)))
            for line, one in enumerate(chosen)}  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "published"),
    [(Metric.F1_MACRO, 0.26666667), (Metric.F1_MICRO, 1 / 3), (Metric.ACCURACY, 1 / 3)],
)
def test_f1_is_scikit_learns(metric: Metric, published: float) -> None:
    made = choice_sample(metric, choices(CHOSEN), dict(enumerate(TRUTH)), ("a", "b", "c"))

    assert made.value() == pytest.approx(published)


def test_a_label_that_never_occurs_does_not_count() -> None:
    assert macro_f1(counts([0, 1, 1], [0, 1, 0], 5).sum(0)) == pytest.approx((2 / 3 + 2 / 3) / 2)


def test_macro_f1_of_many_resamples_at_once_is_that_of_each() -> None:
    rows = counts(TRUTH, CHOSEN, 3)
    together = macro_f1(np.array([rows[:4].sum(0), rows.sum(0)]))

    assert together == pytest.approx([macro_f1(rows[:4].sum(0)), macro_f1(rows.sum(0))])


def test_the_standard_error_of_macro_f1_is_that_of_resamples() -> None:
    random = np.random.default_rng(2)
    truth = list(random.choice(3, 200, p=[0.6, 0.3, 0.1]))
    chosen = [one if random.random() < 0.7 else int(random.integers(3)) for one in truth]
    made = choice_sample(Metric.F1_MACRO, choices(chosen), dict(enumerate(truth)), ("a", "b", "c"))
    rows = counts(truth, chosen, 3)

    drawn = [float(macro_f1(rows[random.integers(0, 200, 200)].sum(0))) for _ in range(400)]

    assert estimate(made, (7,)).stderr == pytest.approx(np.std(drawn), rel=0.15)


def test_one_wrong_choice_in_sixty_leaves_macro_f1_an_end() -> None:
    truth = [0, 1, 2] * 20
    made = estimate(
        choice_sample(Metric.F1_MACRO, choices([1, *truth[1:]]), dict(enumerate(truth)), ("a", "b", "c")), (7,)
    )

    assert 0.88 < made.low < made.value < made.high <= 1.0


def test_briers_score_is_scikit_learns_for_several_classes() -> None:
    # brier_score_loss(["eggs", "ham", "spam"], [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.2, 0.2, 0.6]]) is 0.146...
    forecasts = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.2, 0.2, 0.6]]

    assert np.mean([brier(np.array(one), right) for right, one in enumerate(forecasts)]) == pytest.approx(0.14666667)


def test_confidence_is_the_choices_share_of_all_likelihoods() -> None:
    assert probabilities([np.log(3), np.log(1)]) == pytest.approx([0.75, 0.25])
    assert probabilities([-2000.0, -2001.0]) == pytest.approx([0.7310586, 0.2689414])


def test_likelihoods_that_are_no_numbers_give_no_score() -> None:
    made = choice_sample(Metric.BRIER, {1: Choice((float("nan"), -1.0))}, {1: 0}, ())

    assert not np.isfinite(made.value())


def test_the_calibration_error_is_torchmetrics() -> None:
    # MulticlassCalibrationError(num_classes=3, n_bins=3, norm="l1") of its documentation's example is 0.2000.
    confidence, right = np.array([0.55, 0.55, 0.60, 0.90]), np.array([0.0, 0.0, 1.0, 1.0])
    # BinaryCalibrationError(n_bins=2, norm="l1") of [0.25, 0.25, 0.55, 0.75, 0.75] and [0, 0, 1, 1, 1] is 0.2900.
    binary, truth = np.array([0.25, 0.25, 0.55, 0.75, 0.75]), np.array([0.0, 0.0, 1.0, 1.0, 1.0])

    three = Confidences((0, 1, 2, 3), confidence, right, lambda one: by_width(one, 3))
    two = Confidences((0, 1, 2, 3, 4), binary, truth, lambda one: by_width(one, 2))

    assert three.value() == pytest.approx(0.2)
    assert two.value() == pytest.approx(0.29)


def test_adaptive_bins_hold_as_many_examples_each_and_keep_equals_together() -> None:
    assert list(np.bincount(by_count(np.linspace(0.2, 0.9, 60)))) == [4] * 15
    assert len(set(by_count(np.full(60, 0.7)))) == 1


def calibrated(random: np.random.Generator, n: int, lie: float = 0.0) -> Confidences:
    confidence = random.uniform(0.4, 1.0, n)
    right = (random.random(n) < confidence - lie).astype(float)
    return Confidences(tuple(range(n)), confidence, right)


def test_a_calibrated_model_is_not_condemned_by_noise_and_a_liar_is_found() -> None:
    random, low, high = np.random.default_rng(4), PROBABILITIES.index(0.05), PROBABILITIES.index(0.95)
    honest = [estimate(calibrated(random, 200), (7, world)) for world in range(40)]
    liar = estimate(calibrated(random, 400, lie=0.25), (7,))

    assert np.mean([made.value for made in honest]) > 0.06  # the usual estimate says so much of a perfect model
    assert sum(made.curve[low] > 0.005 for made in honest) <= 4  # its limit at 95 percent: 2 of 40 would be promised
    assert all(made.curve[high] > 0.03 for made in honest)
    assert liar.curve[low] > 0.15
    assert liar.low <= liar.value <= liar.high


def test_the_reliability_diagram_holds_every_example_once() -> None:
    made = calibrated(np.random.default_rng(1), 120)

    bars = made.diagram()

    assert sum(bar["n"] for bar in bars) == 120
    assert sum(bar["n"] * abs(bar["confidence"] - bar["accuracy"]) for bar in bars) / 120 == pytest.approx(made.value())
