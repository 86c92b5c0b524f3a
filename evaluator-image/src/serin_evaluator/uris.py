"""Where the things that URIs name lie in this pod.

`pvc://<claim>/<path>` is a mounted volume; `hf://<org>/<name>[@<revision>]` is fetched from the hub into `HF_HOME`.
Not here: reading what lies there.
"""

import os
import re
from pathlib import Path

from serin_evaluator.errors import ConfigError, DataError, TryAgain

_PVC = re.compile(r"^pvc://(?P<claim>[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?)(?P<path>(?:/[A-Za-z0-9._@+=-]+)*)/?$")
_HF = re.compile(r"^hf://(?P<repo>[A-Za-z0-9._-]+/[A-Za-z0-9._-]+)(?:@(?P<revision>[A-Za-z0-9._-]+))?$")
MODEL_FILES = [
    "*.safetensors",
    "*.safetensors.index.json",
    "*.json",
    "*.jinja",
    "tokenizer.model",
    "merges.txt",
    "vocab.txt",
]
"""The files that the trainer fetches too (the digest covers them): no pickled weights, no code."""


def local_path(uri: str) -> Path:
    """The path of a pvc URI. SERIN_PVC_ROOT stands in for /mnt/pvc outside a pod."""
    found = _PVC.match(uri)
    if found is None or ".." in found["path"].split("/"):
        raise ConfigError("InvalidConfig", f"{uri} is not a URI of the form pvc://<claim>/<path> without '..'.")
    return Path(os.environ.get("SERIN_PVC_ROOT", "/mnt/pvc")) / found["claim"] / found["path"].lstrip("/")


def model_path(uri: str) -> Path:
    """The folder with the model's files, fetched first when the URI names a repository on the hub."""
    if uri.startswith("hf://"):
        return _from_hub(uri)
    path = local_path(uri)
    if not path.is_dir():
        raise DataError("ModelNotFound", f"There is no model folder at {uri}.", "Check the model's URI and its claim.")
    return path


def _from_hub(uri: str) -> Path:
    found = _HF.match(uri)
    if found is None:
        raise ConfigError("InvalidConfig", f"{uri} is not a URI of the form hf://<org>/<name>[@<revision>].")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        return Path(snapshot_download(found["repo"], revision=found["revision"], allow_patterns=MODEL_FILES))
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise DataError("ModelNotFound", f"The hub has no model {uri}.", "Check the name and revision.") from error
    except Exception as error:
        raise TryAgain("ModelUnreachable", f"{uri} could not be fetched: {type(error).__name__}.") from error
