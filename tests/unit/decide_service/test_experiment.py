"""A/B experiments: users keep their revision, what they do decides, and a verdict is written before it is acted upon."""

from contextlib import suppress
from typing import Any

import pytest
from serin_operator.decide.service.snapshot import ReadingKind
from support.service_world import (
    USER_KEY,
    Died,
    Json,
    Model,
    World,
    a_service,
    deaths,
    kept_by,
    play,
    stable_is,
)

TASKS = 'tasks_total{revision="{{revision}}"}'
DONE = 'tasks_total{revision="{{revision}}",outcome="success"}'
ROUTE = ("HTTPRoute", "bot")


def an_experiment(seconds: int = 600, **more: Any) -> Json:
    tried = {"total": TASKS, "successes": DONE, "minDifferencePoints": "5", "minOutcomes": 200}
    return {
        "experiment": {**tried, "sticky": {"header": USER_KEY, "cookie": {}}, **more},
        "maxDurationSeconds": seconds,
    }


def a_world(succeeds: float, seconds: int = 600, per_second: float = 40.0, **more: Any) -> tuple[World, str, str]:
    """A candidate in its experiment, with half of the users. Of the stable's, half do what they wanted."""
    steps = [
        {"weightPercent": 50, "holdSeconds": 5},
        an_experiment(seconds, **more),
        {"weightPercent": 100, "holdSeconds": 5},
    ]
    world = World(a_service(steps=steps))
    stable = world.passes("a", Model(requests_per_second=per_second))
    play(world, 10)
    name = world.passes("b", Model(succeeds=succeeds, requests_per_second=per_second))
    play(world, 60, until=lambda w: (w.status.get("candidate") or {}).get("step") == 2)
    return world, stable, name


def tried(world: World) -> Json:
    found: Json = world.status["experiment"]
    return found


def decided(world: World) -> bool:
    return "verdict" in (world.status.get("experiment") or {})


# --- shares -------------------------------------------------------------------------------------------------------


def test_the_share_stays_and_users_are_kept_with_their_revision() -> None:
    world, stable, name = a_world(0.5)
    play(world, 5)
    assert world.weights == {stable: 50, name: 50}
    assert kept_by(world.objects[ROUTE]) == {stable, name}
    assert "keeps 50 percent of the users for an experiment, step 2 of 3" in " ".join(world.sentences)


def test_nobody_is_kept_before_it_and_behind_it() -> None:
    world, _, name = a_world(0.7)
    before = [s for s in world.sentences if "goes to 50 percent" in s]
    assert before
    play(world, 600, until=lambda w: w.weights == {name: 100})
    assert kept_by(world.objects[ROUTE]) == set()
    assert all("filters" not in ref for ref in world.objects[ROUTE]["spec"]["rules"][-1]["backendRefs"])


def test_a_route_that_lost_its_arms_gets_them_again_and_loses_no_outcome() -> None:
    world, stable, name = a_world(0.5)
    play(world, 30)
    counted = tried(world)["candidate"]["outcomes"]
    assert counted > 0
    route = world.objects[ROUTE]
    route["spec"]["rules"] = route["spec"]["rules"][-1:]
    route["metadata"]["generation"] += 1
    world.look()
    assert kept_by(world.objects[ROUTE]) == {stable, name}
    play(world, 20)
    assert tried(world)["candidate"]["outcomes"] >= counted


def test_a_cookie_that_is_no_longer_set_is_set_again() -> None:
    world, _, _ = a_world(0.5)
    play(world, 5)
    for ref in world.objects[ROUTE]["spec"]["rules"][-1]["backendRefs"]:
        del ref["filters"]
    world.objects[ROUTE]["metadata"]["generation"] += 1
    world.look()
    assert all("filters" in ref for ref in world.objects[ROUTE]["spec"]["rules"][-1]["backendRefs"])


# --- verdicts -----------------------------------------------------------------------------------------------------


def test_a_better_candidate_is_promoted() -> None:
    world, stable, name = a_world(0.7)
    play(world, 600, until=stable_is(name))
    assert world.status["stable"]["revision"] == name
    found = tried(world)
    assert found["verdict"] == "CandidateBetter"
    assert (found["candidate"]["revision"], found["stable"]["revision"]) == (name, stable)
    assert float(found["fromPoints"]) > 0
    assert "experiment: 70.00% of" in found["message"]
    assert found["message"].endswith("the candidate is better")
    assert sum(event == "ExperimentDecided" for event in world.events) == 1


