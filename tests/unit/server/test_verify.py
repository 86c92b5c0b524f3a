"""A model is served only when every file is the one the manifest and the digest speak of."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from serin_server.errors import ConfigError, ModelError
from serin_server.verify import local_path, verify, verify_base


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


def an_adapter(root: Path) -> tuple[Path, Path, str]:
    """An adapter's folder, its base's, and the digest of the base."""
    base, adapter = root / "base", root / "adapter"
    base.mkdir()
    adapter.mkdir()
    digest = model(base)
    (base / "manifest.json").unlink()  # base models are downloaded: they have none
    (adapter / "base.json").write_text(json.dumps({"uri": "hf://org/base", "digest": digest}))
    return adapter, base, digest


def test_an_adapter_goes_with_the_base_that_it_was_trained_on(tmp_path: Path) -> None:
    adapter, base, digest = an_adapter(tmp_path)
    (base / ".cache").write_text("a tool's own")

    verify_base(adapter, base, digest, "pvc://models/base")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(lambda a, b: (b / "config.json").write_text("[]"), "base model .* has digest", id="other base"),
        pytest.param(lambda a, b: (b / "more.bin").write_text(""), "base model .* has digest", id="one file more"),
        pytest.param(lambda a, b: b.rename(b.with_name("gone")), "There is no model folder", id="no base"),
        pytest.param(lambda a, b: (a / "base.json").unlink(), "does not say", id="an adapter of nothing"),
        pytest.param(lambda a, b: (a / "base.json").write_text("[]"), "does not say", id="a strange adapter"),
        pytest.param(
            lambda a, b: (a / "base.json").write_text('{"digest": "sha256:1"}'), "was trained on", id="of another"
        ),
    ],
)
def test_an_adapter_with_another_base_is_refused(
    tmp_path: Path, damage: Callable[[Path, Path], object], said: str
) -> None:
    adapter, base, digest = an_adapter(tmp_path)
    damage(adapter, base)

    with pytest.raises(ModelError, match=said) as caught:
        verify_base(adapter, base, digest, "pvc://models/base")

    assert caught.value.exit_code == 65
