"""A finished model in a bucket of a real S3 server: copied there by a job, fetched from there by pods that serve, proven by both."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serin_operator.manifests.secrets import variable
from serin_server import verify
from serin_trainer import __main__ as trainer
from serin_trainer import fetch, manifest
from support import tls
from support.object_store import OWNER, STRANGER, Store, fails_at_first, nobody_listens, object_store

FILES = {"config.json": b"{}", "model-1.safetensors": b"1" * 300_000, "model-2.safetensors": b"2" * 200_000}
DIGEST_OF_OTHERS = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with object_store(tmp_path_factory.mktemp("store")) as running:
        running.bucket("models")
        yield running


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kubelet makes of Secrets. `wrong` has the owner's name with another key."""
    for name, (user, key) in {
        "owner": OWNER, "stranger": STRANGER, "nobody": ("nobody", "x"), "wrong": (OWNER[0], "x"), "empty": ("", "x"),
    }.items():  # fmt: skip
        monkeypatch.setenv(variable(name, "AWS_ACCESS_KEY_ID"), user)
        monkeypatch.setenv(variable(name, "AWS_SECRET_ACCESS_KEY"), key)


class Pods:
    """A volume with a model, a prefix of its own in the bucket, and the pods that copy and fetch."""

    def __init__(self, store: Store, folder: Path, prefix: str) -> None:
        self.store, self.folder, self.prefix = store, folder, prefix
        self.model = folder / "pvc" / "artifacts" / "model"
        self.model.mkdir(parents=True)
        for name, content in FILES.items():
            (self.model / name).write_bytes(content)
        self.digest, _ = manifest.write(self.model, {"trainKey": "4f00bb"})
        (self.model / "result.json").write_bytes(b"{}")

    @property
    def uri(self) -> str:
        return f"s3://models/{self.prefix}/{self.digest.replace(':', '-')}"

    @property
    def objects(self) -> Path:
        """Where the server keeps what is in the model's folder of the bucket."""
        return self.store.folder / self.uri.removeprefix("s3://")

    def place(self, secret: str | None = "owner", uri: str | None = None, **s3: Any) -> dict[str, Any]:
        named = {"secretRef": {"name": secret}} if secret else {}
        return {"uri": uri or f"s3://models/{self.prefix}/", "s3": {"endpoint": self.store.endpoint, **s3}, **named}

    def copy(self, expect: int = 0, base: dict[str, str] | None = None, **place: Any) -> dict[str, Any]:
        model = {"uri": "pvc://artifacts/model", "digest": self.digest, **({"base": base} if base else {})}
        output = "pvc://artifacts/copy-5f00cc"  # always the same: that it was done once is no reason not to look again
        return self.run(trainer.main, "Copy", expect, output=output, model=model, to=self.place(**place))

    def fetch(
        self, expect: int = 0, digest: str | None = None, base: str | None = None, **place: Any
    ) -> dict[str, Any]:
        models = [{"folder": "model", "digest": digest or self.digest}]
        models += [{"folder": "base", "digest": base}] if base else []
        return self.run(fetch.main, "Fetch", expect, output=str(self.fetched.parent), models=models,
                        weights=self.place(**place))  # fmt: skip

    @property
    def fetched(self) -> Path:
        return self.folder / "weights" / "model"

    def run(self, main: Any, stage: str, expect: int, **config: Any) -> dict[str, Any]:
        path, said = self.folder / "config.json", self.folder / "said"
        said.unlink(missing_ok=True)
        path.write_text(
            json.dumps({"stage": stage, "key": "5f00cc", "job": {"namespace": "ml", "name": "bot"}, **config})
        )
        code = main(["--config", str(path)])
        answer = json.loads(said.read_bytes()) if said.exists() else {}
        assert code == expect, answer
        return answer


