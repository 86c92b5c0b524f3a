"""A base model from nothing but text: a BPE tokenizer and a randomly initialised small Llama.

For places where no model hub can be reached; what it writes is trained by the same FineTuneJob as any other base model.
Not a stage: `python -m serin_trainer.scratch --corpus rows.jsonl --out DIR`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from . import hardware, manifest
from .files import empty_directory, make_readable
from .rows import parse

BOS, EOS, PAD = "<|begin|>", "<|end|>", "<|pad|>"

# One turn a line, so that a conversation is also readable as running text.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ 'Answer: ' + message['content'] + eos_token + '\n' }}"
    "{% else %}{{ 'Question: ' + message['content'] + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Answer:' }}{% endif %}"
)


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    out = Path(options.out)
    empty_directory(out)
    texts = [text for name in options.corpus for text in corpus_texts(Path(name))]
    write_tokenizer(out, texts, options.vocab_size, options.max_positions)
    parameters = write_model(out, options)
    make_readable(out)
    digest, _files = manifest.write(out, {"madeBy": "serin_trainer.scratch", "seed": str(options.seed)})
    print(json.dumps({"parameters": parameters, "digest": digest}), flush=True)


def corpus_texts(path: Path) -> Iterator[str]:
    """What the rows of a JSONL file say, whatever their shape."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        row = parse(line, f"{path}:{number}")
        yield from filter(None, (row.asked(), row.answered()))


def write_tokenizer(out: Path, texts: list[str], vocabulary: int, max_positions: int) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # The template's own words are part of what the model will read.
    tokenizer.train_from_iterator([*texts, *["Question: \nAnswer: "] * 10], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD, model_max_length=max_positions
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(out)


def write_model(out: Path, options: argparse.Namespace) -> int:
    hardware.settle(1)
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(options.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=options.hidden,
            intermediate_size=options.intermediate or 4 * options.hidden * 2 // 3,
            num_hidden_layers=options.layers,
            num_attention_heads=options.heads,
            num_key_value_heads=options.heads,
            max_position_embeddings=options.max_positions,
            tie_word_embeddings=True,
            **special,
        )
    )
    model.generation_config = GenerationConfig(**special)
    model.save_pretrained(out)
    return sum(parameter.numel() for parameter in model.parameters())


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m serin_trainer.scratch", description=__doc__)
    parser.add_argument(
        "--corpus", required=True, action="append", help="JSONL rows whose text the tokenizer is made from"
    )
    parser.add_argument("--out", required=True, help="folder of the model; emptied first")
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument(
        "--intermediate", type=int, default=0, help="width of the feed-forward layers; 0: 8/3 of --hidden"
    )
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--max-positions", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
