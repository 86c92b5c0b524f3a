"""The statistics give known answers, and intervals that hold the truth as often as they say."""

import numpy as np
import pytest
from serin_evaluator.calibration import Confidences
from serin_evaluator.config import Method
from serin_evaluator.curves import PROBABILITIES, of_share, of_weightings
from serin_evaluator.sums import Sums
from serin_evaluator.uncertainty import EXPONENTIAL, Sample, Unfit, difference, estimate, weightings


def means(values: list[float], first_id: int = 0, **of: float) -> Sample:
    ids = tuple(range(first_id, first_id + len(values)))
    return Sample(ids, np.array(values, dtype=float), np.ones(len(values)), **of)


def at(curve: np.ndarray, probability: float) -> float:
    return float(curve[PROBABILITIES.index(probability)])


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
    perplexity = estimate(Sample(ids, losses, tokens, EXPONENTIAL), (7, 1))

    assert perplexity.value == pytest.approx(np.exp(entropy.value))
    assert perplexity.low == pytest.approx(np.exp(entropy.low), rel=1e-3)
    assert perplexity.high == pytest.approx(np.exp(entropy.high), rel=1e-3)


def test_the_same_seed_gives_the_same_interval_and_another_one_does_not() -> None:
    sample = means(list(np.random.default_rng(3).exponential(size=30)))

    assert estimate(sample, (7, 1)) == estimate(sample, (7, 1))
    assert estimate(sample, (7, 1)).curve != estimate(sample, (8, 1)).curve


def test_the_order_of_examples_does_not_matter_to_a_mean() -> None:
    values = list(np.random.default_rng(4).normal(size=50))

    assert estimate(means(values), (7,)).value == pytest.approx(estimate(means(values[::-1]), (7,)).value)


def test_an_interval_of_a_share_is_not_empty_when_all_examples_agree() -> None:
    made = estimate(means([0.0] * 50), (7,))

    assert (made.low, made.high) == (0.0, pytest.approx(0.0711, abs=1e-4))  # 1 - 0.025^(1/50)


def test_when_few_examples_differ_what_was_not_seen_is_no_further_away_than_it_may_be() -> None:
    made = estimate(means([0.3, 0.2] + [1.0] * 98, lowest=0.0, highest=1.0), (7,))
    share = of_share(98, 100)

    # Beside a share of 98 in 100, of which the two others are half right at most.
    assert at(share, 0.025) < made.low < made.value - 2 * made.stderr
    assert made.high <= 1.0


def test_limits_with_one_unseen_are_clopper_and_pearsons_of_a_share() -> None:
    right = np.array([0.0] * 2 + [1.0] * 38)

    drawn = [(weights @ np.append(right, 0.0), weights @ np.append(right, 1.0)) for weights in weightings(41, (7,))]

    with_worst, with_best = (np.concatenate(of) / 41 for of in zip(*drawn, strict=True))
    curve = of_weightings(0.95, with_worst, with_best)
    exact = of_share(38, 40)
    for probability in (0.025, 0.05, 0.95, 0.975):
        assert at(curve, probability) == pytest.approx(at(exact, probability), abs=0.005)
    assert at(curve, 0.025) == pytest.approx(0.8308, abs=0.005)  # Clopper and Pearson's, of any table


@pytest.mark.parametrize("change", [-0.4, 0.4])
def test_one_changed_answer_in_a_hundred_is_no_change_of_all(change: float) -> None:
    other = np.random.default_rng(5).uniform(0.45, 0.55, 100)
    ours = other.copy()
    ours[7] += change
    bounds = {"lowest": 0.0, "highest": 1.0}

    made = difference(means(list(ours), **bounds), means(list(other), **bounds), (7,))

    assert made is not None
    assert made.value == pytest.approx(change / 100)
    assert -0.06 < made.low < made.value < made.high < 0.06


