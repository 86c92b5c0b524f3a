"""Brings built images from buildah's store into containerd without multiplying copies.

An OCI layout on the way holds only what containerd lacks: layers it already has are hard links to its own blobs, so
buildah skips them, and they are left out of the stream. The layout is gone before containerd unpacks.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serin_devcluster.buildah import Buildah
from serin_devcluster.containerd import Ctr, finish
from serin_devcluster.paths import Paths
from serin_devcluster.processes import wait_until

BLOBS = Path("blobs") / "sha256"
IMAGE_NAME = "io.containerd.image.name"
REFERENCE_NAME = "org.opencontainers.image.ref.name"


def missing_images(wanted: Mapping[str, str], ctr: Ctr) -> list[str]:
    held = ctr.image_names()
    return [reference for reference in wanted.values() if reference not in held]


def load(references: list[str], paths: Paths, buildah: Buildah, ctr: Ctr) -> None:
    """Imports the images, then unpacks them, so that the first pod does not wait for it."""
    if not references:
        return
    layout = paths.scratch / f"layout.{os.getpid()}"
    shutil.rmtree(layout, ignore_errors=True)
    (layout / BLOBS).mkdir(parents=True)
    held = link_blobs(content_store(paths), layout / BLOBS)
    try:
        for reference in references:
            buildah.push_to_layout(reference, layout)
        name_images(layout / "index.json")
        stream(layout, held, ctr)
    finally:
        shutil.rmtree(layout, ignore_errors=True)
    targets = ctr.image_targets()
    for reference in references:
        ctr.unpack(targets[reference])


def content_store(paths: Paths) -> Path:
    return paths.containerd / "io.containerd.content.v1.content" / BLOBS


def link_blobs(store: Path, target: Path) -> set[str]:
    """Hard links to every blob containerd holds; their names."""
    held: set[str] = set()
    if store.is_dir():
        for blob in store.iterdir():
            with contextlib.suppress(FileNotFoundError):  # containerd may collect garbage meanwhile
                os.link(blob, target / blob.name)
                held.add(blob.name)
    return held


def name_images(index: Path) -> None:
    """containerd takes an image's name from an annotation of its own."""
    document: dict[str, Any] = json.loads(index.read_text())
    for manifest in document["manifests"]:
        annotations = manifest["annotations"]
        annotations[IMAGE_NAME] = annotations[REFERENCE_NAME]
    index.write_text(json.dumps(document))


def stream(layout: Path, held: set[str], ctr: Ctr) -> None:
    importing = ctr.start_import()
    assert importing.stdin is not None
    with (
        contextlib.suppress(BrokenPipeError),
        tarfile.open(fileobj=importing.stdin, mode="w|", bufsize=1 << 20) as archive,
    ):
        for name in ("oci-layout", "index.json"):
            archive.add(layout / name, name)
        for blob in sorted((layout / BLOBS).iterdir()):
            if blob.name not in held:
                archive.add(blob, str(BLOBS / blob.name))
    finish(importing)


def prune(wanted: Mapping[str, str], outdated: list[str], ctr: Ctr) -> None:
    """Removes our images of older keys; containers that still run from them keep their snapshots until they end."""
    ctr.remove_images(outdated)
    wait_until(lambda: not set(outdated) & ctr.image_names(), 5)
