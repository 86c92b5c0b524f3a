"""The Debian base image, made by debootstrap since no registry is needed that way."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from serin_devcluster.buildah import Buildah
from serin_devcluster.keys import key_of
from serin_devcluster.paths import Paths
from serin_devcluster.scratch import unfinished
from serin_devcluster.shell import run

SUITE = "bookworm"
DEFAULT_MIRROR = "http://deb.debian.org/debian"
PUBLIC_NAME = "docker.io/library/debian:bookworm-slim"
RECIPE = "minbase without lists, caches, manuals and translations; 1"
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
EMPTIED = (
    "var/lib/apt/lists",
    "var/cache/apt",
    "var/log",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/doc",
    "var/cache/debconf",
)


def mirror() -> str:
    return os.environ.get("SERIN_DEBIAN_MIRROR", DEFAULT_MIRROR)


def debian_key() -> str:
    return key_of(SUITE, mirror(), RECIPE, *EMPTIED)


def build_debian(image: str, paths: Paths, buildah: Buildah) -> None:
    """Tags the tree with our keyed name and with the public name that the Dockerfiles default to."""
    tree = paths.rootfs / debian_key()
    if not tree.exists():
        place = unfinished(paths, "debian-rootfs")
        place.mkdir()
        log = paths.cache / "log" / "debootstrap.log"
        run(["debootstrap", "--variant=minbase", SUITE, place, mirror()], log=log)
        slim(place)
        paths.rootfs.mkdir(parents=True, exist_ok=True)
        place.rename(tree)
    buildah.commit_tree(tree, [image, PUBLIC_NAME], ["--cmd", "/bin/bash", "--env", f"PATH={SEARCH_PATH}"])
    shutil.rmtree(paths.rootfs)  # the image's layer is the copy that is kept


def slim(tree: Path) -> None:
    for name in EMPTIED:
        folder = tree / name
        if folder.is_dir():
            for entry in folder.iterdir():
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    (tree / "etc/dpkg/dpkg.cfg.d/slim").write_text(
        "path-exclude=/usr/share/man/*\npath-exclude=/usr/share/doc/*\npath-include=/usr/share/doc/*/copyright\npath-exclude=/usr/share/locale/*\n"
    )
    (tree / "etc/apt/apt.conf.d/slim").write_text('APT::Install-Recommends "false";\nAcquire::Languages "none";\n')
