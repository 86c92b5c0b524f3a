"""Bugs that other canary controllers had, each as a sentence that must hold here. The number is the issue there.

One cannot happen here: Argo Rollouts' analysis runs that are objects of their own, with a life of their own, do not exist;
what was measured is part of one look.
"""

from collections.abc import Callable

import pytest
from serin_operator.decide.service import decide_service
from serin_operator.decide.service.snapshot import Reading, ReadingKind
from serin_operator.errors import Conflict
from support.by_pods import ByPods, with_stable_by_pods
from support.service_world import Model, World, play, revision_name, stable_is, with_stable

STEPS = [{"weightPercent": 50, "holdSeconds": 5}, {"weightPercent": 100, "holdSeconds": 5}]
UNMEASURED = [kind for kind in ReadingKind if kind is not ReadingKind.VALUE]


def turns_bad(world: World, name: str) -> None:
    world.models[name].says("length", ReadingKind.VALUE, 126.0)


def with_canary(share: int = 10, **canary: object) -> tuple[World, str, str]:
    """(world, stable, candidate); the candidate has its share and its clock runs."""
    world, stable = with_stable(**canary)
    name = world.passes("b")
    play(world, 120, until=lambda w: w.weights.get(name) == share and "stepStartedAt" in w.status["candidate"])
    assert world.weights.get(name) == share
    return world, stable, name


# --- Argo Rollouts ------------------------------------------------------------------------------------------------


def aborted(world: World, _: str) -> None:
    world.say("abort/1")


ENDS = pytest.mark.parametrize("ends", [turns_bad, aborted])


@pytest.mark.parametrize("share", [10, 50, 100])
@pytest.mark.parametrize("pods", [True, False])
@ENDS
def test_an_aborted_canary_always_returns_to_weight_zero(
    share: int, pods: bool, ends: Callable[[World, str], None]
) -> None:
    """Argo Rollouts #4841: after an abort the canary kept its weight. Nor does it matter how the bad one fares."""
    world, stable, name = with_canary(share)
    ends(world, name)
    if not pods:
        world.models[name].ready_pods = 0
    play(world, 80)
    assert world.weights == {stable: 100}
    assert "rejection" in world.rollout(name)


