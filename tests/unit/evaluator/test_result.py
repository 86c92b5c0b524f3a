"""The result always fits into the termination message, and is never half written."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serin_evaluator.config import Method, Metric, Role
from serin_evaluator.result import LIMIT_BYTES, Difference, Output, Result, Score, finished, write_atomically


def score(suite: str, role: Role = Role.CANDIDATE) -> Score:
    return Score(
        suite=suite, metric=Metric.ROUGE_L, role=role, value=0.412345, n=60, stderr=0.0123456, low=0.38, high=0.44
    )


def difference(suite: str) -> Difference:
    return Difference(
        suite=suite,
        metric=Metric.ROUGE_L,
        against=Role.BASE,
        method=Method.PAIRED_BOOTSTRAP,
        difference=0.3,
        n=60,
        stderr=0.05,
        low=0.2,
        high=0.4,
        curve=tuple(0.123456 + 0.03 * place for place in range(13)),
    )


def result(scores: int, comparisons: int = 0, message: str = "Measured.", advice: str = "") -> Result:
    return Result(
        key="3f9c",
        outcome="Succeeded",
        reason="Succeeded",
        message=message,
        advice=advice,
        output=Output(
            report_uri="pvc://artifacts/ml/support-bot/evaluate-3f9c/report.json",
            scores=tuple(score(f"suite-{index}") for index in range(scores)),
            comparisons=tuple(difference(f"suite-{index}") for index in range(comparisons)),
        ),
    )


def test_a_usual_result_is_told_whole_and_with_the_contracts_names() -> None:
    document = json.loads(result(2, 1).encoded())

    assert [one["suite"] for one in document["output"]["scores"]] == ["suite-0", "suite-1"]
    assert document["output"]["comparisons"][0]["method"] == "PairedBootstrap"
    assert document["output"]["reportUri"].endswith("report.json")


@settings(deadline=None)  # a busy machine is not a slow encoder
@given(
    scores=st.integers(0, 80),
    comparisons=st.integers(0, 60),
    message=st.text(max_size=6000),
    advice=st.text(max_size=3000),
)
def test_it_never_exceeds_the_limit_and_stays_json(scores: int, comparisons: int, message: str, advice: str) -> None:
    encoded = result(scores, comparisons, message, advice).encoded()

    assert len(encoded) <= LIMIT_BYTES
    assert Result.model_validate_json(encoded).outcome == "Succeeded"


def test_what_does_not_fit_is_left_out_from_the_end_and_said() -> None:
    document = json.loads(result(60, 3).encoded())

    kept = [one["suite"] for one in document["output"]["scores"]]
    assert kept == [f"suite-{index}" for index in range(len(kept))]
    assert len(kept) > 10
    assert len(document["output"]["comparisons"]) == 3
    assert "the report has them all" in document["message"]


def test_only_a_successful_result_of_the_same_key_counts_as_finished(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    assert finished(tmp_path, "3f9c") is None

    path.write_bytes(result(1).encoded())
    assert finished(tmp_path, "3f9c") is not None
    assert finished(tmp_path, "aaaa") is None

    path.write_bytes(Result(key="3f9c", outcome="Failed", reason="DatasetNotFound", message="no").encoded())
    assert finished(tmp_path, "3f9c") is None

    path.write_bytes(result(1).encoded()[:-5])
    assert finished(tmp_path, "3f9c") is None


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "report.json"
    write_atomically(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")

    assert path.read_bytes() == b"old"
