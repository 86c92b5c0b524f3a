"""Errors against the stable: known answers, and what must hold for any counters."""

import itertools
import math
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serin_operator.api.v1alpha1 import Verdict
from serin_operator.decide.service.sequential import errors
from serin_operator.decide.service.sequential.errors import ErrorState, Tally
from serin_operator.decide.service.sequential.rule import Evidence, Rule

RULE = Rule(max_increase_percent=20, warm_up_seconds=0)


def looked(*looks: tuple[float, Tally, Tally], rule: Rule = RULE, state: ErrorState | None = None) -> ErrorState:
    state = state or ErrorState(started_at=0.0)
    for at, candidate, stable in looks:
        state = errors.advance(state, rule, at, candidate, stable)
    return state


FIRST = (0.0, Tally(1000, 7), Tally(5000, 50))  # what happened before is not judged


def after(candidate: Tally, stable: Tally) -> ErrorState:
    """One interval with these many."""
    at, c, s = FIRST
    return looked(
        FIRST,
        (
            at + 5,
            Tally(c.requests + candidate.requests, c.failed + candidate.failed),
            Tally(s.requests + stable.requests, s.failed + stable.failed),
        ),
    )


def test_one_failure_on_equal_arms_is_a_fair_coin() -> None:
    """L to 1 for the candidate against 1 to 1: each stake L wins 2 L / (1 + L). A third is not staked."""
    won = 0.04 * 2 * 1.6 / 2.6 + 0.04 * 2 * 2.5 / 3.5 + 0.6 * 2 * 4 / 5
    assert math.exp(errors.evidence(after(Tally(10, 1), Tally(10, 0))).no_worse) == pytest.approx(won)
    lost = 0.04 * 2 / 2.6 + 0.04 * 2 / 3.5 + 0.6 * 2 / 5
    assert math.exp(errors.evidence(after(Tally(10, 0), Tally(10, 1))).no_worse) == pytest.approx(lost)


def test_a_tolerance_moves_the_border() -> None:
    """At 20 percent, a failure names the candidate with 1.2 / 2.2 on the border of the null."""
    won = (1.6 * 2.2 / 2.92 + 2.5 * 2.2 / 4 + 4 * 2.2 / 5.8) / 3
    assert math.exp(errors.evidence(after(Tally(10, 1), Tally(10, 0))).tolerable) == pytest.approx(won)


def test_successes_alone_say_nothing() -> None:
    found = errors.evidence(after(Tally(10_000, 0), Tally(10_000, 0)))
    assert found == errors.evidence(looked(FIRST))
    assert (found.tolerable, found.intolerable) == (0, 0)


def test_five_times_the_errors_of_the_stable_fail() -> None:
    judgement = errors.judged(after(Tally(1000, 50), Tally(1000, 10)), RULE)
    assert judgement.verdict is Verdict.FAILED
    assert judgement.message.startswith("5.00% of 1000 requests failed, 1.00% of 1000 on the stable (")
    assert judgement.message.endswith("more than the stable, and more than the tolerated 20 % more than the stable")


def test_the_same_share_of_errors_passes_with_enough_of_them_and_not_before() -> None:
    assert errors.judged(after(Tally(1000, 10), Tally(1000, 10)), RULE).verdict is Verdict.INCONCLUSIVE
    assert errors.judged(after(Tally(100_000, 1000), Tally(100_000, 1000)), RULE).verdict is Verdict.PASSED


def test_an_outage_behind_both_arms_is_not_the_candidate() -> None:
    assert errors.judged(after(Tally(500, 450), Tally(500, 450)), RULE).verdict is not Verdict.FAILED


def test_nothing_measured_is_an_error() -> None:
    for state in (ErrorState(started_at=0.0), looked(FIRST), after(Tally(100, 5), Tally(0, 0))):
        assert errors.judged(state, RULE).verdict is Verdict.ERROR


def test_the_warm_up_is_not_judged() -> None:
    rule = Rule(warm_up_seconds=60)
    cold = [(10.0 * n, Tally(100 * n, 90 * n), Tally(100 * n, n)) for n in range(7)]  # to 60 s
    state = looked(*cold, rule=rule)
    assert state.candidate_seen == Tally(0, 0)
    state = looked((70.0, Tally(700, 541), Tally(700, 7)), rule=rule, state=state)
    assert state.candidate_seen == Tally(100, 1)


