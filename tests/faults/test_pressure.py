"""R4: somebody else writes on everything all the time. R5: an apiserver that is busy, broken or slow.

The stories end as ever, no edit of a user is lost, and an apiserver in trouble is not asked much more than a healthy one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
from faults.harness import report
from faults.harness.flows import FLOWS, Flow
from faults.harness.injections import Delay, RandomAnswers
from faults.harness.options import Options
from faults.harness.sweep import Sweep
from faults.harness.telling import Plan, Told
from faults.harness.world import TooLate, World
from serin_operator.api.kinds import DEPLOYMENT, FINE_TUNE_JOB, HTTP_ROUTE, JOB, MODEL_REVISION, MODEL_SERVICE, Kind

Json = dict[str, Any]
PATIENCE = 300.0
PAUSE = 0.3  # between two rounds of the second writer
SHORT = 15  # writes: a story with fewer may meet the second writer at creates only, which conflict with nothing
MOST_CALLS = 2.0  # times those of the clean run
OF_AN_EDIT = 5  # calls: whoever watches must look, and a look confirms, writes and is refused; 2.6 at most, measured
# One of them has a user's edit to lose.
STORMED = ("create-to-promoted", "spec-edit-mid-run", "promotion", "rollback-in-step")
STORM = tuple(flow for flow in FLOWS if flow.name in STORMED)
LABEL, NOTE = "user.example/team", "user.example/note"


@dataclass(frozen=True)
class Pressure:
    """A fault that lasts for the whole story."""

    name: str
    fault: RandomAnswers | Delay
    writes: bool = False  # are met by it, and nothing else is

    def __str__(self) -> str:
        return self.name.removeprefix("R5 ").split(" for ")[0].replace(" ", "-")

    def __call__(self, world: World) -> Callable[[], None]:
        world.proxy.on_call(
            lambda call: world.began_at > 0 and (not self.writes or call.number is not None), self.fault
        )
        deployment = _Deployment(world)

        def over() -> None:
            deployment.stop()
            world.proxy.clear()

        return over


class _Deployment:
    """Starts the operator again when it left: several bad answers in a row cost it its lease, now and then."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._stopped.wait(0.5):
            if self._world.began_at > 0 and not self._world.operator.alive():
                self._world.operator.start()


PRESSURES = (
    Pressure("R5 429 with Retry-After for 30 percent of the calls", RandomAnswers(0.3, 429, retry_after=1)),
    Pressure("R5 500 for 30 percent of the calls", RandomAnswers(0.3, 500)),
    Pressure("R5 504 for 30 percent of the calls", RandomAnswers(0.3, 504)),
    Pressure("R5 409 for 10 percent of the writes", RandomAnswers(0.1, 409), writes=True),
    Pressure("R5 2 s of latency for every call", Delay(2.0)),
)
SLOW = (PRESSURES[-1],)  # to be slow takes its time: a minute and a half a story
Key = tuple[str, str]


@pytest.fixture(scope="module")
def told(sweep: Sweep, request: pytest.FixtureRequest) -> dict[Key, Future[Told]]:
    """All that was asked for, side by side, so that the pool is never empty."""
    asked = [item.callspec.params for item in request.session.items if item.fspath == request.fspath]
    plans = [(one["flow"], one.get("pressure")) for one in asked]
    return {
        (flow.name, str(pressure or "")): sweep.story(flow, pressure or SecondWriter.of(flow), PATIENCE)
        for flow, pressure in plans
    }


def part(flow: Flow, name: str) -> Any:
    """A parameter; all but the named flow are left to the whole sweep."""
    return pytest.param(flow, id=flow.name, marks=() if flow.name in name.split() else pytest.mark.whole_sweep)


def too_many_calls(story: Told, clean: Told, edits: int = 0) -> list[str]:
    """`edits`: those of somebody else, which the clean story did not have."""
    said = f"{story.calls} calls, without a fault {clean.calls}, and {edits} edits"
    return [said] if story.calls > MOST_CALLS * clean.calls + OF_AN_EDIT * edits else []


@pytest.mark.parametrize("flow", [part(flow, "promotion") for flow in STORM])
@pytest.mark.parametrize(
    "pressure",
    [pytest.param(one, id=str(one), marks=pytest.mark.whole_sweep if one in SLOW else ()) for one in PRESSURES],
)
def test_an_apiserver_in_trouble_is_not_stormed(
    pressure: Pressure, flow: Flow, sweep: Sweep, told: dict[Key, Future[Told]], options: Options
) -> None:
    clean, story = sweep.clean(flow).result(), told[flow.name, str(pressure)].result()
    violations = [*story.compared_with(clean), *too_many_calls(story, clean)]
    report.record(pressure.name, 1, 1 if violations else 0, max(0.0, story.took - clean.took))
    print(f"{flow}, {pressure}: {story.calls} calls ({clean.calls}) in {story.took:.0f} s ({clean.took:.0f} s)")
    assert not violations, "\n".join([*violations, story.timeline])


# --- R4 -------------------------------------------------------------------------------------------------------------


