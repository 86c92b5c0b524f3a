"""The statistics give known answers, and intervals that hold the truth as often as they say."""

import numpy as np
import pytest
from serin_evaluator.uncertainty import Sample, difference, estimate, wilson


def means(values: list[float], first_id: int = 0) -> Sample:
    return Sample(tuple(range(first_id, first_id + len(values))), np.array(values, dtype=float), np.ones(len(values)))


def test_a_mean_has_the_textbooks_standard_error() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)

    made = estimate(means(list(values)), (7,))

    assert made.value == pytest.approx(values.mean())
    assert made.stderr == pytest.approx(values.std(ddof=1) / 20, rel=0.1)
    assert made.high - made.low == pytest.approx(2 * 1.96 * made.stderr, rel=0.1)
    assert made.n == 400


def test_a_ratio_weighs_examples_by_their_tokens() -> None:
    sample = Sample((1, 2), np.array([3.0, 10.0]), np.array([1.0, 9.0]))

    assert sample.value() == pytest.approx(1.3)


def test_perplexity_is_the_exponential_of_the_cross_entropy_and_so_are_its_bounds() -> None:
    losses, tokens = np.random.default_rng(2).gamma(2, 5, 60), np.full(60, 10.0)
    ids = tuple(range(60))

    entropy = estimate(Sample(ids, losses, tokens), (7, 1))
    perplexity = estimate(Sample(ids, losses, tokens, np.exp), (7, 1))

    assert perplexity.value == pytest.approx(np.exp(entropy.value))
    assert perplexity.low == pytest.approx(np.exp(entropy.low), rel=1e-3)
    assert perplexity.high == pytest.approx(np.exp(entropy.high), rel=1e-3)


def test_the_same_seed_gives_the_same_interval_and_another_one_does_not() -> None:
    sample = means(list(np.random.default_rng(3).normal(size=30)))

    assert estimate(sample, (7, 1)) == estimate(sample, (7, 1))
    assert estimate(sample, (7, 1)).low != estimate(sample, (8, 1)).low


def test_the_order_of_examples_does_not_matter_to_a_mean() -> None:
    values = list(np.random.default_rng(4).normal(size=50))

    assert estimate(means(values), (7,)).value == pytest.approx(estimate(means(values[::-1]), (7,)).value)


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(5)
    held = 0
    for world in range(300):
        made = estimate(means(list(random.normal(1.0, 3.0, 60))), (world,))
        held += made.low <= 1.0 <= made.high

    assert 0.90 <= held / 300 <= 0.985


def test_an_interval_of_a_share_is_not_empty_when_all_examples_agree() -> None:
    made = estimate(means([0.0] * 50), (7,))

    assert (made.low, made.high) == (0.0, pytest.approx(0.0714, abs=1e-4))


@pytest.mark.parametrize(
    ("share", "n", "low", "high"),
    [
        pytest.param(0.5, 10, 0.2366, 0.7634, id="half of ten"),
        pytest.param(0.9, 100, 0.8256, 0.9448, id="most of a hundred"),
    ],
)
def test_wilsons_interval_is_the_tables(share: float, n: int, low: float, high: float) -> None:
    assert wilson(share, n, 95) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@pytest.mark.parametrize(
    ("shift", "sign"),
    [
        pytest.param(0.3, 1, id="the candidate has the higher value"),
        pytest.param(-0.3, -1, id="the candidate has the lower value"),
    ],
)
def test_a_difference_is_candidate_minus_other(shift: float, sign: int) -> None:
    other = np.random.default_rng(6).uniform(0, 1, 80)
    noise = np.random.default_rng(7).normal(0, 0.05, 80)

    made = difference(means(list(other + shift + noise)), means(list(other)), (7,))

    assert made is not None
    assert made.value == pytest.approx(shift, abs=0.02)
    assert sign * made.low > 0
    assert sign * made.high > 0


def test_a_difference_of_perplexities_has_the_known_value_in_both_directions() -> None:
    ids, tokens = tuple(range(40)), np.full(40, 5.0)
    worse = Sample(ids, tokens * np.log(4.0), tokens, np.exp)
    better = Sample(ids, tokens * np.log(3.0), tokens, np.exp)

    gained, lost = difference(better, worse, (7,)), difference(worse, better, (7,))

    assert gained is not None
    assert lost is not None
    assert (gained.value, gained.low, gained.high) == pytest.approx((-1.0, -1.0, -1.0))
    assert (lost.value, lost.low, lost.high) == pytest.approx((1.0, 1.0, 1.0))


def test_pairing_makes_a_small_steady_difference_visible() -> None:
    other = np.random.default_rng(8).uniform(0, 1, 50)
    candidate = other + 0.02

    made = difference(means(list(candidate)), means(list(other)), (7,))

    assert made is not None
    assert made.low == pytest.approx(0.02)
    assert made.high == pytest.approx(0.02)


def test_models_that_answer_the_same_have_no_difference() -> None:
    values = list(np.random.default_rng(9).uniform(0, 1, 50))

    made = difference(means(values), means(values), (7,))

    assert made is not None
    assert (made.value, made.low, made.high) == (0.0, 0.0, 0.0)


def test_only_examples_that_both_models_have_are_compared() -> None:
    made = difference(means([1.0, 1.0, 1.0], first_id=0), means([0.0, 0.0, 9.0], first_id=1), (7,))

    assert made is not None
    assert (made.n, made.value) == (2, 1.0)


def test_fewer_than_two_shared_examples_tell_nothing() -> None:
    assert difference(means([1.0], first_id=0), means([1.0], first_id=0), (7,)) is None
    assert difference(means([1.0, 2.0], first_id=0), means([1.0, 2.0], first_id=5), (7,)) is None


def test_a_paired_interval_of_equal_models_excludes_zero_rarely() -> None:
    random = np.random.default_rng(10)
    wrong = 0
    for world in range(300):
        hardness = random.uniform(0, 1, 60)
        one, two = hardness + random.normal(0, 0.1, 60), hardness + random.normal(0, 0.1, 60)
        made = difference(means(list(one)), means(list(two)), (world,))
        assert made is not None
        wrong += made.low > 0 or made.high < 0

    assert wrong / 300 <= 0.10
