"""The contract with the operator does not change unnoticed."""

from serin_evaluator.config import EvaluateConfig
from serin_evaluator.result import Result
from support.golden import assert_schema_is_current


def test_the_schema_of_the_config_is_current() -> None:
    assert_schema_is_current("evaluate.config", EvaluateConfig.model_json_schema(by_alias=True))


def test_the_schema_of_the_result_is_current() -> None:
    assert_schema_is_current("evaluate.result", Result.model_json_schema(by_alias=True, mode="serialization"))
