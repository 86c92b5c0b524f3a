"""What the operator writes is what the images read, and the other way round: both sides' own models, held together.

The schemas in tests/golden/contract pin the images' side over time; this pins the two sides to each other today.
"""

import json
from typing import Any

import pytest
import serin_evaluator.config
import serin_server.config
import serin_trainer.config
from serin_operator.api.contract import (
    ConsolidateOutput,
    EvaluateOutput,
    PrepareOutput,
    ServeConfig,
    ServedModel,
    TrainOutput,
    parse_result,
)
from serin_operator.api.v1alpha1 import StageName
from serin_operator.decide.decision import Create
from serin_operator.decide.job import decide_job
from support.jobs import World, a_gate, an_evaluation
from support.jobs import a_service as job_side_service
from support.objects import FULL, PROVIDED

READERS = {
    StageName.PREPARE: serin_trainer.config.PrepareConfig,
    StageName.TRAIN: serin_trainer.config.TrainConfig,
    StageName.CONSOLIDATE: serin_trainer.config.ConsolidateConfig,
    StageName.EVALUATE: serin_evaluator.config.EvaluateConfig,
}
SPECS: dict[str, dict[str, Any]] = {
    "as short as it gets": {},
    "parts that are provided": {"data": PROVIDED},
    "rows that are cut": {"data": FULL["FineTuneJob"]["spec"]["data"]},
    "LoRA": {"method": {"type": "LoRA", "lora": {"rank": 4, "alpha": 8, "targetModules": ["q_proj"], "dropout": "0.1"}}},
    "LoRA by its defaults": {"method": {"type": "LoRA"}},
    "everything said": {
        "data": {
            "train": [{"name": "a", "uri": "pvc://d/a.jsonl", "format": "Text", "weightPercent": 90},
                      {"name": "b", "uri": "hf://datasets/a/b@main/c.parquet", "weightPercent": 10}],
            "mixing": "Repeat",
            "split": {"strategy": "Temporal", "field": "at", "trainPercent": 70, "validationPercent": 15,
                      "testPercent": 15, "seed": 1, "minValidationRows": 1, "minTestRows": 2},
            "cleaning": {"minTokens": 2, "languages": ["en"],
                         "nearDuplicates": {"action": "Keep", "similarityPercent": 70}},
            "rowEnding": "Newline",
        },
        "hyperparameters": {
            "learningRate": "1e-3", "epochs": 2, "maxSteps": 10, "batchSize": 2, "gradientAccumulationSteps": 2,
            "scheduler": "Constant", "warmupRatio": "0.1", "weightDecay": "0.01", "maxGradientNorm": "0.5",
            "maxSequenceLength": 64, "saveSteps": 5, "seed": 3,
        },
        "distribution": {"nodes": 4, "processesPerNode": 2, "deepspeed": {"zeroStage": 3}, "maxRestarts": 1},
        "earlyStopping": {"patience": 2, "minDelta": "0.01", "minSteps": 10},
        "health": {"lossExplosion": "Stop", "explosionFactor": "3", "overfitting": "Stop", "overfittingPercent": 5,
                   "hungAfterSeconds": 60},
    },
}  # fmt: skip


def configs(**spec: Any) -> dict[StageName, dict[str, Any]]:
    """The config of every stage as the operator writes it into the pod's ConfigMap."""
    world = World(spec=spec, gates={"quality": a_gate(comparedTo="Incumbent", maxRegression="0.1")})
    world.claims = world.claims | {"d"}
    world.service = job_side_service()
    found: dict[StageName, dict[str, Any]] = {}
    for _ in range(14):
        decision = decide_job(world.snapshot())
        for action in decision.actions:
            if isinstance(action, Create) and action.manifest["kind"] == "ConfigMap":
                config = json.loads(action.manifest["data"]["config.json"])
                found[StageName(config["stage"])] = config
        world.act(decision)
        for run in world.running():
            world.finish(run)
    return found


@pytest.mark.parametrize("stage", StageName)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_the_image_reads_what_the_operator_writes(spec: dict[str, Any], stage: StageName) -> None:
    READERS[stage].model_validate(configs(**spec)[stage])  # extra="forbid" over there: nothing is accepted and ignored


def test_the_server_reads_what_the_operator_writes() -> None:
    config = ServeConfig(
        stage="Serve",
        key="0" * 16,
        job={"namespace": "ml", "name": "bot"},  # type: ignore[arg-type]
        output="",
        model=ServedModel(uri="pvc://a/m", digest="sha256:" + "0" * 64, name="bot"),
        revision="bot-0",
        port=8000,
        max_new_tokens=16,
    )
    serin_server.config.ServeConfig.model_validate(config.dump())


GOLDEN_OUTPUTS = {
    "prepare": PrepareOutput,
    "train": TrainOutput,
    "consolidate": ConsolidateOutput,
    "evaluate": EvaluateOutput,
}


@pytest.mark.parametrize("stage", GOLDEN_OUTPUTS)
def test_every_field_that_the_operator_needs_is_promised_by_the_image(
    stage: str, request: pytest.FixtureRequest
) -> None:
    golden = request.config.rootpath / "tests/golden/contract" / f"{stage}.result.schema.json"
    promised = json.loads(golden.read_text())["$defs"]
    names = {name for definition in promised.values() for name in definition.get("properties", {})}
    needed = {field.alias or name for name, field in GOLDEN_OUTPUTS[stage].model_fields.items() if field.is_required()}
    assert needed <= names


def test_a_result_is_read_as_the_images_write_it() -> None:
    document = {
        "stage": "Evaluate", "key": "k", "outcome": "Succeeded", "reason": "Succeeded", "message": "measured",
        "advice": "", "output": an_evaluation(),
    }  # fmt: skip
    result = parse_result(json.dumps(document))
    assert result is not None
    assert EvaluateOutput.model_validate(result.output).scores[0].n == 100


@pytest.mark.parametrize("text", ["", "Traceback …", "[]", "{}", '{"stage": "Prepare"}', "null", "1"])
def test_a_log_tail_is_no_result(text: str) -> None:
    assert parse_result(text) is None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            '{"stage": "Train", "key": "k", "outcome": "Succeeded", "reason": "r", "message": "m", "output": {"x": NaN}}',
            id="a number that no status can hold",
        ),
        pytest.param("[" * 4096, id="deeper than the reader goes"),
        pytest.param("", id="nothing"),
        pytest.param("null", id="no object"),
    ],
)
def test_what_is_no_result_is_none(text: str) -> None:
    assert parse_result(text) is None
