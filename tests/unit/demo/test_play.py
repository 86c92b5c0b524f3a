"""Deciding how a story ended, the client's script, progress, and the files that are applied."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from serin_demo import load, pods, staging
from serin_demo.plan import BASE, STORIES
from serin_demo.progress import Progress
from serin_demo.stories import manifests, outcome_of, settled

EXAMPLES = Path(__file__).parents[3] / "examples" / "quickstart"


@pytest.mark.parametrize(
    ("gate", "rollout", "want"),
    [
        pytest.param("", {}, "", id="not judged yet"),
        pytest.param("Inconclusive", {}, "", id="held"),
        pytest.param("Failed", {}, "Rejected", id="by the gate"),
        pytest.param("Passed", {}, "", id="on its way"),
        pytest.param("Passed", {"promotedAt": "2030-01-01T00:00:00Z"}, "Promoted", id="in"),
        pytest.param("Passed", {"rejection": {"reason": "SloBreached"}}, "RolledBack", id="out again"),
    ],
)
def test_the_outcome_is_read_from_verdict_and_rollout(gate: str, rollout: dict[str, Any], want: str) -> None:
    assert outcome_of({"status": {"gate": {"verdict": gate}}}, {"status": {"rollout": rollout}}) == want


def test_a_job_is_settled_only_when_its_own_generation_was_seen() -> None:
    assert settled({"metadata": {"generation": 2}, "status": {"observedGeneration": 2, "state": "RolledBack"}})
    assert not settled({"metadata": {"generation": 2}, "status": {"observedGeneration": 1, "state": "RolledBack"}})
    assert not settled({})


@pytest.mark.parametrize("story", [BASE, *STORIES], ids=lambda story: story.name)
def test_each_story_has_a_file_with_its_job(story: Any) -> None:
    (job,) = manifests(EXAMPLES / story.file, "" if story is BASE else "pvc://artifacts/demo/base/model-1")
    assert (job["kind"], job["metadata"]["name"]) == ("FineTuneJob", story.job)
    wanted = "pvc://models/scratch" if story is BASE else "pvc://artifacts/demo/base/model-1"
    assert job["spec"]["baseModel"]["uri"] == wanted


def test_no_example_names_an_image_or_a_namespace() -> None:
    for path in EXAMPLES.glob("*.yaml"):
        for found in yaml.safe_load_all(path.read_text()):
            assert "namespace" not in found["metadata"]
            assert "image:" not in path.read_text()


def test_the_demo_s_pods_keep_to_pod_security_restricted() -> None:
    for pod in (pods.loader("i", ("datasets",)), pods.client("i", "c", {}), pods.scratch("i", [])["spec"]["template"]):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["automountServiceAccountToken"] is False
        assert all(one["securityContext"]["capabilities"] == {"drop": ["ALL"]} for one in spec["containers"])


def test_files_travel_as_one_archive() -> None:
    assert b"line\n" in staging.archive({"a.jsonl": "line\n"})


def test_progress_names_the_step_what_comes_next_and_breaks_silence() -> None:
    now, out = [0.0], io.StringIO()
    progress = Progress(["first", "second"], out, lambda: now[0])
    progress.step("first")
    now[0] = 61.0
    progress.tell("half way")
    progress.tell("half way")
    progress.step("second")
    assert "step 1 of 2: first  (next: second)" in out.getvalue()
    assert out.getvalue().count("[01:01]   half way") == 1
    now[0] = 80.0
    assert progress.quiet_for() == 19.0


class Answering(BaseHTTPRequestHandler):
    """A server with one good and one bad model."""

    def do_POST(self) -> None:
        wish = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        good = wish["prompt"] == "good"
        body = {"choices": [{"finish_reason": "stop"}], "usage": {"completion_tokens": 9}} if good else {"error": "no"}
        self.send_response(200 if good else 503)
        self.send_header("x-serin-revision", "r1")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def target() -> Any:
    server = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield load.Target("127.0.0.1", server.server_port, "h", "m", 16, 60.0)
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_client_records_what_it_got(target: load.Target) -> None:
    record = load.ask(target, "good")
    assert (record["status"], record["revision"], record["tokens"], record["finish"]) == (200, "r1", 9, "stop")


def test_the_client_records_what_it_did_not_get(target: load.Target) -> None:
    assert load.ask(target, "bad")["status"] == 503
    unreachable = load.ask(load.Target("127.0.0.1", 9, "h", "m", 16, 1.0), "good")
    assert unreachable["status"] == 0
    assert "ConnectionRefusedError" in unreachable["error"]


def test_the_client_stops_when_told_and_prints_every_answer(
    target: load.Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(load, "STOP", tmp_path / "stop")
    monkeypatch.setattr(load, "RATE", tmp_path / "rate")
    (tmp_path / "rate").write_text("200")
    asked: list[str] = []

    def ask(target: load.Target, prompt: str) -> dict[str, Any]:
        asked.append(prompt)
        if len(asked) == 6:
            load.STOP.touch()
        return answer(target, prompt)

    answer = load.ask
    monkeypatch.setattr(load, "ask", ask)
    load.run(target, ["good"], rate=0.001, seed=1)
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(records) == len(asked) >= 6
    assert {record["status"] for record in records} == {200}
