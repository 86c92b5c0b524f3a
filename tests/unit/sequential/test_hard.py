"""Failures that need no statistics: two polls that agree."""

from serin_operator.decide.service.sequential import hard
from serin_operator.decide.service.sequential.errors import Tally
from serin_operator.decide.service.sequential.hard import HardState


def polled(*tallies: Tally) -> HardState:
    state = HardState()
    for tally in tallies:
        state = hard.advance(state, tally)
    return state


def test_two_polls_of_mostly_failures_are_a_failure() -> None:
    state = polled(Tally(10, 0), Tally(15, 5), Tally(20, 10))
    found = hard.judged(state)
    assert found is not None
    assert found.message == "10 of 10 requests of the last two polls failed"


def test_one_poll_is_not_enough_however_bad() -> None:
    assert hard.judged(polled(Tally(10, 0), Tally(60, 50))) is None
    assert hard.judged(polled(Tally(10, 0), Tally(60, 50), Tally(110, 50))) is None


def test_half_of_the_requests_is_not_most() -> None:
    assert hard.judged(polled(Tally(0, 0), Tally(10, 5), Tally(20, 10))) is None


def test_three_requests_are_too_few() -> None:
    assert hard.judged(polled(Tally(0, 0), Tally(1, 1), Tally(3, 3))) is None


def test_a_poll_without_requests_neither_counts_nor_forgets() -> None:
    assert hard.judged(polled(Tally(0, 0), Tally(5, 5), Tally(5, 5), Tally(10, 10))) is not None


def test_a_repeated_poll_adds_nothing() -> None:
    assert hard.judged(polled(Tally(0, 0), Tally(50, 50), Tally(50, 50), Tally(50, 50))) is None


def test_counters_that_fell_are_begun_anew() -> None:
    assert hard.judged(polled(Tally(100, 90), Tally(3, 3), Tally(6, 6))) is None
