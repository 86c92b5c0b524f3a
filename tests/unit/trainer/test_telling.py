"""Telling a server of a run costs training nothing: no wait, no failure, bounded memory; and the server has all in the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from serin_trainer import telling
from serin_trainer.config import Mlflow
from serin_trainer.errors import ConfigError
from serin_trainer.mlflow import Opened, Server
from serin_trainer.telling import Facts, Teller
from support.mlflow import PlayedMlflow

PATIENCE = 60.0  # seconds for what takes some hundredths of one, since a busy machine proves nothing
URI = "http://mlflow:5000"
FACTS = Facts("uid-4f00bb", "bot-4f00bb", {"trainKey": "4f00bb"}, {"serin.attempt": "1"})
LOG: list[dict[str, Any]] = [{"loss": 2.0 / step, "step": step, "time": 100.0 + step} for step in range(1, 7)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "TOGETHER_SECONDS", 0.01)
    monkeypatch.setattr(telling, "FIRST_PAUSE", 0.01)


def teller(played: PlayedMlflow) -> Teller[Opened]:
    wish = Mlflow(uri=URI, experiment="bot")
    return Teller("MLflow", URI, lambda: Server(wish, played.transport()), FACTS)


def finish(one: Teller[Opened], status: str | None, within: float) -> None:
    one.end(status)
    one.wait(within)


def soon(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def away(_call: str) -> httpx.Response | None:
    raise httpx.ConnectError("Connection refused")


def test_all_that_is_logged_is_on_the_server_when_the_run_has_ended() -> None:
    played = PlayedMlflow()
    one = teller(played)
    one.begin([])
    for entry in LOG:
        one.add(entry)
    finish(one, "FINISHED", PATIENCE)
    assert one.failure is None
    assert one.page == f"{URI}/#/experiments/1/runs/{'0' * 32}"
    assert played.run.curve("loss") == [(entry["step"], entry["loss"]) for entry in LOG]
    assert (played.run.status, played.run.params) == ("FINISHED", FACTS.params)


def test_a_run_is_there_before_its_first_step() -> None:
    played = PlayedMlflow()
    one = teller(played)
    one.begin([])
    soon(lambda: one.page)
    assert played.run.status == "RUNNING"
    finish(one, None, PATIENCE)
    assert played.run.status == "RUNNING"  # another attempt goes on with it


def test_a_later_attempt_tells_what_the_server_missed_and_doubles_nothing() -> None:
    played = PlayedMlflow()
    first = teller(played)
    first.begin(LOG[:1])
    for entry in LOG[2:4]:  # the second was lost on its way
        first.add(entry)
    finish(first, None, 5)
    second = teller(played)
    second.begin(LOG[:3])
    for entry in LOG[3:]:
        second.add({**entry, "time": 900.0})
    finish(second, "FINISHED", PATIENCE)
    assert [step for step, _ in played.run.curve("loss")] == [1, 2, 3, 4, 5, 6]
    assert len(played.runs) == 1


def test_a_server_that_is_away_at_first_has_everything_once_it_answers() -> None:
    played = PlayedMlflow()
    played.before = away
    one = teller(played)
    one.begin(LOG[:2])
    soon(lambda: one.failure)
    failure = one.failure
    assert failure is not None
    assert failure.reason == "TrackingFailed"
    assert failure.message == (
        "MLflow at http://mlflow:5000 is not told of this run now (it cannot be reached: Connection refused), training"
        " goes on and what is logged waits; the TensorBoard files have them all"
    )
    played.before = lambda _call: None
    soon(lambda: one.failure is None)
    one.add(LOG[2])
    finish(one, "FINISHED", PATIENCE)
    assert [step for step, _ in played.run.curve("loss")] == [1, 2, 3]


def test_what_a_server_took_before_the_connection_broke_is_not_told_again() -> None:
    played = PlayedMlflow()
    broken: list[str] = []

    def breaks_once(call: str) -> None:
        if call == "runs/log-batch" and played.run.metrics and not broken:
            broken.append(call)
            raise httpx.ReadTimeout("")

    played.after = breaks_once
    one = teller(played)
    one.begin(LOG)
    finish(one, "FINISHED", PATIENCE)
    assert broken
    assert [step for step, _ in played.run.curve("loss")] == [1, 2, 3, 4, 5, 6]
    assert one.failure is None


def test_a_server_that_stays_away_is_named_in_the_end_with_what_it_lacks() -> None:
    played, tries = PlayedMlflow(), list[str]()

    def still_away(call: str) -> httpx.Response | None:
        tries.append(call)
        return away(call)

    played.before = still_away
    one = teller(played)
    one.begin(LOG)
    before = len(tries)
    finish(one, "FINISHED", PATIENCE)
    assert len(tries) <= before + telling.LAST_TRIES + 1  # no more, and one that may have been on its way
    failure = one.failure
    assert failure is not None
    assert failure.message.startswith(
        "MLflow at http://mlflow:5000 lacks 6 points of this run (it cannot be reached: Connection refused), training went on"
    )


def test_a_server_that_hangs_is_waited_for_as_long_as_was_said_and_never_by_a_step() -> None:
    played, hangs = PlayedMlflow(), threading.Event()

    def hang(_call: str) -> httpx.Response | None:
        hangs.wait(PATIENCE)
        return httpx.Response(500)

    played.before = hang
    one = teller(played)
    began = time.monotonic()
    one.begin([])
    for entry in LOG:
        one.add(entry)
    finish(one, "FINISHED", 0.1)
    assert 0.1 <= time.monotonic() - began < PATIENCE / 2
    assert one.failure is not None
    assert "lacks 6 points of this run (it took too long)" in one.failure.message
    hangs.set()


def test_what_waits_is_bounded_and_what_did_not_fit_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "MOST_WAITING", 4)
    played = PlayedMlflow()
    played.before = away
    one = teller(played)
    one.begin(LOG)
    soon(lambda: one.failure)
    played.before = lambda _call: None
    finish(one, "FINISHED", PATIENCE)
    assert [step for step, _ in played.run.curve("loss")] == [3, 4, 5, 6]
    assert one.failure is not None
    assert "lacks 2 points of this run" in one.failure.message


def test_a_credential_that_is_missing_is_a_notice_and_no_end_of_training() -> None:
    def connect() -> Server:
        raise ConfigError("InvalidConfig", "the key MLFLOW_TRACKING_TOKEN of the Secret 'm' is empty")

    one = Teller("MLflow", URI, connect, FACTS)
    one.begin([])
    soon(lambda: one.failure)
    assert one.failure is not None
    assert "the Secret 'm' is empty" in one.failure.message
    finish(one, "FINISHED", PATIENCE)


def test_a_run_that_never_began_has_nothing_to_finish() -> None:
    one = teller(PlayedMlflow())
    finish(one, "FAILED", PATIENCE)
    assert one.failure is None
