"""An adapter and its base are measured as the model that they are together."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.evaluation import suite_document
from support.tiny_model import write_adapter

Evaluate = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]
BASE = "pvc://models/base"


def logits(model: Any) -> Any:
    import torch

    with torch.inference_mode():
        return model(input_ids=torch.arange(3, 30).unsqueeze(0)).logits


@pytest.mark.parametrize("kind", ["LORA", "IA3"])
def test_what_is_loaded_is_what_peft_computes(volumes: Any, tmp_path: Path, kind: str) -> None:
    import torch
    from peft import PeftModel
    from serin_evaluator.loading import load
    from transformers import AutoModelForCausalLM

    base = volumes.root / "models" / "base"
    write_adapter(tmp_path, base, volumes.base, kind)
    ours = logits(load(tmp_path, "cpu", "pvc://a/adapter", base)._model)
    plain = AutoModelForCausalLM.from_pretrained(base)
    alone = logits(plain)
    torch.testing.assert_close(ours, logits(PeftModel.from_pretrained(plain, tmp_path)), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(ours, alone, atol=0.1)


def test_a_learned_prompt_stands_before_each_row_of_a_batch_as_peft_has_it(volumes: Any, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from serin_evaluator.likelihood import measure_likelihood
    from serin_evaluator.loading import load
    from serin_evaluator.suites import Example
    from transformers import AutoModelForCausalLM

    base = volumes.root / "models" / "base"
    write_adapter(tmp_path, base, volumes.base, "PROMPT_TUNING")
    model = load(tmp_path, "cpu", "pvc://a/adapter", base)
    peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path).eval()
    texts = {1: "A Pod?", 9: "What is the field data of ConfigMap, and what is it for?"}
    pairs = {line: model._prompts.pair(Example(line, text, (), "A part." * line)) for line, text in texts.items()}
    measured = measure_likelihood(model._model, pairs)
    for line, pair in pairs.items():
        assert pair.prompt[:5] == tuple(range(512, 517))
        ids = torch.tensor([[*pair.prompt[5:], *pair.answer]])
        with torch.inference_mode():
            said = peft(input_ids=ids).logits[0].log_softmax(-1)
        expected = sum(float(said[len(pair.prompt) - 1 + place, token]) for place, token in enumerate(pair.answer))
        assert measured[line].negative_log_likelihood == pytest.approx(-expected, abs=1e-3)


def test_the_stage_proves_both_and_measures_them_together(evaluate: Evaluate, volumes: Any) -> None:
    folder = volumes.root / "artifacts" / "adapter"
    digest = write_adapter(folder, volumes.root / "models" / "base", volumes.base)
    adapter = {"role": "Candidate", "uri": "pvc://artifacts/adapter", "digest": digest}
    suites = [suite_document(metrics=["Perplexity"])]

    def run(key: str, base: dict[str, str]) -> tuple[int, dict[str, Any]]:
        models = [{**adapter, "base": base}, {"role": "Base", "uri": BASE, "digest": volumes.base}]
        return evaluate(
            volumes.config(
                key=key, cache=None, output=f"pvc://artifacts/ml/evaluate-{key}", models=models, suites=suites,
                wanted=["heldout/Perplexity"], comparisons=[
                    {"suite": "heldout", "metric": "Perplexity", "against": "Base"},
                ],
            )
        )  # fmt: skip

    code, result = run("ad1", {"uri": BASE, "digest": volumes.base})
    assert (code, result["outcome"]) == (0, "Succeeded"), result
    values = {one["role"]: one["value"] for one in result["output"]["scores"]}
    assert abs(values["Candidate"] - values["Base"]) > 1

    code, result = run("ad2", {"uri": "pvc://artifacts/candidate", "digest": volumes.candidate})
    assert (code, result["reason"]) == (65, "ModelDamaged")
    assert "was trained on" in result["message"]
    (folder / "base.json").write_text(json.dumps({"digest": volumes.candidate}))
    code, result = run("ad3", {"uri": "pvc://artifacts/candidate", "digest": volumes.candidate})
    assert (code, result["reason"]) == (65, "ModelDamaged")  # base.json is among what the adapter's digest covers
    assert "base.json" in result["message"]
