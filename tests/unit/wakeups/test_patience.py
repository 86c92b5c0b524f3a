"""How often a call is tried: within bounds, spread out, and only as often as good calls have earned."""

import random

from serin_operator.patience import LEASE, Budget, Patience


def waits(patience: Patience, chance: float = 0.5, asked: float | None = None) -> list[float]:
    """The pauses of a call that never goes well and whose tries take no time."""
    found: list[float] = []
    while (pause := patience.pause(len(found) + 1, sum(found), asked, chance)) is not None:
        found.append(pause)
    return found


def test_pauses_grow_and_end() -> None:
    assert waits(Patience()) == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert len(waits(LEASE)) == 2


def test_chance_spreads_those_who_wait() -> None:
    assert waits(Patience(), chance=0.0)[0] == 0.05
    assert round(waits(Patience(), chance=1.0)[0], 9) == 0.15


def test_the_wish_of_the_apiserver_is_heard_while_there_is_time() -> None:
    assert waits(Patience(), chance=0.0, asked=3) == [3] * 5
    assert waits(Patience(), chance=0.0, asked=15) == [15]
    assert waits(Patience(), chance=0.0, asked=60) == []


def test_no_try_begins_after_the_time_is_over() -> None:
    assert Patience().pause(1, spent=20.0, asked=None, chance=0.0) is None
    assert sum(waits(LEASE, chance=1.0)) < LEASE.total_seconds


def test_with_three_refusals_in_ten_calls_end_well_at_less_than_twice_the_price() -> None:
    chance, patience, budget = random.Random(7), Patience(), Budget()
    tries = failed = 0
    for _ in range(20_000):
        tried = 1
        while chance.random() < 0.3:
            if patience.pause(tried, 0.0, None, 0.5) is None or not budget.spend():
                failed += 1
                break
            tried += 1
        else:
            budget.earn()
        tries += tried
    assert tries / 20_000 < 1.5
    assert failed / 20_000 < 0.003


def test_an_apiserver_that_refuses_everything_is_not_stormed() -> None:
    budget = Budget()
    repeated = sum(1 for _ in range(10_000) if budget.spend())
    assert repeated == 100
    for _ in range(1000):
        budget.earn()
    assert sum(1 for _ in range(10_000) if budget.spend()) == 100  # what was earned is bounded too
