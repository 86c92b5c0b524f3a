"""Dividing a checkpoint's optimizer states anew, for another number of processes than saved them.

DeepSpeed loads ZeRO's states with as many processes as saved them only. Each process of the new size therefore writes,
beside the checkpoints, the very files that it would have saved had there been so many from the start; DeepSpeed loads
them as ever. Weights and moments keep every bit. A process holds no more than its own part of them.

ZeRO 1 and 2 have one vector of all weights of a group, filled up to a multiple of twice the processes and cut into as many
pieces. ZeRO 3 cuts each weight, filled up to a multiple of the processes. ZeRO 0 does not cut, and needs nothing of this.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .checkpoint import Checkpoint
from .config import TrainConfig
from .errors import ConfigError
from .zero import damaged

# How many numbers ZeRO 3 steps through at once where nothing else is said: DeepSpeed's default.
SUB_GROUP = 1_000_000_000
ORDER_DEPENDS_ON_SIZE = "zero_optimization.round_robin_gradients"
_RNG = re.compile(r"rng_state(_\d+)?\.pth")


def processes_of(checkpoint: Checkpoint) -> int:
    """How many processes saved it: each left the state of its random numbers."""
    return sum(bool(_RNG.fullmatch(path.name)) for path in checkpoint.path.iterdir())


def refuse(config: TrainConfig) -> None:
    """Says no where the order of the weights would be another one."""
    if config.distribution.config_override.get(ORDER_DEPENDS_ON_SIZE) == "true":
        raise ConfigError(
            "ResumeUnsupported",
            f"the checkpoint was saved by another number of processes, and {ORDER_DEPENDS_ON_SIZE} orders the weights by it",
            "go back to the number of processes there was, or change the seed to train anew",
        )


def divide(checkpoint: Checkpoint, target: Path, rank: int, processes: int, sub_group: int = SUB_GROUP) -> None:
    """Writes one process's files of the checkpoint as if `processes` had saved it. Rank 0 writes what all share."""
    tag = (checkpoint.path / "latest").read_text().strip()
    old, new = checkpoint.path / tag, target / tag
    new.mkdir(parents=True, exist_ok=True)
    _random_numbers(checkpoint.path, target, rank, processes)
    if rank == 0:
        for path in checkpoint.path.iterdir():
            if path.is_file() and not _RNG.fullmatch(path.name):
                shutil.copyfile(path, target / path.name)
    shards = _Shards.of(old)
    if shards is None:
        for path in old.iterdir() if rank == 0 else ():
            shutil.copyfile(path, new / path.name)
        return
    description = _load(old / shards.models[0])
    by_weight = "fp32_flat_groups" in shards.states[0]
    divided = (
        _by_weight(shards, description, rank, processes, sub_group)
        if by_weight
        else _by_vector(shards, rank, processes)
    )
    torch.save({**shards.documents[0], "optimizer_state_dict": divided}, new / shards.name(rank))
    description["dp_world_size"] = processes
    if by_weight:
        description["frozen_param_fragments"] = _frozen(old, shards, description, rank, processes)
        torch.save(description, new / _renumbered(shards.models[0], rank))
    elif rank == 0:
        torch.save(description, new / shards.models[0])


@dataclass(frozen=True)
class _Shards:
    """The states as they were saved, mapped rather than read."""

    names: Sequence[str]
    models: Sequence[str]
    documents: Sequence[Any]

    @classmethod
    def of(cls, folder: Path) -> _Shards | None:
        names = _by_rank(folder.glob("*_optim_states.pt"))
        if not names:
            return None
        models = _by_rank(folder.glob("*_model_states.pt"))
        return cls(names, models, [_load(folder / name) for name in names])

    @property
    def states(self) -> list[Any]:
        return [document["optimizer_state_dict"] for document in self.documents]

    def name(self, rank: int) -> str:
        return _renumbered(self.names[0], rank)


def _by_vector(shards: _Shards, rank: int, processes: int) -> dict[str, Any]:
    """ZeRO 1 and 2."""
    states, first = shards.states, shards.states[0]
    weights: list[torch.Tensor] = []
    paddings: list[int] = []
    moments: dict[int, dict[str, Any]] = {}
    for group, _ in enumerate(first["single_partition_of_fp32_groups"]):
        pieces = [state["single_partition_of_fp32_groups"][group] for state in states]
        count = sum(piece.numel() for piece in pieces)
        each = _rounded_up(count, 2 * processes) // processes
        start, end = rank * each, min(count, (rank + 1) * each)
        weights.append(_slice(pieces, start, end))
        paddings.append(each - (end - start))
        moments[group] = {
            name: _filled(
                _slice([state["base_optimizer_state"]["state"][group][name] for state in states], start, end), each
            )
            if isinstance(value, torch.Tensor) and value.dim()
            else value
            for name, value in first["base_optimizer_state"]["state"][group].items()
        }
    return {
        **first,
        "single_partition_of_fp32_groups": weights,
        "group_paddings": paddings,
        "partition_count": [processes] * len(weights),
        # Where each weight lies in the vector is found again by DeepSpeed when it makes the vector.
        "param_slice_mappings": [],
        "base_optimizer_state": {**first["base_optimizer_state"], "state": moments},
    }


