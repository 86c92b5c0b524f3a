"""The plan is counted from files and settings, and its memory is what ZeRO's arithmetic says."""

import json
from pathlib import Path
from typing import Any

import pytest
from serin_trainer.config import Training
from serin_trainer.errors import ConfigError
from serin_trainer.estimate import GIB, Facts, choose, facts, memory, plan

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


def test_of_ia3_only_the_scales_are_trained_and_it_is_in_the_table() -> None:
    model = Facts(7_000_000_000, 8_000_000, 4096, 32, 32_000, scales=600_000)
    found = plan(model, training(method="IA3"), [10])
    assert found.trainable_parameters == 600_000
    assert (found.chosen.method, found.chosen.zero_stage) == ("IA3", 3)
    assert {one.method for one in found.memory} == {"Full", "LoRA", "QLoRA", "IA3"}
    assert memory(model, training(), "IA3", 0, 8, 0).optimizer == pytest.approx(12 * 600_000 / GIB, abs=0.001)


def test_with_qlora_linear_layers_take_a_quarter_of_sixteen_bits_and_the_rest_what_it_took() -> None:
    model = Facts(7_000_000_000, 8_000_000, 4096, 32, 32_000, linear=6_600_000_000)
    found = memory(model, training(), "QLoRA", 0, 8, 0)
    # Dettmers et al. count 0.127 bits a parameter for the scales.
    assert found.weights == pytest.approx((6.6e9 * 4.127 / 8 + 2 * 0.408e9) / GIB, abs=0.01)
    plain = memory(model, training(), "LoRA", 0, 8, 0)
    assert (found.gradients, found.optimizer, found.activations) == (
        plain.gradients,
        plain.optimizer,
        plain.activations,
    )


def test_a_learned_prompt_has_a_row_of_the_embeddings_for_each_token_and_is_read_with_every_row() -> None:
    model = Facts(7_000_000_000, 8_000_000, 4096, 32, 32_000, prompt=20 * 4096)
    found = plan(model, training(method="PromptTuning", zeroStage=0), [1000])
    assert (found.trainable_parameters, found.chosen.method) == (20 * 4096, "PromptTuning")
    longer = memory(model, training(), "LoRA", 0, 8, 1020).activations
    assert found.chosen.activations == pytest.approx(longer, rel=1e-3)


def test_qlora_is_in_the_table_for_the_stages_that_it_can_be_done_with() -> None:
    stages = [one.zero_stage for one in plan(SEVEN_B, training(), [10]).memory if one.method == "QLoRA"]
    assert stages == [0, 1, 2]
    chosen = plan(SEVEN_B, training(method="QLoRA", zeroStage=2), [10]).chosen
    assert (chosen.method, chosen.zero_stage) == ("QLoRA", 2)


def test_in_full_precision_a_parameter_takes_sixteen_bytes_as_well() -> None:
    found = memory(SEVEN_B, training(accelerated=False), "Full", 0, 1, 0)
    assert found.weights + found.gradients + found.optimizer == pytest.approx(16 * 7e9 / GIB, abs=0.01)


def test_longer_sequences_and_larger_batches_take_more_activations() -> None:
    one = memory(SEVEN_B, training(), "Full", 3, 8, 1024).activations
    assert memory(SEVEN_B, training(), "Full", 3, 8, 2048).activations == pytest.approx(2 * one, rel=0.01)
    assert memory(SEVEN_B, training(batchSize=4), "Full", 3, 8, 1024).activations == pytest.approx(4 * one, rel=0.01)


def test_computing_activations_again_keeps_a_fraction_of_them() -> None:
    whole = memory(SEVEN_B, training(), "Full", 3, 8, 4096).activations
    again = memory(SEVEN_B, training(gradientCheckpointing=True), "Full", 3, 8, 4096).activations
    logits = 4096 * SEVEN_B.vocabulary * 10 / GIB
    assert whole - logits == pytest.approx(34 * 4096 * 4096 * 32 / GIB, rel=0.01)
    assert again - logits == pytest.approx((2 * 32 + 34) * 4096 * 4096 / GIB, rel=0.01)


def test_what_is_offloaded_is_not_in_the_devices_memory() -> None:
    assert memory(SEVEN_B, training(offload="Optimizer"), "Full", 1, 8, 0).optimizer == 0
    assert memory(SEVEN_B, training(offload="Optimizer"), "Full", 0, 8, 0).optimizer > 0, "ZeRO 0 cannot offload"
    aside = memory(SEVEN_B, training(offload="OptimizerAndParameters"), "Full", 3, 8, 0)
    assert aside.total == pytest.approx(1 + 14e9 / 32 / GIB, abs=0.01)


