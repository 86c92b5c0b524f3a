"""`--verify-only`: the proof that stands before a server which cannot check the model itself."""

import hashlib
import json
from pathlib import Path

import pytest
from serin_server.__main__ import main


def a_pod(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A volume with a model of one file, and the config that names it; both paths."""
    monkeypatch.setenv("SERIN_PVC_ROOT", str(folder))
    monkeypatch.setenv("SERIN_RESULT_PATH", str(folder / "said"))
    model = folder / "artifacts" / "model"
    model.mkdir(parents=True)
    weights = model / "model.safetensors"
    weights.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    listed = [{"path": "model.safetensors", "sizeBytes": 7, "sha256": digest}]
    (model / "manifest.json").write_text(json.dumps({"files": listed}))
    whole = hashlib.sha256(f"{digest}  model.safetensors\n".encode()).hexdigest()
    config = folder / "config.json"
    config.write_text(
        json.dumps(
            {
                "stage": "Serve",
                "key": "abc",
                "job": {"namespace": "ml", "name": "bot"},
                "model": {"uri": "pvc://artifacts/model", "digest": f"sha256:{whole}", "name": "bot"},
                "revision": "bot-1",
            }
        )
    )
    return config, weights


def test_an_untouched_model_lets_the_next_container_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, _ = a_pod(tmp_path, monkeypatch)
    assert main(["--config", str(config), "--verify-only"]) == 0


@pytest.mark.parametrize(("content", "code"), [(b"weights", 0), (b"swapped", 65)])
def test_files_that_were_fetched_are_proven_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, code: int
) -> None:
    config, weights = a_pod(tmp_path, monkeypatch)
    weights.write_bytes(content)
    fetched = weights.parent.rename(tmp_path / "fetched")
    document = json.loads(config.read_text())
    document["model"] |= {"uri": "s3://models/sha256-0", "path": "/fetched"}
    config.write_text(json.dumps(document))
    monkeypatch.setattr("serin_server.__main__._folder", lambda placed: fetched)
    assert main(["--config", str(config), "--verify-only"]) == code
    assert code == 0 or "model.safetensors of s3://models/sha256-0 has SHA-256" in (tmp_path / "said").read_text()


@pytest.mark.parametrize(("of_base", "code"), [(b"base", 0), (b"swapped", 65)])
def test_the_base_of_an_adapter_is_proven_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_base: bytes, code: int
) -> None:
    config, weights = a_pod(tmp_path, monkeypatch)
    sha256 = hashlib.sha256(b"base").hexdigest()
    digest = "sha256:" + hashlib.sha256(f"{sha256}  model.safetensors\n".encode()).hexdigest()
    base = tmp_path / "models" / "base"
    base.mkdir(parents=True)
    (base / "model.safetensors").write_bytes(of_base)
    (weights.parent / "base.json").write_text(json.dumps({"digest": digest}))
    files = {name: (weights.parent / name).read_bytes() for name in ("base.json", "model.safetensors")}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    listed = [{"path": name, "sizeBytes": len(files[name]), "sha256": sums[name]} for name in files]
    (weights.parent / "manifest.json").write_text(json.dumps({"files": listed}))
    whole = hashlib.sha256("".join(f"{sums[name]}  {name}\n" for name in files).encode()).hexdigest()
    document = json.loads(config.read_text())
    document["model"] |= {"digest": f"sha256:{whole}", "base": {"uri": "pvc://models/base", "digest": digest}}
    config.write_text(json.dumps(document))
    assert main(["--config", str(config), "--verify-only"]) == code


def test_swapped_weights_keep_the_next_container_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config, weights = a_pod(tmp_path, monkeypatch)
    weights.write_bytes(b"swapped")
    assert main(["--config", str(config), "--verify-only"]) == 65
    assert "ModelDamaged" in caplog.text
    assert "model.safetensors" in caplog.text
