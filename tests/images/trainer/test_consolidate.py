"""The consolidated model is the trained one: equal weights, loadable, complete, listed."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from serin_trainer import manifest
from support.training import CONSOLIDATE, IA3, LORA, changed


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
    from serin_trainer import weights

    source = claims.path(consolidated["output"]["modelUri"])
    tensors = weights.read_folder(source)
    monkeypatch.setattr(weights, "SHARD_BYTES", 20_000)
    wanted = [weights.Wanted(name, tensor.dtype, tensor.shape) for name, tensor in tensors.items()]
    weights.write_model(tmp_path, wanted, tensors)
    for name in ("config.json", "generation_config.json"):
        shutil.copy(source / name, tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    again, whole = _load(tmp_path).state_dict(), _load(source).state_dict()
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_where_the_model_comes_from_stands_in_its_manifest_and_on_its_card(
    claims: Any, full_run: Any, consolidated: dict[str, Any]
) -> None:
    folder = claims.path(consolidated["output"]["modelUri"])
    lineage = json.loads((folder / "manifest.json").read_text())["lineage"]
    assert lineage["baseModelDigest"] == full_run[0]["baseModel"]["digest"]
    assert lineage["dataDigest"] == full_run[0]["dataDigest"]
    assert lineage["training"]["trainLossLast"] == full_run[1]["output"]["trainLossLast"]
    assert (lineage["checkpoint"], lineage["seed"]) == ("checkpoint-8", 7)
    assert lineage["images"] == {"Train": "serin.dev/trainer@sha256:" + "b" * 64}
    assert lineage["code"]["sourceDigest"].startswith("sha256:")
    assert lineage["code"]["torch"] == __import__("importlib.metadata").metadata.version("torch")
    card = (folder / "README.md").read_text()
    assert full_run[0]["dataDigest"] in card
    assert "full fine-tuning" in card


@pytest.mark.parametrize(
    "wish",
    [
        pytest.param(["--stage", "1", "--frozen", "embed"], id="ZeRO 1 with frozen weights"),
        pytest.param(["--stage", "2", "--dtype", "bf16", "--tied", "--frozen", "layers.0.mlp"], id="ZeRO 2 in bf16"),
        pytest.param(["--stage", "3", "--ranks", "3", "--hidden", "40"], id="ZeRO 3, where nothing divides by three"),
        pytest.param(
            ["--stage", "3", "--dtype", "bf16", "--tied", "--frozen", "layers.0.mlp"], id="ZeRO 3 in bf16, tied, frozen"
        ),
    ],
)
def test_the_weights_are_those_of_deepspeeds_own_converter_bit_for_bit(wish: list[str], tmp_path: Path) -> None:
    import torch
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
    from serin_trainer import consolidate, weights, zero
    from support import zero_save

    zero_save.main(["--out", str(tmp_path), *wish])
    folder, output = tmp_path / "checkpoint-1", tmp_path / "model"
    output.mkdir()
    of_base = weights.read_folder(tmp_path / "base")
    if "bf16" in wish:
        assert {tensor.dtype for tensor in of_base.values()} == {"BF16"}
    written = weights.write_model(output, *consolidate.full(of_base, zero.read(folder)))
    ours = _tensors(output)
    theirs = get_fp32_state_dict_from_zero_checkpoint(str(folder))
    assert written[0].sha256 == hashlib.sha256((output / "model.safetensors").read_bytes()).hexdigest()
    assert ours.keys() == of_base.keys()
    # Their converter leaves frozen weights out of a ZeRO 1 checkpoint; those lie whole beside the shards.
    left_out = ours.keys() - theirs.keys()
    assert left_out == ({"model.embed_tokens.weight"} if wish[1] == "1" else set())
    assert all(torch.equal(ours[name], theirs[name].to(ours[name].dtype)) for name in ours.keys() - left_out)
    if left_out:
        states = torch.load(next(folder.rglob("mp_rank_00_model_states.pt")), weights_only=False)["module"]
        assert all(torch.equal(ours[name], states[name]) for name in left_out)


@pytest.mark.parametrize("stage", [2, 3])
def test_merged_adapters_are_those_that_peft_merges(claims: Any, prepared: dict[str, Any], stage: int) -> None:
    import torch
    from serin_trainer import zero
    from serin_trainer.config import Method
    from serin_trainer.model import with_method
    from serin_trainer.tensors import whole

    train = claims.train_config(
        prepared,
        key=f"4f00c{stage}",
        output=f"pvc://artifacts/train-lora-{stage}",
        method=LORA,
        hyperparameters__learningRate="5e-2",
        distribution__zeroStage=stage,
    )
    trained = claims.run(train)
    assert trained["output"]["trainLossLast"] < trained["output"]["trainLossFirst"]
    result = claims.consolidate(train, trained, key=f"5f00c{stage}", output=f"pvc://artifacts/model-lora-{stage}")
    folder, base = claims.path(result["output"]["modelUri"]), claims.path("pvc://models/base")
    read = zero.read(claims.path(trained["output"]["checkpointUri"]))
    adapters = {name: torch.from_numpy(whole(read.tensors[name])) for name in read.optimized}
    assert len(adapters) == 8
    assert all(tensor.numel() and tensor.any() for tensor in adapters.values())
    peft = with_method(_load(base), Method.model_validate(LORA))
    assert not peft.load_state_dict(adapters, strict=False).unexpected_keys
    expected = peft.merge_and_unload().state_dict()
    merged, untouched = _tensors(folder), _tensors(base)
    assert merged.keys() == untouched.keys()
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-6)
        assert torch.equal(tensor, untouched[name]) != name.endswith(("q_proj.weight", "v_proj.weight"))
    if stage == 3:
        _kept_is_the_same(claims, train, trained, _load(folder))


def _kept_is_the_same(claims: Any, train: dict[str, Any], trained: dict[str, Any], merged: Any) -> None:
    """The same checkpoint with its adapter kept: small, twice the same, and on its base the merged model."""
    import torch
    from peft import PeftModel

    outputs = []
    for number in ("0", "1"):
        key = f"{train['key'][:-2]}e{number}"
        wish = {
            "key": key,
            "output": f"{train['output']}-kept-{number}",
            "method": {**train["method"], "adapter": "Kept"},
        }
        outputs.append(claims.consolidate(train, trained, **wish)["output"])
    one, other = outputs
    folder, base = claims.path(one["modelUri"]), claims.path("pvc://models/base")
    document = json.loads((folder / "manifest.json").read_text())
    names = {file["path"] for file in document["files"]}
    assert {"adapter_config.json", "adapter_model.safetensors", "base.json", "tokenizer.json"} <= names
    assert not {"config.json", "model.safetensors"} & names
    assert document["digest"] == one["digest"] == other["digest"] == manifest.digest_of(folder)
    assert json.loads((folder / "base.json").read_text())["digest"] == train["baseModel"]["digest"]
    assert document["lineage"]["method"]["adapter"] == "Kept"
    assert "kept as an adapter" in (folder / "README.md").read_text()
    ids = torch.arange(3, 40).unsqueeze(0)
    kept = PeftModel.from_pretrained(_load(base), folder)
    with torch.no_grad():
        torch.testing.assert_close(kept(input_ids=ids).logits, merged(input_ids=ids).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stage", [2, 3])
def test_merged_scales_are_those_that_peft_merges(claims: Any, prepared: dict[str, Any], stage: int) -> None:
    import torch
    from serin_trainer import zero
    from serin_trainer.config import Method
    from serin_trainer.model import with_method
    from serin_trainer.tensors import whole

    train = claims.train_config(
        prepared,
        key=f"4f00d{stage}",
        output=f"pvc://artifacts/train-ia3-{stage}",
        method=IA3,
        hyperparameters__learningRate="5e-2",
        distribution__zeroStage=stage,
    )
    trained = claims.run(train)
    assert trained["output"]["trainLossLast"] < trained["output"]["trainLossFirst"]
    result = claims.consolidate(train, trained, key=f"5f00d{stage}", output=f"pvc://artifacts/model-ia3-{stage}")
    folder, base = claims.path(result["output"]["modelUri"]), claims.path("pvc://models/base")
    read = zero.read(claims.path(trained["output"]["checkpointUri"]))
    scales = {name: torch.from_numpy(whole(read.tensors[name])) for name in read.optimized}
    assert len(scales) == 6
    assert not any((tensor == 1).all() for tensor in scales.values())
    peft = with_method(_load(base), Method.model_validate(IA3))
    assert not peft.load_state_dict(scales, strict=False).unexpected_keys
    expected = peft.merge_and_unload().state_dict()
    merged, untouched = _tensors(folder), _tensors(base)
    assert merged.keys() == untouched.keys()
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-6)
        assert torch.equal(tensor, untouched[name]) != name.endswith(
            ("k_proj.weight", "v_proj.weight", "down_proj.weight")
        )
    assert "IA3 on k_proj, v_proj, down_proj" in (folder / "README.md").read_text()
    if stage == 2:
        _kept_is_the_same(claims, train, trained, _load(folder))


def test_scales_along_what_a_module_gives_are_merged_into_its_bias_too(tmp_path: Path) -> None:
    import torch
    from peft import IA3Config, get_peft_model
    from serin_trainer.lora import _scaled
    from transformers import GPT2Config, GPT2LMHeadModel

    base = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=11, n_positions=4))
    wish = IA3Config(
        task_type="CAUSAL_LM", target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"],
        fan_in_fan_out=True,
    )  # fmt: skip
    model = get_peft_model(base, wish)
    block = model.base_model.model.transformer.h[0]
    for layer in (block.attn.c_attn, block.mlp.c_proj):
        torch.nn.init.uniform_(layer.ia3_l["default"])
        weight, bias = layer.base_layer.weight.data.clone(), layer.base_layer.bias.data.clone()
        with torch.no_grad():
            ours, ours_bias = _scaled(layer, weight), bias if layer.is_feedforward else _scaled(layer, bias)
        layer.merge()
        torch.testing.assert_close(ours, layer.base_layer.weight.data)
        torch.testing.assert_close(ours_bias, layer.base_layer.bias.data)


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
