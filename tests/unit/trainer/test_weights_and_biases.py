"""How W&B's client is led: a process of its own that may fail, hang or die, and what is told to it and asked of it.

The client here is a played one; the real one is led in tests/images/trainer/test_wandb.py.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import certifi
import pytest
import serin_trainer
from serin_trainer import weights_and_biases
from serin_trainer.config import Wandb
from serin_trainer.telling import NotTold
from serin_trainer.tracking import Point
from serin_trainer.weights_and_biases import Opened, Server

KEY = "k" * 40
ONLINE = Wandb(project="bot", entity="team-a", mode="Online", base_url="https://wandb.example.com", secret="wandb")
OFFLINE = Wandb(project="bot", mode="Offline")
POINTS = [Point(step, 100.0 + step, {"loss": 2.0 / step}) for step in (1, 2, 3)]

CLIENT = """
import json, os, pathlib, sys, time

HERE = pathlib.Path(__file__).parent

def note(what, **more):
    with (HERE / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps({"call": what, **more}) + "\\n")
    asked = json.loads((HERE / "behave.json").read_text()).get(what)
    if asked == "raise":
        raise RuntimeError("api_key not configured\\n(no-tty)")
    if asked == "die":
        os._exit(3)
    if asked == "hang":
        time.sleep(300)

def Settings(**given):
    return given

class Run:
    def __init__(self, given):
        name = f"offline-run-{os.getpid()}-{given['id']}" if given["mode"] == "offline" else "run"
        place = json.loads((HERE / "behave.json").read_text()).get("place") or given["dir"]
        self.folder = pathlib.Path(place) / "wandb" / name
        self.folder.mkdir(parents=True)
        (self.folder / "log").symlink_to(os.environ["HOME"] + "/log")
        self.settings = self
        self.sync_dir = str(self.folder)
        self.url = None if given["mode"] == "offline" else "https://wandb.example.com/page"
        self.starting_step = json.loads((HERE / "behave.json").read_text()).get("first", 0)

    def log(self, values, step):
        note("log", values=values, step=step)

    def mark_preempting(self):
        note("mark_preempting")

    def finish(self, exit_code):
        (self.folder.parent / "latest").symlink_to(self.folder)
        note("finish", exit_code=exit_code)

def init(**given):
    print("a word that nobody asked for", flush=True)
    print("another", file=sys.stderr, flush=True)
    note("init", **{**given, "environment": dict(os.environ), "pid": os.getpid()})
    return Run(given)
"""


class Client:
    """The played client: what it was told, and how it is to behave."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "wandb"
        self._folder.mkdir(parents=True)
        (self._folder / "__init__.py").write_text(CLIENT)
        self.behave()

    def behave(self, **how: Any) -> None:
        """`init="raise"`, `log="hang"`, `finish="die"`; `first` is the step that the server goes on at."""
        (self._folder / "behave.json").write_text(json.dumps(how))

    @property
    def calls(self) -> list[dict[str, Any]]:
        path = self._folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def of(self, call: str) -> list[dict[str, Any]]:
        return [one for one in self.calls if one["call"] == call]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    source = Path(serin_trainer.__file__).resolve().parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(source), str(tmp_path / "client")]))
    monkeypatch.setenv("SERIN_SECRET_WANDB__WANDB_API_KEY", KEY + "\n")
    monkeypatch.setenv("SERIN_SECRET_STORE__AWS_SECRET_ACCESS_KEY", "not for the client")
    return Client(tmp_path / "client")


def opened(server: Server) -> Opened:
    return server.open("uid-4f00bb", "bot-4f00bb", 100.0, {"rate": "5e-3", "rows": "8"}, {"serin.attempt": "2"})


