"""The crash sweep: SIGKILL before and after every write of every flow, the oracles asked after each.

All points of all flows go into one pool; runs mostly wait for pods and controllers, so many fit on two cores.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from faults.harness.flows import Flow
from faults.harness.injections import CommitThenAnswer, CommitThenCut, Fault, KillAfter, KillBefore, Run, TimeTravel
from faults.harness.progress import Progress
from faults.harness.telling import Plan, Teller, Told
from faults.harness.world import World

Choose = Callable[[Flow, int], "list[Point]"]  # of a flow with so many writes
STALE_SECONDS = 3.0
OLDER_BY = 3  # writes
TRIES = 3  # of a point whose story came to its end with fewer writes than the clean one


@dataclass(frozen=True)
class Point:
    """One fault at one write of one flow; `str` is how a command line asks for it."""

    flow: str
    write: int
    side: str

    def __str__(self) -> str:
        return f"{self.flow}#{self.write}-{self.side}"


@dataclass(frozen=True)
class Outcome:
    """What the oracles said of one point."""

    point: Point
    met: bool  # the run had that many writes
    violations: tuple[str, ...]
    recovery_seconds: float  # how much later than without the fault the next write came
    timeline: str

    def told(self, command: str) -> str:
        """For a failure message."""
        return "\n".join(
            [f"{self.point}: again with {command} --point '{self.point}'", *self.violations, self.timeline]
        )


def _at_write(make: Callable[[World], Fault]) -> Callable[[Point], Plan]:
    return lambda point: lambda world: world.proxy.on_write(point.write, make(world))


def _into_older_view(point: Point) -> Plan:
    """Three writes before, the view is taken; at the write the operator dies and wakes up in it, for a while."""

    def plan(world: World) -> None:
        travel = TimeTravel(world.proxy, world.operator, STALE_SECONDS)
        if point.write > OLDER_BY:
            world.proxy.on_write(point.write - OLDER_BY, Run(lambda _: travel.remember()))
        world.proxy.on_write(point.write, travel)

    return plan


SIDES: dict[str, Callable[[Point], Plan]] = {
    "before": _at_write(lambda world: KillBefore(world.operator)),
    "after": _at_write(lambda world: KillAfter(world.operator)),
    "cut": _at_write(lambda world: CommitThenCut()),
    "timeout": _at_write(lambda world: CommitThenAnswer(504)),
    "older": _into_older_view,
}

Swept = Future[tuple[Told, list[Outcome]]]


class Sweep:
    """Clean runs (each once) and points, all in one pool."""

    def __init__(self, teller: Teller, workers: int, progress: Progress) -> None:
        self._teller = teller
        self._progress = progress
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="story")
        self._waiting = ThreadPoolExecutor(64, thread_name_prefix="flow")  # these only wait
        self._clean: dict[str, Future[Told]] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        self._waiting.shutdown(wait=False, cancel_futures=True)
        self._pool.shutdown(cancel_futures=True)

    def clean(self, flow: Flow) -> Future[Told]:
        """The flow without a fault, told once."""
        with self._lock:
            if flow.name not in self._clean:
                self._clean[flow.name] = self._pool.submit(self._teller.tell, flow)
            return self._clean[flow.name]

    def story(self, flow: Flow, plan: Plan, patience: float | None = None) -> Future[Told]:
        """The flow with a plan of its own; it may take its time to end as the clean one does."""
        return self._pool.submit(self._teller.tell, flow, plan, patience, self.clean(flow).result)

    def of(self, flow: Flow, chosen: Choose, plan: Callable[[Point], Plan]) -> Swept:
        """The clean run of a flow, then its chosen points; returns at once."""

        def work() -> tuple[Told, list[Outcome]]:
            clean = self.clean(flow).result()
            if clean.violations:
                return clean, []
            points = chosen(flow, len(clean.writes))
            self._progress.asked(len(points))
            started = [self.at(flow, point, plan(point)) for point in points]
            return clean, [one.result() for one in started]

        return self._waiting.submit(work)

    def at(self, flow: Flow, point: Point, plan: Plan) -> Future[Outcome]:
        """The flow with one point's faults."""
        clean = self.clean(flow)

        def run() -> Outcome:
            for _ in range(TRIES):
                outcome = judged(point, clean.result(), self._teller.tell(flow, plan, clean=clean.result))
                if outcome.met or outcome.violations:
                    break
            self._progress.told(str(point), outcome.violations)
            return outcome

        return self._pool.submit(run)


def judged(point: Point, clean: Told, told: Told) -> Outcome:
    met = any(call.number == point.write for call in told.writes)
    late = _pause_after(point.write, told) - _pause_after(point.write, clean)
    return Outcome(point, met, told.compared_with(clean), max(0.0, late), told.timeline)


def _pause_after(write: int, told: Told) -> float:
    """Seconds between this write and the next; 0 when it was the last."""
    times = {call.number: call.time for call in told.writes}
    return times[write + 1] - times[write] if write + 1 in times else 0.0


def points_of(flow: str, writes: int, sides: Sequence[str]) -> list[Point]:
    return [Point(flow, write, side) for write in range(1, writes + 1) for side in sides]


def some(points: list[Point], count: int, seed: int) -> list[Point]:
    """So many of them, spread evenly from a beginning that the seed picks: another seed, other points."""
    if count >= len(points):
        return points
    start = random.Random(f"{seed}/{points[0].flow}").random()
    return [points[int((start + index) * len(points) / count) % len(points)] for index in range(count)]
