"""The bake: after the last step the new stable is still watched, and the one before it is kept ready to take over."""

from copy import deepcopy
from datetime import timedelta

import pytest
from serin_operator.decide.service.snapshot import ReadingKind
from support.service_world import Model, World, a_service, deaths, play, stable_is, with_stable

STEPS = [{"weightPercent": 50, "holdSeconds": 5}, {"weightPercent": 100, "holdSeconds": 5}]


def baking(seconds: int = 40, **canary: object) -> tuple[World, str, str]:
    """A world in which a new model has just begun its bake: (world, the stable before, the new one)."""
    world, before = with_stable(steps=STEPS, bakeSeconds=seconds, **canary)
    name = world.passes("b")
    play(world, 100, until=lambda w: "startedAt" in w.status.get("bake", {}))
    assert world.status["stable"]["revision"] == name
    return world, before, name


def turns_bad(world: World, name: str) -> None:
    world.models[name].says("length", ReadingKind.VALUE, 126.0)


def bake_over(world: World) -> bool:
    return "bake" not in world.status


# --- going well ---------------------------------------------------------------------------------------------------


def test_the_previous_revision_is_kept_ready_with_weight_zero_until_the_bake_is_over() -> None:
    world, before, name = baking(seconds=40)
    for _ in range(30):
        play(world, 1)
        assert world.running() == {before, name}
        assert world.deployment_ready(before)
        assert world.weights == {name: 100}
        route = world.objects[("HTTPRoute", "bot")]["spec"]["rules"][0]["backendRefs"]
        assert {ref["name"]: ref["weight"] for ref in route} == {name: 100, before: 0}
    play(world, 60, until=bake_over)
    play(world, 5)
    assert world.running() == {name}
    assert world.failures == 0


def test_a_bake_says_who_is_watched_for_how_long_and_who_is_kept() -> None:
    world, before, name = baking(seconds=40)
    play(world, 12)
    assert world.status["state"] == "Baking"
    assert world.status["bake"]["revision"] == name
    assert world.status["bake"]["previous"] == before
    assert 10 <= world.status["bake"]["watchedSeconds"] <= 12
    assert f"{name} serves all traffic and bakes, " in world.status["message"]
    assert f" of 40 s watched, {before} is kept ready; latency 0.4 <= 2" in world.status["message"]
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("Reconciling")["status"] == "False"  # users are on the new model: GitOps need not wait
    assert world.condition("Baked")["status"] == "False"


def test_a_bake_that_went_well_says_so_and_takes_its_time() -> None:
    world, _, name = baking(seconds=40)
    begun = world.now
    play(world, 100, until=bake_over)
    assert timedelta(seconds=39) <= world.now - begun <= timedelta(seconds=46)
    play(world, 5)
    assert world.condition("Baked")["status"] == "True"
    assert world.status["state"] == "Stable"
    assert world.events.count("Baked") == 1
    assert world.weights == {name: 100}


def test_without_bake_seconds_there_is_no_bake() -> None:
    world, _ = with_stable(steps=STEPS, bakeSeconds=0)
    name = world.passes("b")
    play(world, 100, until=stable_is(name))
    assert "bake" not in world.status
    assert world.condition("Baked")["reason"] == "NoBake"


def test_the_first_model_has_nothing_to_go_back_to_and_does_not_bake() -> None:
    world = World(a_service(bakeSeconds=40))
    world.passes("a")
    play(world, 20)
    assert world.status["state"] == "Stable"
    assert "bake" not in world.status


def test_a_bake_asks_no_more_often_than_each_interval_and_does_not_count_requests() -> None:
    world, _, _ = baking(seconds=40)
    world.sources.queries.clear()
    for _ in range(100):
        world.look()
        world.tick(0.1)
    assert len(world.sources.queries) == 2 * 2
    assert not any("request_success_total" in query for query in world.sources.queries)


# --- going badly --------------------------------------------------------------------------------------------------


