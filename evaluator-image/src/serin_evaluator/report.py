"""The files an evaluation leaves: report.json (every score, with lineage) and examples.jsonl (every example).

Nothing in them depends on when or where they were made, so the same evaluation writes the same bytes.
Not here: the termination message (`result.py`), which holds an extract.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from serin_evaluator.cache import evaluator_version
from serin_evaluator.config import EvaluateConfig, Role
from serin_evaluator.curves import PROBABILITIES
from serin_evaluator.measuring import Measured
from serin_evaluator.result import write_atomically
from serin_evaluator.scoring import Samples, Scores
from serin_evaluator.suites import LoadedSuite
from serin_evaluator.uncertainty import RESAMPLES

SCHEMA_VERSION = 1
Measurements = Mapping[Role, Mapping[str, Measured]]


def write_report(
    folder: Path,
    config: EvaluateConfig,
    suites: Sequence[LoadedSuite],
    measured: Measurements,
    found: Samples,
    scores: Scores,
) -> str:
    """Write both files into the folder; the URI of the report."""
    examples = "".join(
        json.dumps(row, ensure_ascii=False) + "\n" for row in _examples(suites, measured, found)
    ).encode()
    write_atomically(folder / "examples.jsonl", examples)
    document = {
        "schemaVersion": SCHEMA_VERSION,
        "stage": config.stage,
        "key": config.key,
        "job": _plain(config.job),
        "evaluatorVersion": evaluator_version(),
        "seed": config.seed,
        "intervals": {
            "method": "StudentisedBootstrap",
            "ofShares": "ClopperPearson",
            "resamples": RESAMPLES,
            "confidencePercent": 95,
            "curveProbabilities": PROBABILITIES,
        },
        "models": [_plain(model) for model in config.models],
        "suites": [_suite(suite, measured) for suite in suites],
        "scores": [_plain(score) for score in scores.scores],
        "comparisons": [_plain(comparison) for comparison in scores.comparisons],
        "missing": [{"what": missing.what, "why": missing.why} for missing in scores.missing],
        "examples": {
            "uri": f"{config.output.rstrip('/')}/examples.jsonl",
            "digest": "sha256:" + hashlib.sha256(examples).hexdigest(),
        },
    }
    write_atomically(folder / "report.json", (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode())
    return f"{config.output.rstrip('/')}/report.json"


def _plain(document: Any) -> Any:
    return document.model_dump(mode="json", by_alias=True)


def _suite(suite: LoadedSuite, measured: Measurements) -> dict[str, Any]:
    """The suite's settings, and how many of its rows were scored or not, and why not."""
    return {
        **_plain(suite.suite),
        "datasetDigest": suite.digest,
        "rows": suite.rows,
        "withoutAnswer": suite.without_answer,
        "chosen": len(suite.examples),
        "tooLong": {role: _too_long(of_model[suite.suite.name]) for role, of_model in measured.items()},
    }


def _too_long(measured: Measured) -> dict[str, int]:
    entries = {"likelihood": measured.likelihood, "generation": measured.generation, "choice": measured.choice}
    return {kind: len(entry.too_long) for kind, entry in entries.items() if entry is not None}


def _examples(suites: Sequence[LoadedSuite], measured: Measurements, found: Samples) -> Iterator[dict[str, Any]]:
    for suite in suites:
        name = suite.suite.name
        values = {key: sample.by_example() for key, sample in found.items() if key[0] == name}
        for line, example in suite.examples.items():
            yield {
                "suite": name,
                "line": line,
                **({"prompt": example.prompt} if example.prompt else {"messages": example.messages}),
                "answer": example.answer,
                "models": {
                    role: {
                        **_said(of_model[name], line),
                        "metrics": {key[1]: of.get(line) for key, of in values.items() if key[2] is role},
                    }
                    for role, of_model in measured.items()
                },
            }


def _said(measured: Measured, line: int) -> dict[str, Any]:
    said = measured.generation.measured.get(line) if measured.generation else None
    return {} if said is None else {"text": said.text, "tokens": said.tokens, "finish": said.finish}
