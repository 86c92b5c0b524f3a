"""Short ways to say a config, a suite or measurements."""

from typing import Any

from serin_evaluator.config import EvaluateConfig

CANDIDATE = {"role": "Candidate", "uri": "pvc://artifacts/candidate", "digest": "sha256:" + "a" * 64}
BASE = {"role": "Base", "uri": "pvc://models/base", "digest": "sha256:" + "b" * 64}


def config_document(**changes: Any) -> dict[str, Any]:
    """The contract's example, with changes."""
    return {
        "stage": "Evaluate",
        "key": "3f9c",
        "job": {"namespace": "ml", "name": "support-bot"},
        "output": "pvc://artifacts/ml/support-bot/evaluate-3f9c",
        "cache": "pvc://artifacts/ml/.scores",
        "models": [CANDIDATE, BASE],
        "suites": [suite_document()],
        "comparisons": [{"suite": "heldout", "metric": "RougeL", "against": "Base", "method": "PairedBootstrap"}],
        "wanted": ["heldout/RougeL"],
        "seed": 7,
        **changes,
    }


def suite_document(**changes: Any) -> dict[str, Any]:
    """A suite of the contract's example, with changes."""
    return {
        "name": "heldout",
        "dataset": {"uri": "pvc://datasets/heldout.jsonl"},
        "metrics": ["RougeL", "Perplexity"],
        "maxExamples": 100,
        "maxNewTokens": 48,
        "stop": ["\n"],
        **changes,
    }


def config(**changes: Any) -> EvaluateConfig:
    """The contract's example as a config."""
    return EvaluateConfig.model_validate(config_document(**changes))
