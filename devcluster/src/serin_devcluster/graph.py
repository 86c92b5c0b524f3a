"""Tasks with dependencies, run on lanes so that downloads overlap compiles, with progress instead of silence.

A task says by itself whether its output is already there, so a run that was interrupted goes on where it stopped.
What is not its business: what the tasks do.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TextIO

HEARTBEAT_SECONDS = 15.0


class Lane(Enum):
    """What a task mostly waits for. A lane runs few tasks at a time: more would not end sooner."""

    CPU = "cpu"
    NETWORK = "network"
    DISK = "disk"


WIDTH = {Lane.CPU: 1, Lane.NETWORK: 2, Lane.DISK: 1}


def never_done() -> bool:
    """For tasks that only check or are quick: they run each time."""
    return False


@dataclass(frozen=True)
class Task:
    """One step: `title` reads after "now", as in "building coredns"."""

    name: str
    title: str
    action: Callable[[], None]
    lane: Lane = Lane.CPU
    needs: tuple[str, ...] = ()
    is_done: Callable[[], bool] = never_done


class GraphError(Exception):
    """The table of tasks is wrong: a bug, not a user's mistake."""


def in_order(tasks: Sequence[Task]) -> list[Task]:
    """Each task after all it needs, otherwise in the order of the table."""
    by_name = {task.name: task for task in tasks}
    if len(by_name) != len(tasks):
        raise GraphError("two tasks share a name")
    ordered: list[Task] = []
    placed: set[str] = set()
    visiting: set[str] = set()

    def place(task: Task) -> None:
        if task.name in placed:
            return
        if task.name in visiting:
            raise GraphError(f"{task.name} needs itself")
        visiting.add(task.name)
        for name in task.needs:
            if name not in by_name:
                raise GraphError(f"{task.name} needs {name}, which no task is called")
            place(by_name[name])
        placed.add(task.name)
        ordered.append(task)

    for task in tasks:
        place(task)
    return ordered


def needed_for(tasks: Sequence[Task], goals: Iterable[str]) -> list[Task]:
    """The part of the table that the goals need."""
    by_name = {task.name: task for task in tasks}
    wanted: set[str] = set()
    todo = list(goals)
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += by_name[name].needs
    return [task for task in tasks if task.name in wanted]


@dataclass
class Progress:
    """Lines such as `[ 3/17] 04:12 building coredns … next: helm`."""

    total: int
    out: TextIO = field(default_factory=lambda: sys.stdout)
    clock: Callable[[], float] = time.monotonic
    finished: int = 0
    _spoke_at: float = 0.0

    def __post_init__(self) -> None:
        self._began = self._spoke_at = self.clock()
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        with self._lock:
            self._spoke_at = self.clock()
            width = len(str(self.total))
            print(
                f"[{self.finished:{width}}/{self.total}] {clock_face(self.elapsed())} {text}", file=self.out, flush=True
            )

    def elapsed(self) -> float:
        return self.clock() - self._began

    def silent_for(self) -> float:
        return self.clock() - self._spoke_at


def clock_face(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


class Runner:
    """Runs a table of tasks, threads for each lane. The first error stops the start of further tasks and is raised."""

    def __init__(
        self, tasks: Sequence[Task], progress: Progress | None = None, heartbeat: float = HEARTBEAT_SECONDS
    ) -> None:
        self.waiting = in_order(tasks)
        self.progress = progress or Progress(len(tasks))
        self.heartbeat = heartbeat
        self.running: dict[str, tuple[Task, float]] = {}
        self.done: set[str] = set()
        self.error: BaseException | None = None
        self._changed = threading.Condition()

    def run(self) -> None:
        lanes = [lane for lane in Lane for _ in range(WIDTH[lane])]
        threads = [threading.Thread(target=self._work, args=(lane,), daemon=True, name=lane.value) for lane in lanes]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            with self._changed:
                self._changed.wait(0.5)
            if self.progress.silent_for() >= self.heartbeat and self.running:
                self.progress.say(self._still())
        if self.error is not None:
            raise self.error

    def _work(self, lane: Lane) -> None:
        while (task := self._take(lane)) is not None:
            began = self.progress.clock()
            try:
                if not task.is_done():
                    self.progress.say(f"{task.title} …{self._next_after()}")
                    task.action()
                    took = self.progress.clock() - began
                    self._finish(task)
                    if took >= 3:
                        self.progress.say(f"{task.title}: done in {clock_face(took)}")
                else:
                    self._finish(task)
            except BaseException as error:  # a lane must never die silently, the others would wait for it for ever
                with self._changed:
                    self.error = self.error or error
                    self.running.pop(task.name, None)
                    self._changed.notify_all()

    def _take(self, lane: Lane) -> Task | None:
        """The first task of the lane whose needs are met; None when nothing will come any more."""
        with self._changed:
            while True:
                if self.error is not None or not any(task.lane is lane for task in self.waiting):
                    return None
                for task in self.waiting:
                    if task.lane is lane and self.done.issuperset(task.needs):
                        self.waiting.remove(task)
                        self.running[task.name] = (task, self.progress.clock())
                        return task
                self._changed.wait()

    def _finish(self, task: Task) -> None:
        with self._changed:
            self.done.add(task.name)
            del self.running[task.name]
            self.progress.finished = len(self.done)
            self._changed.notify_all()

    def _next_after(self) -> str:
        with self._changed:
            return f" next: {self.waiting[0].title}" if self.waiting else ""

    def _still(self) -> str:
        with self._changed:
            now = self.progress.clock()
            parts = [f"{task.title} ({clock_face(now - since)})" for task, since in self.running.values()]
        return "still " + ", ".join(parts)
