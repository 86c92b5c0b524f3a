"""How far a sweep is, in a file to look at while it runs: `tail -f build/faults-progress.txt`."""

from __future__ import annotations

import threading
import time
from pathlib import Path


class Progress:
    """Counts what was asked for and what is told; each violation is there the moment it is found."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._asked = self._told = self._violated = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")

    def asked(self, points: int) -> None:
        """More points wait for their turn."""
        with self._lock:
            self._asked += points

    def told(self, point: str, violations: tuple[str, ...]) -> None:
        """One point was played to its end."""
        with self._lock:
            self._told += 1
            self._violated += bool(violations)
            lines = [self._line(point), *(f"  {violation}" for violation in violations)]
            with self._path.open("a") as file:
                file.write("\n".join(lines) + "\n")

    def _line(self, point: str) -> str:
        minutes = (time.monotonic() - self._began) / 60
        left = (self._asked - self._told) * minutes / self._told
        return (
            f"{self._told} of {self._asked} points in {minutes:.1f} min, about {left:.0f} min to go,"
            f" {self._violated} violated; last: {point}"
        )
