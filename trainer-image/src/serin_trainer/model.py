"""Loading models: safetensors only, no code from the model's folder, adapters where asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import manifest
from .config import BaseModelVersion, Method
from .errors import ConfigError, DataError
from .uris import model_directory


def verified_directory(base: BaseModelVersion) -> Path:
    """The base model's folder, if it still is the model whose digest the job was made with."""
    directory = model_directory(base.uri)
    found = manifest.digest_of(directory)
    if found != base.digest:
        raise DataError(
            "ModelChanged",
            f"the base model {base.uri} has the digest {found[:19]}…, the data were made for {base.digest[:19]}…",
            "leave a base model as it is while jobs use it, or pin a revision; edit the job to prepare again",
        )
    return directory


def refuse_pickles(directory: Path) -> None:
    """A pickled weight file runs code when it is opened, so a model without safetensors is not opened at all."""
    if any(directory.glob("*.safetensors")):
        return
    pickled = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in directory.glob(pattern))
    what = f"only pickled weights ({', '.join(pickled[:3])})" if pickled else "no weights"
    raise DataError(
        "ModelNotSafetensors",
        f"the base model has {what}, and only safetensors are loaded",
        "convert the weights to safetensors in a place that you trust",
    )


def load_base(directory: Path, dtype: Any, method: Method | None = None) -> Any:
    """The causal language model of a folder; under a method that wants it so, with its linear layers in 4 bits."""
    from transformers import AutoModelForCausalLM

    refuse_pickles(directory)
    if json.loads((directory / "config.json").read_bytes()).get("auto_map"):
        raise DataError(
            "ModelNeedsCode",
            "the base model's config.json asks for code of its own (auto_map), which is not run",
            "use a model whose architecture transformers knows",
        )
    if (directory / "adapter_config.json").exists():
        raise DataError(
            "ModelInvalid",
            "the base model has an adapter_config.json, so other weights than its own would be loaded",
            "name a whole model in baseModel.uri: merge the adapter into its base model, or take the file away",
        )
    further = {"quantization_config": _four_bits(dtype)} if method is not None and method.quantised else {}
    try:
        return AutoModelForCausalLM.from_pretrained(
            directory, dtype=dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True, **further
        )
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            "ModelInvalid",
            f"the base model cannot be loaded ({type(error).__name__}: {str(error)[:300]})",
            "check config.json and the safetensors files of baseModel.uri",
        ) from error


def _four_bits(dtype: Any) -> Any:
    """NF4 with its scales quantised again, as Dettmers et al. have it (arXiv 2305.14314). A weight is turned into `dtype` each
    time it is used, and never kept so."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def with_method(model: Any, method: Method) -> Any:
    """The model as it is trained: whole, or with adapters beside frozen weights."""
    if method.type == "Full":
        return model
    from peft import get_peft_model, prepare_model_for_kbit_training

    if getattr(model, "is_loaded_in_4bit", False):
        # Activations are computed again where the job asks for it (`train.py`), not because weights are quantised.
        model = _as_it_is(prepare_model_for_kbit_training(model, use_gradient_checkpointing=False))
    config = peft_config(method)
    if method.prompt_tuning is not None:
        return get_peft_model(model, config)
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise ConfigError(
            "InvalidConfig",
            f"{method.type} cannot be put on {', '.join(sorted(config.target_modules))}: {str(error)[:200]}",
            f"name modules of the base model in method.{method.type.lower()}.targetModules, such as q_proj and v_proj",
        ) from error


def _as_it_is(model: Any) -> Any:
    """The model, its weights the same in training and in validation. On CPUs with bf16 bitsandbytes would pack them otherwise the
    first time that they are used without a gradient: with coarser scales, which training would go on with."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def peft_config(method: Method) -> Any:
    """The method in the words of the library that does it."""
    from peft import IA3Config, LoraConfig, PromptTuningConfig, PromptTuningInit

    if method.prompt_tuning is not None:
        # Drawn with the job's seed. Noise, which is the library's choice, is far from what the model has ever read.
        return PromptTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=method.prompt_tuning.virtual_tokens,
            prompt_tuning_init=PromptTuningInit.SAMPLE_VOCAB,
        )
    if method.ia3 is not None:
        ia3 = method.ia3
        return IA3Config(
            task_type="CAUSAL_LM",
            target_modules=list(ia3.target_modules),
            feedforward_modules=list(ia3.feedforward_modules),
        )
    assert method.lora is not None
    lora = method.lora
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=float(lora.dropout),
        target_modules=list(lora.target_modules),
    )


def refuse_too_long(model: Any, method: Method, longest: int) -> None:
    """A learned prompt takes positions of its own, before each row."""
    context = getattr(model.config, "max_position_embeddings", None)
    if context is None or not method.virtual_tokens or longest + method.virtual_tokens <= context:
        return
    raise ConfigError(
        "InvalidConfig",
        f"{method.virtual_tokens} virtual tokens and rows of up to {longest} tokens are more than the base model's context of"
        f" {context}",
        f"set hyperparameters.maxSequenceLength to {context - method.virtual_tokens} at most, or fewer virtualTokens",
    )


def refuse_mixing_rows(model: Any) -> None:
    """Packed rows are kept apart by their positions. A model that does not go by them would read one row into the next:
    recurrent layers carry their state on, and without a `position_ids` argument there is no telling."""
    from inspect import signature

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    layers = {str(kind) for kind in getattr(base.config, "layer_types", None) or ()}
    recurrent = sorted(kind for kind in layers if "attention" not in kind or "linear" in kind)
    if "position_ids" in signature(base.forward).parameters and not recurrent and not _has_state(base.config):
        return
    why = f"it has {', '.join(recurrent)} layers" if recurrent else "its attention does not go by positions"
    raise ConfigError(
        "InvalidConfig",
        f"rows cannot be packed for a model of type {base.config.model_type}: {why}, so rows would see each other",
        "set data.packing to None",
    )


def _has_state(config: Any) -> bool:
    return any(hasattr(config, name) for name in ("state_size", "ssm_cfg", "mamba_d_state", "rwkv_version"))