def test_a_breach_in_the_bake_brings_the_previous_revision_back_at_once() -> None:
    world, before, name = baking()
    play(world, 12)
    turns_bad(world, name)
    play(world, 6)
    assert world.weights == {before: 100}
    assert world.status["stable"]["revision"] == before
    rejection = world.rollout(name)["rejection"]
    assert rejection["reason"] == "SloBreached"
    assert rejection["weightPercent"] == 100
    assert "length 126 > 96 in its bake (100 percent, " in rejection["message"]
    play(world, 60)
    assert world.running() == {before}
    assert world.condition("CanaryHealthy")["status"] == "False"
    assert world.condition("Baked")["reason"] == "RolledBack"
    assert world.status["state"] == "Stable"
    assert "length 126 > 96" in world.status["message"]
    assert world.events.count("RolledBack") == 1
    assert world.failures == 0


def test_the_digest_is_rejected_before_the_stable_changes_and_that_before_the_route_moves() -> None:
    world, _, name = baking()
    turns_bad(world, name)
    world.writes.clear()
    play(world, 6)
    order = [f"status ModelRevision {name}", "status ModelService bot", "apply HTTPRoute bot"]
    assert [write for write in world.writes if write in order][:3] == order


def test_a_rollback_that_was_cut_off_anywhere_is_told_in_the_same_words() -> None:
    world, before, name = baking()
    play(world, 12)
    turns_bad(world, name)
    told = set()
    for number, other in enumerate(deaths(deepcopy(world), 6)):
        play(other, 30)
        assert other.weights == {before: 100}, number
        told.add(other.condition("Baked")["message"])
    assert told == {f"{name} was rejected while it was watched; {before} is the stable again"}


def test_a_server_that_ends_by_itself_in_the_bake_brings_the_previous_revision_back() -> None:
    world, before, name = baking()
    play(world, 5)
    world.models[name].crashed_at = world.now
    play(world, 2)
    assert world.rollout(name)["rejection"]["reason"] == "CandidateCrashed"
    assert world.weights == {before: 100}


def test_a_new_stable_that_loses_its_pods_is_stood_in_for_and_the_bake_begins_anew() -> None:
    world, before, name = baking(seconds=20)
    play(world, 12)
    world.models[name].ready = False
    play(world, 4)
    assert world.weights == {before: 100}
    assert world.status["stable"]["revision"] == name
    assert world.condition("Ready")["reason"] == "PreviousServes"
    assert f"{before} serves meanwhile" in world.status["message"]
    world.models[name].ready = None
    back = world.now
    play(world, 100, until=bake_over)
    assert world.now - back >= timedelta(seconds=20)
    assert world.weights == {name: 100}


def test_a_new_stable_that_does_not_come_back_is_rejected() -> None:
    world, before, name = baking()
    world.models[name].ready = False
    play(world, 80)
    assert world.rollout(name)["rejection"]["reason"] == "CandidateNotReady"
    assert world.status["stable"]["revision"] == before


def test_no_rollback_to_a_previous_revision_that_does_not_answer_until_it_does() -> None:
    world, before, name = baking()
    world.models[before].ready = False
    play(world, 3)
    turns_bad(world, name)
    play(world, 10)
    assert world.rollout(name)["rejection"]["reason"] == "SloBreached"
    assert world.weights == {name: 100}
    assert world.condition("Ready")["reason"] == "NoHealthyStable"
    world.models[before].ready = None
    play(world, 3)
    assert world.weights == {before: 100}


def test_a_previous_revision_that_does_not_answer_does_not_stop_the_watch() -> None:
    world, before, name = baking(seconds=20)
    world.models[before].ready = False
    play(world, 40, until=bake_over)
    assert bake_over(world)
    assert world.weights == {name: 100}


def test_what_cannot_be_measured_is_not_counted_and_never_ends_a_bake() -> None:
    world, before, name = baking(seconds=20)
    world.sources.away = True
    play(world, 300)
    assert world.status["bake"]["watchedSeconds"] == 0
    assert world.weights == {name: 100}
    assert "the bake is not counted on meanwhile" in world.condition("MetricsAvailable")["message"]
    assert world.deployment_ready(before)
    world.sources.away = False
    play(world, 60, until=bake_over)
    assert bake_over(world)


