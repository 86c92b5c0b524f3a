"""A checkpoint counts once all its files are hashed and synced, which training does not wait for; and never before."""

from __future__ import annotations

import errno
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from serin_trainer import checkpoint
from serin_trainer.config import Checkpoints
from serin_trainer.publishing import Publisher

PATIENCE = 60.0  # seconds for what takes some hundredths of one, since a busy machine proves nothing


class PlayedGroup:
    """So many processes, each a thread of the test."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._here = threading.local()
        self._barrier = threading.Barrier(size)
        self._given: dict[int, Any] = {}

    @property
    def rank(self) -> int:
        return getattr(self._here, "rank", 0)

    def meet(self) -> None:
        self._barrier.wait(PATIENCE)

    def from_first(self, value: Any) -> Any:
        return self._exchanged(value)[0]

    def to_first(self, value: Any) -> list[Any]:
        found = self._exchanged(value)
        return found if self.rank == 0 else []

    def run(self, each: Callable[[int], None]) -> None:
        """The same in all processes, each in its own."""
        ends: list[Future[None]] = [Future() for _ in range(self.size)]

        def process(rank: int) -> None:
            self._here.rank = rank
            try:
                ends[rank].set_result(each(rank))
            except BaseException as error:
                ends[rank].set_exception(error)
                self._barrier.abort()

        for rank in range(self.size):
            threading.Thread(target=process, args=(rank,), daemon=True).start()
        for end in ends:
            end.result(PATIENCE)

    def _exchanged(self, value: Any) -> list[Any]:
        self._given[self.rank] = value
        self.meet()
        found = [self._given[rank] for rank in range(self.size)]
        self.meet()
        return found


class Run:
    """Publishers of one run, and what was said."""

    def __init__(self, output: Path, size: int = 1, **kept: int) -> None:
        self.output, self.said = output, list[str]()
        self.group = PlayedGroup(size)
        wish = Checkpoints.model_validate(kept)
        self.each = [Publisher(output, wish, self.group, self.said.append) for _ in range(size)]
        self.one = self.each[0]

    def write(self, step: int, **files: bytes) -> None:
        """As the Trainer leaves a checkpoint."""
        for name, content in (files or {"a.pt": b"a", "b.pt": b"b"}).items():
            path = checkpoint.saving(self.output, step) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def save(self, step: int, loss: float | None = None) -> None:
        self.write(step)
        self.one.begin(step, loss, time.monotonic())

    def end_step(self) -> None:
        self.one.step_ended(anyone_hashes=self.one.hashing)

    @property
    def counting(self) -> list[int]:
        """Steps that an attempt could resume from, newest first."""
        return [found.step for found in checkpoint.folders(self.output) if not checkpoint.damage(found.path)]


@contextmanager
def held(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[threading.Event]:
    """A part of the work does not end before the test says so."""
    go, real = threading.Event(), getattr(checkpoint, name)

    def wait(*given: Any) -> Any:
        assert go.wait(PATIENCE)
        return real(*given)

    monkeypatch.setattr(checkpoint, name, wait)
    yield go
    go.set()


def soon(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_training_goes_on_while_files_are_hashed_and_the_checkpoint_counts_once_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    with held(monkeypatch, "describe") as go:
        run.save(10)
        for _ in range(3):
            run.end_step()
        assert run.one.hashing
        assert (run.counting, run.said) == ([], [])
        go.set()
    soon(lambda: not run.one.hashing)
    assert run.counting == []  # whether all have hashed is known at the end of a step
    run.end_step()
    soon(lambda: run.said)
    assert run.counting == [10]
    assert run.said[0].startswith("checkpoint-10 is saved; training stood still for 0.0")


def test_a_process_that_is_gone_meanwhile_leaves_nothing_to_resume_from_but_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    run.save(10)
    run.one.settle()
    with held(monkeypatch, "describe"):
        run.save(20)
        found, notices = checkpoint.newest_whole(tmp_path)
        assert (found and found.step, notices) == (10, [])
        checkpoint.remove_unfinished_after(tmp_path, 10)  # as the next attempt begins
        assert not checkpoint.saving(tmp_path, 20).exists()


def test_who_settles_waits_until_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path)
    with held(monkeypatch, "publish") as go:
        run.save(10)
        soon(lambda: not run.one.hashing)
        run.end_step()
        began = time.monotonic()
        threading.Timer(0.05, go.set).start()
        run.one.settle()
        assert time.monotonic() - began >= 0.05
    assert run.counting == [10]


def test_a_second_save_waits_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path)
    with held(monkeypatch, "describe") as go:
        run.save(10)
        threading.Timer(0.05, go.set).start()
        run.save(20)
        assert run.counting == [10]
    run.one.settle()
    assert run.counting == [20, 10]


def test_what_is_kept_is_what_the_job_says(tmp_path: Path) -> None:
    run = Run(tmp_path, keepRecent=1, keepBest=1)
    for step, loss in ((10, 1.0), (20, 3.0), (30, 2.0)):
        run.save(step, loss)
    run.one.settle()
    assert run.counting == [30, 10]
    assert checkpoint.validation_loss(checkpoint.Checkpoint(10, tmp_path / "checkpoint-10")) == 1.0


def test_nothing_saved_is_nothing_to_wait_for(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.end_step()
    run.one.settle()
    assert (run.one.hashing, run.said) == (False, [])


@pytest.mark.parametrize("part", ["describe", "publish", "rotate"])
def test_what_fails_beside_training_is_raised_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, part, full)
    run = Run(tmp_path)
    run.save(10)

    def steps() -> None:
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            run.end_step()
            time.sleep(0.002)

    with pytest.raises(OSError, match="No space left"):
        steps()
    with pytest.raises(OSError, match="No space left"):
        run.one.settle()


def test_processes_share_the_files_and_none_is_waited_for_by_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, size=2)
    run.write(10, **{"a.pt": b"1", "b.pt": b"2", "c.pt": b"3"})
    hashed: dict[int, list[str]] = {}
    slow, real = threading.Event(), checkpoint.describe

    def describe(folder: Path, names: list[str]) -> Any:
        hashed[len(names)] = names
        assert len(names) == 2 or slow.wait(PATIENCE)
        return real(folder, names)

    monkeypatch.setattr(checkpoint, "describe", describe)
    run.group.run(lambda rank: run.each[rank].begin(10, 0.5, time.monotonic()))
    soon(lambda: not run.each[0].hashing)
    assert run.each[1].hashing
    run.group.run(lambda rank: run.each[rank].step_ended(anyone_hashes=True))
    assert run.counting == []
    slow.set()
    run.group.run(lambda rank: run.each[rank].settle())
    assert hashed == {2: ["a.pt", "c.pt"], 1: ["b.pt"]}
    assert run.counting == [10]
    marker = json.loads((tmp_path / "checkpoint-10" / "complete.json").read_text())
    assert [file["path"] for file in marker["files"]] == ["a.pt", "b.pt", "c.pt"]
    assert marker["validationLoss"] == 0.5


def test_settling_ends_for_no_process_before_the_checkpoint_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, size=2)
    run.write(10)
    seen: list[list[int]] = []
    real = checkpoint.publish

    def publish(*given: Any) -> Any:
        time.sleep(0.05)
        return real(*given)

    monkeypatch.setattr(checkpoint, "publish", publish)

    def process(rank: int) -> None:
        run.each[rank].begin(10, None, time.monotonic())
        run.each[rank].settle()
        seen.append(run.counting)

    run.group.run(process)
    assert seen == [[10], [10]]
