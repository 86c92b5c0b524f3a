"""DeepSpeed's configuration, generated whole: nothing in it is left to be guessed by a library."""

from __future__ import annotations

import json
from typing import Any

from .config import TrainConfig
from .hardware import Precision


def deepspeed_config(config: TrainConfig, precision: Precision) -> dict[str, Any]:
    """The configuration of one run. The optimizer and the schedule are the transformers Trainer's."""
    wish = config.hyperparameters
    generated: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": wish.batch_size,
        "gradient_accumulation_steps": config.accumulation,
        "train_batch_size": config.rows_per_step,
        "gradient_clipping": float(wish.max_gradient_norm),
        "bf16": {"enabled": precision == "bf16"},
        # The loss is scaled by as much as gradients bear, found by trying (2^16 at first).
        "fp16": {"enabled": precision == "fp16", "loss_scale": 0, "initial_scale_power": 16, "loss_scale_window": 1000},
        "zero_optimization": _zero(zero_stage(config, precision)) | _offloaded(config.distribution.offload),
        "zero_allow_untested_optimizer": True,
        # DeepSpeed's own Adam for the CPU is compiled when it is first used, and the image has no compiler.
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1_000_000_000,
        "wall_clock_breakdown": False,
    }
    for path, value in config.distribution.config_override.items():
        *parents, last = path.split(".")
        place = generated
        for parent in parents:
            place = place[parent]
        place[last] = _read(value)
    return generated


def _offloaded(what: str | None) -> dict[str, Any]:
    there = {"device": "cpu", "pin_memory": True}
    if what is None:
        return {}
    return {"offload_optimizer": there} | ({"offload_param": there} if what == "OptimizerAndParameters" else {})


def _read(text: str) -> Any:
    """A number or a truth as JSON has them; any other word as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def zero_stage(config: TrainConfig, precision: Precision) -> int:
    """The asked for one; in 16 bits 1 for 0, where DeepSpeed would keep no weights in fp32 and lose small updates."""
    wanted = config.distribution.zero_stage
    return wanted if precision == "fp32" else max(1, wanted)


def _zero(stage: int) -> dict[str, Any]:
    if stage == 0:
        return {"stage": 0}
    # Fewer, larger messages: on small models the number of messages costs, not their size.
    common = {"stage": stage, "overlap_comm": False, "contiguous_gradients": True, "reduce_bucket_size": 50_000_000}
    if stage < 3:
        return {**common, "allgather_bucket_size": 50_000_000}
    return {
        **common,
        # Layers below this many parameters stay whole on every process: gathering a norm costs more than keeping it.
        "stage3_param_persistence_threshold": 10_000,
        "stage3_prefetch_bucket_size": 50_000_000,
        "stage3_gather_16bit_weights_on_model_save": False,
    }
