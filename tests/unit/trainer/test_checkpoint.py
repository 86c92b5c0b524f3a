"""Only a checkpoint that was finished and is still whole is resumed from."""

import json
import os
import random
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from serin_trainer import checkpoint


def _write(folder: Path, step: int) -> None:
    (folder / "global_step").mkdir(parents=True)
    (folder / "global_step" / "shard_0.pt").write_bytes(b"zero" * step)
    (folder / "latest").write_text("global_step")


def _save(output: Path, step: int, finished: bool = True, loss: float | None = None) -> Path:
    """As training saves: into a hidden folder, then published."""
    folder = checkpoint.saving(output, step)
    if not finished:
        _write(output / folder.name, step)
        return output / folder.name
    _write(folder, step)
    return checkpoint.publish(output, step, checkpoint.describe(folder, checkpoint.file_names(folder)), loss)


def _forked(work: Callable[[], object]) -> int:
    """The exit status of a child that does the work and ends; 9 when it was killed."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except OSError:
            os._exit(1)
        except BaseException:
            os._exit(2)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


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
    assert sorted(path.name for path in tmp_path.glob("ch*")) == ["checkpoint-3", "checkpoint-4", "checkpoint-5"]


def test_the_best_are_kept_beside_the_newest(tmp_path: Path) -> None:
    for step, loss in enumerate((3.0, 1.0, 2.0, None, 1.5, 2.5), 1):
        _save(tmp_path, step, loss=loss)
    checkpoint.rotate(tmp_path, recent=1, best=2)
    assert [found.step for found in checkpoint.folders(tmp_path)] == [6, 5, 2]
    best, notices = checkpoint.best_whole(tmp_path)
    assert best is not None
    assert (best.step, checkpoint.validation_loss(best), notices) == (2, 1.0, [])


def test_of_equal_losses_the_newest_is_the_best_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        _save(tmp_path, step, loss=1.0)
    (tmp_path / "checkpoint-3" / "latest").unlink()
    best, notices = checkpoint.best_whole(tmp_path)
    assert best is not None
    assert best.step == 2
    assert notices == ["checkpoint-3 is not used: latest is missing"]


def test_a_marker_of_the_first_version_is_still_one(tmp_path: Path) -> None:
    marker = _save(tmp_path, 5) / checkpoint.MARKER
    document = json.loads(marker.read_text())
    marker.write_text(json.dumps({"step": document["step"], "files": document["files"]}))
    assert checkpoint.damage(tmp_path / "checkpoint-5") == ""


def test_a_checkpoint_under_another_ones_name_is_not_used(tmp_path: Path) -> None:
    _save(tmp_path, 5).rename(tmp_path / "checkpoint-50")
    assert checkpoint.newest_whole(tmp_path)[0] is None


def test_a_file_swapped_with_another_checkpoints_is_found(tmp_path: Path) -> None:
    old, new = _save(tmp_path, 5), _save(tmp_path, 10)
    shutil.copy(old / "global_step" / "shard_0.pt", new / "global_step" / "shard_0.pt")
    assert checkpoint.damage(new) == "global_step/shard_0.pt has 20 bytes, not 40"


def test_killed_before_any_call_that_changes_files_an_earlier_or_the_new_one_is_whole(tmp_path: Path) -> None:
    """Each call that opens, renames or removes is a point at which the process dies, in saving and in rotating."""
    calls = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "shutil.rmtree"}

    def save_and_die_at(output: Path, point: int) -> Callable[[], None]:
        def work() -> None:
            left = point

            def hook(event: str, _arguments: object) -> None:
                nonlocal left
                if event in calls:
                    left -= 1
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(hook)
            checkpoint.remove_unfinished_after(output, 4)
            _save(output, 5, loss=2.0)
            checkpoint.rotate(output, recent=1, best=1)

        return work

    died, seen, before = 0, set(), tmp_path / "before"
    for step, loss in ((2, 1.0), (4, 1.2)):
        _save(before, step, loss=loss)
    for point in range(1, 500):
        output = tmp_path / str(point)
        shutil.copytree(before, output)
        status = _forked(save_and_die_at(output, point))
        assert status in (-signal.SIGKILL, 0)
        found, _ = checkpoint.newest_whole(output)
        assert found is not None
        assert found.step in (4, 5)
        assert checkpoint.damage(output / "checkpoint-2") == ""  # the best stays, whatever happens
        seen.add(found.step)
        # And the next attempt saves the same step without a person's help.
        checkpoint.remove_unfinished_after(output, 4)
        assert checkpoint.damage(_save(output, 5, loss=2.0)) == ""
        shutil.rmtree(output)
        if status == 0:
            break
        died += 1
    assert died > 20
    assert seen == {4, 5}


def test_on_a_full_disk_at_any_byte_the_earlier_one_stays(tmp_path: Path) -> None:
    _save(tmp_path, 4)
    for limit in range(0, 1400, 13):

        def work(limit: int = limit) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            checkpoint.remove_unfinished_after(tmp_path, 4)
            _save(tmp_path, 100)

        status = _forked(work)
        found, _ = checkpoint.newest_whole(tmp_path)
        assert found is not None
        assert (status, found.step) in ((1, 4), (0, 100))
        if found.step == 100:
            return
    pytest.fail("no limit was large enough")


def test_every_flipped_bit_is_found_and_its_file_is_named(tmp_path: Path) -> None:
    _save(tmp_path, 5)
    folder = _save(tmp_path, 300, loss=0.5)
    files = [path for path in folder.rglob("*") if path.is_file()]
    places = [(path, at) for path in files for at in range(path.stat().st_size)]
    chance = random.Random(7)
    for path, at in chance.sample(places, 1000):
        content = path.read_bytes()
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :])
        found, notices = checkpoint.newest_whole(tmp_path)
        path.write_bytes(content)
        assert found is not None
        assert found.step == 5, f"byte {at} of {path.name}"
        # A flip in the marker's list may show as a file that the flipped name does not name.
        assert path.name in notices[0] or path.name == checkpoint.MARKER
    assert checkpoint.damage(folder) == ""


def test_what_lies_beyond_the_resumed_step_is_removed(tmp_path: Path) -> None:
    _save(tmp_path, 5)
    _save(tmp_path, 10, finished=False)
    checkpoint.remove_unfinished_after(tmp_path, 5)
    assert [found.step for found in checkpoint.folders(tmp_path)] == [5]


def test_other_folders_are_not_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-7").write_text("a file")
    assert checkpoint.folders(tmp_path) == []
