"""The real operator as a process, forked from a zygote that has imported it already; to be killed and started again."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import yaml
from serin_devcluster.processes import die_with_parent, without_proxies
from support.operator_process import SETTINGS

KUBECONFIG = "operator.kubeconfig"  # the kubernetes library reads $KUBECONFIG when it is imported; each operator has its own folder
FIRST_PORT, PORTS, BLOCKS = 20000, 500, 20  # below the range from which the kernel picks ports for outgoing connections


class _Ports:
    """A block of ports that is this process's for as long as it lives: others of these tests may run beside it."""

    def __init__(self) -> None:
        self._next = itertools.count()
        for self._block in range(BLOCKS):
            lock = os.open(
                f"{tempfile.gettempdir()}/serin-fault-ports-{self._block}.lock", os.O_CREAT | os.O_RDWR, 0o600
            )
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            os.close(lock)
        raise RuntimeError(f"{BLOCKS} processes of these tests run already")

    def next(self) -> int:
        return FIRST_PORT + self._block * PORTS + next(self._next) % PORTS


_ports = functools.cache(_Ports)
_asking = threading.Lock()


def free_port() -> int:
    """A port that no other operator has, and that nobody listens on now."""
    while True:
        with _asking:
            port = _ports().next()
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Zygote:
    """The process that forks operators. One serves the whole test run."""

    _one: Zygote | None = None
    _lock = threading.Lock()

    def __init__(self) -> None:
        here = Path(__file__)
        self._process = subprocess.Popen(
            [sys.executable, str(here.with_name("zygote.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=without_proxies() | {"KUBECONFIG": KUBECONFIG},
            text=True,
            preexec_fn=die_with_parent(),
            start_new_session=True,
        )
        self._talk = threading.Lock()
        self._answer()

    @classmethod
    def shared(cls) -> Zygote:
        with cls._lock:
            if cls._one is None or cls._one._process.poll() is not None:
                # The kernel ends it with the thread that started it, so that is one which lives as long as we do.
                box: list[Zygote] = []
                ready = threading.Event()
                threading.Thread(target=_keep, args=(cls, box, ready), name="zygote", daemon=True).start()
                ready.wait()
                cls._one = box[0]
            return cls._one

    @classmethod
    def close_shared(cls) -> None:
        with cls._lock:
            if cls._one is not None:
                cls._one.close()
                cls._one = None

    def fork(self, environment: dict[str, str], log: Path) -> int:
        return self._ask({"environment": environment, "log": str(log)})["pid"]

    def reap(self, pid: int) -> int:
        """The exit code of a child that has ended."""
        return self._ask({"wait": pid})["code"]

    def close(self) -> None:
        """Ends it, and with it every operator that still runs."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(30)

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        with self._talk:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the zygote has ended; its last words are above"
        return json.loads(line)


def _keep(cls: type[Zygote], box: list[Zygote], ready: threading.Event) -> None:
    try:
        box.append(cls())
    finally:
        ready.set()
    box[0]._process.wait()


class Operator:
    """One operator: a name that it leads under, a kubeconfig, a log. `start` after `kill` is a restart in the same pod."""

    def __init__(
        self, kubeconfig: Path, *, name: str = "operator-0", namespace: str = "default", **settings: object
    ) -> None:
        self.name = name
        self._folder = Path(tempfile.mkdtemp(prefix="serin-operator-"))
        self.log = self._folder / "operator.log"
        self.port = free_port()
        config = self._folder / "operator.yaml"
        config.write_text(yaml.safe_dump(SETTINGS | settings))
        (self._folder / KUBECONFIG).symlink_to(kubeconfig.absolute())
        self.environment = {
            "SERIN_CONFIG": str(config),
            "SERIN_HEALTH_PORT": str(self.port),
            "POD_NAMESPACE": namespace,
            "POD_NAME": name,
        }
        self._pid = 0
        self._exit: int | None = None
        self._fd = -1
        self._lock = threading.Lock()
        self.starts = 0

    def __enter__(self) -> Operator:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        assert self._pid, "the operator was never started"
        return self._pid

    def start(self) -> Operator:
        with self._lock:
            assert not self._running(), "the operator runs already"
            self._close_handle()
            self._pid = Zygote.shared().fork(self.environment, self.log)
            self._fd = os.pidfd_open(self._pid)
            self._exit = None
            self.starts += 1
        return self

    def kill(self) -> None:
        """SIGKILL, no goodbye; returns when the process is gone."""
        with self._lock:
            if self._running():
                os.kill(self._pid, signal.SIGKILL)
                self._wait(30)

    def stop(self, seconds: float = 30) -> int:
        """SIGTERM, as a kubelet does; the exit code."""
        with self._lock:
            if self._running():
                os.kill(self._pid, signal.SIGTERM)
            return self._wait(seconds)

    def pause(self) -> None:
        """SIGSTOP: asleep in the middle of whatever it does."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def alive(self) -> bool:
        with self._lock:
            return self._running()

    def wait(self, seconds: float) -> int:
        """The exit code, once it ends by itself; may be killed or stopped meanwhile."""
        self._ended(seconds)
        with self._lock:
            return self._wait(0)

    def close(self) -> None:
        """Ended and cleaned up, whatever state it is in."""
        self.kill()
        with self._lock:
            self._close_handle()
        shutil.rmtree(self._folder, ignore_errors=True)

    def rss_mib(self) -> float:
        """Resident memory now, from /proc."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("no VmRSS")

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text().splitlines()[-lines:]) if self.log.exists() else ""

    def _running(self) -> bool:
        if self._fd < 0 or self._exit is not None:
            return False
        return not self._ended(0)

    def _ended(self, seconds: float) -> bool:
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    def _wait(self, seconds: float) -> int:
        assert self._fd >= 0, "the operator was never started"
        if self._exit is None:
            began = time.monotonic()
            if not self._ended(seconds):
                raise TimeoutError(f"the operator still runs after {time.monotonic() - began:.0f} s:\n{self.tail()}")
            self._exit = Zygote.shared().reap(self._pid)
        return self._exit

    def _close_handle(self) -> None:
        if self._fd >= 0:
            if self._exit is None and self._ended(0):
                self._exit = Zygote.shared().reap(self._pid)
            os.close(self._fd)
            self._fd = -1
