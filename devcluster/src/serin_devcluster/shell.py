"""Runs other programs and turns their failure into one readable error."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from serin_devcluster.errors import DevclusterError

TAIL_LINES = 25


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | bytes | None = None,
    log: Path | None = None,
    timeout: float | None = None,
) -> str:
    """Standard output of a program that must succeed. With `log` both streams go to that file instead."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    command = [os.fspath(part) for part in argv]
    full_env = {**os.environ, **(env or {})}
    feed: dict[str, object] = {"input": data} if data is not None else {"stdin": subprocess.DEVNULL}
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as out:
            done = subprocess.run(command, env=full_env, cwd=cwd, stdout=out, stderr=subprocess.STDOUT, timeout=timeout, **feed)
        said = log.read_text(errors="replace")
        where = f" (all of it: {log})"
    else:
        done = subprocess.run(command, env=full_env, cwd=cwd, capture_output=True, timeout=timeout, **feed)
        said = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
        where = ""
    if done.returncode != 0:
        raise DevclusterError(f"{short(command)} ended with {done.returncode}:\n{tail(said)}{where}")
    return "" if log is not None else done.stdout.decode(errors="replace")


def succeeds(argv: Sequence[str | os.PathLike[str]], *, env: Mapping[str, str] | None = None, timeout: float | None = None) -> bool:
    """True when the program ends with 0; nothing is shown."""
    command = [os.fspath(part) for part in argv]
    try:
        done = subprocess.run(command, env={**os.environ, **(env or {})}, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """The last lines, indented, for an error message."""
    return "\n".join("    " + line for line in text.strip().splitlines()[-lines:])


def short(command: Sequence[str]) -> str:
    """The program and its first words: enough to know what it was."""
    words = " ".join([os.path.basename(command[0]), *command[1:4]])
    return words + (" …" if len(command) > 4 else "")
