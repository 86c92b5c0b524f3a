"""Before a server starts: the files of its model, brought from a bucket or a hub onto the pod's own disk, and each proven.

`python -m serin_trainer.fetch --config FILE`, in an init container of the pod. A copy is found by the digest that was judged, so
who put it there does not matter. Exit code 65 says one thing: there are files, and they are others than were judged. Whatever else
keeps them away (a store, its answers, a full disk) says nothing of the model, and the kubelet tries again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from . import config as configs
from . import failures, manifest, object_store
from .config import FetchConfig, FetchedModel
from .errors import EXIT_DONE, ConfigError, DataError, TryAgainError
from .files import sync_and_hash
from .full_volumes import out_of_room
from .manifest import FileEntry
from .uris import fetch_from_hub, hub_repository

FIELD = "spec.runtime.weights"
_ADVICE = "put the model's own files back: a job with artifacts.copyTo does so when it is deleted and applied anew"
Bring = Callable[[Path, list[str]], None]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m serin_trainer.fetch")
    parser.add_argument("--config", type=Path, required=True)
    path: Path = parser.parse_args(arguments).config
    signal.signal(signal.SIGTERM, _stop)  # as process 1 it would otherwise be ignored
    try:
        fetch(configs.load_fetch(path))
    except BaseException as error:
        return failures.fail(*configs.identity(path), None, error)
    return EXIT_DONE


def fetch(config: FetchConfig) -> None:
    """Every model of the config, whole and proven, or the reason why not."""
    for model in config.models:
        target = Path(config.output) / model.folder
        target.mkdir(parents=True, exist_ok=True)
        try:
            _fetch(config, model, target)
        except DamagedError:
            raise
        except ConfigError as error:
            advice = "write its value into the Secret; it is looked for again by itself"
            raise ConfigError(error.reason, error.message, advice) from error
        except Exception as error:
            if (full := out_of_room(error, target)) is not None:
                raise _no_room(full.message) from error
            if isinstance(error, DataError):
                raise TryAgainError(error.reason, error.message, error.advice) from error
            raise


class DamagedError(DataError):
    """There are files, and they are not those that were judged."""

    def __init__(self, message: str) -> None:
        super().__init__("ModelDamaged", message, _ADVICE)


def copy_name(digest: str) -> str:
    """The folder of a bucket, or the revision at a hub, that a model of this digest lies at."""
    return digest.replace(":", "-")


def _fetch(config: FetchConfig, model: FetchedModel, target: Path) -> None:
    address, bring = _way(config, model)
    # One of before is no proof that there is one now.
    (target / manifest.FILE_NAME).unlink(missing_ok=True)
    bring(target, [manifest.FILE_NAME])
    document = (target / manifest.FILE_NAME).read_bytes()
    files = _listed(document, address)
    # What is listed is what was judged, so its names and sums can be believed; what else lies there is not looked at.
    if (found := manifest.digest(files)) != model.digest:
        raise DamagedError(f"the manifest.json of {address} is of a model with digest {found}, not {model.digest}")
    missing = [file for file in files if _difference(target / file.path, file)]
    needed, free = sum(file.size_bytes for file in missing), shutil.disk_usage(target).free
    if needed > free:
        raise _no_room(f"the model needs {needed / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free on the node's disk")
    print(f"fetching {len(missing)} of {len(files)} files, {needed / 1e6:.1f} MB, from {address}", flush=True)
    bring(target, [file.path for file in missing])
    for file in missing:
        if wrong := _difference(target / file.path, file):
            # Who tries again begins with what the store has then.
            (target / file.path).unlink(missing_ok=True)
            raise DamagedError(f"the file {file.path} of {address} {wrong}")
    # The hub's client keeps its notes beside the files, and has read the manifest as any other of them.
    shutil.rmtree(target / ".cache", ignore_errors=True)
    print(f"{address} is proven: {len(files)} files, {sum(file.size_bytes for file in files) / 1e6:.1f} MB", flush=True)


def _way(config: FetchConfig, model: FetchedModel) -> tuple[str, Bring]:
    """The address as people know it, and what brings files of it into a folder."""
    weights, name = config.weights, copy_name(model.digest)
    if weights.uri.startswith("hf://"):
        address = f"{weights.uri}@{name}"
        fetched = partial(fetch_from_hub, hub_repository(weights.uri), name, FIELD, weights.secret_ref)
    else:
        address = f"{weights.uri.rstrip('/')}/{name}"
        wanted = object_store.address(address, FIELD, "Weights", weights.s3, weights.secret_ref)
        fetched = partial(object_store.fetch_objects, wanted)

    def bring(target: Path, names: list[str]) -> None:
        if names:
            fetched(target, names)
        for one in names:
            if not (target / one).is_file():
                raise DataError(
                    "WeightsNotFound",
                    f"{address} has no file {one}, so it is no whole copy of the model",
                    f"let the job copy it (artifacts.copyTo) or put the model's whole folder there, or correct {FIELD}; it is"
                    " looked for again by itself",
                )

    return address, bring


def _listed(document: bytes, address: str) -> list[FileEntry]:
    try:
        files = json.loads(document)["files"]
        return [FileEntry(str(file["path"]), int(file["sizeBytes"]), str(file["sha256"])) for file in files]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"the manifest.json of {address} cannot be read ({error!r})") from error


def _difference(path: Path, wanted: FileEntry) -> str:
    """How a file differs from what was judged; "" when it does not."""
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != wanted.size_bytes:
        return f"has {size} bytes, and the manifest says {wanted.size_bytes}"
    found = sync_and_hash(path)
    return "" if found == wanted.sha256 else f"has SHA-256 {found[:12]}…, and the manifest says {wanted.sha256[:12]}…"


def _no_room(message: str) -> TryAgainError:
    return TryAgainError(
        "DiskFull", message, "free some there, or let pods go to nodes with more; it is tried again by itself"
    )


def _stop(_number: int, _frame: object) -> None:
    raise TryAgainError("Interrupted", "asked to stop before the model was fetched")


if __name__ == "__main__":
    sys.exit(main())
