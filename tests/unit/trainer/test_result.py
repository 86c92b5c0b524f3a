"""The answer always fits, always arrives whole, and is found again by its key."""

import json
from pathlib import Path

import pytest
from serin_trainer.errors import ConfigError, DataError, TryAgainError
from serin_trainer.result import (
    MAX_BYTES,
    ConsolidateOutput,
    Result,
    encode,
    failed,
    finished,
    report,
    succeeded,
)

OUTPUT = ConsolidateOutput(model_uri="pvc://a/b", digest="sha256:1", size_bytes=1, parameters=2, files=3)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "termination-log"
    monkeypatch.setenv("SERIN_RESULT_PATH", str(path))
    return path


@pytest.mark.parametrize("sign", ["x", "ä", "漢", "🐦", '"', "\\", "\n", "\x00"])
@pytest.mark.parametrize("length", [0, 1000, 3800, 3990, 4096, 50_000])
def test_it_never_takes_more_than_a_termination_message_holds(sign: str, length: int) -> None:
    encoded = encode(succeeded("Consolidate", "3f00aa", sign * length, OUTPUT, advice=sign * (length // 2)))
    assert len(encoded) <= MAX_BYTES
    assert json.loads(encoded)["output"] == OUTPUT.model_dump(by_alias=True)


def test_a_long_message_is_shortened_before_advice_is() -> None:
    document = json.loads(encode(failed("Train", "3f00aa", DataError("DataDamaged", "m" * 9000, "a" * 500))))
    assert document["message"].endswith("m…")
    assert len(document["message"]) > 3000
    assert document["advice"] == "a" * 500


def test_a_short_document_is_left_as_it_is() -> None:
    document = json.loads(encode(failed("Train", "3f00aa", ConfigError("InvalidConfig", "no", "yes"))))
    assert document == {
        "stage": "Train",
        "key": "3f00aa",
        "outcome": "Failed",
        "reason": "InvalidConfig",
        "message": "no",
        "advice": "yes",
        "output": {},
    }


def test_an_unforeseen_exception_is_reported_by_its_type() -> None:
    result = failed("Train", "3f00aa", ZeroDivisionError("division by zero"))
    assert result.reason == "Unexpected"
    assert result.message == "ZeroDivisionError: division by zero"


def test_codes_say_whose_turn_it_is() -> None:
    assert [error("R", "m").exit_code for error in (ConfigError, DataError, TryAgainError)] == [64, 65, 75]


def test_the_same_document_is_in_the_log_and_beside_the_output(tmp_path: Path, log: Path) -> None:
    report(succeeded("Consolidate", "3f00aa", "done", OUTPUT), tmp_path / "out")
    assert log.read_bytes() == (tmp_path / "out" / "result.json").read_bytes()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["result.json"]


def test_a_failure_is_told_even_when_the_output_cannot_be_written(
    tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    report(failed("Train", "3f00aa", DataError("DataNotFound", "no data")), tmp_path / "file" / "out")
    assert json.loads(log.read_bytes())["reason"] == "DataNotFound"
    assert "could not be written" in capsys.readouterr().out


def test_a_finished_result_of_the_same_key_is_found_again(tmp_path: Path, log: Path) -> None:
    result = succeeded("Consolidate", "3f00aa", "done", OUTPUT)
    report(result, tmp_path)
    assert finished(tmp_path, "3f00aa") == result
    assert finished(tmp_path, "3f00ab") is None


def test_a_failed_or_broken_result_is_not_a_finished_one(tmp_path: Path, log: Path) -> None:
    report(failed("Consolidate", "3f00aa", DataError("X", "no")), tmp_path)
    assert finished(tmp_path, "3f00aa") is None
    (tmp_path / "result.json").write_text('{"stage": "Cons')
    assert finished(tmp_path, "3f00aa") is None
    assert finished(tmp_path / "nowhere", "3f00aa") is None


def test_an_output_that_alone_is_too_large_is_a_mistake_of_ours() -> None:
    huge = OUTPUT.model_copy(update={"model_uri": "x" * 5000})
    with pytest.raises(ValueError, match="more than 4096 bytes"):
        encode(Result.model_validate(succeeded("Consolidate", "3f00aa", "done", huge)))
