"""Runs that end before their last step, and runs that are warned of: real training, whose losses go where they should not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

# A rate at which the loss jumps up after a few steps, and stays there.
TOO_FAST = {
    "hyperparameters__learningRate": "3e-1",
    "hyperparameters__maxSteps": 40,
    "distribution__processesPerNode": 1,
}


@pytest.fixture(scope="module")
def stopped(claims: Any, prepared: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    config = claims.train_config(
        prepared,
        key="4f00c1",
        output="pvc://artifacts/train-early",
        hyperparameters__saveSteps=2,
        checkpoints={"keepRecent": 1, "keepBest": 1, "consolidate": "Best"},
        earlyStopping={"patience": 2, "minDelta": "0.0", "minSteps": 6},
        **TOO_FAST,
    )
    return config, claims.run(config)


def test_training_ends_when_the_validation_loss_falls_no_more(claims: Any, stopped: Any) -> None:
    config, result = stopped
    output = result["output"]
    assert output["stoppedEarly"] is True
    assert 6 <= output["steps"] < 40
    assert f"stopped early at step {output['steps']}: the validation loss did not fall" in result["message"]
    names = {path.name for path in claims.path(config["output"]).glob("checkpoint-*")}
    best = Path(output["checkpointUri"]).name
    assert names == {f"checkpoint-{output['steps']}", best}
    assert int(best.removeprefix("checkpoint-")) < output["steps"]


def test_an_attempt_that_finds_the_run_ended_early_only_reports_it(claims: Any, stopped: Any) -> None:
    config, result = stopped
    again = {**config, "key": "4f00c2", "output": "pvc://artifacts/train-early-again", "attempt": 2}
    shutil.copytree(claims.path(config["output"]), claims.path(again["output"]))
    (claims.path(again["output"]) / "result.json").unlink()
    second = claims.run(again)
    for field in ("steps", "stoppedEarly", "trainLossFirst", "trainLossLast", "evalLoss", "tokens"):
        assert second["output"][field] == result["output"][field]
    assert second["output"]["resumedFromStep"] == result["output"]["steps"]


def test_an_exploded_loss_is_warned_of_while_the_run_goes_on(claims: Any, prepared: dict[str, Any]) -> None:
    config = claims.train_config(
        prepared,
        key="4f00c3",
        output="pvc://artifacts/train-warned",
        hyperparameters__saveSteps=40,
        health={"lossExplosion": "Warn", "explosionFactor": "1.1", "overfitting": "Ignore", "overfittingPercent": 10},
        **TOO_FAST,
    )
    result = claims.run(config)
    assert result["output"]["steps"] == 40
    assert [warning["reason"] for warning in result["output"]["warnings"]] == ["LossExploded"]
    assert "the training loss exploded" in result["message"]
    assert "warning: LossExploded: the training loss exploded" in result["log"]


def test_an_exploded_loss_ends_the_run_where_the_job_says_so(claims: Any, prepared: dict[str, Any]) -> None:
    config = claims.train_config(
        prepared,
        key="4f00c4",
        output="pvc://artifacts/train-exploded",
        hyperparameters__saveSteps=40,
        health={"lossExplosion": "Stop", "explosionFactor": "1.1", "overfitting": "Ignore", "overfittingPercent": 10},
        **TOO_FAST,
    )
    result = claims.run(config, expect=64)
    assert result["reason"] == "LossExploded"
    assert "lower learningRate" in result["advice"]
