"""The time of day as the apiserver tells it: no jump of this machine's clock is seen, one of the apiserver's is."""

import logging
import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from serin_operator.clock import AGREEING, ServerClock, since_boot

START = datetime(2026, 11, 21, 12, 0, 0, 700_000, tzinfo=UTC)


class World:
    """Our span clock and wall clock, and an apiserver with a clock of its own; a call takes `latency` both ways."""

    def __init__(self) -> None:
        self.span, self.wall, self.server = 1000.0, START.timestamp(), START
        self.rate = 1.0
        self.clock = ServerClock(lambda: self.span, lambda: self.wall)

    def passes(self, seconds: float) -> None:
        self.span += seconds
        self.wall += seconds
        self.server += timedelta(seconds=seconds * self.rate)

    def call(self, latency: float = 0.01, behind: float = 0.0) -> None:
        asked = self.clock.asked()
        self.passes(latency)
        date = format_datetime((self.server - timedelta(seconds=behind)).replace(microsecond=0), usegmt=True)
        self.passes(latency)
        self.clock.answered(date, asked)

    @property
    def error(self) -> float:
        return (self.clock.now() - self.server).total_seconds()


@pytest.fixture
def world() -> World:
    return World()


def test_before_the_first_answer_it_is_this_machines_time(world: World) -> None:
    assert world.clock.now() == START


def test_one_answer_is_right_to_a_second_and_a_few_to_less(world: World) -> None:
    world.call()
    assert abs(world.error) < 0.6
    for _ in range(40):
        world.passes(0.37)
        world.call()
    assert abs(world.error) < 0.1


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_jump_of_this_machines_clock_is_not_seen(world: World, jump: float) -> None:
    world.call()
    before = world.error
    world.wall += jump
    assert world.error == before
    world.passes(5)
    world.call()
    assert abs(world.error) < 0.6


def test_it_goes_on_without_answers(world: World) -> None:
    world.call()
    world.passes(3600)
    assert abs(world.error) < 0.6


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=-1), timedelta(seconds=30)])
def test_a_step_of_the_apiservers_clock_is_followed_and_told(
    world: World, step: timedelta, caplog: pytest.LogCaptureFixture
) -> None:
    world.call()
    world.server += step
    with caplog.at_level(logging.WARNING, "serin.clock"):
        for _ in range(AGREEING):
            world.call()
    assert abs(world.error) < 0.6
    assert "the apiserver's clock was stepped by" in caplog.text


def test_one_answer_of_another_time_moves_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.call()
    for _ in range(AGREEING):
        world.call(behind=600)
        world.call()
    assert abs(world.error) < 0.6
    assert caplog.text == ""


def test_an_answer_that_took_long_spoils_nothing(world: World) -> None:
    for _ in range(20):
        world.passes(0.37)
        world.call()
    world.call(latency=30)
    assert abs(world.error) < 0.1


def test_clocks_that_run_unequally_fast_are_not_taken_for_a_step(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.rate = 1.0002
    for _ in range(500):
        world.passes(60)
        world.call()
        assert abs(world.error) < 1
    assert caplog.text == ""


@pytest.mark.parametrize("seed", range(20))
def test_it_never_goes_backwards(world: World, seed: int) -> None:
    chance, told = random.Random(seed), []
    for _ in range(200):
        world.passes(chance.random() * 3)
        world.call(latency=chance.random() ** 4 * 5)
        told.append(world.clock.now())
        assert abs(world.error) < 3
    assert told == sorted(told)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Sat, 99 Nov 2026 12:00:00 GMT"])
def test_an_answer_without_a_usable_date_teaches_nothing(world: World, date: str | None) -> None:
    world.clock.answered(date, world.clock.asked())
    assert world.clock.now() == START


def test_spans_only_grow() -> None:
    assert since_boot() <= since_boot()
