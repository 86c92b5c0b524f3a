"""ClusterEvalPolicies in the service's loop: steps, holds, bakes, and verdicts that were given under other policies."""

import itertools
from datetime import timedelta
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import CanaryStep
from serin_operator.decide.policies import Policies, Unreadable, gradual, refs, waiver_ref
from support.jobs import policy, waiver
from support.service_world import NOON, World, a_service, play, stable_is, with_stable

STEPS = [{"weightPercent": 50, "holdSeconds": 5}, {"weightPercent": 100, "holdSeconds": 5}]


def judged(world: World, letter: str, *policies: Any) -> str:
    """A revision that passed under these policies."""
    name = world.passes(letter)
    gate = world.objects[("ModelRevision", name)]["status"]["gate"]
    gate["policies"] = [ref.manifest() for ref in refs(policies, {})]
    return name


def canary(*policies: Any, **service: Any) -> tuple[World, str, str]:
    world, stable = with_stable(steps=STEPS, bakeSeconds=0, **service)
    world.policies = Policies(policies)
    return world, stable, judged(world, "b", *policies)


def shares(world: World, name: str) -> list[int]:
    """What a revision got, each share once, in order."""
    found: list[int] = []
    for _, weights in world.weight_log:
        share = weights.get(name, 0)
        if share and (not found or found[-1] != share):
            found.append(share)
    return found


@pytest.mark.parametrize(
    ("steps", "most", "found"),
    [
        ([10, 50, 100], 25, [10, 35, 50, 75, 100]),
        ([10, 50, 100], 100, [10, 50, 100]),
        ([100], 40, [40, 80, 100]),
        ([5, 30, 55, 80, 100], 25, [5, 30, 55, 80, 100]),
    ],
)
def test_strides_are_cut_where_they_are_too_long(steps: list[int], most: int, found: list[int]) -> None:
    asked = [CanaryStep(weight_percent=step, hold_seconds=step) for step in steps]
    got = gradual(asked, most)
    assert [step.weight_percent for step in got] == found
    assert all(step.hold_seconds == next(s for s in steps if s >= step.weight_percent) for step in got)


def test_a_policy_makes_the_steps_smaller_and_holds_them_longer() -> None:
    limit = policy(limits={"maxCanaryStepPercent": 30, "minStepSeconds": 10})
    world, _, name = canary(limit)
    play(world, 120, until=stable_is(name))
    assert shares(world, name) == [30, 50, 80, 100]
    at = {w.get(name, 0): t for t, w in world.weight_log}
    assert (at[50] - at[30]).total_seconds() >= 10


def test_a_policy_asks_for_a_bake_that_the_service_does_not_want() -> None:
    world, _, name = canary(policy(limits={"minBakeSeconds": 40}))
    play(world, 100, until=stable_is(name))
    begun = world.now
    play(world, 100, until=lambda w: "bake" not in w.status)
    assert (world.now - begun).total_seconds() >= 39


def test_an_audited_limit_changes_nothing() -> None:
    world, _, name = canary(policy(mode="Audit", limits={"maxCanaryStepPercent": 1, "minBakeSeconds": 900}))
    play(world, 100, until=stable_is(name))
    assert shares(world, name) == [50, 100]


def test_a_limit_for_other_jobs_does_not_bind_this_model() -> None:
    other = policy(jobSelector={"matchLabels": {"tier": "high"}}, limits={"maxCanaryStepPercent": 10})
    world, _, name = canary(other)
    play(world, 100, until=stable_is(name))
    assert shares(world, name) == [50, 100]


def test_a_limit_for_selected_jobs_binds_a_model_whose_job_it_selected() -> None:
    one = policy(jobSelector={"matchLabels": {"tier": "high"}}, limits={"maxCanaryStepPercent": 50})
    world, _ = with_stable(steps=[{"weightPercent": 100, "holdSeconds": 5}], bakeSeconds=0)
    world.policies = Policies((one,))
    name = world.passes("b")
    gate = world.objects[("ModelRevision", name)]["status"]["gate"]
    gate["policies"] = [ref.manifest() for ref in refs([one], {"tier": "high"})]
    play(world, 100, until=stable_is(name))
    assert shares(world, name) == [50, 100]


# --- verdicts of other times --------------------------------------------------------------------------------------


