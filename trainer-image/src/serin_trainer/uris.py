"""Where a URI lies: `pvc://` on a mounted claim, `hf://` on a model hub, fetched into a local cache.

Nothing else is a location: no plain path and no `http://`, which a pod with a network could be tricked into fetching.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import ConfigError, DataError

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


def data_file(uri: str) -> Path:
    """The file of a data set."""
    path = pvc_path(uri)
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise DataError(
            "DatasetNotFound",
            f"{uri} {what}",
            "put the file there or correct data.train; it is looked for again by itself",
        )
    return path


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


def _from_hub(uri: str) -> Path:
    match = _HUB.match(uri)
    if match is None:
        raise ConfigError("InvalidConfig", f"{uri} is not of the form hf://<org>/<name>[@<revision>]")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return Path(snapshot_download(match["name"], revision=match["revision"], allow_patterns=MODEL_FILES))
    except GatedRepoError as error:
        raise DataError(
            "ModelNotFound",
            f"the model {match['name']} is gated and this cluster has no access to it",
            "accept its terms with the account of the cluster's token, or use another model",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise DataError(
            "ModelNotFound",
            f"the hub knows no model {match['name']} at revision {match['revision'] or 'main'}",
            "correct baseModel.uri; a private model needs a token",
        ) from error
    except Exception as error:
        # Whatever else happens on the way (no DNS, refused, timed out, 5xx) is the network's: the cause is named by
        # its type.
        raise DataError(
            "ModelUnreachable",
            f"the model {match['name']} could not be fetched from the hub ({_first_line(error)})",
            "check that pods can reach the hub (network policy, proxy), or copy the model to a claim and use pvc://",
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
