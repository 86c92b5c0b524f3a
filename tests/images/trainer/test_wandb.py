"""W&B's own client, led by the trainer: against a played server, and into files that its own `wandb sync` reads."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from serin_trainer import weights_and_biases
from serin_trainer.config import Authority, Wandb
from serin_trainer.telling import NotTold
from serin_trainer.tracking import Point
from serin_trainer.weights_and_biases import Server
from support.event_files import curves
from support.tls import AUTHORITY, STRANGER, mount, server_context
from support.wandb import PlayedWandb

KEY = "0123456789" * 4
RUN, NAME = "uid-4f00bb", "support-bot-4f00bb"
PARAMS = {"hyperparameters.learningRate": "5e-3", "method.type": "Full"}


def wish(address: str) -> Wandb:
    """Online at a server whose certificate is of an authority of its own."""
    ours = Authority(kind="ConfigMap", name="ours", key="ca.crt")
    return Wandb(project="bot", mode="Online", base_url=address, secret="wandb", ca_ref=ours)


@pytest.fixture(autouse=True)
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the kubelet makes of the job's Secret and ConfigMap."""
    root = tmp_path / "authorities"
    monkeypatch.setenv("SERIN_SECRET_WANDB__WANDB_API_KEY", KEY)
    monkeypatch.setenv("SERIN_AUTHORITY_ROOT", str(root))
    mount(root, "ConfigMap", "ours", AUTHORITY.read_bytes())
    return root


def synced(files: Path, home: Path) -> PlayedWandb:
    """What a server has once `wandb sync` has brought it the files."""
    played = PlayedWandb()
    folders = [str(path) for path in files.glob("offline-run-*")]
    with played.served() as address:
        login = {"WANDB_BASE_URL": address, "WANDB_API_KEY": KEY, "WANDB_ERROR_REPORTING": "false", "HOME": str(home)}
        done = subprocess.run(
            [sys.executable, "-m", "wandb", "sync", *folders], cwd=home,
            env={**os.environ, **login}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return played


@pytest.mark.parametrize("which", ["in one attempt", "resumed"])
def test_wandb_sync_reads_from_the_files_of_a_run_what_tensorboard_shows(
    claims: Any, full_run: Any, tmp_path: Path, which: str
) -> None:
    config, result = full_run
    files = claims.path(config["output"]) / "wandb"
    assert result["output"]["wandbUri"] == f"{config['output']}/wandb"
    assert f"files for wandb sync: {result['output']['wandbUri']}" in result["log"]
    assert result["output"]["warnings"] == []
    if which == "resumed":
        server = Server(Wandb(project="bot", mode="Offline"), files)
        run = server.open(RUN, NAME, time.time(), PARAMS, {"serin.attempt": "2"})
        drawn = curves(claims.path(result["output"]["tensorboardUri"]))
        server.log(run, [Point(step, 1.0, {"loss": loss}) for step, loss in drawn["loss"]])
        server.end(run, "FINISHED", time.time())
    run = synced(files, tmp_path).run
    drawn = curves(claims.path(result["output"]["tensorboardUri"]))
    names = ["loss"] if which == "resumed" else list(drawn)
    assert {name: run.curve(name) for name in names} == {
        name: [(step, pytest.approx(value)) for step, value in drawn[name]] for name in names
    }
    assert (run.name, run.project, run.exit_code) == (NAME, "bot", 0)
    assert run.config["hyperparameters.learningRate"] == 0.005


def test_both_attempts_are_one_run_with_each_step_once(tmp_path: Path) -> None:
    played = PlayedWandb()
    with played.served(server_context()) as address:
        for attempt, done, status in (("1", range(1, 6), None), ("2", range(1, 9), "FINISHED")):
            server = Server(wish(address), tmp_path / "wandb")
            run = server.open(RUN, NAME, time.time(), PARAMS, {"serin.attempt": attempt})
            server.log(run, [Point(step, time.time(), {"loss": 1.0 / step}) for step in done])
            server.log(run, [Point(done[-1], time.time(), {"eval_loss": 0.5})])
            server.end(run, status, time.time())
            assert played.run.preempting
            assert played.run.exit_code == (1 if status is None else 0)
        assert run.page == f"{address}/me/bot/runs/{RUN}"
        assert run.first == 6
    assert played.run.curve("loss") == [(step, pytest.approx(1.0 / step)) for step in range(1, 9)]
    assert played.run.curve("eval_loss") == [(5, 0.5), (8, 0.5)]
    assert played.run.config["serin.attempt"] == 2
    login = base64.b64encode(f"api:{KEY}".encode()).decode()
    assert {one["authorization"] for one in played.headers if "authorization" in one} == {f"Basic {login}"}
    assert not (tmp_path / "wandb").exists()


def test_a_server_that_is_away_is_told_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_and_biases, "INIT_SECONDS", 2.0)
    played = PlayedWandb()
    played.away = True
    with played.served(server_context()) as address, pytest.raises(NotTold, match="deadline exceeded"):
        Server(wish(address), tmp_path / "wandb").open(RUN, NAME, time.time(), PARAMS, {})


def test_a_server_whose_authority_is_another_is_told_nothing(
    tmp_path: Path, mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount(mounted, "ConfigMap", "ours", STRANGER.read_bytes())
    monkeypatch.setattr(weights_and_biases, "INIT_SECONDS", 10.0)  # time enough to meet the certificate
    played = PlayedWandb()
    with (
        played.served(server_context()) as address,
        pytest.raises(NotTold, match="certificate signed by unknown authority"),
    ):
        Server(wish(address), tmp_path / "wandb").open(RUN, NAME, time.time(), PARAMS, {})
    assert (played.runs, played.calls) == ({}, [])
