"""A benchmark is read by the evaluator alone, from a claim that must be there; each of its tasks is a slice."""

import json
from datetime import timedelta
from typing import Any

from serin_operator.api.v1alpha1 import EvalGate, Suite
from serin_operator.decide.decision import Create
from serin_operator.decide.job import decide_job
from serin_operator.manifests import names
from support.jobs import World, a_gate, policy

BENCHMARK = {"tasks": ["mmlu"], "uri": "pvc://benchmarks/tasks", "numFewshot": 5}
ALL = frozenset({"models", "datasets", "artifacts", "benchmarks"})


def gate(**benchmark: Any) -> dict[str, EvalGate]:
    """A gate with rows of its own, and a benchmark."""
    document = a_gate(min="0.30").manifest()
    suite = {"name": "knowledge", "benchmark": {**BENCHMARK, **benchmark}, "metrics": ["Accuracy"]}
    document["spec"]["suites"].append(suite)
    asked = {"name": "knows", "metric": "knowledge/Accuracy", "slice": {"field": "task", "value": "law"}, "min": "0.2"}
    document["spec"]["requirements"].append(asked)
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


def test_only_the_evaluator_is_given_a_benchmark_and_mounts_its_claim() -> None:
    given = play(World(gates=gate(), claims=ALL))

    assert [stage for stage, of in given.items() if "benchmarks" in "".join(of)] == ["evaluate"]
    config, job = given["evaluate"]
    document = json.loads(json.loads(config)["data"]["config.json"])
    suite = next(one for one in document["suites"] if one["name"] == "knowledge")
    assert suite["benchmark"] == {**BENCHMARK, "applyChatTemplate": False}
    assert "dataset" not in suite
    assert "knowledge/Accuracy@task=law" in document["wanted"]
    assert '"claimName": "benchmarks"' in job


def test_other_tasks_are_another_evaluation_and_no_other_training() -> None:
    world = World(gates=gate(), claims=ALL)
    play(world)

    world.gates = gate(numFewshot=0)

    assert list(play(world)) == ["evaluate"]


def test_a_claim_that_is_not_there_is_told_before_anything_trains() -> None:
    world = World(gates=gate(), claims=ALL - {"benchmarks"})

    play(world)

    assert world.created == []
    assert "PersistentVolumeClaim 'benchmarks'" in json.dumps(world.status)


def test_a_policy_asks_for_a_task_of_every_benchmark() -> None:
    asked = {"name": "law", "metric": "Accuracy", "slice": {"field": "task", "value": "law"}, "min": "0.1"}
    given = play(World(gates=gate(), claims=ALL, policies=(policy(requirements=[asked]),)))

    document = json.loads(json.loads(given["evaluate"][0])["data"]["config.json"])
    assert document["wanted"].count("knowledge/Accuracy@task=law") == 1
    assert not [one for one in document["wanted"] if one.startswith("heldout/Accuracy")]


def test_what_a_suite_is_sliced_by() -> None:
    rows = {
        "name": "a",
        "dataset": {"uri": "pvc://d/a.jsonl"},
        "metrics": ["RougeL"],
        "slices": [{"field": "language"}],
    }

    assert Suite.model_validate(rows).sliced_by == {"language"}
    assert Suite.model_validate({"name": "b", "benchmark": BENCHMARK, "metrics": ["MCC"]}).sliced_by == {"task"}
