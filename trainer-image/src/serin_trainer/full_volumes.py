"""A volume without room, told as such: libraries that write files say it in many ways, and some not at all.

Python's errors carry ENOSPC or EDQUOT (errno(3)); safetensors says "os error 28"; torch's writer says only that a write
failed. So an error is believed to be one of room when it says so, or when it says that a write failed and the volume
of the output has none left.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from .errors import DataError

_NUMBERS = (errno.ENOSPC, errno.EDQUOT)
_SAYS_SO = ("os error 28", "os error 122", "No space left on device", "Disk quota exceeded")
_WRITE_FAILED = ("PytorchStreamWriter failed", "file write failed", "enforce fail at inline_container")
# Less than this is none: a file system keeps some blocks for itself.
NO_ROOM = 2 * 2**20


def out_of_room(error: BaseException, output: Path | None) -> DataError | None:
    """The error as one of a full volume, in MB; None when it is another."""
    links = list(_chain(error))
    said = any(_says_so(link) for link in links)
    failed = any(sign in str(link) for link in links for sign in _WRITE_FAILED)
    if output is None or not (said or failed):
        return None
    free = _free(output)
    if not said and (free is None or free >= NO_ROOM):
        return None
    where = next((str(link.filename) for link in links if isinstance(link, OSError) and link.filename), str(output))
    left = "" if free is None else f" ({free / 1e6:.0f} MB are free)"
    return DataError(
        "VolumeFull",
        f"there is no room left on the volume of {where}{left}",
        "free some or enlarge the claim of spec.artifacts.uri, then annotate the job with"
        " serin.dev/retry=<a new word>; what was finished before is kept",
    )


def _says_so(link: BaseException) -> bool:
    if isinstance(link, OSError) and link.errno in _NUMBERS:
        return True
    return any(sign in str(link) for sign in _SAYS_SO)


def _chain(error: BaseException | None) -> list[BaseException]:
    """The error and what it came from, nearest first."""
    links: list[BaseException] = []
    while error is not None and error not in links:
        links.append(error)
        error = error.__cause__ or error.__context__
    return links


def _free(output: Path) -> int | None:
    """Bytes that may still be written where the output is, or would be."""
    for folder in (output, *output.parents):
        try:
            found = os.statvfs(folder)
        except OSError:
            continue
        return found.f_bavail * found.f_frsize
    return None
