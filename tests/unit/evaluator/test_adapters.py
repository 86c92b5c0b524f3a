"""What stands before an adapter is loaded: the base that it names, its kind, and no adapter where none was asked for."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import serin_evaluator.adapters
import serin_evaluator.errors
import serin_server.adapters
import serin_server.errors
from serin_evaluator.errors import DataError
from serin_evaluator.manifest import verify_base

DIGEST = "sha256:" + "b" * 64
BOTH = pytest.mark.parametrize(
    ("adapters", "error"),
    [
        pytest.param(serin_evaluator.adapters, serin_evaluator.errors.DataError, id="evaluator"),
        pytest.param(serin_server.adapters, serin_server.errors.ModelError, id="server"),
    ],
)


def test_the_adapter_of_this_base_is_taken(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text(json.dumps({"uri": "hf://org/base", "digest": DIGEST}))
    verify_base(tmp_path, DIGEST, "pvc://a/adapter")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        pytest.param(lambda at: None, "does not say", id="none"),
        pytest.param(lambda at: at.write_text("7"), "does not say", id="no object"),
        pytest.param(lambda at: at.write_text('{"digest": "sha256:0"}'), "was trained on", id="another"),
    ],
)
def test_the_adapter_of_another_base_is_refused(tmp_path: Path, write: Callable[[Path], object], said: str) -> None:
    write(tmp_path / "base.json")
    with pytest.raises(DataError, match=said):
        verify_base(tmp_path, DIGEST, "pvc://a/adapter")


@BOTH
def test_a_model_that_would_load_another_one_is_refused(
    tmp_path: Path, adapters: ModuleType, error: type[Exception]
) -> None:
    adapters.refuse_unasked(tmp_path, "pvc://a/model")
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "/mnt/pvc/other"}')
    with pytest.raises(error, match="other weights than its own"):
        adapters.refuse_unasked(tmp_path, "pvc://a/model")


@BOTH
@pytest.mark.parametrize(
    ("kind", "file"),
    [("LORA", "adapter_model.bin"), ("XLORA", "adapter_model.safetensors"), (None, "adapter_model.safetensors")],
)
def test_an_adapter_of_an_unknown_kind_or_in_a_pickle_is_not_opened(
    tmp_path: Path, adapters: ModuleType, error: type[Exception], kind: str | None, file: str
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": kind}))
    (tmp_path / file).write_bytes(b"")
    with pytest.raises(error, match=r"in adapter_model\.safetensors"):
        adapters.with_adapter(None, tmp_path, "pvc://a/adapter")
