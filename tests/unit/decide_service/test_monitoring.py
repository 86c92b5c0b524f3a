"""After the bake the same SLOs go on being asked: a breach is a condition, an event and a metric, and moves nothing."""

from datetime import timedelta
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import MonitoringStatus, SloStatus, Verdict
from serin_operator.decide.decision import Told
from serin_operator.decide.service import monitoring
from serin_operator.decide.service.snapshot import ReadingKind
from support.service_world import Died, Json, World, play, stable_is, with_stable


def settled(**slo: Any) -> tuple[World, str]:
    """A stable with nothing on trial, whose SLO of length is as the test wants it."""
    world, name = with_stable()

    def change(spec: Json) -> None:
        spec["monitoring"] = {"intervalSeconds": 10}
        spec["slos"][1] |= slo

    world.edit(change)
    play(world, 2)
    return world, name


def turns_bad(world: World, name: str) -> None:
    world.models[name].says("length", ReadingKind.VALUE, 126.0)


def turns_good(world: World, name: str) -> None:
    world.models[name].says("length", ReadingKind.VALUE, 23.0)


def test_a_stable_that_holds_its_slos_is_told_so_with_the_numbers() -> None:
    world, name = settled()
    play(world, 25)
    assert world.condition("SlosHold")["status"] == "True"
    assert world.condition("SlosHold")["message"] == "latency 0.4 <= 2; 1 <= length 23 <= 96"
    assert world.status["monitoring"]["revision"] == name
    assert world.look().told == (Told("serin_slo_breached", "latency", 0.0), Told("serin_slo_breached", "length", 0.0))


@pytest.mark.parametrize(("back", "looks"), [(0.5, False), (1.9, False), (60, True), (86_400, True)])
def test_an_operator_whose_clock_is_a_little_behind_waits_all_the_same(back: float, looks: bool) -> None:
    """Killed right after a promotion: the next one's first second may lie before it. Only a clock that was set back is due."""
    world, name = settled()
    world.touch("ModelService", "bot", lambda status: status.pop("monitoring", None))
    world.touch("ModelService", "bot", lambda status: status["stable"].update(since=ahead(world, back)))
    world.look()
    assert ("monitoring" in world.status) is looks
    assert world.weights == {name: 100}


