"""URIs lead to mounted claims or to a hub, and nowhere else."""

from pathlib import Path

import pytest
from serin_trainer.errors import ConfigError, DataError
from serin_trainer.uris import data_file, model_directory, pvc_path


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SERIN_PVC_ROOT", str(tmp_path))
    return tmp_path


def test_a_claim_is_a_folder_of_the_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERIN_PVC_ROOT", raising=False)
    assert pvc_path("pvc://datasets/a/b.jsonl") == Path("/mnt/pvc/datasets/a/b.jsonl")
    assert pvc_path("pvc://datasets") == Path("/mnt/pvc/datasets")


@pytest.mark.parametrize(
    "uri",
    [
        "pvc://datasets/../models/x",
        "pvc://../x",
        "pvc:///x",
        "pvc://Data/x",
        "s3://bucket/x",
        "/etc/passwd",
        "file:///etc/passwd",
        "pvc://datasets/a b",
    ],
)
def test_what_leaves_the_claim_or_is_none_is_refused(root: Path, uri: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        pvc_path(uri)
    assert uri in refusal.value.message


def test_a_missing_data_set_is_named_by_its_uri(root: Path) -> None:
    with pytest.raises(DataError, match=r"pvc://datasets/x\.jsonl does not exist") as refusal:
        data_file("pvc://datasets/x.jsonl")
    assert refusal.value.reason == "DatasetNotFound"
    assert refusal.value.advice


def test_a_folder_is_not_a_data_set(root: Path) -> None:
    (root / "datasets").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        data_file("pvc://datasets")


def test_a_model_is_a_folder_with_a_config(root: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        model_directory("pvc://models/base")
    folder = root / "models" / "base"
    folder.mkdir(parents=True)
    with pytest.raises(DataError, match=r"has no config\.json") as refusal:
        model_directory("pvc://models/base")
    assert refusal.value.reason == "ModelNotFound"
    (folder / "config.json").write_text("{}")
    assert model_directory("pvc://models/base") == folder


@pytest.mark.parametrize("uri", ["hf://name", "hf://a/b/c", "hf://a/b@", "hf://a/b c"])
def test_a_wrong_hub_name_is_refused_before_any_network(uri: str) -> None:
    with pytest.raises(ConfigError):
        model_directory(uri)


@pytest.mark.parametrize(
    "uri",
    ["hf://a/b/c.jsonl", "hf://datasets/a/b", "hf://datasets/a/b@/c.jsonl", "hf://datasets/a/b/../c.jsonl", "s3://a/b"],
)
def test_a_wrong_hub_file_is_refused_before_any_network(root: Path, uri: str) -> None:
    with pytest.raises(ConfigError):
        data_file(uri)


def test_the_field_that_names_a_missing_file_is_told(root: Path) -> None:
    with pytest.raises(DataError) as refusal:
        data_file("pvc://datasets/x.jsonl", "data.test")
    assert "data.test" in refusal.value.advice
