"""The keys of Axolotl's YAML (https://docs.axolotl.ai/docs/config-reference.html)."""

from typing import Any, Final

from serin_operator.decide.recipes.common import (
    BY_THE_SPEC,
    COMMON,
    FOR_LOADING,
    FOR_MEASURING,
    FOR_SAVING,
    FOR_SPEED,
    FOR_TELLING,
    LINEAR_LAYERS,
    SCHEDULES,
)
from serin_operator.decide.recipes.model import (
    Applied,
    Note,
    Outcome,
    Recipe,
    Refused,
    Rule,
    absent,
    decimal,
    left,
    only,
    refused,
    share_for_validation,
    shown,
    switch,
    the_base_model,
    whole,
    words,
    yes_or_no,
)

_MLFLOW = "spec.tracking.mlflow names the server that is told of the training"
_WANDB = "spec.tracking.wandb names the server that is told of the training"
_TOKENS = "tokens belong to the base model: put them into its tokenizer, and take it out here"


def _of_lora(rule: Rule) -> Rule:
    """What says how an adapter looks goes with one."""

    def checked(key: str, value: Any, recipe: Recipe) -> list[Outcome]:
        if absent(recipe.get("adapter")):
            raise Refused("it goes with adapter: lora; add that, or take it out")
        return list(rule(key, value, recipe))

    return checked


def _adapter(key: str, value: Any, _recipe: Recipe) -> list[Outcome]:
    method = {"lora": "LoRA", "qlora": "QLoRA"}.get(value.lower()) if isinstance(value, str) else None
    if method is None:
        raise Refused(
            f"{shown(value)} is not done from here; set adapter: lora or qlora, or leave it empty to train all weights"
        )
    return [Applied(key, "method.type", method)]


def _four_bits(key: str, value: Any, recipe: Recipe) -> list[Outcome]:
    if not yes_or_no(value):
        return [Note(key, "switched off")]
    if str(recipe.get("adapter")).lower() != "qlora":
        raise Refused("weights of 4 bits go with adapter: qlora; set that, or set it to false")
    return [Note(key, "adapter: qlora says it already")]


def _modules(key: str, value: Any, _recipe: Recipe) -> list[Outcome]:
    if value == "all-linear":
        return [Applied(key, "method.lora.targetModules", LINEAR_LAYERS)]
    return [Applied(key, "method.lora.targetModules", words(value))]


def _linear(key: str, value: Any, recipe: Recipe) -> list[Outcome]:
    if not yes_or_no(value):
        return [Note(key, "switched off")]
    named = words(recipe.get("lora_target_modules") or [])
    return [
        Applied(key, "method.lora.targetModules", [*LINEAR_LAYERS, *(one for one in named if one not in LINEAR_LAYERS)])
    ]


def _learned(key: str, value: Any, _recipe: Recipe) -> list[Outcome]:
    return [Applied(key, "data.lossOn", "AllTokens" if yes_or_no(value) else "Completions")]


