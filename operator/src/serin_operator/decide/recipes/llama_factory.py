"""The keys of LLaMA-Factory's YAML (https://llamafactory.readthedocs.io)."""

from typing import Any, Final

from serin_operator.decide.recipes.common import (
    BY_THE_SPEC,
    COMMON,
    FOR_LOADING,
    FOR_MEASURING,
    FOR_SPEED,
    FOR_TELLING,
    FOR_WRITING,
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

_SUPERVISED = "only supervised fine-tuning (stage: sft) and continued pretraining (stage: pt) are done here"


def _stage(key: str, value: Any, _recipe: Recipe) -> list[Outcome]:
    if value == "sft":
        return [Note(key, "supervised fine-tuning is what is done")]
    if value == "pt":
        return [Applied(key, "data.lossOn", "AllTokens")]
    raise Refused(f"{shown(value)}: {_SUPERVISED}")


def _finetuning_type(key: str, value: Any, recipe: Recipe) -> list[Outcome]:
    method = {"lora": "LoRA", "full": "Full"}.get(value.lower()) if isinstance(value, str) else None
    if method is None:
        raise Refused(f"{shown(value)} is not done from here; set lora or full")
    return [Applied(key, "method.type", _quantised(method, recipe))]


def _quantised(method: str, recipe: Recipe) -> str:
    """LoRA beside weights of 4 bits is a method of its own here."""
    return "QLoRA" if method == "LoRA" and not absent(recipe.get("quantization_bit")) else method


def _bits(key: str, value: Any, recipe: Recipe) -> list[Outcome]:
    if value not in (4, "4"):  # and never str(value): a YAML of aliases can be longer than any memory
        raise Refused(f"{shown(value)}: weights are quantised to 4 bits only; set 4, or take it out")
    named = recipe.get("finetuning_type")
    if not absent(named) and named != "lora":
        raise Refused("quantised weights are not trained themselves; set finetuning_type: lora, or take it out")
    return [Applied(key, "method.type", "QLoRA")]


def _of_lora(rule: Rule) -> Rule:
    """What says how an adapter looks goes with one; without a type it is one."""

    def checked(key: str, value: Any, recipe: Recipe) -> list[Outcome]:
        named = recipe.get("finetuning_type")
        if not absent(named) and named != "lora":
            raise Refused("it goes with finetuning_type: lora; set that, or take it out")
        found = list(rule(key, value, recipe))
        # Here a file without a type means LoRA.
        return [*found] if not absent(named) else [Applied(key, "method.type", _quantised("LoRA", recipe)), *found]

    return checked


def _target(key: str, value: Any, _recipe: Recipe) -> list[Outcome]:
    modules = LINEAR_LAYERS if value in ("all", ["all"]) else words(value)
    return [Applied(key, "method.lora.targetModules", modules)]


def _mask_history(key: str, value: Any, _recipe: Recipe) -> list[Outcome]:
    return [Applied(key, "data.lossOn", "LastCompletion")] if yes_or_no(value) else [Note(key, "switched off")]


def _train_on_prompt(key: str, value: Any, _recipe: Recipe) -> list[Outcome]:
    return [Applied(key, "data.lossOn", "AllTokens")] if yes_or_no(value) else [Note(key, "switched off")]


LLAMA_FACTORY: Final[dict[str, Rule]] = {
    **COMMON,
    "model_name_or_path": the_base_model,
    "adapter_name_or_path": refused("training begins with a fresh adapter; take it out"),
    "adapter_folder": FOR_WRITING,
    "cache_dir": FOR_SPEED,
    "use_fast_tokenizer": FOR_LOADING,
    "resize_vocab": refused("tokens belong to the base model: put them into its tokenizer, and take it out here"),
    "new_special_tokens": refused("tokens belong to the base model: put them into its tokenizer, and take it out here"),
    "model_revision": left("spec.baseModel.uri names the revision"),
    "hf_hub_token": refused("a token belongs into a Secret: name it in spec.baseModel.secretRef, and take it out here"),
    "ms_hub_token": refused("models come from hf://, s3:// or pvc://; take it out"),
    "flash_attn": FOR_SPEED,
    "shift_attn": refused("attention is over the whole row; take it out"),
    "rope_scaling": refused("positions are as the base model has them; take it out"),
    "mixture_of_depths": refused("the model stays as it is; take it out"),
    "use_unsloth": FOR_SPEED,
    "use_unsloth_gc": FOR_SPEED,
    "enable_liger_kernel": FOR_SPEED,
    "disable_gradient_checkpointing": switch(
        ("hyperparameters.gradientCheckpointing", False), ("hyperparameters.gradientCheckpointing", True)
    ),
    "use_reentrant_gc": FOR_SPEED,
    "upcast_layernorm": FOR_SPEED,
    "upcast_lmhead_output": FOR_SPEED,
    "infer_dtype": FOR_MEASURING,
    "print_param_status": FOR_TELLING,
    "quantization_bit": _bits,
    "quantization_method": only(
        {"bnb": "bitsandbytes is what is used", "bitsandbytes": "it is what is used"}, "set bnb, or take it out"
    ),
    "quantization_type": only({"nf4": "NF4 is what is used"}, "set nf4, or take it out"),
    "double_quantization": only({True: "scales are quantised again"}, "set true, or take it out"),
    "stage": _stage,
    "do_train": only({True: "training is what is done"}, "take it out"),
    "do_eval": FOR_MEASURING,
    "do_predict": FOR_MEASURING,
    "predict_with_generate": FOR_MEASURING,
    "finetuning_type": _finetuning_type,
    "freeze_trainable_layers": refused("all weights are trained, or an adapter; take it out"),
    "freeze_trainable_modules": refused("all weights are trained, or an adapter; take it out"),
    "freeze_vision_tower": left("models of text are what is trained"),
    "freeze_multi_modal_projector": left("models of text are what is trained"),
    "additional_target": refused("an adapter trains its own weights only; take it out"),
    "lora_rank": _of_lora(whole("method.lora.rank", 1, 512)),
    "lora_alpha": _of_lora(whole("method.lora.alpha", 1, 1024)),
    "lora_dropout": _of_lora(decimal("method.lora.dropout", "0", "0.999")),
    "lora_target": _of_lora(_target),
    "loraplus_lr_ratio": refused("both halves of an adapter learn at one rate; take it out"),
    "create_new_adapter": left("training begins with a fresh adapter"),
    "pissa_init": refused("an adapter begins at zero; take it out"),
    "use_galore": refused("the optimiser is AdamW; take it out"),
    "use_apollo": refused("the optimiser is AdamW; take it out"),
    "use_badam": refused("the optimiser is AdamW; take it out"),
    "use_adam_mini": refused("the optimiser is AdamW; take it out"),
    "use_muon": refused("the optimiser is AdamW; take it out"),
    "pure_bf16": refused("the optimiser's own copy of the weights stays fp32; take it out"),
    "pref_beta": refused(f"{_SUPERVISED}; take it out"),
    "pref_loss": refused(f"{_SUPERVISED}; take it out"),
    "pref_ftx": refused(f"{_SUPERVISED}; take it out"),
    "reward_model": refused(f"{_SUPERVISED}; take it out"),
    "ref_model": refused(f"{_SUPERVISED}; take it out"),
    "template": left("the base model's own chat template is what is used"),
    "default_system": refused("write the system message into the rows, and take it out"),
    "enable_thinking": left("the base model's own chat template is what is used"),
    "tool_format": left("the base model's own chat template is what is used"),
    "dataset": BY_THE_SPEC,
    "dataset_dir": BY_THE_SPEC,
    "eval_dataset": BY_THE_SPEC,
    "mix_strategy": left("data.mixing and the sources' weightPercent say how they are mixed"),
    "interleave_probs": left("data.mixing and the sources' weightPercent say how they are mixed"),
    "max_samples": refused("all rows are read: give a smaller file, or a weightPercent to each source; take it out"),
    "streaming": FOR_SPEED,
    "buffer_size": FOR_SPEED,
    "overwrite_cache": FOR_SPEED,
    "preprocessing_num_workers": FOR_SPEED,
    "preprocessing_batch_size": FOR_SPEED,
    "tokenized_path": FOR_SPEED,
    "ignore_pad_token_for_loss": left("padding is never learned"),
    "cutoff_len": whole("hyperparameters.maxSequenceLength", 8, 1_048_576),
    "val_size": share_for_validation,
    "eval_on_each_dataset": FOR_MEASURING,
    "packing": switch(("data.packing", "Isolated"), ("data.packing", "None")),
    "neat_packing": left("rows that share a sequence never see each other here"),
    "train_on_prompt": _train_on_prompt,
    "mask_history": _mask_history,
    "per_device_train_batch_size": whole("hyperparameters.batchSize", 1, 4096),
    "num_train_epochs": whole("hyperparameters.epochs", 1, 1000),
    "lr_scheduler_type": SCHEDULES,
    "lr_scheduler_kwargs": refused("schedules have no more settings; take it out", ({},)),
    "adam_beta1": only({0.9: "as it is here"}, "take it out"),
    "adam_beta2": only({0.999: "as it is here"}, "take it out"),
    "adam_epsilon": only({1e-8: "as it is here", "1e-8": "as it is here"}, "take it out"),
    "plot_loss": FOR_TELLING,
    "include_num_input_tokens_seen": FOR_TELLING,
    "disable_tqdm": FOR_TELLING,
    "use_swanlab": FOR_TELLING,
    "ray_run_name": left("pods are started by Serin"),
    "ray_num_workers": left("distribution says how many processes there are"),
    "export_dir": FOR_WRITING,
    "export_size": FOR_WRITING,
    "export_device": FOR_WRITING,
    "export_legacy_format": FOR_WRITING,
}
