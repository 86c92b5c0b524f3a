"""The digest is the contract's rule, written out here a second time with other means."""

import hashlib
import json
from pathlib import Path

from serin_trainer import manifest


def _model(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    (folder / "sub" / "z.txt").write_text("z")
    return folder


def test_the_digest_is_the_hash_of_the_sorted_lines(tmp_path: Path) -> None:
    def line(content: bytes, path: str) -> str:
        return f"{hashlib.sha256(content).hexdigest()}  {path}\n"

    lines = line(b"{}", "config.json") + line(b"weights", "model.safetensors") + line(b"z", "sub/z.txt")
    expected = "sha256:" + hashlib.sha256(lines.encode()).hexdigest()
    assert manifest.digest_of(_model(tmp_path / "m")) == expected


def test_manifest_and_result_do_not_count_but_everything_else_does(tmp_path: Path) -> None:
    folder = _model(tmp_path / "m")
    before = manifest.digest_of(folder)
    written, files = manifest.write(folder, {"trainKey": "3f00aa"})
    (folder / "result.json").write_text("{}")
    (folder / ".nfs001").write_text("a file system's own")
    assert manifest.digest_of(folder) == before == written
    assert [file.path for file in files] == ["config.json", "model.safetensors", "sub/z.txt"]
    (folder / "sub" / "result.json").write_text("{}")
    assert manifest.digest_of(folder) != before


def test_the_manifest_lists_files_with_size_and_lineage(tmp_path: Path) -> None:
    folder = _model(tmp_path / "m")
    manifest.write(folder, {"trainKey": "3f00aa"})
    document = json.loads((folder / "manifest.json").read_text())
    assert document["lineage"] == {"trainKey": "3f00aa"}
    assert document["files"][1] == {
        "path": "model.safetensors",
        "sizeBytes": 7,
        "sha256": hashlib.sha256(b"weights").hexdigest(),
    }


def test_a_renamed_file_changes_the_digest(tmp_path: Path) -> None:
    folder = _model(tmp_path / "m")
    before = manifest.digest_of(folder)
    (folder / "config.json").rename(folder / "config2.json")
    assert manifest.digest_of(folder) != before
