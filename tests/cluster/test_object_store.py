"""`s3://` against a real S3 server: what is read, how it is told apart, and the words for everything that goes wrong."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serin_operator.manifests.secrets import variable
from serin_trainer.cleaning import Cleaning
from serin_trainer.config import BaseModelUri, DataSource
from serin_trainer.errors import DataError
from serin_trainer.object_store import Rows
from serin_trainer.origins import origin
from serin_trainer.reading import Source, read_files
from serin_trainer.uris import copy_model, data_files
from support import tls
from support.object_store import DOMAIN, OWNER, STRANGER, Store, fails_at_first, nobody_listens, object_store

MANY = 1100  # a store lists a thousand at a time


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with object_store(tmp_path_factory.mktemp("store")) as running:
        running.bucket("rows")
        running.bucket("models")
        running.put("rows", "tickets.jsonl", lines("a", 3))
        running.put("rows", "packed/tickets.jsonl.gz", gzip.compress(lines("g", 2), mtime=0))
        yield running


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kubelet makes of the job's Secrets. `wrong` has the owner's name with another key."""
    for name, (user, key) in {
        "owner": OWNER, "stranger": STRANGER, "nobody": ("nobody", "x"), "wrong": (OWNER[0], "x"),
    }.items():  # fmt: skip
        monkeypatch.setenv(variable(name, "AWS_ACCESS_KEY_ID"), user)
        monkeypatch.setenv(variable(name, "AWS_SECRET_ACCESS_KEY"), key)


def lines(name: str, count: int) -> bytes:
    rows = ({"prompt": f"{name} {number}", "completion": f"answer {number}"} for number in range(count))
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def wanted(store: Store, uri: str, secret: str | None = "owner", **s3: Any) -> DataSource:
    given = {"name": "tickets", "uri": uri, "s3": {"endpoint": store.endpoint, **s3}}
    return DataSource.model_validate(given | ({"secretRef": {"name": secret}} if secret else {}))


def fetched(source: DataSource, scratch: Path) -> Rows:
    return data_files(source, "data.train[tickets]", scratch)


def rows_of(found: Rows, uri: str) -> list[str]:
    files = [Source("tickets", file.uri, file.path) for file in found.files]
    return [row.asked() for row in read_files(files, Cleaning(), uri)]


def test_an_object_is_copied_as_it_is(store: Store, tmp_path: Path) -> None:
    found = fetched(wanted(store, "s3://rows/tickets.jsonl"), tmp_path)
    assert [file.path.read_bytes() for file in found.files] == [lines("a", 3)]
    assert rows_of(found, "s3://rows/tickets.jsonl") == ["a 0", "a 1", "a 2"]


def test_its_digest_is_that_of_its_bytes(store: Store, tmp_path: Path) -> None:
    found = origin(fetched(wanted(store, "s3://rows/tickets.jsonl"), tmp_path))
    assert found.digest == "sha256:" + hashlib.sha256(lines("a", 3)).hexdigest()
    assert (found.files, found.size_bytes) == (1, len(lines("a", 3)))


def test_a_compressed_object_is_read_like_a_compressed_file(store: Store, tmp_path: Path) -> None:
    found = fetched(wanted(store, "s3://rows/packed/tickets.jsonl.gz"), tmp_path)
    assert found.files[0].path.read_bytes()[:2] == b"\x1f\x8b"
    assert rows_of(found, "s3://rows/packed/tickets.jsonl.gz") == ["g 0", "g 1"]


def test_a_bucket_may_be_a_part_of_the_host_name(store: Store, tmp_path: Path) -> None:
    endpoint = f"http://{DOMAIN}:{store.port}"
    source = wanted(store, "s3://rows/tickets.jsonl", endpoint=endpoint, addressing="VirtualHosted")
    assert rows_of(fetched(source, tmp_path), source.uri) == ["a 0", "a 1", "a 2"]


