"""A model is served only when every file is the one the manifest and the digest speak of."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from serin_server.errors import ConfigError, ModelError
from serin_server.verify import local_path, verify


def model(folder: Path) -> str:
    """A folder of two files with its manifest; the digest."""
    (folder / "part").mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "part" / "model.safetensors").write_bytes(b"weights")
    sums = {path: hashlib.sha256((folder / path).read_bytes()).hexdigest() for path in FILES}
    files = [{"path": path, "sizeBytes": (folder / path).stat().st_size, "sha256": sums[path]} for path in FILES]
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    return "sha256:" + hashlib.sha256("".join(f"{sums[path]}  {path}\n" for path in FILES).encode()).hexdigest()


FILES = ("config.json", "part/model.safetensors")


def test_an_untouched_model_is_accepted(tmp_path: Path) -> None:
    digest = model(tmp_path)
    (tmp_path / "result.json").write_text("{}")
    (tmp_path / ".snapshot").write_text("a file system's own")

    verify(tmp_path, digest, "pvc://artifacts/model")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(lambda at: (at / "config.json").write_text("[]"), "config.json .* has SHA-256", id="same size"),
        pytest.param(lambda at: (at / "config.json").write_text("{ }"), "config.json .* has 3 bytes", id="other size"),
        pytest.param(lambda at: (at / "part/model.safetensors").unlink(), "but missing", id="a missing file"),
        pytest.param(lambda at: (at / "evil.py").write_text(""), "evil.py .* is not in the manifest", id="a new file"),
        pytest.param(lambda at: (at / "manifest.json").unlink(), "manifest.json .* cannot be read", id="no manifest"),
        pytest.param(lambda at: (at / "manifest.json").write_text("[]"), "cannot be read", id="a strange manifest"),
    ],
)
def test_a_touched_model_is_refused(tmp_path: Path, damage: Callable[[Path], object], said: str) -> None:
    digest = model(tmp_path)
    damage(tmp_path)

    with pytest.raises(ModelError, match=said) as caught:
        verify(tmp_path, digest, "pvc://artifacts/model")

    assert caught.value.exit_code == 65


def test_a_whole_model_with_another_digest_is_refused(tmp_path: Path) -> None:
    model(tmp_path)

    with pytest.raises(ModelError, match="was asked for"):
        verify(tmp_path, "sha256:" + "0" * 64, "pvc://artifacts/model")


def test_a_manifest_cannot_be_rewritten_to_fit_touched_files(tmp_path: Path) -> None:
    digest = model(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    document = json.loads((tmp_path / "manifest.json").read_text())
    document["files"][0]["sha256"] = hashlib.sha256(b"[]").hexdigest()
    (tmp_path / "manifest.json").write_text(json.dumps(document))

    with pytest.raises(ModelError, match="was asked for"):
        verify(tmp_path, digest, "pvc://artifacts/model")


@pytest.mark.parametrize("uri", ["pvc://claim/../other", "pvc://a//b", "file:///etc"])
def test_a_uri_cannot_leave_its_claim(uri: str) -> None:
    with pytest.raises(ConfigError):
        local_path(uri)
