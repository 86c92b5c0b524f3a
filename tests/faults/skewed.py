"""`python skewed.py FILE`: the operator with a wall clock that a test sets.

FILE holds one float, in seconds, which is added to the wall clock from the next reading on. Only Python's own clocks are
turned: certificates, which the TLS library judges by the kernel's clock, stay valid. With NAIVE_CLOCK set the operator
asks this wall clock for the time, as it did once: what the tests would then see.
"""

from __future__ import annotations

import datetime
import mmap
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

_REAL = datetime.datetime
_real_time = time.time


def turn_clocks(file: Path) -> None:
    """Must come before anything that imports a clock by name."""
    with file.open("rb") as opened:
        memory = mmap.mmap(opened.fileno(), 8, access=mmap.ACCESS_READ)

    def skew() -> float:
        return struct.unpack("d", memory[:8])[0]

    class Turned(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return _REAL.now(tz) + datetime.timedelta(seconds=skew())

        @classmethod
        def utcnow(cls) -> Any:
            return _REAL.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(seconds=skew())

    def turned() -> float:
        return _real_time() + skew()

    datetime.datetime = Turned  # type: ignore[misc]
    time.time = turned
    time.time_ns = lambda: int(turned() * 1e9)


def main() -> int:
    turn_clocks(Path(sys.argv[1]))
    import serin_operator.__main__ as operator

    if os.environ.get("NAIVE_CLOCK"):
        from serin_operator.clock import ServerClock

        ServerClock.now = lambda _: datetime.datetime.now(datetime.UTC)  # type: ignore[method-assign]
    return operator.main()


if __name__ == "__main__":
    sys.exit(main())
