"""What was read: the files of each source by digest, so that a model's lineage names the bytes that it was made from.

What became of them is `dataDigest`'s business; it stays the same when a row that is dropped anyway changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .object_store import Rows


@dataclass(frozen=True)
class Origin:
    """The files of one source as they were when they were read."""

    files: int
    left_out: int  # beside them in their folder, and no files of rows
    size_bytes: int
    digest: str


UNREAD = Origin(0, 0, 0, "")


def origin(rows: Rows) -> Origin:
    """One file's digest is its SHA-256, as sha256sum tells it; that of several covers their names as well."""
    found = []
    for file in rows.files:
        with file.path.open("rb") as stream:
            found.append((file.uri, hashlib.file_digest(stream, "sha256").hexdigest()))
    digest = found[0][1] if len(found) == 1 else _over(f"{one}  {uri}" for uri, one in sorted(found))
    return Origin(len(found), rows.left_out, sum(file.path.stat().st_size for file in rows.files), f"sha256:{digest}")


def sources_digest(origins: Mapping[str, Origin]) -> str:
    """One digest over all sources, named <part>/<source>."""
    return "sha256:" + _over(f"{one.digest.removeprefix('sha256:')}  {name}" for name, one in sorted(origins.items()))


def _over(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
