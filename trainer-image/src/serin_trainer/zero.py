"""DeepSpeed's checkpoints: which weight lies in which ranges of which process's file.

Each process saves the part of the float32 weights whose optimizer state it holds. ZeRO 1 and 2 cut one flat vector of all
weights into as many pieces as there are processes; ZeRO 3 cuts each weight. Frozen weights are not in the optimizer
and lie beside it, whole (ZeRO 1 and 2) or cut (ZeRO 3). ZeRO 0 does not shard. What is made here is a table; no weight is
read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from . import archive
from .errors import DataError
from .tensors import Part, Stored, join

UNSUPPORTED = ("expert", "layer_")


@dataclass(frozen=True)
class Trained:
    """The weights of a checkpoint by name. `aliases` are further names of tied ones."""

    tensors: Mapping[str, Stored]
    optimized: frozenset[str]
    aliases: Mapping[str, str]

    def find(self, name: str) -> Stored | None:
        return self.tensors.get(self.aliases.get(name, name)) or self.tensors.get(name)


def read(folder: Path) -> Trained:
    """The table of the checkpoint in a folder that holds `latest` and the folder that it names."""
    try:
        tag = (folder / "latest").read_text().strip()
    except OSError as error:
        raise damaged("latest cannot be read") from error
    states = folder / tag
    _refuse_other_parallelism(states)
    optimizers = _by_rank(states.glob("*_optim_states.pt"))
    models = _by_rank(states.glob("*_model_states.pt"))
    if not models:
        raise damaged(f"{tag} holds no model states")
    first = archive.load(models[0])
    if not optimizers:
        return _unsharded(first, models[0])
    shards = [_shard(path) for path in optimizers]
    _all_there(shards, optimizers)
    groups = [dict(group) for group in _field(first, "param_shapes", models[0])]
    by_weight = shards[0].by_weight
    tensors = _beside_the_optimizer(first, everything=not by_weight)
    frozen = first.get("frozen_param_shapes") or {}
    if by_weight:
        descriptions = [first, *(archive.load(path) for path in models[1:])] if frozen else [first]
        if frozen and len(models) != len(shards):
            raise damaged(f"{len(models)} files of model states stand beside {len(shards)} of optimizer states")
        tensors |= {name: _cut_frozen(name, shape, descriptions) for name, shape in frozen.items()}
        trained = _cut_by_weight({name: shape for group in groups for name, shape in group.items()}, shards)
    else:
        trained = _cut_by_vector(groups, shards)
    return Trained({**tensors, **trained}, frozenset(trained), dict(first.get("shared_params") or {}))


def damaged(what: str) -> DataError:
    return DataError("CheckpointDamaged", f"the checkpoint cannot be used: {what}", "train again: retry the job")


@dataclass(frozen=True)
class _Shard:
    """What one process saved of the optimizer."""

    path: Path
    by_weight: bool
    processes: int
    vectors: Sequence[Stored]
    paddings: Sequence[Sequence[int]] | None

    @property
    def shape(self) -> tuple[bool, int, int]:
        """What all processes of one run have alike."""
        return self.by_weight, self.processes, len(self.vectors)


def _shard(path: Path) -> _Shard:
    state = _field(archive.load(path), "optimizer_state_dict", path)
    count = state.get("partition_count")
    count = max(count) if isinstance(count, (list, tuple)) else count
    # The stage is an enumeration's member, a class that is not loaded; the names of what it saves tell as much.
    by_weight = "fp32_flat_groups" in state
    vectors = _field(state, "fp32_flat_groups" if by_weight else "single_partition_of_fp32_groups", path)
    if not isinstance(count, int) or not all(isinstance(vector, Stored) for vector in vectors):
        raise damaged(f"{path.name} does not hold the optimizer of a ZeRO run")
    return _Shard(path, by_weight, count, list(vectors), None if by_weight else state.get("param_alignment_paddings"))


def _all_there(shards: list[_Shard], paths: list[Path]) -> None:
    first = shards[0]
    if first.processes != len(shards):
        raise damaged(f"{first.processes} processes saved it, and {len(shards)} files of optimizer states are there")
    for rank, shard in enumerate(shards):
        if _rank(shard.path) != rank:
            raise damaged(f"the file of process {rank} is missing ({paths[rank].name} stands in its place)")
        if shard.shape != first.shape:
            raise damaged(f"{shard.path.name} is of another run than {first.path.name}")


def _cut_by_vector(groups: list[dict[str, tuple[int, ...]]], shards: list[_Shard]) -> dict[str, Stored]:
    """ZeRO 1 and 2: the pieces of all processes, one after another, are one vector of all weights of a group."""
    if len(groups) != len(shards[0].vectors):
        raise damaged(f"it has {len(shards[0].vectors)} groups of weights and describes {len(groups)}")
    found: dict[str, Stored] = {}
    for number, shapes in enumerate(groups):
        pieces = [shard.vectors[number] for shard in shards]
        vector = join("F32", (sum(piece.count for piece in pieces),), tuple(part for p in pieces for part in p.parts))
        paddings = shards[0].paddings[number] if shards[0].paddings is not None else [0] * len(shapes)
        if len(paddings) != len(shapes):
            raise damaged(f"it has {len(shapes)} weights in a group and paddings for {len(paddings)}")
        at = 0
        for (name, shape), padding in zip(shapes.items(), paddings, strict=True):
            found[name] = join("F32", tuple(shape), vector.span(at, math.prod(shape)))
            at += math.prod(shape) + padding
        # DeepSpeed fills the vector up to a multiple of twice the number of processes.
        multiple = 2 * len(shards)
        if math.ceil(at / multiple) != math.ceil(vector.count / multiple):
            raise damaged(f"its weights are {at} numbers, and {vector.count} are there")
    return found


def _cut_by_weight(shapes: dict[str, tuple[int, ...]], shards: list[_Shard]) -> dict[str, Stored]:
    """ZeRO 3: each weight is cut into equal pieces, the last one filled up; a process has its pieces one after another."""
    sizes = [[vector.count for vector in shard.vectors] for shard in shards]
    if any(size != sizes[0] for size in sizes):
        raise damaged("its processes hold different numbers of weights")
    flat = [join("F32", (sum(sizes[0]),), tuple(p for v in shard.vectors for p in v.parts)) for shard in shards]
    each = [math.ceil(math.prod(shape) / len(shards)) for shape in shapes.values()]
    if sum(each) != sum(sizes[0]):
        raise damaged(f"its weights are {sum(each)} numbers a process, and {sum(sizes[0])} are there")
    starts = accumulate(each, initial=0)
    return {
        name: _put_together(tuple(shape), [vector.span(start, size) for vector in flat], "F32")
        for (name, shape), start, size in zip(shapes.items(), starts, each, strict=False)
    }


def _cut_frozen(name: str, shape: tuple[int, ...], descriptions: list[Any]) -> Stored:
    pieces = [description["frozen_param_fragments"][name] for description in descriptions]
    return _put_together(tuple(shape), [piece.parts for piece in pieces], pieces[0].dtype)


def _put_together(shape: tuple[int, ...], pieces: list[tuple[Part, ...]], dtype: str) -> Stored:
    """A weight of its pieces, without what the last ones were filled up with."""
    parts = tuple(part for piece in pieces for part in piece)
    filled = Stored(dtype, (0,), parts)
    return join(dtype, shape, filled.span(0, math.prod(shape)))


def _unsharded(states: Any, path: Path) -> Trained:
    module = {name: tensor for name, tensor in _field(states, "module", path).items() if isinstance(tensor, Stored)}
    first: dict[tuple[Part, ...], str] = {}
    aliases = {
        name: first[t.parts] for name, t in module.items() if first.setdefault(t.parts, name) != name and t.count
    }
    return Trained(module, frozenset(module), aliases)


def _beside_the_optimizer(states: Any, everything: bool) -> dict[str, Stored]:
    """What is not trained. Up to ZeRO 2 the model lies there whole, frozen weights too (ZeRO 1 names them nowhere else);
    with ZeRO 3 only buffers do, such as running means, and the weights' places are empty."""
    buffers = set(states.get("buffer_names") or ())
    module = states.get("module") or {}
    return {
        name: tensor
        for name, tensor in module.items()
        if isinstance(tensor, Stored) and (everything or name in buffers)
    }


def _refuse_other_parallelism(states: Path) -> None:
    for path in states.glob("*.pt"):
        if any(mark in path.name for mark in UNSUPPORTED) or re.search(r"mp_rank_(?!00)\d+", path.name):
            raise DataError(
                "CheckpointUnsupported",
                f"{path.name} belongs to tensor, pipeline or expert parallelism, which is not consolidated here",
                "train with data parallelism (ZeRO) only",
            )


def _by_rank(paths: Any) -> list[Path]:
    return sorted(paths, key=_rank)


def _rank(path: Path) -> int:
    match = re.search(r"zero_pp_rank_(\d+)_", path.name)
    return int(match[1]) if match else 0


def _field(document: Any, name: str, path: Path) -> Any:
    if not isinstance(document, dict) or document.get(name) is None:
        raise damaged(f"{path.name} has no {name}")
    return document[name]
