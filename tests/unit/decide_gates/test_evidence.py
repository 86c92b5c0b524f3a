"""P-values read off a curve are those of the curve; Holm's correction is the textbook's."""

import math
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serin_operator.api.contract import PROBABILITIES
from serin_operator.decide.job.evidence import Evidence, evidence, holm
from support.jobs import a_curve

NORMAL = Evidence(0.5, 100, 0.1, tuple(a_curve(0.5, 0.5 - 0.16449, 0.5 + 0.16449)))


def test_the_curves_own_points_have_the_curves_own_probabilities() -> None:
    for bound, probability in zip(NORMAL.curve, PROBABILITIES, strict=True):
        assert NORMAL.p_above(bound) == pytest.approx(probability, rel=1e-6)
        assert NORMAL.p_below(bound) == pytest.approx(1 - probability, rel=1e-6)


@settings(deadline=None)  # a busy machine is not a slow rule
@given(claim=st.floats(0.0, 1.0))
def test_between_and_beyond_its_points_a_normal_curve_is_the_normal_distribution(claim: float) -> None:
    assert NORMAL.p_above(claim) == pytest.approx(NormalDist(0.5, 0.1).cdf(claim), rel=0.01, abs=1e-9)


@pytest.mark.parametrize("percent", [50, 80, 95, 99])
def test_limits_at_a_confidence_are_the_normal_distributions(percent: int) -> None:
    low, high = NORMAL.bounds(percent)
    assert high == pytest.approx(NormalDist(0.5, 0.1).inv_cdf(percent / 100), abs=1e-4)
    assert low == pytest.approx(1 - high)


@settings(deadline=None)  # a busy machine is not a slow rule
@given(
    curve=st.lists(st.floats(-1, 1), min_size=13, max_size=13).map(sorted),
    claims=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
)
def test_a_lower_claim_is_never_less_sure_than_a_higher_one(curve: list[float], claims: tuple[float, float]) -> None:
    found, (low, high) = Evidence(curve[6], 50, 0.1, tuple(curve)), sorted(claims)
    assert 0 <= found.p_above(low) <= found.p_above(high) + 1e-12 <= 1 + 1e-12
    assert 0 <= found.p_below(high) <= found.p_below(low) + 1e-12 <= 1 + 1e-12


def test_at_a_jump_in_its_tail_a_curve_is_no_more_certain_than_beyond_it() -> None:
    found = Evidence(0.0, 50, 0.1, (-0.5, -0.5, *[0.0] * 9, 0.5, 0.5))
    assert found.p_below(-0.5) == 1 - PROBABILITIES[0] < found.p_below(-0.51)
    assert found.p_above(0.5) == PROBABILITIES[-1] < found.p_above(0.51)


def test_without_any_spread_it_is_certain_and_at_the_value_itself_nothing_is_shown() -> None:
    found = Evidence(0.5, 50, 0.0, (0.5,) * 13)
    assert (found.p_above(0.49), found.p_above(0.5), found.p_above(0.51)) == (0.0, 1.0, 1.0)
    assert (found.p_below(0.49), found.p_below(0.5), found.p_below(0.51)) == (1.0, 1.0, 0.0)


def test_twice_the_distance_needs_a_quarter_of_the_examples() -> None:
    near, far = NORMAL.examples_to_settle(0.49, 0.05), NORMAL.examples_to_settle(0.48, 0.05)
    assert near == 62_000  # (1.645 + 0.842) squared x 0.1 squared / 0.01 squared x 100 = 61,826
    assert far == 16_000


def test_without_any_difference_it_is_the_rule_of_three() -> None:
    hidden = [1 - min(p, 1 - p) ** (1 / 100) for p in PROBABILITIES]
    curve = [-share if p < 0.5 else share if p > 0.5 else 0.0 for share, p in zip(hidden, PROBABILITIES, strict=True)]
    found = Evidence(0.0, 100, 0.0, tuple(curve))
    assert found.p_above(-0.03) == pytest.approx(0.97**100, abs=0.002)
    assert found.examples_to_settle(-0.01, 0.05) == 300  # log 0.05 / log 0.99 = 298


def test_numbers_that_are_missing_infinite_or_out_of_order_are_no_evidence() -> None:
    curve = a_curve(0.5, 0.4, 0.6)
    assert evidence(0.5, 100, 0.1, curve) is not None
    assert evidence(None, 100, 0.1, curve) is None
    assert evidence(math.nan, 100, 0.1, curve) is None
    assert evidence(0.5, 0, 0.1, curve) is None
    assert evidence(0.5, 100, math.inf, curve) is None
    assert evidence(0.5, 100, 0.1, curve[:-1]) is None
    assert evidence(0.5, 100, 0.1, curve[::-1]) is None


def test_holms_correction_is_that_of_statsmodels() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
