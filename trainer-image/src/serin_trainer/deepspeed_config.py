"""DeepSpeed's configuration, generated whole: nothing in it is left to be guessed by a library."""

from __future__ import annotations

from typing import Any

from .config import TrainConfig
from .hardware import Precision


def deepspeed_config(config: TrainConfig, precision: Precision) -> dict[str, Any]:
    """The configuration of one run. The optimizer and the schedule are the transformers Trainer's."""
    wish = config.hyperparameters
    world = config.distribution.nodes * config.distribution.processes_per_node
    return {
        "train_micro_batch_size_per_gpu": wish.batch_size,
        "gradient_accumulation_steps": wish.gradient_accumulation_steps,
        "train_batch_size": wish.batch_size * wish.gradient_accumulation_steps * world,
        "gradient_clipping": float(wish.max_gradient_norm),
        "bf16": {"enabled": precision == "bf16"},
        "zero_optimization": _zero(config.distribution.zero_stage),
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1_000_000_000,
        "wall_clock_breakdown": False,
    }


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
