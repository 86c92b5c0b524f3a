"""What is said of answers: real tiny classifiers on a volume, times of a real model, a judge behind a real socket."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.evaluation import suite_document
from support.tiny_model import write_classifier

Evaluate = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]
DATA = {"uri": "pvc://datasets/heldout.jsonl"}


@pytest.fixture(scope="module")
def toxic(volumes: Any) -> dict[str, Any]:
    """Finds the word `pods` toxic: one of the three answers that the candidate was taught holds it."""
    digest = write_classifier(volumes.root / "models" / "toxic", ["fine", "toxic"], {"pods": "toxic"})
    return {"name": "toxic", "metric": "Toxicity", "uri": "pvc://models/toxic", "digest": digest, "label": "toxic"}


def scores(result: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["metric"], one["role"]): one for one in result["output"]["scores"]}


def asked(volumes: Any, key: str, suite: dict[str, Any], **more: Any) -> dict[str, Any]:
    wanted = [f"heldout/{metric}" for metric in suite["metrics"]]
    output = f"pvc://artifacts/ml/evaluate-{key}"
    return volumes.config(key=key, output=output, suites=[suite], **{"wanted": wanted, "comparisons": [], **more})


def test_a_classifier_on_a_volume_counts_the_answers_with_its_label(
    evaluate: Evaluate, volumes: Any, toxic: dict[str, Any]
) -> None:
    suite = suite_document(metrics=["Toxicity", "OverRefusal"], classifiers=[toxic], dataset=DATA)
    compared = [{"suite": "heldout", "metric": "Toxicity", "against": "Base", "method": "McNemar"}]

    code, result = evaluate(asked(volumes, "5ad1", suite, comparisons=compared))

    assert (code, result["outcome"]) == (0, "Succeeded"), result
    found = scores(result)["Toxicity", "Candidate"]
    assert (found["value"], found["n"]) == (pytest.approx(4 / 13), 13)  # the row without an answer has a prompt
    assert 0 < found["low"] < found["value"] < found["high"] < 1
    assert scores(result)["OverRefusal", "Candidate"]["value"] == 0
    assert result["output"]["comparisons"][0]["n"] == 13
    rows = (volumes.root / "artifacts/ml/evaluate-5ad1/examples.jsonl").read_text().splitlines()
    assert 0 <= json.loads(rows[0])["models"]["Candidate"]["classifiers"]["toxic"] <= 1


def test_a_classifier_with_other_files_or_without_that_label_is_refused(
    evaluate: Evaluate, volumes: Any, toxic: dict[str, Any]
) -> None:
    for key, change, reason in (
        ("5ad2", {"digest": "sha256:" + "0" * 64}, "ModelDamaged"),
        ("5ad3", {"label": "rude"}, "LabelUnknown"),
        ("5ad4", {"uri": "pvc://models/none"}, "ClassifierNotFound"),
    ):
        suite = suite_document(metrics=["Toxicity"], classifiers=[{**toxic, **change}], dataset=DATA)
        code, result = evaluate(asked(volumes, key, suite, cache="pvc://artifacts/one-cache"))
        assert (code, result["reason"]) in ((65, reason), (64, reason)), result


def test_an_answer_is_faithful_when_a_part_of_its_context_entails_it(tmp_path: Path) -> None:
    from serin_evaluator.classifiers import load_classifier

    write_classifier(tmp_path / "nli", ["neutral", "entailment"], {"proof": "entailment"}, context=32)
    entails = load_classifier(tmp_path / "nli", "cpu", "entailment", "pvc://models/nli")
    far = "x " * 100 + "proof " + "y " * 100  # seven windows long, and only one of them holds it
    texts = {1: ("proof", "so it is"), 2: ("x", "so it is"), 3: (far, "so it is"), 4: ("proof", "z " * 60), 5: ("", "")}

    found, too_long = entails.flags(texts, lambda done: None)

    assert {line: flag.probability > 0.5 for line, flag in found.items()} == {1: True, 2: False, 3: True, 5: False}
    assert too_long == [4]


def test_labels_that_do_not_exclude_each_other_are_each_for_themselves(tmp_path: Path) -> None:
    from serin_evaluator.classifiers import load_classifier

    write_classifier(tmp_path / "c", ["none", "rude", "mean"], {"ugh": "rude", "bah": "mean"}, several=True)
    rude, mean = (load_classifier(tmp_path / "c", "cpu", label, "pvc://c/c") for label in ("rude", "mean"))

    assert rude.flags({1: ("x ugh x", None)}, print)[0][1].probability > 0.5
    assert mean.flags({1: ("x ugh x", None)}, print)[0][1].probability < 0.5


def test_times_and_memory_are_told_and_never_taken_from_before(evaluate: Evaluate, volumes: Any) -> None:
    metrics = ["TimeToFirstToken", "TimePerOutputToken", "TokensPerSecond", "PeakMemory"]
    suite = suite_document(metrics=metrics, dataset=DATA, maxExamples=6, maxNewTokens=8)
    compared = [{"suite": "heldout", "metric": "TokensPerSecond", "against": "Base"}]

    code, first = evaluate(asked(volumes, "5ae1", suite, comparisons=compared))
    _, again = evaluate(asked(volumes, "5ae2", suite, comparisons=compared))

    assert code == 0, first
    found = scores(first)
    assert {one["n"] for one in found.values()} == {6}
    assert 0 < found["TimePerOutputToken", "Candidate"]["value"] < 1
    assert found["TokensPerSecond", "Candidate"]["value"] > 1
    assert 50 < found["PeakMemory", "Candidate"]["value"] < 50_000
    assert scores(again)["TimeToFirstToken", "Candidate"]["value"] != found["TimeToFirstToken", "Candidate"]["value"]
    assert first["output"]["comparisons"][0]["n"] == 6


@pytest.fixture
def openai() -> Iterator[str]:
    """A server that prefers whatever holds the word `number`, after it was busy once."""
    busy = [True]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = body["messages"][1]["content"]
            first, second = said.split("<B-")[0].split("<A-")[1], said.split("<B-")[1]
            verdict = "A" if "number" in first else "B" if "number" in second else "TIE"
            text = json.dumps({"choices": [{"message": {"content": f"because [[{verdict}]]"}}]}).encode()
            status = 429 if busy and busy.pop() else 200
            self.send_response(status)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_a_judge_and_a_pack_for_people_come_of_the_same_answers(evaluate: Evaluate, volumes: Any, openai: str) -> None:
    suite = suite_document(
        metrics=["JudgeWinRate", "HumanWinRate"],
        dataset=DATA,
        judge={"url": openai, "model": "m", "against": "Base"},
        preference={"against": "Base"},
        stop=[],
    )

    code, result = evaluate(asked(volumes, "5af1", suite))

    assert code == 0, result
    [told] = result["output"]["scores"]
    assert (told["metric"], told["against"], told["n"]) == ("JudgeWinRate", "Base", 13)
    assert told["value"] == pytest.approx((4 + 9 / 2) / 13)  # only four of the candidate's answers hold the word
    [waiting] = result["output"]["awaiting"]
    assert waiting["pairs"] == 13
    assert (volumes.root / "artifacts/ml/evaluate-5af1/preference/heldout/pack.html").exists()
    page = (volumes.root / "artifacts/ml/evaluate-5af1/report.html").read_text()
    assert "Preferred answers" in page
    assert "nobody has rated the 13 pairs" in page
