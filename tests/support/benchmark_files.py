"""A benchmark's folder as a user would lay it out: YAML files of tasks, and their rows as JSON Lines."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from support.evaluation import suite_document

WORDS = ("pod", "node", "field", "name", "key", "data", "number", "replicas")

KIND = """
task: kind
dataset_path: json
dataset_kwargs:
  data_files: {train: rows/kind-train.jsonl, test: rows/kind.jsonl}
training_split: train
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{options}}"
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
  - {metric: brier_score, aggregation: brier_score, higher_is_better: false}
metadata: {version: 2.0}
"""

PARITY = """
task: parity
dataset_path: json
dataset_kwargs: {data_files: {test: rows/parity.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "Is {{number}} even?"
doc_to_choice: ["no", "yes, it is"]
doc_to_target: label
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: f1, aggregation: f1, higher_is_better: true}
  - {metric: mcc, aggregation: matthews_corrcoef, higher_is_better: true}
metadata: {version: 1.0}
"""

SPELL = """
task: spell
dataset_path: json
dataset_kwargs: {data_files: {test: rows/spell.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{prompt}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 12, do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}
  - {metric: bleu, aggregation: bleu, higher_is_better: true}
filter_list:
  - name: whole
    filter: [{function: take_first}]
  - name: first-word
    filter:
      - {function: regex, regex_pattern: "([A-Za-z]+)"}
      - {function: take_first}
metadata: {version: 0.1}
"""

STORY = """
task: story
dataset_path: json
dataset_kwargs: {data_files: {test: rows/story.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - {metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
  - {metric: byte_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
metadata: {version: 1.0}
"""

LAST_WORD = """
task: last_word
dataset_path: json
dataset_kwargs: {data_files: {test: rows/last-word.jsonl}}
test_split: test
output_type: loglikelihood
doc_to_text: "{{text.split(' ')[:-1]|join(' ')}}"
doc_to_target: "{{' ' + text.split(' ')[-1]}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""

GROUP = """
group: everything
task: [kind, parity]
aggregate_metric_list:
  - {metric: acc, aggregation: mean, weight_by_size: true}
metadata: {version: 1.0}
"""


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Rows as JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_benchmark(folder: Path) -> None:
    """Five tasks of all four kinds and a group of two of them."""
    folder.mkdir(parents=True)
    for name, text in (
        ("kind", KIND), ("parity", PARITY), ("spell", SPELL), ("story", STORY), ("last_word", LAST_WORD), ("group", GROUP),
    ):  # fmt: skip
        (folder / f"{name}.yaml").write_text(text)
    questions = [
        {
            "question": f"What is the {WORDS[at % 8]} of {at}?",
            "options": [f"The {WORDS[(at + step) % 8]} of Pod number {at}"[: 12 + 3 * step] for step in range(4)],
            "answer": at % 4,
        }
        for at in range(24)
    ]
    rows = folder / "rows"
    write_rows(rows / "kind.jsonl", questions[:12])
    write_rows(rows / "kind-train.jsonl", questions[12:])
    write_rows(rows / "parity.jsonl", ({"number": 7 * at, "label": (at * at + at // 3) % 2} for at in range(16)))
    write_rows(
        rows / "spell.jsonl",
        (
            {"prompt": "What is the field replicas of Deployment?\n" if at % 2 else f"What is {WORDS[at]}?\n",
             "answer": "The number of desired pods." if at % 4 == 1 else "the" if at % 2 else "nothing"}
            for at in range(8)
        ),
    )  # fmt: skip
    write_rows(
        rows / "story.jsonl", ({"text": " ".join(WORDS[(at + step) % 8] for step in range(30))} for at in range(4))
    )
    write_rows(
        rows / "last-word.jsonl",
        (
            {"text": "What is the field replicas of Deployment?\nThe number of desired pods."[: 60 + at]}
            for at in range(6)
        ),
    )


def asking(metrics: list[str], tasks: list[str], name: str = "bench", **benchmark: Any) -> dict[str, Any]:
    """A suite that is a benchmark."""
    suite = suite_document(name=name, metrics=metrics, maxExamples=100)
    for field in ("dataset", "stop", "maxNewTokens"):
        del suite[field]
    return {**suite, "benchmark": {"tasks": tasks, "uri": "pvc://benchmarks/own", **benchmark}}


def report_of(volumes: Any, result: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The report of an evaluation, and its rows."""
    path = volumes.root / result["output"]["reportUri"].removeprefix("pvc://")
    lines = (path.parent / "examples.jsonl").read_text().splitlines()
    return json.loads(path.read_text()), [json.loads(line) for line in lines]
