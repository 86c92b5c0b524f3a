"""The processes of a run meet within minutes, or the attempt ends and the next one tries.

torchrun starts them once all pods have found each other, so what is left is to load torch and to connect; a connection that
is lost there would be waited for by the library for half an hour (gloo) with the accelerators taken.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .errors import StageError, TryAgainError

# Loading torch from a cold, shared disk takes a minute or two, and not on all nodes the same time.
LIMIT_SECONDS = 300.0


@contextmanager
def within(seconds: float, end: Callable[[StageError], None]) -> Iterator[None]:
    """Calls `end` from a thread when the block takes longer; it is in a library's call then, and cannot be interrupted."""
    timer = threading.Timer(seconds, _late, (seconds, end))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _late(seconds: float, end: Callable[[StageError], None]) -> None:
    error = TryAgainError(
        "PeersNotMet",
        f"not all training processes were connected within {seconds:.0f} s, though all pods had found each other",
        "the next attempt tries again; if it lasts, look at the network between the pods of the attempt",
    )
    print(f"{error.message}; all threads:", file=sys.stderr, flush=True)
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    end(error)
