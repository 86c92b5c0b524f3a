"""A base model and a candidate that was taught the answers, on volumes in a temporary folder."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.evaluation import config_document
from support.tiny_model import SENTENCES, write_model

ROWS = [dict(zip(("input", "output"), text.strip().split("\n"), strict=True)) for text in SENTENCES]


@dataclass(frozen=True)
class Volumes:
    """Where the models lie, and their digests."""

    root: Path
    candidate: str
    base: str

    def config(self, **changes: Any) -> dict[str, Any]:
        """A config for these models."""
        models = [
            {"role": "Candidate", "uri": "pvc://artifacts/candidate", "digest": self.candidate},
            {"role": "Base", "uri": "pvc://models/base", "digest": self.base},
        ]
        return config_document(**{"models": models, **changes})


@pytest.fixture(scope="session")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Volumes:
    root = tmp_path_factory.mktemp("pvc")
    base = write_model(root / "models" / "base")
    candidate = write_model(root / "artifacts" / "candidate", texts=SENTENCES)
    (root / "datasets").mkdir()
    rows = [*ROWS * 4, {"prompt": "no answer to this", "completion": ""}]
    (root / "datasets" / "heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Volumes(root, candidate, base)


@pytest.fixture
def evaluate(
    volumes: Volumes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]:
    """Run the stage as the pod does; its exit code and result."""
    from serin_evaluator.__main__ import main

    monkeypatch.setenv("SERIN_PVC_ROOT", str(volumes.root))
    monkeypatch.setenv("SERIN_RESULT_PATH", str(tmp_path / "termination-log"))

    def run(config: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        (tmp_path / "config.json").write_text(json.dumps(config))
        code = main(["--config", str(tmp_path / "config.json")])
        return code, json.loads((tmp_path / "termination-log").read_text())

    return run
