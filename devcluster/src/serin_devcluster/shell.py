"""Runs other programs and turns their failure into one readable error."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from serin_devcluster.errors import DevclusterError

TAIL_LINES = 25
Argument = str | os.PathLike[str]

_running: set[subprocess.Popen[bytes]] = set()
_running_lock = threading.Lock()


def run(
    argv: Sequence[Argument],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | bytes | None = None,
    log: Path | None = None,
    timeout: float | None = None,
) -> str:
    """Standard output of a program that must succeed. With `log` both streams go to that file instead."""
    command = [os.fspath(part) for part in argv]
    data = stdin.encode() if isinstance(stdin, str) else stdin
    with contextlib.ExitStack() as stack:
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            out: object = stack.enter_context(log.open("wb"))
        else:
            out = subprocess.PIPE
        process = subprocess.Popen(
            command,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
            stdout=out,  # type: ignore[arg-type]
            stderr=subprocess.STDOUT if log is not None else subprocess.PIPE,
        )
        with remembered(process):
            said, complained = process.communicate(data, timeout)
    if process.returncode != 0:
        text = log.read_text(errors="replace") if log is not None else decode(said) + decode(complained)
        where = f"\n    (all of it: {log})" if log is not None else ""
        raise DevclusterError(f"{short(command)} ended with {process.returncode}:\n{tail(text)}{where}")
    return decode(said)


@contextlib.contextmanager
def remembered(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """While it runs it is known to stop_all; it is never left behind by an exception."""
    with _running_lock:
        _running.add(process)
    try:
        yield
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        with _running_lock:
            _running.discard(process)


def stop_all() -> None:
    """Ends what other threads are running, when the whole command is interrupted."""
    with _running_lock:
        processes = list(_running)
    for process in processes:
        process.terminate()


def succeeds(argv: Sequence[Argument], *, env: Mapping[str, str] | None = None, timeout: float | None = None) -> bool:
    """True when the program ends with 0; nothing is shown."""
    command = [os.fspath(part) for part in argv]
    full_env = {**os.environ, **(env or {})}
    try:
        done = subprocess.run(
            command, env=full_env, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def decode(data: bytes | None) -> str:
    return (data or b"").decode(errors="replace")


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """The last lines, indented, for an error message."""
    return "\n".join("    " + line for line in text.strip().splitlines()[-lines:])


def short(command: Sequence[str]) -> str:
    """The program and its first words: enough to know what it was."""
    if command[0] == "nice":
        command = command[3:]
    words = " ".join([os.path.basename(command[0]), *command[1:4]])
    return words + (" …" if len(command) > 4 else "")
