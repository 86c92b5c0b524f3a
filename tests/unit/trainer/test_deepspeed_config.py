"""DeepSpeed's configuration is generated whole from the job's."""

import pytest
from serin_trainer.config import TrainConfig
from serin_trainer.deepspeed_config import deepspeed_config
from support.training import TRAIN, changed


def _config(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate(changed(TRAIN, {key.replace("__", "."): value for key, value in changes.items()}))


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_the_stage_is_the_asked_for_one(stage: int) -> None:
    assert deepspeed_config(_config(distribution__zeroStage=stage), "fp32")["zero_optimization"]["stage"] == stage


def test_the_global_batch_is_rows_times_steps_times_processes() -> None:
    config = _config(distribution__nodes=3, hyperparameters__batchSize=4, hyperparameters__gradientAccumulationSteps=2)
    assert deepspeed_config(config, "fp32")["train_batch_size"] == 4 * 2 * 3 * 2


def test_bf16_is_on_only_when_the_hardware_computes_in_it() -> None:
    assert deepspeed_config(_config(), "bf16")["bf16"] == {"enabled": True}
    assert deepspeed_config(_config(), "fp32")["bf16"] == {"enabled": False}


def test_nothing_is_left_to_be_guessed() -> None:
    assert '"auto"' not in str(deepspeed_config(_config(distribution__zeroStage=3), "bf16"))
