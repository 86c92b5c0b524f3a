"""`revisionHistoryLimit`: what is forgotten, and what never is. The world checks each deletion as well."""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta

import pytest
from serin_operator.api.kinds import FINE_TUNE_JOB, MODEL_REVISION
from serin_operator.decide.service import decide_service
from serin_operator.decide.service.snapshot import ReadingKind
from serin_operator.errors import Conflict
from support.service_world import (
    Died,
    Json,
    Model,
    World,
    a_revision,
    deaths,
    digest_of,
    play,
    revision_name,
    stable_is,
    with_stable,
)

QUICK = {"minRequests": 0, "steps": [{"weightPercent": 100, "holdSeconds": 1}], "intervalSeconds": 1}
BAD = 126.0


def promoted(letters: str = "bcd") -> World:
    """A world in which several models were promoted one after another, `a` first, and nothing moves."""
    world, _ = with_stable("a", **QUICK)
    for letter in letters:
        play(world, 60, until=stable_is(world.passes(letter, Model(starts_in=1.0))))
    play(world, 60)
    assert world.running() == {revision_name(letters[-1])}
    return world


def limited(to: int | None, letters: str = "bcd") -> World:
    world = promoted(letters)
    world.edit(lambda spec: spec.update(revisionHistoryLimit=to))
    return world


def named(letters: str) -> set[str]:
    return {revision_name(letter) for letter in letters}


def kept(world: World) -> set[str]:
    play(world, 3)
    return set(world.revisions())


@pytest.mark.parametrize(("limit", "letters"), [(None, "abcd"), (0, "cd"), (1, "bcd"), (2, "abcd"), (9, "abcd")])
def test_the_newest_are_kept_beside_the_stable_and_the_one_before_it(limit: int | None, letters: str) -> None:
    assert kept(limited(limit)) == named(letters)


def test_what_is_deleted_is_told_by_name_once() -> None:
    world = limited(0)
    world.events.clear()
    decision = world.look()
    told = [event.message for event in decision.events if event.reason == "HistoryTrimmed"]
    assert told == [
        "deleted, since spec.revisionHistoryLimit is 0: ModelRevision " + ", ".join(sorted(named("ab"), reverse=True))
    ]
    play(world, 5)
    assert world.events == ["HistoryTrimmed"]


def test_there_is_still_a_way_back_when_no_history_is_wanted() -> None:
    world = limited(0)
    play(world, 3)
    world.say("rollback/1")
    play(world, 60, until=stable_is(revision_name("c")))
    assert world.weights == {revision_name("c"): 100}


@pytest.mark.parametrize("when", ["in a step", "in its bake", "later, by a person"])
def test_a_rejected_model_is_never_forgotten_and_never_comes_back(when: str) -> None:
    world = limited(0)
    world.edit(lambda spec: spec["canary"].update(bakeSeconds=20 if when == "in its bake" else 0))
    bad = world.passes("e", Model(starts_in=1.0))
    if when == "in a step":
        world.models[bad].says("length", ReadingKind.VALUE, BAD)
    play(world, 20)
    if when == "in its bake":
        assert world.status["bake"]["revision"] == bad
        world.models[bad].says("length", ReadingKind.VALUE, BAD)
    if when == "later, by a person":
        world.say("rollback/1")
    play(world, 100)
    assert "rejection" in world.rollout(bad)
    assert bad not in world.backends
    # A job that is deleted and applied again brings the very same model, under another name.
    again = a_revision("e", world.now, name="bot-again")
    world.put(MODEL_REVISION, again)
    play(world, 60)
    assert bad in world.revisions()
    assert "bot-again" in world.revisions()  # a double of what is rejected is spared as well
    assert "candidate" not in world.status
    assert world.weight_log[-1][1] == world.weights
    assert not {bad, "bot-again"} & set(world.weights)


def _still_named(world: World) -> Json:
    return {"metadata": {"name": "job"}, "spec": {}}


def _found_by_what_it_trained(world: World) -> Json:
    return {"metadata": {"name": "another"}, "spec": {}, "status": {"stages": [{"name": "Train", "key": "t"}]}}


def _found_by_its_model(world: World) -> Json:
    return {"metadata": {"name": "another"}, "spec": {}, "status": {"stages": [{"name": "Consolidate", "key": "m"}]}}


def _of_something_else(world: World) -> Json:
    return {"metadata": {"name": "another"}, "spec": {}, "status": {"stages": [{"name": "Train", "key": "t2"}]}}


def _on_its_way_out(world: World) -> Json:
    return {"metadata": {"name": "job", "deletionTimestamp": world.now.isoformat()}, "spec": {}}


