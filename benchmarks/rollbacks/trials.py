"""One canary from its start to weight 0, and many of them at the same time.

A controller looks every so often, so what is measured depends on when between two looks the breach begins. These moments
are spread evenly over the interval, the same ones for each system: (k + 1/2) / n of an interval after a look.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from faults.prometheus import value

from rollbacks.stand import BAD, Stand, until
from rollbacks.systems import Pace, Row, System

Json = dict[str, Any]
ROOM = 60.0  # seconds beyond what the pace explains, before a trial is given up


@dataclass(frozen=True, slots=True)
class Trial:
    """`seconds`: from the breach to the write of weight 0, as the audit log dates it."""

    system: str
    row: str
    pace: Pace
    seconds: float


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a trial's breach lies between two looks, from 0 to 1."""

    phase: float


def spread(count: int) -> list[Moment]:
    return [Moment((k + 0.5) / count) for k in range(count)]


@contextmanager
def running(systems: list[System]) -> Iterator[None]:
    with ExitStack() as stack:
        for system in systems:
            system.start()
            stack.callback(system.stop)
        yield


def all_at_once(stand: Stand, systems: list[System], row: Row, count: int) -> list[Trial]:
    """So many canaries of each system, all at the same time."""
    work = [(system, moment) for system in systems for moment in spread(count)]
    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(lambda pair: breach(stand, pair[0], row, pair[1]), work))


def breach(stand: Stand, system: System, row: Row, moment: Moment) -> Trial:
    """The canary measures well, and from one moment on badly."""
    pace = system.paces[row]
    namespace = stand.plane.namespace("roll")
    try:
        label = system.label(namespace)
        _canary_has_traffic(stand, system, namespace, pace)
        looked = len(stand.asked_at(label))
        until(lambda: len(stand.asked_at(label)) > looked, "it looks at the canary", 4 * pace.interval + ROOM)
        time.sleep(max(0.0, stand.asked_at(label)[-1] + moment.phase * pace.interval - time.time()))
        began = time.time()
        stand.prometheus.says(value(BAD), metric="length", revision=label)
        longest = (pace.failures + 2) * pace.interval + ROOM
        return Trial(system.name, row, pace, _weight_zero(stand, system, namespace, began, longest) - began)
    except Exception as error:
        raise RuntimeError(f"{system.name}, {row}, {namespace}: {error}\n{system.last_words()}") from error


def unready(stand: Stand, system: System, revision: str) -> Trial:
    """The canary's pods stop being ready, at the documented pace: no metric is needed to see it."""
    pace = system.paces[Row.DOCUMENTED]
    namespace = stand.plane.namespace("roll")
    _canary_has_traffic(stand, system, namespace, pace)
    began = time.time()
    stand.actors.of(namespace).silent.add(revision)
    return Trial(system.name, "no ready pod", pace, _weight_zero(stand, system, namespace, began, ROOM) - began)


def in_rounds(one: Callable[[], Trial], count: int, width: int = 10) -> list[Trial]:
    """So many trials, ten at a time."""
    with ThreadPoolExecutor(width) as pool:
        return list(pool.map(lambda _: one(), range(count)))


def _canary_has_traffic(stand: Stand, system: System, namespace: str, pace: Pace) -> None:
    system.serve(namespace, pace)
    system.release(namespace)

    def has_traffic() -> bool:
        weights = [weight for _, weight in _weights(stand, system, namespace)]
        return bool(weights) and 0 < weights[-1] < 100

    until(has_traffic, "the canary has traffic", 6 * pace.interval + 2 * ROOM)


def _weight_zero(stand: Stand, system: System, namespace: str, since: float, seconds: float) -> float:
    """When (Unix seconds) the canary's weight was written as 0."""

    def written() -> list[float]:
        return [at for at, weight in _weights(stand, system, namespace) if at > since and weight == 0]

    until(written, "the canary's weight is 0", seconds)
    return written()[0]


def _weights(stand: Stand, system: System, namespace: str) -> list[tuple[float, int]]:
    found = [(event, system.weight(event)) for event in stand.plane.audit.of(namespace)]
    return [(_moment(event), weight) for event, weight in found if weight is not None]


def _moment(event: Json) -> float:
    """When the apiserver had answered; to the microsecond."""
    return datetime.fromisoformat(event["stageTimestamp"]).timestamp()
