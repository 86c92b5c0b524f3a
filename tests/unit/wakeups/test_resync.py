"""The safety net and the keeping of watches, against a made-up apiserver and a made-up watch."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from serin_operator.api import kinds
from serin_operator.api.kinds import Kind
from serin_operator.errors import ClusterUnavailable, SerinError
from serin_operator.interest import Interest
from serin_operator.queue import Key, WorkQueue
from serin_operator.rest import Objects
from serin_operator.resync import Pace, SafetyNet
from serin_operator.wakeups import WATCHED, Wakeups
from serin_operator.watches import Watches

JOB = Key("FineTuneJob", "ml", "bot")
POD = next(watched for watched in WATCHED if watched.kind is kinds.POD)
QUICK = Pace(period=0.02, grace=0.02, after_failure=0.01, longest_round=0.5, blind=0.1, longest_between_restarts=0.4)


def a_pod(version: int, name: str = "p") -> dict[str, Any]:
    return {
        "namespace": "ml", "name": name, "uid": name, "resourceVersion": str(version), "labels": {"serin.dev/job": "bot"},
    }  # fmt: skip


class Lists:
    """An apiserver that only lists, what and whether the test says."""

    def __init__(self) -> None:
        self.there: dict[Kind, Objects] = {}
        self.refusing: set[Kind] = set()
        self.asked = 0

    async def metadata(self, kind: Kind, selector: str) -> AsyncIterator[tuple[Objects, str]]:
        self.asked += 1
        if kind in self.refusing:
            raise ClusterUnavailable("not now")
        items = self.there.get(kind, [])
        yield items, str(max((int(item["resourceVersion"]) for item in items), default=1000))


class World:
    def __init__(self, pace: Pace = QUICK) -> None:
        self.lists, self.restarts, self.recoveries = Lists(), list[str](), 0
        self.wakeups = Wakeups(WorkQueue(), Interest(), lambda uid, version: False)
        self.net = SafetyNet(self.lists, self.wakeups, self.restarts.append, self.recovered, pace)  # type: ignore[arg-type]

    def recovered(self) -> None:
        self.recoveries += 1

    def told(self, version: int) -> None:
        self.wakeups.told(kinds.POD, {"metadata": a_pod(version)}, gone=False)

    def woken(self) -> bool:
        found = JOB in self.wakeups.queue._due
        self.wakeups.queue._due.clear()
        return found

    async def run(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.net.run()
        except TimeoutError:
            return


@pytest.fixture
async def world() -> World:
    return World()


async def test_with_a_healthy_watch_the_net_wakes_nobody(world: World) -> None:
    world.told(5)
    world.woken()
    world.lists.there[kinds.POD] = [a_pod(5)]
    await world.run(0.3)
    assert not world.woken()
    assert world.restarts == []
    assert world.lists.asked > 20


async def test_a_change_that_no_watch_told_is_found_once(world: World) -> None:
    world.told(5)
    world.woken()
    world.lists.there[kinds.POD] = [a_pod(6)]
    assert await world.net.check(POD)
    assert world.woken()
    assert await world.net.check(POD)
    assert not world.woken()


async def test_a_deletion_that_no_watch_told_is_found(world: World) -> None:
    world.told(5)
    world.woken()
    await world.net.check(POD)
    assert world.woken()


async def test_an_event_within_the_grace_is_not_missed(world: World) -> None:
    world.lists.there[kinds.POD] = [a_pod(6)]
    check = asyncio.create_task(world.net.check(POD))
    await asyncio.sleep(0.005)
    world.told(6)
    assert world.woken()
    await check
    assert not world.woken()
    assert world.wakeups.sightings[kinds.POD].silent_since() is None


async def test_those_that_back_off_are_told_when_the_apiserver_answers_again(world: World) -> None:
    world.lists.refusing = {kinds.POD}
    running = asyncio.create_task(world.run(0.5))
    await asyncio.sleep(0.2)
    assert world.recoveries == 0
    world.lists.refusing = set()
    await running
    assert world.recoveries == 1


async def test_a_kind_that_is_refused_keeps_no_other_waiting(world: World) -> None:
    world.lists.refusing = {watched.kind for watched in WATCHED if watched.kind is not kinds.POD}
    world.lists.there[kinds.POD] = [a_pod(6)]
    await world.run(0.2)
    assert world.woken()


async def test_failed_rounds_are_progress_but_the_age_grows(world: World) -> None:
    world.lists.refusing = {watched.kind for watched in WATCHED}
    running = asyncio.create_task(world.run(0.3))
    await asyncio.sleep(0.25)
    assert world.net.stuck_for() < 0.15
    assert world.net.age(kinds.POD) > 0.2
    await running


async def test_a_round_that_hangs_is_ended() -> None:
    world = World(Pace(longest_round=0.05))

    async def hanging(kind: Kind, selector: str) -> AsyncIterator[tuple[Objects, str]]:
        await asyncio.Event().wait()
        yield [], ""

    world.lists.metadata = hanging  # type: ignore[method-assign]
    assert not await world.net.check(POD)


async def test_an_answer_that_makes_no_sense_does_not_end_the_net(world: World) -> None:
    world.lists.there[kinds.POD] = [{"resourceVersion": "1"}]
    assert not await world.net.check(POD)


async def test_a_watch_that_stays_silent_is_started_again_ever_more_seldom(world: World) -> None:
    world.lists.there[kinds.POD] = [a_pod(6)]
    await world.run(1.0)
    assert set(world.restarts) == {"the watch of pods is blind"}
    assert 2 <= len(world.restarts) <= 4  # after 0.1, 0.3 and 0.7 s


async def test_a_watch_that_only_loses_an_event_now_and_then_is_left_alone(world: World) -> None:
    running = asyncio.create_task(world.run(0.6))
    for version in range(6, 34, 2):
        world.lists.there[kinds.POD] = [a_pod(version)]
        await asyncio.sleep(0.04)
        world.lists.there[kinds.POD] = [a_pod(version + 1)]
        world.told(version + 1)
    await running
    assert world.restarts == []


# --- keeping the watch going ------------------------------------------------------------------------------------------


async def keeping(watch: Callable[[], Any], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await Watches(watch).run()
    except TimeoutError:
        return


async def test_a_watch_that_ends_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serin_operator.watches.FIRST_PAUSE_SECONDS", 0.01)
    starts = 0

    async def failing() -> None:
        nonlocal starts
        starts += 1
        raise RuntimeError("an ERROR event that is not 410")

    await keeping(failing, 0.3)
    assert 4 <= starts <= 6  # after 10, 20, 40, 80 and 160 ms


async def test_a_blind_watch_is_ended_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serin_operator.watches.FIRST_PAUSE_SECONDS", 0.01)
    log: list[str] = []

    async def silent() -> None:
        log.append("start")
        try:
            await asyncio.Event().wait()
        finally:
            log.append("end")

    watches = Watches(silent)
    running = asyncio.create_task(watches.run())
    await asyncio.sleep(0.05)
    watches.restart("it is blind")
    await asyncio.sleep(0.1)
    assert log == ["start", "end", "start"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert log == ["start", "end", "start", "end"]


async def test_a_watch_that_cannot_be_ended_ends_the_process() -> None:
    async def stuck() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise SerinError("kopf did not end")

    watches = Watches(stuck)
    running = asyncio.create_task(watches.run())
    await asyncio.sleep(0.02)
    watches.restart("it is blind")
    with pytest.raises(SerinError, match="did not end"):
        await asyncio.wait_for(running, 1)
