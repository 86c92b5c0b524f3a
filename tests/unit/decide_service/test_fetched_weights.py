"""Weights that pods fetch: a store that cannot be had says nothing of the model, and other files than were judged say all."""

import json
from typing import Any

import pytest
from support.service_world import Model, World, a_service, play, stable_is

AWAY = {
    "stage": "Fetch",
    "key": "a1",
    "outcome": "Failed",
    "reason": "WeightsUnreachable",
    "message": "no connection to https://minio:9000 for s3://models/bots/sha256-bb, in 5 attempts",
    "advice": "check s3.endpoint of spec.runtime.weights; it is tried again by itself",
    "output": {},
}
OTHERS = AWAY | {
    "reason": "ModelDamaged",
    "message": "the file model.safetensors of s3://models/bots/sha256-bb has SHA-256 1f…, and the manifest says 2e…",
    "advice": "copy it again from its volume",
}


def ended(code: int, said: dict[str, Any]) -> dict[str, Any]:
    end = {"exitCode": code, "finishedAt": "2026-06-01T12:30:00Z", "message": json.dumps(said), "reason": "Error"}
    return {"name": "fetch", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": end}}


def world_with_stable(**canary: Any) -> tuple[World, str]:
    service = a_service(**canary)
    service["spec"]["runtime"]["weights"] = {"uri": "s3://models/bots", "secretRef": {"name": "store"}}
    world = World(service)
    stable = world.passes("a")
    play(world, 10)
    assert world.weights == {stable: 100}
    return world, stable


def test_a_store_that_is_away_holds_the_candidate_with_its_sentence_and_rejects_nobody() -> None:
    world, stable = world_with_stable()
    name = world.passes("b", Model(starts_in=1.0, first=ended(75, AWAY)))
    play(world, 300)  # progressDeadlineSeconds is 60
    assert "rejection" not in world.rollout(name)
    assert world.weights == {stable: 100}
    found = world.condition("CanaryHealthy")
    assert (found["status"], found["reason"]) == ("Unknown", "PodsBlocked")
    assert f"{AWAY['message']}; {AWAY['advice']}" in found["message"]
    assert "does not count against the model" in found["message"]
    world.models[name].first = None
    play(world, 300, until=stable_is(name))
    assert world.weights == {name: 100}


def test_other_files_than_were_judged_are_rejected_with_their_sentence() -> None:
    world, stable = world_with_stable()
    name = world.passes("b", Model(starts_in=1.0, first=ended(65, OTHERS)))
    play(world, 100)
    assert world.weights == {stable: 100}
    rejection = world.rollout(name)["rejection"]
    assert rejection["reason"] == "CandidateNotReady"
    assert OTHERS["message"] in rejection["message"]


def test_a_store_that_goes_away_in_a_step_takes_the_traffic_back_and_rejects_nobody() -> None:
    world, stable = world_with_stable()
    name = world.passes("b", Model(starts_in=1.0))
    play(world, 60, until=lambda w: w.weights.get(name) == 10)
    world.models[name].first = ended(75, AWAY | {"message": "gone"})
    play(world, 200)
    assert world.weights == {stable: 100}
    assert "rejection" not in world.rollout(name)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            'secret "store" not found',
            "spec.runtime.weights.secretRef names the Secret 'store' of namespace 'ml', which does not exist; create it with"
            " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and the pod starts by itself",
        ),
        (
            "couldn't find key AWS_ACCESS_KEY_ID in Secret ml/store",
            "spec.runtime.weights.secretRef names the Secret 'store' of namespace 'ml', which has no key AWS_ACCESS_KEY_ID;"
            " add it, and the pod starts by itself",
        ),
        ('secret "another" not found', 'CreateContainerConfigError: secret "another" not found'),
    ],
)
def test_a_secret_that_is_missing_is_told_with_the_field_that_names_it(said: str, told: str) -> None:
    world, _ = world_with_stable()
    waits = {"name": "fetch", "state": {"waiting": {"reason": "CreateContainerConfigError", "message": said}}}
    name = world.passes("b", Model(starts_in=1.0, first=waits))
    play(world, 100)
    assert told in world.condition("CanaryHealthy")["message"]
    assert "rejection" not in world.rollout(name)


def test_a_first_model_that_cannot_be_fetched_is_told_and_waited_for() -> None:
    """There is nothing to go back to, so nothing is rejected. `tests/e2e/test_7_buckets.py` plays it on a real cluster."""
    service = a_service()
    service["spec"]["runtime"]["weights"] = {"uri": "s3://models/bots", "secretRef": {"name": "store"}}
    world = World(service)
    name = world.passes("a", Model(starts_in=1.0, first=ended(65, OTHERS)))
    play(world, 100)
    found = world.condition("Ready")
    assert (found["status"], found["reason"]) == ("False", "Deploying")
    assert OTHERS["message"] in found["message"]
    world.models[name].first = None
    play(world, 100, until=stable_is(name))
    assert world.weights == {name: 100}
