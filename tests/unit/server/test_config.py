"""A wrong config is refused with the field's name, and told in a result that always fits."""

import json
from pathlib import Path
from typing import Any

import pytest
from serin_server.__main__ import main
from serin_server.config import load
from serin_server.errors import ConfigError, ModelError
from serin_server.result import LIMIT_BYTES, failure


def document(**changes: Any) -> dict[str, Any]:
    model = {"uri": "pvc://artifacts/ml/model", "digest": "sha256:" + "a" * 64, "name": "support-bot"}
    return {
        "stage": "Serve",
        "key": "3f9c",
        "job": {"namespace": "ml", "name": "support-bot"},
        "output": "",
        "model": model,
        "revision": "support-bot-3f9c",
        "port": 8000,
        "maxNewTokens": 128,
        "maxQueue": 64,
        **changes,
    }


def written(folder: Path, content: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(content))
    return path


def test_the_contracts_example_is_accepted(tmp_path: Path) -> None:
    assert load(written(tmp_path, document())).max_new_tokens == 128


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"port": 0}, "port", id="no port"),
        pytest.param({"maxQueue": 0}, "maxQueue", id="a queue without places"),
        pytest.param({"stage": "Train"}, "stage", id="another stage's config"),
        pytest.param({"threads": 3}, "threads", id="an unknown field"),
        pytest.param({"model": {**document()["model"], "digest": "latest"}}, "model.digest", id="no digest"),
        pytest.param({"model": {**document()["model"], "uri": "http://a/b"}}, "model.uri", id="no store at all"),
        pytest.param(
            {"model": {**document()["model"], "uri": "hf://a/b"}}, "model", id="a model that nobody has fetched"
        ),
        pytest.param({"model": {**document()["model"], "path": "/mnt/weights/model"}}, "model", id="one in two places"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, document(**changes)))

    assert f"The config's {field}: " in caught.value.message


def test_a_server_without_a_config_ends_with_64_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERIN_RESULT_PATH", str(tmp_path / "result"))

    assert main(["--config", str(tmp_path / "none.json")]) == 64
    assert json.loads((tmp_path / "result").read_text())["reason"] == "InvalidConfig"


def test_a_server_without_its_model_ends_with_65_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERIN_RESULT_PATH", str(tmp_path / "result"))
    monkeypatch.setenv("SERIN_PVC_ROOT", str(tmp_path))

    assert main(["--config", str(written(tmp_path, document()))]) == 65
    told = json.loads((tmp_path / "result").read_text())
    assert (told["key"], told["reason"], told["output"]) == ("3f9c", "ModelNotFound", {})


@pytest.mark.parametrize("text", ["x" * 9000, "é" * 9000, "\x00" * 9000], ids=["long", "of two bytes", "escaped"])
def test_a_failure_always_fits(text: str) -> None:
    encoded = failure("f" * 128, ModelError("ModelInvalid", text, text))

    assert len(encoded) <= LIMIT_BYTES
    assert json.loads(encoded)["reason"] == "ModelInvalid"
