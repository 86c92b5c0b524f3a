"""Hyperparameters as the libraries take them: real runs of a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Losses = Callable[[dict[str, Any]], list[float]]


def _logged(claims: Any, config: dict[str, Any], name: str) -> list[float]:
    newest = max(claims.path(config["output"]).glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    history = json.loads((newest / "trainer_state.json").read_text())["log_history"]
    return [entry[name] for entry in history if name in entry]


@pytest.mark.parametrize("stage", [2, 3])
def test_computing_activations_again_changes_no_loss(
    claims: Any, prepared: dict[str, Any], full_run: Any, losses: Losses, stage: int
) -> None:
    config = claims.train_config(
        prepared,
        key=f"4f01a{stage}",
        output=f"pvc://artifacts/train-again-{stage}",
        hyperparameters__gradientCheckpointing=True,
        distribution__zeroStage=stage,
    )
    result = claims.run(config)
    assert "activations computed again" in result["log"]
    assert losses(config) == pytest.approx(losses(full_run[0]), rel=1e-4)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_global_batch_decides_the_losses_not_the_number_of_processes(
    claims: Any, prepared: dict[str, Any], full_run: Any, losses: Losses, processes: int
) -> None:
    config = claims.train_config(
        prepared,
        key=f"4f01b{processes}",
        output=f"pvc://artifacts/train-global-{processes}",
        hyperparameters__globalBatchSize=16,
        hyperparameters__batchSize=8,
        distribution__processesPerNode=processes,
    )
    result = claims.run(config)
    assert f"8 steps of 16 rows ({2 // processes} batches of 8 in each of {processes} processes)" in result["log"]
    assert losses(config) == pytest.approx(losses(full_run[0]), rel=1e-4)


def test_the_learning_rate_follows_from_the_size_and_the_warmup_from_its_steps(
    claims: Any, prepared: dict[str, Any]
) -> None:
    config = claims.train_config(
        prepared,
        key="4f01c0",
        output="pvc://artifacts/train-guided",
        hyperparameters__learningRate=None,
        hyperparameters__warmupRatio=None,
        hyperparameters__warmupSteps=4,
        distribution__processesPerNode=1,
    )
    result = claims.run(config)
    assert result["output"]["learningRate"] == 1e-4
    assert "no learningRate is given; it is 1e-4, the guideline for full fine-tuning" in result["message"]
    assert _logged(claims, config, "learning_rate") == pytest.approx([0, 2.5e-5, 5e-5, 7.5e-5, *[1e-4] * 4])


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_bf16_is_computed_where_it_is_asked_for_and_consolidated(
    claims: Any, prepared: dict[str, Any], full_run: Any, losses: Losses, stage: int
) -> None:
    config = claims.train_config(
        prepared,
        key=f"4f01d{stage}",
        output=f"pvc://artifacts/train-bf16-{stage}",
        hyperparameters__precision="BF16",
        distribution__zeroStage=stage,
    )
    result = claims.run(config)
    assert (result["output"]["precision"], result["output"]["zeroStage"]) == ("bf16", max(1, stage))
    found, exact = losses(config), losses(full_run[0])
    assert found != exact
    assert found == pytest.approx(exact, rel=0.02)
    model = claims.consolidate(config, result, key=f"5f01d{stage}", output=f"pvc://artifacts/model-bf16-{stage}")
    assert model["output"]["parameters"] > 0


def test_fp16_on_a_cpu_is_refused_with_the_reason(claims: Any, prepared: dict[str, Any]) -> None:
    config = claims.train_config(
        prepared, key="4f01e0", output="pvc://artifacts/train-fp16", hyperparameters__precision="FP16"
    )
    refused = claims.run(config, expect=64)
    assert refused["reason"] == "InvalidConfig"
    assert "this is a CPU: the range of fp16 is too small for gradients" in refused["message"]


@pytest.mark.parametrize(("stage", "offload"), [(2, "Optimizer"), (3, "OptimizerAndParameters")])
def test_offload_and_settings_of_the_jobs_change_no_loss(
    claims: Any, prepared: dict[str, Any], full_run: Any, losses: Losses, stage: int, offload: str
) -> None:
    config = claims.train_config(
        prepared,
        key=f"4f01f{stage}",
        output=f"pvc://artifacts/train-offload-{stage}",
        distribution__zeroStage=stage,
        distribution__offload=offload,
        distribution__configOverride={"zero_optimization.reduce_bucket_size": "4096"},
    )
    result = claims.run(config)
    assert "offloaded" in result["log"]
    assert losses(config) == pytest.approx(losses(full_run[0]), rel=1e-4)
    model = claims.consolidate(config, result, key=f"5f01f{stage}", output=f"pvc://artifacts/model-offload-{stage}")
    assert model["output"]["parameters"] > 0
