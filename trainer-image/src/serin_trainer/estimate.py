"""What training will take, told before it: steps, tokens, memory for each ZeRO stage, and what would fit where.

Counted from the base model's own files and the prepared rows. Memory is an estimate: weights, gradients and Adam's
states as ZeRO divides them (Rajbhandari et al., arXiv 1910.02054), activations without recomputation (Korthikanti et al.,
arXiv 2205.05198, attention scores not kept). Nothing is decided here.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .config import Training
from .result import Document

GIB = 2**30
DEVICES_GIB = (16, 24, 40, 48, 80, 141)
USABLE = 0.9
# A process's own: libraries, the device's context, buffers of collectives.
OVERHEAD = 1.0 * GIB

METHODS: tuple[Literal["Full", "LoRA"], ...] = ("Full", "LoRA")


class StageMemory(Document):
    """GiB of one process under one method and ZeRO stage."""

    method: Literal["Full", "LoRA"]
    zero_stage: int
    weights: float
    gradients: float
    optimizer: float
    activations: float
    total: float


class Fit(Document):
    """What fits a device of this size."""

    device_gib: int
    method: Literal["Full", "LoRA"] | None
    zero_stage: int | None


class Plan(Document):
    """What the job is going to do, with its own settings, and what else it could."""

    parameters: int
    trainable_parameters: int
    steps: int
    steps_per_epoch: int
    sequences_per_step: int
    tokens: int
    processes: int
    precision: Literal["bf16", "fp32"]
    chosen: StageMemory
    memory: list[StageMemory]
    fits: list[Fit]
    suggestion: str


@dataclass(frozen=True)
class Facts:
    """What a model's files say about its size."""

    parameters: int
    adapter: int  # parameters of LoRA at the wished rank
    hidden: int
    layers: int
    vocabulary: int


def facts(directory: Path, training: Training) -> Facts | None:
    """Read from config.json and the headers of the safetensors files; None when they do not say."""
    try:
        config = json.loads((directory / "config.json").read_bytes())
        config = config.get("text_config", config)
        shapes = [shape for path in sorted(directory.glob("*.safetensors")) for shape in tensor_shapes(path).items()]
        hidden = int(config.get("hidden_size") or config["n_embd"])
        layers = int(config.get("num_hidden_layers") or config["n_layer"])
        vocabulary = int(config["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not shapes:
        return None
    adapter = sum(
        training.lora_rank * sum(shape)
        for name, shape in shapes
        if len(shape) == 2 and name.removesuffix(".weight").rsplit(".", 1)[-1] in training.lora_target_modules
    )
    return Facts(sum(math.prod(shape) for _name, shape in shapes), adapter, hidden, layers, vocabulary)


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Names and shapes in a safetensors file: a length of eight bytes, then so many bytes of JSON."""
    with path.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return {name: tensor["shape"] for name, tensor in header.items() if name != "__metadata__"}


def plan(model: Facts, training: Training, lengths: list[int]) -> Plan:
    """The plan for sequences of these lengths."""
    processes = training.nodes * training.processes_per_node
    per_step = training.batch_size * training.gradient_accumulation_steps * processes
    per_epoch = math.ceil(len(lengths) / per_step)
    limits = [training.max_steps, training.epochs and training.epochs * per_epoch]
    steps = min(limit for limit in limits if limit)
    longest = max(lengths, default=0)
    table = [memory(model, training, method, stage, processes, longest) for method in METHODS for stage in range(4)]
    chosen = next(one for one in table if (one.method, one.zero_stage) == (training.method, training.zero_stage))
    fits = [_fit(size, table) for size in DEVICES_GIB]
    return Plan(
        parameters=model.parameters,
        trainable_parameters=model.adapter if training.method == "LoRA" else model.parameters,
        steps=steps,
        steps_per_epoch=per_epoch,
        sequences_per_step=per_step,
        tokens=round(sum(lengths) * steps / per_epoch) if per_epoch else 0,
        processes=processes,
        precision="bf16" if training.accelerated else "fp32",
        chosen=chosen,
        memory=table,
        fits=fits,
        suggestion=_suggestion(chosen, table, fits),
    )


def memory(
    model: Facts, training: Training, method: Literal["Full", "LoRA"], stage: int, processes: int, longest: int
) -> StageMemory:
    """In bf16 a weight has 2 bytes, its gradient 2, and the optimizer 12 (a copy in fp32 and two moments); in fp32 4, 4, 8."""
    weight, gradient, optimizer = (2, 2, 12) if training.accelerated else (4, 4, 8)
    trained = model.adapter if method == "LoRA" else model.parameters
    whole = model.parameters + (model.adapter if method == "LoRA" else 0)
    weights = weight * whole / (processes if stage == 3 else 1)
    gradients = gradient * trained / (processes if stage >= 2 else 1)
    states = optimizer * trained / (processes if stage >= 1 else 1)
    tokens = training.batch_size * longest
    activations = tokens * (34 * model.hidden * model.layers * weight / 2 + model.vocabulary * (weight + 8))
    total = weights + gradients + states + activations + OVERHEAD
    return StageMemory(
        method=method,
        zero_stage=stage,
        weights=_gib(weights),
        gradients=_gib(gradients),
        optimizer=_gib(states),
        activations=_gib(activations),
        total=_gib(total),
    )


def _fit(size: int, table: list[StageMemory]) -> Fit:
    """Full training where it fits, with the lowest stage that does: higher ones communicate more."""
    fitting = [one for one in table if one.total <= USABLE * size]
    best = fitting[0] if fitting else None
    return Fit(device_gib=size, method=best.method if best else None, zero_stage=best.zero_stage if best else None)


def _suggestion(chosen: StageMemory, table: list[StageMemory], fits: list[Fit]) -> str:
    said = f"{chosen.method} with ZeRO {chosen.zero_stage} takes about {chosen.total:.1f} GiB a process"
    least = next((fit.device_gib for fit in fits if chosen.total <= USABLE * fit.device_gib), None)
    if least is None:
        smallest = min(table, key=lambda one: one.total)
        return (
            f"{said}, more than a device of {DEVICES_GIB[-1]} GiB gives; {smallest.method} with ZeRO"
            f" {smallest.zero_stage} takes {smallest.total:.1f} GiB: change to it, add processes, or lower batchSize or"
            " maxSequenceLength"
        )
    said += f" and fits devices of {least} GiB and more"
    better = next((fit for fit in fits if fit.device_gib == least and fit.method == "Full"), None)
    if chosen.method == "LoRA" and better is not None:
        return f"{said}; full fine-tuning with ZeRO {better.zero_stage} would fit there as well"
    if better is not None and better.zero_stage is not None and better.zero_stage < chosen.zero_stage:
        return f"{said}; ZeRO {better.zero_stage} would fit there as well and communicates less"
    return said


def _gib(size: float) -> float:
    return round(size / GIB, 3)
