"""Content keys: the hash of what a built thing depends on. Same key, same thing; it need not be built again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

KEY_LENGTH = 12


def key_of(*parts: str | bytes) -> str:
    """A short hash of the parts. Lengths go in too, so ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(data)}:".encode())
        digest.update(data)
    return digest.hexdigest()[:KEY_LENGTH]


def file_parts(root: Path, patterns: Iterable[str]) -> list[str | bytes]:
    """Name, executable bit and content of each file below root that a pattern names, in a stable order.

    A pattern that matches nothing is an error: a renamed input must not silently leave the key.
    """
    files: set[Path] = set()
    for pattern in patterns:
        found = [path for path in root.glob(pattern) if path.is_file() and not is_byproduct(path)]
        if not found:
            raise FileNotFoundError(f"no file matches {pattern!r} in {root}")
        files.update(found)
    parts: list[str | bytes] = []
    for path in sorted(files):
        executable = "x" if path.stat().st_mode & 0o100 else "-"
        parts += [f"{path.relative_to(root)} {executable}", path.read_bytes()]
    return parts


def is_byproduct(path: Path) -> bool:
    """True for what running or editing the code leaves behind."""
    return "__pycache__" in path.parts or path.suffix in {".pyc", ".swp"} or path.name.startswith(".#")
