"""The way of an image into containerd: what is linked, named and streamed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from serin_devcluster import load
from serin_devcluster.containerd import Ctr


class Importer:
    """Stands where `ctr images import` reads its standard input."""

    def __init__(self) -> None:
        self.stdin = io.BytesIO()
        self.received = b""
        self.returncode = 0

    def communicate(self) -> tuple[bytes, bytes]:
        return b"", b""


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    folder = tmp_path / "layout"
    (folder / load.BLOBS).mkdir(parents=True)
    (folder / "oci-layout").write_text("{}")
    manifest = {"digest": "sha256:m", "annotations": {load.REFERENCE_NAME: "localhost/serin/trainer:abc"}}
    (folder / "index.json").write_text(json.dumps({"manifests": [manifest]}))
    return folder


def test_blobs_that_containerd_holds_are_linked_and_not_copied(tmp_path: Path) -> None:
    store, target = tmp_path / "store", tmp_path / "target"
    store.mkdir()
    target.mkdir()
    (store / "aa").write_bytes(b"layer")
    assert load.link_blobs(store, target) == {"aa"}
    assert os.path.samefile(store / "aa", target / "aa")


def test_a_containerd_without_images_has_nothing_to_link(tmp_path: Path) -> None:
    assert load.link_blobs(tmp_path / "none", tmp_path) == set()


def test_images_get_the_name_that_containerd_reads(layout: Path) -> None:
    load.name_images(layout / "index.json")
    (manifest,) = json.loads((layout / "index.json").read_text())["manifests"]
    assert manifest["annotations"][load.IMAGE_NAME] == "localhost/serin/trainer:abc"


def test_held_blobs_are_left_out_of_the_stream(layout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (layout / load.BLOBS / "aa").write_bytes(b"held already")
    (layout / load.BLOBS / "bb").write_bytes(b"new")
    importer = Importer()
    kept = io.BytesIO()
    monkeypatch.setattr(Ctr, "start_import", lambda _: importer)
    monkeypatch.setattr(load, "finish", lambda process: kept.write(process.stdin.getvalue()))
    load.stream(layout, {"aa"}, Ctr())
    with tarfile.open(fileobj=io.BytesIO(kept.getvalue())) as archive:
        assert archive.getnames() == ["oci-layout", "index.json", "blobs/sha256/bb"]


def test_nothing_to_load_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("something was started"))
    load.load([], tmp_path, tmp_path, Ctr())  # type: ignore[arg-type]
