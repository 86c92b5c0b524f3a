"""The plan is counted from files and settings, and its memory is what ZeRO's arithmetic says."""

import json
from pathlib import Path
from typing import Any

import pytest
from serin_trainer.config import Training
from serin_trainer.estimate import GIB, Facts, facts, memory, plan

SEVEN_B = Facts(parameters=7_000_000_000, adapter=8_000_000, hidden=4096, layers=32, vocabulary=32_000)
TINY = Facts(parameters=1_000_000, adapter=10_000, hidden=64, layers=2, vocabulary=500)


def training(**changes: Any) -> Training:
    given = {
        "method": "Full", "loraRank": 8, "loraTargetModules": ["q_proj"], "batchSize": 1, "gradientAccumulationSteps": 2,
        "epochs": 3, "nodes": 2, "processesPerNode": 4, "zeroStage": 3, "accelerated": True,
    }  # fmt: skip
    return Training.model_validate(given | changes)


@pytest.mark.parametrize(
    ("stage", "weights", "gradients", "optimizer"), [(0, 14, 14, 84), (1, 14, 14, 10.5), (2, 14, 1.75, 10.5), (3, 1.75, 1.75, 10.5)]
)  # fmt: skip
def test_each_stage_divides_what_zero_divides(stage: int, weights: float, gradients: float, optimizer: float) -> None:
    found = memory(SEVEN_B, training(), "Full", stage, 8, 0)
    billion = 1e9 / GIB
    assert found.weights == pytest.approx(weights * billion, abs=0.01)
    assert found.gradients == pytest.approx(gradients * billion, abs=0.01)
    assert found.optimizer == pytest.approx(optimizer * billion, abs=0.01)
    assert found.total == pytest.approx((weights + gradients + optimizer) * billion + 1, abs=0.1)


def test_of_adapters_only_they_have_gradients() -> None:
    found = memory(SEVEN_B, training(), "LoRA", 0, 8, 0)
    assert found.weights == pytest.approx(14.016e9 / GIB, abs=0.01)
    assert found.gradients + found.optimizer < 0.2


def test_in_full_precision_a_parameter_takes_sixteen_bytes_as_well() -> None:
    found = memory(SEVEN_B, training(accelerated=False), "Full", 0, 1, 0)
    assert found.weights + found.gradients + found.optimizer == pytest.approx(16 * 7e9 / GIB, abs=0.01)


def test_longer_sequences_and_larger_batches_take_more_activations() -> None:
    one = memory(SEVEN_B, training(), "Full", 3, 8, 1024).activations
    assert memory(SEVEN_B, training(), "Full", 3, 8, 2048).activations == pytest.approx(2 * one, rel=0.01)
    assert memory(SEVEN_B, training(batchSize=4), "Full", 3, 8, 1024).activations == pytest.approx(4 * one, rel=0.01)


def test_steps_and_tokens_are_those_of_training() -> None:
    found = plan(TINY, training(), [10] * 100)
    assert (found.sequences_per_step, found.steps_per_epoch, found.steps) == (16, 7, 21)
    assert found.tokens == 3000
    assert plan(TINY, training(maxSteps=7), [10] * 100).tokens == 1000
    assert (found.chosen.method, found.chosen.zero_stage) == ("Full", 3)


def test_the_suggestion_says_what_fits_and_what_would_be_better() -> None:
    small = plan(TINY, training(), [10] * 100)
    assert "fits devices of 16 GiB and more; ZeRO 0 would fit" in small.suggestion
    assert "full fine-tuning with ZeRO 0 would fit" in plan(TINY, training(method="LoRA"), [10] * 100).suggestion
    large = plan(SEVEN_B, training(nodes=1, processesPerNode=1), [4096])
    assert "more than a device of 141 GiB gives; LoRA with ZeRO" not in large.suggestion
    huge = Facts(70 * 10**9, 10**8, 8192, 80, 32_000)
    assert "more than a device of 141 GiB gives" in plan(huge, training(nodes=1, processesPerNode=1), [64]).suggestion
    assert [fit.method for fit in plan(huge, training(nodes=1, processesPerNode=1), [64]).fits][:2] == [None, None]


def test_a_models_size_is_read_from_its_headers(tmp_path: Path) -> None:
    shapes = {"model.embed.weight": [100, 16], "layers.0.q_proj.weight": [16, 32], "layers.0.norm.weight": [16]}
    header = json.dumps({"__metadata__": {}} | {name: {"shape": shape} for name, shape in shapes.items()}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    config = {"hidden_size": 16, "num_hidden_layers": 1, "vocab_size": 100}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert facts(tmp_path, training()) == Facts(100 * 16 + 16 * 32 + 16, 8 * 48, 16, 1, 100)


def test_files_that_do_not_say_give_no_plan(tmp_path: Path) -> None:
    assert facts(tmp_path, training()) is None
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    assert facts(tmp_path, training()) is None
