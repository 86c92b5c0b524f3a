"""Real server processes on loopback, with real (tiny) models."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.ports import free_port
from support.tiny_model import SENTENCES, write_model

START_SECONDS = 240
"""Importing torch on two busy cores takes its time."""


@dataclass
class Server:
    """A server process and a client for it."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def wait_until_healthy(self) -> None:
        """Wait until /health says so."""
        end = time.monotonic() + START_SECONDS
        while True:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            try:
                assert self.client.get("/health").status_code == 200, self.log.read_text()
                return
            except httpx.TransportError:
                time.sleep(0.2)

    def ended(self) -> int:
        """The exit code, once the process has ended; one that does not end is made to say what it is doing."""
        try:
            return self.process.wait(90)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # PYTHONFAULTHANDLER prints every thread's trace
            self.process.wait(10)
            pytest.fail(self.log.read_text())

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name and these labels."""
        from prometheus_client.parser import text_string_to_metric_families

        families = text_string_to_metric_families(self.client.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(one.value for one in samples if labels.items() <= one.labels.items())


@dataclass(frozen=True)
class Models:
    """Where the models lie, and their digests by name."""

    root: Path
    digests: dict[str, str]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    root = tmp_path_factory.mktemp("pvc")
    chats = [f"<|user|>{asked}<|end|><|assistant|>{said}" for asked, said in map(question_and_answer, SENTENCES)]
    digests = {
        "taught": write_model(root / "artifacts" / "taught", chat=True, texts=[*SENTENCES, *chats]),
        "babbler": write_model(root / "artifacts" / "babbler", context=4096),
    }
    return Models(root, digests)


def question_and_answer(sentence: str) -> tuple[str, str]:
    """The two lines of a sentence that the model was taught."""
    question, answer = sentence.strip().split("\n")
    return question, answer


Start = Callable[..., Server]
Config = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def config(models: Models) -> Config:
    """What the operator gives a server of a model."""

    def made(model: str, **changes: Any) -> dict[str, Any]:
        return {
            "stage": "Serve",
            "key": "3f9c",
            "job": {"namespace": "ml", "name": "support-bot"},
            "output": "",
            "model": {"uri": f"pvc://artifacts/{model}", "digest": models.digests[model], "name": "support-bot"},
            "revision": f"support-bot-{model}",
            "port": free_port(),
            "maxNewTokens": 64,
            "maxQueue": 64,
            "feedbackKey": "ab" * 32,
            **changes,
        }

    return made


@pytest.fixture(scope="session")
def start(models: Models, config: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a server of a model; all are ended at last."""
    started: list[Server] = []

    def start_one(model: str, environment: dict[str, str] | None = None, **changes: Any) -> Server:
        folder = tmp_path_factory.mktemp("server")
        given = config(model, **changes)
        (folder / "config.json").write_text(json.dumps(given))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "serin_server", "--config", str(folder / "config.json")],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "PYTHONFAULTHANDLER": "1",
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    "SERIN_PVC_ROOT": str(models.root),
                    "SERIN_RESULT_PATH": str(folder / "termination-log"),
                    **(environment or {}),
                },
            )
        server = Server(process, f"http://127.0.0.1:{given['port']}", folder / "log")
        started.append(server)
        return server

    yield start_one
    for server in started:
        server.client.close()
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


@pytest.fixture(scope="session")
def server(start: Start) -> Server:
    """A server of the model that was taught its answers."""
    made = start("taught")
    made.wait_until_healthy()
    return made


@pytest.fixture(scope="session")
def babbler(start: Start) -> Server:
    """A server of a model that never comes to an end, with a queue of one."""
    made = start("babbler", environment={"SERIN_DRAIN_SECONDS": "10"}, maxQueue=1, maxNewTokens=1000)
    made.wait_until_healthy()
    return made
