"""A person stops a job for a while, or asks for another try: `spec.suspend` and `serin.dev/retry`."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import StageName
from serin_operator.decide.decision import Create, Delete
from serin_operator.decide.job import decide_job
from serin_operator.manifests import names
from support.jobs import COPIED, NOON, World

STAGES = ["prepare", "train", "consolidate", "evaluate"]


def look(world: World, most: int | None = None) -> int:
    return world.act(decide_job(world.snapshot()), most)


def play(world: World, looks: int = 30) -> World:
    for _ in range(looks):
        look(world)
        world.now += timedelta(seconds=1)
        for run in world.running():
            world.finish(run)
    return world


def until_it_runs(world: World, stage: StageName) -> World:
    """Earlier stages end well; this one is left running."""
    for _ in range(20):
        look(world)
        if any(run.stage is stage for run in world.running()):
            look(world)
            return world
        for run in world.running():
            world.finish(run)
    raise AssertionError(f"{stage} never ran")


def suspend(world: World, wish: bool = True) -> None:
    world.spec = {**world.spec, "suspend": wish}
    world.generation += 1


def created(world: World) -> list[str]:
    return [name.split("-")[1] for name in world.created]


def entry(world: World, stage: StageName) -> dict[str, Any]:
    return next(e for e in world.status["stages"] if e["name"] == stage.value)


def condition(world: World, type_: str) -> dict[str, str]:
    return next(c for c in world.status["conditions"] if c["type"] == type_)


# --- suspend ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", StageName)
def test_what_runs_is_ended_and_goes_on_as_the_next_attempt_which_is_not_counted(stage: StageName) -> None:
    world = until_it_runs(World(spec=COPIED), stage)
    suspend(world)
    look(world)
    assert world.running() == []
    look(world)
    assert world.status["state"] == "Suspended"
    suspend(world, False)
    play(world)
    assert world.status["state"] == "Passed"
    again = entry(world, stage)
    assert (again["attempt"], again["restarts"]) == (2, 0)
    order = [one.lower() for one in StageName]
    assert created(world) == sorted([*order, stage.lower()], key=order.index)


def test_the_journal_says_that_the_attempt_was_ended_on_purpose_before_its_job_goes() -> None:
    world = until_it_runs(World(), StageName.TRAIN)
    suspend(world)
    decision = decide_job(world.snapshot())
    [train] = [e for e in decision.statuses[0].status["stages"] if e["name"] == "Train"]
    assert (train["outcome"], train["reason"], train["attempt"]) == ("Running", "Suspended", 1)
    [delete] = decision.actions
    assert isinstance(delete, Delete)
    assert delete.kind == "Job"


def test_the_sentence_says_what_is_waited_for_and_what_comes_next() -> None:
    world = until_it_runs(World(), StageName.TRAIN)
    [run] = world.running()
    suspend(world)
    decision = decide_job(world.snapshot())
    assert decision.sentence == f"suspended by spec.suspend: waiting until {run.name} has ended; training saves first"
    world.act(decision)
    look(world)
    assert world.status["message"] == (
        "suspended by spec.suspend; once that is false, training goes on from its newest checkpoint"
    )
    assert condition(world, "Suspended")["status"] == "True"
    assert condition(world, "Trained")["reason"] == "Suspended"
    assert (condition(world, "Ready")["status"], condition(world, "Stalled")["status"]) == ("False", "False")


def test_a_job_that_is_suspended_from_the_start_runs_nothing_until_it_is_let_go() -> None:
    world = World(spec={"suspend": True})
    play(world, looks=3)
    assert world.created == []
    assert world.status["state"] == "Suspended"
    assert world.status["message"] == "suspended by spec.suspend; once that is false, Prepare starts"
    suspend(world, False)
    play(world)
    assert created(world) == STAGES
    assert [e["attempt"] for e in world.status["stages"]] == [1, 1, 1, 1]
    assert condition(world, "Suspended")["status"] == "False"


def test_pods_that_still_save_are_waited_for_before_training_goes_on() -> None:
    world = until_it_runs(World(), StageName.TRAIN)
    [run] = world.running()
    suspend(world)
    look(world)
    world.runs["pod-0"] = replace(run, name="pod-0", key="", deleting=True)  # its Job is gone, it has its grace period
    suspend(world, False)
    for _ in range(3):
        decision = decide_job(world.snapshot())
        assert not [a for a in decision.actions if isinstance(a, Create)]
        assert "waiting until pod-0 is gone" in decision.sentence
        world.act(decision)
    del world.runs["pod-0"]
    play(world)
    assert world.status["state"] == "Passed"


def test_a_job_that_is_deleted_in_the_foreground_is_waited_for_too() -> None:
    """It is still there, with its pods, and of the very key that is wanted."""
    world = until_it_runs(World(), StageName.TRAIN)
    [run] = world.running()
    world.runs[run.name] = replace(run, deleting=True)
    decision = decide_job(world.snapshot())
    assert decision.actions == ()
    assert f"waiting until {run.name} is gone" in decision.sentence


def test_what_had_just_ended_well_is_kept() -> None:
    world = until_it_runs(World(), StageName.TRAIN)
    world.finish(world.running()[0])
    suspend(world)
    play(world, looks=3)
    assert entry(world, StageName.TRAIN)["outcome"] == "Succeeded"
    assert created(world) == ["prepare", "train"]
    assert world.status["message"].endswith("Consolidate starts")


def test_a_failure_that_waits_for_its_next_try_waits_on() -> None:
    world = until_it_runs(World(), StageName.TRAIN)
    world.fail(world.running()[0], exit_code=1, log_tail="boom")
    suspend(world)
    play(world, looks=3)
    assert created(world) == ["prepare", "train"]
    assert world.status["state"] == "Suspended"
    suspend(world, False)
    play(world)
    assert entry(world, StageName.TRAIN)["restarts"] == 1


def test_a_job_that_failed_for_good_says_so_also_while_it_is_suspended() -> None:
    world = until_it_runs(World(), StageName.TRAIN)
    world.fail(world.running()[0], exit_code=64)
    look(world)
    suspend(world)
    look(world)
    assert world.status["state"] == "Failed"


def test_a_job_that_has_come_to_its_end_is_not_touched() -> None:
    world = play(World())
    suspend(world)
    look(world)
    assert world.status["state"] == "Passed"
    assert condition(world, "Suspended")["status"] == "False"


def test_a_changed_mind_before_the_job_was_ended_lets_it_run_on() -> None:
    world = until_it_runs(World(), StageName.TRAIN)
    suspend(world)
    look(world, most=1)  # the journal only: the operator died before it ended anything
    suspend(world, False)
    play(world)
    assert created(world) == STAGES
    assert entry(world, StageName.TRAIN)["attempt"] == 1


@pytest.mark.parametrize("crash_at", range(14))
def test_a_crash_after_any_write_of_suspending_and_going_on_loses_and_doubles_nothing(crash_at: int) -> None:
    world, written = until_it_runs(World(), StageName.TRAIN), 0
    suspend(world)
    for number in range(20):
        if number == 5:
            suspend(world, False)
        decision = decide_job(world.snapshot())
        total = len(decision.statuses) + len(decision.actions)
        world.act(decision, crash_at - written if written <= crash_at < written + total else None)
        written += total
        world.now += timedelta(seconds=1)
        assert len(world.running()) <= 1
        if number > 8:
            for run in world.running():
                world.finish(run)
    assert world.status["state"] == "Passed"
    assert created(world) == ["prepare", "train", "train", "consolidate", "evaluate"]


def test_progress_stays_to_be_read() -> None:
    world = until_it_runs(World(), StageName.TRAIN)
    world.status["progress"] = {"step": 30, "totalSteps": 100, "percent": 30}
    suspend(world)
    play(world, looks=2)
    assert world.status["progress"]["step"] == 30


# --- retry ------------------------------------------------------------------------------------------------------------


def failed_for_good() -> World:
    world = until_it_runs(World(), StageName.TRAIN)
    world.fail(world.running()[0], exit_code=64)
    for _ in range(3):
        look(world)
    assert world.status["state"] == "Failed"
    return world


def ask(world: World, nonce: str) -> None:
    world.annotations = {names.RETRY: nonce}


def test_a_failed_job_says_how_to_ask_for_another_try() -> None:
    assert "annotate the job with serin.dev/retry=<any new word>" in failed_for_good().status["message"]


def test_another_try_is_made_once_for_each_nonce() -> None:
    world = failed_for_good()
    ask(world, "one")
    look(world)
    assert world.status["retry"] == {
        "nonce": "one",
        "actedAt": "2026-01-01T12:00:00Z",
        "message": "Train is tried again",
    }
    assert created(world) == ["prepare", "train", "train"]
    world.fail(world.running()[0], exit_code=64)
    for _ in range(5):
        look(world)
    assert world.status["state"] == "Failed"
    assert created(world) == ["prepare", "train", "train"]
    ask(world, "two")
    play(world)
    assert world.status["state"] == "Passed"
    assert entry(world, StageName.TRAIN)["attempt"] == 3


def test_another_try_has_the_whole_budget_of_restarts() -> None:
    world = World(spec={"distribution": {"nodes": 1, "maxRestarts": 1}})
    until_it_runs(world, StageName.TRAIN)

    def fails_for_good() -> None:
        for _ in range(20):
            for run in world.running():
                world.fail(run, exit_code=1)
            look(world)
            world.now += timedelta(seconds=400)

    fails_for_good()
    assert created(world) == ["prepare", "train", "train"]
    ask(world, "one")
    fails_for_good()
    assert created(world) == ["prepare", "train", "train", "train", "train"]


def test_bad_data_need_not_be_waited_for() -> None:
    world = World()
    look(world)
    world.fail(world.running()[0], exit_code=65)
    look(world)
    assert entry(world, StageName.PREPARE)["retryAt"] > "2026-01-01T12:00:30"
    ask(world, "now")
    look(world)
    assert len(world.running()) == 1
    assert world.now == NOON


def test_a_wish_that_finds_nothing_failed_is_used_up_and_says_so() -> None:
    world = until_it_runs(World(), StageName.TRAIN)
    ask(world, "early")
    look(world)
    assert world.status["retry"]["message"] == "nothing had failed, so nothing is tried again"
    world.fail(world.running()[0], exit_code=64)
    for _ in range(3):
        look(world)
    assert world.status["state"] == "Failed"


def held_by_a_missing_claim(world: World) -> Callable[[], None]:
    whole, world.claims = world.claims, frozenset[str]()
    return lambda: setattr(world, "claims", whole)


def held_by_suspension(world: World) -> Callable[[], None]:
    suspend(world)
    return lambda: suspend(world, False)


@pytest.mark.parametrize("hold", [held_by_a_missing_claim, held_by_suspension])
def test_a_wish_that_cannot_be_met_yet_is_not_lost(hold: Callable[[World], Callable[[], None]]) -> None:
    world = failed_for_good()
    let_go = hold(world)
    ask(world, "one")
    play(world, looks=3)
    assert created(world) == ["prepare", "train"]
    let_go()
    play(world)
    assert world.status["state"] == "Passed"


@pytest.mark.parametrize("most", range(5))
def test_a_crash_after_any_write_neither_forgets_nor_doubles_the_wish(most: int) -> None:
    world = failed_for_good()
    ask(world, "one")
    look(world, most)
    play(world)
    assert world.status["state"] == "Passed"
    assert created(world) == ["prepare", "train", "train", "consolidate", "evaluate"]


def test_an_annotation_of_any_length_is_taken() -> None:
    world = failed_for_good()
    ask(world, "x" * 10_000)
    play(world)
    assert world.status["state"] == "Passed"
    assert len(world.status["retry"]["nonce"]) == 128


# --- another spec -----------------------------------------------------------------------------------------------------

MORE_MEMORY = {"distribution": {"nodes": 1, "resources": {"limits": {"memory": "64Gi"}}}}


def raise_the_limit(world: World) -> None:
    """A change that makes no other stage: the key of training knows nothing of memory."""
    world.spec = {**world.spec, "distribution": {**world.spec.get("distribution", {}), **MORE_MEMORY["distribution"]}}
    world.generation += 1


def test_a_limit_that_was_raised_as_advised_lets_the_same_training_go_on() -> None:
    world = World(spec={"distribution": {"nodes": 1}})
    until_it_runs(world, StageName.TRAIN)
    world.fail(world.running()[0], exit_code=64)
    for _ in range(3):
        look(world)
    key = entry(world, StageName.TRAIN)["key"]
    assert "change the spec" in world.status["message"]
    raise_the_limit(world)
    play(world)
    assert world.status["state"] == "Passed"
    assert created(world) == ["prepare", "train", "train", "consolidate", "evaluate"]
    assert (entry(world, StageName.TRAIN)["key"], entry(world, StageName.TRAIN)["attempt"]) == (key, 2)


def test_one_change_is_one_more_try_with_the_whole_budget() -> None:
    world = World(spec={"distribution": {"nodes": 1, "maxRestarts": 1}})
    until_it_runs(world, StageName.TRAIN)

    def fails_for_good() -> None:
        for _ in range(20):
            for run in world.running():
                world.fail(run, exit_code=1)
            look(world)
            world.now += timedelta(seconds=400)

    fails_for_good()
    assert created(world) == ["prepare", "train", "train"]
    raise_the_limit(world)
    fails_for_good()
    assert created(world) == ["prepare", "train", "train", "train", "train"]
    assert world.status["state"] == "Failed"


def test_a_change_while_it_ran_is_not_lost_when_it_fails_of_the_old_spec() -> None:
    world = World(spec={"distribution": {"nodes": 1}})
    until_it_runs(world, StageName.TRAIN)
    raise_the_limit(world)
    look(world)
    world.fail(world.running()[0], exit_code=64)
    play(world)
    assert world.status["state"] == "Passed"
    assert created(world) == ["prepare", "train", "train", "consolidate", "evaluate"]


@pytest.mark.parametrize("most", range(5))
def test_a_crash_after_any_write_of_that_try_neither_forgets_nor_doubles_it(most: int) -> None:
    world = failed_for_good()
    world.generation += 1
    look(world, most)
    play(world)
    assert world.status["state"] == "Passed"
    assert created(world) == ["prepare", "train", "train", "consolidate", "evaluate"]


def test_an_entry_of_an_older_release_waits_for_a_persons_word_as_it_did() -> None:
    world = failed_for_good()
    for one in world.status["stages"]:
        one.pop("generation")
    world.generation += 1
    play(world, looks=3)
    assert world.status["state"] == "Failed"
