"""Consolidate: a checkpoint's shards become one model that anything can load.

The weights go from the checkpoint's files to the model's piece by piece (`zero.py`, `weights.py`), so memory does not grow with
the model. Full training: the trained weights under the base's names and in its precision. LoRA, QLoRA and IA3: the base's weights with
the adapters merged in (`lora.py`), or the adapters alone where they are kept (`adapters.py`). Beside the weights lie config,
tokenizer, generation config and a card; then the result is loaded and run once, and the manifest is written.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import card, checkpoint, hardware, lineage, manifest, weights, zero
from .config import ConsolidateConfig
from .errors import DataError
from .files import empty_directory, make_readable, write_atomically
from .manifest import FileEntry
from .model import refuse_pickles, verified_directory
from .result import ConsolidateOutput, Result, succeeded
from .tensors import Stored, Tensor
from .uris import pvc_path
from .weights import Wanted

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
# Constants that old model files hold and that every loader computes anew.
COMPUTED_ANEW = (".rotary_emb.inv_freq",)


def consolidate(config: ConsolidateConfig) -> Result:
    hardware.settle(1)
    folder, base = _verified(config)
    output = pvc_path(config.output)
    empty_directory(output)
    if config.method.kept:
        written, said, parameters = _kept(output, base, folder, config)
    else:
        written, said, parameters = _whole(output, base, folder, config)
    make_readable(output)
    digest, files = manifest.write(output, lineage.document(config, folder), hashed=written)
    size = sum(file.size_bytes for file in files)
    result = ConsolidateOutput(
        model_uri=config.output, digest=digest, size_bytes=size, parameters=parameters, files=len(files)
    )
    message = f"{said} in {size / 1e6:.1f} MB, loaded and run once"
    return succeeded("Consolidate", config.key, message, result)


def _whole(output: Path, base: Path, folder: Path, config: ConsolidateConfig) -> tuple[list[FileEntry], str, int]:
    """A model like any other."""
    written = write_weights(output, base, folder, config)
    shutil.copyfile(base / "config.json", output / "config.json")
    copy_companions(base, output)
    write_atomically(output / card.FILE_NAME, card.text(config).encode())
    parameters = check_loads(output)
    return written, f"{parameters / 1e6:.1f} M parameters", parameters


def _kept(output: Path, base: Path, folder: Path, config: ConsolidateConfig) -> tuple[list[FileEntry], str, int]:
    """An adapter, which is nothing without its base model: config.json stays there."""
    from . import adapters

    refuse_pickles(base)
    written = adapters.write(output, base, folder, config)
    copy_companions(base, output)
    write_atomically(output / card.FILE_NAME, card.text(config).encode())
    of_base, own = adapters.check_loads(output, base)
    said = f"an adapter of {own:,} parameters to a base model of {of_base / 1e6:.1f} M,"
    return written, said, of_base + own


def write_weights(output: Path, base: Path, folder: Path, config: ConsolidateConfig) -> list[FileEntry]:
    """The weights of the model that the checkpoint in `folder` makes of the base model."""
    refuse_pickles(base)
    of_base = {name: tensor for name, tensor in weights.read_folder(base).items() if not name.endswith(COMPUTED_ANEW)}
    trained = zero.read(folder)
    if config.method.type == "Full":
        return weights.write_model(output, *full(of_base, trained))
    from . import lora

    wanted = [Wanted(name, tensor.dtype, tensor.shape) for name, tensor in of_base.items()]
    return weights.write_model(output, wanted, lora.merged(base, of_base, trained, config.method))


def full(of_base: Mapping[str, Stored], trained: zero.Trained) -> tuple[list[Wanted], Mapping[str, Tensor]]:
    """The trained weights under the base's names, in the base's precision, tied weights once.

    The base's files say which name a tied weight goes by, though the trained model shows it under two. A weight that was trained
    and that they lack (a head that the base left to be made anew) is written as well.
    """
    found = {name: tensor for name in of_base if (tensor := trained.find(name)) is not None}
    if missing := sorted(of_base.keys() - found.keys()):
        raise zero.damaged(f"it lacks {len(missing)} weights, such as {missing[0]}")
    wanted = [Wanted(name, tensor.dtype, tensor.shape) for name, tensor in of_base.items()]
    covered = {trained.aliases.get(name, name) for name in of_base}
    usual = Counter(tensor.dtype for tensor in of_base.values()).most_common(1)[0][0]
    for name in sorted(trained.optimized - covered - trained.aliases.keys()):
        found[name] = trained.tensors[name]
        wanted.append(Wanted(name, usual, found[name].shape))
    return wanted, found


def copy_companions(base: Path, output: Path) -> None:
    """Tokenizer and generation config: without them weights are numbers."""
    for name in TOKENIZER_FILES:
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
    """Loads what was written as a server would and runs it once; returns the number of parameters.

    The loader maps the files into memory, so this too takes no more of it for a larger model.
    """
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


def _verified(config: ConsolidateConfig) -> tuple[Path, Path]:
    """The checkpoint and the base model, both still what they were; their files are hashed side by side."""
    with ThreadPoolExecutor(1) as aside:
        base = aside.submit(verified_directory, config.base_model)
        return _whole_checkpoint(config.checkpoint_uri), base.result()


def _whole_checkpoint(uri: str) -> Path:
    folder = pvc_path(uri)
    wrong = checkpoint.damage(folder) if folder.is_dir() else "it does not exist"
    if wrong:
        raise DataError(
            "CheckpointDamaged", f"the checkpoint {uri} cannot be used: {wrong}", "train again: retry the job"
        )
    return folder
