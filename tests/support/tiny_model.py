"""A real model small enough for tests: a random Llama and a byte-level tokenizer trained on a few sentences.

Needs torch, so only tests/images may import it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SENTENCES = (
    "What is the field replicas of Deployment?\nThe number of desired pods.\n",
    "What is the field nodeName of Pod?\nA request to schedule this pod onto a specific node.\n",
    "What is the field data of ConfigMap?\nThe configuration data, each key of alphanumeric characters.\n",
)


def write_tokenizer(folder: Path, *, chat: bool = False, bos: bool = False) -> None:
    """A tokenizer of 512 tokens with an end token, and what else is asked for."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>"] + (["<|begin|>"] if bos else [])
    specials += ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"] if chat else []
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token="<|begin|>" if bos else None
    )
    if chat:
        fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)


def write_model(
    folder: Path,
    *,
    seed: int = 0,
    chat: bool = False,
    bos: bool = False,
    context: int = 256,
    texts: Sequence[str] = (),
) -> str:
    """A whole model folder with its manifest, the model trained to write the texts if there are any; its digest."""
    import torch
    from safetensors.torch import save_model
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True)
    write_tokenizer(folder, chat=chat, bos=bos)
    torch.set_num_threads(1)  # on matrices this small, threads only wait for each other
    torch.manual_seed(seed)
    config = LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=0,
    )
    model = LlamaForCausalLM(config)
    if texts:
        _teach(model, folder, texts)
    # Not save_pretrained, which imports all of accelerate and DeepSpeed for these few tensors.
    save_model(model, str(folder / "model.safetensors"), metadata={"format": "pt"})
    config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    return write_manifest(folder)


def _teach(model: Any, folder: Path, texts: Sequence[str]) -> None:
    import torch
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    rows = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in texts]
    width = max(map(len, rows))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    labels = torch.tensor([row + [-100] * (width - len(row)) for row in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3)
    for _ in range(50):
        optimizer.zero_grad()
        model(input_ids=tokens, labels=labels).loss.backward()
        optimizer.step()


def write_manifest(folder: Path) -> str:
    """manifest.json as consolidation writes it; the model digest."""
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    sums = {path: hashlib.sha256((folder / path).read_bytes()).hexdigest() for path in paths if path != "manifest.json"}
    digest = "sha256:" + hashlib.sha256("".join(f"{sha}  {path}\n" for path, sha in sums.items()).encode()).hexdigest()
    files = [{"path": path, "sizeBytes": (folder / path).stat().st_size, "sha256": sha} for path, sha in sums.items()]
    document: Mapping[str, object] = {"files": files, "digest": digest, "lineage": {}}
    (folder / "manifest.json").write_text(json.dumps(document))
    return digest