def test_all_files_below_a_prefix_are_read_in_the_order_of_their_names(store: Store, tmp_path: Path) -> None:
    for number in range(MANY):
        store.lay("rows", f"many/day={number % 7}/part-{number:05}.jsonl", lines(f"m{number}", 1))
    for mark in ("many/_SUCCESS", "many/day=1/.part-0.jsonl.crc", "many/_tmp/part.jsonl", "many/notes.txt"):
        store.lay("rows", mark, b"x")
    store.lay("rows", "many/day=1/empty.jsonl", b"")
    found = fetched(wanted(store, "s3://rows/many/"), tmp_path)
    assert (len(found.files), found.left_out) == (MANY + 1, 4)
    expected = sorted(f"many/day={number % 7}/part-{number:05}.jsonl" for number in range(MANY))
    numbers = [int(key.rsplit("-", 1)[1].removesuffix(".jsonl")) for key in expected]
    assert rows_of(found, "s3://rows/many/") == [f"m{number} 0" for number in numbers]


def test_the_digest_of_a_prefix_covers_names_and_bytes(store: Store, tmp_path: Path) -> None:
    def digest(run: str) -> str:
        return origin(fetched(wanted(store, "s3://rows/two/"), tmp_path / run)).digest

    store.put("rows", "two/a.jsonl", lines("a", 1))
    store.put("rows", "two/b.jsonl", lines("b", 1))
    before = digest("1")
    assert digest("2") == before
    store.put("rows", "two/b.jsonl", lines("c", 1))
    assert digest("3") != before


def test_a_row_is_named_by_its_object_and_line(store: Store, tmp_path: Path) -> None:
    store.put("rows", "bad/a.jsonl", b'{"prompt": "a", "completion": "b"}\nnonsense\n')
    found, cleaning = fetched(wanted(store, "s3://rows/bad/"), tmp_path), Cleaning()
    read_files([Source("tickets", file.uri, file.path) for file in found.files], cleaning, "s3://rows/bad/")
    assert cleaning.samples["Unparsable"][0]["place"] == "s3://rows/bad/a.jsonl:2"


def test_a_store_that_is_too_busy_at_first_is_asked_again(store: Store, tmp_path: Path) -> None:
    with fails_at_first(store, 2) as (endpoint, answers):
        source = wanted(store, "s3://rows/tickets.jsonl", endpoint=endpoint)
        assert rows_of(fetched(source, tmp_path), source.uri) == ["a 0", "a 1", "a 2"]
    assert answers[:3] == [503, 503, 200]


def test_a_store_that_stays_too_busy_is_told(store: Store, tmp_path: Path) -> None:
    with fails_at_first(store, 1000) as (endpoint, answers), pytest.raises(DataError) as refusal:
        fetched(wanted(store, "s3://rows/tickets.jsonl", endpoint=endpoint), tmp_path)
    assert refusal.value.reason == "DatasetUnreachable"
    assert len(answers) >= 5


@pytest.mark.parametrize(
    ("uri", "secret", "reason", "words"),
    [
        ("s3://no-such-bucket/a.jsonl", "owner", "DatasetNotFound", "bucket no-such-bucket at http://127.0.0.1"),
        ("s3://no-such-bucket/a/", "owner", "DatasetNotFound", "bucket no-such-bucket at http://127.0.0.1"),
        ("s3://rows/no-such-object.jsonl", "owner", "DatasetNotFound", "no-such-object.jsonl"),
        ("s3://rows/no-such-prefix/", "owner", "DatasetNotFound", "no-such-prefix"),
        ("s3://rows/tickets.jsonl", "stranger", "DatasetAccessDenied", "the key of the Secret 'stranger'"),
        ("s3://rows/packed/", "stranger", "DatasetAccessDenied", "the key of the Secret 'stranger'"),
        ("s3://rows/packed/", "nobody", "DatasetAccessDenied", "AWS_ACCESS_KEY_ID of the Secret 'nobody'"),
        ("s3://rows/packed/", "wrong", "DatasetAccessDenied", "AWS_SECRET_ACCESS_KEY of the Secret 'wrong'"),
        ("s3://rows/tickets.jsonl", None, "DatasetAccessDenied", "there is no secretRef"),
        ("s3://rows/packed/", None, "DatasetAccessDenied", "there is no secretRef"),
    ],
)
def test_what_goes_wrong_is_told_in_words(
    store: Store, tmp_path: Path, uri: str, secret: str | None, reason: str, words: str
) -> None:
    with pytest.raises(DataError) as refusal:
        fetched(wanted(store, uri, secret), tmp_path)
    assert (refusal.value.reason, words in refusal.value.message) == (reason, True), refusal.value.message
    assert refusal.value.advice
    told = refusal.value.message + refusal.value.advice
    assert not any(key in told for _user, key in (OWNER, STRANGER))


