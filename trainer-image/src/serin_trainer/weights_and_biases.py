"""A run on a Weights & Biases server, or in files that `wandb sync` brings to one: by W&B's own client.

Its protocol and its files are not documented, so the client is needed. It runs in a process of its own (`wandb_child.py`), which
is spoken to in lines of JSON and may hang, die or be killed without the training knowing.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .authorities import bundle
from .config import Wandb
from .credentials import credential
from .telling import NotTold
from .tracking import Point

FOLDER = "wandb"
MOST_LETTERS = 160
# The client is a large Python package and a program in Go: on a busy machine it takes a while to start.
START_SECONDS, INIT_SECONDS = 120.0, 15.0
ANSWER_SECONDS, END_SECONDS = 10.0, 60.0
# All that the client is told of this pod.
_KEPT = ("PATH", "PYTHONPATH", "PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH", "LANG")


@dataclass(frozen=True)
class Opened:
    """A run, where people find it, and the first step that it has not."""

    page: str | None
    first: int


class Server:
    """One W&B server, or the folder of one run. What was told is kept: a client that is started anew is told it again."""

    def __init__(self, wish: Wandb, files: Path) -> None:
        self._wish = wish
        self._files = files
        self._child: _Child | None = None
        self._told: list[Point] = []

    def open(self, run: str, name: str, at: float, params: Mapping[str, str], tags: Mapping[str, str]) -> Opened:
        """Goes on with the run, or begins it. In files it is begun anew by each attempt, which knows what the others did."""
        wish = self._wish
        self._leave()
        key = credential(wish.secret, "WANDB_API_KEY") if wish.secret is not None else None
        authority = str(bundle(wish.ca_ref))
        self._child = child = _Child(wish.address if wish.mode == "Online" else None, key, authority)
        opened = child.ask(
            START_SECONDS,
            do="open",
            run=run,
            name=name,
            project=wish.project,
            entity=wish.entity,
            mode=wish.mode.lower(),
            config={key: _typed(value) for key, value in {**params, **tags}.items()},
            folder=str(self._files.parent) if wish.mode == "Offline" else child.home,
            init_seconds=INIT_SECONDS,
        )
        if wish.mode == "Offline":
            self._forget_earlier(run, Path(opened["files"]))
        found = Opened(opened["page"], int(opened["first"]))
        self._tell(found, self._told)
        return found

    def log(self, opened: Opened, points: Iterable[Point]) -> None:
        points = list(points)
        self._tell(opened, points)
        self._told += points

    def end(self, opened: Opened, status: str | None, at: float) -> None:
        """Returns when the server has all, or the files have."""
        self._asked(END_SECONDS, do="end", status=status)
        self._leave()
        self._cut_links()

    def _tell(self, opened: Opened, points: list[Point]) -> None:
        # W&B's steps only go up, and what it has it would leave out with a word about each.
        new = [(one.step, one.at, dict(one.values)) for one in points if one.step >= opened.first]
        if new:
            self._asked(ANSWER_SECONDS, do="log", points=new)

    def _asked(self, seconds: float, **command: Any) -> dict[str, Any]:
        if self._child is None:
            raise NotTold("its client has ended")
        return self._child.ask(seconds, **command)

    def _forget_earlier(self, run: str, kept: Path) -> None:
        """The files of earlier attempts: the new ones hold what those did, up to where this attempt goes on."""
        if kept.parent.resolve() != self._files.resolve():
            self._leave()
            raise NotTold(f"{self._files.name} cannot be written")
        for folder in self._files.glob(f"offline-run-*-{run}"):
            if folder.name != kept.name:
                shutil.rmtree(folder, ignore_errors=True)
        self._cut_links()

    def _cut_links(self) -> None:
        """The client's links lead to logs that go with its process: who copies the artifacts would trip over them."""
        for path in self._files.rglob("*"):
            if path.is_symlink():
                path.unlink(missing_ok=True)

    def _leave(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


class _Child:
    """The process of W&B's client. It ends when nobody speaks to it any more, and so with this one."""

    def __init__(self, address: str | None, key: str | None, authority: str) -> None:
        self.home = tempfile.mkdtemp(prefix="wandb-")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "serin_trainer.wandb_child"],
            env=_environment(self.home, address, key, authority),
            cwd=self.home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def ask(self, seconds: float, **command: Any) -> dict[str, Any]:
        """The answer; a client that gives none in time, or is gone, is not asked again."""
        try:
            answer = json.loads(self._exchange(json.dumps(command).encode() + b"\n", time.monotonic() + seconds))
        except (OSError, ValueError) as error:
            self.kill()
            raise NotTold("W&B's client ended without a word") from error
        if said := answer.get("error"):
            self.kill()
            raise NotTold(_short(said))
        return answer

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def _exchange(self, line: bytes, latest: float) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._process.stdin.closed:
            raise OSError("killed")
        self._process.stdin.write(line)
        self._process.stdin.flush()
        answer = b""
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, latest - time.monotonic()))
            if not ready:
                self.kill()
                raise NotTold("it does not answer in time")
            chunk = os.read(self._process.stdout.fileno(), 65536)
            if not chunk:
                raise OSError("ended")
            answer += chunk
        return answer


def _environment(home: str, address: str | None, key: str | None, authority: str) -> dict[str, str]:
    """Everything that the client writes goes to a folder of its own; it reports to nobody but the server that is named."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    places = {"HOME": home, "TMPDIR": home, "NETRC": f"{home}/netrc"}
    places |= {f"WANDB_{what}_DIR": f"{home}/{what.lower()}" for what in ("CONFIG", "CACHE", "DATA")}
    server = {"WANDB_BASE_URL": address} if address else {"WANDB_MODE": "offline"}
    login = {"WANDB_API_KEY": key} if key else {}
    # Python's part of the client and the one in Go; the latter would add what it finds on the machine.
    believed = {"REQUESTS_CA_BUNDLE": authority, "SSL_CERT_FILE": authority, "SSL_CERT_DIR": home}
    return {**kept, **places, **server, **login, **believed, "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}


def _typed(value: str) -> Any:
    """Numbers as numbers: people sort and draw runs by them."""
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(value, value)


def _short(text: str) -> str:
    """What the client says, as a part of a sentence. What has gone wrong is told last there, after what was tried."""
    said = "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
    return said if len(said) <= MOST_LETTERS else f"…{said[-MOST_LETTERS:]}"