def steps(client: Client) -> list[int]:
    return [call["step"] for call in client.of("log")]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_run_is_opened_told_and_ended(client: Client, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    server = Server(ONLINE, tmp_path / "wandb")
    run = opened(server)
    server.log(run, POINTS)
    server.end(run, "FINISHED", 200.0)
    [init] = client.of("init")
    wanted = {"id": "uid-4f00bb", "name": "bot-4f00bb", "project": "bot", "entity": "team-a", "resume": "allow"}
    assert wanted.items() <= init.items()
    assert init["config"] == {"rate": 0.005, "rows": 8, "serin.attempt": 2}
    assert [(one["step"], one["values"]) for one in client.of("log")] == [
        (step, {"loss": 2.0 / step, "_timestamp": 100.0 + step}) for step in (1, 2, 3)
    ]
    assert client.of("finish") == [{"call": "finish", "exit_code": 0}]
    assert run.page == "https://wandb.example.com/page"
    assert gone(init["pid"])
    assert capfd.readouterr() == ("", "")


def test_the_client_is_told_of_no_more_than_it_needs_and_writes_to_a_folder_that_goes_with_it(
    client: Client, tmp_path: Path
) -> None:
    server = Server(ONLINE, tmp_path / "wandb")
    run = opened(server)
    environment = client.of("init")[0]["environment"]
    home = environment["HOME"]
    assert environment["WANDB_API_KEY"] == KEY
    assert environment["WANDB_BASE_URL"] == "https://wandb.example.com"
    assert environment["WANDB_ERROR_REPORTING"] == "false"
    assert "not for the client" not in environment.values()
    assert environment["SSL_CERT_FILE"] == certifi.where()
    assert not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} & environment.keys()
    assert {environment[name].startswith(home) for name in environment if name.endswith("_DIR")} == {True}
    assert Path(home).is_dir()
    server.end(run, "FINISHED", 200.0)
    assert not Path(home).exists()
    assert not (tmp_path / "wandb").exists()


def test_nothing_but_the_curves_and_settings_is_collected(client: Client, tmp_path: Path) -> None:
    server = Server(ONLINE, tmp_path / "wandb")
    server.end(opened(server), "FINISHED", 200.0)
    settings = client.of("init")[0]["settings"]
    collecting = {name for name, value in settings.items() if value is True and "disable" in name}
    assert {"disable_code", "disable_git", "x_disable_meta", "x_disable_stats", "x_disable_machine_info"} <= collecting
    assert (settings["save_code"], settings["x_save_requirements"], settings["console"]) == (False, False, "off")


@pytest.mark.parametrize(("status", "calls"), [("FAILED", ["finish"]), (None, ["mark_preempting", "finish"])])
def test_what_has_not_gone_well_is_no_success_and_what_goes_on_later_is_preempted(
    client: Client, tmp_path: Path, status: str | None, calls: list[str]
) -> None:
    server = Server(ONLINE, tmp_path / "wandb")
    server.end(opened(server), status, 200.0)
    assert [one["call"] for one in client.calls[1:]] == calls
    assert client.calls[-1]["exit_code"] == 1


def test_what_the_server_has_is_not_told_again(client: Client, tmp_path: Path) -> None:
    client.behave(first=3)
    server = Server(ONLINE, tmp_path / "wandb")
    run = opened(server)
    server.log(run, POINTS)
    server.log(run, POINTS[:2])
    server.end(run, "FINISHED", 200.0)
    assert steps(client) == [3]


@pytest.mark.parametrize("ends", ["log", "finish"])
def test_a_client_that_dies_is_started_anew_and_told_all_again(client: Client, tmp_path: Path, ends: str) -> None:
    server = Server(ONLINE, tmp_path / "wandb")
    run = opened(server)
    server.log(run, POINTS[:2])
    client.behave(**{ends: "die"})

    def go_on() -> None:
        server.log(run, POINTS[2:])
        server.end(run, "FINISHED", 200.0)

    with pytest.raises(NotTold, match="W&B's client ended without a word"):
        go_on()
    with pytest.raises(NotTold):
        server.log(run, POINTS[2:])  # this one is gone for good
    client.behave(first=2)  # the first it had sent before
    before = len(steps(client))
    run = opened(server)
    server.log(run, POINTS[2:] if ends == "log" else [])
    server.end(run, "FINISHED", 200.0)
    assert steps(client)[before:] == [2, 3]


