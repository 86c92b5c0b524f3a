"""A wrong config is refused before anything is loaded, with the field's name."""

import json
from pathlib import Path
from typing import Any

import pytest
from serin_evaluator.config import load
from serin_evaluator.errors import ConfigError
from support.evaluation import BASE, CANDIDATE, config_document, suite_document

BENCHMARK = {"tasks": ["arc_easy"], "uri": "pvc://benchmarks/tasks"}


def written(folder: Path, document: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(document))
    return path


def test_the_contracts_example_is_accepted(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, config_document()))

    assert loaded.suites[0].max_new_tokens == 48
    assert loaded.models[1].role == "Base"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"suites": [suite_document(metrics=["BERTScore"])]}, "suites.0.metrics.0", id="an unknown metric"),
        pytest.param({"models": [BASE]}, "no Candidate", id="no candidate"),
        pytest.param({"models": [CANDIDATE, CANDIDATE]}, "role Candidate is given more than once", id="two candidates"),
        pytest.param({"suites": [suite_document()] * 2}, "suite heldout is given more than once", id="one suite twice"),
        pytest.param({"suites": [suite_document(stop=[""])]}, "suites.0.stop.0", id="an empty stop string"),
        pytest.param({"suites": [suite_document(metrics=[])]}, "suites.0.metrics", id="a suite that measures nothing"),
        pytest.param(
            {"suites": [suite_document(benchmark=BENCHMARK)]},
            "either dataset or benchmark",
            id="rows beside a benchmark",
        ),
        pytest.param({"suites": [suite_document(dataset=None)]}, "either dataset or benchmark", id="neither of both"),
        pytest.param(
            {"suites": [suite_document(metrics=["MCC"])]}, "MCC is of benchmarks only", id="MCC of one's own rows"
        ),
        pytest.param(
            {"suites": [suite_document(dataset=None, benchmark=BENCHMARK)]},
            "Perplexity is not measured by benchmarks",
            id="a benchmark's perplexity per token",
        ),
        pytest.param(
            {"suites": [suite_document(dataset=None, benchmark=BENCHMARK, metrics=["Accuracy"])]},
            "fewShot and stop are not for benchmarks",
            id="stop strings of a benchmark",
        ),
        pytest.param({"suites": [suite_document(metrics=["ECE"])]}, "ECE needs choices", id="calibration of free text"),
        pytest.param(
            {"suites": [suite_document(metrics=["F1Macro"], choices={"field": "options"})]},
            "F1Macro needs choices.labels",
            id="labels that differ from row to row",
        ),
        pytest.param(
            {"suites": [suite_document(choices={"labels": ["a", " a"]})]}, "at least two labels", id="a label twice"
        ),
        pytest.param({"suites": [suite_document(choices={})]}, "either labels or field", id="choices of nothing"),
        pytest.param({"temperature": 1}, "temperature", id="an unknown field"),
        pytest.param({"stage": "Train"}, "stage", id="another stage's config"),
        pytest.param({"models": [{**CANDIDATE, "digest": "abc"}]}, "models.0.digest", id="no digest"),
        pytest.param({"output": "/etc"}, "output", id="a plain path"),
        pytest.param({"seed": -1}, "seed", id="a negative seed"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, config_document(**changes)))

    assert caught.value.exit_code == 64
    assert said in caught.value.message
    assert caught.value.message.count("\n") == 0


def test_what_is_not_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{")

    with pytest.raises(ConfigError, match="is not JSON"):
        load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.json")