def ahead(world: World, seconds: float) -> str:
    return (world.now + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def test_a_breach_is_told_once_in_every_way_and_nothing_is_rolled_back() -> None:
    world, name = settled()
    play(world, 25)
    before = [write for write in world.writes if not write.startswith("status ModelService")]
    turns_bad(world, name)
    play(world, 60)
    condition = world.condition("SlosHold")
    assert (condition["status"], condition["reason"]) == ("False", "SloBreached")
    assert f"the stable {name} breaks its SLOs: length 126 > 96 (since " in condition["message"]
    assert "rollback/<nonce>" in condition["message"]
    assert world.events.count("SloBreached") == 1
    assert world.look().told[1] == Told("serin_slo_breached", "length", 1.0)
    assert world.weights == {name: 100}
    assert world.condition("Ready")["status"] == "True"
    assert [write for write in world.writes if not write.startswith("status ModelService")] == before
    assert "rejection" not in world.rollout(name)


def test_a_breach_that_is_over_is_told_too() -> None:
    world, name = settled()
    turns_bad(world, name)
    play(world, 30)
    turns_good(world, name)
    play(world, 30)
    assert world.events.count("SloRecovered") == 1
    assert world.condition("SlosHold")["status"] == "True"
    assert world.status["monitoring"]["breached"] == []
    turns_bad(world, name)
    play(world, 30)
    assert world.events.count("SloBreached") == 2


def test_what_the_user_tolerates_is_counted_in_a_row() -> None:
    world, name = settled(failureLimit=2)
    for _ in range(5):
        turns_bad(world, name)
        play(world, 20)  # two looks
        turns_good(world, name)
        play(world, 10)
    assert "SloBreached" not in world.events
    turns_bad(world, name)
    play(world, 32)
    assert world.events.count("SloBreached") == 1


@pytest.mark.parametrize("kind", [ReadingKind.OUTAGE, ReadingKind.NO_DATA, ReadingKind.NOT_A_NUMBER])
def test_silence_neither_begins_a_breach_nor_ends_one(kind: ReadingKind) -> None:
    world, name = settled()
    world.models[name].says("length", kind)
    play(world, 30)
    assert world.condition("SlosHold")["status"] == "Unknown"
    assert world.condition("SlosHold")["reason"] == "NotMeasured"
    turns_bad(world, name)
    play(world, 15)
    world.models[name].says("length", kind)
    play(world, 30)
    assert world.condition("SlosHold")["reason"] == "SloBreached"
    assert "SloRecovered" not in world.events


def test_a_dry_run_is_shown_and_raises_no_alarm() -> None:
    world, name = settled(dryRun=True)
    turns_bad(world, name)
    play(world, 30)
    assert world.condition("SlosHold")["status"] == "True"
    assert [told.about for told in world.look().told] == ["latency"]
    row = next(row for row in world.status["monitoring"]["slos"] if row["name"] == "length")
    assert (row["verdict"], row["dryRun"]) == ("Failed", True)


def test_it_asks_once_in_each_interval_however_often_it_is_woken() -> None:
    world, _ = settled()
    play(world, 12)
    world.sources.queries.clear()
    for _ in range(300):
        world.look()
        world.tick(0.1)
    assert len(world.sources.queries) == 3 * 2


def test_it_comes_again_by_itself_when_the_next_look_is_due() -> None:
    world, _ = settled()
    play(world, 12)
    asked = world.look().requeue_after
    assert asked is not None
    assert timedelta(seconds=1) <= asked <= timedelta(seconds=10)


def test_another_stable_begins_with_nothing_against_it() -> None:
    world, name = settled()
    turns_bad(world, name)
    play(world, 30)
    better = world.passes("b")
    play(world, 120, until=stable_is(better))
    assert "monitoring" not in world.status
    assert world.look().told == ()
    play(world, 15)
    assert world.condition("SlosHold")["status"] == "True"


def test_a_canary_is_judged_first_and_the_breach_stays_on_record() -> None:
    world, name = settled()
    turns_bad(world, name)
    play(world, 30)
    candidate = world.passes("b")
    play(world, 30, until=lambda w: w.weights.get(candidate, 0) > 0)
    world.sources.queries.clear()
    play(world, 11)
    assert not any(f'length{{revision="{name}"}}' in query for query in world.sources.queries)
    assert world.condition("SlosHold")["reason"] == "SloBreached"


def test_an_operator_that_dies_at_its_write_tells_the_breach_later() -> None:
    world, name = settled()
    play(world, 12)
    turns_bad(world, name)
    world.tick(10)
    with pytest.raises(Died):
        world.look(dies_after=0)
    assert world.condition("SlosHold")["status"] == "True"
    play(world, 2)
    assert world.condition("SlosHold")["reason"] == "SloBreached"
    assert world.events.count("SloBreached") == 1


def test_a_clock_that_was_set_back_does_not_stop_the_looks() -> None:
    world, name = settled()
    play(world, 12)
    world.skew = timedelta(hours=-3)
    turns_bad(world, name)
    play(world, 12)
    assert world.condition("SlosHold")["reason"] == "SloBreached"


def test_gauges_are_of_what_can_break_only() -> None:
    rows = [SloStatus(name="a", verdict=Verdict.ERROR), SloStatus(name="b", verdict=Verdict.FAILED, dry_run=True)]
    status = MonitoringStatus(revision="r", looked_at="2026-06-01T12:00:00Z", slos=rows)  # type: ignore[arg-type]
    assert monitoring.told(status) == (Told("serin_slo_breached", "a", 0.0),)
    assert monitoring.told(None) == ()