def _by_weight(shards: _Shards, description: Any, rank: int, processes: int, sub_group: int) -> dict[str, Any]:
    """ZeRO 3. Its groups of weights are small enough to be stepped through one by one; on fewer processes there are more."""
    states, first = shards.states, shards.states[0]
    saved = first["optimizer_state_dict"]
    shapes = [list(group.values()) for group in description["param_shapes"]]
    weights: list[torch.Tensor] = []
    moments: dict[int, dict[str, Any]] = {}
    groups: list[dict[str, Any]] = []
    for group in saved["param_groups"]:
        numbers: list[int] = []
        found = list(_places(shapes, group["params"], len(states)))
        for part in _sub_groups(found, processes, sub_group):
            numbers.append(len(weights))
            moments[len(weights)] = {
                name: _cut(part, [[state["optimizer_state_dict"]["state"][number][name] for number in group["params"]]
                                  for state in states], group["params"], rank, processes)
                if isinstance(value, torch.Tensor) and value.dim()
                else value
                for name, value in saved["state"][group["params"][0]].items()
            }  # fmt: skip
            vectors = [[state["fp32_flat_groups"][number] for number in group["params"]] for state in states]
            weights.append(_cut(part, vectors, group["params"], rank, processes))
        groups.append({**group, "params": numbers})
    return {
        **first,
        "partition_count": processes,
        "fp32_flat_groups": weights,
        "optimizer_state_dict": {**saved, "state": moments, "param_groups": groups},
    }


@dataclass(frozen=True)
class _Place:
    """Where a weight's pieces lie: the vector, the same of each process, and the place in it."""

    vector: int
    start: int
    size: int  # of a piece
    count: int  # of the whole weight


def _places(shapes: list[list[Any]], vectors: Sequence[int], processes: int) -> Iterator[_Place]:
    for vector in vectors:
        start = 0
        for shape in shapes[vector]:
            count = math.prod(shape)
            size = math.ceil(count / processes)
            yield _Place(vector, start, size, count)
            start += size


def _sub_groups(places: list[_Place], processes: int, limit: int) -> Iterator[list[_Place]]:
    """As DeepSpeed makes them: full once they hold the limit."""
    part: list[_Place] = []
    held = 0
    for place in places:
        part.append(place)
        held += math.ceil(place.count / processes)
        if held >= limit:
            yield part
            part, held = [], 0
    if part:
        yield part


def _cut(
    part: list[_Place], vectors: list[list[torch.Tensor]], numbers: Sequence[int], rank: int, processes: int
) -> torch.Tensor:
    """A process's pieces of some weights, one after another. `vectors` are each process's, of those `numbers`."""
    pieces: list[torch.Tensor] = []
    for place in part:
        at = list(numbers).index(place.vector)
        saved = [of_one[at].narrow(0, place.start, place.size) for of_one in vectors]
        pieces.append(_piece(saved, place.count, rank, processes))
    return torch.cat(pieces)


def _piece(saved: list[torch.Tensor], count: int, rank: int, processes: int) -> torch.Tensor:
    """A process's piece of one weight, the last ones filled up."""
    each = math.ceil(count / processes)
    start, end = min(count, rank * each), min(count, (rank + 1) * each)
    return _filled(_slice(saved, start, end), each)


def _frozen(old: Path, shards: _Shards, description: Any, rank: int, processes: int) -> Any:
    """Weights that are not trained, of which ZeRO 3 keeps a piece in each process too."""
    fragments = description.get("frozen_param_fragments")
    if not fragments:
        return fragments
    if len(shards.models) != len(shards.names):
        raise damaged(
            f"{len(shards.models)} files of model states stand beside {len(shards.names)} of optimizer states"
        )
    all_of_them = [_load(old / name)["frozen_param_fragments"] for name in shards.models]
    return {
        name: _piece([one[name].flatten() for one in all_of_them], math.prod(shape), rank, processes)
        for name, shape in description["frozen_param_shapes"].items()
    }


def _random_numbers(old: Path, target: Path, rank: int, processes: int) -> None:
    """A process goes on with the random numbers of the one whose place it has; one too many shares another's."""
    saved = sorted((p for p in old.iterdir() if _RNG.fullmatch(p.name)), key=lambda path: (len(path.name), path.name))
    if saved:
        target.mkdir(parents=True, exist_ok=True)
        name = f"rng_state_{rank}.pth" if processes > 1 else "rng_state.pth"
        shutil.copyfile(saved[rank % len(saved)], target / name)


def _slice(pieces: Sequence[torch.Tensor], start: int, end: int) -> torch.Tensor:
    """Numbers `start` to `end` of pieces that lie one after another."""
    found: list[torch.Tensor] = []
    at = 0
    for piece in pieces:
        low, high = max(start - at, 0), min(end - at, piece.numel())
        if low < high:
            found.append(piece.narrow(0, low, high - low))
        at += piece.numel()
    if not found:
        return torch.empty(0, dtype=pieces[0].dtype)
    return torch.cat(found)


def _filled(numbers: torch.Tensor, size: int) -> torch.Tensor:
    return torch.nn.functional.pad(numbers, (0, size - numbers.numel()))


def _rounded_up(count: int, multiple: int) -> int:
    return math.ceil(count / multiple) * multiple


def _load(path: Path) -> Any:
    # Its digest was proven when this attempt chose the checkpoint, and DeepSpeed unpickles the same files.
    return torch.load(path, map_location="cpu", mmap=True, weights_only=False)


def _by_rank(paths: Iterator[Path]) -> list[str]:
    return sorted(
        (path.name for path in paths), key=lambda name: int((re.search(r"zero_pp_rank_(\d+)_", name) or [0, 0])[1])
    )


def _renumbered(name: str, rank: int) -> str:
    return re.sub(r"zero_pp_rank_\d+_", f"zero_pp_rank_{rank}_", name)


def sub_group_size(config: TrainConfig) -> int:
    return int(json.loads(config.distribution.config_override.get("zero_optimization.sub_group_size", str(SUB_GROUP))))
