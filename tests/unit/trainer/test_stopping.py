"""A pod that only waits goes at once; one whose processes run leaves the signal to them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from serin_trainer import stopping
from serin_trainer.errors import EXIT_TRY_AGAIN
from serin_trainer.stopping import rank_of

PATIENCE = 60  # seconds, for what takes a few on an idle machine
SOURCE = str(Path(stopping.__file__).parents[1])
# A read that the kernel takes up again after a signal: Python gets no turn, as in torch's waits.
BLOCKED = """
import ctypes, os, signal, subprocess, sys
from serin_trainer.stopping import watch_over_children
watch_over_children(lambda process, seconds: print('told of', process, flush=True), {patience})
signal.siginterrupt(signal.SIGTERM, False)
{before}
never, _ = os.pipe()
print("waits", flush=True)
ctypes.CDLL(None).read(never, ctypes.create_string_buffer(1), 1)
"""
WITH_A_CHILD = 'child = subprocess.Popen(["sleep", "60"]); print(child.pid, flush=True)'
WITH_AN_ENDED_CHILD = 'subprocess.Popen(["true"]); import time; time.sleep(0.3)'


def started(before: str, patience: float = 60.0) -> subprocess.Popen[str]:
    script = BLOCKED.format(before=before, patience=patience)
    return subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": SOURCE}, stdout=-1, stderr=-1, text=True
    )


def wait_for_it(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    while (line := process.stdout.readline().strip()) != "waits":
        assert line, process.communicate()
        lines.append(line)
    time.sleep(0.2)  # "waits" is said just before the call
    return lines


@pytest.mark.parametrize("before", ["", WITH_AN_ENDED_CHILD], ids=["no child", "a child that ended"])
def test_sigterm_ends_a_wait_in_which_python_has_no_turn(before: str) -> None:
    process = started(before)
    wait_for_it(process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == EXIT_TRY_AGAIN
    assert "nothing was to be saved" in said


def test_sigterm_is_left_to_processes_that_run() -> None:
    process = started(WITH_A_CHILD)
    (child,) = wait_for_it(process)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1.0)
    subprocess.run(["kill", "-9", child], check=True)
    process.kill()
    process.communicate(timeout=PATIENCE)


def test_a_child_that_is_stopped_is_killed_since_it_can_never_save() -> None:
    process = started(WITH_A_CHILD)
    (child,) = wait_for_it(process)
    subprocess.run(["kill", "-STOP", child], check=True)
    process.send_signal(signal.SIGTERM)
    ends = time.monotonic() + PATIENCE
    while state(child) not in ("Z", ""):
        assert time.monotonic() < ends
        time.sleep(0.05)
    process.kill()
    _, said = process.communicate(timeout=PATIENCE)
    assert f"process {child} was stopped (SIGSTOP)" in said


def test_a_child_that_stays_stopped_is_told_of_and_killed_without_being_asked() -> None:
    process = started(WITH_A_CHILD, patience=4.0)
    (child,) = wait_for_it(process)
    subprocess.run(["kill", "-STOP", child], check=True)
    assert stops(child)
    ends = time.monotonic() + PATIENCE
    while state(child) not in ("Z", ""):
        assert time.monotonic() < ends
        time.sleep(0.05)
    process.kill()
    said, _ = process.communicate(timeout=PATIENCE)
    assert f"told of {child}" in said


def test_a_child_that_is_let_go_on_in_time_lives() -> None:
    process = started(WITH_A_CHILD, patience=5.0)
    (child,) = wait_for_it(process)
    for _ in range(4):  # more than the patience in all, and far from it each time: a busy machine sleeps longer
        subprocess.run(["kill", "-STOP", child], check=True)
        time.sleep(1.3)
        subprocess.run(["kill", "-CONT", child], check=True)
        time.sleep(1.2)
    assert state(child) == "S"
    subprocess.run(["kill", "-9", child], check=True)
    process.kill()
    process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize(
    ("environment", "rank"), [({"RANK": "3"}, 3), ({"LOCAL_RANK": "3"}, None), ({"RANK": ""}, None)]
)
def test_the_rank_of_a_process_is_read_from_its_environment(environment: dict[str, str], rank: int | None) -> None:
    process = subprocess.Popen(
        ["sh", "-c", "echo runs; read _"], env={"PATH": "/usr/bin:/bin", **environment}, stdin=-1, stdout=-1
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"runs\n"  # before that its environment may not be laid out yet
        assert rank_of(process.pid) == rank
    finally:
        process.kill()
        process.communicate()
    assert rank_of(process.pid) is None


def stops(process: str) -> bool:
    """A stopped process is seen to be stopped a moment after the signal."""
    for _ in range(100):
        if state(process) == "T":
            return True
        time.sleep(0.01)
    return False


def state(process: str) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def test_other_signals_are_not_taken_for_it() -> None:
    process = started("signal.signal(signal.SIGUSR1, lambda *_: None); signal.siginterrupt(signal.SIGUSR1, False)")
    wait_for_it(process)
    process.send_signal(signal.SIGUSR1)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.kill()
    process.communicate(timeout=PATIENCE)
