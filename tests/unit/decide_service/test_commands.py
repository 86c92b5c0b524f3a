"""What a person says by annotation: done once, refused with what would help, and safe whenever the operator dies.

The world checks on every write that no rejected model gets more weight and that weight goes to ready pods only.
"""

from contextlib import suppress
from copy import deepcopy

import pytest
from serin_operator.decide.service import decide_service
from serin_operator.decide.service.snapshot import ReadingKind
from serin_operator.errors import Conflict
from support.service_world import Died, Json, Model, World, deaths, play, stable_is, with_stable

STEPS = [
    {"weightPercent": 20, "holdSeconds": 10},
    {"weightPercent": 50, "holdSeconds": 10},
    {"weightPercent": 100, "holdSeconds": 10},
]


def in_canary(**canary: object) -> tuple[World, str, str]:
    """(world, the stable, a candidate in its first step)."""
    world, stable = with_stable(**{"steps": STEPS, "bakeSeconds": 40, **canary})
    name = world.passes("b")
    play(world, 60, until=lambda w: "stepStartedAt" in w.status.get("candidate", {}))
    assert world.weights == {stable: 80, name: 20}
    return world, stable, name


def in_bake(**canary: object) -> tuple[World, str, str]:
    world, before, name = in_canary(**canary)
    play(world, 200, until=lambda w: "startedAt" in w.status.get("bake", {}))
    return world, before, name


def promoted_twice() -> tuple[World, str, str]:
    """(world, the model that served at first, the one that serves now); the first one's pods are gone."""
    world, before, name = in_canary(bakeSeconds=0)
    play(world, 300, until=stable_is(name))
    play(world, 40)
    assert world.running() == {name}
    return world, before, name


def said(world: World) -> Json:
    return world.status["commands"][0]


def refusal(world: World, command: str) -> str:
    """Why a command is refused; nothing else may come of it."""
    before, weights = deepcopy(world.status), world.weights
    world.say(command)
    world.look()
    assert said(world)["outcome"] == "Refused", said(world)
    condition = world.condition("CommandAccepted")
    assert (condition["status"], condition["reason"]) == ("False", "Refused")
    assert world.events.count("CommandRefused") == 1
    assert world.weights == weights
    for what in ("stable", "paused", "rollback"):
        assert world.status.get(what) == before.get(what)
    assert {**world.status.get("candidate", {}), "lookedAt": 0, "elapsedSeconds": 0, "watchedSeconds": 0} == {
        **before.get("candidate", {}), "lookedAt": 0, "elapsedSeconds": 0, "watchedSeconds": 0
    }  # fmt: skip
    return said(world)["message"]


# --- how it is said -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["abort", "abort/", "Abort/1", "stop/1", "abort/1/x/y", "rollback/1/Not_A_Name", "x" * 5000, "abort/" + "n" * 65],
)
def test_what_is_not_a_command_is_refused_with_the_syntax_and_the_verbs(text: str) -> None:
    world, _, _ = in_canary()
    message = refusal(world, text)
    assert "write <verb>/<nonce>" in message
    assert "pause, resume, promote, skip, approve, abort, rollback, retry" in message


def test_who_said_what_through_which_program_and_when_is_in_the_journal() -> None:
    world, _, name = in_canary()
    world.say("abort/7", by="alice@example.com")
    world.look()
    command = said(world)
    assert (command["request"], command["verb"], command["revision"]) == ("abort/7", "abort", name)
    assert (command["askedBy"], command["askedThrough"]) == ("alice@example.com", "kubectl-annotate")
    assert command["at"].startswith("2026-06-01T12:")
    assert "abort/7 by alice@example.com: accepted" in world.condition("CommandAccepted")["message"]


def test_a_name_that_nothing_proves_is_told_as_such() -> None:
    world, _, name = in_canary()
    world.names_held = False
    world.say("abort/7", by="alice@example.com")
    play(world, 3)
    assert said(world)["askedBy"] == "alice@example.com (by own account)"
    assert world.rollout(name)["rejection"]["message"].startswith("alice@example.com (by own account) said abort/7")


def test_a_command_without_a_name_says_so() -> None:
    world, _, name = in_canary()
    world.say("abort/7", by=None)
    play(world, 3)
    assert "askedBy" not in said(world)
    assert world.rollout(name)["rejection"]["message"].startswith(
        "somebody who gave no name said abort/7 at step 1 of 3"
    )


