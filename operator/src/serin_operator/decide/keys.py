"""Stage keys: the hash of what a stage depends on. A stage runs when no finished output has its key.

The image that runs a stage is not part of the key: an upgrade of Serin must not train everybody's models again. The
image is recorded on the Job instead.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from serin_operator.api.v1alpha1 import Consolidated, FineTuneJobSpec, Health

KEY_LENGTH = 16


def key_of(*parts: Any) -> str:
    """A short stable hash of JSON-like values."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def prepare_key(spec: FineTuneJobSpec, evaluated_on: Sequence[str] = ()) -> str:
    """Base model and data by address, how they are cut, and which evaluation sets they may not share rows with.

    What they hold is known only once Prepare has read them. The first half is the data's alone.
    """
    return data_key(spec) + key_of("evaluated on", sorted(evaluated_on))[KEY_LENGTH // 2 :]


def data_key(spec: FineTuneJobSpec) -> str:
    """The half of Prepare's key that says what the prepared data are."""
    return key_of(
        "prepare",
        spec.base_model.manifest(),
        spec.data.manifest(),
        spec.hyperparameters.max_sequence_length,
        spec.artifacts.manifest(),
    )[: KEY_LENGTH // 2]


def train_key(spec: FineTuneJobSpec, base_model_digest: str, data_digest: str) -> str:
    """What decides the weights: model and data by digest, method, hyperparameters and distribution.

    Resources and restarts are left out: more memory for a pod does not make another model. Which checkpoints are kept
    counts only where the best of them becomes the model.
    """
    distribution = spec.distribution
    # Left out while they are as they always were, so that upgrades train nothing again. Health makes no other model, but
    # whoever changes it after it has ended a run wants that run anew.
    ends = [spec.early_stopping and spec.early_stopping.manifest(), spec.health.manifest()]
    ended = [ends] if ends != [None, Health().manifest()] else []
    best = [spec.checkpoints.manifest()] if spec.checkpoints.consolidate is Consolidated.BEST else []
    return key_of(
        "train",
        base_model_digest,
        data_digest,
        spec.method.manifest(),
        spec.hyperparameters.manifest(),
        [distribution.nodes, distribution.processes_per_node, distribution.deepspeed.manifest()],
        spec.artifacts.manifest(),
        *best,
        *ended,
    )


def model_key(train: str) -> str:
    """The consolidated model follows from the training alone."""
    return key_of("model", train)
