"""The learning rate that nobody gave: smaller for larger models, larger for adapters, and said why."""

import pytest
from serin_trainer.guideline import BILLION, MILLION, learning_rate


@pytest.mark.parametrize(
    ("method", "parameters", "rate"),
    [
        pytest.param("Full", 5 * MILLION, "1e-4", id="a small model, whole"),
        pytest.param("Full", 135 * MILLION, "5e-5", id="hundreds of millions"),
        pytest.param("Full", 7 * BILLION, "2e-5", id="as Llama 2 was tuned"),
        pytest.param("Full", 70 * BILLION, "1e-5", id="the largest"),
        pytest.param("LoRA", 7 * BILLION, "2e-4", id="adapters, as QLoRA up to 13 B"),
        pytest.param("LoRA", 65 * BILLION, "1e-4", id="adapters, as QLoRA above"),
        pytest.param("LoRA", 5 * MILLION, "1e-3", id="adapters of a small model"),
    ],
)
def test_the_rate_follows_from_method_and_size(method: str, parameters: int, rate: str) -> None:
    assert learning_rate(method, parameters).rate == rate


def test_no_larger_model_gets_a_larger_rate() -> None:
    rates = [float(learning_rate("Full", 10**exponent).rate) for exponent in range(6, 13)]
    assert rates == sorted(rates, reverse=True)


def test_the_reason_has_the_numbers() -> None:
    assert learning_rate("LoRA", 1_540_000_000).reason == (
        "no learningRate is given; it is 2e-4, the guideline for LoRA, ten times that of whole models, of up to 20 B"
        " parameters (1.54 B)"
    )


def test_scales_are_learned_at_one_rate_in_models_of_any_size() -> None:
    assert {learning_rate("PromptTuning", 10**exponent).rate for exponent in range(6, 12)} == {"3e-2"}
    assert {learning_rate("IA3", 10**exponent).rate for exponent in range(6, 12)} == {"3e-3"}
