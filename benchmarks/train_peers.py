"""What Serin's trainer is measured beside, as a person would write it: TRL's SFTTrainer, and transformers' Trainer without packing.

    python -c 'import train_peers; train_peers.main()' trl|unpacked MODEL ROWS STEPS OUT LONGEST BATCH

It prints the tokens a second of the steps.
"""

# pyright: basic
from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    logging,
)

Rows = list[dict[str, str]]


class Clock(TrainerCallback):
    """Tokens of rows that were trained on, and the time from the beginning to the end of the last step."""

    def __init__(self) -> None:
        self.tokens = 0
        self.began = self.ended = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.began = time.monotonic()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ended = time.monotonic()

    @property
    def rate(self) -> float:
        return self.tokens / (self.ended - self.began)


def counting(trainer: Any, clock: Clock, padding: int) -> Any:
    """The trainer, its tokens counted; padding does not count."""
    step = trainer.training_step

    def counted(model: Any, inputs: Any, *rest: Any) -> Any:
        clock.tokens += int((inputs["input_ids"] != padding).sum())
        return step(model, inputs, *rest)

    trainer.training_step = counted
    return trainer


def trl(model: Any, tokenizer: Any, rows: Rows, arguments: dict[str, Any], longest: int, clock: Clock) -> Any:
    """TRL's SFTTrainer with packing."""
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer

    path = Path(arguments["output_dir"]).with_suffix(".jsonl")
    with path.open("w") as file:
        for row in rows:
            prompt = [{"role": "user", "content": row["input"]}]
            completion = [{"role": "assistant", "content": row["output"]}]
            file.write(json.dumps({"prompt": prompt, "completion": completion}) + "\n")
    data = load_dataset("json", data_files=str(path), split="train")
    wish = SFTConfig(**arguments, packing=True, max_length=longest)
    return SFTTrainer(model, args=wish, train_dataset=data, processing_class=tokenizer, callbacks=[clock])


def unpacked(model: Any, tokenizer: Any, rows: Rows, arguments: dict[str, Any], longest: int, clock: Clock) -> Any:
    """transformers' Trainer: rows in random order, padded to the longest of their batch."""
    data = []
    for row in rows:
        turns = [{"role": "user", "content": row["input"]}, {"role": "assistant", "content": row["output"]}]
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][:longest]
        data.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": ids})
    return Trainer(
        model,
        args=TrainingArguments(**arguments),
        train_dataset=data,  # pyright: ignore[reportArgumentType]
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        callbacks=[clock],
    )


def main() -> None:
    logging.set_verbosity_error()
    peer, folder, rows, steps, output, longest, batch = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    arguments: dict[str, Any] = {
        "output_dir": output,
        "max_steps": int(steps),
        "per_device_train_batch_size": int(batch),
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 7,
    }
    clock = Clock()
    read = [json.loads(line) for line in Path(rows).read_text().splitlines()]
    make = {"trl": trl, "unpacked": unpacked}[peer]
    trainer = counting(make(model, tokenizer, read, arguments, int(longest), clock), clock, tokenizer.pad_token_id)
    trainer.train()
    print("measured", clock.rate)
