"""Brings built images from buildah's store into containerd without multiplying copies.

The layout on the way holds only what containerd lacks: blobs it already has are hard links to its own, so they are not
written again, and are left out of the stream. So a change of code moves kilobytes, not the torch stack below it. The
layout is gone before containerd unpacks.
"""

from __future__ import annotations

import contextlib
import io
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
from serin_devcluster.scratch import unfinished

BLOBS = Path("blobs") / "sha256"
IMAGE_NAME = "io.containerd.image.name"


def missing_images(wanted: Mapping[str, str], ctr: Ctr) -> list[str]:
    held = ctr.image_names()
    return [reference for reference in wanted.values() if reference not in held]


def load(references: list[str], paths: Paths, buildah: Buildah, ctr: Ctr) -> None:
    """Imports the images, then unpacks them, so that the first pod does not wait for it."""
    for reference in references:
        layout = unfinished(paths, "layout")
        (layout / BLOBS).mkdir(parents=True)
        try:
            held = link_blobs(content_store(paths), layout / BLOBS)
            buildah.copy_to_layout(reference, layout)
            stream(layout, reference, held, ctr)
        finally:
            shutil.rmtree(layout, ignore_errors=True)
        ctr.unpack(ctr.image_targets()[reference])


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


def stream(layout: Path, reference: str, held: set[str], ctr: Ctr) -> None:
    """Sends the image as an OCI archive, without the blobs that are held."""
    index = named(json.loads((layout / "index.json").read_text()), reference)
    manifest = digest_of(index["manifests"][0])
    importing = ctr.start_import()
    assert importing.stdin is not None
    with (
        contextlib.suppress(BrokenPipeError),
        tarfile.open(fileobj=importing.stdin, mode="w|", bufsize=1 << 20) as archive,
    ):
        add_bytes(archive, "oci-layout", (layout / "oci-layout").read_bytes())
        for name in [manifest, *blobs_of(json.loads((layout / BLOBS / manifest).read_text()))]:
            if name not in held:
                archive.add(layout / BLOBS / name, str(BLOBS / name))
        add_bytes(archive, "index.json", json.dumps(index).encode())
    finish(importing)


def named(index: dict[str, Any], reference: str) -> dict[str, Any]:
    """The index with the name where containerd looks for it, in an annotation of its own."""
    (entry,) = index["manifests"]
    return {**index, "manifests": [{**entry, "annotations": {IMAGE_NAME: reference}}]}


def blobs_of(manifest: Mapping[str, Any]) -> list[str]:
    """The configuration and the layers, each once."""
    return list(dict.fromkeys(digest_of(part) for part in (manifest["config"], *manifest["layers"])))


def digest_of(descriptor: Mapping[str, Any]) -> str:
    """A blob's file name: its digest without the algorithm."""
    return descriptor["digest"].partition(":")[2]


def add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
