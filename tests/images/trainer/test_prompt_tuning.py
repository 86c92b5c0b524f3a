"""A prompt that is learned: trained, resumed, kept, and the same model for trainer, peft and evaluator."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from support.training import PROMPT

Losses = Callable[[dict[str, Any]], list[float]]


@pytest.mark.parametrize("stage", [2, 3])
def test_a_prompt_is_learned_and_kept_beside_a_base_model_that_stays(
    claims: Any, prepared: dict[str, Any], losses: Losses, stage: int
) -> None:
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    config = claims.train_config(
        prepared,
        key=f"4f05a{stage}",
        output=f"pvc://artifacts/train-prompt-{stage}",
        method=PROMPT,
        hyperparameters__learningRate="3e-1",
        distribution__zeroStage=stage,
    )
    trained = claims.run(config)
    assert trained["output"]["trainLossLast"] < trained["output"]["trainLossFirst"]
    if stage == 2:
        again = {**config, "key": "4f05a9", "output": "pvc://artifacts/train-prompt-again", "attempt": 2}
        left = shutil.ignore_patterns("checkpoint-8", "result.json")
        shutil.copytree(claims.path(config["output"]), claims.path(again["output"]), ignore=left)
        assert claims.run(again)["output"]["resumedFromStep"] == 4
        assert losses(again) == pytest.approx(losses(config), rel=1e-6)

    given = {"key": f"5f05a{stage}", "output": f"pvc://artifacts/model-prompt-{stage}"}
    result = claims.consolidate(config, trained, **given)
    folder, base = claims.path(result["output"]["modelUri"]), claims.path("pvc://models/base")
    learned = load_file(folder / "adapter_model.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in learned.items()} == {"prompt_embeddings": (6, 32)}
    assert "a prompt of 6 learned embeddings" in (folder / "README.md").read_text()
    assert json.loads((folder / "adapter_config.json").read_text())["num_virtual_tokens"] == 6
    plain = AutoModelForCausalLM.from_pretrained(base)
    ids = torch.arange(3, 40).unsqueeze(0)
    with torch.no_grad():
        before = plain(input_ids=ids).logits
        words = plain.get_input_embeddings()(ids)
        ours = plain(inputs_embeds=torch.cat([learned["prompt_embeddings"].unsqueeze(0), words], dim=1)).logits
        theirs = PeftModel.from_pretrained(plain, folder).eval()(input_ids=ids).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(theirs[:, 6:], before, atol=1e-2)


def test_a_prompt_that_leaves_no_room_for_the_rows_is_refused_with_what_fits(
    claims: Any, prepared: dict[str, Any]
) -> None:
    method = {"type": "PromptTuning", "promptTuning": {"virtualTokens": 120}}
    config = claims.train_config(prepared, key="4f05b0", output="pvc://artifacts/train-prompt-long", method=method)
    result = claims.run(config, expect=64)
    assert "120 virtual tokens and rows of up to" in result["message"]
    assert "set hyperparameters.maxSequenceLength to 8 at most" in result["advice"]
