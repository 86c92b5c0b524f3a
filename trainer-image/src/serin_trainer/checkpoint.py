"""Which checkpoints can be trusted: those whose marker was written last and whose files still are what it says.

A checkpoint is a folder `checkpoint-<step>` that many processes write into; a crash may leave any part of it. Only
the marker, written after everything else is on disk, makes it one that a later attempt may start from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .files import sync_and_hash, write_atomically

MARKER = "complete.json"
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


def complete(folder: Path, step: int, files: list[dict[str, object]]) -> None:
    """Writes the marker; from here on the checkpoint counts."""
    document = {"step": step, "files": sorted(files, key=lambda file: str(file["path"]))}
    write_atomically(folder / MARKER, json.dumps(document, indent=1).encode())


def damage(folder: Path) -> str:
    """What is wrong with a checkpoint, in words; empty when it is whole."""
    try:
        files = json.loads((folder / MARKER).read_bytes())["files"]
        for file in files:
            path = folder / file["path"]
            if not path.is_file():
                return f"{file['path']} is missing"
            if path.stat().st_size != file["sizeBytes"]:
                return f"{file['path']} has {path.stat().st_size} bytes, not {file['sizeBytes']}"
            if sync_and_hash(path) != file["sha256"]:
                return f"{file['path']} has other content than when it was saved"
    except FileNotFoundError:
        return f"it was not finished (no {MARKER})"
    except (ValueError, KeyError, TypeError):
        return f"{MARKER} is not readable"
    return ""


def newest_whole(output: Path) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint to resume from, and a notice for each newer one that had to be passed over."""
    notices: list[str] = []
    for checkpoint in folders(output):
        wrong = damage(checkpoint.path)
        if not wrong:
            return checkpoint, notices
        notices.append(f"{checkpoint.path.name} is not used: {wrong}")
    return None, notices


def remove_unfinished_after(output: Path, step: int) -> None:
    """Removes what lies beyond the resumed step, so that new files never mix with those of a crashed attempt."""
    for checkpoint in folders(output):
        if checkpoint.step > step:
            shutil.rmtree(checkpoint.path)


def rotate(output: Path, kept: int = KEPT) -> None:
    """Keeps the newest complete checkpoints. The marker goes first: a half-removed checkpoint never counts."""
    whole = [checkpoint for checkpoint in folders(output) if (checkpoint.path / MARKER).is_file()]
    for checkpoint in whole[kept:]:
        (checkpoint.path / MARKER).unlink()
        shutil.rmtree(checkpoint.path)