def test_a_store_that_is_not_there_is_told_with_its_endpoint(store: Store, tmp_path: Path) -> None:
    endpoint = nobody_listens()
    with pytest.raises(DataError, match=endpoint) as refusal:
        fetched(wanted(store, "s3://rows/tickets.jsonl", endpoint=endpoint), tmp_path)
    assert refusal.value.reason == "DatasetUnreachable"


def test_a_store_is_believed_by_the_authority_that_the_job_names_and_by_no_other(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERIN_AUTHORITY_ROOT", str(tmp_path))
    ours = {"kind": "ConfigMap", "name": "ours", "key": "ca.crt"}
    with fails_at_first(store, 0, tls.server_context()) as (endpoint, _answers):
        theirs = wanted(store, "s3://rows/tickets.jsonl", endpoint=endpoint)
        named = wanted(store, "s3://rows/tickets.jsonl", endpoint=endpoint, caRef=ours)
        with pytest.raises(DataError, match="shows a certificate that no public authority has signed") as refusal:
            fetched(theirs, tmp_path)
        assert refusal.value.reason == "DatasetUnreachable"
        with pytest.raises(DataError, match="the ConfigMap 'ours' is not there"):
            fetched(named, tmp_path)
        tls.mount(tmp_path, "ConfigMap", "ours", tls.STRANGER.read_bytes())
        with pytest.raises(DataError, match="the authority of the ConfigMap 'ours' has not signed"):
            fetched(named, tmp_path)
        tls.mount(tmp_path, "ConfigMap", "ours", tls.AUTHORITY.read_bytes())
        assert rows_of(fetched(named, tmp_path), named.uri) == ["a 0", "a 1", "a 2"]


def test_a_prefix_without_files_of_rows_is_told(store: Store, tmp_path: Path) -> None:
    store.put("rows", "notes/readme.txt", b"x")
    with pytest.raises(DataError, match=r"1 objects, and none of them is a \.jsonl"):
        fetched(wanted(store, "s3://rows/notes/"), tmp_path)


def test_the_files_of_a_base_model_are_copied_and_no_others(store: Store, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json", "pytorch_model.bin", "modeling.py"):
        store.put("models", f"team/base/{name}", name.encode())
    store.put("models", "team/base/old/config.json", b"old")
    base = BaseModelUri.model_validate(
        {"uri": "s3://models/team/base", "s3": {"endpoint": store.endpoint}, "secretRef": {"name": "owner"}}
    )
    copy_model(base, tmp_path / "base")
    copied = {path.name: path.read_text() for path in (tmp_path / "base").iterdir()}
    assert copied == {name: name for name in ("config.json", "model.safetensors", "tokenizer.json")}


def test_a_folder_that_is_no_base_model_is_told(store: Store, tmp_path: Path) -> None:
    store.put("models", "empty/readme.txt", b"x")
    base = BaseModelUri.model_validate(
        {"uri": "s3://models/empty", "s3": {"endpoint": store.endpoint}, "secretRef": {"name": "owner"}}
    )
    with pytest.raises(DataError, match=r"no config\.json") as refusal:
        copy_model(base, tmp_path / "base")
    assert refusal.value.reason == "ModelNotFound"
