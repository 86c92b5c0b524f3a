"""Choices whose prompt is read once are as likely as each read by itself, whatever the model's kind of attention."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from serin_evaluator import choices
from serin_evaluator.choices import asked, measure_choices
from serin_evaluator.likelihood import measure_likelihood
from serin_evaluator.measured import Choice, Pair
from serin_evaluator.parts import Parts
from transformers import AutoConfig, AutoModelForCausalLM

SMALL = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
FEW_HEADS = {**SMALL, "num_key_value_heads": 2, "initializer_range": 0.2}
KINDS: dict[str, dict[str, Any]] = {
    "llama": FEW_HEADS,
    "mistral": {**FEW_HEADS, "sliding_window": 12},
    "gemma3_text": {
        **FEW_HEADS,
        "head_dim": 16,
        "sliding_window": 12,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "gemma2": {**FEW_HEADS, "head_dim": 16, "sliding_window": 12, "final_logit_softcapping": 3.0},
    "gpt2": {"vocab_size": 512, "n_embd": 64, "n_layer": 2, "n_head": 4, "initializer_range": 0.2},
}


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(request.param, **KINDS[request.param])).eval()


@pytest.fixture(scope="module")
def llama() -> Any:
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **FEW_HEADS)).eval()


def tokens(count: int, seed: int) -> tuple[int, ...]:
    return tuple(random.Random(seed).choices(range(1, 512), k=count))


def questions(count: int, most: int = 5) -> dict[int, list[Pair]]:
    """Examples with prompts and choices of all lengths."""
    return {
        one: [Pair(tokens(1 + one * 3 % 47, one), tokens(1 + (one + place) % most, 100 * one + place)) for place in range(2 + one % 4)]
        for one in range(count)
    }  # fmt: skip


def each_alone(model: Any, examples: dict[int, list[Pair]]) -> dict[int, list[float]]:
    return {
        one: [-measure_likelihood(model, {0: pair})[0].negative_log_likelihood for pair in pairs]
        for one, pairs in examples.items()
    }


def close(measured: dict[int, Choice], alone: dict[int, list[float]]) -> None:
    assert measured.keys() == alone.keys()
    for one, logs in alone.items():
        assert measured[one].log_likelihoods == pytest.approx(logs, abs=1e-4)


def test_choices_are_as_likely_as_each_alone(model: Any) -> None:
    examples = questions(24)

    close(measure_choices(model, examples), each_alone(model, examples))


def test_answers_of_one_token_need_one_pass(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = questions(12, most=1)
    alone = each_alone(llama, examples)
    monkeypatch.setattr(choices, "_go_on", lambda *_: pytest.fail("read again"))

    close(measure_choices(llama, examples), alone)


def test_prompts_that_are_cut_differently_share_what_they_have_in_common(llama: Any) -> None:
    same = tokens(9, 1)
    examples = {
        1: [Pair(same, tokens(3, 2)), Pair((*same, 7), tokens(2, 3)), Pair((*same, 7, 8), tokens(1, 4))],
        2: [Pair((5, *same), tokens(3, 2)), Pair((6, *same), tokens(2, 3))],
        3: [Pair((*same, 9, 9), (4,)), Pair((*same, 9, 8), (4,))],
    }

    assert [len(asked(pairs).shared) for pairs in examples.values()] == [9, 0, 10]
    close(measure_choices(llama, examples), each_alone(llama, examples))


def test_many_long_choices_are_read_in_pieces(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = {1: [Pair(tokens(40, 1), tokens(1 + at % 6, at)) for at in range(12)], **questions(5)}
    alone = each_alone(llama, examples)
    monkeypatch.setattr(choices, "MOST_TOKENS", 120)

    close(measure_choices(llama, examples), alone)


def test_a_killed_measurement_goes_on_with_the_same_numbers(
    llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serin_evaluator.parts.EVERY_SECONDS", 0.0)
    examples = questions(70)
    whole = measure_choices(llama, examples)

    def killed(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_choices(llama, examples, killed, Parts(tmp_path, Choice))
    kept = Parts(tmp_path, Choice)
    told: list[int] = []

    assert len(kept.known) == 32
    assert measure_choices(llama, examples, told.append, kept) == whole
    assert told == [32, 64, 70]
