"""What the operator writes is what the images read, and the other way round: both sides' own models, held together.

The schemas in tests/golden/contract pin the images' side over time; this pins the two sides to each other today.
"""

import json
import re
from typing import Any

import pytest
import serin_evaluator.config
import serin_server.config
import serin_trainer.config
from pydantic import TypeAdapter
from serin_operator.api.contract import (
    Base,
    ConsolidateOutput,
    CopyOutput,
    EvaluateOutput,
    PrepareOutput,
    ServeConfig,
    ServedModel,
    TrainOutput,
    parse_result,
)
from serin_operator.api.v1alpha1 import ModelRevision, ModelService, StageName, deepspeed
from serin_operator.decide.decision import Create
from serin_operator.decide.job import decide_job
from serin_operator.manifests.serving import Serving, config_map
from serin_trainer.fetch import _way  # pyright: ignore[reportPrivateUsage]
from support.jobs import COPIED, World, a_gate, an_evaluation
from support.jobs import a_service as job_side_service
from support.objects import FULL, PROVIDED
from support.service_world import NOON, a_revision, a_service

READERS = {
    StageName.PREPARE: serin_trainer.config.PrepareConfig,
    StageName.TRAIN: serin_trainer.config.TrainConfig,
    StageName.CONSOLIDATE: serin_trainer.config.ConsolidateConfig,
    StageName.COPY: serin_trainer.config.CopyConfig,
    StageName.EVALUATE: serin_evaluator.config.EvaluateConfig,
}
SPECS: dict[str, dict[str, Any]] = {
    "as short as it gets": {},
    "parts that are provided": {"data": PROVIDED},
    "an evaluation that pods share": {"evaluation": {"parallelism": 3}},
    "rows that are cut": {"data": FULL["FineTuneJob"]["spec"]["data"]},
    "LoRA": {"method": {"type": "LoRA", "lora": {"rank": 4, "alpha": 8, "targetModules": ["q_proj"], "dropout": "0.1"}}},
    "FP16 on accelerators, and a batch for all": {
        "hyperparameters": {"globalBatchSize": 64, "batchSize": 4, "precision": "FP16", "gradientCheckpointing": True,
                            "warmupSteps": 20},
        "distribution": {"nodes": 2, "processesPerNode": 4, "resources": {"limits": {"nvidia.com/gpu": 4}}},
    },
    "ZeRO with offload and settings of its own": {
        "distribution": {"deepspeed": {"zeroStage": 3, "offload": "OptimizerAndParameters",
                                       "configOverride": {"zero_optimization.overlap_comm": "true"}}},
    },
    "IA3": {"method": {"type": "IA3", "ia3": {"targetModules": ["q_proj"], "feedforwardModules": []}}},
    "IA3 by its defaults": {"method": {"type": "IA3"}},
    "an adapter that is kept, of a model on the hub": {
        "method": {"type": "LoRA", "adapter": "Kept"}, "baseModel": {"uri": "hf://org/base"},
    },
    "a method that is chosen": {"method": {"type": "Auto", "auto": {"deviceMemory": "80Gi"}}},
    "LoRA by its defaults": {"method": {"type": "LoRA"}},
    "a learned prompt by its defaults": {"method": {"type": "PromptTuning"}},
    "QLoRA by its defaults": {"method": {"type": "QLoRA"}},
    "an adapter that is kept, and copied to a bucket": {**COPIED, "method": {"type": "LoRA", "adapter": "Kept"}},
    "from buckets and a hub": {
        "baseModel": {"uri": "s3://models/base", "s3": {"endpoint": "http://minio:9000", "region": "eu-1"},
                      "secretRef": {"name": "store"}},
        "data": {"train": [
            {"name": "a", "uri": "s3://rows/a/", "s3": {"addressing": "VirtualHosted"}, "secretRef": {"name": "store"}},
            {"name": "b", "uri": "hf://datasets/a/b/c.csv", "secretRef": {"name": "hub"}},
            {"name": "c", "uri": "s3://rows/c.parquet"},
        ]},
    },
    "told to a server that asks for no credentials": {
        "tracking": {"mlflow": {"uri": "http://mlflow.ml:5000", "experiment": "bot"}},
    },
    "written for W&B": {"tracking": {"wandb": {"project": "bot", "mode": "Offline"}}},
    "a store with an authority of its own": {
        "baseModel": {"uri": "s3://models/base", "s3": {"endpoint": "https://minio:9000", "caRef": {"name": "ours"}}},
    },
    "told to W&B alone": {"tracking": {"wandb": {"project": "bot", "secretRef": {"name": "wandb"}}}},
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
        "tracking": FULL["FineTuneJob"]["spec"]["tracking"],
    },
}  # fmt: skip


