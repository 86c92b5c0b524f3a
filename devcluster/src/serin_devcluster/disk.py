"""Looks at the free disk before big builds begin: a full disk in the middle is worse than an error at the start."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from serin_devcluster.errors import DevclusterError

GIB = 1024**3
# Measured: Go's caches and the programs 15, the images in buildah's and containerd's stores 13, one copy on the way 6.
COLD_GIB = 30
IMAGES_GIB = 18
WARM_GIB = 5


def free_gib(folder: Path) -> float:
    """Free space on the file system that the folder is, or will be, on."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free / GIB


def require_free(folder: Path, need: int) -> None:
    free = free_gib(folder)
    if free < need:
        what = "the cluster needs" if need == WARM_GIB else "what is still to be built needs"
        raise DevclusterError(
            f"{free:.1f} GB are free for {folder}, but {what} {need} GB: free some space, "
            "or point SERIN_CACHE at a folder on a larger disk"
        )


def used_gib(folder: Path) -> float:
    """Blocks really used below the folder; hard links count once, other file systems mounted inside not at all."""
    if not folder.exists():
        return 0.0
    seen: set[tuple[int, int]] = set()
    device = folder.stat().st_dev
    total = 0
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if on_device(Path(root, name), device)]
        for name in files:
            try:
                status = os.lstat(os.path.join(root, name))
            except OSError:
                continue
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_blocks * 512
    return total / GIB


def on_device(folder: Path, device: int) -> bool:
    try:
        return folder.lstat().st_dev == device
    except OSError:
        return False