def test_a_look_that_is_repeated_or_late_adds_nothing() -> None:
    second = (5.0, Tally(1100, 10), Tally(5100, 51))
    once = looked(FIRST, second)
    assert looked(FIRST, second, second) == once
    assert looked(FIRST, second, (4.0, Tally(1090, 9), Tally(5090, 51))) == once


def test_a_missed_look_is_made_up_by_the_next() -> None:
    """With a steady share of requests it is even the same evidence."""
    looks = [(5.0 * n, Tally(50 * n, 3 * n), Tally(100 * n, n)) for n in range(1, 9)]
    every, some = looked(*looks), looked(looks[0], looks[3], looks[7])
    assert errors.evidence(every).no_worse == pytest.approx(errors.evidence(some).no_worse)
    assert every.candidate_seen == some.candidate_seen == Tally(350, 21)


def test_a_restarted_server_costs_the_interval_and_no_more() -> None:
    before = looked(FIRST, (5.0, Tally(1100, 10), Tally(5100, 51)))
    fallen = looked((10.0, Tally(20, 1), Tally(5200, 52)), state=before)
    assert errors.evidence(fallen) == errors.evidence(before)
    again = looked((15.0, Tally(120, 4), Tally(5300, 53)), state=fallen)
    assert again.candidate_seen == Tally(200, 6)


def test_an_arm_without_requests_is_waited_for() -> None:
    waiting = looked(FIRST, (5.0, Tally(1000, 7), Tally(5100, 51)))
    assert waiting == looked(FIRST)
    assert looked((10.0, Tally(1010, 8), Tally(5200, 52)), state=waiting).stable_seen == Tally(200, 2)


def test_looks_with_few_requests_are_one_interval_together() -> None:
    few = looked(FIRST, (5.0, Tally(1004, 8), Tally(5007, 50)), (10.0, Tally(1009, 9), Tally(5012, 51)))
    assert few == looked(FIRST)
    last = (15.0, Tally(1013, 9), Tally(5018, 51))
    assert looked(last, state=few) == looked(FIRST, last)
    assert looked(last, state=few).candidate_seen == Tally(13, 2)


patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is not a slow rule
counts = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda pair: (sum(pair), pair[0]))


@patient
@given(st.lists(st.tuples(counts, counts), max_size=12), st.integers(0, 12))
def test_the_state_survives_a_crash_at_any_look(
    increments: list[tuple[tuple[int, int], tuple[int, int]]], crash: int
) -> None:
    sums = itertools.accumulate(
        increments, lambda a, b: tuple((x[0] + y[0], x[1] + y[1]) for x, y in zip(a, b, strict=True))
    )  # type: ignore[arg-type,return-value]
    looks = [(5.0 * n, Tally(*c), Tally(*s)) for n, (c, s) in enumerate(sums)]
    state = looked(*looks[:crash])
    assert looked(*looks[crash:], state=errors.loaded(errors.dumped(state))) == looked(*looks)


@patient
@given(counts, counts, st.integers(1, 50))
def test_more_failures_of_the_candidate_are_never_less_evidence_against_it(
    c: tuple[int, int], s: tuple[int, int], more: int
) -> None:
    few, many = Tally(c[0] + more + 10, c[1]), Tally(c[0] + more + 10, c[1] + more)
    stable = Tally(s[0] + 10, s[1])
    mild, grave = errors.evidence(after(few, stable)), errors.evidence(after(many, stable))
    assert grave.no_worse >= mild.no_worse
    assert grave.tolerable >= mild.tolerable
    assert grave.intolerable <= mild.intolerable


def expected_gain(n_c: int, p_c: float, n_s: int, p_s: float, gain: dict[tuple[int, int], float]) -> float:
    def share(n: int, k: int, p: float) -> float:
        return math.comb(n, k) * p**k * (1 - p) ** (n - k)

    return sum(value * share(n_c, c, p_c) * share(n_s, s, p_s) for (c, s), value in gain.items())


