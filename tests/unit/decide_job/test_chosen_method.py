"""`method.type: Auto`: chosen by Prepare, and from then on the job of somebody who named the method."""

import json
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import FineTuneJobSpec, StageName
from serin_operator.decide.decision import Create
from serin_operator.decide.job.loop import decide_job
from serin_operator.decide.keys import prepare_key, train_key
from support.jobs import BASE_DIGEST, DATA_DIGEST, World
from support.objects import MINIMAL

GPU = {"type": "Auto", "auto": {"deviceMemory": "80Gi"}}
LIMITS = {"distribution": {"processesPerNode": 2, "resources": {"limits": {"cpu": "4", "memory": "16Gi"}}}}
WHY = "LoRA was chosen: full fine-tuning with ZeRO 2 takes about 104.3 GiB a process"


def spec(**given: Any) -> FineTuneJobSpec:
    return FineTuneJobSpec.model_validate({**MINIMAL["FineTuneJob"]["spec"], **given})


def configs(world: World, **prepared: Any) -> dict[StageName, dict[str, Any]]:
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


@pytest.mark.parametrize(
    ("given", "mib"),
    [
        pytest.param({"method": GPU}, 80 * 1024, id="of an accelerator"),
        pytest.param({"method": {"type": "Auto"}, **LIMITS}, 8 * 1024, id="of a pod that two processes share"),
        pytest.param({"method": {"type": "LoRA"}, **LIMITS}, None, id="nothing to choose"),
    ],
)
def test_prepare_is_told_how_much_memory_there_is(given: dict[str, Any], mib: int | None) -> None:
    world = World(spec=given)
    found = configs(world)
    assert found[StageName.PREPARE]["training"].get("deviceMib") == mib


@pytest.mark.parametrize("chosen", ["LoRA", "QLoRA"])
def test_what_was_chosen_is_trained_and_recorded_with_its_reason(chosen: str) -> None:
    lora = {"rank": 4, "alpha": 8, "targetModules": ["q_proj"], "dropout": "0.1"}
    world = World(spec={"method": {**GPU, "lora": lora}})
    found = configs(world, method=chosen, methodReason=WHY)
    assert found[StageName.TRAIN]["method"] == {"type": chosen, "lora": lora}
    assert found[StageName.CONSOLIDATE]["method"] == {"type": chosen, "lora": lora}
    assert found[StageName.CONSOLIDATE]["lineage"]["methodReason"] == WHY
    [revision] = world.revisions.values()
    named = spec(method={"type": chosen, "lora": lora}, distribution={"nodes": 2, "processesPerNode": 1})
    assert revision["spec"]["lineage"]["trainKey"] == train_key(named, BASE_DIGEST, DATA_DIGEST)


def test_full_fine_tuning_has_no_adapters_settings() -> None:
    world = World(spec={"method": {**GPU, "lora": {"rank": 4}}})
    assert configs(world, method="Full", methodReason="it fits")[StageName.TRAIN]["method"] == {"type": "Full"}


@pytest.mark.parametrize(
    "given",
    [
        {"method": {"type": "Auto", "auto": {"deviceMemory": "24Gi"}}},
        {"method": GPU, "hyperparameters": {"batchSize": 1}},
        {"method": GPU, "hyperparameters": {"gradientCheckpointing": True}},
        {"method": GPU, "distribution": {"deepspeed": {"zeroStage": 3}}},
        {"method": GPU, "distribution": {"nodes": 4}},
    ],
    ids=str,
)
def test_what_the_choice_depends_on_is_prepared_anew(given: dict[str, Any]) -> None:
    assert prepare_key(spec(**given)) != prepare_key(spec(method=GPU))


def test_nothing_else_is() -> None:
    assert prepare_key(spec(method=GPU, hyperparameters={"learningRate": "1e-4"})) == prepare_key(spec(method=GPU))
    for fixed in ({"type": "LoRA"}, {"type": "IA3"}):
        assert prepare_key(spec(method=fixed, distribution={"nodes": 4})) == prepare_key(spec())


def test_a_prompt_is_learned_from_rows_that_are_not_packed_and_what_comes_of_it_is_kept() -> None:
    world = World(spec={"method": {"type": "PromptTuning"}})
    found = configs(world)
    assert found[StageName.PREPARE]["data"]["packing"] == "None"
    assert found[StageName.TRAIN]["method"] == {"type": "PromptTuning", "promptTuning": {"virtualTokens": 20}}
    [revision] = world.revisions.values()
    assert revision["spec"]["artifact"]["base"]["digest"] == BASE_DIGEST
    prompt = {"method": {"type": "PromptTuning"}}
    assert prepare_key(spec(**prompt)) != prepare_key(spec())
    assert prepare_key(
        spec(**prompt, data={**MINIMAL["FineTuneJob"]["spec"]["data"], "packing": "None"})
    ) == prepare_key(spec(data={**MINIMAL["FineTuneJob"]["spec"]["data"], "packing": "None"}))