def test_a_worse_one_is_rejected_with_the_numbers() -> None:
    world, stable, name = a_world(0.3)
    play(world, 600, until=lambda w: w.is_rejected(name))
    rejection = world.rollout(name)["rejection"]
    assert rejection["reason"] == "ExperimentLost"
    assert "30.00% of" in rejection["message"]
    assert "the stable is better" in rejection["message"]
    assert f"retry/<nonce>/{name}" in rejection["message"]
    assert "breachObservedAt" not in rejection
    play(world, 5)
    assert world.weights == {stable: 100}
    assert tried(world)["verdict"] == "StableBetter"
    assert kept_by(world.objects[ROUTE]) == set()


def test_where_there_is_no_difference_a_person_decides() -> None:
    world, stable, name = a_world(0.5, seconds=3000, per_second=100.0)
    play(world, 600, until=decided)
    assert tried(world)["verdict"] == "NoDifference"
    assert tried(world)["message"].endswith("no difference of 5 points")
    play(world, 30)
    assert world.weights == {stable: 50, name: 50}
    assert "skip/<nonce> takes the candidate on, abort/<nonce> takes it out" in world.status["message"]


@pytest.mark.parametrize(("command", "ends"), [("skip/1", "b"), ("abort/1", "a")])
def test_what_the_person_decides_is_done(command: str, ends: str) -> None:
    world, stable, name = a_world(0.5, seconds=10, per_second=100.0)
    play(world, 200, until=decided)
    world.say(command)
    play(world, 100)
    assert world.weights == {{"a": stable, "b": name}[ends]: 100}


def test_what_was_not_found_in_its_time_is_no_difference_and_says_that_there_may_be_one() -> None:
    world, _, _ = a_world(0.52, seconds=30)
    play(world, 100, until=decided)
    assert tried(world)["verdict"] == "NoDifference"
    assert "no difference was found in its time, though 5 points may be there" in tried(world)["message"]


@pytest.mark.parametrize(
    ("succeeds", "field", "way", "ends"),
    [
        pytest.param(0.7, "whenBetter", "Hold", "holds", id="a winner waits for a person"),
        pytest.param(0.3, "whenWorse", "Hold", "holds", id="a loser waits for a person"),
        pytest.param(0.5, "whenNoDifference", "Reject", "rejected", id="no better is not good enough"),
        pytest.param(0.5, "whenNoDifference", "Proceed", "promoted", id="no worse is good enough"),
    ],
)
def test_the_user_says_what_follows(succeeds: float, field: str, way: str, ends: str) -> None:
    world, stable, name = a_world(succeeds, seconds=90, **{field: way})
    play(world, 160)
    assert decided(world)
    want = {"holds": {stable: 50, name: 50}, "rejected": {stable: 100}, "promoted": {name: 100}}
    assert world.weights == want[ends]
    assert world.is_rejected(name) is (ends == "rejected")


def test_too_few_outcomes_say_nothing_even_when_its_time_is_over() -> None:
    world, stable, name = a_world(0.9, seconds=20, per_second=2.0)
    play(world, 60)
    assert not decided(world)
    assert "its time is over, and it goes on:" in world.status["message"]
    assert "of 200 outcomes on the arm that has fewer" in world.status["message"]
    assert world.weights == {stable: 50, name: 50}
    play(world, 400, until=stable_is(name))
    assert tried(world)["verdict"] == "CandidateBetter"


def test_it_lasts_as_long_as_the_user_wants_at_least() -> None:
    world, _, _ = a_world(0.9, minSeconds=120)
    play(world, 100)
    assert not decided(world)
    assert "of 120 s at least" in world.status["message"]
    play(world, 60, until=decided)
    assert tried(world)["verdict"] == "CandidateBetter"


# --- what goes badly meanwhile ------------------------------------------------------------------------------------


def test_a_breach_rolls_back_at_once_however_well_users_do() -> None:
    world, stable, name = a_world(0.7)
    play(world, 10)
    world.models[name].says("length", ReadingKind.VALUE, 126.0)
    play(world, 10)
    assert world.rollout(name)["rejection"]["reason"] == "SloBreached"
    assert world.weights == {stable: 100}
    assert not decided(world)


