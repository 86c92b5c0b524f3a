"""Means of several tasks' figures: the value and the standard error of lm-evaluation-harness, and intervals that hold."""

import math
from functools import cache

import numpy as np
import pytest
from serin_evaluator.config import Method
from serin_evaluator.curves import PROBABILITIES, of_weighted_sum
from serin_evaluator.sums import Sums
from serin_evaluator.uncertainty import EXPONENTIAL, Sample, Several, Unfit, difference, estimate

SEED = (7, 1)
LOW, HIGH = PROBABILITIES.index(0.025), PROBABILITIES.index(0.975)


def task(values: list[float], first: int = 0, **says: object) -> Sample:
    return Sample(tuple(range(first, first + len(values))), np.array(values), np.ones(len(values)), **says)  # type: ignore[arg-type]


def share(right: int, n: int, first: int = 0) -> Sample:
    return task([1.0] * right + [0.0] * (n - right), first, lowest=0.0, highest=1.0)


def harness_mean_stderr(values: np.ndarray) -> float:
    """`mean_stderr` of lm_eval/api/metrics.py."""
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))


def harness_pooled(stderrs: list[float], sizes: list[int]) -> float:
    """`pooled_sample_stderr` of lm_eval/api/metrics.py."""
    above = sum((size - 1) * stderr**2 * size for size, stderr in zip(sizes, stderrs, strict=True))
    return math.sqrt(above / (sum(sizes) - len(sizes)) / sum(sizes))


def test_a_task_counts_as_any_other_or_as_its_rows() -> None:
    tasks = (share(9, 10), share(10, 40, first=10))
    alike, by_size = Several(tasks), Several(tasks, by_size=True)

    assert alike.value() == pytest.approx((0.9 + 0.25) / 2)
    assert by_size.value() == pytest.approx(19 / 50)
    assert (len(alike), alike.fewest, alike.ids) == (50, 10, tuple(range(50)))
    assert alike.only(set(range(5, 15))).value() == pytest.approx((0.8 + 1.0) / 2)
    assert by_size.by_example()[49] == 0.0


def test_the_standard_error_is_the_harnesss_for_means_that_do_not_weigh() -> None:
    drawn = np.random.default_rng(3)
    values = [drawn.normal(of, 1 + of, n) for of, n in ((0.2, 30), (1.0, 50), (0.5, 20))]
    made = estimate(Several(tuple(task(list(one)) for one in values)), SEED)

    assert made.value == pytest.approx(np.mean([one.mean() for one in values]))
    assert made.stderr == pytest.approx(math.hypot(*(harness_mean_stderr(one) for one in values)) / 3)
    assert (made.n, len(made.curve)) == (100, len(PROBABILITIES))
    assert made.low < made.value < made.high
    assert list(made.curve) == sorted(made.curve)


def test_of_tasks_of_one_size_it_is_the_harnesss_pooled_one() -> None:
    drawn = np.random.default_rng(4)
    values = [drawn.normal(of, 1 + of, 40) for of in (0.0, 1.0, 2.0)]
    made = estimate(Several(tuple(task(list(one)) for one in values), by_size=True), SEED)

    assert made.stderr == pytest.approx(harness_pooled([harness_mean_stderr(one) for one in values], [40] * 3))


def test_rows_of_all_tasks_as_one_sample_are_never_surer_than_the_harness() -> None:
    right, sizes = (30, 55, 9), (40, 100, 60)
    together = estimate(share(sum(right), sum(sizes)), SEED)
    stderrs = [math.sqrt(k / n * (1 - k / n) / (n - 1)) for k, n in zip(right, sizes, strict=True)]

    assert together.stderr >= harness_pooled(stderrs, list(sizes))


def test_metrics_that_are_no_means_of_rows_have_a_mean_of_tasks() -> None:
    ids, losses = tuple(range(60)), np.random.default_rng(5).random(60)
    texts = Sample(ids, losses, np.ones(60), EXPONENTIAL, lowest=1.0)
    counts = np.random.default_rng(6).integers(1, 5, (40, 2)).astype(float)
    ratio = Sums(tuple(range(60, 100)), counts, lambda of: of[..., 0] / of.sum(-1), counts[:, 0], highest=1.0)
    made = estimate(Several((texts, ratio)), SEED)
    each = [estimate(texts, SEED), estimate(ratio, SEED)]

    assert made.value == pytest.approx((each[0].value + each[1].value) / 2)
    assert made.stderr == pytest.approx(math.hypot(each[0].stderr, each[1].stderr) / 2)


