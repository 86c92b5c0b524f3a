"""Of a server that names an authority of its own, that one's certificates are believed and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest
from serin_operator.api.v1alpha1 import Authority as Named
from serin_operator.api.v1alpha1 import AuthorityKind
from serin_operator.manifests.authorities import ROOT, authority_volumes
from serin_trainer.authorities import bundle
from serin_trainer.config import Authority, Mlflow
from serin_trainer.errors import DataError
from serin_trainer.mlflow import Server
from serin_trainer.telling import NotTold
from support.mlflow import PlayedMlflow
from support.tls import AUTHORITY, STRANGER, mount, server_context

OURS = Authority(kind="ConfigMap", name="ours", key="ca.crt")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SERIN_AUTHORITY_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """An MLflow server that shows a certificate of an authority of its own."""
    with PlayedMlflow().served(server_context()) as served:
        yield served


def open_run(address: str, authority: Authority | None) -> str:
    server = Server(Mlflow(uri=address, experiment="bot", ca_ref=authority))
    try:
        return server.open("uid-1", "bot", 0.0, {}, {}).run_id
    finally:
        server.close()


def test_a_server_is_believed_by_the_authority_that_it_names(root: Path, address: str) -> None:
    mount(root, "ConfigMap", "ours", AUTHORITY.read_bytes())
    assert open_run(address, OURS) == "0" * 32


@pytest.mark.parametrize("authority", [None, OURS], ids=["nobody's", "a stranger's"])
def test_a_server_that_nobody_vouches_for_is_told_nothing(
    root: Path, address: str, authority: Authority | None
) -> None:
    mount(root, "ConfigMap", "ours", STRANGER.read_bytes())
    with pytest.raises(NotTold, match="certificate verify failed"):
        open_run(address, authority)


def test_a_bundle_may_hold_several(root: Path, address: str) -> None:
    mount(root, "Secret", "ours", STRANGER.read_bytes() + AUTHORITY.read_bytes(), "tls.ca")
    assert open_run(address, Authority(kind="Secret", name="ours", key="tls.ca"))


def test_without_one_the_public_authorities_are_believed_that_the_image_has() -> None:
    assert bundle(None) == Path(certifi.where())


def test_one_that_is_missing_is_told_by_object_and_key(root: Path) -> None:
    mount(root, "ConfigMap", "ours", b"", "another.crt")
    with pytest.raises(DataError, match=r"^the key ca.crt of the ConfigMap 'ours' is not there") as told:
        bundle(OURS)
    assert told.value.reason == "AuthorityNotFound"


@pytest.mark.parametrize("content", [b"", b"not a certificate", b"-----BEGIN CERTIFICATE-----\nxx\n"])
def test_what_is_no_certificate_is_told(root: Path, content: bytes) -> None:
    mount(root, "ConfigMap", "ours", content)
    with pytest.raises(DataError, match=r"^the key ca.crt of the ConfigMap 'ours' has no certificates in PEM") as told:
        bundle(OURS)
    assert told.value.reason == "AuthorityUnreadable"


def test_pods_have_the_files_where_the_image_looks_for_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERIN_AUTHORITY_ROOT")
    secret = Named(kind=AuthorityKind.SECRET, name="ours", key="b.crt")
    volumes, mounts = authority_volumes([Named(name="ours"), secret, Named(name="ours", key="a.crt"), secret])
    found: dict[str, Any] = {
        mount["mountPath"]: next(one for one in volumes if one["name"] == mount["name"]) for mount in mounts
    }
    assert found[f"{ROOT}/configmap-ours"]["configMap"] == {
        "name": "ours",
        "items": [{"key": "a.crt", "path": "a.crt"}, {"key": "ca.crt", "path": "ca.crt"}],
        "optional": True,
    }
    assert found[f"{ROOT}/secret-ours"]["secret"]["secretName"] == "ours"
    assert {mount["readOnly"] for mount in mounts} == {True}
    looked_for: list[Path] = []
    monkeypatch.setattr(Path, "is_file", lambda path: looked_for.append(path))
    for kind, key in (("ConfigMap", "a.crt"), ("Secret", "b.crt")):
        with pytest.raises(DataError):
            bundle(Authority.model_validate({"kind": kind, "name": "ours", "key": key}))
    assert [path.parent.as_posix() for path in looked_for] == list(found)


def test_a_job_without_any_has_the_volumes_that_it_always_had() -> None:
    assert authority_volumes([]) == ([], [])
