"""How much of the sweep to do; the options are declared in tests/faults/conftest.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """The command line's choices."""

    full: bool  # every point, instead of some of each flow
    seed: int  # picks those, and whatever else is random
    point: str  # this one only: `promotion#7-after`
    workers: int  # stories told at the same time

    @property
    def command(self) -> str:
        """What repeats a failure, up to the point."""
        return f".venv/bin/python -m pytest -q --seed={self.seed}"
