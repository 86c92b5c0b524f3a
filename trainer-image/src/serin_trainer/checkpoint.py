"""Which checkpoints can be trusted: those that were published whole and whose files still are what their marker says.

Many processes write into one folder, and a crash may leave any part of it. So they write into a hidden folder; when all
files are on disk, the marker with their sizes and hashes is written there as the last one, and only then the folder gets
the name under which a later attempt looks for it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .files import sync_and_hash, sync_directory, write_atomically

MARKER = "complete.json"
SAVING = ".saving"
RESIZED = ".resized"  # copies for another number of processes, until they are loaded
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    step: int
    path: Path


def folders(output: Path) -> list[Checkpoint]:
    """All checkpoint folders, newest first, complete or not."""
    found = []
    for path in output.glob("checkpoint-*"):
        number = path.name.removeprefix("checkpoint-")
        if path.is_dir() and number.isdigit():
            found.append(Checkpoint(int(number), path))
    return sorted(found, key=lambda checkpoint: checkpoint.step, reverse=True)


def saving(output: Path, step: int) -> Path:
    """Where a checkpoint is while it is being written."""
    return output / SAVING / f"checkpoint-{step}"


def file_names(folder: Path) -> list[str]:
    """The files of a checkpoint without its marker, sorted."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != MARKER and not name.startswith("."))


def describe(folder: Path, names: Iterable[str]) -> list[dict[str, object]]:
    """Sizes and hashes of some of the files, each synced first. Processes share this work between them."""
    return [
        {"path": name, "sizeBytes": (folder / name).stat().st_size, "sha256": sync_and_hash(folder / name)}
        for name in names
    ]


def complete(folder: Path, step: int, files: list[dict[str, object]], loss: float | None = None) -> None:
    """Writes the marker, after the names of all files are as durable as the files. `loss` is the validation loss there."""
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_directory(path)
    content = {"step": step, "validationLoss": loss, "files": sorted(files, key=lambda file: str(file["path"]))}
    document = {**content, "digest": _digest(content)}
    write_atomically(folder / MARKER, json.dumps(document, indent=1).encode())


def publish(output: Path, step: int, files: list[dict[str, object]], loss: float | None = None) -> Path:
    """Makes a saved checkpoint one that counts; from the rename on it does."""
    folder = saving(output, step)
    complete(folder, step, files, loss)
    target = output / f"checkpoint-{step}"
    if target.exists():
        # Of the same step and not resumed from: what an earlier attempt left. Its marker goes first.
        _remove(target)
    folder.rename(target)
    sync_directory(folder.parent)
    sync_directory(output)
    return target


def damage(folder: Path) -> str:
    """What is wrong with a checkpoint, in words that name the file; empty when it is whole."""
    try:
        marker = _marker(folder)
    except FileNotFoundError:
        return f"it was not finished (no {MARKER})"
    except OSError as error:
        return f"{MARKER} cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError):
        return f"{MARKER} is not readable"
    for file in marker["files"]:
        path = folder / file["path"]
        try:
            if not path.is_file():
                return f"{file['path']} is missing"
            if path.stat().st_size != file["sizeBytes"]:
                return f"{file['path']} has {path.stat().st_size} bytes, not {file['sizeBytes']}"
            if sync_and_hash(path) != file["sha256"]:
                return f"{file['path']} has other content than when it was saved"
        except OSError as error:
            return f"{file['path']} cannot be read ({error.strerror})"
    return ""


def newest_whole(output: Path) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint to resume from, and a notice for each newer one that had to be passed over."""
    return _first_whole(folders(output))


def best_whole(output: Path) -> tuple[Checkpoint | None, list[str]]:
    """The one with the lowest validation loss; of several the newest. Those without one do not take part."""
    return _first_whole(_by_loss(folders(output)))


def validation_loss(checkpoint: Checkpoint) -> float | None:
    """What was measured when it was saved; None when nothing was."""
    try:
        loss = _marker(checkpoint.path)["validationLoss"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return float(loss) if isinstance(loss, (int, float)) else None


def history(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """What was logged up to it: one entry a logged step or measurement, oldest first."""
    state = json.loads((checkpoint.path / "trainer_state.json").read_bytes())
    return list(state["log_history"])


def remove_unfinished_after(output: Path, step: int) -> None:
    """Removes what lies beyond the resumed step, so that new files never mix with those of a crashed attempt."""
    shutil.rmtree(output / SAVING, ignore_errors=True)
    remove_resized(output)
    for checkpoint in folders(output):
        if checkpoint.step > step:
            _remove(checkpoint.path)


def remove_resized(output: Path) -> None:
    shutil.rmtree(output / RESIZED, ignore_errors=True)


def rotate(output: Path, recent: int = KEPT, best: int = 0) -> None:
    """Keeps the newest complete checkpoints and those with the lowest validation losses; the others go."""
    whole = [checkpoint for checkpoint in folders(output) if (checkpoint.path / MARKER).is_file()]
    kept = {checkpoint.step for checkpoint in [*whole[:recent], *_by_loss(whole)[:best]]}
    for checkpoint in whole:
        if checkpoint.step not in kept:
            _remove(checkpoint.path)


def _first_whole(candidates: Iterable[Checkpoint]) -> tuple[Checkpoint | None, list[str]]:
    notices: list[str] = []
    for checkpoint in candidates:
        wrong = damage(checkpoint.path)
        if not wrong:
            return checkpoint, notices
        notices.append(f"{checkpoint.path.name} is not used: {wrong}")
    return None, notices


def _by_loss(checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
    losses = [(loss, checkpoint) for checkpoint in checkpoints if (loss := validation_loss(checkpoint)) is not None]
    return [checkpoint for _, checkpoint in sorted(losses, key=lambda pair: (pair[0], -pair[1].step))]


def _marker(folder: Path) -> dict[str, Any]:
    """The marker, if it is the one that was written into this folder."""
    document = json.loads((folder / MARKER).read_bytes())
    if not isinstance(document, dict):
        raise ValueError("it is not an object")
    if document.keys() == {"step", "files"}:
        return {**document, "validationLoss": None}  # as the first version wrote it
    if document.pop("digest") != _digest(document) or folder.name != f"checkpoint-{document['step']}":
        raise ValueError("its digest or its step is another")
    return document


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _remove(folder: Path) -> None:
    """The marker goes first and for good: a half-removed checkpoint never counts."""
    (folder / MARKER).unlink(missing_ok=True)
    sync_directory(folder)
    shutil.rmtree(folder)
