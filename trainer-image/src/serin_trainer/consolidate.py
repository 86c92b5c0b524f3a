"""Consolidate: a checkpoint's shards become one model that anything can load.

Full training: ZeRO shards -> safetensors, one tensor in memory at a time. LoRA: the adapters are merged into the base
model. Beside the weights lie config, tokenizer and generation config; then the result is loaded and run once, and the
manifest is written.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import checkpoint, hardware, manifest
from .config import ConsolidateConfig
from .errors import DataError
from .files import empty_directory, make_readable
from .result import ConsolidateOutput, Result, succeeded
from .uris import pvc_path

SHARD_BYTES = 4_000_000_000

# What makes text of tokens and tokens of text. Code files of a model's folder are never copied.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)


def consolidate(config: ConsolidateConfig) -> Result:
    hardware.settle(1)
    from .model import verified_directory

    folder = _whole_checkpoint(config.checkpoint_uri)
    base = verified_directory(config.base_model)
    output = pvc_path(config.output)
    empty_directory(output)
    trained = TrainedTensors(folder)
    if config.method.lora is None:
        write_weights(output, base, trained)
    else:
        merge_adapters(output, base, trained, config)
    copy_companions(base, output)
    parameters = check_loads(output)
    make_readable(output)
    lineage = {
        "baseModelDigest": config.base_model.digest,
        "dataDigest": config.lineage.data_digest,
        "trainKey": config.lineage.train_key,
    }
    digest, files = manifest.write(output, lineage)
    size = sum(file.size_bytes for file in files)
    result = ConsolidateOutput(
        model_uri=config.output, digest=digest, size_bytes=size, parameters=parameters, files=len(files)
    )
    message = f"{parameters / 1e6:.1f} M parameters in {size / 1e6:.1f} MB, loaded and run once"
    return succeeded("Consolidate", config.key, message, result)


def _whole_checkpoint(uri: str) -> Path:
    folder = pvc_path(uri)
    wrong = checkpoint.damage(folder) if folder.is_dir() else "it does not exist"
    if wrong:
        raise DataError(
            "CheckpointDamaged", f"the checkpoint {uri} cannot be used: {wrong}", "train again: retry the job"
        )
    return folder


class TrainedTensors:
    """The trained tensors of a checkpoint by name, each made only when it is asked for.

    DeepSpeed's shards are pickles. They are opened here because this job's own training wrote them, which the
    marker's hashes confirm; a model that comes from outside is never read this way.
    """

    def __init__(self, folder: Path) -> None:
        tag = (folder / "latest").read_text().strip()
        self._tensors = self._from_zero(folder, tag) or self._from_module(folder / tag)

    def names(self) -> list[str]:
        return list(self._tensors)

    def get(self, name: str) -> Any:
        return self._tensors[name].contiguous()

    @staticmethod
    def _from_zero(folder: Path, tag: str) -> dict[str, Any]:
        if not any((folder / tag).glob("*_optim_states.pt")):
            return {}
        from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

        return get_fp32_state_dict_from_zero_checkpoint(str(folder), tag=tag, lazy_mode=True)

    @staticmethod
    def _from_module(states: Path) -> dict[str, Any]:
        # ZeRO stage 0 does not shard: the first process has everything.
        import torch

        return torch.load(states / "mp_rank_00_model_states.pt", map_location="cpu", weights_only=False, mmap=True)[
            "module"
        ]


def write_weights(output: Path, base: Path, trained: TrainedTensors) -> None:
    """The trained weights under the base's names, in the base's precision, tied weights once."""
    wanted = base_tensors(base)
    missing = sorted(set(wanted) - set(trained.names()))
    if missing:
        raise DataError(
            "CheckpointDamaged", f"the checkpoint lacks {len(missing)} weights, such as {missing[0]}", "train again"
        )
    write_shards(output, [(name, *wanted[name]) for name in sorted(wanted)], lambda name: trained.get(name))


def base_tensors(base: Path) -> dict[str, tuple[list[int], Any]]:
    """Name, shape and type of each tensor that the base model's files hold.

    These are exactly the tensors to write: a tied weight has one name there, though the trained model shows it under
    two.
    """
    from safetensors import safe_open

    tensors: dict[str, tuple[list[int], Any]] = {}
    for path in sorted(base.glob("*.safetensors")):
        with safe_open(path, framework="pt") as stream:
            for name in stream.keys():  # noqa: SIM118 (not a dict)
                piece = stream.get_slice(name)
                tensors[name] = (piece.get_shape(), _dtype(piece.get_dtype()))
    return tensors


def write_shards(output: Path, tensors: list[tuple[str, list[int], Any]], get: Callable[[str], Any]) -> None:
    """Writes files of bounded size, so that no more than one of them is ever in memory."""
    from safetensors.torch import save_file

    shards = list(_shards(tensors))
    index: dict[str, str] = {}
    total = 0
    for number, shard in enumerate(shards, 1):
        file = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        content = {name: _checked(name, get(name), shape).to(dtype) for name, shape, dtype in shard}
        save_file(content, output / file, metadata={"format": "pt"})
        index |= dict.fromkeys(content, file)
        total += sum(tensor.nbytes for tensor in content.values())
    if len(shards) > 1:
        document = {"metadata": {"total_size": total}, "weight_map": index}
        (output / "model.safetensors.index.json").write_text(json.dumps(document, indent=1) + "\n")


def merge_adapters(output: Path, base: Path, trained: TrainedTensors, config: ConsolidateConfig) -> None:
    """W + scale * B A for each adapted weight, by peft, whose rules for them are what training used."""
    import torch

    from .model import load_base, with_method

    wanted = base_tensors(base)
    model = with_method(load_base(base, torch.float32), config.method)
    adapters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    missing = sorted(set(adapters) - set(trained.names()))
    if missing:
        raise DataError(
            "CheckpointDamaged", f"the checkpoint lacks {len(missing)} adapters, such as {missing[0]}", "train again"
        )
    with torch.no_grad():
        for name, parameter in adapters.items():
            parameter.copy_(_checked(name, trained.get(name), list(parameter.shape)))
    merged = model.merge_and_unload().state_dict()
    write_shards(output, [(name, *wanted[name]) for name in sorted(wanted)], lambda name: merged[name].contiguous())


def copy_companions(base: Path, output: Path) -> None:
    """Config, tokenizer and generation config: without them weights are numbers."""
    for name in (*TOKENIZER_FILES, "config.json"):
        if (base / name).is_file():
            shutil.copyfile(base / name, output / name)
    # A stop token is what ends an answer: it is written even where the base model left it to be guessed.
    known = json.loads((base / "config.json").read_bytes())
    generation = {
        name: known[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id") if known.get(name) is not None
    }
    if (base / "generation_config.json").is_file():
        generation |= json.loads((base / "generation_config.json").read_bytes())
    (output / "generation_config.json").write_text(json.dumps(generation, indent=1) + "\n")


def check_loads(output: Path) -> int:
    """Loads what was written as a server would and runs it once; returns the number of parameters."""
    import torch
    from transformers import AutoModelForCausalLM

    from .tokens import load_tokenizer

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model, report = AutoModelForCausalLM.from_pretrained(
        output, use_safetensors=True, local_files_only=True, output_loading_info=True
    )
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[problem]:
            raise DataError("ModelInvalid", f"the consolidated model has {problem}: {sorted(report[problem])[:3]}")
    tokenizer = load_tokenizer(output)
    ids = tokenizer("Serin", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    if list(logits.shape[:2]) != list(ids.shape) or not torch.isfinite(logits).all():
        raise DataError(
            "ModelNotFinite",
            f"the consolidated model gives numbers that are not finite ({tuple(logits.shape)})",
            "lower learningRate and train again",
        )
    return sum(parameter.numel() for parameter in model.parameters())


def _shards(tensors: list[tuple[str, list[int], Any]]) -> Iterator[list[tuple[str, list[int], Any]]]:
    shard: list[tuple[str, list[int], Any]] = []
    size = 0
    for name, shape, dtype in tensors:
        count = dtype.itemsize
        for side in shape:
            count *= side
        if shard and size + count > SHARD_BYTES:
            yield shard
            shard, size = [], 0
        shard.append((name, shape, dtype))
        size += count
    if shard:
        yield shard


def _checked(name: str, tensor: Any, shape: list[int]) -> Any:
    import torch

    if list(tensor.shape) != list(shape):
        raise DataError(
            "CheckpointDamaged", f"{name} has the shape {list(tensor.shape)}, the base model's is {list(shape)}"
        )
    if not torch.isfinite(tensor).all():
        raise DataError(
            "ModelNotFinite", f"{name} has values that are not finite", "lower learningRate and train again"
        )
    return tensor


def _dtype(name: str) -> Any:
    import torch

    known = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}
    if name not in known:
        raise DataError(
            "ModelInvalid", f"the base model holds weights of type {name}, which cannot be trained", "use fp32 or bf16"
        )
    return known[name]