def test_a_stable_that_lacks_one_of_its_pods_does_not_stop_a_canary() -> None:
    """Argo Rollouts #4839: stuck for ever when the stable is degraded."""
    world, stable = with_stable()
    world.edit(lambda spec: spec["runtime"].update(replicas=3))
    play(world, 5)
    world.models[stable].ready_pods = 1
    name = world.passes("b")
    play(world, 120, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


def test_whoever_may_get_traffic_runs_all_its_replicas_whatever_its_share() -> None:
    """Argo Rollouts #4612: a rollback sent 70 percent to a canary scaled for 5. #3020: an under-sized stable took all."""
    world, stable = with_stable(steps=STEPS, bakeSeconds=20)
    world.edit(lambda spec: spec["runtime"].update(replicas=3))
    name = world.passes("b")
    for _ in range(60):
        play(world, 1)
        for revision in world.running() & {stable, name}:
            assert world.objects[("Deployment", revision)]["spec"]["replicas"] == 3
    assert world.status["stable"]["revision"] == name


def by_pods_in_a_quarter() -> ByPods:
    """Pods are scaled by share there: three of the stable, one of the candidate."""
    steps = [{"weightPercent": 25, "holdSeconds": 20}, {"weightPercent": 100, "holdSeconds": 20}]
    world, _ = with_stable_by_pods(replicas=3, steps=steps)
    world.passes("b")
    play(world, 60, until=lambda w: "stepStartedAt" in w.status.get("candidate", {}))
    assert world.ready == {revision_name("a"): 3, revision_name("b"): 1}
    return world


@ENDS
def test_without_a_gateway_a_rollback_never_gives_more_to_a_copy_scaled_for_less(
    ends: Callable[[World, str], None],
) -> None:
    """Argo Rollouts #4612, where shares are numbers of pods."""
    world, stable, name = by_pods_in_a_quarter(), revision_name("a"), revision_name("b")
    ends(world, name)
    for _ in range(60):
        play(world, 1)
        assert world.ready[stable] == 3
        assert world.ready.get(name, 0) <= 1
    assert world.ready == {stable: 3}


def test_without_a_gateway_nobody_takes_everything_with_fewer_pods_than_the_service_has() -> None:
    """Argo Rollouts #3020, where shares are numbers of pods."""
    world = by_pods_in_a_quarter()
    for _ in range(150):
        play(world, 1)
        assert len(world.ready) == 2 or sum(world.ready.values()) == 3
    assert world.ready == {revision_name("b"): 3}


@ENDS
def test_a_model_that_turns_bad_after_its_full_promotion_still_loses_its_traffic(
    ends: Callable[[World, str], None],
) -> None:
    """Argo Rollouts #4461: an abort after the full promotion was ignored."""
    world, stable = with_stable(steps=STEPS, bakeSeconds=60)
    name = world.passes("b")
    play(world, 120, until=stable_is(name))
    ends(world, name)
    play(world, 10)
    assert world.weights == {stable: 100}


def test_what_would_end_a_canary_does_nothing_to_the_stable_when_there_is_none() -> None:
    """Argo Rollouts #1292: an abort with no rollout in progress scaled the stable down."""
    world, stable = with_stable()
    world.objects[("ModelRevision", stable)]["status"]["gate"]["verdict"] = "Failed"
    turns_bad(world, stable)
    world.models[stable].crashed_at = world.now
    play(world, 50)
    world.say("abort/1")
    play(world, 50)
    assert world.condition("CommandAccepted")["status"] == "False"
    assert world.weights == {stable: 100}
    assert world.running() == {stable}
    assert world.failures == 0


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_breach_at_any_step_stops_the_canary_there(step: int) -> None:
    """Argo Rollouts #1411: a failed analysis did not stop the rollout."""
    world, stable, name = with_canary((10, 50, 100)[step - 1])
    turns_bad(world, name)
    world.weight_log.clear()
    play(world, 100)
    assert [weights for _, weights in world.weight_log if weights.get(name)] == []
    assert world.rollout(name)["rejection"]["step"] == step
    assert world.weights == {stable: 100}


@pytest.mark.parametrize("kind", UNMEASURED)
def test_no_canary_succeeds_when_every_measurement_failed(kind: ReadingKind) -> None:
    """Argo Rollouts #4479: Successful, although every measurement had errored."""
    world, stable = with_stable(minRequests=0)
    silent = Reading(kind, None, "as the test wants it")
    name = world.passes("b", Model(samples={"latency": silent, "length": silent}))
    play(world, 400)
    assert world.status["stable"]["revision"] == stable
    assert world.weights.get(name, 0) <= 10


def test_a_step_that_was_over_before_anything_was_measured_did_not_succeed() -> None:
    """Argo Rollouts: an analysis run that ended before its first measurement counted as successful."""
    steps = [{"weightPercent": 50, "holdSeconds": 0}, {"weightPercent": 100, "holdSeconds": 0}]
    world, stable = with_stable(steps=steps, minRequests=0)
    name = world.passes("b")
    play(world, 20, until=lambda w: w.weights.get(name) == 50)
    world.sources.away = True
    play(world, 120)
    assert world.weights == {stable: 50, name: 50}
    world.sources.away = False
    play(world, 30, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


def test_what_was_decided_on_an_old_view_is_not_written_over_what_is_newer() -> None:
    """Argo Rollouts #3316, #4073: a controller's stale cache overwrote newer status."""
    world, _, name = with_canary()
    play(world, 20, until=lambda w: decide_service(w.snapshot()).statuses != ())
    old = decide_service(world.snapshot())
    turns_bad(world, name)
    play(world, 10)
    weights, status = world.weights, dict(world.status)
    with pytest.raises(Conflict):
        world.carry_out(old)
    assert (world.weights, world.status) == (weights, status)


# --- Flagger ------------------------------------------------------------------------------------------------------


def test_a_rollback_right_after_promotion_spares_the_only_copy_that_answers() -> None:
    """Flagger #1898: all traffic went to the broken primary, and the healthy copy was deleted."""
    world, stable = with_stable(steps=STEPS, bakeSeconds=60)
    name = world.passes("b")
    play(world, 120, until=stable_is(name))
    world.models[stable].ready = False
    turns_bad(world, name)
    play(world, 120)
    assert world.weights == {name: 100}
    assert {name, stable} <= world.running()
    assert world.condition("Ready")["reason"] == "NoHealthyStable"
    assert world.failures == 0


def test_a_good_model_gets_in_although_the_stable_is_down() -> None:
    """Flagger #639: nothing was promoted while the primary was down, so nothing could mend it."""
    world, stable = with_stable()
    world.models[stable].ready = False
    name = world.passes("b")
    play(world, 300, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


@pytest.mark.parametrize("seconds", [1, 30, 200])
def test_a_promotion_ends_although_the_gateway_stands_still_in_the_middle(seconds: int) -> None:
    """Flagger #1588, #1591: stuck in Promoting."""
    world, _, name = with_canary(100)
    world.gateway_up = False
    play(world, seconds)
    world.gateway_up = True
    play(world, 120, until=lambda w: w.running() == {name})
    assert world.status["state"] == "Stable"


def fails_its_gate(world: World, name: str) -> None:
    world.objects[("ModelRevision", name)]["status"]["gate"]["verdict"] = "Failed"


@pytest.mark.parametrize("ends", [fails_its_gate, aborted])
def test_a_candidate_that_must_go_goes_although_its_pods_are_not_ready(ends: Callable[[World, str], None]) -> None:
    """Flagger #1268: a request to roll back was ignored until the pods were ready."""
    world, stable = with_stable()
    name = world.passes("b", Model(starts_in=float("inf")))
    play(world, 5)
    ends(world, name)
    play(world, 2)
    assert "candidate" not in world.status
    play(world, 60)
    assert world.running() == {stable}


def test_a_rollback_is_repeated_harmlessly_whatever_it_was_cut_off_after() -> None:
    """Flagger's order (traffic, scale, status), as a crash between any two writes shows it: the digest comes first here."""
    for dies_after in range(8):
        world, stable, name = with_canary()
        turns_bad(world, name)
        play(world, 40, dies_after=dies_after)
        assert world.weights == {stable: 100}
        assert "rejection" in world.rollout(name)
        assert world.failures == 0
