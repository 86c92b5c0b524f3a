"""`artifacts.copyTo`: the finished model is copied to a bucket before it is judged, and nothing else depends on it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from serin_operator.api.contract import StageResult
from serin_operator.api.v1alpha1 import CopyTo, FineTuneJob, StageName, StageOutcome
from serin_operator.decide.decision import Create
from serin_operator.decide.job import decide_job
from serin_operator.decide.keys import copy_key, prepare_key, train_key
from support.jobs import COPIED, MODEL_DIGEST, NOON, World, job_manifest

TO: dict[str, Any] = COPIED["artifacts"]["copyTo"]
NOT_COPIED = {"artifacts": {"uri": "pvc://artifacts"}}


def look(world: World) -> None:
    world.act(decide_job(world.snapshot()))


def play(world: World, looks: int = 20, **output: Any) -> World:
    for _ in range(looks):
        look(world)
        world.now += timedelta(seconds=1)
        for run in world.running():
            world.finish(run, **output)
    return world


def until_it_copies(world: World) -> World:
    for _ in range(20):
        look(world)
        if any(run.stage is StageName.COPY for run in world.running()):
            look(world)
            return world
        for run in world.running():
            world.finish(run)
    raise AssertionError("nothing is copied")


def created(world: World) -> list[str]:
    return [name.split("-")[1] for name in world.created]


def condition(world: World, type_: str) -> dict[str, str] | None:
    return next((c for c in world.status["conditions"] if c["type"] == type_), None)


def made(world: World) -> dict[str, dict[str, Any]]:
    """The Job and the ConfigMap of each stage."""
    found: dict[str, dict[str, Any]] = {}
    for _ in range(20):
        decision = decide_job(world.snapshot())
        for action in decision.actions:
            if isinstance(action, Create) and action.manifest["kind"] in ("Job", "ConfigMap"):
                stage = action.manifest["metadata"]["labels"]["serin.dev/stage"]
                found.setdefault(stage, {})[action.manifest["kind"]] = action.manifest
        world.act(decision)
        for run in world.running():
            world.finish(run)
    return found


def refused(world: World, reason: str = "CopyAccessDenied", code: int = 65) -> None:
    [run] = world.running()
    said = StageResult(
        stage="Copy", key=run.key, outcome=StageOutcome.FAILED, reason=reason, message="no", advice="do", output={}
    )
    world.fail(run, exit_code=code, result=said)
    look(world)


def test_without_a_bucket_nothing_is_copied_and_nothing_is_said_of_it() -> None:
    world = play(World())
    assert created(world) == ["prepare", "train", "consolidate", "evaluate"]
    assert condition(world, "Copied") is None


def test_the_model_is_copied_before_it_is_judged() -> None:
    world = until_it_copies(World(spec=COPIED))
    assert world.status["state"] == "Copying"
    assert "gate" not in next(iter(world.revisions.values())).get("status", {})
    play(world)
    assert created(world) == ["prepare", "train", "consolidate", "copy", "evaluate"]
    found = condition(world, "Copied")
    assert found is not None
    assert (found["status"], found["reason"]) == ("True", "Succeeded")
    assert world.status["state"] == "Passed"


def test_only_the_pod_that_copies_is_given_the_credentials_and_it_is_told_what_to_copy() -> None:
    found = made(World(spec={**COPIED, "method": {"type": "LoRA", "adapter": "Kept"}}))
    given = {
        stage: "SERIN_SECRET_STORE__AWS_SECRET_ACCESS_KEY" in json.dumps(one["Job"]) for stage, one in found.items()
    }
    assert given == {stage.lower(): stage is StageName.COPY for stage in StageName}
    believed = {stage for stage, one in found.items() if "serin-authorities/configmap-ours" in json.dumps(one["Job"])}
    assert believed == {"copy"}
    config = json.loads(found["copy"]["ConfigMap"]["data"]["config.json"])
    assert config["to"]["uri"] == "s3://models/bots/"
    assert config["model"]["digest"] == MODEL_DIGEST
    assert config["model"]["base"]["uri"] == "pvc://models/base"
    pod = found["copy"]["Job"]["spec"]["template"]["spec"]
    assert {v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v} == {
        "artifacts", "models",
    }  # fmt: skip


def test_a_copy_makes_no_other_data_and_no_other_model() -> None:
    with_it, without = (FineTuneJob.model_validate(job_manifest(**spec)).spec for spec in (COPIED, NOT_COPIED))
    assert prepare_key(with_it) == prepare_key(without)
    assert train_key(with_it, "b", "d") == train_key(without, "b", "d")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"secretRef": {"name": "another"}}, True),
        ({"s3": {**TO["s3"], "caRef": {"name": "another"}}}, True),
        ({"uri": "s3://models/others"}, False),
        ({"s3": {**TO["s3"], "endpoint": "https://elsewhere:9000"}}, False),
    ],
)
def test_a_copy_is_another_one_in_another_place_and_not_by_another_hand(change: dict[str, Any], same: bool) -> None:
    keys = [copy_key(MODEL_DIGEST, CopyTo.model_validate(TO | more)) for more in ({}, change)]
    assert (keys[0] == keys[1]) is same


def test_a_bucket_that_is_named_later_gets_the_model_and_nothing_is_trained_again() -> None:
    world = play(World())
    world.revisions[world.status["revision"]]["status"]["rollout"] = {"promotedAt": NOON}
    look(world)
    assert world.status["state"] == "Promoted"
    world.spec, world.generation = COPIED, 2
    play(world)
    assert created(world) == ["prepare", "train", "consolidate", "evaluate", "copy"]
    assert world.status["state"] == "Promoted"
    found = condition(world, "Copied")
    assert found is not None
    assert found["status"] == "True"


def test_a_model_that_an_earlier_job_made_is_copied_as_well() -> None:
    first = play(World())
    again = World(spec=COPIED, revisions=first.revisions)
    play(again)
    assert created(again) == ["prepare", "copy", "evaluate"]
    config = [e for e in again.status["stages"] if e["name"] == "Copy"]
    assert config[0]["outcome"] == "Succeeded"


def test_a_bucket_that_refuses_is_told_and_tried_again_by_itself() -> None:
    world = until_it_copies(World(spec=COPIED))
    refused(world)
    assert world.status["state"] == "Waiting"
    found = condition(world, "Copied")
    assert found is not None
    assert (found["status"], found["reason"]) == ("False", "CopyAccessDenied")
    assert "no; do; looked at again at" in found["message"]
    assert "evaluate" not in created(world)
    world.now += timedelta(seconds=61)
    play(world)
    assert created(world) == ["prepare", "train", "consolidate", "copy", "copy", "evaluate"]
    assert world.status["state"] == "Passed"


def test_a_bucket_that_refuses_a_promoted_model_takes_nothing_from_it() -> None:
    world = play(World())
    world.revisions[world.status["revision"]]["status"]["rollout"] = {"promotedAt": NOON}
    world.spec, world.generation = COPIED, 2
    until_it_copies(world)
    refused(world)
    assert world.status["state"] == "Promoted"
    found = condition(world, "Copied")
    assert found is not None
    assert found["reason"] == "CopyAccessDenied"


def test_a_secret_that_is_missing_is_told_with_its_field() -> None:
    world = until_it_copies(World(spec=COPIED))
    [run] = world.running()
    world.runs[run.name] = replace(run, waiting='CreateContainerConfigError: secret "store" not found')
    look(world)
    found = condition(world, "Copied")
    assert found is not None
    assert found["reason"] == "SecretNotFound"
    assert "spec.artifacts.copyTo.secretRef names the Secret 'store'" in found["message"]


def test_the_revision_says_how_large_the_model_is() -> None:
    world = play(World(), sizeBytes=15_000_000)
    [revision] = world.revisions.values()
    assert revision["spec"]["artifact"]["sizeBytes"] == 15_000_000
