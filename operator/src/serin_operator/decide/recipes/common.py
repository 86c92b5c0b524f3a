"""What both formats say alike, mostly because both hand it on to transformers."""

from typing import Final

from serin_operator.decide.recipes.model import (
    Rule,
    at_most_steps,
    choice,
    computed_again,
    decimal,
    left,
    only,
    refused,
    saved_every,
    switch,
    whole,
    zero_stage,
)

LINEAR_LAYERS: Final = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""The linear layers of the Llama family and its many relatives."""

_DATA = "spec.data names the rows, and how they are read, cleaned and divided"
_SAVING = "checkpoints are saved every hyperparameters.saveSteps, and kept as checkpoints says"
_MEASURING = "validation is measured at each save, when something asks for it"
_WRITING = "what is written goes to spec.artifacts"
_TELLING = "progress is told in status, in Prometheus and in the pods' logs"
_SPEED = "it changes speed or memory, and no result"
_LOADING = "the model is read by its config.json; no code of a model runs"
_KINDS = "bf16 is used where the hardware has it, and fp32 elsewhere"
_ADAMW = "AdamW is what is used"

COMMON: Final[dict[str, Rule]] = {
    "learning_rate": decimal("hyperparameters.learningRate", "0", "1", above=True),
    "weight_decay": decimal("hyperparameters.weightDecay", "0"),
    "max_grad_norm": decimal("hyperparameters.maxGradientNorm", "0", above=True),
    "warmup_ratio": decimal("hyperparameters.warmupRatio", "0", "1"),
    "warmup_steps": whole("hyperparameters.warmupSteps", 0, 10_000_000),
    "gradient_accumulation_steps": whole("hyperparameters.gradientAccumulationSteps", 1, 4096),
    "max_steps": at_most_steps,
    "save_steps": saved_every,
    "save_total_limit": whole("checkpoints.keepRecent", 1, 100),
    "seed": whole("hyperparameters.seed", 0, 4294967295),
    "deepspeed": zero_stage,
    "optim": only(
        {"adamw_torch": _ADAMW, "adamw_torch_fused": _ADAMW, "adamw_hf": _ADAMW},
        "set adamw_torch, or take it out",
    ),
    "bf16": only({True: _KINDS, "auto": _KINDS, "full": _KINDS, False: _KINDS}, "set it to auto"),
    "fp16": switch(("hyperparameters.precision", "FP16"), "switched off"),
    "tf32": left(_SPEED),
    "fsdp": refused(
        "the model is divided by ZeRO here: set distribution.deepspeed.zeroStage to 3, and take it out", ([],)
    ),
    "fsdp_config": refused("the model is divided by ZeRO here; take it out", ({},)),
    "neftune_noise_alpha": refused("no noise is added to embeddings; take it out", (0,)),
    "trust_remote_code": refused("no code of a model runs; use a model that transformers knows, and take it out"),
    "use_dora": refused("LoRA is plain; take it out"),
    "use_rslora": refused("LoRA is plain; scale method.lora.alpha yourself, and take it out"),
    "torch_compile": left(_SPEED),
    "gradient_checkpointing": computed_again,
    "gradient_checkpointing_kwargs": left(_SPEED),
    "group_by_length": left("rows are packed, and mixed by data.split.seed"),
    "dataloader_num_workers": left(_SPEED),
    "dataloader_pin_memory": left(_SPEED),
    "dataloader_prefetch_factor": left(_SPEED),
    "ddp_timeout": left(_SPEED),
    "ddp_find_unused_parameters": left(_SPEED),
    "output_dir": left(_WRITING),
    "overwrite_output_dir": left(_WRITING),
    "hub_model_id": left(_WRITING),
    "hub_strategy": left(_WRITING),
    "push_to_hub": left(_WRITING),
    "resume_from_checkpoint": left("an attempt goes on from the newest whole checkpoint by itself"),
    "save_strategy": left(_SAVING),
    "save_safetensors": left(_WRITING),
    "save_only_model": left(_SAVING),
    "eval_steps": left(_MEASURING),
    "eval_strategy": left(_MEASURING),
    "evaluation_strategy": left(_MEASURING),
    "per_device_eval_batch_size": left(_MEASURING),
    "logging_steps": left(_TELLING),
    "logging_dir": left(_TELLING),
    "report_to": left(_TELLING),
    "run_name": left(_TELLING),
    "low_cpu_mem_usage": left(_LOADING),
}

BY_THE_SPEC: Final = left(_DATA)
FOR_SPEED: Final = left(_SPEED)
FOR_LOADING: Final = left(_LOADING)
FOR_SAVING: Final = left(_SAVING)
FOR_MEASURING: Final = left(_MEASURING)
FOR_TELLING: Final = left(_TELLING)
FOR_WRITING: Final = left(_WRITING)
SCHEDULES: Final = choice(
    "hyperparameters.scheduler",
    {"cosine": "Cosine", "linear": "Linear", "constant": "Constant", "constant_with_warmup": "Constant"},
    "set cosine, linear or constant_with_warmup",
)
