"""Brings built images from buildah's store into containerd without multiplying copies.

The folder on the way holds only what containerd lacks: blobs it already has are hard links to its own, so buildah skips
them, and they are left out of the stream. So a change of code moves kilobytes, not the torch stack below it. The folder
is gone before containerd unpacks.
"""

from __future__ import annotations

import contextlib
import hashlib
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

BLOBS = Path("blobs") / "sha256"
MANIFEST = "manifest.json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
IMAGE_NAME = "io.containerd.image.name"


def missing_images(wanted: Mapping[str, str], ctr: Ctr) -> list[str]:
    held = ctr.image_names()
    return [reference for reference in wanted.values() if reference not in held]


def load(references: list[str], paths: Paths, buildah: Buildah, ctr: Ctr) -> None:
    """Imports the images, then unpacks them, so that the first pod does not wait for it."""
    for reference in references:
        folder = paths.scratch / f"image.{os.getpid()}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            held = link_blobs(content_store(paths), folder)
            buildah.push_to_folder(reference, folder)
            stream(folder, reference, held, ctr)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
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


def stream(folder: Path, reference: str, held: set[str], ctr: Ctr) -> None:
    """Sends the image as an OCI archive. Its manifest always goes along: the index points at it."""
    manifest = (folder / MANIFEST).read_bytes()
    importing = ctr.start_import()
    assert importing.stdin is not None
    with (
        contextlib.suppress(BrokenPipeError),
        tarfile.open(fileobj=importing.stdin, mode="w|", bufsize=1 << 20) as archive,
    ):
        add_bytes(archive, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
        for name in blobs_of(json.loads(manifest)):
            if name not in held:
                archive.add(folder / name, str(BLOBS / name))
        add_bytes(archive, str(BLOBS / digest_of(manifest)), manifest)
        add_bytes(archive, "index.json", json.dumps(index_of(manifest, reference)).encode())
    finish(importing)


def blobs_of(manifest: Mapping[str, Any]) -> list[str]:
    """The digests, without their algorithm, of the configuration and the layers."""
    parts = [manifest["config"], *manifest["layers"]]
    return list(dict.fromkeys(part["digest"].partition(":")[2] for part in parts))


def index_of(manifest: bytes, reference: str) -> dict[str, Any]:
    """containerd takes the image's name from an annotation of its own."""
    entry = {
        "mediaType": MANIFEST_TYPE,
        "digest": f"sha256:{digest_of(manifest)}",
        "size": len(manifest),
        "annotations": {IMAGE_NAME: reference},
    }
    return {"schemaVersion": 2, "manifests": [entry]}


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
