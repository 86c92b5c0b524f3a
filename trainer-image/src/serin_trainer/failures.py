"""Who failed first, and of what: of several processes of a pod each says so, and the launcher picks the one that began it.

When a process fails, its peers fail of that: their connection is closed, or they are asked to stop. What they say is true and
of no use. So each process leaves its document in a folder of the launcher's (`torchrun.py`), and only the launcher, which
sees all of them and who was killed without a word, writes what the pod says in the end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import EXIT_UNKNOWN, StageError, lost_peer
from .files import write_atomically
from .full_volumes import out_of_room
from .result import Result, encode, failed, report

FOLDER = "SERIN_FAILURES"
# What a process says that failed only because another did, or because it was told to stop.
FOLLOW_UPS = frozenset({"PeerLost", "Interrupted"})


@dataclass(frozen=True)
class Told:
    """What one process said of its end."""

    rank: int
    at: float
    exit_code: int
    document: bytes
    follow_up: bool


def fail(stage: str, key: str, output: Path | None, error: BaseException) -> int:
    """Says how this process failed, in the log and where its pod is read; returns its exit code."""
    error = lost_peer(error) or out_of_room(error, output) or error
    code = error.exit_code if isinstance(error, StageError) else EXIT_UNKNOWN
    if isinstance(error, StageError):
        print(f"{error.reason}: {error.message}. {error.advice}", file=sys.stderr, flush=True)
    else:
        traceback.print_exception(error)
    try:
        answer = failed(stage, key, error)
        _leave(answer, code)
        speak(answer, output)
    except OSError as unwritten:
        print(f"the result could not be written: {unwritten}", file=sys.stderr, flush=True)
    return code


def stopped(rank: int | None, seconds: float) -> None:
    """Says for a process that was stopped (SIGSTOP), and will be killed, what it cannot say itself."""
    if rank is None:
        return
    error = StageError(
        "TrainingHung",
        f"training process {rank} was stopped (SIGSTOP) for {seconds:.0f} s and has been killed",
        "find out who stops processes on that node; the next attempt resumes from the newest checkpoint",
    )
    _leave(failed("Train", "", error), EXIT_UNKNOWN, rank)


def speak(result: Result, output: Path | None) -> None:
    """Of several processes the first of each pod speaks, and only rank 0 writes beside the output."""
    if os.environ.get("RANK", "0") == "0":
        report(result, output)
    elif os.environ.get("LOCAL_RANK", "0") == "0":
        report(result, None)


def first(folder: Path, killed: Mapping[int, int]) -> Told | None:
    """The failure that the others followed from: the first that is none of them; else who was killed; else the first.

    `killed` are ranks that a signal ended, with its number.
    """
    told = sorted(_told(folder), key=lambda one: one.at)
    own = [one for one in told if not one.follow_up]
    if own:
        return own[0]
    if killed:
        return _killed(min(killed), killed[min(killed)], told)
    return told[0] if told else None


def only_lost_a_peer(folder: Path, killed: Mapping[int, int]) -> bool:
    """Whether all that the processes of this pod said is that one of another pod went away."""
    reasons = [json.loads(one.document)["reason"] for one in _told(folder)]
    return bool(reasons) and not killed and set(reasons) == {"PeerLost"}


def _leave(result: Result, code: int, rank: int | None = None) -> None:
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    rank = int(os.environ.get("RANK", "0")) if rank is None else rank
    document = {"rank": rank, "at": time.time(), "exitCode": code, "result": encode(result).decode()}
    write_atomically(Path(folder) / f"rank-{rank}.json", json.dumps(document).encode())


def _told(folder: Path) -> list[Told]:
    found: list[Told] = []
    for path in folder.glob("rank-*.json"):
        document = json.loads(path.read_bytes())
        text = str(document["result"])
        follow_up = json.loads(text)["reason"] in FOLLOW_UPS
        found.append(
            Told(int(document["rank"]), float(document["at"]), int(document["exitCode"]), text.encode(), follow_up)
        )
    return found


def _killed(rank: int, number: int, told: list[Told]) -> Told:
    """A process that was killed says nothing; its peers know whose stage it was."""
    whose = json.loads(told[0].document) if told else {"stage": "Train", "key": ""}
    name = signal.Signals(number).name
    error = StageError(
        "ProcessKilled",
        f"training process {rank} was killed by {name}",
        "SIGKILL without OOMKilled is somebody's kill; SIGSEGV and SIGBUS are a crash (look at the log and /dev/shm); the"
        " next attempt resumes from the newest checkpoint",
    )
    document = encode(failed(str(whose["stage"]), str(whose["key"]), error))
    return Told(rank, time.time(), 128 + number, document, follow_up=False)
