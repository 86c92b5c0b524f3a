"""A checkpoint by DeepSpeed's own engine: real shards of a random Llama, written by several processes.

    python -m support.zero_save --out DIR --ranks 4 --stage 3

Writes `DIR/base` (the model's folder, its weights zeros, without a tokenizer) and `DIR/checkpoint-1`. One step is made, so
that the optimizer's moments are there as after any training. Needs torch.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

from support.ports import free_port

STEP = 1


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--stage", type=int, default=3)
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--intermediate", type=int, default=96)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=251)
    parser.add_argument(
        "--optimizer", choices=("AdamW", "SGD"), default="AdamW", help="SGD keeps no moments: less disk"
    )
    parser.add_argument("--tied", action="store_true")
    parser.add_argument("--frozen", default="", help="parameters whose name contains this text are not trained")
    options = parser.parse_args(arguments)
    os.environ |= {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "deepspeed", "transformers.models.llama.modeling_llama"])
    port = free_port()
    ranks = [context.Process(target=save, args=(rank, port, options)) for rank in range(options.ranks)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    if failed := [rank.exitcode for rank in ranks if rank.exitcode]:
        raise SystemExit(f"saving failed with exit codes {failed}")


def save(rank: int, port: int, options: argparse.Namespace) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(options.ranks)}
    import deepspeed
    import torch

    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    torch.manual_seed(7)
    settings = _settings(options)
    model = _model(options, settings)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not (options.frozen and options.frozen in name)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    engine, *_ = deepspeed.initialize(
        model=model, optimizer=getattr(torch.optim, options.optimizer)(trained, lr=1e-3), config=settings
    )
    tokens = torch.randint(options.vocabulary, (1, 8))
    engine.backward(engine(input_ids=tokens, labels=tokens).loss)
    engine.step()
    folder = options.out / f"checkpoint-{STEP}"
    engine.save_checkpoint(str(folder), tag=f"global_step{STEP}")
    if rank == 0:
        _write_base(options)
    torch.distributed.barrier()
    os._exit(0)  # interpreter shutdown would wait for threads that nobody needs any more


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": 1,
        "bf16": {"enabled": options.dtype == "bf16"},
        "zero_optimization": {"stage": options.stage, "stage3_param_persistence_threshold": 10},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1_000_000_000,
    }


def _config(options: argparse.Namespace) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=options.vocabulary,
        hidden_size=options.hidden,
        intermediate_size=options.intermediate,
        num_hidden_layers=options.layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=options.tied,
        bos_token_id=None,
        eos_token_id=0,
        dtype="bfloat16" if options.dtype == "bf16" else "float32",
    )


def _model(options: argparse.Namespace, settings: dict[str, Any]) -> Any:
    import deepspeed
    import torch
    from transformers import LlamaForCausalLM

    torch.set_default_dtype(torch.bfloat16 if options.dtype == "bf16" else torch.float32)
    if options.stage < 3:
        return LlamaForCausalLM(_config(options))
    with deepspeed.zero.Init(config_dict_or_path=settings):
        return LlamaForCausalLM(_config(options))


def _write_base(options: argparse.Namespace) -> None:
    """Config and the names, shapes and types of the weights; their values are zeros in a sparse file."""
    import torch
    from transformers import LlamaForCausalLM

    base = options.out / "base"
    base.mkdir(parents=True, exist_ok=True)
    config = _config(options)
    config.save_pretrained(base)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    kind, width = ("BF16", 2) if options.dtype == "bf16" else ("F32", 4)
    header, at = {}, 0
    for name, parameter in model.named_parameters():
        header[name] = {
            "dtype": kind,
            "shape": list(parameter.shape),
            "data_offsets": [at, at + parameter.numel() * width],
        }
        at += parameter.numel() * width
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (base / "model.safetensors").open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + at)


if __name__ == "__main__":
    main()
