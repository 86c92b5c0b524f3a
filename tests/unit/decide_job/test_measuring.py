"""An evaluation that several pods share: what they are told, how it fails, and how far they are."""

import json
from datetime import timedelta
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import PodProgress, StageName
from serin_operator.decide.decision import Create
from serin_operator.decide.job import decide_job
from serin_operator.decide.job.measuring import together
from serin_operator.decide.job.snapshot import Measurer
from support.jobs import World, a_policy, policy

THREE = {"evaluation": {"parallelism": 3}}


def until_evaluated(world: World) -> tuple[dict[str, Any], dict[str, Any]]:
    """Play until the evaluation runs; its config and its Job."""
    for _ in range(30):
        decision = decide_job(world.snapshot())
        world.act(decision)
        world.now += timedelta(seconds=1)
        made = {one.manifest["kind"]: one.manifest for one in decision.actions if isinstance(one, Create)}
        if (
            "ConfigMap" in made
            and (config := json.loads(made["ConfigMap"]["data"]["config.json"]))["stage"] == "Evaluate"
        ):
            return config, made["Job"]["spec"]
        for run in world.running():
            world.finish(run)
    raise AssertionError("nothing was evaluated")


def look(world: World, *measuring: Measurer) -> dict[str, Any]:
    """One look while the pods say this; the status."""
    world.measuring = measuring
    world.act(decide_job(world.snapshot()))
    world.now += timedelta(seconds=15)
    return world.status


def at(index: int, done: int, total: int = 40, eta: int | None = 10) -> Measurer:
    return Measurer(index, PodProgress(index=index, done=done, total=total, eta_seconds=eta))


def test_several_pods_each_know_how_many_they_are_and_a_lost_one_is_run_again_by_itself() -> None:
    config, job = until_evaluated(World(spec=THREE))
    assert config["pods"] == 3
    assert (job["completions"], job["parallelism"], job["completionMode"]) == (3, 3, "Indexed")
    assert "backoffLimit" not in job
    assert job["backoffLimitPerIndex"] == 3
    rules = job["podFailurePolicy"]["rules"]
    assert rules[0]["action"] == "FailJob"
    assert rules[0]["onExitCodes"] == {"containerName": "evaluate", "operator": "In", "values": [64, 65]}
    assert (rules[1]["action"], rules[1]["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert [one["name"] for one in job["template"]["spec"]["containers"]] == ["evaluate"]


def test_one_pod_is_told_of_no_others() -> None:
    config, job = until_evaluated(World())
    assert "pods" not in config
    assert (job["completions"], job["backoffLimit"]) == (1, 0)
    assert not job.keys() & {"backoffLimitPerIndex", "podFailurePolicy"}


def test_the_number_of_pods_makes_no_other_scores_so_it_is_in_no_key() -> None:
    world = World()
    one, _ = until_evaluated(world)
    several, _ = until_evaluated(World(spec=THREE))
    assert one["key"] == several["key"]


@pytest.mark.parametrize(
    ("policies", "pods"),
    [
        pytest.param((a_policy(),), 1, id="enforced"),
        pytest.param((a_policy(mode="Audit"),), 3, id="audited"),
        pytest.param(
            (policy(limits={"minExamples": 20}, jobSelector={"matchLabels": {"a": "b"}}),), 3, id="for others"
        ),
    ],
)
def test_where_a_policy_is_enforced_one_pod_measures_all_and_the_status_says_why(policies: Any, pods: int) -> None:
    """What pods hand each other lies on a volume that a tenant can write."""
    world = World(spec=THREE, policies=policies)
    config, job = until_evaluated(world)
    assert (config.get("pods", 1), job["completions"]) == (pods, pods)
    assert ("one pod measures all" in look(world)["message"]) == (pods == 1)
    if pods == 1:
        assert "spec.evaluation.parallelism is 3" in world.status["message"]
        assert "ClusterEvalPolicy 'floor' does not trust" in world.status["message"]


def test_the_status_tells_how_far_all_pods_are() -> None:
    world = World(spec=THREE)
    until_evaluated(world)
    assert "evaluation" not in look(world)
    told = look(world, at(0, 10), at(1, 20, eta=25), Measurer(2))["evaluation"]
    assert (told["done"], told["total"], told["percent"], told["etaSeconds"]) == (30, 80, 37, 25)
    assert [pod["index"] for pod in told["pods"]] == [0, 1]
    look(world, at(0, 10), at(1, 20), at(2, 5))
    assert "35 of 120 examples are measured in 3 pods, about 10 s left" in world.status["message"]


def test_a_pod_that_ended_well_did_all_and_one_that_does_not_answer_is_where_it_was() -> None:
    world = World(spec=THREE)
    until_evaluated(world)
    look(world, at(0, 10), at(1, 20), at(2, 30))
    told = look(world, Measurer(0, done=True), Measurer(1), at(2, 31))["evaluation"]
    assert [(pod["done"], pod["total"]) for pod in told["pods"]] == [(40, 40), (20, 40), (31, 40)]


def test_the_status_is_not_written_again_for_nothing() -> None:
    world = World(spec=THREE)
    until_evaluated(world)
    look(world, at(0, 10), at(1, 20), at(2, 30))
    writes = world.status_writes
    look(world, at(0, 10), at(1, 20), at(2, 30))
    assert world.status_writes == writes


def test_what_was_told_goes_when_the_evaluation_ends_and_is_none_of_the_next_attempts() -> None:
    world = World(spec=THREE)
    until_evaluated(world)
    look(world, at(0, 10), at(1, 20), at(2, 30))
    [run] = world.running()
    assert run.stage is StageName.EVALUATE
    world.fail(run, exit_code=1)
    for _ in range(3):
        status = look(world)
    assert "evaluation" not in status
    world.now += timedelta(minutes=10)
    look(world)
    look(world, Measurer(0), at(1, 0, eta=None))
    assert world.status["evaluation"]["pods"] == [{"index": 1, "done": 0, "total": 40}]
    for run in world.running():
        world.finish(run)
    look(world)
    look(world)
    assert world.status["state"] == "Passed"
    assert "evaluation" not in world.status


def test_a_pod_that_cannot_tell_when_it_will_be_done_leaves_that_open_for_all() -> None:
    told = together([PodProgress(index=0, done=1, total=2, eta_seconds=9), PodProgress(index=1, done=0, total=2)])
    assert told is not None
    assert told.eta_seconds is None
    assert together([None]) is None