def test_a_model_judged_before_a_policy_came_gets_no_traffic_until_it_is_judged_anew() -> None:
    new = policy(limits={"minExamples": 100})
    world, stable = with_stable(steps=STEPS, bakeSeconds=0)
    name = world.passes("b")
    world.policies = Policies((new,))
    play(world, 60)
    assert world.weights == {stable: 100}
    judged(world, "b", new)
    play(world, 100, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


def test_a_first_model_judged_under_other_policies_is_not_served_and_the_status_says_why() -> None:
    world = World(a_service())
    world.policies = Policies((policy(limits={"minExamples": 100}),))
    world.passes("a")
    play(world, 10)
    assert world.weights == {}
    assert "judged under other policies (floor changed since)" in world.status["message"]


def test_a_policy_that_changes_in_the_middle_of_a_canary_holds_it_where_it_is() -> None:
    first, second = (policy(generation=n, limits={"minExamples": 100}) for n in (1, 2))
    world, stable, name = canary(first)
    play(world, 60, until=lambda w: w.weights.get(name) == 50)
    world.policies = Policies((second,))
    play(world, 60)
    assert world.weights == {stable: 50, name: 50}
    assert "goes no further for now" in world.status["message"]
    judged(world, "b", second)
    play(world, 100, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


def test_a_breach_ends_a_canary_that_is_held_for_a_policy() -> None:
    from serin_operator.decide.service.snapshot import ReadingKind

    world, stable, name = canary(policy(limits={"minExamples": 100}))
    play(world, 60, until=lambda w: w.weights.get(name) == 50)
    world.policies = Policies((), (Unreadable("odd", "is being deleted and still there"),))
    play(world, 20)
    assert world.weights == {stable: 50, name: 50}
    world.models[name].says("latency", ReadingKind.VALUE, 9.0)
    play(world, 20)
    assert world.weights == {stable: 100}


def test_a_policy_that_cannot_be_read_lets_no_model_in() -> None:
    world, stable = with_stable(steps=STEPS, bakeSeconds=0)
    world.policies = Policies((), (Unreadable("odd", "cannot be read by this version of Serin"),))
    world.passes("b")
    play(world, 60)
    assert world.weights == {stable: 100}


def test_what_was_promoted_once_serves_again_whatever_policies_came_since() -> None:
    world, stable = with_stable()
    world.policies = Policies((policy(limits={"minExamples": 100}),))
    world.objects[("ModelService", "bot")].pop("status")
    play(world, 5)
    assert world.weights == {stable: 100}


# --- waivers ------------------------------------------------------------------------------------------------------


def waived(**spec: Any) -> tuple[World, str, str]:
    """A canary of a model that passed by a waiver, which holds for an hour of the world's time."""
    world, stable = with_stable(steps=STEPS, bakeSeconds=0)
    found = waiver(**{"expiresAt": world.now + timedelta(hours=1), **spec})
    world.policies = Policies((policy(requirements=[]),), (), (found,))
    name = judged(world, "b", *world.policies.found)
    gate = world.objects[("ModelRevision", name)]["status"]["gate"]
    gate["waivers"] = [waiver_ref(found, ["sane"]).manifest()]
    return world, stable, name


def test_a_model_that_leans_on_a_waiver_is_let_in_while_it_holds() -> None:
    world, _, name = waived()
    play(world, 100, until=stable_is(name))
    assert world.status["stable"]["revision"] == name


def test_a_model_whose_waiver_expired_gets_no_traffic_also_when_nobody_judged_it_anew() -> None:
    world, stable, _ = waived()
    world.now += timedelta(hours=2)
    play(world, 60)
    assert world.weights == {stable: 100}


@pytest.mark.parametrize("how", ["taken back", "changed", "expired"])
def test_a_canary_whose_waiver_falls_stays_where_it_is(how: str) -> None:
    world, stable, name = waived(expiresAt=NOON + timedelta(seconds=3600))
    play(world, 60, until=lambda w: w.weights.get(name) == 50)
    if how == "expired":
        world.now = NOON + timedelta(seconds=3600)
    else:
        left = (waiver(generation=2),) if how == "changed" else ()
        world.policies = Policies(world.policies.found, (), left)
    play(world, 60)
    assert world.weights == {stable: 50, name: 50}
    assert "the waiver german" in world.status["message"]


# --- edits in the middle ------------------------------------------------------------------------------------------


def test_steps_edited_in_the_middle_do_not_make_a_leap() -> None:
    """Step 4 of many small ones is step 4 of a few big ones: 8 percent would become 100."""
    limit = policy(limits={"maxCanaryStepPercent": 25})
    small = [{"weightPercent": w, "holdSeconds": 5} for w in (2, 4, 6, 8, 10, 100)]
    world, _ = with_stable(steps=small, bakeSeconds=0)
    world.policies = Policies((limit,))
    name = judged(world, "b", limit)
    play(world, 200, until=lambda w: w.weights.get(name) == 8)

    def fewer(spec: Any) -> None:
        spec["canary"]["steps"] = [{"weightPercent": w, "holdSeconds": 5} for w in (25, 50, 75, 100)]

    world.edit(fewer)
    play(world, 200, until=stable_is(name))
    got = shares(world, name)
    assert got[-1] == 100
    assert all(b - a <= 25 for a, b in itertools.pairwise(got)), got