def test_the_same_text_is_acted_on_once_also_after_others_came_in_between() -> None:
    world, _, _ = in_canary()
    for text in ("pause/1", "resume/1", "pause/1"):
        world.say(text)
        play(world, 2)
    assert "paused" not in world.status
    assert [one["request"] for one in world.status["commands"]] == ["resume/1", "pause/1"]


def test_the_journal_keeps_the_last_twenty() -> None:
    world, _, _ = in_canary()
    for number in range(30):
        world.say(f"{'resume' if number % 2 else 'pause'}/{number}")
        world.look()
    assert [one["request"].split("/")[1] for one in world.status["commands"]] == [str(n) for n in range(29, 9, -1)]


def test_nothing_can_be_steered_before_a_model_serves() -> None:
    world = World()
    world.passes("a")
    world.look()
    for verb in ("pause", "promote", "abort", "rollback", "retry", "skip", "resume"):
        world.say(f"{verb}/1")
        world.look()
        assert said(world)["outcome"] == "Refused"
        assert "nothing is served yet" in said(world)["message"]
    play(world, 10)
    assert world.status["state"] == "Stable"


# --- abort --------------------------------------------------------------------------------------------------------


def test_abort_rejects_the_candidate_first_and_then_moves_the_traffic() -> None:
    world, stable, name = in_canary()
    world.writes.clear()
    world.say("abort/1")
    play(world, 4)
    order = [
        "status ModelService bot",
        f"status ModelRevision {name}",
        "status ModelService bot",
        "apply HTTPRoute bot",
    ]
    assert [write for write in world.writes if "Deployment" not in write][: len(order)] == order
    assert world.weights == {stable: 100}
    rejection = world.rollout(name)["rejection"]
    assert (rejection["reason"], rejection["request"]) == ("AbortedByPerson", "abort/1")
    assert f"retry/<nonce>/{name} lets it be tried again" in rejection["message"]
    assert said(world)["outcome"] == "Done"
    play(world, 60)
    assert world.weights == {stable: 100}
    assert world.running() == {stable}


def test_abort_in_a_bake_brings_the_previous_revision_back() -> None:
    world, before, name = in_bake()
    world.say("abort/1")
    play(world, 5)
    assert world.weights == {before: 100}
    assert world.status["stable"]["revision"] == before
    assert world.rollout(name)["rejection"]["reason"] == "AbortedByPerson"
    assert said(world)["outcome"] == "Done"
    assert world.failures == 0


def test_abort_with_nothing_on_its_way_is_refused() -> None:
    world, _ = with_stable()
    assert "to leave the stable, say rollback/<nonce>" in refusal(world, "abort/1")


def test_an_abort_that_comes_too_late_hits_nobody_else() -> None:
    """It was journalled for b; then b's record was deleted, and c came."""
    world, _, name = in_canary()
    world.say("abort/1")
    world.look()
    world.remove("ModelRevision", name)
    other = world.passes("c")
    play(world, 10)
    assert world.status["candidate"]["revision"] == other
    assert "rejection" not in world.rollout(other)
    assert said(world)["outcome"] == "Done"


# --- promote and skip ---------------------------------------------------------------------------------------------


def test_promote_leaves_out_the_other_steps_and_the_bake_still_watches() -> None:
    world, before, name = in_canary()
    world.say("promote/1")
    play(world, 5)
    assert world.weights == {name: 100}
    assert world.status["stable"]["revision"] == name
    assert world.status["bake"]["previous"] == before
    assert "a person said promote/1" in " ".join(world.sentences)
    world.models[name].says("length", ReadingKind.VALUE, 126.0)
    play(world, 10)
    assert world.weights == {before: 100}
    assert world.rollout(name)["rejection"]["reason"] == "SloBreached"


def test_promote_waits_until_every_pod_is_ready() -> None:
    world, stable = with_stable(steps=STEPS, bakeSeconds=0, progressDeadlineSeconds=600)
    name = world.passes("b", Model(starts_in=30.0))
    play(world, 5)
    world.say("promote/1")
    play(world, 20)
    assert world.weights == {stable: 100}
    play(world, 20, until=stable_is(name))
    play(world, 2)
    assert world.weights == {name: 100}
    assert world.failures == 0


def test_promote_does_not_need_metrics_but_heeds_a_breach() -> None:
    world, _, name = in_canary()
    world.sources.away = True
    world.say("promote/1")
    play(world, 5)
    assert world.status["stable"]["revision"] == name


def test_promote_goes_on_though_the_stable_is_down() -> None:
    world, stable, name = in_canary()
    world.models[stable].ready = False
    world.tick()
    world.say("promote/1")
    play(world, 5)
    assert world.weights == {name: 100}


