"""The contract with the operator does not change unnoticed."""

from serin_server.config import ServeConfig
from support.golden import assert_schema_is_current


def test_the_schema_of_the_config_is_current() -> None:
    assert_schema_is_current("serve.config", ServeConfig.model_json_schema(by_alias=True))
