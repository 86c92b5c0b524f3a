"""The table and build/demo.json."""

import json
from typing import Any

from serin_demo import plan
from serin_demo.breach import Breach
from serin_demo.report import WIDTH, as_json, story_document, table
from serin_demo.shares import Share
from serin_demo.stories import Record
from serin_demo.weights import Weight

FORMAT = {
    "name": str,
    "outcome": str,
    "stages": list,
    "scores": dict,
    "weights": list,
    "clientRequests": int,
    "clientFailures": int,
}


def stage(name: str, seconds: int, **output: Any) -> dict[str, Any]:
    times = {
        "startedAt": "2030-01-01T00:00:00Z",
        "finishedAt": f"2030-01-01T00:{seconds // 60:02d}:{seconds % 60:02d}Z",
    }
    return {"name": name, "outcome": "Succeeded", "output": output, **times}


def a_record(story: plan.Story = plan.CITIZEN) -> Record:
    score = {
        "suite": "heldout",
        "metric": "RougeL",
        "role": "Candidate",
        "value": 0.41,
        "n": 80,
        "low": 0.35,
        "high": 0.47,
    }
    comparison = {"suite": "heldout", "metric": "RougeL", "against": "Base", "difference": 0.3, "low": 0.2, "high": 0.4}
    stages = [
        stage("Prepare", 4),
        stage("Train", 75, trainLossFirst=8.3, trainLossLast=3.1, worldSize=2, zeroStage=2),
        stage("Evaluate", 20, scores=[score], comparisons=[comparison]),
    ]
    gate = {"verdict": "Passed", "message": "heldout/RougeL 0.41 is at least 0.25 " * 6}
    rejection = {"at": "2030-01-01T00:02:12Z", "message": "tokens-per-answer 195 is above 100"}
    record = Record(story, 1893456000.0, outcome=story.outcome)
    record.job = {"status": {"stages": stages, "gate": gate}}
    record.revision = {"metadata": {"name": "api-helper-1"}, "status": {"rollout": {"rejection": rejection}}}
    record.weights = [Weight(1893456000.0, 0), Weight(1893456120.0, 10), Weight(1893456133.5, 0)]
    record.requests = [{"at": 1.0, "status": 200, "revision": "a"}, {"at": 2.0, "status": 503, "revision": ""}]
    record.shares = [Share(10, 40, 5, 0.6)]
    record.breach, record.seconds_to_weight_zero = Breach("tokens-per-answer", 1893456130.0, 195.0), 3.5
    return record


def test_the_document_has_the_promised_fields_and_no_others() -> None:
    document = story_document(a_record())
    assert {name: type(value) for name, value in document.items()} == FORMAT | {"secondsToWeightZero": float}


def test_a_story_without_a_rollback_has_no_time_to_weight_zero() -> None:
    record = a_record(plan.GOOD)
    record.seconds_to_weight_zero = None
    assert {name: type(value) for name, value in story_document(record).items()} == FORMAT


def test_stages_weights_and_scores_are_told_in_numbers() -> None:
    document = json.loads(as_json([a_record()]))["stories"][0]
    assert document["stages"][1] == {"name": "Train", "seconds": 75.0}
    assert document["stages"][-1] == {"name": "Canary", "seconds": 12.0}
    assert document["weights"][1] == {"at": "2030-01-01T00:02:00.000Z", "percent": 10}
    assert document["scores"]["heldout/RougeL"]["candidate"]["value"] == 0.41
    assert document["scores"]["heldout/RougeL"]["againstBase"]["low"] == 0.2
    assert document["clientFailures"] == 1


def test_the_table_fits_its_width_and_says_what_matters() -> None:
    text = table([a_record()])
    assert max(len(line) for line in text.splitlines()) <= WIDTH
    for words in ("RolledBack", "8.30 -> 3.10", "10 % at 120 s", "2 requests, 1 failed", "3.5 s later", "is above 100"):
        assert words in text


def test_a_story_that_never_got_to_training_still_has_a_row() -> None:
    assert "Bad training" in table([Record(plan.BAD, 0.0, outcome="Rejected")])
