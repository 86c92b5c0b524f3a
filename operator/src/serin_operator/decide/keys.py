"""Stage keys: the hash of what a stage depends on. A stage runs when no finished output has its key.

The image that runs a stage is not part of the key: an upgrade of Serin must not train everybody's models again. The
image is recorded on the Job instead.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, cast

from serin_operator.api.v1alpha1 import Consolidated, CopyTo, FineTuneJobSpec, Health, Method, MethodType

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
        _without_secrets(spec.base_model.manifest()),
        _without_secrets(spec.data.manifest()),
        spec.hyperparameters.max_sequence_length,
        spec.artifacts.place,
        *(["with the base model"] if spec.copies_public_base else []),
        *(["unpacked"] if spec.method.prompts and spec.data.packing is None else []),
        *([_chosen_by(spec)] if spec.method.type is MethodType.AUTO else []),
    )[: KEY_LENGTH // 2]


def _chosen_by(spec: FineTuneJobSpec) -> list[Any]:
    """What a method is chosen by: all that its memory depends on, and how much there is."""
    hyper, distribution = spec.hyperparameters, spec.distribution
    return [
        spec.method.manifest(),
        [hyper.batch_size, hyper.precision, hyper.gradient_checkpointing],
        [distribution.nodes, distribution.processes_per_node, distribution.deepspeed.manifest()],
        distribution.resources.manifest(),
    ]


def _without_secrets(manifest: Any) -> Any:
    """Who may read the data, and whose certificates are believed of a store, does not say what they are."""
    if isinstance(manifest, list):
        return [_without_secrets(item) for item in cast("list[Any]", manifest)]
    if not isinstance(manifest, dict):
        return manifest
    fields = cast("dict[str, Any]", manifest)
    return {name: _without_secrets(value) for name, value in fields.items() if name not in ("secretRef", "caRef")}


def train_key(spec: FineTuneJobSpec, base_model_digest: str, data_digest: str) -> str:
    """What decides the weights: model and data by digest, method, hyperparameters and distribution.

    Resources and restarts are left out: more memory for a pod does not make another model. So is the number of processes
    where a global batch gives every number of them the same steps. Which checkpoints are kept counts only where the best
    of them becomes the model.
    """
    distribution = spec.distribution
    any_size = spec.hyperparameters.global_batch_size is not None
    size = ["any"] if any_size else [distribution.nodes, distribution.processes_per_node]
    # Left out while they are as they always were, so that upgrades train nothing again. Health makes no other model, but
    # whoever changes it after it has ended a run wants that run anew.
    ends = [spec.early_stopping and spec.early_stopping.manifest(), spec.health.manifest()]
    ended = [ends] if ends != [None, Health().manifest()] else []
    best = [spec.checkpoints.manifest()] if spec.checkpoints.consolidate is Consolidated.BEST else []
    return key_of(
        "train",
        base_model_digest,
        data_digest,
        spec.method.trained.manifest(),
        spec.hyperparameters.filled(),
        [*size, distribution.deepspeed.manifest()],
        spec.artifacts.place,
        *best,
        *ended,
    )


def copy_key(digest: str, to: CopyTo) -> str:
    """A copy is done when this model lies there; who may write it does not matter."""
    return key_of("copy", digest, _without_secrets(to.manifest()))


def model_key(train: str, method: Method) -> str:
    """The consolidated model follows from the training, and from what becomes of an adapter."""
    return key_of("model", train, *(["kept"] if method.kept else []))