def test_a_client_that_hangs_is_left_in_time(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_and_biases, "ANSWER_SECONDS", 0.1)
    server = Server(ONLINE, tmp_path / "wandb")
    run = opened(server)
    client.behave(log="hang")
    began = time.monotonic()
    with pytest.raises(NotTold, match="it does not answer in time"):
        server.log(run, POINTS)
    assert time.monotonic() - began < 60  # it hangs for minutes
    assert gone(client.of("init")[0]["pid"])


def test_what_the_client_refuses_is_told_in_one_line(client: Client, tmp_path: Path) -> None:
    client.behave(init="raise")
    with pytest.raises(NotTold, match=r"^api_key not configured \(no-tty\)$"):
        opened(Server(ONLINE, tmp_path / "wandb"))


def test_a_client_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(serin_trainer.__file__).resolve().parents[1]))
    with pytest.raises(NotTold, match="No module named 'wandb'"):
        opened(Server(OFFLINE, tmp_path / "wandb"))


def test_files_hold_all_of_the_run_so_those_of_earlier_attempts_go(client: Client, tmp_path: Path) -> None:
    files = tmp_path / "wandb"
    for name in ("offline-run-1-uid-4f00bb", "offline-run-1-uid-other"):
        (files / name).mkdir(parents=True)
    server = Server(OFFLINE, files)
    run = opened(server)
    server.log(run, POINTS)
    assert not [path for path in files.rglob("*") if path.is_symlink()]  # they would lead nowhere once the pod is gone
    server.end(run, "FINISHED", 200.0)
    assert not [path for path in files.rglob("*") if path.is_symlink()]
    [init] = client.of("init")
    assert (init["mode"], init["resume"], run.page) == ("offline", None, None)
    assert "WANDB_API_KEY" not in init["environment"]
    assert sorted(path.name for path in files.iterdir()) == [
        "offline-run-1-uid-other",
        f"offline-run-{init['pid']}-uid-4f00bb",
    ]


def test_files_that_came_to_lie_elsewhere_are_no_files(client: Client, tmp_path: Path) -> None:
    client.behave(place=str(tmp_path / "elsewhere"))  # as the client does where it may not write
    with pytest.raises(NotTold, match="wandb cannot be written"):
        opened(Server(OFFLINE, tmp_path / "wandb"))


def test_the_client_ends_with_the_process_that_leads_it(client: Client, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from serin_trainer.config import Wandb;"
        " from serin_trainer.weights_and_biases import Server;"
        f" Server(Wandb(project='bot', mode='Offline'), Path({str(tmp_path / 'wandb')!r})).open('u', 'n', 0.0, {{}}, {{}});"
        " os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == -signal.SIGKILL
    pid = client.of("init")[0]["pid"]
    deadline = time.monotonic() + 60
    while not gone(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_numbers_are_told_as_numbers() -> None:
    config = {"rate": "5e-3", "rows": "8", "packed": "true", "type": "LoRA", "digest": "1e5f"}
    told = {name: weights_and_biases._typed(value) for name, value in config.items()}
    assert told == {"rate": 0.005, "rows": 8, "packed": True, "type": "LoRA", "digest": "1e5f"}


def test_of_a_long_complaint_the_end_is_told_where_the_cause_is() -> None:
    told = weights_and_biases._short("could not " * 50 + "\nx509: unknown authority")
    assert told.endswith("could not x509: unknown authority")
    assert len(told) == weights_and_biases.MOST_LETTERS + 1


def test_a_key_never_goes_over_http() -> None:
    with pytest.raises(ValueError, match="over https only"):
        Wandb(project="bot", mode="Online", base_url="http://wandb.ml", secret="wandb")