def test_an_slo_that_compares_with_the_stable_is_left_out_of_the_bake_since_nobody_is_on_the_previous() -> None:
    world, _, name = baking(seconds=20)
    ratio = 'ratio{revision="{{revision}}"} / ratio{revision="{{stable}}"}'
    world.edit(lambda spec: spec["slos"].append({"name": "ratio", "query": ratio, "max": "1.2"}))
    world.sources.queries.clear()
    play(world, 60, until=bake_over)
    assert bake_over(world)
    assert not any("ratio" in query for query in world.sources.queries)
    assert world.weights == {name: 100}


# --- newer candidates ---------------------------------------------------------------------------------------------


def test_a_new_candidate_waits_until_the_bake_is_over_and_the_status_says_so() -> None:
    world, before, name = baking(seconds=40)
    newer = world.passes("c")
    play(world, 20)
    assert "candidate" not in world.status
    assert world.running() == {before, name}
    assert f"{newer} waits until the bake is over" in world.status["message"]
    play(world, 60, until=bake_over)
    play(world, 60, until=stable_is(newer))
    assert world.status["stable"]["revision"] == newer
    assert world.status["bake"]["previous"] == name


def test_a_new_candidate_gets_its_canary_after_a_rollback_in_the_bake() -> None:
    world, before, name = baking()
    turns_bad(world, name)
    newer = world.passes("c")
    play(world, 8)
    assert world.status["stable"]["revision"] == before
    assert world.status["candidate"]["revision"] == newer
    play(world, 100, until=stable_is(newer))
    assert world.status["bake"]["previous"] == before


# --- what people do meanwhile -------------------------------------------------------------------------------------


def test_a_bake_that_is_no_longer_wanted_ends() -> None:
    world, _, name = baking(seconds=4000)
    world.edit(lambda spec: spec["canary"].update(bakeSeconds=0))
    play(world, 3)
    assert bake_over(world)
    assert world.weights == {name: 100}


def test_a_bake_ends_when_the_record_of_the_previous_revision_is_deleted() -> None:
    world, before, name = baking(seconds=4000)
    del world.objects[("ModelRevision", before)]
    play(world, 3)
    assert bake_over(world)
    assert world.events.count("BakeEnded") == 1
    assert world.weights == {name: 100}


def test_a_weight_changed_by_hand_during_a_bake_is_set_back() -> None:
    world, before, name = baking()
    world.set_route({before: 50, name: 50})
    play(world, 2)
    assert world.weights == {name: 100}


# --- dying --------------------------------------------------------------------------------------------------------


def test_a_rollback_in_the_bake_survives_death_before_any_of_its_writes() -> None:
    world, before, name = baking()
    turns_bad(world, name)
    stories = 0
    for after in deaths(world, 45):
        stories += 1
        play(after, 60, until=lambda w: w.running() == {before})
        assert after.rollout(name)["rejection"]["reason"] == "SloBreached"
        assert after.status["stable"]["revision"] == before
        assert after.weights == {before: 100}
        assert after.running() == {before}
        assert after.failures == 0
    assert stories >= 8


def test_the_beginning_and_the_end_of_a_bake_survive_death_before_any_of_their_writes() -> None:
    world, before = with_stable(steps=STEPS, bakeSeconds=8)
    name = world.passes("b")
    stories = 0
    for after in deaths(world, 45):
        stories += 1
        play(after, 90, until=lambda w: w.running() == {name})
        assert after.weights == {name: 100}
        assert after.running() == {name}
        assert after.failures == 0
        assert before not in after.weights
    assert stories > 15


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_clock_that_jumps_during_a_bake_ends_it_neither_early_nor_late(jump: timedelta) -> None:
    world, _, name = baking(seconds=40)
    begun = world.now
    play(world, 12)
    world.skew = jump
    play(world, 200, until=bake_over)
    assert timedelta(seconds=35) <= world.now - begun <= timedelta(seconds=50)
    assert world.weights == {name: 100}


