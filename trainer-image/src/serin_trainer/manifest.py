"""A model's or a data set's identity: the digest over its files, and the manifest that lists them.

The rule is the contract's: SHA-256 of the lines `<sha256>  <path>`, sorted by path, of all files but `manifest.json`
and `result.json` at the top.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .files import sync_and_hash, write_atomically
from .result import FILE_NAME as RESULT_NAME

FILE_NAME = "manifest.json"


@dataclass(frozen=True)
class FileEntry:
    path: str
    size_bytes: int
    sha256: str


def entries(directory: Path, hashed: Iterable[FileEntry] = ()) -> list[FileEntry]:
    """Every file that counts, in the order of the digest. Hidden files are a file system's or a tool's own.

    `hashed` are files whose hash is known from writing them; they are not read again.
    """
    known = {file.path: file for file in hashed}
    names = sorted(
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(directory).parts)
    )
    return [known.get(name) or _entry(directory, name) for name in names if name not in (FILE_NAME, RESULT_NAME)]


def digest(files: Iterable[FileEntry]) -> str:
    lines = "".join(f"{file.sha256}  {file.path}\n" for file in sorted(files, key=lambda file: file.path))
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def digest_of(directory: Path) -> str:
    return digest(entries(directory))


def write(directory: Path, lineage: Mapping[str, Any], hashed: Iterable[FileEntry] = ()) -> tuple[str, list[FileEntry]]:
    """Writes `manifest.json`; returns the digest and what it covers."""
    files = entries(directory, hashed)
    write_atomically(directory / FILE_NAME, encoded(files, lineage))
    return digest(files), files


def encoded(files: list[FileEntry], lineage: Mapping[str, Any]) -> bytes:
    document = {
        "files": [{"path": file.path, "sizeBytes": file.size_bytes, "sha256": file.sha256} for file in files],
        "digest": digest(files),
        "lineage": lineage,
    }
    return (json.dumps(document, indent=1) + "\n").encode()


def _entry(directory: Path, name: str) -> FileEntry:
    path = directory / name
    return FileEntry(name, path.stat().st_size, sync_and_hash(path))
