"""`s3://`: objects of a bucket, copied to this pod before they are read, and files copied there. By pyarrow's client, which
Parquet needs anyway.

Not here: what else an address may be (`uris.py`), and what the rows are (`reading.py`).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .authorities import bundle
from .credentials import credential, optional_credential
from .errors import ConfigError, DataError

if TYPE_CHECKING:
    from .config import ObjectStore, SecretRef

ROWS = (".jsonl", ".jsonl.gz", ".csv", ".parquet")
AT_ONCE = 8  # objects that are copied beside each other
ATTEMPTS = 5  # of one request, with growing pauses, before it is told
CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 60.0
PIECE = 4 * 2**20

_WHAT = {"Dataset": "data set", "Model": "base model", "Weights": "copy of the model", "Copy": "copy of the model"}
_DONE = {"read": "read from", "write": "written to"}
_URI = re.compile(r"^s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?P<key>(/[\w.@+=-]+)*/?)$", re.ASCII)
_CLIENT_WORDS = re.compile(r"AWS Error (?P<code>[A-Z_]+)")


@dataclass(frozen=True)
class Address:
    """Where a bucket is, who asks, and where the wish says so."""

    bucket: str
    key: str
    uri: str
    field: str
    kind: str  # of _WHAT, for the reasons of errors
    store: ObjectStore
    secret: str | None

    @property
    def what(self) -> str:
        return _WHAT[self.kind]

    @property
    def verb(self) -> str:
        return "write" if self.kind == "Copy" else "read"

    @property
    def place(self) -> str:
        """The bucket as people know it."""
        return f"bucket {self.bucket} at {self.store.endpoint or 'AWS'}"


@dataclass(frozen=True)
class Copied:
    """An object, and where it lies on this pod."""

    uri: str
    path: Path


@dataclass(frozen=True)
class Rows:
    """The files of rows of one source, in the order of their names, and how many others lie beside them."""

    files: list[Copied]
    left_out: int = 0


def address(uri: str, field: str, kind: str, store: ObjectStore | None, secret: SecretRef | None) -> Address:
    from .config import ObjectStore

    match = _URI.match(uri)
    if match is None or ".." in match["key"].split("/"):
        raise ConfigError("InvalidConfig", f"{uri} is not of the form s3://<bucket>/<key> or s3://<bucket>/<prefix>/")
    key = match["key"].removeprefix("/")
    return Address(match["bucket"], key, uri, field, kind, store or ObjectStore(), secret.name if secret else None)


def fetch_rows(wanted: Address, target: Path) -> Rows:
    """Copies an object, or all files of rows below a prefix (one that ends with a slash), into `target`."""
    client = _client(wanted)
    if wanted.key and not wanted.key.endswith("/"):
        # Files are told apart by their names: the last part of the key is kept.
        path = target / wanted.key.rsplit("/", 1)[-1]
        _copy_all(client, wanted, [(wanted.key, path)])
        return Rows([Copied(wanted.uri, path)])
    found = list(_below(client, wanted))
    keys = sorted(key for key in found if _holds_rows(key.removeprefix(wanted.key)))
    if not keys:
        what = f"{len(found)} objects, and none of them" if found else "nothing, so no object"
        raise DataError(
            "DatasetNotFound",
            f"below {wanted.uri} there is {what} is a .jsonl, .jsonl.gz, .csv or .parquet file",
            f"put the files there or correct {wanted.field}; it is looked for again by itself",
        )
    # Numbered, because keys of several folders may end alike.
    pairs = [(key, target / f"{number:06}-{key.rsplit('/', 1)[-1]}") for number, key in enumerate(keys)]
    _copy_all(client, wanted, pairs)
    files = [Copied(f"s3://{wanted.bucket}/{key}", path) for key, path in pairs]
    return Rows(files, len(found) - len(keys))


def fetch_folder(wanted: Address, target: Path, patterns: list[str]) -> None:
    """Copies the objects right below a prefix whose names match, under their own names."""
    from fnmatch import fnmatch

    prefix = f"{wanted.key.rstrip('/')}/"
    client = _client(wanted)
    found = list(_below(client, wanted))
    names = [key.removeprefix(prefix) for key in found]
    taken = sorted(name for name in names if "/" not in name and any(fnmatch(name, one) for one in patterns))
    if "config.json" not in taken:
        what = f"has {len(found)} objects and no config.json" if found else "is empty"
        raise DataError(
            f"{wanted.kind}NotFound",
            f"the {wanted.what} {wanted.uri} {what}",
            f"put config.json, *.safetensors and tokenizer.json there, or correct {wanted.field}",
        )
    _copy_all(client, wanted, [(prefix + name, target / name) for name in taken])


def fetch_objects(wanted: Address, target: Path, names: Iterable[str]) -> None:
    """Copies objects below a prefix to files of the same names, those that are there."""
    client = _client(wanted)
    # Asked for first: a store gives its reasons to who lists, and only a number to who looks for one object.
    there = set(_below(client, wanted))
    _copy_all(client, wanted, [(key, target / name) for name in names if (key := _key(wanted, name)) in there])


class Writer:
    """Copies files to objects below a prefix. What lies there already is left as it is."""

    def __init__(self, wanted: Address) -> None:
        self._client, self._wanted = _client(wanted), wanted
        try:
            list(_below(self._client, wanted))  # for the store's reasons, as above
        except DataError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise  # else it has nothing there yet

    def put(self, name: str, path: Path, sha256: str) -> bool:
        """Whether it had to be written; `sha256` is the file's."""
        key, size = _key(self._wanted, name), path.stat().st_size
        with _told(self._wanted, key):
            if self._lies_there(key, size, sha256):
                return False
            with (
                path.open("rb") as source,
                self._client.open_output_stream(f"{self._wanted.bucket}/{key}", compression=None) as copy,
            ):
                shutil.copyfileobj(source, copy, PIECE)
        return True

    def _lies_there(self, key: str, size: int, sha256: str) -> bool:
        """By its bytes: stores have checksums of their own, of parts that each client cuts in its own way."""
        from pyarrow.fs import FileType

        place = f"{self._wanted.bucket}/{key}"
        info = self._client.get_file_info(place)
        if info.type != FileType.File or info.size != size:
            return False
        found = hashlib.sha256()
        with self._client.open_input_stream(place, compression=None) as source:
            while piece := source.read(PIECE):
                found.update(piece)
        return found.hexdigest() == sha256


