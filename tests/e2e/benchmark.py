"""Two benchmarks on a volume, as a user lays them out, and the gate that asks for them. A model that knows nothing passes: the
tests are about what is measured."""

import json
from typing import Any, Final

_WORDS: Final = ("pod", "node", "field", "name", "key", "data", "number", "replicas")
_CHOICES: Final = """
task: choices
dataset_path: json
dataset_kwargs: {data_files: {test: rows/choices.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "Which word comes after {{word}}?"
doc_to_choice: "{{options}}"
doc_to_target: right
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""
_TEXTS: Final = """
task: texts
dataset_path: json
dataset_kwargs: {data_files: {test: rows/texts.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - {metric: byte_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
metadata: {version: 1.0}
"""


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _choice(at: int) -> dict[str, Any]:
    options = [f"{_WORDS[(at + step) % 8]} {at}" for step in range(4)]
    return {"word": _WORDS[at % 8], "options": options, "right": at % 4}


FILES: Final = {
    "benchmark/choices.yaml": _CHOICES,
    "benchmark/texts.yaml": _TEXTS,
    "benchmark/rows/choices.jsonl": _lines([_choice(at) for at in range(32)]),
    "benchmark/rows/texts.jsonl": _lines(
        [{"text": " ".join(_WORDS[(at * step) % 8] for step in range(1, 16))} for at in range(24)]
    ),
}
"""What lies below pvc://datasets."""
_AT: Final = "pvc://datasets/benchmark"
_WORDS_OF_ANSWERS: Final = {
    "name": "words",
    "dataset": {"uri": "pvc://datasets/heldout.jsonl"},
    "metrics": ["METEOR"],
    "maxExamples": 20,
    "maxNewTokens": 8,
}
GATE: Final[dict[str, Any]] = {
    "apiVersion": "serin.dev/v1alpha1",
    "kind": "EvalGate",
    "metadata": {"name": "benchmarked"},
    "spec": {
        "suites": [
            {"name": "texts", "benchmark": {"tasks": ["texts"], "uri": _AT}, "metrics": ["BytePerplexity"]},
            {"name": "choices", "benchmark": {"tasks": ["choices"], "uri": _AT}, "metrics": ["Accuracy"]},
            _WORDS_OF_ANSWERS,
        ],
        "requirements": [
            {"name": "reads", "metric": "texts/BytePerplexity", "max": "100000"},
            {"name": "chooses", "metric": "choices/Accuracy", "min": "0.01", "weight": 0},
            {"name": "says", "metric": "words/METEOR", "min": "0.01", "weight": 0},
        ],
    },
}
