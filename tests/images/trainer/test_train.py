"""Real training: two processes, gloo, DeepSpeed; falling losses, resuming, stopping."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.event_files import curves

Losses = Callable[[dict[str, Any]], list[float]]


def test_the_loss_falls_and_the_result_has_the_numbers(full_run: Any) -> None:
    _config, result = full_run
    output = result["output"]
    assert output["trainLossLast"] < output["trainLossFirst"]
    assert output["evalLoss"] < output["trainLossFirst"]
    assert (output["steps"], output["worldSize"], output["zeroStage"]) == (8, 2, 2)
    assert output["precision"] == "fp32"
    assert output["resumedFromStep"] is None
    assert output["tokensPerSecond"] > 0


def test_the_curves_are_those_of_the_log(claims: Any, full_run: Any, losses: Losses) -> None:
    config, result = full_run
    drawn = curves(claims.path(result["output"]["tensorboardUri"]))
    assert [value for _, value in drawn["loss"]] == pytest.approx(losses(config))
    assert {name: [step for step, _ in points] for name, points in drawn.items()} == {
        **{name: [*range(1, 9)] for name in ["loss", "learning_rate", "gradient_norm", "tokens_per_second"]},
        "eval_loss": [8],
    }
    assert drawn["eval_loss"] == [(8, pytest.approx(result["output"]["evalLoss"]))]
    assert f"curves for TensorBoard: {result['output']['tensorboardUri']}" in result["log"]


def test_mlflow_has_the_run_with_its_settings_and_the_curves_of_tensorboard(
    claims: Any, mlflow: Any, full_run: Any
) -> None:
    config, result = full_run
    run = mlflow[0].run
    drawn = curves(claims.path(result["output"]["tensorboardUri"]))
    assert {name: run.curve(name) for name in drawn} == {
        name: [(step, pytest.approx(value)) for step, value in points] for name, points in drawn.items()
    }
    assert run.status == "FINISHED"
    said = {"job": "ml/support-bot", "trainKey": "4f00bb", "dataDigest": config["dataDigest"], "method.type": "Full"}
    chosen = {"hyperparameters.learningRate": "5e-3", "hyperparameters.steps": "8", "hyperparameters.precision": "fp32"}
    assert {**said, **chosen}.items() <= run.params.items()
    assert result["output"]["mlflowUri"] == f"{mlflow[1]}/#/experiments/1/runs/{'0' * 32}"
    assert result["log"].count(f"MLflow shows this run: {result['output']['mlflowUri']}") == 1
    assert result["output"]["warnings"] == []


def test_the_checkpoint_is_complete_and_holds_the_weights_only_as_shards(claims: Any, full_run: Any) -> None:
    config, result = full_run
    folder = claims.path(result["output"]["checkpointUri"])
    names = [path.name for path in folder.rglob("*")]
    assert "complete.json" in names
    assert sum(name.endswith("_optim_states.pt") for name in names) == 2
    stalls = re.findall(
        r"^checkpoint-(\d+) is saved; training stood still for \d+\.\d\d s$", result["log"], re.MULTILINE
    )
    assert stalls == ["4", "8"]
    assert not any(name.endswith(".safetensors") for name in names)
    assert {path.name for path in claims.path(config["output"]).glob("checkpoint-*")} == {
        "checkpoint-4",
        "checkpoint-8",
    }


def test_the_best_checkpoint_is_kept_and_handed_on_when_the_job_asks_for_it(
    claims: Any, prepared: dict[str, Any]
) -> None:
    # A rate at which eight steps overshoot: the last state is not the best one.
    config = claims.train_config(
        prepared,
        key="4f00b9",
        output="pvc://artifacts/train-best",
        hyperparameters__learningRate="3e-1",
        hyperparameters__saveSteps=1,
        checkpoints={"keepRecent": 1, "keepBest": 1, "consolidate": "Best"},
    )
    result = claims.run(config)
    folders = {path.name: path for path in claims.path(config["output"]).glob("checkpoint-*")}
    chosen = claims.path(result["output"]["checkpointUri"])
    losses = {
        name: json.loads((path / "complete.json").read_text())["validationLoss"] for name, path in folders.items()
    }
    assert set(folders) == {"checkpoint-8", chosen.name}
    assert losses[chosen.name] == min(losses.values()) == result["output"]["evalLoss"]
    assert not list(claims.path(config["output"]).glob(".saving/checkpoint-*"))


def test_zero_3_learns_what_zero_2_learns(claims: Any, prepared: dict[str, Any], full_run: Any, losses: Losses) -> None:
    config = claims.train_config(
        prepared, key="4f00b3", output="pvc://artifacts/train-zero3", distribution__zeroStage=3
    )
    result = claims.run(config)
    assert losses(config) == pytest.approx(losses(full_run[0]), rel=1e-4)
    assert result["output"]["zeroStage"] == 3


def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one_and_skips_a_damaged_checkpoint(
    claims: Any, prepared: dict[str, Any], full_run: Any, losses: Losses, mlflow: Any
) -> None:
    tracking = full_run[0]["tracking"]
    config = claims.train_config(
        prepared, key="4f00b4", output="pvc://artifacts/train-again", attempt=2, tracking=tracking
    )
    shutil.copytree(claims.path(full_run[0]["output"]), claims.path(config["output"]))
    folder = claims.path(config["output"])
    shard = next((folder / "checkpoint-8").rglob("*_optim_states.pt"))
    shard.write_bytes(shard.read_bytes()[:-1])
    result = claims.run(config)
    assert result["output"]["resumedFromStep"] == 4
    assert "checkpoint-8 is not used" in result["log"]
    assert losses(config) == pytest.approx(losses(full_run[0]), rel=1e-5)
    drawn = curves(claims.path(result["output"]["tensorboardUri"]))["loss"]
    assert drawn == [(step, pytest.approx(loss)) for step, loss in enumerate(losses(full_run[0]), 1)]
    assert result["output"]["trainLossFirst"] == full_run[1]["output"]["trainLossFirst"]
    # One run of both attempts, with each step once, though the second did four of them again.
    assert [step for step, _ in mlflow[0].run.curve("loss")] == [*range(1, 9)]
    assert mlflow[0].run.tags["serin.attempt"] == "2"


def test_an_attempt_that_only_lacks_its_result_does_no_step_again(
    claims: Any, prepared: dict[str, Any], full_run: Any
) -> None:
    config = claims.train_config(prepared, key="4f00b8", output="pvc://artifacts/train-done", attempt=2)
    shutil.copytree(claims.path(full_run[0]["output"]), claims.path(config["output"]))
    result = claims.run(config)
    assert result["output"]["resumedFromStep"] == 8
    for field in ("steps", "trainLossFirst", "trainLossLast", "evalLoss", "tokens"):
        assert result["output"][field] == pytest.approx(full_run[1]["output"][field])


def test_curves_that_cannot_be_written_and_a_server_that_is_away_fail_no_training_and_the_result_says_so(
    claims: Any, prepared: dict[str, Any], full_run: Any
) -> None:
    away = {"run": "uid-4f00ba", "mlflow": {"uri": "http://127.0.0.1:9", "experiment": "bot"}}
    config = claims.train_config(
        prepared, key="4f00ba", output="pvc://artifacts/train-uncharted", attempt=2, tracking=away
    )
    folder = claims.path(config["output"])
    shutil.copytree(claims.path(full_run[0]["output"]), folder, ignore=shutil.ignore_patterns("result.json", "tensor*"))
    (folder / "tensorboard").write_text("in the way")
    result = claims.run(config)
    [warned] = result["output"]["warnings"]
    assert warned["reason"] == "TrackingFailed"
    assert warned["message"] in result["message"]
    assert "the TensorBoard files end here" in warned["message"]
    assert "MLflow at http://127.0.0.1:9 lacks" in warned["message"]
    assert "Connection refused" in warned["message"]
    assert result["log"].count("warning: TrackingFailed: the TensorBoard files end here") == 1
    assert result["output"]["mlflowUri"] is None


def test_being_asked_to_stop_saves_first_and_costs_no_step(claims: Any, prepared: dict[str, Any]) -> None:
    config = claims.train_config(
        prepared,
        key="4f00b5",
        output="pvc://artifacts/train-stopped",
        hyperparameters__maxSteps=5000,
        hyperparameters__saveSteps=5000,
    )
    with subprocess.Popen(claims.command(config), env=claims.environment(), stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if line.startswith("step "):
                break
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{claims.metrics_port}/metrics").read().decode()
        run.send_signal(signal.SIGTERM)
        run.stdout.read()
    assert run.returncode == 75
    assert "serin_train_total_steps 5000.0" in metrics
    assert "serin_train_loss " in metrics
    assert 'serin_train_loss_curve{part="00"} ' in metrics
    assert "serin_train_perplexity " in metrics
    checkpoints = list(claims.path(config["output"]).glob("checkpoint-*/complete.json"))
    assert len(checkpoints) == 1
    answer = (claims.root / "termination-log").read_text()
    assert '"Interrupted"' in answer
    assert checkpoints[0].parent.name.removeprefix("checkpoint-") in answer


def test_a_loss_that_is_not_finite_ends_the_run_at_the_users_turn(claims: Any, prepared: dict[str, Any]) -> None:
    config = claims.train_config(
        prepared,
        key="4f00b6",
        output="pvc://artifacts/train-nan",
        hyperparameters__learningRate="1e30",
        hyperparameters__maxGradientNorm="1e30",
        hyperparameters__maxSteps=50,
    )
    result = claims.run(config, expect=65)
    assert result["reason"] == "LossNotFinite"
    assert "learningRate" in result["advice"]


def test_changed_data_are_noticed(claims: Any, prepared: dict[str, Any]) -> None:
    config = claims.train_config(
        prepared, key="4f00b7", output="pvc://artifacts/train-changed", dataDigest="sha256:" + "0" * 64
    )
    assert claims.run(config, expect=65)["reason"] == "DataDamaged"


def test_pickled_weights_are_never_opened(tmp_path: Path) -> None:
    from serin_trainer.errors import DataError
    from serin_trainer.model import load_base

    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04boom")
    with pytest.raises(DataError, match=r"only pickled weights \(pytorch_model.bin\)") as refusal:
        load_base(tmp_path, None)
    assert refusal.value.reason == "ModelNotSafetensors"