def _key(wanted: Address, name: str) -> str:
    prefix = wanted.key.rstrip("/")
    return f"{prefix}/{name}" if prefix else name


def _client(wanted: Address) -> Any:
    # Credentials are those that are named, or none: never what a node or its cloud would lend to whoever asks.
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    scheme, _, host = (wanted.store.endpoint or "").rpartition("://")
    keys: dict[str, Any] = {"anonymous": True}
    if wanted.secret is not None:
        keys = {
            "access_key": credential(wanted.secret, "AWS_ACCESS_KEY_ID"),
            "secret_key": credential(wanted.secret, "AWS_SECRET_ACCESS_KEY"),
            "session_token": optional_credential(wanted.secret, "AWS_SESSION_TOKEN"),
        }
    return S3FileSystem(
        **keys,
        region=wanted.store.region or "us-east-1",
        scheme=scheme or "https",
        endpoint_override=host or None,
        force_virtual_addressing=wanted.store.addressing == "VirtualHosted",
        tls_ca_file_path=str(bundle(wanted.store.ca_ref)),
        connect_timeout=CONNECT_SECONDS,
        request_timeout=ANSWER_SECONDS,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    )


def _below(client: Any, wanted: Address) -> Iterator[str]:
    """The keys of all objects below the prefix; the client asks for them a thousand at a time."""
    from pyarrow.fs import FileSelector, FileType

    folder = f"{wanted.bucket}/{wanted.key}".rstrip("/")
    with _told(wanted, folder):
        for info in client.get_file_info(FileSelector(folder, recursive=True, allow_not_found=False)):
            if info.type == FileType.File:
                yield info.path.removeprefix(f"{wanted.bucket}/")


def _holds_rows(name: str) -> bool:
    """By its ending; what begins with a dot or an underscore is a mark that a writer left (_SUCCESS, .part.crc)."""
    return name.lower().endswith(ROWS) and not any(part.startswith((".", "_")) for part in name.split("/"))


def _copy_all(client: Any, wanted: Address, pairs: list[tuple[str, Path]]) -> None:
    """Several at once, since most of the time is waiting; the first failure ends it."""
    for path in {path.parent for _key, path in pairs}:
        path.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        copies = [pool.submit(_copy, client, wanted, key, path) for key, path in pairs]
        try:
            for copy in copies:
                copy.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _copy(client: Any, wanted: Address, key: str, path: Path) -> None:
    with (
        _told(wanted, key),
        client.open_input_stream(f"{wanted.bucket}/{key}", compression=None) as source,
        path.open("wb") as copy,
    ):
        shutil.copyfileobj(source, copy, PIECE)