AXOLOTL: Final[dict[str, Rule]] = {
    **COMMON,
    "base_model": the_base_model,
    "base_model_config": FOR_LOADING,
    "model_type": FOR_LOADING,
    "tokenizer_type": FOR_LOADING,
    "tokenizer_config": FOR_LOADING,
    "tokenizer_use_fast": FOR_LOADING,
    "is_llama_derived_model": FOR_LOADING,
    "is_mistral_derived_model": FOR_LOADING,
    "is_qwen_derived_model": FOR_LOADING,
    "is_falcon_derived_model": FOR_LOADING,
    "revision_of_model": left("spec.baseModel.uri names the revision"),
    "strict": left("each key of this file is told of anyway"),
    "load_in_8bit": refused(
        "weights are quantised to 4 bits only; set adapter: qlora and load_in_4bit, or set it to false"
    ),
    "load_in_4bit": _four_bits,
    "gptq": refused("quantised base models cannot be trained; name the one in bf16, and take it out"),
    "datasets": BY_THE_SPEC,
    "test_datasets": BY_THE_SPEC,
    "pretraining_dataset": BY_THE_SPEC,
    "shuffle_merged_datasets": BY_THE_SPEC,
    "dataset_prepared_path": FOR_SPEED,
    "dataset_processes": FOR_SPEED,
    "dataset_keep_in_memory": FOR_SPEED,
    "dataset_exact_deduplication": left("rows that are the same are always learned once"),
    "push_dataset_to_hub": BY_THE_SPEC,
    "hf_use_auth_token": left("spec.baseModel.secretRef and the sources' name the token"),
    "val_set_size": share_for_validation,
    "chat_template": only(
        {"tokenizer_default": "the base model's own chat template is what is used"},
        "put the template into the base model's tokenizer, and set tokenizer_default",
    ),
    "chat_template_jinja": refused("put the template into the base model's tokenizer, and take it out"),
    "default_system_message": refused("write the system message into the rows, and take it out"),
    "train_on_inputs": _learned,
    "sequence_len": whole("hyperparameters.maxSequenceLength", 8, 1_048_576),
    "sample_packing": switch(("data.packing", "Isolated"), ("data.packing", "None")),
    "multipack_real_batches": FOR_SPEED,
    "sample_packing_group_size": FOR_SPEED,
    "sample_packing_bin_size": FOR_SPEED,
    "pad_to_sequence_len": FOR_SPEED,
    "pad_to_multiple_of": FOR_SPEED,
    "eval_sample_packing": left("validation is never packed"),
    "excess_length_strategy": only(
        {"drop": "rows that are too long are left out, unless data.tooLong says otherwise"},
        "set data.tooLong: Truncate, and take it out here",
    ),
    "adapter": _adapter,
    "lora_model_dir": refused("training begins with a fresh adapter; take it out"),
    "lora_r": _of_lora(whole("method.lora.rank", 1, 512)),
    "lora_alpha": _of_lora(whole("method.lora.alpha", 1, 1024)),
    "lora_dropout": _of_lora(decimal("method.lora.dropout", "0", "0.999")),
    "lora_target_modules": _of_lora(_modules),
    "lora_target_linear": _of_lora(_linear),
    "lora_target_parameters": refused("name modules in lora_target_modules, and take it out"),
    "lora_modules_to_save": refused("an adapter trains its own weights only; take it out"),
    "lora_fan_in_fan_out": left("the layers themselves say which way they are laid out"),
    "lora_on_cpu": FOR_SPEED,
    "lora_mlp_kernel": FOR_SPEED,
    "lora_qkv_kernel": FOR_SPEED,
    "lora_o_kernel": FOR_SPEED,
    "peft_use_dora": refused("LoRA is plain; take it out"),
    "peft_use_rslora": refused("LoRA is plain; scale lora_alpha yourself, and take it out"),
    "peft_layers_to_transform": refused("an adapter is put on all layers; take it out"),
    "loraplus_lr_ratio": refused("both halves of an adapter learn at one rate; take it out"),
    "relora": refused("an adapter is not merged on the way; take it out"),
    "rl": refused("only supervised fine-tuning is done here; take it out"),
    "reward_model": refused("only supervised fine-tuning is done here; take it out"),
    "unfrozen_parameters": refused("all weights are trained, or an adapter; take it out", ([],)),
    "batch_size": refused(
        "it is micro_batch_size x gradient_accumulation_steps x processes; set those, and take it out"
    ),
    "micro_batch_size": whole("hyperparameters.batchSize", 1, 4096),
    "eval_batch_size": FOR_MEASURING,
    "num_epochs": whole("hyperparameters.epochs", 1, 1000),
    "lr_scheduler": SCHEDULES,
    "lr_scheduler_kwargs": refused("schedules have no more settings; take it out", ({},)),
    "cosine_min_lr_ratio": refused("a cosine ends at zero; take it out", (0,)),
    "optimizer": COMMON["optim"],
    "optim_args": refused("AdamW has its usual settings; take it out", ({},)),
    "adam_beta1": only({0.9: "as it is here"}, "take it out"),
    "adam_beta2": only({0.999: "as it is here"}, "take it out"),
    "adam_epsilon": only({1e-8: "as it is here", "1e-8": "as it is here"}, "take it out"),
    "float16": COMMON["fp16"],
    "bfloat16": COMMON["bf16"],
    "xformers_attention": FOR_SPEED,
    "flash_attention": FOR_SPEED,
    "flash_attn_cross_entropy": FOR_SPEED,
    "flash_attn_rms_norm": FOR_SPEED,
    "sdp_attention": FOR_SPEED,
    "eager_attention": FOR_SPEED,
    "s2_attention": refused("attention is over the whole row; take it out"),
    "gpu_memory_limit": left("distribution.resources says what a pod may use"),
    "device_map": left("distribution says where what runs"),
    "special_tokens": refused(_TOKENS, ({},)),
    "tokens": refused(_TOKENS, ([],)),
    "added_tokens_overrides": refused(_TOKENS, ({},)),
    "early_stopping_patience": whole("earlyStopping.patience", 1, 100),
    "auto_resume_from_checkpoints": COMMON["resume_from_checkpoint"],
    "saves_per_epoch": FOR_SAVING,
    "evals_per_epoch": FOR_MEASURING,
    "eval_table_size": FOR_MEASURING,
    "eval_max_new_tokens": FOR_MEASURING,
    "do_bench_eval": FOR_MEASURING,
    "do_causal_lm_eval": FOR_MEASURING,
    "loss_watchdog_threshold": left("health.lossExplosion watches the losses"),
    "loss_watchdog_patience": left("health.lossExplosion watches the losses"),
    "plugins": refused("no plugin is loaded; take it out", ([],)),
    "debug": FOR_TELLING,
    "local_rank": left("each process is told its rank by Serin"),
    "ddp_bucket_cap_mb": FOR_SPEED,
    "ddp_broadcast_buffers": FOR_SPEED,
    "wandb_project": left(_WANDB),
    "wandb_entity": left(_WANDB),
    "wandb_watch": FOR_TELLING,
    "wandb_name": left(_WANDB),
    "wandb_run_id": left(_WANDB),
    "wandb_log_model": FOR_TELLING,
    "wandb_mode": left(_WANDB),
    "use_wandb": left(_WANDB),
    "mlflow_tracking_uri": left(_MLFLOW),
    "mlflow_experiment_name": left(_MLFLOW),
    "mlflow_run_name": left(_MLFLOW),
    "hf_mlflow_log_artifacts": FOR_TELLING,
    "use_mlflow": left(_MLFLOW),
    "use_tensorboard": FOR_TELLING,
    "comet_project_name": FOR_TELLING,
    "use_comet": FOR_TELLING,
}
