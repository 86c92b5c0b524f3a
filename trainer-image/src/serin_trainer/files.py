"""Files that are either whole or not there: write, sync, rename."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """A reader sees the old file or the new one, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Makes names in the directory as durable as the files behind them."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_and_hash(path: Path) -> str:
    """The file's SHA-256, after its content has reached the disk."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        return hashlib.file_digest(stream, "sha256").hexdigest()


def empty_directory(directory: Path) -> None:
    """An existing, empty directory: what a crashed attempt left there must not end up in a digest."""
    directory.mkdir(parents=True, exist_ok=True)
    for child in directory.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()


def make_readable(directory: Path) -> None:
    """Weights are read by other pods, perhaps as another user; safetensors writes them for the owner only."""
    for path in directory.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