@contextmanager
def _told(wanted: Address, key: str) -> Iterator[None]:
    """What the store's answers mean for the person who wrote the address."""
    try:
        yield
    except OSError as error:
        raise _explained(error, wanted, key) from error


def _explained(error: OSError, wanted: Address, key: str) -> DataError:
    said = str(error).strip()
    code = match["code"] if (match := _CLIENT_WORDS.search(said)) else ""
    cause = _CAUSES.get(code)
    if "curlCode: 60" in said or "SSL peer certificate" in said:
        cause = _unbelieved
    if cause is None and isinstance(error, FileNotFoundError):
        cause = _no_object
    if cause is not None:
        return cause(wanted, key)
    if "HTTP response code 403" in said or ("No response body" in said and "403" in said):
        return _denied(wanted, key)
    return DataError(
        f"{wanted.kind}Unreachable",
        f"the {wanted.what} {wanted.uri} could not be {_DONE[wanted.verb]} {wanted.place} ({_short(said)})",
        "it is tried again by itself; check the store, and s3.region and s3.addressing of " + wanted.field,
    )


def _no_bucket(wanted: Address, _key: str) -> DataError:
    return DataError(
        f"{wanted.kind}NotFound",
        f"there is no {wanted.place}",
        f"create it, or correct the uri or s3.endpoint of {wanted.field}; it is looked for again by itself",
    )


def _no_object(wanted: Address, key: str) -> DataError:
    return DataError(
        f"{wanted.kind}NotFound",
        f"{wanted.place} has no object {key.removeprefix(f'{wanted.bucket}/')}",
        f"put it there or correct {wanted.field}; it is looked for again by itself",
    )


def _denied(wanted: Address, key: str) -> DataError:
    who = (
        f"the key of the Secret {wanted.secret!r}" if wanted.secret else "nobody in particular (there is no secretRef)"
    )
    return DataError(
        f"{wanted.kind}AccessDenied",
        f"{wanted.place} does not let {who} {wanted.verb} {key.removeprefix(f'{wanted.bucket}/')}",
        f"allow it to list and {wanted.verb} there, or name another Secret in {wanted.field}; it is tried again by itself",
    )


def _unknown_key(wanted: Address, _key: str) -> DataError:
    return DataError(
        f"{wanted.kind}AccessDenied",
        f"{wanted.place} does not know the AWS_ACCESS_KEY_ID of the Secret {wanted.secret!r}",
        "correct the Secret, or s3.endpoint if it is another store's; it is tried again by itself",
    )


def _bad_signature(wanted: Address, _key: str) -> DataError:
    return DataError(
        f"{wanted.kind}AccessDenied",
        f"{wanted.place} does not take the AWS_SECRET_ACCESS_KEY of the Secret {wanted.secret!r}"
        f" (region {wanted.store.region or 'us-east-1'})",
        "correct the Secret, or s3.region; it is tried again by itself",
    )


def _unreachable(wanted: Address, _key: str) -> DataError:
    return DataError(
        f"{wanted.kind}Unreachable",
        f"no connection to {wanted.store.endpoint or 'AWS'} for {wanted.uri}, in {ATTEMPTS} attempts",
        f"check s3.endpoint of {wanted.field}, and that pods may reach it (network policy, proxy); it is tried again by itself",
    )


def _unbelieved(wanted: Address, _key: str) -> DataError:
    ours = wanted.store.ca_ref
    signer = f"the authority of the {ours.kind} {ours.name!r} has not" if ours else "no public authority has"
    return DataError(
        f"{wanted.kind}Unreachable",
        f"{wanted.store.endpoint or 'AWS'} shows a certificate that {signer} signed for it",
        f"name the store's own authority in s3.caRef of {wanted.field}; it is tried again by itself",
    )


_CAUSES: dict[str, Callable[[Address, str], DataError]] = {
    "NO_SUCH_BUCKET": _no_bucket,
    "NO_SUCH_KEY": _no_object,
    "RESOURCE_NOT_FOUND": _no_object,
    "ACCESS_DENIED": _denied,
    "INVALID_ACCESS_KEY_ID": _unknown_key,
    "SIGNATURE_DOES_NOT_MATCH": _bad_signature,
    "NETWORK_CONNECTION": _unreachable,
}


def _short(said: str) -> str:
    return (said.splitlines() or ["no words"])[0][:200]
