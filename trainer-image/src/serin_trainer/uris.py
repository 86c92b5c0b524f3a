"""Where a URI lies: `pvc://` on a mounted claim, `hf://` on a model hub, `s3://` in a bucket (`object_store.py`).

Nothing else is a location: no plain path and no `http://`, which a pod with a network could be tricked into fetching.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .credentials import credential
from .errors import ConfigError, DataError
from .object_store import Copied, Rows, address, fetch_folder, fetch_rows

if TYPE_CHECKING:
    from .config import BaseModelUri, DataSource, SecretRef

# Weights as safetensors and what is needed to read them; pickled weights and model code are never fetched.
MODEL_FILES = [
    "*.safetensors",
    "*.safetensors.index.json",
    "*.json",
    "*.jinja",
    "tokenizer.model",
    "merges.txt",
    "vocab.txt",
]

_PVC = re.compile(r"^pvc://(?P<claim>[a-z0-9]([-a-z0-9.]*[a-z0-9])?)(?P<path>/\S*)?$")
_HUB_DATA = re.compile(
    r"^hf://datasets/(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?/(?P<path>[\w.@+=-]+(/[\w.@+=-]+)*)$"
)
_HUB = re.compile(r"^hf://(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?$")


def pvc_path(uri: str) -> Path:
    """The path of a `pvc://` URI on this pod, whether or not something is there."""
    match = _PVC.match(uri)
    if match is None:
        raise ConfigError("InvalidConfig", f"{uri} is not of the form pvc://<claim>/<path>")
    parts = [part for part in (match["path"] or "").split("/") if part]
    if ".." in parts:
        raise ConfigError("InvalidConfig", f"{uri} leaves its claim with '..'")
    root = Path(os.environ.get("SERIN_PVC_ROOT", "/mnt/pvc"))
    return root.joinpath(match["claim"], *parts)


def data_files(wanted: DataSource, field: str, scratch: Path) -> Rows:
    """The files of a data source, copied into `scratch` when they lie in a bucket."""
    if not wanted.uri.startswith("s3://"):
        return Rows([Copied(wanted.uri, data_file(wanted.uri, field, wanted.secret_ref))])
    return fetch_rows(address(wanted.uri, field, "Dataset", wanted.s3, wanted.secret_ref), scratch)


def data_file(uri: str, field: str = "data.train", secret: SecretRef | None = None) -> Path:
    """The file of a data set, fetched first when it lies on a hub; `field` is where the wish names it."""
    if uri.startswith("hf://"):
        return _data_from_hub(uri, field, secret)
    path = pvc_path(uri)
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise DataError(
            "DatasetNotFound",
            f"{uri} {what}",
            f"put the file there or correct {field}; it is looked for again by itself",
        )
    return path


def copy_model(base: BaseModelUri, target: Path) -> None:
    """A base model that later pods could not fetch themselves, into `target`."""
    if base.uri.startswith("s3://"):
        fetch_folder(address(base.uri, "baseModel", "Model", base.s3, base.secret_ref), target, MODEL_FILES)
        return
    _from_hub(base.uri, base.secret_ref, target)
    if not (target / "config.json").is_file():
        raise DataError(
            "ModelNotFound", f"the base model {base.uri} has no config.json", "name a model in transformers' format"
        )
    # The client keeps its notes beside the files.
    shutil.rmtree(target / ".cache", ignore_errors=True)


def model_directory(uri: str) -> Path:
    """The folder of a base model, fetched first when it lies on a hub."""
    if uri.startswith("hf://"):
        return _from_hub(uri)
    path = pvc_path(uri)
    if not (path / "config.json").is_file():
        what = "has no config.json" if path.is_dir() else "does not exist"
        raise DataError(
            "ModelNotFound",
            f"the base model {uri} {what}",
            "put config.json, *.safetensors and tokenizer.json there, or correct baseModel.uri",
        )
    return path


def _from_hub(uri: str, secret: SecretRef | None = None, target: Path | None = None) -> Path:
    match = _HUB.match(uri)
    if match is None:
        raise ConfigError("InvalidConfig", f"{uri} is not of the form hf://<org>/<name>[@<revision>]")
    from huggingface_hub import snapshot_download

    token = _token(secret)
    with _hub_errors("Model", match["name"], match["revision"], "baseModel.uri", secret):
        return Path(
            snapshot_download(
                match["name"], revision=match["revision"], allow_patterns=MODEL_FILES, token=token, local_dir=target
            )
        )


def hub_repository(uri: str) -> str:
    match = _HUB.match(uri)
    if match is None or match["revision"]:
        raise ConfigError("InvalidConfig", f"{uri} is not of the form hf://<organisation>/<repository>")
    return match["name"]


def fetch_from_hub(
    repository: str, revision: str, field: str, secret: SecretRef | None, target: Path, names: list[str]
) -> None:
    """Files of these names, and no others, of a model's revision; the client leaves out those that are there already."""
    from glob import escape

    from huggingface_hub import snapshot_download

    token = _token(secret)
    with _hub_errors("Weights", repository, revision, field, secret):
        snapshot_download(
            repository,
            revision=revision,
            allow_patterns=[escape(name) for name in names],
            token=token,
            local_dir=target,
        )


def _token(secret: SecretRef | None) -> str | Literal[False]:
    """The token that was named, or none: never one that happens to lie about."""
    return credential(secret.name, "HF_TOKEN") if secret is not None else False


def _data_from_hub(uri: str, field: str, secret: SecretRef | None) -> Path:
    match = _HUB_DATA.match(uri)
    if match is None or ".." in match["path"].split("/"):
        raise ConfigError("InvalidConfig", f"{uri} is not of the form hf://datasets/<org>/<name>[@<revision>]/<path>")
    from huggingface_hub import hf_hub_download

    token = _token(secret)
    with _hub_errors("Dataset", match["name"], match["revision"], field, secret):
        return Path(
            hf_hub_download(match["name"], match["path"], repo_type="dataset", revision=match["revision"], token=token)
        )


@contextmanager
def _hub_errors(kind: str, name: str, revision: str | None, field: str, secret: SecretRef | None) -> Iterator[None]:
    """Says what the hub's answers mean for the person who wrote the address."""
    who = f"the token of the Secret {secret.name!r}" if secret is not None else "this pod, which has no token,"
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    what = "data set" if kind == "Dataset" else "model"
    try:
        yield
    except GatedRepoError as error:
        raise DataError(
            f"{kind}NotFound",
            f"the {what} {name} is gated, and {who} has no access to it",
            f"accept its terms with the account of a token, and name the Secret that holds it in secretRef beside {field}",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise DataError(
            f"{kind}NotFound",
            f"the hub knows no {what} {name} at revision {revision or 'main'}, or does not show it to {who.rstrip(',')}",
            f"correct {field}; a private {what} needs a secretRef with a token that may read it",
        ) from error
    except Exception as error:
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            raise DataError(
                f"{kind}NotFound", f"the {what} {name} has no such file ({_first_line(error)})", f"correct {field}"
            ) from error
        if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
            raise DataError(
                f"{kind}AccessDenied",
                f"the hub does not let {who.rstrip(',')} read the {what} {name}",
                "write a token that is valid and may read it into the Secret; it is tried again by itself",
            ) from error
        # Whatever else happens on the way (no DNS, refused, timed out, 5xx) is the network's: the cause is named by
        # its type.
        raise DataError(
            f"{kind}Unreachable",
            f"the {what} {name} could not be fetched from the hub ({_first_line(error)})",
            f"check that pods can reach the hub (network policy, proxy), or copy the {what} to a claim and use pvc://",
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
