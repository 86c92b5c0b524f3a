"""Tells one flow with one plan of faults and asks the oracles: a clean run first, to compare with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from faults.harness.actors import Actors
from faults.harness.calls import Call
from faults.harness.flows import Flow
from faults.harness.oracles import count_differences, creates_and_deletes, differences, end_state, safety
from faults.harness.plane import Plane
from faults.harness.world import TooLate, World

Json = dict[str, Any]
Plan = Callable[[World], object]
QUIET = 1.2  # seconds without a write before the end is looked at
CLEAN_QUIET = 3.0  # the same for a story that others are compared with: its end must be one that lasts
SETTLING = 20.0  # seconds that a story with a fault may take to end as the clean one did


@dataclass(frozen=True)
class Told:
    """What came of one run."""

    flow: str
    end: dict[str, Json]
    counts: Counter[str]
    violations: tuple[str, ...]  # of S, and of what the story waits for
    writes: tuple[Call, ...]
    calls: int
    began_at: float  # on the journal's clock, as the next
    finished_at: float
    timeline: str

    @property
    def took(self) -> float:
        """Seconds from the first numbered write on; 0 for a story without an end."""
        return self.finished_at - self.began_at if self.finished_at else 0.0

    def compared_with(self, clean: Told) -> tuple[str, ...]:
        """Every oracle's word; nothing when all is well."""
        if self.violations:
            return self.violations
        return (*differences(clean.end, self.end), *count_differences(clean.counts, self.counts))


@dataclass
class Teller:
    """Runs flows on one plane."""

    plane: Plane
    actors: Actors
    seed: int = 0
    patience: float = 60.0

    def tell(
        self,
        flow: Flow,
        plan: Plan = lambda world: None,
        patience: float | None = None,
        clean: Callable[[], Told] | None = None,
    ) -> Told:
        """The whole story with the faults that `plan` puts on; it ends when nothing is written any more.

        A story with a clean one beside it is given some time to end alike: who only looks again every few seconds is
        not at rest because nothing is written for one.
        What `plan` returns, if anything, is called once the story is over, to take lasting faults off again.
        """
        with World(self.plane, self.actors, self.seed, patience or self.patience, **flow.settings) as world:
            take_off = plan(world)
            violations: list[str] = []
            finished_at = 0.0
            with ExitStack() as lasting:  # taken off whatever happens
                if callable(take_off):
                    lasting.callback(take_off)
                try:
                    flow.run(world)
                    world.until(lambda: flow.final(world), "the end of the story")
                    finished_at = world.proxy.now
                    lasting.close()
                    quiet = QUIET if clean is not None else CLEAN_QUIET
                    world.until(lambda: world.proxy.quiet_for() > quiet, "the operator comes to rest", 20, free=True)
                    if clean is not None:
                        self._settle(world, clean())
                    world.until(lambda: flow.final(world), "the end of the story lasts", 5)
                except TooLate as late:
                    violations.append(f"stuck: {late}")
            world.operator.kill()
            events = world.plane.audit.settled(world.namespace, world.api)
            violations += [str(found) for found in safety(events)]
            return Told(
                flow.name,
                end_state(world.api, world.namespace),
                creates_and_deletes(events),
                tuple(violations),
                tuple(world.proxy.writes),
                world.proxy.calls,
                world.began_at,
                finished_at,
                world.timeline(),
            )

    def _settle(self, world: World, clean: Told) -> None:
        with suppress(TooLate):  # the oracle then says what is different
            world.until(
                lambda: not differences(clean.end, end_state(world.api, world.namespace)), "the clean end", SETTLING
            )
