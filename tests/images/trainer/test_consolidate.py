"""The consolidated model is the trained one: equal weights, loadable, complete, listed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from serin_trainer import manifest
from support.training import CONSOLIDATE, LORA, changed


def _tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


def _load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


@pytest.fixture(scope="module")
def consolidated(claims: Any, full_run: Any) -> dict[str, Any]:
    return claims.consolidate(*full_run)


def test_the_model_has_all_it_needs_and_a_manifest(claims: Any, consolidated: dict[str, Any]) -> None:
    output = consolidated["output"]
    folder = claims.path(output["modelUri"])
    document = json.loads((folder / "manifest.json").read_text())
    names = {file["path"] for file in document["files"]}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json"} <= names
    assert document["digest"] == output["digest"] == manifest.digest_of(folder)
    assert document["lineage"]["trainKey"] == "4f00bb"
    assert output["files"] == len(names)
    assert output["sizeBytes"] == sum(file["sizeBytes"] for file in document["files"])
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == 2


def test_tied_weights_are_written_once_and_are_tied_again(claims: Any, consolidated: dict[str, Any]) -> None:
    folder = claims.path(consolidated["output"]["modelUri"])
    assert "lm_head.weight" not in _tensors(folder)
    model = _load(folder)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert consolidated["output"]["parameters"] == sum(parameter.numel() for parameter in model.parameters())


def test_the_weights_are_the_trained_ones(claims: Any, full_run: Any, consolidated: dict[str, Any]) -> None:
    import torch

    written = _tensors(claims.path(consolidated["output"]["modelUri"]))
    checkpoint = claims.path(full_run[1]["output"]["checkpointUri"])
    states = next(checkpoint.rglob("mp_rank_00_model_states.pt"))
    trained = torch.load(states, weights_only=False)["module"]
    base = _tensors(claims.path("pvc://models/base"))
    assert written.keys() == base.keys()
    assert all(torch.equal(written[name], trained[name]) for name in written)
    assert not any(torch.equal(written[name], base[name]) for name in written)


def test_large_models_are_written_in_several_files(
    claims: Any, consolidated: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from serin_trainer import consolidate

    source = claims.path(consolidated["output"]["modelUri"])
    tensors = _tensors(source)
    monkeypatch.setattr(consolidate, "SHARD_BYTES", 20_000)
    shapes = [(name, list(tensor.shape), tensor.dtype) for name, tensor in sorted(tensors.items())]
    consolidate.write_shards(tmp_path, shapes, lambda name: tensors[name])
    for name in ("config.json", "generation_config.json"):
        shutil.copy(source / name, tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    again, whole = _load(tmp_path).state_dict(), _load(source).state_dict()
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_merged_adapters_answer_like_base_and_adapters_together(claims: Any, prepared: dict[str, Any]) -> None:
    import torch
    from serin_trainer.config import Method
    from serin_trainer.consolidate import TrainedTensors
    from serin_trainer.model import with_method

    train = claims.train_config(
        prepared,
        key="4f00c1",
        output="pvc://artifacts/train-lora",
        method=LORA,
        hyperparameters__learningRate="5e-2",
    )
    trained = claims.run(train)
    assert trained["output"]["trainLossLast"] < trained["output"]["trainLossFirst"]
    result = claims.consolidate(train, trained, key="5f00c1", output="pvc://artifacts/model-lora")
    folder = claims.path(result["output"]["modelUri"])
    merged = _load(folder)
    apart = with_method(_load(claims.path("pvc://models/base")), Method.model_validate(LORA))
    tensors = TrainedTensors(claims.path(trained["output"]["checkpointUri"]))
    adapters = {name: tensors.get(name) for name in tensors.names() if "lora_" in name}
    assert len(adapters) == 8
    assert not apart.load_state_dict(adapters, strict=False).unexpected_keys
    ids = torch.arange(3, 40).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(merged(ids).logits, apart.eval()(ids).logits, rtol=1e-4, atol=1e-4)
        base = _load(claims.path("pvc://models/base"))(ids).logits
    assert not torch.allclose(merged(ids).logits, base, atol=1e-2)
    assert _tensors(folder).keys() == _tensors(claims.path("pvc://models/base")).keys()


def test_a_damaged_checkpoint_is_refused(claims: Any, full_run: Any) -> None:
    config, result = full_run
    broken = "pvc://artifacts/broken/checkpoint-8"
    shutil.copytree(claims.path(result["output"]["checkpointUri"]), claims.path(broken))
    next(claims.path(broken).rglob("*_optim_states.pt")).unlink()
    wish = {
        "key": "5f00c2",
        "output": "pvc://artifacts/model-broken",
        "checkpointUri": broken,
        "baseModel.digest": config["baseModel"]["digest"],
    }
    refused = claims.run(changed(CONSOLIDATE, wish), expect=65)
    assert refused["reason"] == "CheckpointDamaged"
    assert "is missing" in refused["message"]
