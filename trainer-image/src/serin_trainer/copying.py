"""Copy: a finished model's files, in a bucket that servers fetch them from. Each model is in a folder named by its digest.

Everything is proven before it is copied, manifest.json is copied last, and what lies there already, byte for byte, is left: so a
copy can be made as often as one likes, one that was ended goes on, and one that has a manifest is whole.
"""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from . import manifest, object_store
from .config import CopyConfig, Made
from .errors import DataError
from .fetch import copy_name
from .files import sync_and_hash
from .manifest import FileEntry
from .object_store import Writer
from .result import CopyOutput, Result, succeeded
from .uris import pvc_path

FIELD = "spec.artifacts.copyTo"
AT_ONCE = 4  # files that are copied beside each other; each has some pieces of its own in memory


@dataclass(frozen=True)
class Copied:
    """What became of one folder."""

    uri: str
    files: int
    size_bytes: int
    skipped: int


def copy(config: CopyConfig) -> Result:
    base = config.model.base
    # The base first: an adapter whose copy is whole can be served.
    done = [_copied(config, one) for one in (base, config.model) if one is not None]
    files, size = sum(one.files for one in done), sum(one.size_bytes for one in done)
    skipped, uri = sum(one.skipped for one in done), done[-1].uri
    what = f"{files} files, {size / 1e6:.1f} MB{', with its base model' if base is not None else ''}"
    there = f", of which {skipped} lay there already" if skipped else ""
    output = CopyOutput(uri=uri, files=files, size_bytes=size, skipped=skipped)
    return succeeded("Copy", config.key, f"{what}, at {uri}{there}", output)


def _copied(config: CopyConfig, made: Made) -> Copied:
    folder = pvc_path(made.uri)
    files = _proven(folder, made)
    uri = f"{config.to.uri.rstrip('/')}/{copy_name(made.digest)}"
    writer = Writer(object_store.address(uri, FIELD, "Copy", config.to.s3, config.to.secret_ref))
    size, skipped = sum(file.size_bytes for file in files), 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        copies = {pool.submit(writer.put, file.path, folder / file.path, file.sha256): file for file in files}
        try:
            copied = 0
            for number, one in enumerate(as_completed(copies), 1):
                skipped += not one.result()
                copied += copies[one].size_bytes
                print(
                    f"{number} of {len(files)} files, {copied / 1e6:.1f} of {size / 1e6:.1f} MB, at {uri}", flush=True
                )
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    with tempfile.TemporaryDirectory(prefix="serin-copy-") as scratch:
        path = Path(scratch) / manifest.FILE_NAME
        path.write_bytes(_manifest(folder, files, made))
        skipped += not writer.put(manifest.FILE_NAME, path, sync_and_hash(path))
    return Copied(uri, len(files) + 1, size, skipped)


def _proven(folder: Path, made: Made) -> list[FileEntry]:
    files = manifest.entries(folder) if folder.is_dir() else []
    found = manifest.digest(files)
    if found != made.digest:
        what = f"has the digest {found[:19]}… and not {made.digest[:19]}…" if files else "is not there"
        raise DataError(
            "ModelDamaged",
            f"the model {made.uri} {what}, so it was not copied",
            "put back the files that were there; it is looked at again by itself",
        )
    return files


def _manifest(folder: Path, files: list[FileEntry], made: Made) -> bytes:
    """The model's own, with its lineage; a base model may have none."""
    path = folder / manifest.FILE_NAME
    if path.is_file() and json.loads(path.read_bytes()).get("digest") == made.digest:
        return path.read_bytes()
    return manifest.encoded(files, {})
