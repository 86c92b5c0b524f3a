"""The contract with the operator does not change unnoticed."""

import pytest
from pydantic import BaseModel
from serin_trainer.config import ConsolidateConfig, CopyConfig, FetchConfig, PrepareConfig, TrainConfig
from serin_trainer.report import PrepareReport
from serin_trainer.result import ConsolidateResult, CopyResult, PrepareResult, TrainResult
from support.golden import assert_schema_is_current


@pytest.mark.parametrize("model", [PrepareConfig, TrainConfig, ConsolidateConfig, CopyConfig, FetchConfig])
def test_the_schema_of_each_config_is_current(model: type[BaseModel]) -> None:
    stage = model.__name__.removesuffix("Config").lower()
    assert_schema_is_current(f"{stage}.config", model.model_json_schema(by_alias=True))


@pytest.mark.parametrize("model", [PrepareResult, TrainResult, ConsolidateResult, CopyResult])
def test_the_schema_of_each_result_is_current(model: type[BaseModel]) -> None:
    stage = model.__name__.removesuffix("Result").lower()
    assert_schema_is_current(f"{stage}.result", model.model_json_schema(by_alias=True, mode="serialization"))


def test_the_schema_of_the_report_is_current() -> None:
    assert_schema_is_current("prepare.report", PrepareReport.model_json_schema(by_alias=True, mode="serialization"))
    assert PrepareReport.model_fields["schema_version"].default == "serin.dev/prepare-report/v1"
