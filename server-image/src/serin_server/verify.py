"""Proof, before the server listens, that the model's files are the ones the revision was judged by.

The model digest is the SHA-256 of the lines `<sha256>  <path>` of all files but manifest.json and result.json, sorted
by path. Not here: loading the model (`model.py`).
"""

import hashlib
import json
import os
import re
from pathlib import Path

from serin_server.errors import ConfigError, ModelError

_PVC = re.compile(r"^pvc://(?P<claim>[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?)(?P<path>(?:/[A-Za-z0-9._@+=-]+)*)/?$")
_NOT_COUNTED = {"manifest.json", "result.json"}
_ADVICE = "The files changed after the digest was taken; serve an untouched revision."


def local_path(uri: str) -> Path:
    """The path of a pvc URI. SERIN_PVC_ROOT stands in for /mnt/pvc outside a pod."""
    found = _PVC.match(uri)
    if found is None or ".." in found["path"].split("/"):
        raise ConfigError("InvalidConfig", f"{uri} is not a URI of the form pvc://<claim>/<path> without '..'.")
    return Path(os.environ.get("SERIN_PVC_ROOT", "/mnt/pvc")) / found["claim"] / found["path"].lstrip("/")


def verify(folder: Path, digest: str, uri: str) -> None:
    """Raise ModelError unless the folder holds just the files of the manifest, and they have the digest."""
    if not folder.is_dir():
        raise ModelError("ModelNotFound", f"There is no model folder at {uri}.", "Check the model's URI and its claim.")
    listed = _listed(folder, uri)
    present = _present(folder)
    for path in sorted(listed.keys() - present.keys()):
        raise ModelError("ModelDamaged", f"The file {path} of {uri} is in the manifest but missing.", _ADVICE)
    for path in sorted(present.keys() - listed.keys() - _NOT_COUNTED):
        raise ModelError("ModelDamaged", f"The file {path} of {uri} is not in the manifest.", _ADVICE)
    for path, expected in sorted(listed.items()):
        _check_file(present[path], path, expected, uri)
    found = _digest({path: sha256 for path, (_size, sha256) in listed.items()})
    if found != digest:
        raise ModelError("ModelDamaged", f"The model {uri} has digest {found}, but {digest} was asked for.", _ADVICE)


def verify_base(adapter: Path, folder: Path, digest: str, uri: str) -> None:
    """Raise ModelError unless the adapter was trained on the model of this digest, and the folder holds that one.

    A base model has no manifest that is its own: its files are taken as they lie.
    """
    try:
        named = json.loads((adapter / "base.json").read_bytes())["digest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError("ModelDamaged", "The adapter does not say what it was trained on.", _ADVICE) from error
    if named != digest:
        message = f"The adapter was trained on a base model with digest {named}, but {digest} was given."
        raise ModelError("ModelDamaged", message, _ADVICE)
    if not folder.is_dir():
        raise ModelError("ModelNotFound", f"There is no model folder at {uri}.", "Put the adapter's base model back.")
    sums = {path: _sha256(file) for path, file in _present(folder).items() if path not in _NOT_COUNTED}
    found = _digest(sums)
    if found != digest:
        message = f"The base model {uri} has digest {found}, but {digest} was asked for."
        raise ModelError("ModelDamaged", message, _ADVICE)


def _digest(sums: dict[str, str]) -> str:
    lines = "".join(f"{sums[path]}  {path}\n" for path in sorted(sums))
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _listed(folder: Path, uri: str) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of each file in the manifest."""
    try:
        files = json.loads((folder / "manifest.json").read_bytes())["files"]
        return {file["path"]: (file["sizeBytes"], file["sha256"]) for file in files}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError("ModelDamaged", f"The manifest.json of {uri} cannot be read: {error!r}.", _ADVICE) from error


def _present(folder: Path) -> dict[str, Path]:
    """The files by path; hidden ones are a file system's or a tool's own, and never loaded."""
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {
        path.as_posix(): file for path, file in files.items() if not any(part.startswith(".") for part in path.parts)
    }


def _check_file(file: Path, path: str, expected: tuple[int, str], uri: str) -> None:
    size, sha256 = expected
    if file.stat().st_size != size:
        message = f"The file {path} of {uri} has {file.stat().st_size} bytes but the manifest says {size}."
        raise ModelError("ModelDamaged", message, _ADVICE)
    found = _sha256(file)
    if found != sha256:
        message = f"The file {path} of {uri} has SHA-256 {found[:12]}… but the manifest says {sha256[:12]}…."
        raise ModelError("ModelDamaged", message, _ADVICE)
