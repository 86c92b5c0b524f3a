"""What training will take, told before it: steps, tokens, memory for each ZeRO stage, and what would fit where.

Counted from the base model's own files and the prepared rows. Memory is an estimate: weights, gradients and Adam's
states as ZeRO divides them (Rajbhandari et al., arXiv 1910.02054), activations as they are kept (Korthikanti et al., arXiv
2205.05198, attention scores not kept): all of a layer's, or with gradient checkpointing each layer's input and one layer.
Nothing is decided here but a method that is to be chosen: the first that fits, since a whole model learns what an adapter
cannot.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from . import guideline, hardware
from .config import ChosenType, MethodType, Training
from .errors import ConfigError
from .result import Document

GIB = 2**30
DEVICES_GIB = (16, 24, 40, 48, 80, 141)
USABLE = 0.9
# A process's own: libraries, the device's context, buffers of collectives.
OVERHEAD = 1.0 * GIB

METHODS: tuple[ChosenType, ...] = ("Full", "LoRA", "QLoRA")
SPOKEN = {"Full": "full fine-tuning", "LoRA": "LoRA", "QLoRA": "QLoRA"}
# NF4 in blocks of 64, whose scales are quantised in blocks of 256 (Dettmers et al., arXiv 2305.14314, section 3).
BYTES_OF_FOUR_BITS = (4 + 8 / 64 + 32 / (64 * 256)) / 8


class StageMemory(Document):
    """GiB of one process under one method and ZeRO stage."""

    method: MethodType
    zero_stage: int
    weights: float
    gradients: float
    optimizer: float
    activations: float
    total: float


class Fit(Document):
    """What fits a device of this size."""

    device_gib: int
    method: MethodType | None
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
    precision: Literal["bf16", "fp16", "fp32"]
    learning_rate: str
    learning_rate_reason: str  # empty where the job gives the rate
    chosen: StageMemory
    memory: list[StageMemory]
    fits: list[Fit]
    suggestion: str
    method_reason: str = ""  # where the method was chosen


@dataclass(frozen=True)
class Choice:
    """A method that fits, and why it is this one."""

    method: ChosenType
    reason: str


@dataclass(frozen=True)
class Facts:
    """What a model's files say about its size."""

    parameters: int
    adapter: int  # parameters of LoRA at the wished rank
    hidden: int
    layers: int
    vocabulary: int
    scales: int = 0  # parameters of IA3
    prompt: int = 0  # parameters of a learned prompt
    linear: int = 0  # of the parameters, those that QLoRA holds in 4 bits

    def trained(self, method: MethodType) -> int:
        of_lora = {"LoRA": self.adapter, "QLoRA": self.adapter}
        return {"Full": self.parameters, **of_lora, "IA3": self.scales, "PromptTuning": self.prompt}[method]


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
    matrices = [(name.removesuffix(".weight").rsplit(".", 1)[-1], shape) for name, shape in shapes if len(shape) == 2]
    adapter = sum(training.lora_rank * sum(shape) for name, shape in matrices if name in training.lora_target_modules)
    scales = sum(
        shape[1 if name in training.ia3_feedforward_modules else 0]
        for name, shape in matrices
        if name in training.ia3_target_modules
    )
    # Embeddings and the head, which are as long as the vocabulary, keep their precision.
    linear = sum(math.prod(shape) for _name, shape in matrices if vocabulary not in shape)
    prompt = training.virtual_tokens * hidden
    whole = sum(math.prod(shape) for _name, shape in shapes)
    return Facts(whole, adapter, hidden, layers, vocabulary, scales, prompt, linear)


