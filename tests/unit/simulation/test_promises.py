"""What a gate promises, on simulated gates; `benchmarks/gate_errors.py` does the same on ten thousand.

Seeded, so the same gates each time. The bounds are the promise of 5 percent and three standard errors of the count.
"""

import pytest
from support.gate_simulation import simulate

GATES = 400
MOST = 0.05 + 3 * (0.05 * 0.95 / GATES) ** 0.5
FAR = {"rougel": 0.3, "perplexity": 0.8, "exactmatch": 0.4, "bound": 0.3}


def test_a_model_that_meets_every_requirement_by_nothing_is_failed_no_more_often_than_promised() -> None:
    found = simulate(GATES, seed=1, better={})

    assert found.failed <= MOST
    assert found.passed <= MOST
    assert found.failed_without_correction > MOST  # so it is the correction that keeps the promise


@pytest.mark.parametrize("missed", FAR)
def test_a_model_that_misses_one_requirement_is_passed_no_more_often_than_promised(missed: str) -> None:
    found = simulate(GATES, seed=2, better={name: by for name, by in FAR.items() if name != missed})

    assert found.passed <= MOST


def test_a_model_that_is_far_better_is_passed() -> None:
    assert simulate(100, seed=3, better=FAR).passed == 1.0