def test_a_winner_does_not_go_on_while_an_slo_does_not_hold() -> None:
    world, stable, name = a_world(0.7)
    world.models[name].says("length", ReadingKind.NO_DATA)
    play(world, 120)
    assert tried(world)["verdict"] == "CandidateBetter"
    assert world.weights == {stable: 50, name: 50}
    world.models[name].says("length", ReadingKind.VALUE, 20.0)
    play(world, 40, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


def test_a_loser_is_not_rejected_while_nobody_could_take_its_users() -> None:
    world, stable, name = a_world(0.3)
    play(world, 600, until=decided)
    world.models[stable].ready = False
    world.tick()
    play(world, 8)
    assert not world.is_rejected(name)
    world.models[stable].ready = True
    play(world, 10)
    assert world.is_rejected(name)


def test_a_pause_lets_it_count_and_not_end() -> None:
    world, stable, name = a_world(0.3)
    world.say("pause/1")
    play(world, 200)
    assert tried(world)["verdict"] == "StableBetter"
    assert world.weights == {stable: 50, name: 50}
    world.say("resume/1")
    play(world, 8)
    assert world.weights == {stable: 100}


def test_outcomes_of_a_time_in_which_it_had_no_users_are_left_out() -> None:
    world, _, name = a_world(0.5, seconds=6000)
    play(world, 40)
    world.models[name].ready = False
    play(world, 2)
    assert kept_by(world.objects[ROUTE]) == set()
    known = tried(world)
    play(world, 40)
    world.models[name].ready = True
    play(world, 30)
    found = tried(world)
    assert found["key"] == known["key"]
    assert found["candidate"]["outcomes"] > known["candidate"]["outcomes"]
    assert found["stable"]["outcomes"] < known["stable"]["outcomes"] + 40 * 20


def test_a_metric_source_that_is_away_is_said_and_what_it_missed_is_read_later() -> None:
    world, _, _ = a_world(0.5, seconds=6000)
    play(world, 20)
    counted = tried(world)["candidate"]["outcomes"]
    world.sources.away = True
    play(world, 60)
    assert tried(world)["candidate"]["outcomes"] == counted
    assert "users' outcomes could not be read" in world.status["message"]
    world.sources.away = False
    play(world, 10)
    assert tried(world)["candidate"]["outcomes"] > counted + 60 * 20 * 0.9


def test_another_candidate_begins_another_experiment() -> None:
    world, _, name = a_world(0.3)
    play(world, 600, until=lambda w: w.is_rejected(name))
    known = tried(world)
    other = world.passes("c", Model(succeeds=0.7, requests_per_second=40.0))
    play(world, 600, until=stable_is(other))
    assert tried(world)["key"] != known["key"]
    assert tried(world)["verdict"] == "CandidateBetter"


def test_one_that_a_person_wants_to_be_tried_again_is_tried_anew() -> None:
    world, _, name = a_world(0.3)
    play(world, 600, until=lambda w: w.is_rejected(name))
    world.models[name].succeeds = 0.7
    world.say("retry/1")
    play(world, 900, until=stable_is(name))
    assert tried(world)["verdict"] == "CandidateBetter"


def test_a_state_that_cannot_be_read_begins_anew() -> None:
    world, _, _ = a_world(0.5, seconds=6000)
    play(world, 30)
    world.touch("ModelService", "bot", lambda status: status["experiment"].update(state="of another version"))
    play(world, 7)
    assert tried(world)["candidate"]["outcomes"] < 200


# --- crashes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("succeeds", "ends"),
    [pytest.param(0.7, "b", id="a winner"), pytest.param(0.3, "a", id="a loser")],
)
def test_whenever_the_operator_dies_it_ends_the_same(succeeds: float, ends: str) -> None:
    world, stable, name = a_world(succeeds)
    play(world, 600, until=_nearly)
    winner = {"a": stable, "b": name}[ends]

    def over(w: World) -> bool:
        return w.weights == {winner: 100}

    for other in deaths(world, 8):
        play(other, 60, until=over)
        assert over(other)
        assert tried(other)["verdict"] == {"a": "StableBetter", "b": "CandidateBetter"}[ends]


def _nearly(world: World) -> bool:
    """The next look decides, or the one after."""
    known = world.status.get("experiment") or {}
    return known.get("candidate", {}).get("outcomes", 0) >= 100


def test_a_verdict_is_in_status_before_anything_follows_from_it() -> None:
    world, stable, name = a_world(0.3)
    for _ in range(300):
        before = decided(world)
        with suppress(Died):
            world.look(dies_after=1)
        world.tick()
        if world.is_rejected(name):
            assert before
            break
    assert world.is_rejected(name)
    play(world, 10)
    assert world.weights == {stable: 100}
