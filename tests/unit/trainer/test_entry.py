"""The entry always answers: whatever happens, there is a document and a code."""

import json
from pathlib import Path

import pytest
from serin_trainer import __main__ as entry
from serin_trainer.result import ConsolidateOutput, report, succeeded
from support.training import CONSOLIDATE, PREPARE, TRAIN, changed, write_config


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SERIN_PVC_ROOT", str(tmp_path / "pvc"))
    monkeypatch.setenv("SERIN_RESULT_PATH", str(tmp_path / "log"))
    monkeypatch.delenv("RANK", raising=False)
    return tmp_path


def _answer(pod: Path) -> dict[str, object]:
    return json.loads((pod / "log").read_bytes())


def test_a_wrong_config_is_the_users_turn(pod: Path) -> None:
    path = write_config(pod / "config.json", changed(TRAIN, {"attempt": 0}))
    assert entry.main(["--config", str(path)]) == 64
    answer = _answer(pod)
    assert (answer["stage"], answer["key"], answer["reason"]) == ("Train", "4f00bb", "InvalidConfig")


def test_a_missing_data_set_is_named_and_written_beside_the_output_too(pod: Path) -> None:
    path = write_config(pod / "config.json", PREPARE)
    assert entry.main(["--config", str(path)]) == 65
    assert _answer(pod)["reason"] == "DatasetNotFound"
    assert (pod / "pvc/artifacts/prepare-3f00aa/result.json").read_bytes() == (pod / "log").read_bytes()


def test_an_unforeseen_exception_is_reported_and_unknown(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(_config: object) -> None:
        raise RuntimeError("the sky fell")

    monkeypatch.setattr(entry, "run", break_down)
    assert entry.main(["--config", str(write_config(pod / "config.json", PREPARE))]) == 1
    assert _answer(pod)["message"] == "RuntimeError: the sky fell"


def test_a_finished_stage_is_reported_again_without_doing_it(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = ConsolidateOutput(model_uri="pvc://a/b", digest="sha256:1", size_bytes=1, parameters=2, files=3)
    folder = pod / "pvc/artifacts/model-5f00cc"
    report(succeeded("Consolidate", "5f00cc", "done before", output), folder)
    (pod / "log").unlink()
    monkeypatch.setattr(entry, "run", lambda _config: pytest.fail("it was done again"))
    assert entry.main(["--config", str(write_config(pod / "config.json", CONSOLIDATE))]) == 0
    assert _answer(pod)["message"] == "done before"


def test_only_rank_zero_writes_beside_the_output(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert entry.main(["--config", str(write_config(pod / "config.json", PREPARE))]) == 65
    assert (pod / "log").exists()
    assert not (pod / "pvc/artifacts/prepare-3f00aa").exists()
    (pod / "log").unlink()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert entry.main(["--config", str(write_config(pod / "config.json", PREPARE))]) == 65
    assert not (pod / "log").exists()
