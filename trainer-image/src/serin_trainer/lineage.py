"""Where a model comes from: base, data, method, seed, checkpoint, images and code, for its manifest."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from . import __version__
from .config import ConsolidateConfig
from .result import FILE_NAME as RESULT_NAME

LIBRARIES = ("bitsandbytes", "deepspeed", "peft", "safetensors", "torch", "transformers")
# What the training said of itself that another run of the same inputs would say as well, up to rounding.
OF_TRAINING = (
    "steps",
    "tokens",
    "trainLossFirst",
    "trainLossLast",
    "evalLoss",
    "worldSize",
    "zeroStage",
    "precision",
    "learningRate",
)


def document(config: ConsolidateConfig, checkpoint: Path) -> dict[str, Any]:
    given = config.lineage
    return {
        "baseModel": config.base_model.known_as,
        "baseModelDigest": config.base_model.digest,
        "dataDigest": given.data_digest,
        "sourcesDigest": given.sources_digest,
        "method": config.method.model_dump(by_alias=True, mode="json", exclude_none=True),
        **({"methodReason": given.method_reason} if given.method_reason else {}),
        "hyperparameters": given.hyperparameters,
        "seed": given.hyperparameters.get("seed"),
        "trainKey": given.train_key,
        "checkpoint": checkpoint.name,
        "training": _of_training(checkpoint.parent),
        "job": config.job.model_dump(),
        "images": given.images,
        "code": {"serin": __version__, "sourceDigest": source_digest(), **_libraries()},
    }


@cache
def source_digest() -> str:
    """The hash of this package's own files: what ran, also where an image was built from an unmarked tree."""
    root = Path(__file__).parent
    lines = (f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in sorted(root.glob("*.py")))
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def _libraries() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _of_training(output: Path) -> dict[str, Any]:
    """From the result that the training left beside its checkpoints; a model is no worse without it."""
    try:
        told = json.loads((output / RESULT_NAME).read_bytes())["output"]
        return {name: told[name] for name in OF_TRAINING if told.get(name) is not None}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
