"""A cluster that does not run a model's pods (quota, room, image, volume) says nothing of the model: it is held, with what
the pods say, and never rejected for that."""

from support.service_world import Model, World, play, stable_is, with_stable

ROOM = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu"


def blocked(**canary: object) -> tuple[World, str, str]:
    world, stable = with_stable(**canary)
    return world, stable, world.passes("b", Model(starts_in=1.0, blocked=ROOM))


def test_it_is_held_with_the_reason_for_as_long_as_it_takes() -> None:
    world, stable, name = blocked()
    play(world, 300)  # progressDeadlineSeconds is 60
    assert "rejection" not in world.rollout(name)
    assert world.weights == {stable: 100}
    found = world.condition("CanaryHealthy")
    assert (found["status"], found["reason"]) == ("Unknown", "PodsBlocked")
    assert ROOM in found["message"]
    assert "does not count against the model" in found["message"]
    assert world.condition("Ready")["status"] == "True"


def test_it_goes_on_by_itself_and_has_all_of_its_time() -> None:
    world, _, name = blocked()
    play(world, 300)
    world.models[name].blocked = None
    world.models[name].ready = False
    play(world, 50)
    assert "rejection" not in world.rollout(name), "the cluster's time was counted as the model's"
    world.models[name].ready = None
    play(world, 300, until=stable_is(name))
    assert world.weights == {name: 100}


def test_one_that_ran_and_does_not_get_ready_is_rejected_as_before() -> None:
    world, _, name = blocked()
    play(world, 100)
    world.models[name].blocked = None
    world.models[name].ready = False
    play(world, 100)
    assert world.rollout(name)["rejection"]["reason"] == "CandidateNotReady"


def test_a_person_can_end_it_and_a_newer_model_takes_its_place() -> None:
    world, _, name = blocked()
    play(world, 20)
    newer = world.passes("c", Model(starts_in=1.0))
    play(world, 300, until=stable_is(newer))
    assert "rejection" not in world.rollout(name)
    last = world.passes("d", Model(blocked=ROOM))
    play(world, 20)
    world.say("abort/1")
    play(world, 5)
    assert world.rollout(last)["rejection"]["reason"] == "AbortedByPerson"


def test_pods_that_lose_their_place_in_a_step_give_the_traffic_back_and_get_it_again() -> None:
    world, stable, name = blocked()
    world.models[name].blocked = None
    play(world, 60, until=lambda w: w.weights.get(name) == 10)
    world.models[name].blocked = "node lost"
    play(world, 200)
    assert world.weights == {stable: 100}
    assert "rejection" not in world.rollout(name)
    assert "node lost" in world.status["message"]
    world.models[name].blocked = None
    play(world, 300, until=stable_is(name))
    assert world.weights == {name: 100}


def test_pods_that_lose_their_place_in_a_bake_let_the_one_before_serve_and_reject_nobody() -> None:
    world, stable, name = blocked(bakeSeconds=60)
    world.models[name].blocked = None
    play(world, 300, until=lambda w: "startedAt" in w.status.get("bake", {}))
    world.models[name].blocked = "node lost"
    play(world, 200)
    assert world.weights == {stable: 100}
    assert world.condition("Ready")["reason"] == "PreviousServes"
    assert "rejection" not in world.rollout(name)
    world.models[name].blocked = None
    play(world, 200, until=lambda w: "bake" not in w.status)
    assert world.weights == {name: 100}


def test_in_the_first_moments_nothing_is_said_of_a_cluster_that_does_not_run_it() -> None:
    world, _ = with_stable()
    world.passes("b")
    play(world, 2)
    assert world.condition("CanaryHealthy")["reason"] == "NoTrafficYet"
    assert "has not run it" not in world.status["message"]
