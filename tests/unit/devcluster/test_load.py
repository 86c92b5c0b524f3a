"""The way of an image into containerd: what is linked, and what is streamed."""

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

REFERENCE = "localhost/serin/trainer:0123456789ab"
MANIFEST = {
    "config": {"digest": "sha256:cc"},
    "layers": [{"digest": "sha256:aa"}, {"digest": "sha256:bb"}, {"digest": "sha256:bb"}],
}


class Importer:
    """Stands where `ctr images import` reads its standard input."""

    def __init__(self) -> None:
        self.stdin = io.BytesIO()


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    folder = tmp_path / "layout"
    (folder / load.BLOBS).mkdir(parents=True)
    blobs = {"mm": json.dumps(MANIFEST), "aa": "held already", "bb": "new layer", "cc": "{}", "dd": "of another image"}
    for name, text in blobs.items():
        (folder / load.BLOBS / name).write_text(text)
    (folder / "oci-layout").write_text("{}")
    (folder / "index.json").write_text(
        json.dumps({"schemaVersion": 2, "manifests": [{"digest": "sha256:mm", "size": 1}]})
    )
    return folder


def streamed(layout: Path, held: set[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    importer = Importer()
    kept = io.BytesIO()
    monkeypatch.setattr(Ctr, "start_import", lambda _: importer)
    monkeypatch.setattr(load, "finish", lambda process: kept.write(process.stdin.getvalue()))
    load.stream(layout, REFERENCE, held, Ctr())
    with tarfile.open(fileobj=io.BytesIO(kept.getvalue())) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]


def test_blobs_that_containerd_holds_are_linked_and_not_copied(tmp_path: Path) -> None:
    store, target = tmp_path / "store", tmp_path / "target"
    store.mkdir()
    target.mkdir()
    (store / "aa").write_bytes(b"layer")
    assert load.link_blobs(store, target) == {"aa"}
    assert os.path.samefile(store / "aa", target / "aa")


def test_a_containerd_without_images_has_nothing_to_link(tmp_path: Path) -> None:
    assert load.link_blobs(tmp_path / "none", tmp_path) == set()


def test_only_the_images_own_blobs_that_containerd_lacks_are_streamed(
    layout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = {Path(name).name for name in streamed(layout, {"aa", "dd"}, monkeypatch) if name.startswith("blobs/")}
    assert blobs == {"mm", "bb", "cc"}


def test_the_index_points_at_the_manifest_under_the_name_that_containerd_reads(
    layout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = streamed(layout, set(), monkeypatch)
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["digest"] == "sha256:mm"
    assert entry["annotations"][load.IMAGE_NAME] == REFERENCE


def test_nothing_to_load_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("something was started"))
    load.load([], tmp_path, tmp_path, Ctr())  # type: ignore[arg-type]
