"""Two real processes of which one dies or hangs: how soon the attempt ends, and what the pod says then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# A few seconds on an idle machine; what it is said to have ended of shows that nobody waited until it seemed hung.
DEAD_WITHIN = 45
HUNG_WITHIN = 60


def ranks(launcher: int) -> dict[int, int]:
    """Process ids by rank, of the launcher's children that train."""
    found: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        rank = next((entry[5:] for entry in environment if entry.startswith(b"RANK=")), b"")
        if parent == launcher and rank:
            found[int(rank)] = int(folder.name)
    return found


@pytest.fixture
def hurt(claims: Any, prepared: dict[str, Any]) -> Callable[..., tuple[int, float, dict[str, Any], str]]:
    """Starts a long training, does something to rank 1 once a step is done, and waits for the pod's end."""

    def run(name: str, key: str, number: signal.Signals) -> tuple[int, float, dict[str, Any], str]:
        config = claims.train_config(
            prepared,
            key=key,
            output=f"pvc://artifacts/train-{name}",
            hyperparameters__maxSteps=100_000,
            hyperparameters__saveSteps=100_000,
        )
        log = claims.root / f"{name}.log"
        with log.open("w") as stream:
            pod = subprocess.Popen(claims.command(config), env=claims.environment(), stdout=stream, stderr=stream)
        try:
            while "step 1/" not in log.read_text():
                assert pod.poll() is None, log.read_text()
                time.sleep(0.2)
            os.kill(ranks(pod.pid)[1], number)
            since = time.monotonic()
            code = pod.wait(180)
            took = time.monotonic() - since
        finally:
            for pid in ranks(pod.pid).values():
                os.kill(pid, signal.SIGKILL)
            pod.kill()
            pod.wait()
        answer = json.loads((claims.root / "termination-log").read_bytes())
        print(f"{number.name}: the pod ended after {took:.1f} s: {answer['message']}")
        return code, took, answer, log.read_text()

    return run


def test_a_killed_process_ends_the_attempt_at_once_and_is_named(hurt: Any) -> None:
    code, took, answer, _log = hurt("killed", "4f00d1", signal.SIGKILL)
    assert took < DEAD_WITHIN
    assert code == 137
    assert answer["reason"] == "ProcessKilled"
    assert answer["message"] == "training process 1 was killed by SIGKILL"


def test_a_stopped_process_ends_the_attempt_within_a_minute_and_shows_where_it_hung(hurt: Any) -> None:
    code, took, answer, log = hurt("stopped", "4f00d2", signal.SIGSTOP)
    assert took < HUNG_WITHIN
    assert code == 1
    assert answer["reason"] == "TrainingHung"
    assert "was stopped (SIGSTOP)" in answer["message"]
    stacks = log.partition("all threads of process")[2]
    assert "Current thread" in stacks
    # Which call waits depends on where in its step the other was stopped; that it is one of the training is shown.
    assert "serin_trainer/train.py" in stacks
