"""What a tracking server is told of a run: the settings as they take effect, and where the model comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from serin_trainer import facts
from serin_trainer.config import TrainConfig
from serin_trainer.train import Plan
from support.training import DIGEST, LORA, TRAIN, changed


def plan(**changes: Any) -> Plan:
    given = {name.replace("__", "."): value for name, value in changes.items()}
    config = TrainConfig.model_validate(changed(TRAIN, given))
    return Plan(config, Path("out"), "fp32", config.world, 8, [], [], "3e-4", "by the model's size")


def test_settings_are_told_as_they_take_effect() -> None:
    told = facts.of_the_run(plan(hyperparameters__learningRate=None, hyperparameters__warmupRatio="0.5", method=LORA))
    assert {name: value for name, value in told.items() if name.startswith("hyperparameters.")} == {
        "hyperparameters.learningRate": "3e-4",
        "hyperparameters.maxSteps": "8",
        "hyperparameters.batchSize": "8",
        "hyperparameters.gradientAccumulationSteps": "1",
        "hyperparameters.scheduler": "Constant",
        "hyperparameters.warmupSteps": "4",
        "hyperparameters.weightDecay": "0.0",
        "hyperparameters.maxGradientNorm": "1.0",
        "hyperparameters.seed": "7",
        "hyperparameters.maxSequenceLength": "64",
        "hyperparameters.saveSteps": "4",
        "hyperparameters.precision": "fp32",
        "hyperparameters.gradientCheckpointing": "false",
        "hyperparameters.steps": "8",
        "hyperparameters.rowsPerStep": "16",
    }
    assert (told["method.type"], told["method.lora.targetModules"]) == ("LoRA", "q_proj,v_proj")
    assert (told["distribution.processesPerNode"], told["distribution.zeroStage"]) == ("2", "2")
    assert "earlyStopping.patience" not in told


def test_lineage_names_the_model_by_where_it_came_from() -> None:
    copied = {"uri": "pvc://artifacts/base", "digest": DIGEST, "source": "hf://team/model@main"}
    told = facts.of_the_run(plan(baseModel=copied))
    lineage = {"baseModel": "hf://team/model@main", "baseModelDigest": DIGEST, "dataDigest": DIGEST}
    assert {"job": "ml/support-bot", "trainKey": "4f00bb", **lineage}.items() <= told.items()


def test_another_attempt_says_the_same_of_the_run_and_its_own_of_itself() -> None:
    first, second = plan(), plan(attempt=2)
    assert facts.of_the_run(first) == facts.of_the_run(second)
    told = facts.of_the_attempt(second.config)
    assert (told["serin.attempt"], told["serin.processes"]) == ("2", "2")
    assert told["serin.code"].startswith("sha256:")


def test_no_credential_and_no_address_of_the_server_is_among_them() -> None:
    mlflow = {"uri": "https://mlflow", "experiment": "bot", "secret": "tracker", "authentication": "Token"}
    tracked = plan(tracking={"run": "uid-4f00bb", "mlflow": mlflow})
    assert facts.of_the_run(tracked) == facts.of_the_run(plan())


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": {"b": 1}, "c": None, "d": ""}, {"a.b": "1"}),
        ({"a": [1, "x"], "b": [], "c": False}, {"a": "1,x", "c": "false"}),
        ({}, {}),
    ],
)
def test_fields_have_their_paths_and_what_is_absent_has_none(value: Any, told: dict[str, str]) -> None:
    assert facts.flat(value) == told