class SecondWriter:
    """A user's tool that labels and annotates whatever it sees, and edits what changes no decision, without a pause."""

    KINDS = (FINE_TUNE_JOB, MODEL_SERVICE, MODEL_REVISION, JOB, DEPLOYMENT, HTTP_ROUTE)

    edits: ClassVar[dict[str, int]] = {}  # by flow

    def __init__(self, world: World, flow: Flow) -> None:
        self._world, self._api, self._flow = world, world.plane.api(), flow.name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.rounds = self._edits = 0
        self._wrote: dict[str, Json] = {}  # by uid, the last that was stored: what came after it has nothing to lose

    @classmethod
    def of(cls, flow: Flow) -> Plan:
        """From the start of the story to its end."""

        def at_work(world: World) -> Callable[[], None]:
            writer = cls(world, flow)
            writer._thread.start()
            return writer.finish

        return at_work

    def finish(self) -> None:
        """Stops, and fails when an edit is not there any more, or nothing was in anybody's way."""
        self._stop.set()
        self._thread.join()
        lost = [line for kind in self.KINDS for item in self._items(kind) for line in self._lost(kind, item)]
        self._api.client.close()
        writes = self._world.proxy.writes
        conflicts = sum(call.status == 409 for call in writes)
        self.edits[self._flow] = self._edits
        self._world.note(f"the second writer had {self.rounds} rounds, {self._edits} edits; {conflicts} conflicts")
        tried = conflicts or (self.rounds >= 2 and len(writes) < SHORT)
        if lost or not (tried and self._wrote):
            raise TooLate("; ".join(lost) or f"nothing was tried: {self.rounds} rounds, {conflicts} conflicts")

    def _write(self) -> None:
        while not self._stop.wait(PAUSE):
            self.rounds += 1
            for kind in self.KINDS:
                for item in self._items(kind):
                    self._edit(kind, item["metadata"]["name"])

    def _items(self, kind: Kind) -> list[Json]:
        return self._api.items(kind.path(self._world.namespace))

    def _edit(self, kind: Kind, name: str) -> None:
        self._edits += 1
        change: Json = {"metadata": {"labels": {LABEL: "a"}, "annotations": {NOTE: str(self._edits)}}}
        if kind is DEPLOYMENT:
            # An annotation is copied to the ReplicaSet and counts as a new generation. Two a second, and Kubernetes' own
            # controller gets nowhere: each of its writes is refused, and it waits twice as long before the next.
            change = {"metadata": {"labels": {LABEL: f"a-{self._edits}"}, "annotations": {NOTE: "a"}}}
        if kind is FINE_TUNE_JOB:  # in no key; always the same, since a changed spec tries once more what has failed
            change["spec"] = {"distribution": {"maxRestarts": 4}}
        if kind is MODEL_SERVICE:
            change["spec"] = {"canary": {"progressDeadlineSeconds": 600 + self._edits % 60}}
        answer = self._api.client.patch(
            kind.path(self._world.namespace, name),
            json=change,
            headers={"Content-Type": "application/merge-patch+json"},
        )
        if answer.is_success:
            self._wrote[answer.json()["metadata"]["uid"]] = change

    def _lost(self, kind: Kind, item: Json) -> list[str]:
        meta = item["metadata"]
        if meta.get("deletionTimestamp"):
            return []
        return [
            f"{kind.kind} {meta['name']} has lost the user's {what}"
            for what in _missing(self._wrote.get(meta["uid"], {}), item)
        ]


def _missing(change: Json, item: Json, at: str = "") -> Iterator[str]:
    """The parts of a change that an object does not have."""
    for key, part in change.items():
        if isinstance(part, dict):
            yield from _missing(part, item.get(key) or {}, f"{at}.{key}")
        elif item.get(key) != part:
            yield f"{at}.{key}: {part} (it is {item.get(key)})"


def theirs_left_out(told: Told) -> Told:
    """The end without what the second writer wrote, and what it stirred up."""

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            dropped = {LABEL, NOTE, "generation", "observedGeneration", "maxRestarts", "progressDeadlineSeconds"}
            return {k: without(v) for k, v in value.items() if k not in dropped and v != {} and without(v) != {}}
        return [without(one) for one in value] if isinstance(value, list) else value

    return replace(told, end={name: without(item) for name, item in told.end.items()})


@pytest.mark.parametrize("flow", [part(flow, "spec-edit-mid-run rollback-in-bake") for flow in FLOWS])
def test_a_second_writer_stops_nothing_and_loses_nothing(
    flow: Flow, sweep: Sweep, told: dict[Key, Future[Told]], options: Options
) -> None:
    clean, story = sweep.clean(flow).result(), told[flow.name, ""].result()
    edits = SecondWriter.edits[flow.name]
    violations = [*theirs_left_out(story).compared_with(theirs_left_out(clean)), *too_many_calls(story, clean, edits)]
    calls = f"{story.calls} calls ({clean.calls})"
    print(f"{flow}, {edits} edits of a second writer: {calls} in {story.took:.0f} s ({clean.took:.0f} s)")
    report.record("R4 a second writer on every object, all the time", 1, 1 if violations else 0,
                  max(0.0, story.took - clean.took))  # fmt: skip
    assert not violations, "\n".join([*violations, story.timeline])