def gains(n_c: int, n_s: int, rule: Rule) -> dict[tuple[int, int], Evidence]:
    """The evidence after one interval, by how many failed on each arm."""
    begun = (0.0, Tally(0, 0), Tally(0, 0))
    return {
        (c, s): errors.evidence(looked(begun, (5.0, Tally(n_c, c), Tally(n_s, s)), rule=rule))
        for c in range(n_c + 1)
        for s in range(n_s + 1)
    }


requests, share = st.integers(int(errors.LEAST), int(errors.LEAST) + 4), st.floats(0, 1)
rules = st.builds(Rule, st.sampled_from([20.0, 200.0]), st.sampled_from([0.0, 0.02, 0.3]), warm_up_seconds=st.just(0.0))


@patient
@given(requests, requests, share, share)
def test_no_bet_gains_on_average_when_the_candidate_is_no_worse(n_c: int, n_s: int, p_s: float, part: float) -> None:
    """The whole guarantee, exactly: over all outcomes, for common failures too, the capital does not grow."""
    capital = {key: math.exp(found.no_worse) for key, found in gains(n_c, n_s, RULE).items()}
    assert expected_gain(n_c, part * p_s, n_s, p_s, capital) <= sum(errors.SHARES) + 1e-9  # what is staked at the start


@patient
@given(requests, requests, share, share, rules)
def test_no_bet_gains_on_average_when_the_candidate_is_tolerable(
    n_c: int, n_s: int, p_s: float, part: float, rule: Rule
) -> None:
    p_c = part * min(1.0, rule.tolerated * p_s + rule.max_increase_share)
    capital = {key: math.exp(found.tolerable) for key, found in gains(n_c, n_s, rule).items()}
    assert expected_gain(n_c, p_c, n_s, p_s, capital) <= 1 + 1e-9


@patient
@given(requests, requests, share, share, rules)
def test_no_bet_on_a_pass_gains_on_average_when_the_candidate_is_intolerable(
    n_c: int, n_s: int, part: float, more: float, rule: Rule
) -> None:
    p_s = part * (1 - rule.max_increase_share) / rule.tolerated
    least = rule.tolerated * p_s + rule.max_increase_share
    capital = {key: math.exp(found.intolerable) for key, found in gains(n_c, n_s, rule).items()}
    assert expected_gain(n_c, least + more * (1 - least), n_s, p_s, capital) <= 1 + 1e-9


def test_a_tolerance_in_points_lets_few_errors_pass() -> None:
    """Ten errors in a thousand can never be shown to be less than 1.2 times ten; less than ten and twenty more, they can."""
    rule = Rule(max_increase_share=0.02, warm_up_seconds=0)
    begun = (0.0, Tally(0, 0), Tally(0, 0))
    state = looked(begun, (5.0, Tally(1000, 10), Tally(1000, 10)), rule=rule)
    judgement = errors.judged(state, rule)
    assert judgement.verdict is Verdict.PASSED
    assert judgement.message.endswith("fewer than the limit of 20 % and 2 points more than the stable")
    bad = looked(begun, (5.0, Tally(1000, 80), Tally(1000, 10)), rule=rule)
    assert errors.judged(bad, rule).verdict is Verdict.FAILED


def test_stopped_at_the_worst_time_few_healthy_canaries_fail() -> None:
    """100 canaries of 2,000 requests on each arm, looked at after every ten: by Ville at most 1 percent ever fails."""
    random_ = random.Random(5)
    failed = 0
    for _ in range(100):
        state, c, s = ErrorState(started_at=0.0), Tally(0, 0), Tally(0, 0)
        for look in range(200):
            c = Tally(c.requests + 10, c.failed + sum(random_.random() < 0.02 for _ in range(10)))
            s = Tally(s.requests + 10, s.failed + sum(random_.random() < 0.02 for _ in range(10)))
            state = errors.advance(state, RULE, 5.0 * look, c, s)
            if errors.judged(state, RULE).verdict is Verdict.FAILED:
                failed += 1
                break
    assert failed <= 3


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"started_at": 0, "no_worse": [1]}', "null"])
def test_what_is_not_a_state_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        errors.loaded(text)