def test_a_newer_model_does_not_take_the_place_of_one_that_is_being_promoted() -> None:
    world, _ = with_stable(steps=STEPS, bakeSeconds=0, progressDeadlineSeconds=600)
    name = world.passes("b", Model(starts_in=30.0))
    play(world, 5)
    world.say("promote/1")
    play(world, 5)
    newer = world.passes("c")
    play(world, 60, until=stable_is(name))
    play(world, 3)
    assert world.status["candidate"]["revision"] == newer
    assert "supersededAt" not in world.rollout(newer)


def test_promote_is_refused_without_a_candidate_and_in_a_bake() -> None:
    world, _ = with_stable()
    assert "no candidate is on its way" in refusal(world, "promote/1")
    world, _, _ = in_bake()
    assert "set spec.canary.bakeSeconds to 0" in refusal(world, "promote/1")


def test_skip_ends_this_step_only() -> None:
    world, stable, name = in_canary()
    world.say("skip/1")
    play(world, 3)
    assert world.weights == {stable: 50, name: 50}
    play(world, 8)
    assert world.weights == {stable: 50, name: 50}
    world.say("skip/2")
    play(world, 3)
    assert world.weights == {name: 100}
    world.say("skip/3")
    play(world, 3)
    assert world.status["stable"]["revision"] == name


def test_a_skipped_step_is_not_skipped_again_when_the_canary_begins_anew() -> None:
    world, stable, name = in_canary(blindness={"timeoutSeconds": 6, "action": "Withdraw"})
    world.say("skip/1")
    play(world, 5)
    world.sources.away = True
    play(world, 20)
    assert world.weights == {stable: 100}
    world.sources.away = False
    play(world, 40, until=lambda w: "stepStartedAt" in w.status.get("candidate", {}))
    play(world, 5)
    assert world.weights == {stable: 80, name: 20}


def test_skip_is_refused_before_the_first_step() -> None:
    world, _ = with_stable(steps=STEPS, progressDeadlineSeconds=600)
    world.passes("b", Model(starts_in=30.0))
    play(world, 5)
    assert "is in no step yet" in refusal(world, "skip/1")


# --- pause and resume ---------------------------------------------------------------------------------------------


def test_a_pause_holds_the_step_and_a_resume_goes_on_at_once() -> None:
    world, stable, name = in_canary()
    world.say("pause/1")
    play(world, 60)
    assert world.weights == {stable: 80, name: 20}
    assert world.status["state"] == "Paused"
    assert "paused by alice until resume/<nonce>" in world.status["message"]
    world.say("resume/1")
    play(world, 8)
    assert world.weights == {stable: 50, name: 50}


def test_a_breach_rolls_back_though_it_is_paused() -> None:
    world, stable, name = in_canary()
    world.say("pause/1")
    play(world, 3)
    world.models[name].says("length", ReadingKind.VALUE, 126.0)
    play(world, 8)
    assert world.weights == {stable: 100}
    assert "rejection" in world.rollout(name)


def test_a_new_model_gets_no_traffic_while_it_is_paused() -> None:
    world, stable = with_stable(steps=STEPS)
    world.say("pause/1")
    world.look()
    name = world.passes("b")
    play(world, 30)
    assert world.weights == {stable: 100}
    assert f"{name} is ready and gets no traffic, paused by alice" in world.status["message"]
    world.say("resume/1")
    play(world, 5)
    assert world.weights == {stable: 80, name: 20}


def test_a_bake_does_not_end_while_it_is_paused() -> None:
    world, before, _ = in_bake(bakeSeconds=10)
    world.say("pause/1")
    play(world, 40)
    assert world.status["bake"]["previous"] == before
    world.edit(lambda spec: spec["canary"].update(bakeSeconds=0))
    play(world, 10)
    assert "bake" in world.status
    world.say("resume/1")
    play(world, 10)
    assert "bake" not in world.status


def test_pause_twice_and_resume_without_a_pause_are_refused() -> None:
    world, _, _ = in_canary()
    assert refusal(world, "resume/1") == "it is not paused"
    world.say("pause/1")
    world.look()
    world.events.clear()
    assert "paused already" in refusal(world, "pause/2")


# --- retry --------------------------------------------------------------------------------------------------------


def rejected() -> tuple[World, str, str]:
    world, stable, name = in_canary()
    world.models[name].says("length", ReadingKind.VALUE, 126.0)
    play(world, 60)
    assert world.weights == {stable: 100}
    world.models[name].says("length", ReadingKind.VALUE, 20.0)
    return world, stable, name


