"""Confidence curves agree with published values, and with scipy 1.17 and statsmodels 0.15 where nothing is published."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serin_evaluator.curves import (
    PROBABILITIES,
    of_paired_shares,
    of_resamples,
    of_share,
    of_signed_ranks,
    paired_shares_z,
    signed_ranks_p,
    student,
)
from serin_evaluator.uncertainty import LINEAR, resamples, studentised
from serin_operator.api import contract

# Hamilton depression scale of nine patients, before and after a tranquilliser (Hollander and Wolfe 1973, page 29).
DEPRESSION = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]) - np.array(
    [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
)


def at(curve: np.ndarray, probability: float) -> float:
    return float(curve[PROBABILITIES.index(probability)])


def test_the_operator_reads_curves_at_the_same_probabilities() -> None:
    assert contract.PROBABILITIES == PROBABILITIES


@pytest.mark.parametrize(
    ("probability", "degrees", "quantile"),
    [(0.975, 10, 2.2281), (0.95, 30, 1.6973), (0.999, 20, 3.5518), (0.025, 99, -1.9842)],
)
def test_students_quantiles_are_the_tables(probability: float, degrees: int, quantile: float) -> None:
    assert student(probability, degrees) == pytest.approx(quantile, abs=2e-4)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        pytest.param(5, 10, 0.1871, 0.8129, id="half of ten"),
        pytest.param(90, 100, 0.8238, 0.9510, id="most of a hundred"),
        pytest.param(0, 50, 0.0, 0.0711, id="none"),
        pytest.param(50, 50, 0.9289, 1.0, id="all"),
    ],
)
def test_limits_of_a_share_are_clopper_and_pearsons(successes: int, n: int, low: float, high: float) -> None:
    curve = of_share(successes, n)

    assert (at(curve, 0.025), at(curve, 0.975)) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_wilcoxons_p_value_and_limits_are_hollander_and_wolfes() -> None:
    curve = of_signed_ranks(DEPRESSION)

    assert signed_ranks_p(DEPRESSION) == pytest.approx(0.01953, abs=1e-5)
    assert (at(curve, 0.025), at(curve, 0.975)) == (pytest.approx(0.010), pytest.approx(0.786))


def test_wilcoxons_p_value_with_ties_and_zeros_is_scipys() -> None:
    differences = np.array([0.12, -0.05, 0.3, 0.0, 0.21, -0.11, 0.08, 0.08, -0.02, 0.4, 0.15, 0.05])

    assert signed_ranks_p(differences) == pytest.approx(0.020330361, abs=1e-8)


def test_paired_shares_are_tangos_example_and_mcnemars_test() -> None:
    # Tango 1998: two lenses, 44 patients, b = 0, c = 1, margin 0.1: z = 1.709, 90 percent limits -0.096 and 0.037.
    assert paired_shares_z(0, 1, 44, -0.1, correction=0) == pytest.approx(1.709, abs=1e-3)
    # Agresti 1990: approval of a prime minister, 150 against 86 of 1600: chi-squared 17.36.
    assert paired_shares_z(150, 86, 1600, 0.0, correction=0) ** 2 == pytest.approx(17.36, abs=0.01)


def test_the_correction_only_makes_paired_shares_less_sure() -> None:
    curve = of_paired_shares(0, 1, 44)

    assert at(curve, 0.05) < -0.096
    assert at(curve, 0.95) > 0.037


@settings(deadline=None)  # a busy machine is not a slow rule
@given(n=st.integers(2, 300), data=st.data())
def test_curves_rise_and_hold_the_value(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    losses = data.draw(st.integers(0, n - successes))
    for curve, value in (
        (of_share(successes, n), successes / n),
        (of_paired_shares(successes, losses, n), (successes - losses) / n),
    ):
        assert all(left <= right for left, right in pairwise(curve))
        assert curve[0] <= value <= curve[-1]


@pytest.mark.parametrize("drawn", ["normal", "a few collapse", "few differ", "skewed"])
def test_limits_of_a_mean_miss_the_truth_no_more_often_than_they_say(drawn: str) -> None:
    random, worlds, n = np.random.default_rng(11), 2000, 100
    shape = (worlds, n)
    values, truth = {
        "normal": (random.normal(1.0, 3.0, shape), 1.0),
        "a few collapse": (0.02 + 0.02 * random.normal(size=shape) - 0.6 * (random.random(shape) < 0.08), -0.028),
        "few differ": (random.uniform(-1, 1, shape) * (random.random(shape) < 0.1), 0.0),
        "skewed": (random.exponential(1.0, shape), 1.0),
    }[drawn]

    (counts,) = resamples(n, (7,), 1000)
    curve = of_resamples(*studentised([(values, np.ones(shape))], [LINEAR], counts), n)

    noise = 3 * (0.05 * 0.95 / worlds) ** 0.5
    assert (curve[:, PROBABILITIES.index(0.05)] > truth).mean() <= 0.05 + noise
    assert (curve[:, PROBABILITIES.index(0.95)] < truth).mean() <= 0.05 + noise