def test_an_operator_that_was_dead_for_ten_minutes_has_not_watched_them() -> None:
    world, _, _ = baking(seconds=40)
    play(world, 12)
    watched = world.status["bake"]["watchedSeconds"]
    world.tick(600)
    play(world, 1)
    assert world.status["bake"]["watchedSeconds"] - watched <= 10
    assert not bake_over(world)


def test_a_model_that_turned_bad_while_the_operator_was_dead_loses_its_traffic_on_the_first_look() -> None:
    world, before, name = baking(seconds=40)
    turns_bad(world, name)
    world.tick(600)
    world.look()
    assert world.weights == {before: 100}


def test_a_model_that_has_the_stables_digest_under_another_name_is_not_put_on_trial() -> None:
    """Its rejection would be the stable's own."""
    world, _, name = baking(seconds=10)
    play(world, 40, until=bake_over)
    double = {**world.objects[("ModelRevision", name)]}
    double["metadata"] = {**double["metadata"], "name": "bot-double", "uid": "uid-double"}
    double["status"] = {"gate": {**double["status"]["gate"], "judgedAt": world.now.isoformat()}}
    world.objects[("ModelRevision", "bot-double")] = double
    world.models["bot-double"] = Model().says("length", ReadingKind.VALUE, 126.0)
    play(world, 60)
    assert "candidate" not in world.status
    assert world.weights == {name: 100}


# --- with the previous revision stopped -----------------------------------------------------------------------------


def stopped(seconds: int = 400, starts_in: float = 20.0) -> tuple[World, str, str]:
    """The same as `baking`, and the previous revision has no pods any more; its start takes a while."""
    world, before, name = baking(seconds, previousRevision="Stopped")
    world.models[before].starts_in = starts_in
    play(world, 3)
    assert pods(world, before) == 0
    world.writes.clear()
    return world, before, name


def pods(world: World, name: str) -> int:
    return int(world.objects[("Deployment", name)]["spec"]["replicas"])


def test_a_previous_revision_that_is_to_be_stopped_keeps_its_pods_until_users_are_on_the_new_one_and_that_is_ready() -> (
    None
):
    world, before = with_stable(steps=STEPS, bakeSeconds=40, previousRevision="Stopped")
    name = world.passes("b")
    while pods(world, before):
        play(world, 1)
        assert ("bake" in world.status and world.weights == {name: 100}) or pods(world, before) == 1
    assert world.status["bake"]["startedAt"]
    play(world, 7)
    assert f"{before} is stopped, and started when it is needed" in world.status["message"]
    play(world, 60, until=bake_over)
    play(world, 5)
    assert world.running() == {name}
    assert world.failures == 0


def test_one_that_is_stopped_stays_in_the_route_with_weight_zero_and_keeps_its_deployment() -> None:
    world, before, name = stopped()
    play(world, 60)
    assert world.running() == {before, name}
    assert pods(world, before) == 0
    assert world.backends == {name: 100, before: 0}
    assert not [write for write in world.writes if write.startswith(("apply", "delete"))]


def test_a_breach_rejects_first_then_starts_the_stopped_one_and_moves_traffic_when_it_is_ready() -> None:
    world, before, name = stopped()
    turns_bad(world, name)
    play(world, 12)
    assert world.rollout(name)["rejection"]["reason"] == "SloBreached"
    assert world.status["stable"]["revision"] == before
    assert pods(world, before) == 1
    assert world.weights == {name: 100}
    assert world.condition("Ready")["reason"] == "NoHealthyStable"
    assert world.status["state"] == "RollingBack"
    assert world.events.count("RolledBack") == 1
    play(world, 40, until=lambda w: w.weights == {before: 100})
    order = [f"status ModelRevision {name}", f"apply Deployment {before}", "apply HTTPRoute bot"]
    assert [write for write in world.writes if write in order][:3] == order
    play(world, 60)
    assert world.running() == {before}
    assert world.failures == 0


