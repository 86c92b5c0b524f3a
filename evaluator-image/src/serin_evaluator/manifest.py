"""Proof that a model's files are the ones that were asked for, before anything is measured.

The model digest is the SHA-256 of the lines `<sha256>  <path>` of all files but manifest.json and result.json, sorted
by path. A consolidated model lists them in its manifest; a base model has none, and its files are taken as they lie.
Not here: fetching (`uris.py`) and loading (`loading.py`).
"""

import hashlib
import json
from pathlib import Path

from serin_evaluator.errors import DataError

_NOT_COUNTED = {"manifest.json", "result.json"}
_ADVICE = "The files changed after the digest was taken; write the model again, or name the right one."


def verify(folder: Path, digest: str, uri: str) -> None:
    """Raise DataError unless the folder holds just the files that the digest was taken of."""
    sums = {path: _sha256(folder / path) for path in _files(folder)}
    listed = _listed(folder, uri)
    if listed is not None:
        for path in sorted(listed.keys() | sums.keys()):
            _compare(path, listed.get(path), sums.get(path), uri)
    found = digest_of(sums)
    if found != digest:
        raise DataError("ModelDamaged", f"The model {uri} has digest {found}, but {digest} was asked for.", _ADVICE)


def verify_base(folder: Path, digest: str, uri: str) -> None:
    """Raise DataError unless the adapter in the folder was trained on the base model of this digest."""
    try:
        named = json.loads((folder / "base.json").read_bytes())["digest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError("ModelDamaged", f"The adapter {uri} does not say what it was trained on.", _ADVICE) from error
    if named != digest:
        message = f"The adapter {uri} was trained on a base model with digest {named}, but {digest} was given."
        raise DataError("ModelDamaged", message, _ADVICE)


def digest_of(sums: dict[str, str]) -> str:
    """The model digest of files by their SHA-256."""
    lines = "".join(f"{sums[path]}  {path}\n" for path in sorted(sums))
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def _files(folder: Path) -> list[str]:
    """Hidden files are a file system's or a tool's own, and never loaded."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    shown = (path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))
    return [path for path in shown if path not in _NOT_COUNTED]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listed(folder: Path, uri: str) -> dict[str, str] | None:
    path = folder / "manifest.json"
    if not path.exists():
        return None
    try:
        return {file["path"]: file["sha256"] for file in json.loads(path.read_bytes())["files"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError("ModelDamaged", f"The manifest of {uri} cannot be read: {error}.", _ADVICE) from error


def _compare(path: str, listed: str | None, found: str | None, uri: str) -> None:
    if listed == found:
        return
    if found is None:
        raise DataError("ModelDamaged", f"The file {path} of {uri} is in the manifest but missing.", _ADVICE)
    if listed is None:
        raise DataError("ModelDamaged", f"The file {path} of {uri} is not in the manifest.", _ADVICE)
    raise DataError(
        "ModelDamaged",
        f"The file {path} of {uri} has SHA-256 {found[:12]}… but the manifest says {listed[:12]}….",
        _ADVICE,
    )