@pytest.fixture
def pods(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pods:
    monkeypatch.setenv("SERIN_PVC_ROOT", str(tmp_path / "pvc"))
    monkeypatch.setenv("SERIN_RESULT_PATH", str(tmp_path / "said"))
    return Pods(store, tmp_path, tmp_path.name.replace("_", "-"))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_copied_is_fetched_and_is_what_the_server_proves(pods: Pods) -> None:
    told = pods.copy()
    assert told["output"] == {"uri": pods.uri, "files": 4, "sizeBytes": 500_002, "skipped": 0}
    assert told["message"] == f"4 files, 0.5 MB, at {pods.uri}"
    assert pods.fetch() == {}, "a pod that goes on has nothing to say"
    assert content(pods.fetched) == {name: content(pods.model)[name] for name in (*FILES, "manifest.json")}
    verify.verify(pods.fetched, pods.digest, pods.uri)


def test_a_copy_that_is_there_is_left_as_it_is(pods: Pods) -> None:
    pods.copy()
    written = {path: path.stat().st_mtime_ns for path in pods.objects.iterdir()}
    told = pods.copy()
    assert told["output"]["skipped"] == 4
    assert told["message"].endswith("of which 4 lay there already")
    assert {path: path.stat().st_mtime_ns for path in pods.objects.iterdir()} == written


def test_one_that_was_ended_goes_on_and_until_then_nobody_takes_it_for_a_copy(pods: Pods) -> None:
    pods.copy()
    (pods.objects / "manifest.json").unlink()
    (pods.objects / "model-2.safetensors").unlink()
    told = pods.fetch(expect=75)
    assert told["reason"] == "WeightsNotFound"
    assert told["message"] == f"{pods.uri} has no file manifest.json, so it is no whole copy of the model"
    assert pods.copy()["output"]["skipped"] == 2
    pods.fetch()


def test_a_file_that_was_touched_in_the_bucket_is_refused_by_its_name_and_mended_by_another_copy(pods: Pods) -> None:
    pods.copy()
    pods.store.put("models", f"{pods.prefix}/{pods.uri.rsplit('/', 1)[1]}/model-1.safetensors", b"x" * 300_000)
    told = pods.fetch(expect=65)
    assert told["reason"] == "ModelDamaged"
    assert f"the file model-1.safetensors of {pods.uri} has SHA-256 " in told["message"]
    assert "deleted and applied anew" in told["advice"]
    assert pods.copy()["output"]["skipped"] == 3
    pods.fetch()
    verify.verify(pods.fetched, pods.digest, pods.uri)


@pytest.mark.parametrize("cut", [b"", b"not JSON", b'{"files": [{"path": 1}]}'])
def test_a_manifest_that_was_touched_is_refused(pods: Pods, cut: bytes) -> None:
    pods.copy()
    pods.store.put("models", f"{pods.prefix}/{pods.uri.rsplit('/', 1)[1]}/manifest.json", cut)
    told = pods.fetch(expect=65)
    assert (told["reason"], "manifest.json" in told["message"]) == ("ModelDamaged", True)


def test_another_model_under_this_ones_name_is_refused_before_any_of_it_is_fetched(pods: Pods) -> None:
    pods.copy()
    pods.objects.rename(pods.objects.parent / DIGEST_OF_OTHERS.replace(":", "-"))
    told = pods.fetch(expect=65, digest=DIGEST_OF_OTHERS)
    assert f"is of a model with digest {pods.digest}, not {DIGEST_OF_OTHERS}" in told["message"]
    assert [path.name for path in pods.fetched.iterdir()] == ["manifest.json"]


def test_what_else_lies_there_is_not_fetched(pods: Pods) -> None:
    pods.copy()
    pods.store.put("models", f"{pods.prefix}/{pods.uri.rsplit('/', 1)[1]}/modeling_evil.py", b"raise SystemExit")
    pods.fetch()
    assert not (pods.fetched / "modeling_evil.py").exists()


def test_a_container_that_starts_again_fetches_what_is_missing(pods: Pods, capsys: pytest.CaptureFixture[str]) -> None:
    pods.copy()
    pods.fetch()
    (pods.fetched / "model-1.safetensors").write_bytes(b"half")
    pods.fetch()
    assert "fetching 1 of 3 files, 0.3 MB" in capsys.readouterr().out


def test_an_adapter_is_copied_and_fetched_with_its_base_model(pods: Pods) -> None:
    base = pods.folder / "pvc" / "models" / "base"
    base.mkdir(parents=True)
    (base / "model.safetensors").write_bytes(b"base")
    digest = manifest.digest_of(base)
    (pods.model / "base.json").write_text(json.dumps({"uri": "pvc://models/base", "digest": digest}))
    pods.digest, _ = manifest.write(pods.model, {})
    told = pods.copy(base={"uri": "pvc://models/base", "digest": digest})
    assert told["output"]["files"] == 5 + 2
    assert "with its base model" in told["message"]
    pods.fetch(base=digest)
    verify.verify(pods.fetched, pods.digest, pods.uri)
    verify.verify_base(pods.fetched, pods.fetched.parent / "base", digest, "s3://")


def test_a_model_that_is_no_longer_what_was_made_is_not_copied(pods: Pods) -> None:
    (pods.model / "config.json").write_bytes(b"{ }")
    told = pods.copy(expect=65)
    assert told["reason"] == "ModelDamaged"
    shutil.rmtree(pods.model)
    assert "is not there, so it was not copied" in pods.copy(expect=65)["message"]
    assert not pods.objects.exists()


REFUSALS = [
    ({"uri": "s3://nowhere/x"}, "NotFound", "there is no bucket nowhere at"),
    ({"secret": "stranger"}, "AccessDenied", "does not let the key of the Secret 'stranger'"),
    ({"secret": "nobody"}, "AccessDenied", "does not know the AWS_ACCESS_KEY_ID of the Secret 'nobody'"),
    ({"secret": "wrong"}, "AccessDenied", "does not take the AWS_SECRET_ACCESS_KEY of the Secret 'wrong'"),
]


@pytest.mark.parametrize(("place", "reason", "words"), REFUSALS)
def test_what_the_store_says_to_who_copies_is_told_in_words(
    pods: Pods, place: dict[str, Any], reason: str, words: str
) -> None:
    told = pods.copy(expect=65, **place)
    assert (told["reason"], words in told["message"]) == (f"Copy{reason}", True), told
    assert "again by itself" in told["advice"]
    assert not any(key in json.dumps(told) for _user, key in (OWNER, STRANGER))


@pytest.mark.parametrize(("place", "reason", "words"), [*REFUSALS, ({"secret": None}, "AccessDenied", "no secretRef")])
def test_what_the_store_says_to_who_fetches_is_told_in_words_and_is_not_the_models_fault(
    pods: Pods, place: dict[str, Any], reason: str, words: str
) -> None:
    pods.copy()
    told = pods.fetch(expect=75, **place)
    assert (told["reason"], words in told["message"]) == (f"Weights{reason}", True), told
    assert "spec.runtime.weights" in told["message"] + told["advice"] or "Secret" in told["advice"]


def test_a_model_that_nobody_copied_is_told_by_the_name_that_is_looked_for(pods: Pods) -> None:
    told = pods.fetch(expect=75)
    assert told["reason"] == "WeightsNotFound"
    assert told["message"].endswith(f"has no object {pods.prefix}/{pods.digest.replace(':', '-')}")
    assert "looked for again by itself" in told["advice"]


def test_a_store_that_is_not_there_is_told_with_its_endpoint(pods: Pods) -> None:
    endpoint = nobody_listens()
    for told, kind in (
        (pods.copy(expect=65, endpoint=endpoint), "Copy"),
        (pods.fetch(expect=75, endpoint=endpoint), "Weights"),
    ):
        assert (told["reason"], endpoint in told["message"]) == (f"{kind}Unreachable", True)


def test_an_empty_key_waits_for_a_person(pods: Pods) -> None:
    told = pods.fetch(expect=64, secret="empty")
    assert "the key AWS_ACCESS_KEY_ID of the Secret 'empty' is empty" in told["message"]
    assert told["advice"] == "write its value into the Secret; it is looked for again by itself"


def test_a_store_that_is_too_busy_at_first_and_signed_by_an_authority_of_ones_own_is_read(
    pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods.copy()
    monkeypatch.setenv("SERIN_AUTHORITY_ROOT", str(pods.folder))
    ours = {"kind": "ConfigMap", "name": "ours", "key": "ca.crt"}
    with fails_at_first(pods.store, 2, tls.server_context()) as (endpoint, answers):
        told = pods.fetch(expect=75, endpoint=endpoint, caRef=ours)
        assert told["reason"] == "AuthorityNotFound"
        tls.mount(pods.folder, "ConfigMap", "ours", tls.AUTHORITY.read_bytes())
        pods.fetch(endpoint=endpoint, caRef=ours)
    assert 503 in answers


def test_a_disk_that_is_too_small_is_told_with_what_is_needed(pods: Pods) -> None:
    """The manifest says how large the files are; that they do not fit is said before any of them is fetched."""
    pods.copy()
    document = json.loads((pods.model / "manifest.json").read_text())
    document["files"][0]["sizeBytes"] = 10**18
    pods.store.put("models", f"{pods.prefix}/{pods.uri.rsplit('/', 1)[1]}/manifest.json", json.dumps(document).encode())
    told = pods.fetch(expect=75)
    assert told["reason"] == "DiskFull"
    assert "the model needs 1000000000000 MB, and " in told["message"]
