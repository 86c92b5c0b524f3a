"""Configs for the trainer's stages, as the operator writes them, with one place to change what a test is about."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

DIGEST = "sha256:" + "a" * 64
JOB = {"namespace": "ml", "name": "support-bot"}

PREPARE: dict[str, Any] = {
    "stage": "Prepare",
    "key": "3f00aa",
    "job": JOB,
    "output": "pvc://artifacts/prepare-3f00aa",
    "baseModel": {"uri": "pvc://models/base"},
    "data": {
        "train": [{"name": "tickets", "uri": "pvc://datasets/tickets.jsonl"}],
        "mixing": "Subsample",
        "validation": [],
        "test": [],
        "split": {
            "strategy": "Random",
            "trainPercent": 80,
            "validationPercent": 10,
            "testPercent": 10,
            "seed": 7,
            "minValidationRows": 0,
            "minTestRows": 0,
        },
        "cleaning": {"minTokens": 1, "languages": [], "nearDuplicates": {"action": "Keep", "similarityPercent": 90}},
        "rowEnding": "EndOfSequence",
        "lossOn": "Completions",
        "packing": "None",
        "tooLong": "Drop",
        "overlap": {"action": "Refuse", "maxPercent": 1},
    },
    "evaluationSets": [],
    "training": {
        "method": "Full",
        "loraRank": 16,
        "loraTargetModules": ["q_proj", "v_proj"],
        "batchSize": 8,
        "gradientAccumulationSteps": 1,
        "maxSteps": 8,
        "nodes": 1,
        "processesPerNode": 2,
        "zeroStage": 2,
        "accelerated": False,
    },
    "maxSequenceLength": 64,
}

LORA = {
    "type": "LoRA",
    "lora": {"rank": 4, "alpha": 8, "targetModules": ["q_proj", "v_proj"], "dropout": "0.0"},
}

IA3 = {
    "type": "IA3",
    "ia3": {"targetModules": ["k_proj", "v_proj", "down_proj"], "feedforwardModules": ["down_proj"]},
}

PROMPT = {"type": "PromptTuning", "promptTuning": {"virtualTokens": 6}}

TRAIN: dict[str, Any] = {
    "stage": "Train",
    "key": "4f00bb",
    "job": JOB,
    "output": "pvc://artifacts/train-4f00bb",
    "attempt": 1,
    "baseModel": {"uri": "pvc://models/base", "digest": DIGEST},
    "dataUri": "pvc://artifacts/prepare-3f00aa/data",
    "dataDigest": DIGEST,
    "method": {"type": "Full"},
    "hyperparameters": {
        "learningRate": "5e-3",
        "maxSteps": 8,
        "batchSize": 8,
        "gradientAccumulationSteps": 1,
        "scheduler": "Constant",
        "warmupRatio": "0.0",
        "weightDecay": "0.0",
        "maxGradientNorm": "1.0",
        "seed": 7,
        "maxSequenceLength": 64,
        "saveSteps": 4,
    },
    "distribution": {"nodes": 1, "processesPerNode": 2, "zeroStage": 2},
}

CONSOLIDATE: dict[str, Any] = {
    "stage": "Consolidate",
    "key": "5f00cc",
    "job": JOB,
    "output": "pvc://artifacts/model-5f00cc",
    "baseModel": {"uri": "pvc://models/base", "digest": DIGEST},
    "checkpointUri": "pvc://artifacts/train-4f00bb/checkpoint-8",
    "method": {"type": "Full"},
    "lineage": {
        "dataDigest": DIGEST,
        "trainKey": "4f00bb",
        "hyperparameters": {"learningRate": "5e-3", "seed": 7},
        "images": {"Train": "serin.dev/trainer@sha256:" + "b" * 64},
    },
}


def changed(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy with some fields set, named by their path: `{"data.split.seed": 8}`."""
    copied = copy.deepcopy(config)
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = copied
        for parent in parents:
            place = place[parent]
        place[last] = value
    return copied


def write_config(path: Path, config: dict[str, Any]) -> Path:
    path.write_text(json.dumps(config))
    return path


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
