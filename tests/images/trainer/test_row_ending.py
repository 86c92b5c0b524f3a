"""What `rowEnding` makes of a model: one that stops after its answer, and one that never does."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="module")
def answers(claims: Any) -> dict[str, list[int]]:
    """Greedy answers to one question, by row ending, of two models that learned the same rows."""
    found = {}
    for number, ending in enumerate(("EndOfSequence", "Newline")):
        prepared = claims.prepare(
            key=f"3e000{number}",
            output=f"pvc://artifacts/prepare-{ending}",
            data__rowEnding=ending,
            data__lossOn="AllTokens" if ending == "Newline" else "Completions",
            data__split__trainPercent=100,
            data__split__validationPercent=0,
            data__split__testPercent=0,
        )
        config = claims.train_config(
            prepared,
            key=f"4e000{number}",
            output=f"pvc://artifacts/train-{ending}",
            hyperparameters__maxSteps=120,
            hyperparameters__saveSteps=200,
            hyperparameters__learningRate="1e-2",
            hyperparameters__scheduler="Cosine",
            distribution__processesPerNode=1,
        )
        trained = claims.run(config)
        assert trained["output"]["evalLoss"] is None
        model = claims.consolidate(config, trained, key=f"5e000{number}", output=f"pvc://artifacts/model-{ending}")
        found[ending] = _answer(claims.path(model["output"]["modelUri"]))
    return found


def _answer(folder: Any) -> list[int]:
    from serin_trainer.tokens import load_tokenizer
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    question = [{"role": "user", "content": "What is the ports of a Node?"}]
    text = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    output = model.generate(**ids, max_new_tokens=60, do_sample=False)
    return output[0, ids["input_ids"].shape[1] :].tolist()


def test_a_model_trained_with_ends_stops(answers: dict[str, list[int]]) -> None:
    assert answers["EndOfSequence"][-1] == 2
    assert len(answers["EndOfSequence"]) < 40


def test_a_model_trained_on_running_text_runs_to_the_limit(answers: dict[str, list[int]]) -> None:
    assert len(answers["Newline"]) == 60
    assert 2 not in answers["Newline"]
