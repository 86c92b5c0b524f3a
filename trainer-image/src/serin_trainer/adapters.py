"""Adapters that are kept: small models of their own, in the form of peft, beside the base model whose digest they name.

The folder's digest covers `base.json`, and so the base model too: the same adapter on another base is another model.
Merging adapters is `lora.py`'s business.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from . import zero
from .config import BaseModelVersion, ConsolidateConfig
from .errors import DataError
from .files import write_atomically
from .lora import PREFIX, skeleton
from .manifest import FileEntry
from .model import peft_config
from .weights import Wanted, write_file

CONFIG, WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"


def write(output: Path, base: Path, folder: Path, config: ConsolidateConfig) -> list[FileEntry]:
    """The adapter that the checkpoint in `folder` holds, as peft saves one."""
    trained = zero.read(folder)
    wanted, tensors = [], {}
    for name, shape in trainable(base, config):
        stored = trained.find(name)
        if stored is None or stored.shape != shape:
            found = "absent" if stored is None else f"of the shape {list(stored.shape)}"
            raise zero.damaged(f"the adapter {name.removeprefix(PREFIX)} is {found} and should have {list(shape)}")
        wanted.append(Wanted(saved_name(name), "F32", shape))
        tensors[saved_name(name)] = stored
    write_atomically(output / CONFIG, _json(_described(config)))
    write_atomically(output / BASE, _json({"uri": config.base_model.known_as, "digest": config.base_model.digest}))
    return [write_file(output / WEIGHTS, wanted, tensors)]


def trainable(base: Path, config: ConsolidateConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of what was trained beside the base model's weights."""
    for name, parameter in skeleton(base, config.method).named_parameters():
        if parameter.requires_grad:
            yield name, tuple(parameter.shape)


def saved_name(name: str) -> str:
    """As peft's files have it: they do not say which of several adapters it is, since there is one."""
    if name.startswith("prompt_encoder."):
        return "prompt_embeddings"
    return ".".join(part for part in name.split(".") if part != "default")


def check_loads(output: Path, base: Path) -> tuple[int, int]:
    """Loads base and adapter as a server would and runs them once; returns the parameters of both."""
    import torch
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM

    from .tokens import load_tokenizer

    plain = AutoModelForCausalLM.from_pretrained(base, use_safetensors=True, local_files_only=True)
    of_base = sum(parameter.numel() for parameter in plain.parameters())
    model = PeftModel.from_pretrained(plain, output).eval()
    # No embeddings are trained, and to guess whether they were would ask the hub.
    loaded = get_peft_model_state_dict(model, save_embedding_layers=False)
    with safe_open(output / WEIGHTS, "pt") as written:
        same = loaded.keys() == set(written.keys()) and all(
            torch.equal(loaded[name].float(), written.get_tensor(name)) for name in loaded
        )
    if not same:
        raise DataError("ModelInvalid", "the kept adapter is not what peft reads of it")
    ids = load_tokenizer(output)("Serin", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    if not torch.isfinite(logits).all():
        raise DataError(
            "ModelNotFinite",
            "the base model with its adapter gives numbers that are not finite",
            "lower learningRate and train again",
        )
    return of_base, sum(tensor.numel() for tensor in loaded.values())


def _described(config: ConsolidateConfig) -> dict[str, Any]:
    """peft's own description, in one order: sets have none, and the digest must not depend on it."""
    wish = peft_config(config.method)
    wish.inference_mode = True
    wish.base_model_name_or_path, wish.revision = _on_the_hub(config.base_model)
    return {name: _plain(value) for name, value in wish.to_dict().items()}


def _on_the_hub(base: BaseModelVersion) -> tuple[str, str | None]:
    name = base.known_as.removeprefix("hf://")
    if name == base.known_as:
        return name, None
    name, _, revision = name.partition("@")
    return name, revision or None


def _plain(value: Any) -> Any:
    if isinstance(value, set):
        return sorted(value)
    return value.value if isinstance(value, Enum) else value


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