def test_limits_add_up_as_standard_errors_do() -> None:
    bounds = np.array([[0.4] * (LOW + 1) + [0.5] * (12 - LOW), [0.2] * HIGH + [0.6] * (13 - HIGH)])
    made = of_weighted_sum(np.array([0.5, 0.2]), np.zeros(2), bounds, np.array([10, 10]), np.array([0.5, 0.5]))

    assert made[LOW] == pytest.approx(0.35 - 0.05)
    assert made[HIGH] == pytest.approx(0.35 + 0.2)
    assert made[6] == pytest.approx(0.35)


def test_students_t_takes_over_where_limits_have_no_room() -> None:
    values, sizes, weights = np.array([0.5, 0.5]), np.array([11, 11]), np.array([0.5, 0.5])
    made = of_weighted_sum(values, np.array([0.1, 0.1]), np.full((2, 13), 0.5), sizes, weights)

    assert made[HIGH] - 0.5 == pytest.approx(math.sqrt(0.005) * 2.086, abs=1e-4)  # of twenty degrees of freedom
    assert made[LOW] + made[HIGH] == pytest.approx(1.0)


def test_a_task_with_nothing_wrong_still_leaves_room_below() -> None:
    made = estimate(Several((share(5, 5), share(5, 5, first=5))), SEED)

    assert (made.value, made.high) == (1.0, 1.0)
    assert made.low == pytest.approx(1 - (1 - 0.025 ** (1 / 5)) / math.sqrt(2), abs=1e-6)


@pytest.mark.parametrize(
    ("chances", "sizes"),
    [
        ((0.5, 0.9, 0.2), (12, 25, 60)),
        ((0.95, 0.98, 0.9), (12, 25, 60)),
        ((0.3, 0.35, 0.99), (12, 25, 60)),
        ((0.97,) * 8, (10,) * 8),
        ((0.05, 0.02, 0.03, 0.5), (20, 30, 50, 20)),
    ],
)
def test_the_truth_is_left_out_no_more_often_than_promised(chances: tuple[float, ...], sizes: tuple[int, ...]) -> None:
    of_task, k, worlds = cache(lambda right, n: estimate(share(right, n), SEED)), len(sizes), 2000
    drawn = np.random.default_rng(11).binomial(sizes, chances, (worlds, k))
    missed = np.zeros(2)
    for row in drawn:
        tasks = [of_task(int(right), n) for right, n in zip(row, sizes, strict=True)]
        values, stderrs, bounds = (np.array([getattr(one, of) for one in tasks]) for of in ("value", "stderr", "curve"))
        made = of_weighted_sum(values, stderrs, bounds, np.array(sizes), np.ones(k) / k)
        missed += [made[LOW] > sum(chances) / k, made[HIGH] < sum(chances) / k]

    assert max(missed) / worlds <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / worlds)


def test_models_are_compared_task_by_task() -> None:
    ours = Several((share(8, 10), share(10, 40, first=10)))
    theirs = Several((share(5, 10), share(8, 40, first=10)))
    by_rows, by_test = (difference(ours, theirs, SEED, method) for method in (Method.PAIRED_BOOTSTRAP, Method.MCNEMAR))

    for made in (by_rows, by_test):
        assert made is not None
        assert made.value == pytest.approx((0.3 + 0.05) / 2)
        assert made.n == 50
        assert made.low < made.value < made.high
    with pytest.raises(Unfit, match="in a mean of tasks they do not count alike"):
        difference(ours, theirs, SEED, Method.WILCOXON)


def test_a_task_without_shared_examples_leaves_nothing_to_compare() -> None:
    ours = Several((share(8, 10), share(1, 2, first=10)))

    assert difference(ours, ours.only(set(range(11))), SEED) is None
