"""Processes that do not find together end their attempt, which is nobody's fault."""

import threading
import time

import pytest
from serin_trainer import meeting
from serin_trainer.errors import EXIT_TRY_AGAIN, StageError


def test_a_meeting_that_takes_too_long_ends_the_attempt_without_counting_it(capfd: pytest.CaptureFixture[str]) -> None:
    ended: list[StageError] = []
    over = threading.Event()
    with meeting.within(0.05, lambda error: (ended.append(error), over.set())[0]):
        assert over.wait(60)
    (error,) = ended
    assert (error.reason, error.exit_code) == ("PeersNotMet", EXIT_TRY_AGAIN)
    assert "all threads" in capfd.readouterr().err


def test_one_that_is_in_time_ends_nothing() -> None:
    ended: list[StageError] = []
    with meeting.within(1.0, ended.append):
        pass
    time.sleep(1.2)
    assert ended == []


def test_an_error_of_its_own_goes_through_and_stops_the_clock() -> None:
    ended: list[StageError] = []
    with pytest.raises(RuntimeError, match="refused"), meeting.within(1.0, ended.append):
        raise RuntimeError("refused")
    time.sleep(1.2)
    assert ended == []
