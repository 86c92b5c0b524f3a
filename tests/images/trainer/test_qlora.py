"""Adapters beside a base model of 4 bits: trained, resumed and merged for real, on a CPU."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.training import LORA

Losses = Callable[[dict[str, Any]], list[float]]
QLORA = {**LORA, "type": "QLoRA"}
Run = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def run(claims: Any, prepared: dict[str, Any]) -> Run:
    """Eight steps of two processes with ZeRO 2, saved after four."""
    config = claims.train_config(
        prepared,
        key="4f04a0",
        output="pvc://artifacts/train-qlora",
        method=QLORA,
        hyperparameters__learningRate="5e-2",
        hyperparameters__gradientCheckpointing=True,
        checkpoints={"keepBest": 1},  # so that validation comes between the steps
    )
    return config, claims.run(config)


def test_what_is_frozen_has_four_bits_and_what_is_trained_learns(claims: Any, run: Run) -> None:
    output = run[1]["output"]
    assert output["trainLossLast"] < output["trainLossFirst"]
    assert "linear layers in 4 bits (NF4)" in run[1]["log"]
    saved = claims.path(output["checkpointUri"])
    assert sum(path.stat().st_size for path in saved.rglob("*.pt")) < 400_000  # the base model is in no checkpoint


def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(
    claims: Any, prepared: dict[str, Any], run: Run, losses: Losses
) -> None:
    config = {**run[0], "key": "4f04a1", "output": "pvc://artifacts/train-qlora-again", "attempt": 2}
    shutil.copytree(
        claims.path(run[0]["output"]),
        claims.path(config["output"]),
        ignore=shutil.ignore_patterns("checkpoint-8", "result.json"),
    )
    again = claims.run(config)
    assert again["output"]["resumedFromStep"] == 4
    assert losses(config) == pytest.approx(losses(run[0]), rel=1e-6)


@pytest.fixture(scope="module")
def run_of_one(claims: Any, run: Run) -> Run:
    """The same training by one process: each step has the same rows."""
    config = {**run[0], "key": "4f04b0", "output": "pvc://artifacts/train-qlora-of-one"}
    config["hyperparameters"] = {**config["hyperparameters"], "globalBatchSize": 16}
    config["distribution"] = {**config["distribution"], "processesPerNode": 1}
    return config, claims.run(config)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_another_number_of_processes_goes_on_with_the_same_losses_to_the_same_adapters(
    claims: Any, run: Run, run_of_one: Run, losses: Losses, before: int, after: int
) -> None:
    """An adapter that came out empty would be no other than the one that the base model began with: zeros in `lora_B`."""
    config, trained = {1: run_of_one, 2: run}[before]
    hyperparameters = {**config["hyperparameters"], "globalBatchSize": 16}
    again = claims.resized(config, f"4f04b{after}", after, hyperparameters=hyperparameters)
    result = claims.run(again)
    assert (result["output"]["resumedFromStep"], result["output"]["worldSize"]) == (4, after)
    assert f"resumed from step 4 of {before} processes" in result["message"]
    assert losses(again) == pytest.approx(losses(config), rel=1e-5)
    assert losses(again) == pytest.approx(losses(run[0]), rel=1e-5)  # of whichever number it began with
    resized, whole = _kept(claims, again, result), _kept(claims, config, trained)
    assert len(resized) == 8
    assert all(tensor.any() for tensor in resized.values())
    for name, tensor in whole.items():
        torch.testing.assert_close(resized[name], tensor, rtol=1e-3, atol=1e-5)


def _kept(claims: Any, config: dict[str, Any], trained: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The adapter of the consolidated model."""
    train = {**config, "method": {**config["method"], "adapter": "Kept"}}
    wish = {"key": f"5{config['key'][1:]}", "output": f"{config['output']}-kept"}
    result = claims.consolidate(train, trained, **wish)
    return load_file(claims.path(result["output"]["modelUri"]) / "adapter_model.safetensors")


def test_adapters_are_merged_into_the_base_model_as_it_was_before_it_had_four_bits(claims: Any, run: Run) -> None:
    from serin_trainer import zero
    from serin_trainer.config import Method
    from serin_trainer.model import with_method
    from serin_trainer.tensors import whole
    from transformers import AutoModelForCausalLM

    config, trained = run
    result = claims.consolidate(config, trained, key="5f04a0", output="pvc://artifacts/model-qlora")
    folder, base = claims.path(result["output"]["modelUri"]), claims.path("pvc://models/base")
    read = zero.read(claims.path(trained["output"]["checkpointUri"]))
    adapters = {name: torch.from_numpy(whole(read.tensors[name])) for name in read.optimized}
    assert len(adapters) == 8
    assert all(tensor.any() for tensor in adapters.values())
    peft = with_method(AutoModelForCausalLM.from_pretrained(base), Method.model_validate(LORA))
    assert not peft.load_state_dict(adapters, strict=False).unexpected_keys
    expected = peft.merge_and_unload().state_dict()
    for name, tensor in AutoModelForCausalLM.from_pretrained(folder).state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-6)
    assert "QLoRA of rank 4" in (folder / "README.md").read_text()
    assert json.loads((folder / "manifest.json").read_text())["lineage"]["code"]["bitsandbytes"]


def test_linear_layers_are_held_in_four_bits_and_the_rest_as_it_was(claims: Any) -> None:
    from serin_trainer.config import Method
    from serin_trainer.model import load_base, with_method

    method = Method.model_validate(QLORA)
    folder: Path = claims.path("pvc://models/base")
    model = with_method(load_base(folder, torch.float32, method), method)
    of = dict(model.named_parameters())
    frozen = [name for name, parameter in of.items() if parameter.dtype == torch.uint8]
    assert len(frozen) == 14  # seven linear layers in each of two blocks
    assert not any("lora" in name or "embed" in name or "norm" in name for name in frozen)
    assert {name for name, parameter in of.items() if parameter.requires_grad} == {
        name for name in of if "lora_" in name
    }
    weight = of["base_model.model.model.layers.0.mlp.up_proj.weight"]
    plain = load_base(folder, torch.float32).model.layers[0].mlp.up_proj.weight
    assert weight.numel() == plain.numel() / 2


def test_weights_of_four_bits_are_the_same_after_a_validation(claims: Any) -> None:
    from serin_trainer.config import Method
    from serin_trainer.model import load_base, with_method

    method = Method.model_validate(QLORA)
    model = with_method(load_base(claims.path("pvc://models/base"), torch.float32, method), method)
    ids = torch.arange(3, 35).unsqueeze(0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trained = model.train()(input_ids=ids).logits
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(input_ids=ids).logits, trained, rtol=0, atol=0)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
