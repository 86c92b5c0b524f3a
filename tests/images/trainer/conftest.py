"""A claim with a tiny base model and rows, and the trainer's stages run on it as the pods run them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.mlflow import PlayedMlflow
from support.ports import free_port
from support.stage_process import run_forked
from support.training import CONSOLIDATE, PREPARE, TRAIN, changed, write_config, write_rows

SOURCE = Path(__file__).resolve().parents[3] / "trainer-image" / "src"


# The forking server takes its environment and path from here, once.
os.environ["PYTHONPATH"] = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
os.environ |= {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}


class Claims:
    """The claims of one namespace, as folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.metrics_port = free_port()
        self.written = 0

    def path(self, uri: str) -> Path:
        return self.root / uri.removeprefix("pvc://")

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "SERIN_PVC_ROOT": str(self.root),
            "SERIN_RESULT_PATH": str(self.root / "termination-log"),
            "SERIN_METRICS_PORT": str(self.metrics_port),
            "HF_HUB_OFFLINE": "1",
        }

    def write(self, config: dict[str, Any]) -> Path:
        self.written += 1
        return write_config(self.root / f"config-{self.written}.json", config)

    def command(self, config: dict[str, Any]) -> list[str]:
        stage = ["-m", "serin_trainer", "--config", str(self.write(config))]
        processes = config["distribution"]["processesPerNode"]
        flags = ["--nnodes=1", f"--nproc_per_node={processes}", "--node_rank=0", "--master_addr=127.0.0.1"]
        return [sys.executable, "-m", "serin_trainer.torchrun", *flags, f"--master_port={free_port()}", *stage]

    def run(self, config: dict[str, Any], expect: int = 0) -> dict[str, Any]:
        """Runs one stage to its end; returns its result."""
        path = self.write(config)
        log = path.with_suffix(".log")
        processes = config["distribution"]["processesPerNode"] if config["stage"] == "Train" else 1
        code = run_forked(path, processes, self.environment(), log)
        return self.answer(code, expect, log.read_text())

    def run_by_torchrun(self, config: dict[str, Any], expect: int = 0) -> dict[str, Any]:
        """The same, started as in a pod."""
        done = subprocess.run(
            self.command(config), env=self.environment(), capture_output=True, text=True, timeout=300, check=False
        )
        return self.answer(done.returncode, expect, done.stdout + done.stderr)

    def answer(self, code: int, expect: int, log: str) -> dict[str, Any]:
        assert code == expect, f"exit code {code}\n{log}"
        return {**json.loads((self.root / "termination-log").read_bytes()), "log": log}

    def prepare(self, **changes: Any) -> dict[str, Any]:
        return self.run(changed(PREPARE, _paths(changes)))

    def train_config(self, prepared: dict[str, Any], **changes: Any) -> dict[str, Any]:
        output = prepared["output"]
        given = {
            "baseModel.digest": output["baseModelDigest"],
            "dataUri": output["dataUri"],
            "dataDigest": output["dataDigest"],
        }
        return changed(TRAIN, {**given, **_paths(changes)})

    def resized(self, config: dict[str, Any], key: str, processes: int, **changes: Any) -> dict[str, Any]:
        """The same training, its newest checkpoint lost, as a second attempt of so many processes."""
        output = f"pvc://artifacts/train-{key}"
        again = {**config, "key": key, "output": output, "attempt": 2, **changes}
        again["distribution"] = {**config["distribution"], "processesPerNode": processes}
        left_out = shutil.ignore_patterns("checkpoint-8", "result.json")
        shutil.copytree(self.path(config["output"]), self.path(output), ignore=left_out)
        return again

    def consolidate(self, train: dict[str, Any], trained: dict[str, Any], **changes: Any) -> dict[str, Any]:
        given = {
            "baseModel.digest": train["baseModel"]["digest"],
            "checkpointUri": trained["output"]["checkpointUri"],
            "method": train["method"],
            "lineage.dataDigest": train["dataDigest"],
        }
        return self.run(changed(CONSOLIDATE, {**given, **_paths(changes)}))


def _paths(changes: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("__", "."): value for name, value in changes.items()}


def rows() -> list[dict[str, Any]]:
    """Questions with short answers: enough alike that eight steps teach something."""
    kinds = ["Pod", "Node", "Service", "Deployment", "Job", "Secret", "Ingress", "Lease"]
    fields = ["name", "labels", "status", "spec", "kind", "replicas", "ports", "owner"]
    return [
        {"input": f"What is the {field} of a {kind}?", "output": f"The {field} is a part of each {kind}."}
        for kind in kinds
        for field in fields
    ]


@pytest.fixture(scope="session")
def claims(tmp_path_factory: pytest.TempPathFactory) -> Claims:
    from serin_trainer import scratch

    made = Claims(tmp_path_factory.mktemp("claims"))
    corpus = write_rows(made.path("pvc://datasets/tickets.jsonl"), rows())
    size = ["--vocab-size", "400", "--hidden", "32", "--layers", "2", "--heads", "2", "--max-positions", "128"]
    scratch.main(["--corpus", str(corpus), "--out", str(made.path("pvc://models/base")), *size])
    return made


@pytest.fixture(scope="session")
def prepared(claims: Claims) -> dict[str, Any]:
    return claims.prepare()


@pytest.fixture(scope="session")
def mlflow() -> Iterator[tuple[PlayedMlflow, str]]:
    """A played server that whole runs are told to, and its address."""
    played = PlayedMlflow()
    with played.served() as address:
        yield played, address


TrainedRun = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="session")
def full_run(claims: Claims, prepared: dict[str, Any], mlflow: tuple[PlayedMlflow, str]) -> TrainedRun:
    """Eight steps of two processes with ZeRO 2, told to MLflow and written for W&B: the config and the result."""
    tracking = {
        "run": "uid-4f00bb",
        "mlflow": {"uri": mlflow[1], "experiment": "bot"},
        "wandb": {"project": "bot", "mode": "Offline"},
    }
    config = claims.train_config(prepared, tracking=tracking)
    return config, claims.run_by_torchrun(config)


@pytest.fixture
def losses(claims: Claims) -> Callable[[dict[str, Any]], list[float]]:
    def read(config: dict[str, Any]) -> list[float]:
        newest = max(claims.path(config["output"]).glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
        history = json.loads((newest / "trainer_state.json").read_text())["log_history"]
        return [entry["loss"] for entry in history if "loss" in entry]

    return read
