"""When a run that does not move is given up: on a clock that the test moves."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from serin_trainer import watchdog
from serin_trainer.errors import StageError
from serin_trainer.watchdog import ASKED, BETWEEN, FIRST_STEP, LEAST, LEAST_BETWEEN, Beats, Watchdog, stopped_siblings


def beats(seconds: float = 1.0, steps: int = 5, limit: float | None = None) -> tuple[Beats, float]:
    """A run that has done some steps, and the time it is then; the next step has begun."""
    it, now = Beats(limit), 0.0
    it.begin(now, 0)
    for step in range(1, steps + 1):
        it.step_began(now)
        now += seconds
        it.step_ended(now, step, busy=False)
    it.step_began(now)
    return it, now


@pytest.mark.parametrize(
    ("seconds", "limit", "bound"),
    [
        pytest.param(0.1, None, LEAST, id="short steps: the least"),
        pytest.param(2.0, None, LEAST, id="still the least"),
        pytest.param(8.0, None, 80.0, id="ten usual steps"),
        pytest.param(8.0, 40.0, 40.0, id="the wish"),
        pytest.param(0.1, 600.0, 600.0, id="a long wish"),
    ],
)
def test_a_step_that_does_not_end_is_given_up_after(seconds: float, limit: float | None, bound: float) -> None:
    it, now = beats(seconds, limit=limit)
    assert it.overdue(now + bound) is None
    error = it.overdue(now + bound + 1)
    assert error is not None
    assert (error.reason, error.exit_code) == ("TrainingHung", 1)
    assert f"no optimiser step ended for {bound + 1:.0f} s after step 5; a step usually takes {seconds:.1f} s" == (
        error.message
    )


def test_one_slow_step_does_not_move_the_bound() -> None:
    it, now = beats(1.0, steps=9)
    it.step_ended(now + 20, 10, busy=False)
    assert it.limit == LEAST


def test_the_first_step_has_its_time() -> None:
    it = Beats()
    assert it.overdue(1e9) is None
    it.begin(0.0, 0)
    it.step_began(5.0)
    assert it.overdue(5.0 + FIRST_STEP) is None
    assert it.overdue(6.0 + FIRST_STEP) is not None


@pytest.mark.parametrize("limit", [None, 10.0])
def test_saving_and_validating_have_theirs(limit: float | None) -> None:
    it, now = beats(limit=limit)
    it.step_ended(now, 6, busy=True)
    assert it.overdue(now + BETWEEN) is None
    it.moved(now + 800)  # a batch of the validation rows
    assert it.overdue(now + 800 + BETWEEN) is None
    assert it.overdue(now + 801 + BETWEEN) is not None
    it.step_began(now)
    assert it.limit < BETWEEN


@pytest.mark.parametrize(("pauses", "bound"), [((2.0,), LEAST_BETWEEN), ((2.0, 30.0, 3.0), 300.0)])
def test_once_saving_was_seen_its_time_is_known(pauses: tuple[float, ...], bound: float) -> None:
    it, now = beats()
    for step, pause in enumerate(pauses, 6):
        it.step_ended(now, step, busy=True)
        now += pause
        it.step_began(now)
    it.step_ended(now + 1, 9, busy=True)
    assert it.overdue(now + 1 + bound) is None
    assert it.overdue(now + 2 + bound) is not None


def test_the_time_between_two_steps_without_a_save_is_no_pause() -> None:
    it, now = beats()
    it.step_ended(now, 6, busy=False)
    it.step_began(now + 500)
    it.step_ended(now + 501, 7, busy=True)
    assert it.limit == BETWEEN


def test_parts_of_a_long_step_are_signs_of_life() -> None:
    it, now = beats()
    for part in range(1, 6):
        it.moved(now + 20 * part)
    assert it.overdue(now + 100 + LEAST) is None
    assert it.overdue(now + 101 + LEAST) is not None


def test_nothing_is_given_up_once_training_is_done() -> None:
    it, now = beats()
    it.end()
    it.moved(now)
    assert it.overdue(now + 1e6) is None


def test_who_was_asked_to_stop_and_gets_no_further_goes_soon() -> None:
    it, now = beats()
    it.asked_to_stop(now)
    it.asked_to_stop(now + 5)
    assert it.overdue(now + ASKED) is None
    error = it.overdue(now + ASKED + 1)
    assert error is not None
    assert (error.reason, error.exit_code) == ("Interrupted", 75)


def test_who_was_asked_to_stop_and_is_in_a_long_step_or_saves_may_end_it() -> None:
    it, now = beats(30.0)
    it.asked_to_stop(now)
    assert it.overdue(now + 90) is None
    it.step_ended(now + 89, 6, busy=True)
    assert it.overdue(now + 89 + BETWEEN) is None


def test_the_thread_shows_where_all_threads_stand_and_ends_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(watchdog.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(watchdog, "stopped_siblings", list)
    shown = tmp_path / "stderr"
    ended: list[StageError] = []
    it, now = beats()
    with shown.open("w") as stream:
        monkeypatch.setattr(watchdog.sys, "stderr", stream)
        Watchdog(it, ended.append, clock=lambda: now + 100).run()
    assert [error.reason for error in ended] == ["TrainingHung"]
    assert "no optimiser step ended for 100 s after step 5" in shown.read_text()
    assert "test_the_thread_shows_where_all_threads_stand" in shown.read_text()


def test_the_thread_does_not_keep_a_process_alive() -> None:
    assert Watchdog(Beats(), lambda _error: None).daemon
    assert threading.main_thread().daemon is False


def _process(folder: Path, pid: str, state: str, parent: int) -> None:
    (folder / pid).mkdir()
    (folder / pid / "stat").write_text(f"1 (a (b) c) {state} {parent} 1 1 0")


def test_a_stopped_process_of_this_pod_is_found(tmp_path: Path) -> None:
    _process(tmp_path, "self", "R", 40)
    _process(tmp_path, "41", "R", 40)
    _process(tmp_path, "42", "T", 40)
    _process(tmp_path, "43", "T", 7)
    (tmp_path / "44").mkdir()  # gone before it was read
    assert stopped_siblings(tmp_path) == [42]
