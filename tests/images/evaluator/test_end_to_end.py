"""The stage as the pod runs it: a taught candidate against its base."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.evaluation import suite_document

Evaluate = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]
ALL = ["RougeL", "ExactMatch", "Perplexity", "CrossEntropy", "TokenAccuracy"]


def of(result: dict[str, Any], metric: str, role: str) -> dict[str, Any]:
    return next(one for one in result["output"]["scores"] if (one["metric"], one["role"]) == (metric, role))


def compared(*metrics: str) -> list[dict[str, Any]]:
    return [{"suite": "heldout", "metric": metric, "against": "Base"} for metric in metrics]


@pytest.fixture(scope="module")
def measures_all() -> dict[str, Any]:
    return {
        "suites": [suite_document(metrics=ALL)],
        "wanted": [f"heldout/{metric}" for metric in ALL],
        "comparisons": compared("RougeL", "Perplexity"),
    }


def test_a_taught_candidate_beats_its_base(evaluate: Evaluate, volumes: Any, measures_all: dict[str, Any]) -> None:
    code, result = evaluate(volumes.config(key="a1", output="pvc://artifacts/ml/evaluate-a1", **measures_all))

    assert (code, result["outcome"]) == (0, "Succeeded"), result
    assert of(result, "RougeL", "Candidate")["value"] == 1.0
    assert of(result, "RougeL", "Base")["value"] < 0.3
    assert of(result, "ExactMatch", "Candidate")["n"] == 12
    assert of(result, "Perplexity", "Candidate")["value"] < 1.5 < of(result, "Perplexity", "Base")["value"]
    assert of(result, "TokenAccuracy", "Candidate")["value"] == 1.0
    seen = result["output"]["reference"]
    described = ("promptCharacters", "answerCharacters", "answerKinds", "promptLanguages", "answerLanguages")
    assert [sum(seen[one]) for one in described] == [12] * 5
    assert seen["answerKinds"][0] == 12  # all plain
    rouge, perplexity = result["output"]["comparisons"]
    assert rouge["low"] > 0
    assert perplexity["high"] < 0


def test_the_report_and_every_example_lie_beside_the_result(
    evaluate: Evaluate, volumes: Any, measures_all: dict[str, Any]
) -> None:
    _, result = evaluate(volumes.config(key="a2", output="pvc://artifacts/ml/evaluate-a2", **measures_all))

    folder = volumes.root / "artifacts" / "ml" / "evaluate-a2"
    report = json.loads((folder / "report.json").read_text())
    examples = [json.loads(line) for line in (folder / "examples.jsonl").read_text().splitlines()]
    assert result["output"]["reportUri"] == "pvc://artifacts/ml/evaluate-a2/report.json"
    assert json.loads((folder / "result.json").read_text()) == result
    assert (report["schemaVersion"], report["suites"][0]["withoutAnswer"]) == (2, 1)
    assert [model["digest"] for model in report["models"]] == [volumes.candidate, volumes.base]
    assert len(examples) == 12
    assert examples[0]["models"]["Candidate"]["text"] == examples[0]["answer"]
    assert examples[0]["models"]["Candidate"]["metrics"]["RougeL"] == 1.0


def test_a_choice_is_measured_with_its_calibration_and_by_slice(evaluate: Evaluate, volumes: Any) -> None:
    rows = [{"prompt": f"Is {index} even?", "completion": " yes" if index % 2 == 0 else " no", "options": ["yes", "no"],
             "language": "en" if index < 14 else "de"} for index in range(24)]  # fmt: skip
    (volumes.root / "datasets" / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite = suite_document(
        dataset={"uri": "pvc://datasets/quiz.jsonl"},
        metrics=["Accuracy", "Brier", "ECE"],
        choices={"field": "options"},
        slices=[{"field": "language"}],
    )
    asked = {
        "suites": [suite],
        "wanted": ["heldout/Accuracy", "heldout/ECE", "heldout/Accuracy@language=de"],
        "comparisons": compared("Brier"),
    }

    code, result = evaluate(volumes.config(key="c1", output="pvc://artifacts/ml/evaluate-c1", **asked))

    assert (code, result["outcome"]) == (0, "Succeeded"), result
    numbers = {(one["metric"], one["role"], bool(one.get("slice"))): one["n"] for one in result["output"]["scores"]}
    assert numbers["Accuracy", "Candidate", False] == numbers["ECE", "Candidate", False] == 24
    assert numbers["Accuracy", "Candidate", True] == 10
    assert result["output"]["comparisons"][0]["n"] == 24
    beside = volumes.root / "artifacts" / "ml" / "evaluate-c1"
    assert "Calibration" in (beside / "report.html").read_text()
    assert (beside / "junit.xml").exists()
    assert "| Accuracy |" in (beside / "model-card.md").read_text()


def test_what_was_measured_before_is_not_measured_again_and_torch_is_not_even_imported(
    evaluate: Evaluate, volumes: Any, measures_all: dict[str, Any], tmp_path: Path
) -> None:
    _, first = evaluate(volumes.config(key="a3", output="pvc://artifacts/ml/evaluate-a3", **measures_all))
    config = tmp_path / "again.json"
    config.write_text(json.dumps(volumes.config(key="a4", output="pvc://artifacts/ml/evaluate-a4", **measures_all)))
    program = (
        "import sys; from serin_evaluator.__main__ import main\n"
        f"assert main(['--config', {str(config)!r}]) == 0\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "SERIN_RESULT_PATH": str(tmp_path / "again")}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=300)

    again = json.loads((tmp_path / "again").read_text())
    assert again["output"]["scores"] == first["output"]["scores"]
    assert again["output"]["comparisons"] == first["output"]["comparisons"]


def test_measuring_anew_gives_the_same_report(evaluate: Evaluate, volumes: Any, measures_all: dict[str, Any]) -> None:
    reports = []
    for index, cache in enumerate(("pvc://artifacts/one", "pvc://artifacts/two")):
        output = f"pvc://artifacts/ml/{index}/evaluate-a5"
        evaluate(volumes.config(key="a5", output=output, cache=cache, **measures_all))
        text = (volumes.root / "artifacts" / "ml" / str(index) / "evaluate-a5" / "report.json").read_text()
        reports.append(text.replace(output, "here"))

    assert reports[0] == reports[1]


def test_the_same_key_again_is_the_same_result_without_any_work(evaluate: Evaluate, volumes: Any) -> None:
    config = volumes.config(key="a6", output="pvc://artifacts/ml/evaluate-a6")
    first = evaluate(config)
    report = volumes.root / "artifacts" / "ml" / "evaluate-a6" / "report.json"
    written = report.stat().st_mtime_ns

    assert evaluate({**config, "cache": "pvc://artifacts/elsewhere"}) == first
    assert report.stat().st_mtime_ns == written
    assert not (volumes.root / "artifacts" / "elsewhere").exists()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param("model.safetensors", "has SHA-256", id="weights"),
        pytest.param("tokenizer.json", "has SHA-256", id="tokenizer"),
        pytest.param("modeling_evil.py", "is not in the manifest", id="code"),
    ],
)
def test_a_touched_candidate_is_refused_before_it_is_measured(
    evaluate: Evaluate, volumes: Any, damage: str, said: str
) -> None:
    touched = volumes.root / "artifacts" / f"touched-{damage}"
    shutil.copytree(volumes.root / "artifacts" / "candidate", touched)
    with (touched / damage).open("ab") as file:
        file.write(b" ")
    model = {"role": "Candidate", "uri": f"pvc://artifacts/{touched.name}", "digest": volumes.candidate}

    code, result = evaluate(
        volumes.config(key="a7", output="pvc://artifacts/ml/evaluate-a7", cache="pvc://artifacts/c7", models=[model])
    )

    assert (code, result["reason"]) == (65, "ModelDamaged")
    assert said in result["message"]
    assert not (volumes.root / "artifacts" / "c7").exists()


def test_a_base_without_a_manifest_is_known_by_its_files(evaluate: Evaluate, volumes: Any) -> None:
    bare = volumes.root / "models" / "bare"
    shutil.copytree(volumes.root / "models" / "base", bare)
    (bare / "manifest.json").unlink()
    (bare / ".cache").mkdir()
    (bare / ".cache" / "left-by-a-tool").write_text("x")
    models = [volumes.config()["models"][0], {"role": "Base", "uri": "pvc://models/bare", "digest": volumes.base}]

    code, result = evaluate(
        volumes.config(key="a8", output="pvc://artifacts/ml/evaluate-a8", cache="pvc://artifacts/c8", models=models)
    )

    assert code == 0, result


def test_a_model_that_cannot_be_loaded_is_the_users_turn(evaluate: Evaluate, volumes: Any) -> None:
    from support.tiny_model import write_manifest

    broken = volumes.root / "artifacts" / "broken"
    shutil.copytree(volumes.root / "artifacts" / "candidate", broken)
    (broken / "model.safetensors").write_bytes(b"not tensors")
    model = {"role": "Candidate", "uri": "pvc://artifacts/broken", "digest": write_manifest(broken)}

    code, result = evaluate(volumes.config(key="a9", output="pvc://artifacts/ml/evaluate-a9", models=[model]))

    assert (code, result["reason"]) == (65, "ModelInvalid")


def test_prompts_that_leave_no_room_for_an_answer_are_counted(evaluate: Evaluate, volumes: Any) -> None:
    rows = [{"prompt": "x " * 400, "completion": "y"}, *({"prompt": f"a{i}", "completion": "b"} for i in range(3))]
    (volumes.root / "datasets" / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    suites = [suite_document(dataset={"uri": "pvc://datasets/long.jsonl"})]

    code, result = evaluate(volumes.config(key="b1", output="pvc://artifacts/ml/evaluate-b1", suites=suites))

    report = json.loads((volumes.root / "artifacts" / "ml" / "evaluate-b1" / "report.json").read_text())
    assert code == 0
    assert report["suites"][0]["tooLong"]["Candidate"] == {"likelihood": 1, "generation": 1}
    assert {one["n"] for one in result["output"]["scores"]} == {3}


def test_a_chat_row_needs_a_chat_template(evaluate: Evaluate, volumes: Any) -> None:
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    (volumes.root / "datasets" / "chat.jsonl").write_text(json.dumps(row) + "\n")
    suites = [suite_document(dataset={"uri": "pvc://datasets/chat.jsonl"})]

    code, result = evaluate(volumes.config(key="b2", output="pvc://artifacts/ml/evaluate-b2", suites=suites))

    assert (code, result["reason"]) == (65, "ChatTemplateMissing")
    beside = volumes.root / "artifacts" / "ml" / "evaluate-b2" / "result.json"
    assert json.loads(beside.read_text()) == result


def test_a_failure_is_tried_anew_once_its_cause_is_gone(evaluate: Evaluate, volumes: Any) -> None:
    suites = [suite_document(dataset={"uri": "pvc://datasets/late.jsonl"})]
    config = volumes.config(key="b3", output="pvc://artifacts/ml/evaluate-b3", suites=suites)
    assert evaluate(config)[1]["reason"] == "DatasetNotFound"

    shutil.copy(volumes.root / "datasets" / "heldout.jsonl", volumes.root / "datasets" / "late.jsonl")

    assert evaluate(config)[1]["outcome"] == "Succeeded"


def test_solved_examples_are_shown_to_all_models_and_kept_apart_from_a_suite_without(
    evaluate: Evaluate, volumes: Any
) -> None:
    rows = [{"prompt": f"Is {index} even?", "completion": " yes" if index % 2 == 0 else " no"} for index in range(16)]
    (volumes.root / "datasets" / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain = suite_document(
        name="plain", dataset={"uri": "pvc://datasets/sums.jsonl"}, metrics=["CrossEntropy"], maxExamples=12
    )
    suites = [plain, {**plain, "name": "few", "fewShot": {"examples": 3}}]

    code, result = evaluate(
        volumes.config(
            key="f1", output="pvc://artifacts/ml/evaluate-f1", suites=suites, comparisons=[],
            wanted=["plain/CrossEntropy", "few/CrossEntropy"],
        )
    )  # fmt: skip

    assert (code, result["outcome"]) == (0, "Succeeded"), result
    folder = volumes.root / "artifacts" / "ml" / "evaluate-f1"
    report = json.loads((folder / "report.json").read_text())
    examples = [json.loads(line) for line in (folder / "examples.jsonl").read_text().splitlines()]
    lines = {name: {one["line"] for one in examples if one["suite"] == name} for name in ("plain", "few")}
    assert lines["plain"] == lines["few"]
    assert [len(suite["shots"]) for suite in report["suites"]] == [0, 3]
    assert not lines["few"] & set(report["suites"][1]["shots"])
    without, shown = (one for one in result["output"]["scores"] if one["role"] == "Candidate")
    assert without["value"] != shown["value"]
