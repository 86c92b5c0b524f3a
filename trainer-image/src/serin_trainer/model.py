"""Loading models: safetensors only, no code from the model's folder, LoRA where asked for."""

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


def load_base(directory: Path, dtype: Any) -> Any:
    """The causal language model of a folder."""
    from transformers import AutoModelForCausalLM

    refuse_pickles(directory)
    if json.loads((directory / "config.json").read_bytes()).get("auto_map"):
        raise DataError(
            "ModelNeedsCode",
            "the base model's config.json asks for code of its own (auto_map), which is not run",
            "use a model whose architecture transformers knows",
        )
    try:
        return AutoModelForCausalLM.from_pretrained(
            directory, dtype=dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            "ModelInvalid",
            f"the base model cannot be loaded ({type(error).__name__}: {str(error)[:300]})",
            "check config.json and the safetensors files of baseModel.uri",
        ) from error


def with_method(model: Any, method: Method) -> Any:
    """The model as it is trained: whole, or with adapters beside frozen weights."""
    if method.lora is None:
        return model
    from peft import LoraConfig, get_peft_model

    lora = method.lora
    try:
        return get_peft_model(
            model,
            LoraConfig(
                task_type="CAUSAL_LM",
                r=lora.rank,
                lora_alpha=lora.alpha,
                lora_dropout=float(lora.dropout),
                target_modules=list(lora.target_modules),
            ),
        )
    except ValueError as error:
        raise ConfigError(
            "InvalidConfig",
            f"LoRA cannot be put on {', '.join(lora.target_modules)}: {str(error)[:200]}",
            "name modules of the base model in method.lora.targetModules, such as q_proj and v_proj",
        ) from error


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