def test_when_all_examples_say_the_same_what_was_not_seen_may_still_differ() -> None:
    made = estimate(means([0.8] * 50, lowest=0.0, highest=1.0), (7,))

    assert (made.value, made.stderr) == (pytest.approx(0.8), 0.0)
    assert made.low == pytest.approx(0.8 * 0.025 ** (1 / 50))
    assert made.high == pytest.approx(1 - 0.2 * 0.025 ** (1 / 50))


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
    worse = Sample(ids, tokens * np.log(4.0), tokens, EXPONENTIAL)
    better = Sample(ids, tokens * np.log(3.0), tokens, EXPONENTIAL)

    gained, lost = difference(better, worse, (7,)), difference(worse, better, (7,))

    assert gained is not None
    assert lost is not None
    assert (gained.value, gained.low, gained.high) == pytest.approx((-1.0, -1.0, -1.0))
    assert (lost.value, lost.low, lost.high) == pytest.approx((1.0, 1.0, 1.0))


def test_pairing_makes_a_small_steady_difference_visible() -> None:
    other = np.random.default_rng(8).uniform(0, 1, 50)
    candidate = other + np.random.default_rng(9).normal(0.02, 0.001, 50)

    made = difference(means(list(candidate)), means(list(other)), (7,))

    assert made is not None
    assert made.low == pytest.approx(0.02, abs=0.001)
    assert made.high == pytest.approx(0.02, abs=0.001)


def test_models_that_answer_the_same_differ_by_nothing_but_what_was_not_asked() -> None:
    values = list(np.random.default_rng(9).uniform(0, 1, 50))
    one = means(values, lowest=0.0, highest=1.0)

    made = difference(one, one, (7,))

    assert made is not None
    hidden = 1 - 0.025 ** (1 / 50)
    assert (made.value, made.low, made.high) == (0.0, pytest.approx(-hidden), pytest.approx(hidden))


def test_only_examples_that_both_models_have_are_compared() -> None:
    made = difference(means([1.0, 1.0, 1.0], first_id=0), means([0.0, 0.0, 9.0], first_id=1), (7,))

    assert made is not None
    assert (made.n, made.value) == (2, 1.0)


def test_fewer_than_two_shared_examples_tell_nothing() -> None:
    assert difference(means([1.0], first_id=0), means([1.0], first_id=0), (7,)) is None
    assert difference(means([1.0, 2.0], first_id=0), means([1.0, 2.0], first_id=5), (7,)) is None


def test_a_method_that_does_not_fit_says_why() -> None:
    degrees, tokens = means([0.1, 0.5, 0.9]), Sample((0, 1, 2), np.ones(3), np.array([2.0, 3.0, 4.0]))
    answers = means([0.0, 1.0, 1.0])

    with pytest.raises(Unfit, match="right or wrong"):
        difference(degrees, degrees, (7,), Method.MCNEMAR)
    with pytest.raises(Unfit, match="by their tokens"):
        difference(tokens, tokens, (7,), Method.WILCOXON)
    with pytest.raises(Unfit, match="have no ranks"):
        difference(answers, answers, (7,), Method.WILCOXON)


def test_what_has_no_score_of_each_example_is_not_compared_by_examples() -> None:
    sure = Confidences((0, 1, 2), np.array([0.9, 0.8, 0.7]), np.array([1.0, 0.0, 1.0]))
    together = Sums((0, 1, 2), np.ones((3, 2)), lambda sums: sums[..., 0] / sums[..., 1], np.ones(3), highest=1.0)

    with pytest.raises(Unfit, match="compare Brier instead"):
        difference(sure, sure, (7,))
    with pytest.raises(Unfit, match="one of all of them together"):
        difference(together, together, (7,), Method.WILCOXON)


def test_mcnemar_counts_the_examples_that_only_one_model_gets_right() -> None:
    made = difference(means([1.0] * 9 + [0.0] * 91), means([0.0] * 6 + [1.0] * 6 + [0.0] * 88), (7,), Method.MCNEMAR)

    assert made is not None
    assert (made.n, made.value) == (100, pytest.approx(0.03))  # 6 won, 3 lost
    assert made.stderr == pytest.approx(0.0298, abs=1e-4)