@pytest.mark.parametrize("named", [True, False])
def test_retry_makes_a_rejected_model_a_candidate_again_and_keeps_what_was_said_against_it(named: bool) -> None:
    world, _, name = rejected()
    world.say(f"retry/1/{name}" if named else "retry/1")
    play(world, 10)
    assert world.status["candidate"]["revision"] == name
    assert world.status["candidate"]["step"] == 1
    record = world.rollout(name)
    assert "rejection" not in record
    assert record["retry"]["askedBy"] == "alice"
    assert "length 126 > 96" in record["retry"]["withdrew"]
    play(world, 200, until=stable_is(name))
    play(world, 3)
    assert world.weights == {name: 100}


def test_a_model_that_is_tried_again_and_is_still_bad_is_rejected_again() -> None:
    world, stable, name = rejected()
    world.models[name].says("length", ReadingKind.VALUE, 126.0)
    world.say("retry/1")
    play(world, 40)
    assert world.weights == {stable: 100}
    assert "rejection" in world.rollout(name)
    play(world, 60)
    assert world.weights == {stable: 100}


def test_retry_takes_the_rejection_from_every_record_of_the_model() -> None:
    world, _, name = rejected()
    double = deepcopy(world.objects[("ModelRevision", name)])
    double["metadata"] = {**double["metadata"], "name": "double", "uid": "uid-double"}
    world.objects[("ModelRevision", "double")] = double
    world.models["double"] = Model()
    world.say(f"retry/1/{name}")
    play(world, 10)
    assert not world.is_rejected(name)
    assert "retry" not in world.rollout("double")


def test_retry_takes_up_an_older_model_that_was_passed_over() -> None:
    world, _, name = in_canary()
    newer = world.passes("c")
    play(world, 200, until=stable_is(newer))
    play(world, 100, until=lambda w: "bake" not in w.status)
    assert "supersededAt" in world.rollout(name)
    world.say(f"retry/1/{name}")
    play(world, 10)
    assert world.status["candidate"]["revision"] == name


@pytest.mark.parametrize(
    ("command", "why"),
    [("retry/1/nobody", "there is no ModelRevision nobody"), ("retry/1", "nothing was rejected since")],
)
def test_a_retry_of_nothing_is_refused(command: str, why: str) -> None:
    world, _ = with_stable()
    assert why in refusal(world, command)


def test_a_retry_of_the_stable_of_the_candidate_and_of_what_failed_its_gates_is_refused() -> None:
    world, stable, name = in_canary()
    assert "is the stable already" in refusal(world, f"retry/1/{stable}")
    world.events.clear()
    assert "is on its way" in refusal(world, f"retry/2/{name}")
    failed = world.passes("d", verdict="Failed")
    world.events.clear()
    assert "do not say Passed" in refusal(world, f"retry/3/{failed}")


# --- rollback -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [True, False])
def test_rollback_starts_the_older_one_and_moves_the_traffic_when_it_is_ready(named: bool) -> None:
    world, before, name = promoted_twice()
    world.models[before].starts_in = 20.0
    world.writes.clear()
    world.say(f"rollback/1/{before}" if named else "rollback/1")
    play(world, 15)
    assert world.weights == {name: 100}
    assert "rejection" not in world.rollout(name)
    assert f"{before} is being started (0 of 1 pods ready" in world.status["message"]
    assert world.status["state"] == "RollingBack"
    play(world, 15)
    assert world.weights == {before: 100}
    assert world.status["stable"]["revision"] == before
    assert world.rollout(name)["rejection"]["reason"] == "RolledBackByPerson"
    assert "alice said rollback/1" in world.rollout(name)["rejection"]["message"]
    moved = [write for write in world.writes if write.startswith(("status ModelRevision", "apply HTTPRoute"))]
    assert moved[:2] == [f"status ModelRevision {name}", "apply HTTPRoute bot"]
    play(world, 60)
    assert world.running() == {before}
    assert said(world)["outcome"] == "Done"
    assert world.failures == 0


def test_rollback_in_a_bake_is_the_short_way_back() -> None:
    world, before, name = in_bake()
    world.say("rollback/1")
    play(world, 4)
    assert world.weights == {before: 100}
    assert world.rollout(name)["rejection"]["reason"] == "RolledBackByPerson"


