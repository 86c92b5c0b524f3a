"""DeepSpeed's configuration is generated whole from the job's."""

from typing import Any

import pytest
from serin_trainer.config import MADE_FROM, TrainConfig
from serin_trainer.deepspeed_config import deepspeed_config
from serin_trainer.hardware import Precision
from support.training import TRAIN, changed


def _config(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate(changed(TRAIN, {key.replace("__", "."): value for key, value in changes.items()}))


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_the_stage_is_the_asked_for_one(stage: int) -> None:
    assert deepspeed_config(_config(distribution__zeroStage=stage), "fp32")["zero_optimization"]["stage"] == stage


@pytest.mark.parametrize(("precision", "stage"), [("fp32", 0), ("bf16", 1), ("fp16", 1)])
def test_in_16_bits_weights_are_kept_in_fp32_beside_them(precision: Precision, stage: int) -> None:
    # DeepSpeed's stage 0 does not: its engine then runs the optimizer on the 16 bits themselves.
    assert deepspeed_config(_config(distribution__zeroStage=0), precision)["zero_optimization"]["stage"] == stage


def test_the_global_batch_is_rows_times_steps_times_processes() -> None:
    config = _config(distribution__nodes=3, hyperparameters__batchSize=4, hyperparameters__gradientAccumulationSteps=2)
    assert deepspeed_config(config, "fp32")["train_batch_size"] == 4 * 2 * 3 * 2


@pytest.mark.parametrize(("nodes", "processes", "accumulation"), [(1, 1, 6), (1, 2, 3), (3, 1, 2), (3, 2, 1)])
def test_a_global_batch_stays_the_same_on_any_number_of_processes(
    nodes: int, processes: int, accumulation: int
) -> None:
    config = _config(
        hyperparameters__globalBatchSize=48, distribution__nodes=nodes, distribution__processesPerNode=processes
    )
    found = deepspeed_config(config, "fp32")
    assert (found["train_batch_size"], found["gradient_accumulation_steps"]) == (48, accumulation)
    assert found["train_micro_batch_size_per_gpu"] == 8


@pytest.mark.parametrize(
    ("precision", "on"), [("bf16", (True, False)), ("fp16", (False, True)), ("fp32", (False, False))]
)
def test_one_kind_of_half_precision_is_on_at_most(precision: Precision, on: tuple[bool, bool]) -> None:
    found = deepspeed_config(_config(), precision)
    assert (found["bf16"]["enabled"], found["fp16"]["enabled"]) == on


def test_nothing_is_left_to_be_guessed() -> None:
    assert '"auto"' not in str(deepspeed_config(_config(distribution__zeroStage=3), "bf16"))


def test_nothing_is_offloaded_unless_asked_for() -> None:
    assert "offload" not in str(deepspeed_config(_config(distribution__zeroStage=3), "bf16"))


@pytest.mark.parametrize(
    ("offload", "devices"),
    [("Optimizer", ["offload_optimizer"]), ("OptimizerAndParameters", ["offload_optimizer", "offload_param"])],
)
def test_what_is_offloaded_goes_to_the_nodes_memory(offload: str, devices: list[str]) -> None:
    zero = deepspeed_config(_config(distribution__zeroStage=3, distribution__offload=offload), "bf16")[
        "zero_optimization"
    ]
    found = {name: value["device"] for name, value in zero.items() if name.startswith("offload")}
    assert found == dict.fromkeys(devices, "cpu")


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("zero_optimization.overlap_comm", "true", True),
        ("zero_optimization.reduce_bucket_size", "1000", 1000),
        ("communication_data_type", "fp32", "fp32"),
        ("gradient_predivide_factor", "2.5", 2.5),
    ],
)
def test_a_setting_of_the_jobs_takes_the_place_of_ours(name: str, value: str, read: Any) -> None:
    found = deepspeed_config(_config(distribution__configOverride={name: value}), "fp32")
    for part in name.split("."):
        found = found[part]
    assert found == read


def test_what_is_made_from_other_fields_is_all_there_to_be_guarded() -> None:
    made = deepspeed_config(_config(distribution__zeroStage=3, distribution__offload="OptimizerAndParameters"), "bf16")
    for path in MADE_FROM:
        place: Any = made
        for part in path.split("."):
            place = place[part]
