"""The clock of the operator's machine jumps by an hour, in the middle of a rollout: nothing happens earlier or later for
it (R19)."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faults.harness import report
from faults.harness.actors import Actors, Ending, failed
from faults.harness.flows import GOOD, B, claims, job, rollout, weights, with_stable
from faults.harness.plane import Plane
from faults.harness.world import TooLate, World, passed_revision
from serin_operator.api.kinds import FINE_TUNE_JOB, MODEL_SERVICE
from serin_operator.api.v1alpha1 import StageName

Json = dict[str, Any]
HOUR = 3600.0
HOLD = 4  # seconds of each step
POLL = 1.0  # the interval of the looks
RESOLUTION = 2.0  # a second of the Date, and one of the test: it sees a weight when it asks
SLACK = 3.0  # what a busy machine may add
STEPS = [{"weightPercent": percent, "holdSeconds": HOLD} for percent in (10, 50, 100)]
SKEWED = Path(__file__).with_name("skewed.py")


class Wall:
    """The wall clock of one operator."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "skew"
        self.jump(0)

    def jump(self, seconds: float) -> None:
        """From now on the clock is wrong by so much."""
        if not self.file.exists():
            self.file.write_bytes(bytes(8))
        with self.file.open("r+b") as opened:
            opened.write(struct.pack("d", seconds))


@contextlib.contextmanager
def operator_by(w: World, wall: Wall, naive: bool = False) -> Iterator[None]:
    """Instead of the story's operator, one that goes by this wall clock."""
    w.operator.kill()
    environment = os.environ | w.operator.environment | ({"NAIVE_CLOCK": "1"} if naive else {})
    log = w.operator.log.open("ab")
    process = subprocess.Popen(
        [sys.executable, SKEWED, wall.file], env=environment | {"KUBECONFIG": str(w.proxy.kubeconfig)},
        stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield
        assert process.poll() is None, "the operator ended"
    finally:
        process.kill()
        process.wait()
        log.close()


@dataclass(frozen=True)
class Rollout:
    """When B got its shares, in seconds, and whether it was promoted."""

    shares: dict[int, float]
    promoted: bool

    @property
    def steps(self) -> list[float]:
        """How long B had 10 and 50 percent."""
        return [self.shares[50] - self.shares[10], self.shares[100] - self.shares[50]]


def rolled_out(w: World, wall: Wall, jumps: dict[int, float]) -> Rollout:
    """B is started (slowly), steps and is promoted; the clock jumps while B has these shares (0: while it starts)."""
    with_stable(w, steps=STEPS, progressDeadlineSeconds=60)
    w.behaviour.silent = {B}
    w.measures(B, GOOD)
    w.apply(passed_revision("b"))
    w.until(lambda: w.status(MODEL_SERVICE, "bot").get("candidate"), "the candidate")
    wall.jump(jumps.get(0, 0))
    time.sleep(4)  # a look comes by, and finds it not ready yet
    w.behaviour.silent = set()
    shares: dict[int, float] = {}
    deadline = time.monotonic() + 60
    while 100 not in shares and "rejection" not in rollout(w, B) and time.monotonic() < deadline:
        share = weights(w).get(B, 0)
        if share and share not in shares:
            shares[share] = time.monotonic()
            time.sleep(1)  # somewhere within the step
            wall.jump(jumps.get(share, 0))
        time.sleep(0.05)
    return Rollout(shares, "rejection" not in rollout(w, B))


@pytest.fixture
def world(plane: Plane, actors: Actors) -> Iterator[World]:
    with World(plane, actors) as found:
        yield found


@pytest.mark.parametrize(
    "jumps",
    [
        pytest.param({0: HOUR, 10: -HOUR, 50: HOUR}, id="forward, back, forward"),
        pytest.param({0: -HOUR, 10: HOUR, 50: 0}, id="back, forward, right"),
    ],
)
def test_no_step_ends_early_or_late_because_a_clock_jumped(
    world: World, tmp_path: Path, jumps: dict[int, float]
) -> None:
    wall = Wall(tmp_path)
    with operator_by(world, wall):
        found = rolled_out(world, wall, jumps)
    assert found.promoted, f"rejected by a clock\n{world.timeline()}"
    early = [HOLD - took for took in found.steps]
    late = [took - HOLD for took in found.steps]
    wrong = [off for off in early if off > RESOLUTION] + [off for off in late if off > POLL + RESOLUTION + SLACK]
    print(f"\nR19: steps of {HOLD} s took {', '.join(f'{took:.1f}' for took in found.steps)} s")
    report.record("R19: the wall clock jumps by an hour mid-canary", len(jumps), len(wrong), max(*late, *early))
    assert not wrong, world.timeline()


RETRY = 6  # prepareRetrySeconds


def waited(w: World, wall: Wall, jump: float) -> float:
    """How long until bad data is looked at again, when the clock jumps meanwhile; gives up after four times as long."""
    attempts: list[float] = []

    def tell(stage: StageName, config: Json) -> Ending:
        attempts.append(time.monotonic())
        return failed(stage, config, 65, "DatasetInvalid", "line 3 is not JSON")

    w.behaviour.tell = tell
    w.apply(*claims(), job(gates=[], rollout=None))
    w.until(lambda: "line 3" in str(w.status(FINE_TUNE_JOB, "bot").get("message")), "the data is refused")
    wall.jump(jump)
    w.edit(FINE_TUNE_JOB, "bot", {"metadata": {"labels": {"look": "again"}}})
    with contextlib.suppress(TooLate):
        w.until(lambda: len(attempts) > 1, "the next attempt", 4 * RETRY)
    return (attempts[1] if len(attempts) > 1 else time.monotonic()) - attempts[0]


@pytest.fixture
def patient(plane: Plane, actors: Actors) -> Iterator[World]:
    with World(plane, actors, prepareRetrySeconds=RETRY) as found:
        yield found


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_retry_comes_when_it_was_promised(patient: World, tmp_path: Path, jump: float) -> None:
    wall = Wall(tmp_path)
    with operator_by(patient, wall):
        took = waited(patient, wall, jump)
    wrong = not -RESOLUTION < took - RETRY < RESOLUTION + SLACK + POLL
    print(f"\nR19: a retry after {RETRY} s came after {took:.1f} s")
    report.record("R19: the wall clock jumps by an hour before a retry", 1, int(wrong), abs(took - RETRY))
    assert not wrong, patient.timeline()


@pytest.mark.whole_sweep
@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_by_its_own_clock_a_retry_would_come_at_once(patient: World, tmp_path: Path, jump: float) -> None:
    """What the test above sees when the operator asks its machine for the time: it tests the test. (Set back by an hour,
    it does not wait for that hour either: a moment beyond any pause was written by another clock.)"""
    wall = Wall(tmp_path)
    with operator_by(patient, wall, naive=True):
        took = waited(patient, wall, jump)
    assert took < RETRY - RESOLUTION
