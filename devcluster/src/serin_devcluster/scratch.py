"""The folder for half-made things: what an interrupted run left there goes, what another run still uses stays."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

from serin_devcluster.paths import Paths

# Our own entries end in the id of the process that makes them.
OWNED = re.compile(r".*\.(\d+)$")
# Temporary files of buildah and skopeo have names of theirs; no build takes a day.
STALE_SECONDS = 24 * 3600


def unfinished(paths: Paths, name: str) -> Path:
    """A fresh place for something of this process."""
    place = paths.scratch / f"{name}.{os.getpid()}"
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def clean(paths: Paths) -> None:
    """Removes what nobody will finish."""
    if paths.scratch.is_dir():
        for entry in paths.scratch.iterdir():
            if is_abandoned(entry):
                shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)


def is_abandoned(entry: Path) -> bool:
    if match := OWNED.fullmatch(entry.name):
        return not Path("/proc", match.group(1)).exists()
    try:
        return time.time() - entry.stat().st_mtime > STALE_SECONDS
    except FileNotFoundError:
        return False
