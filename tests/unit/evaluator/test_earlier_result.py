"""A result that lies on the volume already: taken where people are trusted with it, and not where a policy is enforced."""

from pathlib import Path

import pytest
from serin_evaluator.errors import DataError
from serin_evaluator.evaluate import evaluate
from serin_evaluator.result import Result
from support.evaluation import config


def test_an_earlier_result_is_taken_and_without_a_cache_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERIN_PVC_ROOT", str(tmp_path))
    asked = config()
    forged = Result(key=asked.key, outcome="Succeeded", reason="Succeeded", message="all is well")
    folder = tmp_path / asked.output.removeprefix("pvc://")
    folder.mkdir(parents=True)
    (folder / "result.json").write_bytes(forged.encoded())

    assert evaluate(asked) == forged
    with pytest.raises(DataError, match="cannot be read"):
        evaluate(config(cache=None))