def parameters(directory: Path) -> int:
    """How many a model's files hold; tied ones are there once."""
    return sum(math.prod(shape) for path in directory.glob("*.safetensors") for shape in tensor_shapes(path).values())


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Names and shapes in a safetensors file: a length of eight bytes, then so many bytes of JSON."""
    with path.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return {name: tensor["shape"] for name, tensor in header.items() if name != "__metadata__"}


def choose(model: Facts | None, training: Training, lengths: list[int]) -> Choice:
    """The first of full fine-tuning, LoRA and QLoRA that the memory of a process is enough for."""
    device, stage = (training.device_mib or 0) / 1024, training.zero_stage
    if model is None:
        raise ConfigError(
            "MethodUndecided",
            "method.type is Auto, and the base model's files do not say how large it is (config.json, safetensors)",
            "set method.type to Full, LoRA or QLoRA",
        )
    processes, longest = training.nodes * training.processes_per_node, max(lengths, default=0)
    able = [method for method in METHODS if possible(method, stage)]
    sizes = {method: memory(model, training, method, stage, processes, longest).total for method in able}
    room = f"90 percent of the {device:.1f} GiB that it has"
    taken = [f"{SPOKEN[method]} {sizes[method]:.1f} GiB" for method in able[1:]]
    whole = f"full fine-tuning with ZeRO {stage} takes about {sizes['Full']:.1f} GiB a process"
    for place, method in enumerate(able):
        if sizes[method] > USABLE * device:
            continue
        if method == "Full":
            said = f"with ZeRO {stage} it takes about {sizes['Full']:.1f} GiB a process, within {room}"
            return Choice("Full", f"full fine-tuning was chosen: {said}")
        larger = " and ".join([whole, *taken[: place - 1]])
        return Choice(method, f"{method} was chosen: {larger}, more than {room}, and {taken[place - 1]}")
    without = "" if "QLoRA" in able else "; QLoRA goes with ZeRO 0 to 2 only"
    raise ConfigError(
        "MethodTooLarge",
        f"no method fits: {' and '.join([whole, *taken])}, more than {room}{without}",
        "raise distribution.deepspeed.zeroStage or the number of processes, lower batchSize or maxSequenceLength, set"
        " gradientCheckpointing, or give more memory",
    )


def plan(model: Facts, training: Training, lengths: list[int], choice: Choice | None = None) -> Plan:
    """The plan for sequences of these lengths; of a method that was to be chosen, for what was."""
    if choice is not None:
        training = training.model_copy(update={"method": choice.method})
    assert training.method != "Auto"
    processes = training.nodes * training.processes_per_node
    per_step = training.batch_size * training.gradient_accumulation_steps * processes
    per_epoch = math.ceil(len(lengths) / per_step)
    limits = [training.max_steps, training.epochs and training.epochs * per_epoch]
    steps = min(limit for limit in limits if limit)
    longest = max(lengths, default=0)
    table = [
        memory(model, training, method, stage, processes, longest)
        for method in dict.fromkeys((*METHODS, training.method))
        for stage in range(4)
        if possible(method, stage)
    ]
    chosen = next(one for one in table if (one.method, one.zero_stage) == (training.method, training.zero_stage))
    fits = [_fit(size, table) for size in DEVICES_GIB]
    guided = guideline.learning_rate(training.method, model.parameters)
    return Plan(
        parameters=model.parameters,
        trainable_parameters=model.trained(training.method),
        steps=steps,
        steps_per_epoch=per_epoch,
        sequences_per_step=per_step,
        tokens=round(sum(lengths) * steps / per_epoch) if per_epoch else 0,
        processes=processes,
        precision=precision(training),
        learning_rate=training.learning_rate or guided.rate,
        learning_rate_reason="" if training.learning_rate else guided.reason,
        chosen=chosen,
        memory=table,
        fits=fits,
        suggestion=_suggestion(chosen, table, fits),
        method_reason=choice.reason if choice else "",
    )


def possible(method: MethodType, stage: int) -> bool:
    """Weights of 4 bits are not cut among processes."""
    return method != "QLoRA" or stage < 3


def precision(training: Training) -> hardware.Precision:
    """What training will compute in, as far as is known before it."""
    if training.precision is not None:
        return hardware.PRECISIONS[training.precision]
    return "bf16" if training.accelerated else "fp32"


def memory(
    model: Facts, training: Training, method: MethodType, stage: int, processes: int, longest: int
) -> StageMemory:
    """In 16 bits a weight has 2 bytes, its gradient 2, and the optimizer 12 (a copy in fp32 and two moments); in fp32 4, 4, 8."""
    weight, gradient, optimizer = (4, 4, 8) if precision(training) == "fp32" else (2, 2, 12)
    trained = model.trained(method)
    whole = model.parameters + (trained if method != "Full" else 0)
    weights = weight * whole / (processes if stage == 3 else 1)
    if method == "QLoRA":
        weights -= (weight - BYTES_OF_FOUR_BITS) * model.linear
    gradients = gradient * trained / (processes if stage >= 2 else 1)
    states = optimizer * trained / (processes if stage >= 1 else 1)
    tokens = training.batch_size * (longest + (training.virtual_tokens if method == "PromptTuning" else 0))
    layer = 34 * model.hidden * weight / 2
    # What is offloaded lies in the node's memory; of the weights, one layer's at a time comes back.
    if training.offload and stage >= 1:
        states = 0
    if training.offload == "OptimizerAndParameters" and stage == 3:
        weights, gradients = weight * whole / max(1, model.layers), 0
    kept = model.hidden * weight * model.layers + layer if training.gradient_checkpointing else layer * model.layers
    activations = tokens * (kept + model.vocabulary * (weight + 8))
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
    if chosen.method != "Full" and better is not None:
        return f"{said}; full fine-tuning with ZeRO {better.zero_stage} would fit there as well"
    if better is not None and better.zero_stage is not None and better.zero_stage < chosen.zero_stage:
        return f"{said}; ZeRO {better.zero_stage} would fit there as well and communicates less"
    return said


def _gib(size: float) -> float:
    return round(size / GIB, 3)