def test_the_sentences_say_who_was_stopped_and_for_how_long_it_has_been_waited_for() -> None:
    world, before, name = stopped(starts_in=1000.0)
    turns_bad(world, name)
    play(world, 8)
    told = next(sentence for sentence in world.sentences if f"{name} is rejected" in sentence)
    assert f"{before} was stopped (spec.canary.previousRevision) and is started now: traffic moves when it is" in told
    play(world, 35)
    assert (
        f"the rejected {name} keeps its traffic until the stable is ready, for 40 s so far" in world.status["message"]
    )
    assert "RollbackHeld" not in world.events
    play(world, 200)
    assert world.condition("Ready")["reason"] == "RollbackTargetNotReady"
    assert world.events.count("RollbackHeld") == 1
    assert world.weights == {name: 100}


def test_a_new_stable_without_pods_starts_the_stopped_one_which_stands_in_for_it_and_is_stopped_again() -> None:
    world, before, name = stopped(starts_in=5.0)
    world.models[name].ready = False
    play(world, 15)
    assert world.weights == {before: 100}
    assert "rejection" not in world.rollout(name)
    world.models[name].ready = None
    play(world, 10)
    assert world.weights == {name: 100}
    assert pods(world, before) == 0


def test_one_pod_of_several_that_is_not_ready_starts_nobody() -> None:
    world, before, name = stopped()
    world.models[name].ready_pods = 1
    world.edit(lambda spec: spec["runtime"].update(replicas=3))
    play(world, 20)
    assert pods(world, before) == 0


def test_pods_that_are_leaving_get_no_traffic_and_are_not_taken_for_new_ones() -> None:
    """The Deployment's status still counts them when the breach comes."""
    world, before = with_stable(steps=STEPS, bakeSeconds=400, previousRevision="Stopped")
    name = world.passes("b")
    play(world, 100, until=lambda w: "bake" in w.status)
    world.models[before].starts_in = 20.0
    world.controllers_up = False
    play(world, 20, until=lambda w: pods(w, before) == 0)
    assert world.objects[("Deployment", before)]["status"]["readyReplicas"] == 1
    turns_bad(world, name)
    play(world, 10)
    assert world.is_rejected(name)
    assert world.weights == {name: 100}
    world.controllers_up = True
    play(world, 10)
    assert world.weights == {name: 100}
    play(world, 30)
    assert world.weights == {before: 100}
    assert world.failures == 0


@pytest.mark.parametrize("command", ["abort/1", "rollback/1"])
def test_a_person_may_go_back_to_a_stopped_one(command: str) -> None:
    world, before, name = stopped()
    world.say(command)
    play(world, 40)
    assert world.is_rejected(name)
    assert world.weights == {before: 100}


def test_a_wish_to_keep_it_warm_after_all_starts_it_again() -> None:
    world, before, name = stopped(starts_in=5.0)
    world.edit(lambda spec: spec["canary"].update(previousRevision="Warm"))
    play(world, 10)
    assert world.deployment_ready(before)
    assert world.weights == {name: 100}


def test_a_rollback_to_a_stopped_one_survives_death_before_any_of_its_writes() -> None:
    world, before, name = stopped(starts_in=6.0)
    turns_bad(world, name)
    stories = 0
    for after in deaths(world, 25):
        stories += 1
        play(after, 60, until=lambda w: w.running() == {before})
        assert after.rollout(name)["rejection"]["reason"] == "SloBreached"
        assert after.weights == {before: 100}
        assert after.failures == 0
    assert stories >= 6


def test_stopping_survives_death_before_any_of_its_writes() -> None:
    world, before, name = baking(30, previousRevision="Stopped")
    for after in deaths(world, 5):
        play(after, 60, until=bake_over)
        play(after, 40, until=lambda w: w.running() == {name})
        assert after.weights == {name: 100}
        assert after.running() == {name}
        assert after.failures == 0
    assert before not in world.weights
