"""An adapter that is kept: one training for both forms, a revision that names its base, and pods that read both."""

import json
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import FineTuneJobSpec, ModelService, StageName
from serin_operator.decide.decision import Create
from serin_operator.decide.job.loop import decide_job
from serin_operator.decide.keys import model_key, prepare_key, train_key
from support.jobs import BASE_DIGEST, MODEL_DIGEST, World, a_service
from support.objects import MINIMAL

KEPT = {"type": "LoRA", "adapter": "Kept"}
BASE = {"uri": "pvc://models/base", "digest": BASE_DIGEST}


def spec(**given: Any) -> FineTuneJobSpec:
    return FineTuneJobSpec.model_validate({**MINIMAL["FineTuneJob"]["spec"], **given})


def configs(world: World, **prepared: Any) -> dict[StageName, dict[str, Any]]:
    """What each stage's pod is told, from the first look to the last."""
    found: dict[StageName, dict[str, Any]] = {}
    for _ in range(14):
        decision = decide_job(world.snapshot())
        for action in decision.actions:
            if isinstance(action, Create) and action.manifest["kind"] == "ConfigMap":
                config = json.loads(action.manifest["data"]["config.json"])
                found[StageName(config["stage"])] = config
        world.act(decision)
        for run in world.running():
            world.finish(run, **(prepared if run.stage is StageName.PREPARE else {}))
    return found


def test_what_becomes_of_an_adapter_is_no_part_of_its_training() -> None:
    merged, kept = spec(method={"type": "LoRA"}), spec(method=KEPT)
    trained = train_key(merged, "sha256:b", "sha256:d")
    assert trained == train_key(kept, "sha256:b", "sha256:d")
    assert trained == train_key(spec(method={"type": "LoRA", "adapter": "Merged"}), "sha256:b", "sha256:d")
    assert model_key(trained, merged.method) != model_key(trained, kept.method)


def test_a_base_on_the_hub_is_copied_for_the_servers_and_only_for_them() -> None:
    hub = {"uri": "hf://org/base@main"}
    assert prepare_key(spec(baseModel=hub, method=KEPT)) != prepare_key(spec(baseModel=hub))
    assert prepare_key(spec(method=KEPT)) == prepare_key(spec())
    private = {**hub, "secretRef": {"name": "hub"}}  # copied in any case
    assert prepare_key(spec(baseModel=private, method=KEPT)) == prepare_key(spec(baseModel=private))


def test_the_revision_names_the_base_and_the_evaluator_reads_both() -> None:
    world = World(spec={"method": KEPT})
    found = configs(world)
    assert found[StageName.CONSOLIDATE]["method"]["adapter"] == "Kept"
    candidate, base = found[StageName.EVALUATE]["models"]
    assert candidate == {
        "role": "Candidate", "uri": "pvc://artifacts/ml/bot/model", "digest": MODEL_DIGEST, "base": BASE,
    }  # fmt: skip
    assert base == {"role": "Base", **BASE}
    [revision] = world.revisions.values()
    assert revision["spec"]["artifact"]["base"] == BASE


def test_the_copy_is_the_base_where_prepare_made_one() -> None:
    world = World(spec={"method": KEPT, "baseModel": {"uri": "hf://org/base"}})
    copy = "pvc://artifacts/ml/bot/prepare/base"
    found = configs(world, baseModelUri=copy)
    assert found[StageName.PREPARE]["copyBase"] is True
    assert found[StageName.EVALUATE]["models"][0]["base"] == {"uri": copy, "digest": BASE_DIGEST}


def test_a_merged_one_has_no_base() -> None:
    world = World(spec={"method": {"type": "LoRA"}})
    found = configs(world)
    assert "base" not in found[StageName.EVALUATE]["models"][0]
    assert found[StageName.PREPARE]["copyBase"] is False
    [revision] = world.revisions.values()
    assert "base" not in revision["spec"]["artifact"]


def test_to_keep_what_was_merged_trains_nothing_again() -> None:
    world = World(spec={"method": {"type": "LoRA"}})
    configs(world)
    before = len(world.created)
    world.spec, world.generation = {"method": KEPT}, 2
    found = configs(world)
    assert {StageName.CONSOLIDATE} <= found.keys() <= {StageName.CONSOLIDATE, StageName.EVALUATE}
    assert not any("-train-" in name for name in world.created[before:])


def test_a_job_that_was_applied_again_finds_its_adapter_with_its_base() -> None:
    world = World(spec={"method": KEPT})
    configs(world)
    again = World(spec={"method": KEPT}, revisions=world.revisions)
    assert configs(again).keys() <= {StageName.PREPARE, StageName.EVALUATE}
    decision = decide_job(again.snapshot())
    assert "reuses" in str(decision.statuses) or again.status["modelDigest"] == MODEL_DIGEST
    assert [one["spec"]["artifact"]["base"] for one in again.revisions.values()] == [BASE]


@pytest.mark.parametrize(
    ("engine", "starts"),
    [
        ({"engine": "CPU"}, True),
        ({"engine": "VLLM", "vllm": {"image": "vllm/vllm-openai:v1"}}, False),
        ({"engine": "Custom", "custom": {"image": "tgi:1"}}, False),
    ],
    ids=["CPU", "VLLM", "Custom"],
)
def test_an_engine_that_serves_no_adapter_is_told_before_anything_starts(engine: dict[str, Any], starts: bool) -> None:
    manifest = a_service().model_dump(by_alias=True)
    manifest["spec"]["runtime"] |= engine
    world = World(spec={"method": KEPT}, service=ModelService.model_validate(manifest))
    world.act(decide_job(world.snapshot()))
    assert bool(world.created) == starts
    assert ("adapter: Merged" in world.status["message"]) != starts
