"""What the trainer is told of a job's hyperparameters, and what of them makes another model."""

from typing import Any

import pytest
from serin_operator.api.v1alpha1 import FineTuneJobSpec, Hyperparameters
from serin_operator.decide.keys import train_key
from support.objects import MINIMAL


def key(**spec: Any) -> str:
    manifest = {**MINIMAL["FineTuneJob"]["spec"], **spec}
    return train_key(FineTuneJobSpec.model_validate(manifest), "sha256:b", "sha256:d")


def hyper(**given: Any) -> Hyperparameters:
    return Hyperparameters.model_validate(given)


def test_a_job_of_before_keeps_its_key() -> None:
    # As version 0.1.0 made it of a job whose stored spec has that version's defaults.
    before = {"learningRate": "2e-4", "warmupRatio": "0.03", "gradientCheckpointing": False}
    assert key(hyperparameters=before) == "f2127fa8b888f164"


@pytest.mark.parametrize(
    "given",
    [
        {"learningRate": "2e-4"},
        {"warmupSteps": 10},
        {"precision": "BF16"},
        {"gradientCheckpointing": True},
        {"globalBatchSize": 64},
    ],
    ids=str,
)
def test_what_changes_the_weights_changes_the_key(given: dict[str, Any]) -> None:
    assert key(hyperparameters=given) != key()


def test_the_usual_warmup_said_or_not_is_one_training() -> None:
    assert key(hyperparameters={"warmupRatio": "0.03"}) == key()
    assert hyper().filled()["warmupRatio"] == "0.03"
    assert "warmupRatio" not in hyper(warmupSteps=0).filled()


@pytest.mark.parametrize(("processes", "accumulation"), [(1, 16), (2, 8), (16, 1)])
def test_accumulation_follows_from_the_global_batch(processes: int, accumulation: int) -> None:
    assert hyper(globalBatchSize=64, batchSize=4).accumulation(processes) == accumulation
    assert hyper(gradientAccumulationSteps=3).accumulation(processes) == 3
