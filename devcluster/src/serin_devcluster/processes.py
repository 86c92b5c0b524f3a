"""Starts, finds and stops programs: children that die with us (tests) and daemons that outlive us (the cluster)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from serin_devcluster.errors import DevclusterError
from serin_devcluster.shell import tail

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 10.0


def die_with_parent() -> Callable[[], None]:
    """For preexec_fn: the kernel kills the child when the thread that started it ends, however that comes about."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def bind() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died between fork and here
            os._exit(1)

    return bind


class Child:
    """A program that lives no longer than this process. Its output goes to a file, for the error when it dies."""

    def __init__(
        self, name: str, argv: Sequence[str | os.PathLike[str]], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        """`env` stands beside what this process has."""
        self.name = name
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [os.fspath(part) for part in argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                preexec_fn=die_with_parent(),
                start_new_session=True,  # a Ctrl-C at the terminal is ours to handle, in our order
            )

    def ensure_alive(self) -> None:
        if self.process.poll() is not None:
            said = tail(self.log.read_text(errors="replace"))
            raise DevclusterError(f"{self.name} ended with {self.process.returncode}:\n{said}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True)
class Daemon:
    """A long-running program of the cluster, remembered by process id and start time: a reused id is not mistaken."""

    name: str
    argv: tuple[str, ...]
    run_folder: Path
    log_folder: Path
    env: dict[str, str] = field(default_factory=dict)
    niceness: int = 0

    @property
    def record(self) -> Path:
        return self.run_folder / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        return self.log_folder / f"{self.name}.log"

    def pid(self) -> int | None:
        """The process id while it runs."""
        return recorded_pid(self.record)

    def was_started(self) -> bool:
        return self.record.exists()

    def start(self) -> None:
        if self.pid() is not None:
            return
        self.run_folder.mkdir(parents=True, exist_ok=True)
        self.log_folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            process = subprocess.Popen(
                list(self.argv),
                env={**without_proxies(), **self.env},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=(lambda: os.nice(self.niceness)) if self.niceness else None,
            )
        write_record(self.record, process.pid)
        process.returncode = 0  # it outlives us on purpose: Python must not complain that nobody waits for it

    def stop(self) -> None:
        stop_recorded(self.record)

    def last_words(self, lines: int = 5) -> str:
        with contextlib.suppress(FileNotFoundError):
            return tail(self.log.read_text(errors="replace"), lines)
        return "    (it wrote no log)"


def without_proxies() -> dict[str, str]:
    """Our environment but for proxies: the cluster's own addresses are not reached through one."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def write_record(record: Path, pid: int) -> None:
    record.write_text(f"{pid} {start_time(pid)} {boot_id()}\n")


def recorded_pid(record: Path) -> int | None:
    """The process a record names, if it is still the same one and not a zombie."""
    try:
        pid_text, started, boot = record.read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    pid = int(pid_text)
    return pid if boot == boot_id() and start_time(pid) == started else None


def stop_recorded(record: Path) -> None:
    if (pid := recorded_pid(record)) is not None:
        end(pid, lambda: recorded_pid(record) is None)
    record.unlink(missing_ok=True)


def end(pid: int, gone: Callable[[], bool], patience: float = STOP_SECONDS) -> None:
    """SIGTERM, patience, then SIGKILL."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        if not wait_until(gone, patience, every=0.05):
            os.kill(pid, signal.SIGKILL)
            wait_until(gone, patience, every=0.05)


def start_time(pid: int) -> str:
    """The kernel's start time of a living process, empty when it is gone or only waits to be reaped."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # ours to reap when we started it in this very process
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def boot_id() -> str:
    """Start times count from the machine's boot, so a record of an earlier one says nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def processes_with(words: Iterable[str]) -> dict[int, str]:
    """Processes whose command line contains one of the words, this one and its parents left out."""
    wanted = list(words)
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in own_ancestry():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if any(word in command for word in wanted) and start_time(int(entry.name)):
                found[int(entry.name)] = command
    return found


def own_ancestry() -> set[int]:
    """This process and those that started it: a shell whose command line quotes our paths is no leftover."""
    ancestry: set[int] = set()
    pid = os.getpid()
    while pid > 1 and pid not in ancestry:
        ancestry.add(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
    return ancestry


def wait_until(fact: Callable[[], bool], seconds: float, every: float = 0.2) -> bool:
    """True as soon as the fact holds, False when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        if fact():
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(every)