def configs(**spec: Any) -> dict[StageName, dict[str, Any]]:
    """The config of every stage as the operator writes it into the pod's ConfigMap."""
    world = World(spec=spec, gates={"quality": a_gate(comparedTo="Incumbent", maxRegression="0.1")})
    world.claims = world.claims | {"d"}
    world.service = job_side_service()
    found: dict[StageName, dict[str, Any]] = {}
    for _ in range(17):
        decision = decide_job(world.snapshot())
        for action in decision.actions:
            if isinstance(action, Create) and action.manifest["kind"] == "ConfigMap":
                config = json.loads(action.manifest["data"]["config.json"])
                found[StageName(config["stage"])] = config
        world.act(decision)
        for run in world.running():
            copied = run.stage is StageName.PREPARE and "baseModel" in spec
            auto = run.stage is StageName.PREPARE and spec.get("method", {}).get("type") == "Auto"
            told = {"baseModelUri": "pvc://artifacts/ml/bot/prepare/base"} if copied else {}
            world.finish(run, **told, **({"method": "LoRA", "methodReason": "it fits"} if auto else {}))
    return found


@pytest.mark.parametrize("stage", StageName)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_the_image_reads_what_the_operator_writes(spec: dict[str, Any], stage: StageName) -> None:
    READERS[stage].model_validate(
        configs(**{**COPIED, **spec})[stage]
    )  # extra="forbid" over there: nothing is accepted and ignored


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
    based = config.model.model_copy(update={"base": Base(uri="pvc://a/base", digest="sha256:" + "1" * 64)})
    read = serin_server.config.ServeConfig.model_validate(config.model_copy(update={"model": based}).dump())
    assert read.model.base is not None


@pytest.mark.parametrize(
    "weights",
    [
        {"uri": "hf://team/bots", "secretRef": {"name": "hub"}},
        {"uri": "s3://models", "s3": {"endpoint": "https://minio:9000", "caRef": {"name": "ours"}}},
    ],
)
def test_who_fetches_and_who_serves_read_what_the_operator_writes(weights: dict[str, Any]) -> None:
    service, revision = a_service(), a_revision("a", NOON)
    service["spec"]["runtime"]["weights"] = weights
    revision["spec"]["artifact"]["base"] = {"uri": "pvc://models/base", "digest": "sha256:" + "1" * 64}
    wish = Serving(ModelService.model_validate(service), ModelRevision.model_validate(revision), "server:1", "Always")
    files = config_map(wish)["data"]
    fetched = serin_trainer.config.FetchConfig.model_validate_json(files["fetch.json"])
    served = serin_server.config.ServeConfig.model_validate_json(files["config.json"]).model
    assert served.base is not None
    for model, placed in zip(fetched.models, (served, served.base), strict=True):
        assert placed.path == f"{fetched.output}/{model.folder}"
        assert placed.digest == model.digest
        assert placed.uri == _way(fetched, model)[0]


GOLDEN_OUTPUTS = {
    "prepare": PrepareOutput,
    "train": TrainOutput,
    "consolidate": ConsolidateOutput,
    "copy": CopyOutput,
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


OUTPUTS = {"PrepareOutput", "TrainOutput", "ConsolidateOutput", "CopyOutput", "Output"}


@pytest.mark.parametrize("stage", GOLDEN_OUTPUTS)
def test_what_the_image_may_leave_null_the_operator_reads_as_null(stage: str, request: pytest.FixtureRequest) -> None:
    golden = request.config.rootpath / "tests/golden/contract" / f"{stage}.result.schema.json"
    definitions = json.loads(golden.read_text())["$defs"]
    [promised] = [one["properties"] for name, one in definitions.items() if name in OUTPUTS]
    read = {field.alias or name: field for name, field in GOLDEN_OUTPUTS[stage].model_fields.items()}
    nullable = [name for name, kind in promised.items() if {"type": "null"} in kind.get("anyOf", ()) and name in read]
    assert stage not in ("prepare", "train") or nullable
    for name in nullable:
        assert TypeAdapter(read[name].annotation).validate_python(None) is None, name


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


def test_both_sides_guard_the_same_settings_of_deepspeed() -> None:
    assert serin_trainer.config.MADE_FROM == deepspeed.MADE_FROM
    ours = re.compile(deepspeed.FREE)
    for name in ["zero_optimization.overlap_comm", "fp16.hysteresis", "sparse_gradients", "fp16.enabled", "optimizer",
                 "zero_optimization.offload_param.device", "tensorboard.output_path", "zero_optimizationXstage"]:  # fmt: skip
        assert bool(ours.fullmatch(name)) == bool(serin_trainer.config.FREE.fullmatch(name)), name
