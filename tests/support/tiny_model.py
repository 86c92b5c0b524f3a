"""A real model small enough for tests: a random Llama and a byte-level tokenizer trained on a few sentences.

Needs torch, so only tests/images may import it.
"""

import hashlib
import json
import random
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


def write_adapter(folder: Path, base: Path, digest: str, kind: str = "LORA") -> str:
    """An adapter to the model in `base`, with numbers that change what it says, as consolidation writes one; its digest."""
    import shutil

    import torch
    from peft import IA3Config, LoraConfig, PromptTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    modules = ["q_proj", "v_proj", "down_proj"]
    lora = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=modules)
    ia3 = IA3Config(task_type="CAUSAL_LM", target_modules=modules, feedforward_modules=["down_proj"])
    prompt = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
    torch.manual_seed(1)
    wish = {"LORA": lora, "IA3": ia3, "PROMPT_TUNING": prompt}[kind]
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), wish)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(folder)
    shutil.copy(base / "tokenizer.json", folder)
    shutil.copy(base / "tokenizer_config.json", folder)
    (folder / "base.json").write_text(json.dumps({"uri": "pvc://models/base", "digest": digest}))
    return write_manifest(folder)


def write_classifier(
    folder: Path, labels: Sequence[str], says: Mapping[str, str], context: int = 64, several: bool = False
) -> str:
    """A tiny classifier that gives a text the label whose word it holds: `says` is a label by its word. Its digest.

    It is taught so in a second, on texts that hold these words and nothing else that it knows.
    """
    import torch
    from safetensors.torch import save_model
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    folder.mkdir(parents=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *says]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(folder)
    config = BertConfig(
        architectures=["BertForSequenceClassification"], vocab_size=len(words), hidden_size=32, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=64, max_position_embeddings=context,
        id2label=dict(enumerate(labels)), label2id={label: place for place, label in enumerate(labels)},
        problem_type="multi_label_classification" if several else "single_label_classification",
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = BertForSequenceClassification(config)
    # A word anywhere in a text of any length, half of the time with a second text behind it.
    drawn = random.Random(0)
    rows: list[tuple[str, str, int]] = []
    for at in range(96):
        text = ["[UNK]"] * drawn.randrange(0, 24)
        word, label = drawn.choice(list(says.items()))
        if at % 2:
            text.insert(drawn.randrange(0, len(text) + 1), word)
        second = " ".join(["[UNK]"] * drawn.randrange(1, 5)) if at % 4 < 2 else ""
        rows.append((" ".join(text), second, labels.index(label) if at % 2 else 0))
    texts = fast([row[0] for row in rows], [row[1] for row in rows], return_tensors="pt", padding=True)
    wanted = torch.tensor([place for _, _, place in rows])
    goal = torch.nn.functional.one_hot(wanted, len(labels)).float() if several else wanted
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(100):
        optimizer.zero_grad()
        model(**texts, labels=goal).loss.backward()
        optimizer.step()
    save_model(model, str(folder / "model.safetensors"), metadata={"format": "pt"})
    config.save_pretrained(folder)
    return write_manifest(folder)