def test_a_rollback_to_one_that_never_starts_leaves_the_stable_alone_and_alarms() -> None:
    world, before, name = promoted_twice()
    world.models[before].starts_in = float("inf")
    world.say("rollback/1")
    play(world, 90)
    assert world.weights == {name: 100}
    assert "rejection" not in world.rollout(name)
    assert world.events.count("RollbackHeld") == 1
    world.say("abort/1")
    play(world, 5)
    assert "rollback" not in world.status
    assert {one["request"]: one["outcome"] for one in world.status["commands"]} == {
        "abort/1": "Done", "rollback/1": "Done"
    }  # fmt: skip
    play(world, 60)
    assert world.running() == {name}


def test_no_new_model_comes_in_while_a_rollback_is_on_its_way() -> None:
    world, before, _ = promoted_twice()
    world.models[before].starts_in = 20.0
    world.say("rollback/1")
    play(world, 5)
    newer = world.passes("c")
    play(world, 15)
    assert "candidate" not in world.status
    play(world, 20)
    assert world.status["candidate"]["revision"] == newer


def test_a_rollback_whose_target_goes_away_is_given_up() -> None:
    world, before, name = promoted_twice()
    world.models[before].starts_in = 20.0
    world.say("rollback/1")
    play(world, 5)
    world.remove("ModelRevision", before)
    play(world, 5)
    assert "rollback" not in world.status
    assert "RollbackEnded" in world.events
    assert world.weights == {name: 100}


def test_a_rollback_that_died_between_rejection_and_move_and_lost_its_target_leaves_the_stable_as_it_was() -> None:
    world, before, name = promoted_twice()
    world.say("rollback/1")
    play(world, 30, until=lambda w: w.deployment_ready(before))
    with suppress(Died):
        world.look(dies_after=1)
    assert world.is_rejected(name)
    world.remove("ModelRevision", before)
    play(world, 40)
    assert not world.is_rejected(name)
    assert world.weights == {name: 100}
    assert world.status["state"] == "Stable"


def test_impossible_rollbacks_are_refused_with_what_would_do_it() -> None:
    world, before, name = in_canary()
    assert f"{name} is on its way in: say abort/<nonce>" in refusal(world, f"rollback/1/{before}")
    world, _ = with_stable()
    assert "no older revision was ever promoted" in refusal(world, "rollback/1")
    world, stable, name = rejected()
    assert f"say retry/<nonce>/{name} for a canary" in refusal(world, f"rollback/1/{name}")
    world.events.clear()
    assert "is the stable already" in refusal(world, f"rollback/2/{stable}")
    world, _, _ = in_bake()
    assert "say rollback/<nonce> first" in refusal(world, "rollback/1/other")


# --- the operator dies, sleeps, or looks at what is gone ------------------------------------------------------------


def _aborted() -> tuple[World, str]:
    world, stable, _ = in_canary()
    world.say("abort/1")
    return world, stable


def _aborted_in_bake() -> tuple[World, str]:
    world, before, _ = in_bake()
    world.say("abort/1")
    return world, before


def _promoted() -> tuple[World, str]:
    world, _, name = in_canary()
    world.say("promote/1")
    return world, name


def _rolled_back() -> tuple[World, str]:
    world, before, _ = promoted_twice()
    world.say("rollback/1")
    return world, before


def _retried() -> tuple[World, str]:
    world, _, name = rejected()
    world.say("retry/1")
    return world, name


@pytest.mark.parametrize("story", [_aborted, _aborted_in_bake, _promoted, _rolled_back, _retried])
def test_the_operator_may_die_after_any_write_of_a_command_and_acts_on_it_once(story: object) -> None:
    assert callable(story)
    world, winner = story()
    count = 0
    for other in deaths(world, 12):
        count += 1
        play(other, 250)
        assert other.weights == {winner: 100}, count
        assert other.status["stable"]["revision"] == winner, count
        commands = other.status["commands"]
        assert [(one["outcome"]) for one in commands] == ["Done"], count
        rejected = [name for name in other.revisions() if other.is_rejected(name)]
        assert len(rejected) == (0 if story in (_promoted, _retried) else 1), count
        assert other.failures == 0, count
    assert count >= 5


def test_a_leader_that_slept_over_a_command_writes_nothing() -> None:
    world, stable, name = in_canary()
    world.say("abort/1")
    world.look()
    decision = decide_service(world.snapshot())
    play(world, 20)
    world.say(f"retry/2/{name}")
    play(world, 10)
    with suppress(Conflict):
        world.carry_out(decision)
    play(world, 3)
    assert "rejection" not in world.rollout(name)
    assert world.weights.get(stable, 0) < 100
