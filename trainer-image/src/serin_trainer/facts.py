"""What a tracking server is told of a run beside its curves: what it was made from and with, and which attempt is running."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import __version__
from .config import TrainConfig
from .lineage import source_digest

if TYPE_CHECKING:
    from .train import Plan


def of_the_run(plan: Plan) -> dict[str, str]:
    """Lineage, and the settings as they take effect: what the job left open is what was chosen for it."""
    config = plan.config
    wish = config.hyperparameters
    effective = {
        **wish.model_dump(by_alias=True, mode="json", exclude_none=True, exclude={"warmup_ratio"}),
        "learningRate": plan.learning_rate,
        "warmupSteps": plan.warmup_steps,
        "precision": plan.precision,
        "steps": plan.total_steps,
        "rowsPerStep": plan.rows_per_step,
    }
    parts = {
        "job": f"{config.job.namespace}/{config.job.name}",
        "trainKey": config.key,
        "baseModel": config.base_model.known_as,
        "baseModelDigest": config.base_model.digest,
        "dataDigest": config.data_digest,
        "method": config.method.model_dump(by_alias=True, mode="json", exclude_none=True),
        "hyperparameters": effective,
        "distribution": config.distribution.model_dump(by_alias=True, mode="json", exclude_none=True),
        "earlyStopping": config.early_stopping and config.early_stopping.model_dump(by_alias=True, mode="json"),
    }
    return flat(parts)


def of_the_attempt(config: TrainConfig) -> dict[str, str]:
    """What another attempt may have otherwise."""
    return {
        "serin.attempt": str(config.attempt),
        "serin.processes": str(config.world),
        "serin.version": __version__,
        "serin.code": source_digest(),
    }


def flat(value: Any, name: str = "") -> dict[str, str]:
    """Fields by their paths; lists of words with commas, and nothing of what is absent or empty."""
    if isinstance(value, Mapping):
        return {
            path: text
            for key, below in value.items()
            for path, text in flat(below, f"{name}.{key}" if name else str(key)).items()
        }
    if isinstance(value, list):
        value = ",".join(str(one) for one in value)
    elif isinstance(value, bool):
        value = json.dumps(value)
    return {} if value is None or value == "" else {name: str(value)}
