"""Only a checkpoint that was finished and is still whole is resumed from."""

from pathlib import Path

import pytest
from serin_trainer import checkpoint


def _save(output: Path, step: int, finished: bool = True) -> Path:
    folder = output / f"checkpoint-{step}"
    (folder / "global_step").mkdir(parents=True)
    (folder / "global_step" / "shard_0.pt").write_bytes(b"zero" * step)
    (folder / "latest").write_text("global_step")
    if finished:
        checkpoint.complete(folder, step, checkpoint.describe(folder, checkpoint.file_names(folder)))
    return folder


def test_without_checkpoints_training_starts_at_the_beginning(tmp_path: Path) -> None:
    assert checkpoint.newest_whole(tmp_path) == (None, [])


def test_the_newest_is_taken_by_number_not_by_name(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        _save(tmp_path, step)
    found, notices = checkpoint.newest_whole(tmp_path)
    assert found is not None
    assert (found.step, notices) == (100, [])


def test_an_unfinished_one_is_passed_over_with_a_notice(tmp_path: Path) -> None:
    _save(tmp_path, 5)
    _save(tmp_path, 10, finished=False)
    found, notices = checkpoint.newest_whole(tmp_path)
    assert found is not None
    assert found.step == 5
    assert notices == ["checkpoint-10 is not used: it was not finished (no complete.json)"]


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda shard: shard.unlink(), "global_step/shard_0.pt is missing"),
        (lambda shard: shard.write_bytes(b"zero"), "has 4 bytes, not 40"),
        (lambda shard: shard.write_bytes(b"zerO" * 10), "has other content"),
        (lambda shard: (shard.parents[1] / "complete.json").write_text("{"), "not readable"),
        (lambda shard: (shard.parents[1] / "complete.json").write_text("[]"), "not readable"),
    ],
)
def test_damage_is_told_in_words_and_an_older_one_is_taken(tmp_path: Path, harm, told: str) -> None:
    _save(tmp_path, 5)
    harm(_save(tmp_path, 10) / "global_step" / "shard_0.pt")
    found, notices = checkpoint.newest_whole(tmp_path)
    assert found is not None
    assert found.step == 5
    assert len(notices) == 1
    assert told in notices[0]


def test_the_two_newest_complete_ones_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        _save(tmp_path, step)
    _save(tmp_path, 5, finished=False)
    checkpoint.rotate(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-3", "checkpoint-4", "checkpoint-5"]


def test_what_lies_beyond_the_resumed_step_is_removed(tmp_path: Path) -> None:
    _save(tmp_path, 5)
    _save(tmp_path, 10, finished=False)
    checkpoint.remove_unfinished_after(tmp_path, 5)
    assert [found.step for found in checkpoint.folders(tmp_path)] == [5]


def test_other_folders_are_not_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-7").write_text("a file")
    assert checkpoint.folders(tmp_path) == []
