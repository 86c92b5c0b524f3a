"""The safety net under the watches: every few seconds it lists what is there and compares that with what was told.

A watch is a promise of kopf and of all that lies between it and etcd, and it breaks in silence: a connection that is
held open and carries nothing, an event that a proxy swallowed, a deletion during the gap of a 410 (the list that follows
shows what is there, not what is gone), an API that was installed after we started. So what changed is found out a
second way: metadata only, which is cheap, by level and not by edge. What no watch has told after a moment's grace wakes
whom it concerns; a watch that stays silent about what the lists keep showing is started again. Kopf remains the source
of events: with healthy watches the net never wakes anybody.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from serin_operator import telemetry
from serin_operator.api.kinds import Kind
from serin_operator.errors import SerinError
from serin_operator.rest import Cluster
from serin_operator.sightings import Missed, Sighting
from serin_operator.wakeups import WATCHED, Wakeups, Watched

log = logging.getLogger("serin.resync")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. A change that a watch loses is told after `period` + `grace` and the time of a list at most."""

    period: float = 8.0
    grace: float = 2.0  # an event may be on its way while the list is made
    after_failure: float = 2.0  # the apiserver may be back any moment
    longest_round: float = 30.0
    blind: float = 15.0  # a watch that tells nothing for so long after a change it missed is started again
    longest_between_restarts: float = 600.0


@dataclass(slots=True)
class SafetyNet:
    """Lists and compares for ever. `restart` starts the watches again, `recovered` is told that the API answers again."""

    cluster: Cluster
    wakeups: Wakeups
    restart: Callable[[str], None]
    recovered: Callable[[], None]
    pace: Pace = field(default_factory=Pace)
    _agreed_at: dict[Kind, float] = field(default_factory=dict[Kind, float])
    _looked_at: dict[Kind, float] = field(default_factory=dict[Kind, float])
    _restarted_at: float = float("-inf")
    _restarts: int = 0

    async def run(self) -> None:
        """Every kind has rounds of its own: one that is refused or slow keeps none of the others waiting."""
        async with asyncio.TaskGroup() as group:
            for number, watched in enumerate(WATCHED):
                group.create_task(self._follow(watched, self.pace.period * number / len(WATCHED)))

    def age(self, kind: Kind) -> float:
        """Seconds since a list agreed with what was told, or what it showed beyond that was made known."""
        return _since(self._agreed_at.get(kind))

    def stuck_for(self) -> float:
        """Seconds since some kind was last listed, whether the apiserver answered or not."""
        return max((_since(when) for when in self._looked_at.values()), default=0.0)

    async def _follow(self, watched: Watched, first_pause: float) -> None:
        kind, well, pause = watched.kind, True, first_pause
        self._agreed_at[kind] = self._looked_at[kind] = asyncio.get_running_loop().time()
        telemetry.WATCH_AGE.labels(kind.plural).set_function(partial(self.age, kind))
        while True:
            await asyncio.sleep(pause)
            before, well = well, await self.check(watched)
            self._looked_at[kind] = asyncio.get_running_loop().time()
            if well and not before:
                log.info("%s can be listed again", kind.plural)
                self.recovered()
            self._restart_if_blind()
            pause = self.pace.period if well else self.pace.after_failure

    async def check(self, watched: Watched) -> bool:
        """One list of one kind, and what follows from it; False when the apiserver did not answer."""
        kind = watched.kind
        try:
            async with asyncio.timeout(self.pace.longest_round):
                missed = await self._compared(watched)
        except (SerinError, TimeoutError) as error:
            log.warning("%s could not be listed: %r", kind.plural, error)
            return False
        except Exception:
            log.exception("a bug in Serin: %s could not be compared", kind.plural)
            return False
        if missed:
            await asyncio.sleep(self.pace.grace)
            missed = self.wakeups.sightings[kind].still(missed)
        if missed:
            log.warning(
                "no watch told of %d changed, %d gone %s", len(missed.changed), len(missed.vanished), kind.plural
            )
            self.wakeups.missed(kind, missed, asyncio.get_running_loop().time())
        self._agreed_at[kind] = asyncio.get_running_loop().time()
        return True

    async def _compared(self, watched: Watched) -> Missed:
        listed: list[Sighting] = []
        version = ""
        async for chunk, of_list in self.cluster.metadata(watched.kind, watched.selector):
            listed += [Sighting.of(found) for found in chunk]
            version = of_list
        return self.wakeups.sightings[watched.kind].compare(listed, version)

    def _restart_if_blind(self) -> None:
        now = asyncio.get_running_loop().time()
        blind = [
            kind.plural
            for kind, known in self.wakeups.sightings.items()
            if (since := known.silent_since()) is not None and now - since >= self.pace.blind
        ]
        # Ever more seldom: a watch that an apiserver keeps refusing is not mended by being started again.
        pause = min(self.pace.blind * 2**self._restarts, self.pace.longest_between_restarts)
        if not blind and now - self._restarted_at > self.pace.longest_between_restarts:
            self._restarts = 0
        if blind and now - self._restarted_at >= pause:
            self._restarted_at, self._restarts = now, self._restarts + 1
            self.restart(f"the watch of {', '.join(blind)} is blind")


def _since(when: float | None) -> float:
    return asyncio.get_running_loop().time() - when if when is not None else 0.0
