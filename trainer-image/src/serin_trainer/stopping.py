"""What torchrun's own process does for those it started: it goes when there is nothing to save, and ends what is stopped.

torchrun waits for the other pods, before its processes start and after they have ended, inside C++ calls of minutes
(torch's TCPStore, timeouts 300 to 900 s). Python runs its signal handlers between bytecodes only, so a SIGTERM that
comes then is heard after the call, which is after the pod's grace. A thread that is woken by the signal's number on a
socket (`signal.set_wakeup_fd`) hears it at once. While processes of the training run, saving is theirs and torchrun's:
the thread then leaves the signal to them.

A process that was stopped (SIGSTOP) does no step, saves nothing and hears no SIGTERM, whatever it was doing; that is seen
from here, and from nowhere else while it loads or saves. It is said what it was, and killed, so that its peers go on to
the next attempt. Debuggers stop processes in another way (ptrace), and are left alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from .errors import EXIT_TRY_AGAIN

PROC = Path("/proc")
LOOK_SECONDS = 1.0
# Long enough for the watchdog of short steps, which shows the stacks of the others, to be there first (25 s).
STOPPED_SECONDS = 35.0
Tell = Callable[[int, float], None]


def watch_over_children(tell: Tell = lambda _process, _seconds: None, stopped_seconds: float = STOPPED_SECONDS) -> None:
    """From now on SIGTERM ends this process at once with EXIT_TRY_AGAIN, unless it has processes that run; and those that
    are stopped for so long are killed, after `tell` was called with the process and the seconds.

    Call it in the main thread, before torchrun takes the signals over.
    """
    heard, told = socket.socketpair()
    told.setblocking(False)
    heard.settimeout(LOOK_SECONDS)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    # As the first process of a container this one ignores what it has no handler for.
    signal.signal(signal.SIGTERM, _asked)
    arguments = (heard, told, tell, stopped_seconds)
    threading.Thread(target=_listen, args=arguments, daemon=True, name="over-children").start()


def _asked(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(EXIT_TRY_AGAIN)


def _listen(heard: socket.socket, _told: socket.socket, tell: Tell, patience: float) -> None:
    """The sending end is kept open by being held here."""
    since: dict[int, float] = {}
    while True:
        try:
            asked = signal.SIGTERM in heard.recv(64)
        except TimeoutError:
            asked = False
        states = children()
        if asked and not states:
            print(
                "stopped by SIGTERM while waiting for other pods: nothing was to be saved", file=sys.stderr, flush=True
            )
            os._exit(EXIT_TRY_AGAIN)
        now = time.monotonic()
        since = {process: since.get(process, now) for process, state in states.items() if state == "T"}
        for process, first in since.items():
            if asked or now - first >= patience:
                _end(process, now - first, tell)


def _end(process: int, seconds: float, tell: Tell) -> None:
    print(f"process {process} was stopped (SIGSTOP) and cannot go on: it is killed", file=sys.stderr, flush=True)
    tell(process, seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def children() -> dict[int, str]:
    """States of the processes that this one started and that are alive; ended ones that nobody has asked about are not.

    Letters as in proc(5): T is stopped by a signal, t by a debugger.
    """
    found: dict[int, str] = {}
    for stat in PROC.glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue  # it went while we looked
        if int(parent) == os.getpid() and state != "Z":
            found[int(stat.parent.name)] = state
    return found


def rank_of(process: int) -> int | None:
    """The rank that torchrun gave a process; None when it has none, or is gone."""
    try:
        entries = (PROC / str(process) / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    ranks = [entry.removeprefix(b"RANK=") for entry in entries if entry.startswith(b"RANK=")]
    return int(ranks[0]) if ranks and ranks[0].isdigit() else None
