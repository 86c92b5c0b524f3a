"""What a sweep in pieces comes to."""

import json
from pathlib import Path
from typing import Any

import pytest
from faults.harness import report


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_told", {})
    monkeypatch.setattr(report, "_lines", [])


def tells(monkeypatch: pytest.MonkeyPatch, path: Path, test: str, *found: Any) -> list[dict[str, Any]]:
    """One run of one test, and what the file says then."""
    monkeypatch.setattr(report, "_told", {})
    monkeypatch.setenv("PYTEST_CURRENT_TEST", f"{test} (call)")
    for one in found:
        report.record(*one)
    report.write(path)
    return json.loads(path.read_text())


def test_the_points_of_all_tests_are_summed_with_those_not_met_and_the_worst_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "faults.json"
    tells(monkeypatch, path, "test_a", ("R10 x", 5, 0, 2.0), ("R2 y", 1, 0))
    assert tells(monkeypatch, path, "test_b", ("R2 y", 3, 1, 7.04, 1)) == [
        {"fault": "R2 y", "points": 4, "met": 3, "violations": 1, "worstRecoverySeconds": 7.0},
        {"fault": "R10 x", "points": 5, "met": 5, "violations": 0, "worstRecoverySeconds": 2.0},
    ]


def test_a_test_that_is_run_again_takes_its_old_place_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    tells(monkeypatch, path, "test_a[R2-user-error]", ("R2 y", 30, 7, 9.0))
    tells(monkeypatch, path, "test_a[R2-promotion]", ("R2 y", 50, 0, 3.0))
    assert tells(monkeypatch, path, "test_a[R2-user-error]", ("R2 y", 30, 0, 4.0)) == [
        {"fault": "R2 y", "points": 80, "met": 80, "violations": 0, "worstRecoverySeconds": 4.0}
    ]


def test_a_run_that_told_nothing_leaves_the_file_alone(tmp_path: Path) -> None:
    report.write(tmp_path / "faults.json")
    assert not list(tmp_path.iterdir())
