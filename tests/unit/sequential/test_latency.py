"""Latency against the stable, from histograms: known answers, and what must hold for any counters."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serin_operator.api.v1alpha1 import Verdict
from serin_operator.decide.service.sequential import latency
from serin_operator.decide.service.sequential.latency import Counts, LatencyState, Track
from serin_operator.decide.service.sequential.rule import Rule

EDGES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
RULE = Rule(max_increase_percent=20, warm_up_seconds=0)
ZERO = Counts(EDGES, (0.0,) * 7)
Look = tuple[float, Counts, Counts]


class Server:
    """Counters of one arm, fed with log-normal latencies."""

    def __init__(self, seed: int, median: float = 0.2, spread: float = 0.6) -> None:
        self._random, self.median, self._spread = random.Random(seed), median, spread
        self.counts = [0.0] * 7

    def answer(self, requests: int, load: float = 0.0) -> Counts:
        for _ in range(requests):
            seconds = self.median * math.exp(load + self._spread * self._random.gauss(0, 1))
            self.counts[sum(seconds > edge for edge in EDGES)] += 1
        return Counts(EDGES, tuple(self.counts))


def past(seed: int = 1, blocks: int = 240, load: Callable[[int], float] = lambda _: 0.0) -> list[tuple[float, Counts]]:
    server = Server(seed)
    return [(5.0 * (n - blocks), server.answer(10 if n else 0, load(n))) for n in range(blocks + 1)]


def canary(slower: float, looks: int, rate: int = 25, seed: int = 2) -> list[Look]:
    candidate, stable = Server(seed, 0.2 * slower), Server(seed + 100)
    return [(5.0 * n, candidate.answer(rate), stable.answer(rate)) for n in range(looks)]


def looked(looks: Sequence[Look], state: LatencyState | None = None, rule: Rule = RULE) -> LatencyState:
    state = state or CALM
    for look in looks:
        state = latency.advance(state, rule, *look)
    return state


CALM = latency.started(0.0, past())
patient = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # a busy machine is no fault


def test_a_kalman_filter_without_noise_is_the_normal_likelihood() -> None:
    """Three observations of theta with known errors: the log likelihood is what the textbook says."""
    track, seen = Track(0.0, 0.0, 40.0), [(0.5, 0.1), (0.7, 0.2), (0.3, 0.05)]
    for observed, variance in seen:
        track = latency._stepped(track, 5.0, observed, variance, 2)
    for theta in (0.0, 0.4):
        exact = sum(-(math.log(v) + (x - theta) ** 2 / v) / 2 for x, v in seen)
        assert track.fit + track.push * theta - track.mass * theta**2 / 2 == pytest.approx(exact)


def test_a_kalman_filter_with_noise_is_the_normal_likelihood_of_correlated_observations() -> None:
    """Two observations: variance 2 tau^2 + sampling each, covariance 2 tau^2 exp(-t / memory)."""
    tau, memory, sampling, seconds = 0.3, 40.0, 0.1, 10.0
    x, y = 0.6, 0.2
    track = latency._stepped(Track(0.0, tau, memory), 0.0, x, sampling, 2)
    track = latency._stepped(track, seconds, y, sampling, 2)
    whole, shared = 2 * tau**2 + sampling, 2 * tau**2 * math.exp(-seconds / memory)
    determinant = whole**2 - shared**2
    for theta in (0.0, 0.5):
        a, b = x - theta, y - theta
        exact = -(math.log(determinant) + (whole * (a * a + b * b) - 2 * shared * a * b) / determinant) / 2
        assert track.fit + track.push * theta - track.mass * theta**2 / 2 == pytest.approx(exact)


def test_calm_and_restless_pasts_are_told_apart() -> None:
    def wave(n: int) -> float:
        return 0.4 * math.sin(n / 9)

    def expected(tracks: Sequence[Track]) -> float:
        return sum(math.exp(track.weight) * track.tau for track in tracks)

    assert expected(CALM.tracks) < 0.08
    assert expected(latency.started(0.0, past(load=wave)).tracks) > 0.2
    for state in (CALM, latency.started(0.0, past(load=wave)), latency.started(0.0)):
        assert sum(math.exp(track.weight) for track in state.tracks) == pytest.approx(1)


def test_twice_the_latency_fails_within_a_minute_and_says_so() -> None:
    judgement = latency.judged(looked(canary(2.0, 13)), RULE)
    assert judgement.verdict is Verdict.FAILED
    assert judgement.message.startswith("typical latency is 1.90 times that of the stable (1.")
    assert judgement.message.endswith(
        "over 300 requests against 300: slower than the stable, and by more than the tolerated 20 %"
    )


def test_the_same_latency_passes() -> None:
    judgement = latency.judged(looked(canary(1.0, 120)), RULE)
    assert judgement.verdict is Verdict.PASSED
    assert judgement.message.endswith("not slower by 20 %")


def test_a_little_slower_on_few_requests_is_not_known() -> None:
    judgement = latency.judged(looked(canary(1.2, 13, rate=5)), RULE)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.message.endswith("too noisy to tell whether it is slower by more than 20 %")


def test_a_restless_past_makes_the_test_more_careful() -> None:
    restless = latency.started(0.0, past(load=lambda n: 0.4 * math.sin(n / 9)))
    looks = canary(1.6, 13)
    assert latency.judged(looked(looks), RULE).verdict is Verdict.FAILED
    assert latency.judged(looked(looks, restless), RULE).verdict is Verdict.INCONCLUSIVE


def test_without_a_past_it_takes_longer_and_still_decides() -> None:
    unknown = latency.started(0.0)
    assert latency.judged(looked(canary(2.0, 6), unknown), RULE).verdict is Verdict.INCONCLUSIVE
    assert latency.judged(looked(canary(2.0, 180), unknown), RULE).verdict is Verdict.FAILED


def test_a_slow_hour_of_both_arms_is_not_the_candidate() -> None:
    candidate, stable = Server(3), Server(4)
    looks = [(5.0 * n, candidate.answer(25, 1.0), stable.answer(25, 1.0)) for n in range(120)]
    assert latency.judged(looked(looks), RULE).verdict is Verdict.PASSED


def test_a_cold_start_is_not_judged() -> None:
    rule = replace(RULE, warm_up_seconds=60.0)
    candidate, stable = Server(5), Server(6)
    looks = [(5.0 * n, candidate.answer(25, 1.1 if n <= 12 else 0.0), stable.answer(25)) for n in range(60)]
    warm = looked(looks, rule=rule)
    assert sum(warm.candidate_seen) == 25 * 47
    assert latency.judged(warm, rule).verdict is not Verdict.FAILED
    assert latency.judged(looked(looks[:13]), RULE).verdict is Verdict.FAILED  # without it


def test_nothing_measured_is_an_error() -> None:
    for looks in ([], canary(1.0, 1), [(0.0, ZERO, ZERO), (5.0, ZERO, ZERO)]):
        assert latency.judged(looked(looks), RULE).verdict is Verdict.ERROR


def test_buckets_that_cannot_tell_are_an_error_with_the_bucket_named() -> None:
    one = Counts(EDGES, (0, 0, 500.0, 0, 0, 0, 0))
    judgement = latency.judged(looked([(0.0, ZERO, ZERO), (5.0, one, one)]), RULE)
    assert judgement.verdict is Verdict.ERROR
    assert "100% of the stable's requests are in one bucket (0.1 to 0.2 s)" in judgement.message


def test_a_look_that_is_repeated_or_late_adds_nothing() -> None:
    looks = canary(1.5, 20)
    assert looked([*looks, looks[-1], looks[3]]) == looked(looks)


def test_looks_within_a_block_are_one_block() -> None:
    looks = canary(1.5, 20)
    often = [(at + 0.5 * n, c, s) for at, c, s in looks for n in (0, 1, 2)]
    assert latency.evidence(looked(often), RULE) == latency.evidence(looked(looks), RULE)


def test_a_restarted_server_costs_the_interval_and_no_more() -> None:
    before = looked(canary(1.5, 20))
    fallen = latency.advance(before, RULE, 100.0, Server(9).answer(3), Counts(EDGES, before.stable))
    assert fallen.tracks == before.tracks
    assert fallen.candidate_seen == before.candidate_seen


def test_other_buckets_after_an_upgrade_begin_a_new_interval() -> None:
    before = looked(canary(1.5, 20))
    other = Counts((0.1, 1.0), (5.0, 5.0, 5.0))
    assert latency.advance(before, RULE, 100.0, other, other).tracks == before.tracks


@given(crash=st.integers(0, 20), slower=st.sampled_from([0.8, 1.0, 1.5]), seed=st.integers(0, 50))
@patient
def test_the_state_survives_a_crash_at_any_look(crash: int, slower: float, seed: int) -> None:
    looks = canary(slower, 20, rate=8, seed=seed)
    through = looked(looks[crash:], latency.loaded(latency.dumped(looked(looks[:crash]))))
    assert through == looked(looks)


def test_the_state_is_small() -> None:
    assert len(latency.dumped(looked(canary(1.0, 60)))) < 4096


@given(slower=st.sampled_from([1.1, 1.5, 2.0]), seed=st.integers(0, 50))
@patient
def test_slower_requests_are_never_less_evidence(slower: float, seed: int) -> None:
    """The same requests, all of them slower by so much."""
    mild, grave = (latency.evidence(looked(canary(times, 20, seed=seed)), RULE) for times in (1.0, slower))
    assert grave.no_worse >= mild.no_worse - 1e-9
    assert grave.intolerable <= mild.intolerable + 1e-9


def test_stopped_at_the_worst_time_few_healthy_canaries_fail() -> None:
    """25 canaries of 5 minutes, looked at every 5 s: the promise is 1 percent; `make bench-decisions` takes thousands."""
    failed = 0
    for seed in range(25):
        state = CALM
        for look in canary(1.0, 60, rate=3, seed=1000 + 2 * seed):
            state = latency.advance(state, RULE, *look)
            if latency.evidence(state, RULE).no_worse >= math.log(100):
                failed += 1
                break
    assert failed <= 2


def test_cumulative_buckets_are_read_as_prometheus_tells_them() -> None:
    found = Counts.of_le([(math.inf, 10.0), (0.1, 2.0), (0.5, 7.0)])
    assert found == Counts((0.1, 0.5), (2.0, 5.0, 3.0))
    with pytest.raises(ValueError, match=r"\+Inf"):
        Counts.of_le([(0.1, 2.0), (0.5, 7.0)])


@pytest.mark.parametrize(
    ("edges", "counts"), [((0.1,), (1, 1)), ((0.2, 0.1), (1, 1, 1)), ((0.0, 0.1), (1, 1, 1)), ((0.1, 0.2), (1, 1))]
)
def test_what_is_no_histogram_is_refused(edges: tuple[float, ...], counts: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="histogram"):
        Counts(edges, counts)


@pytest.mark.parametrize("text", ["", "{}", '{"started_at": 0, "tracks": [], "spread": {}}', "null"])
def test_what_is_not_a_state_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        latency.loaded(text)