@pytest.mark.parametrize(
    ("wanted", "accelerated", "means"),
    [
        (None, True, "bf16"),
        (None, False, "fp32"),
        ("FP16", True, "fp16"),
        ("FP32", True, "fp32"),
        ("BF16", False, "bf16"),
    ],
)
def test_the_plan_is_made_for_the_precision_that_training_will_have(wanted: Any, accelerated: bool, means: str) -> None:
    asked = training(accelerated=accelerated, precision=wanted)
    assert plan(SEVEN_B, asked, [10]).precision == means
    weights = memory(SEVEN_B, asked, "Full", 0, 1, 0).weights
    assert weights == pytest.approx((28e9 if means == "fp32" else 14e9) / GIB, abs=0.01)


def test_the_plan_says_the_learning_rate_and_why_it_is_this_one() -> None:
    guided = plan(SEVEN_B, training(), [10])
    assert guided.learning_rate == "2e-5"
    assert "no learningRate is given; it is 2e-5, the guideline for full fine-tuning" in guided.learning_rate_reason
    given = plan(SEVEN_B, training(learningRate="7e-6"), [10])
    assert (given.learning_rate, given.learning_rate_reason) == ("7e-6", "")


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
    assert facts(tmp_path, training()) == Facts(
        100 * 16 + 16 * 32 + 16, 8 * 48, 16, 1, 100, prompt=20 * 16, linear=16 * 32
    )
    scaled = training(ia3TargetModules=["q_proj"])
    assert facts(tmp_path, scaled) == Facts(
        100 * 16 + 16 * 32 + 16, 8 * 48, 16, 1, 100, scales=16, prompt=20 * 16, linear=16 * 32
    )
    taken = training(ia3TargetModules=["q_proj"], ia3FeedforwardModules=["q_proj"])
    assert facts(tmp_path, taken) == Facts(
        100 * 16 + 16 * 32 + 16, 8 * 48, 16, 1, 100, scales=32, prompt=20 * 16, linear=16 * 32
    )


def test_files_that_do_not_say_give_no_plan(tmp_path: Path) -> None:
    assert facts(tmp_path, training()) is None
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    assert facts(tmp_path, training()) is None


@pytest.mark.parametrize(
    ("gib", "stage", "chosen", "said"),
    [
        pytest.param(80, 3, "Full", "full fine-tuning was chosen: with ZeRO 3 it takes about 1", id="divided by eight"),
        pytest.param(80, 0, "LoRA", "LoRA was chosen: full fine-tuning with ZeRO 0 takes about 10", id="whole"),
        pytest.param(16, 2, "LoRA", "more than 90 percent of the 16.0 GiB that it has, and LoRA 14", id="small"),
    ],
)
def test_the_first_method_that_fits_is_chosen_and_the_reason_has_the_numbers(
    gib: int, stage: int, chosen: str, said: str
) -> None:
    wish = training(method="Auto", deviceMib=gib * 1024, zeroStage=stage, nodes=1, processesPerNode=8)
    choice = choose(SEVEN_B, wish, [16])
    assert (choice.method, said in choice.reason) == (chosen, True), choice.reason
    made = plan(SEVEN_B, wish, [16], choice)
    assert (made.chosen.method, made.chosen.zero_stage, made.method_reason) == (chosen, stage, choice.reason)
    assert choose(SEVEN_B, wish, [16]) == choice
    assert made.learning_rate == ("2e-5" if chosen == "Full" else "2e-4")


@pytest.mark.parametrize(
    ("model", "said"),
    [(SEVEN_B, "no method fits: full fine-tuning with ZeRO 2 takes about"), (None, "do not say how large it is")],
    ids=["none fits", "nobody knows"],
)
def test_a_choice_that_cannot_be_made_is_the_users(model: Facts | None, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        choose(model, training(method="Auto", deviceMib=4096, zeroStage=2), [16])
    assert caught.value.advice


def test_qlora_is_chosen_where_lora_does_not_fit_and_never_with_zero_3() -> None:
    model = Facts(7_000_000_000, 8_000_000, 4096, 32, 32_000, linear=6_600_000_000)
    small = training(method="Auto", deviceMib=8 * 1024, zeroStage=2, nodes=1, processesPerNode=1)
    choice = choose(model, small, [16])
    assert choice.method == "QLoRA"
    assert "QLoRA was chosen: full fine-tuning with ZeRO 2 takes about 105.4 GiB a process and LoRA 14" in choice.reason
    assert "more than 90 percent of the 8.0 GiB that it has, and QLoRA 5" in choice.reason
    with pytest.raises(ConfigError, match="QLoRA goes with ZeRO 0 to 2 only"):
        choose(model, small.model_copy(update={"zero_stage": 3}), [16])


def test_a_choice_needs_to_know_the_memory() -> None:
    with pytest.raises(ValueError, match="deviceMib does not say"):
        training(method="Auto")
