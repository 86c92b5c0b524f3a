"""The config is either what the contract says or refused by the name of its field."""

from pathlib import Path
from typing import Any

import pytest
from serin_trainer.config import ConsolidateConfig, PrepareConfig, TrainConfig, identity, load
from serin_trainer.errors import ConfigError
from support.training import CONSOLIDATE, IA3, LORA, PREPARE, PROMPT, TRAIN, changed, write_config

SOURCE = PREPARE["data"]["train"][0]


@pytest.mark.parametrize(
    ("config", "model"), [(PREPARE, PrepareConfig), (TRAIN, TrainConfig), (CONSOLIDATE, ConsolidateConfig)]
)
def test_each_stage_has_its_own_model(tmp_path: Path, config: dict[str, Any], model: type) -> None:
    assert isinstance(load(write_config(tmp_path / "config.json", config)), model)


def test_lora_is_read_with_its_parameters(tmp_path: Path) -> None:
    config = load(write_config(tmp_path / "config.json", changed(TRAIN, {"method": LORA})))
    assert isinstance(config, TrainConfig)
    assert config.method.lora is not None
    assert config.method.lora.target_modules == ["q_proj", "v_proj"]


@pytest.mark.parametrize(
    ("config", "changes", "named"),
    [
        (PREPARE, {"extra": 1}, "extra"),
        (PREPARE, {"data.rowEnding": "Never"}, "data.rowEnding"),
        (PREPARE, {"data.train": []}, "data.train"),
        (PREPARE, {"data.split.trainPercent": 70}, "add up to 90"),
        (PREPARE, {"data.train": [{**SOURCE, "weightPercent": 90}]}, "adds up to 100"),
        (PREPARE, {"data.train": [{**SOURCE, "weightPercent": 100}, SOURCE]}, "for every source of train or for none"),
        (PREPARE, {"data.rowEnding": "Newline"}, "goes with lossOn AllTokens"),
        (PREPARE, {"data.split.strategy": "Temporal"}, "field is set when"),
        (PREPARE, {"data.split.field": "at"}, "field is set when"),
        (PREPARE, {"data.split.strategy": "Provided"}, "validation or test are given"),
        (PREPARE, {"data.cleaning.nearDuplicates.similarityPercent": 50}, "nearDuplicates.similarityPercent"),
        (PREPARE, {"maxSequenceLength": "long"}, "maxSequenceLength"),
        (PREPARE, {"baseModel.uri": "http://example.com/model"}, "baseModel.uri"),
        (PREPARE, {"data.train": [{"name": "a", "uri": "/etc/passwd"}]}, "data.train.0.uri"),
        (PREPARE, {"stage": "Dream"}, "Dream"),
        (TRAIN, {"hyperparameters.learningRate": "fast"}, "hyperparameters.learningRate"),
        (TRAIN, {"hyperparameters.learningRate": "0.0"}, "learningRate 0.0 is not above 0"),
        (TRAIN, {"hyperparameters.learningRate": 0.1}, "hyperparameters.learningRate"),
        (TRAIN, {"hyperparameters.maxSteps": None}, "no end"),
        (TRAIN, {"hyperparameters.warmupRatio": "1.5"}, "warmupRatio"),
        (TRAIN, {"hyperparameters.warmupRatio": None}, "one of warmupRatio and warmupSteps"),
        (TRAIN, {"hyperparameters.warmupSteps": 3}, "one of warmupRatio and warmupSteps"),
        (TRAIN, {"hyperparameters.precision": "bf16"}, "hyperparameters.precision"),
        (
            TRAIN,
            {"hyperparameters.globalBatchSize": 24},
            "no multiple of batchSize x nodes x processesPerNode, which is 8 x",
        ),
        (
            TRAIN,
            {"hyperparameters.globalBatchSize": 32, "hyperparameters.gradientAccumulationSteps": 2},
            "the second follows from the first",
        ),
        (
            TRAIN,
            {"distribution.offload": "Optimizer", "distribution.zeroStage": 0},
            "Optimizer is not possible with zeroSt",
        ),
        (TRAIN, {"distribution.offload": "OptimizerAndParameters"}, "is not possible with zeroStage 2"),
        (
            TRAIN,
            {"distribution.configOverride": {"zero_optimization.stage": "3"}},
            "zero_optimization.stage is not for configOverride to set: Serin makes it from distribution.deepspeed.zeroStage",
        ),
        (
            TRAIN,
            {"distribution.configOverride": {"flops_profiler.output_file": "a"}},
            "flops_profiler.output_file is not among",
        ),
        (TRAIN, {"distribution.zeroStage": 4}, "distribution.zeroStage"),
        (TRAIN, {"method": {"type": "LoRA"}}, "lora is set when"),
        (TRAIN, {"method": {"type": "IA3"}}, "ia3 is set when"),
        (TRAIN, {"method": {"type": "PromptTuning"}}, "promptTuning is set when"),
        (TRAIN, {"method": {**PROMPT, "adapter": "Merged"}}, "a prompt is in no weight"),
        (TRAIN, {"method": {"type": "QLoRA"}}, "lora is set when"),
        (
            TRAIN,
            {"method": {**LORA, "type": "QLoRA"}, "distribution.zeroStage": 3},
            "type QLoRA is not possible with zeroStage 3",
        ),
        (TRAIN, {"method": {**IA3, "type": "Full"}}, "ia3 is set when"),
        (
            TRAIN,
            {"method": {"type": "IA3", "ia3": {"targetModules": ["k_proj"], "feedforwardModules": ["up_proj"]}}},
            "feedforwardModules names up_proj, which is not among targetModules",
        ),
        (TRAIN, {"method": {**LORA, "type": "Full"}}, "lora is set when"),
        (TRAIN, {"dataDigest": "abc"}, "dataDigest"),
        (CONSOLIDATE, {"lineage.trainKey": "xyz!"}, "lineage.trainKey"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, config: dict[str, Any], changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(write_config(tmp_path / "config.json", changed(config, changes)))
    assert refusal.value.exit_code == 64
    assert refusal.value.reason == "InvalidConfig"
    assert named in refusal.value.message


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "nothing.json")


def test_many_problems_are_counted_not_listed(tmp_path: Path) -> None:
    wrong = changed(TRAIN, dict.fromkeys(["key", "job", "output", "attempt", "dataUri"], -1))
    with pytest.raises(ConfigError, match=r"and 2 more"):
        load(write_config(tmp_path / "config.json", wrong))


def test_a_refused_config_still_says_whose_it_is(tmp_path: Path) -> None:
    path = write_config(tmp_path / "config.json", changed(TRAIN, {"attempt": "x"}))
    assert identity(path) == ("Train", "4f00bb")
    path.write_text("not json")
    assert identity(path) == ("", "")
    path.write_text("[]")
    assert identity(path) == ("", "")
