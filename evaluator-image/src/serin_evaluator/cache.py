"""Measurements kept between evaluations, per example, so that a base or incumbent model is not measured twice.

An entry's name is a digest of all that the numbers depend on. Entries are written whole or not at all; one that
cannot be read is measured again. Not here: metrics, which are computed anew from the measurements each time.
"""

import gzip
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Generic, TypeVar

from serin_evaluator import __version__
from serin_evaluator.measured import Choice, Flag, Generation, Likelihood, Opinion, Speed
from serin_evaluator.parts import Parts, Row
from serin_evaluator.result import write_atomically
from serin_evaluator.share import ALL, Share

log = logging.getLogger(__name__)
Measured = TypeVar("Measured", Likelihood, Generation, Choice, Speed, Flag, Opinion)
_MEASURING = (
    "batches.py",
    "choices.py",
    "fewshot.py",
    "generation.py",
    "likelihood.py",
    "loading.py",
    "prompts.py",
    "suites.py",
)
"""The modules that the measured numbers depend on."""


@cache
def evaluator_version() -> str:
    """The version that scores are comparable under: the measuring code and the libraries that compute."""
    return _version_of(_MEASURING)


@cache
def classifying_version() -> str:
    """The same for what classifiers say."""
    return _version_of(("classifiers.py",))


@cache
def benchmark_version() -> str:
    """The same for what is asked through lm-evaluation-harness."""
    code = _version_of((*_MEASURING, "benchmarks.py", "harness.py"))
    return f"{code}-lm_eval{_installed('lm_eval')}"


def _version_of(modules: Iterable[str]) -> str:
    code = hashlib.sha256()
    for name in modules:
        code.update(Path(__file__).with_name(name).read_bytes())
    libraries = "-".join(f"{name}{_installed(name)}" for name in ("torch", "transformers"))
    return f"{__version__}-{code.hexdigest()[:12]}-{libraries}"


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "0"


@dataclass(frozen=True)
class Entry(Generic[Measured]):
    """What a model gave on each example, and the examples that do not fit into its context."""

    measured: dict[int, Measured]
    too_long: tuple[int, ...]


class ScoreCache:
    """A folder of entries; without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, identity: Mapping[str, Any], kind: type[Measured]) -> Entry[Measured] | None:
        """The entry of this identity, when there is a whole one."""
        path = self._path(identity)
        if path is None or not path.exists():
            return None
        try:
            document = json.loads(gzip.decompress(path.read_bytes()))
            if document["identity"] != _plain(identity):
                raise ValueError("it was kept under another identity")
            measured = {int(one): kind(**row) for one, row in document["measured"].items()}
            return Entry(measured, tuple(document["tooLong"]))
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("scores kept in %s cannot be used, so they are measured again: %s", path.name, error)
            return None

    def put(self, identity: Mapping[str, Any], entry: Entry[Measured]) -> None:
        """Keep the entry; a folder that cannot be written to costs time later, not this evaluation."""
        path = self._path(identity)
        if path is None:
            return
        document = {
            "identity": _plain(identity),
            "measured": {str(one): asdict(row) for one, row in entry.measured.items()},
            "tooLong": list(entry.too_long),
        }
        try:
            write_atomically(path, gzip.compress(json.dumps(document).encode(), mtime=0))
        except OSError as error:
            log.warning("scores cannot be kept in %s: %s", path.parent, error.strerror)

    def parts(self, identity: Mapping[str, Any], kind: type[Row], share: Share = ALL) -> Parts[Row]:
        """What a pod before this one, which was killed, or one beside it had measured of the entry."""
        path = self._path(identity)
        folder = path.with_name(path.name.removesuffix(".json.gz") + ".parts") if path else None
        return Parts(folder, kind, share=share)

    def _path(self, identity: Mapping[str, Any]) -> Path | None:
        if self._folder is None:
            return None
        canonical = json.dumps(_plain(identity), sort_keys=True).encode()
        return self._folder / f"{hashlib.sha256(canonical).hexdigest()}.json.gz"


def _plain(identity: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(dict(identity)))