@pytest.mark.parametrize(
    ("job", "spared"),
    [
        (_still_named, True),
        (_found_by_what_it_trained, True),
        (_found_by_its_model, True),
        (_of_something_else, False),
        (_on_its_way_out, False),
    ],
)
def test_what_a_job_made_or_would_find_again_is_spared_while_the_job_exists(
    job: Callable[[World], Json], spared: bool
) -> None:
    """Without the record, the job would register its model as a new one, and it would be a candidate again."""
    world = promoted()
    world.put(FINE_TUNE_JOB, {"kind": "FineTuneJob", **job(world)})
    world.edit(lambda spec: spec.update(revisionHistoryLimit=0))
    assert kept(world) == named("abcd" if spared else "cd")


def test_nothing_is_deleted_when_nobody_has_looked_for_jobs() -> None:
    world = limited(0)
    snapshot = world.snapshot()
    assert not [a for a in decide_service(replace(snapshot, claimed=None)).actions if "Delete" in type(a).__name__]


@pytest.mark.parametrize("verdict", ["Failed", "Inconclusive", "Error"])
def test_what_failed_its_gates_goes_before_what_served(verdict: str) -> None:
    world = promoted()
    world.passes("f", verdict=verdict)
    world.edit(lambda spec: spec.update(revisionHistoryLimit=2))
    assert kept(world) == named("abcd")


def test_what_waits_for_its_turn_is_spared() -> None:
    world, _ = with_stable("a", **QUICK, bakeSeconds=1000)
    world.edit(lambda spec: spec.update(revisionHistoryLimit=0))
    play(world, 60, until=lambda w: "bake" in w.status)
    waiting = world.passes("b")
    play(world, 20)
    assert waiting in world.revisions()


@pytest.mark.parametrize("what", ["candidate", "bake", "rollback"])
def test_nothing_goes_while_something_is_on_its_way(what: str) -> None:
    world = limited(0)
    if what == "rollback":
        world.models[revision_name("a")].starts_in = 1000
        world.say(f"rollback/1/{revision_name('a')}")
    else:
        world.edit(lambda spec: spec["canary"].update(bakeSeconds=1000))
        world.passes("e", Model(starts_in=1.0 if what == "bake" else 1000))
    play(world, 30)
    assert what in world.status
    assert named("abcd") <= set(world.revisions())


def test_a_command_that_names_a_revision_is_carried_out_before_anything_goes() -> None:
    world = limited(0)
    world.say(f"retry/1/{revision_name('a')}")
    play(world, 60, until=stable_is(revision_name("a")))
    assert world.status["commands"][0]["outcome"] == "Done"


def test_pods_go_first_and_the_record_after_them() -> None:
    world, _ = with_stable("a", **QUICK)
    world.edit(lambda spec: spec.update(revisionHistoryLimit=0))
    for letter in "bc":
        play(world, 60, until=stable_is(world.passes(letter, Model(starts_in=1.0))))
    play(world, 90)
    deletes = [write for write in world.writes if write.startswith("delete")]
    assert deletes.index(f"delete ModelRevision {revision_name('a')}") > deletes.index(
        f"delete Deployment {revision_name('a')}"
    )


def test_whenever_the_operator_dies_the_same_is_left() -> None:
    worlds = list(deaths(limited(0), 4))
    assert worlds
    for world in worlds:
        assert kept(world) == named("cd")


def test_a_look_that_slept_deletes_nothing_that_was_written_meanwhile() -> None:
    world = limited(0)
    slept = decide_service(world.snapshot())
    world.touch(
        "ModelRevision", revision_name("a"), lambda status: status["rollout"].update(rejection=_rejection(world))
    )
    with suppress(Conflict, Died):
        world.carry_out(slept)
    assert revision_name("a") in world.revisions()
    play(world, 5)
    assert kept(world) == named("acd")


def test_a_look_that_slept_deletes_nothing_once_the_service_has_moved_on() -> None:
    world = limited(0)
    slept, before = decide_service(world.snapshot()), deepcopy(set(world.revisions()))
    world.edit(lambda spec: spec.update(revisionHistoryLimit=5))
    with suppress(Conflict):
        world.carry_out(slept)
    assert set(world.revisions()) == before


def _rejection(world: World) -> Json:
    at = (world.now + timedelta(seconds=1)).isoformat()
    return {"reason": "SloBreached", "message": "", "at": at, "step": 1, "weightPercent": 5}


def test_the_doubles_of_the_stable_may_go() -> None:
    """They are the same model: nothing is known of it by them alone."""
    world = promoted()
    world.put(MODEL_REVISION, a_revision("d", world.now, name="bot-double", verdict="Failed"))
    world.edit(lambda spec: spec.update(revisionHistoryLimit=0))
    assert kept(world) == named("cd")
    assert digest_of("d") == world.status["stable"]["digest"]
