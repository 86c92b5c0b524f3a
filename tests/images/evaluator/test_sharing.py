"""Several pods that share an evaluation give the very numbers of one that does it alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serin_evaluator.__main__ import main
from support.evaluation import suite_document

MANY = {"uri": "pvc://datasets/many.jsonl"}  # three batches
SUITES = [
    suite_document(dataset=MANY, metrics=["RougeL", "ExactMatch", "Perplexity"], maxNewTokens=4),
    suite_document(name="times", metrics=["TimeToFirstToken"], maxNewTokens=2),
]
COMPARED = [
    {"suite": "heldout", "metric": metric, "against": "Base", "method": "PairedBootstrap"}
    for metric in ("RougeL", "Perplexity")
]
WANTED = ["heldout/RougeL", "heldout/ExactMatch", "heldout/Perplexity"]


@pytest.fixture
def pod(volumes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], dict[str, Any] | None]:
    """Run one pod of so many; its result, or None when it left none."""
    monkeypatch.setenv("SERIN_PVC_ROOT", str(volumes.root))
    rows = [{"prompt": f"{'word ' * (number % 9)}{number}?", "completion": f"{number} it is"} for number in range(90)]
    (volumes.root / "datasets/many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(index: int, pods: int) -> dict[str, Any] | None:
        log = tmp_path / f"termination-{index}-{pods}"
        monkeypatch.setenv("SERIN_RESULT_PATH", str(log))
        monkeypatch.setenv("JOB_COMPLETION_INDEX", str(index))
        key = f"{pods:064x}"
        config = volumes.config(
            suites=SUITES, comparisons=COMPARED, wanted=WANTED, pods=pods, key=key,
            output=f"pvc://artifacts/shared/evaluate-{key}", cache=f"pvc://artifacts/shared/scores-{pods}",
        )  # fmt: skip
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert main(["--config", str(tmp_path / "config.json")]) == 0
        return json.loads(log.read_text()) if log.exists() else None

    return run


def told(result: dict[str, Any] | None) -> tuple[list[Any], list[Any]]:
    assert result is not None
    output = result["output"]
    return [one for one in output["scores"] if one["suite"] == "heldout"], output["comparisons"]


def test_shares_joined_are_bit_for_bit_what_one_pod_measures(
    pod: Callable[[int, int], dict[str, Any] | None], volumes: Any
) -> None:
    alone = pod(0, 1)
    assert [pod(index, 3) for index in (2, 0)] == [None, None], "others still measure"
    shared = pod(1, 3)

    assert told(shared) == told(alone)
    assert len(told(shared)[0]) >= 4
    reports = [
        json.loads(next((volumes.root / "artifacts/shared").glob(f"evaluate-{pods:064x}/report.json")).read_text())
        for pods in (1, 3)
    ]
    assert [one for one in reports[0]["scores"] if one["suite"] == "heldout"] == [
        one for one in reports[1]["scores"] if one["suite"] == "heldout"
    ]
    lines = [
        (volumes.root / f"artifacts/shared/evaluate-{pods:064x}/examples.jsonl").read_text().splitlines()
        for pods in (1, 3)
    ]
    answers = [[line for line in of if json.loads(line)["suite"] == "heldout"] for of in lines]
    assert len(answers[0]) == 90
    assert answers[0] == answers[1]
    assert pod(0, 3) == shared, "a pod that is started again when all is done says the same"
