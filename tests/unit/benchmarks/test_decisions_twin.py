"""The benchmark's arithmetic on arrays is the operator's: same traces, same evidence, same verdicts at every look."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from canaries import serin
from canaries.traffic import EDGES, TICK_SECONDS, TICKS, WARM_UP_TICKS, Arm, Canaries, Fault, Traffic, past, simulated
from serin_operator.api.v1alpha1 import Verdict
from serin_operator.decide.service.sequential import errors, hard, latency
from serin_operator.decide.service.sequential.rule import verdict

RUNS = 2
KINDS = [
    (Traffic("even", 1, 1), Fault("none")),
    (Traffic("even", 1, 1), Fault("slow", slower=2.0)),
    (Traffic("noisy", 5, 5, noise_before=True, noise=True), Fault("slow", slower=1.5)),
    (Traffic("rare", 0.2, 0.6, noise=True), Fault("failing", errors=0.2)),
    (Traffic("uneven", 1, 9), Fault("hard", errors=0.9)),
]


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0].name}-{kind[1].name}", scope="module")
def canaries(request: pytest.FixtureRequest) -> Canaries:
    traffic, fault = request.param
    return simulated(np.random.default_rng(3), traffic, fault, past(np.random.default_rng(4), traffic, RUNS))


def counters(arm: Arm, run: int) -> tuple[list[latency.Counts], list[errors.Tally]]:
    """As a server tells them: what it counted since it started."""
    buckets = np.cumsum(arm.buckets[run], axis=0)
    tallies = zip(np.cumsum(arm.requests[run]), np.cumsum(arm.failed[run]), strict=True)
    return _counts(buckets), [errors.Tally(float(n), float(k)) for n, k in tallies]


def _counts(buckets: Iterable[Iterable[int]]) -> list[latency.Counts]:
    return [latency.Counts(EDGES, tuple(float(n) for n in each)) for each in buckets]


def moments() -> Iterable[tuple[int, float]]:
    return ((tick, float((tick + 1) * TICK_SECONDS)) for tick in range(TICKS))


@pytest.mark.parametrize("with_past", [True, False])
def test_latency(canaries: Canaries, with_past: bool) -> None:
    twin = serin.of_latency(canaries, serin.known(canaries.past) if with_past else serin.nothing_known(RUNS))
    failed, passed = twin.failed(serin.RULE), twin.passed(serin.RULE)
    for run in range(RUNS):
        total = np.cumsum(canaries.past[run], axis=0)
        at_first = [latency.Counts(EDGES, (0.0,) * (len(EDGES) + 1)), *_counts(total)]
        before = [((n - len(at_first)) * float(TICK_SECONDS), counts) for n, counts in enumerate(at_first)]
        state = latency.started(0.0, before if with_past else ())
        c, s = counters(canaries.candidate, run)[0], counters(canaries.stable, run)[0]
        for tick, at in moments():
            state = latency.advance(state, serin.RULE, at, c[tick], s[tick])
            if state.block_at is not None:
                found = latency.evidence(state, serin.RULE)
                assert found.no_worse == pytest.approx(twin.no_worse[run, tick], abs=1e-6)
                assert found.tolerable == pytest.approx(twin.tolerable[run, tick], abs=1e-6)
                assert found.intolerable == pytest.approx(twin.intolerable[run, tick], abs=1e-6)
                assert verdict(serin.RULE, found) is _verdict(failed[run, tick], passed[run, tick])
                if failed[run, tick]:
                    break  # rolled back: the benchmark looks no further


@pytest.mark.parametrize("points", [0.0, 0.01])
def test_errors(canaries: Canaries, points: float) -> None:
    rule = replace(serin.RULE, max_increase_share=points)
    twin = serin.of_errors(canaries, rule)
    failed, passed = twin.failed(serin.RULE), twin.passed(serin.RULE)
    for run in range(RUNS):
        state = errors.ErrorState(started_at=0.0)
        c, s = counters(canaries.candidate, run)[1], counters(canaries.stable, run)[1]
        for tick, at in moments():
            state = errors.advance(state, rule, at, c[tick], s[tick])
            found = errors.evidence(state)
            assert found.no_worse == pytest.approx(twin.no_worse[run, tick], abs=1e-6)
            assert found.tolerable == pytest.approx(twin.tolerable[run, tick], abs=1e-6)
            assert found.intolerable == pytest.approx(twin.intolerable[run, tick], abs=1e-6)
            assert verdict(serin.RULE, found) is _verdict(failed[run, tick], passed[run, tick])


def test_hard_failures(canaries: Canaries) -> None:
    twin = serin.of_hard(canaries)
    for run in range(RUNS):
        tallies = counters(canaries.candidate, run)[1]
        state = hard.HardState(seen=tallies[WARM_UP_TICKS - 1])
        for tick in range(WARM_UP_TICKS, TICKS):
            state = hard.advance(state, tallies[tick])
            assert (hard.judged(state) is not None) == twin[run, tick]


def _verdict(failed: bool, passed: bool) -> Verdict:
    return Verdict.FAILED if failed else Verdict.PASSED if passed else Verdict.INCONCLUSIVE
