"""Solved examples of a suite are read by the evaluator alone, from a claim that must be there."""

import json
from datetime import timedelta
from typing import Any

from serin_operator.api.v1alpha1 import EvalGate
from serin_operator.decide.decision import Create
from serin_operator.decide.job import decide_job
from serin_operator.manifests import names
from support.jobs import World, a_gate

SHOTS = {"examples": 4, "dataset": {"uri": "pvc://solved/train.jsonl"}}
ALL = frozenset({"models", "datasets", "artifacts", "solved"})


def gate(few: dict[str, Any] | None) -> dict[str, EvalGate]:
    document = a_gate(min="0.30").model_dump(by_alias=True, mode="json")
    document["spec"]["suites"][0]["fewShot"] = few
    return {"quality": EvalGate.model_validate(document)}


def play(world: World) -> dict[str, list[str]]:
    """What each stage was given, until nothing moves."""
    given: dict[str, list[str]] = {}
    for _ in range(30):
        decision = decide_job(world.snapshot())
        for action in decision.actions:
            if isinstance(action, Create) and action.manifest["kind"] in ("ConfigMap", "Job"):
                stage = action.manifest["metadata"]["labels"][names.STAGE]
                given.setdefault(stage, []).append(json.dumps(action.manifest))
        world.act(decision)
        world.now += timedelta(seconds=1)
        for run in world.running():
            world.finish(run)
    return given


def test_only_the_evaluator_is_given_the_solved_examples_and_mounts_their_claim() -> None:
    given = play(World(gates=gate(SHOTS), claims=ALL))

    assert [stage for stage, of in given.items() if "solved" in "".join(of)] == ["evaluate"]
    config, job = given["evaluate"]
    document = json.loads(json.loads(config)["data"]["config.json"])
    assert document["suites"][0]["fewShot"] == {**SHOTS, "separator": "\n\n"}
    assert '"claimName": "solved"' in job


def test_a_suite_without_them_has_the_key_of_before() -> None:
    given = play(World(gates=gate(None), claims=ALL))

    assert "fewShot" not in "".join(given["evaluate"])


def test_other_shots_are_another_evaluation_and_no_other_training() -> None:
    world = World(gates=gate(None), claims=ALL)
    play(world)
    before = list(world.created)

    world.gates = gate(SHOTS)
    again = play(world)

    assert list(again) == ["evaluate"]
    assert len(world.created) == len(before) + 1


def test_a_claim_that_is_not_there_is_told() -> None:
    world = World(gates=gate(SHOTS), claims=ALL - {"solved"})

    play(world)

    assert world.created == []
    assert "PersistentVolumeClaim 'solved'" in json.dumps(world.status)
