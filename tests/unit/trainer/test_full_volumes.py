"""Whatever words a library finds for a full volume, a person reads one sentence."""

import errno
import json
import os
from pathlib import Path

import pytest
from serin_trainer import failures, full_volumes
from serin_trainer.errors import EXIT_DATA
from serin_trainer.full_volumes import out_of_room

SAID = [
    OSError(errno.ENOSPC, "No space left on device", "/mnt/pvc/artifacts/x/model.safetensors"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),
]
TORCH = RuntimeError(
    "[enforce fail at inline_container.cc:664] . PytorchStreamWriter failed writing file data/3: file write failed"
)


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system of 4 KiB blocks on which a hundred are left."""
    real = os.statvfs

    def statvfs(path: Path) -> os.statvfs_result:
        found = list(real(path))
        found[0], found[1], found[4] = 4096, 4096, 100
        return os.statvfs_result(found)

    monkeypatch.setattr(full_volumes.os, "statvfs", statvfs)


@pytest.mark.parametrize("error", SAID, ids=["no space", "quota", "safetensors"])
def test_an_error_that_says_so_is_one_of_room(error: Exception, tmp_path: Path) -> None:
    told = out_of_room(error, tmp_path)
    assert told is not None
    assert told.reason == "VolumeFull"
    assert "serin.dev/retry" in told.advice


def test_the_file_is_named_where_it_is_known(tmp_path: Path) -> None:
    told = out_of_room(SAID[0], tmp_path)
    assert told is not None
    assert "/mnt/pvc/artifacts/x/model.safetensors" in told.message


def test_torch_that_only_says_that_a_write_failed_is_believed_on_a_volume_without_room(tmp_path: Path, no_room) -> None:
    told = out_of_room(TORCH, tmp_path)
    assert told is not None
    assert "(0 MB are free)" in told.message


def test_and_not_on_a_volume_with_room(tmp_path: Path) -> None:
    assert out_of_room(TORCH, tmp_path) is None


def test_the_cause_behind_an_error_counts(tmp_path: Path) -> None:
    error = RuntimeError("the checkpoint could not be saved")
    error.__cause__ = SAID[0]
    assert out_of_room(error, tmp_path) is not None


@pytest.mark.parametrize(
    "error", [OSError(errno.EACCES, "Permission denied"), ValueError("file not found"), KeyError("x")]
)
def test_other_errors_stay_what_they_are(error: Exception, tmp_path: Path, no_room) -> None:
    assert out_of_room(error, tmp_path) is None


def test_an_output_that_is_not_there_yet_is_looked_for_above(tmp_path: Path, no_room) -> None:
    assert out_of_room(TORCH, tmp_path / "not" / "there") is not None


def test_a_stage_without_an_output_says_nothing_of_volumes() -> None:
    assert out_of_room(SAID[0], None) is None


def test_the_pod_says_it_and_ends_with_the_code_of_the_users_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SERIN_RESULT_PATH", str(tmp_path / "termination-log"))
    code = failures.fail("Train", "0123456789abcdef", tmp_path, SAID[0])
    assert code == EXIT_DATA
    assert json.loads((tmp_path / "termination-log").read_bytes())["reason"] == "VolumeFull"
    assert "VolumeFull: there is no room left" in capsys.readouterr().err
