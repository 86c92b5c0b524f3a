"""Starts an operator again when it ends by itself, as the kubelet does, and as soon: the first restart comes at once."""

from __future__ import annotations

import threading

from faults.harness.operators import Operator


class Restarting:
    """A context manager over an operator that was started by somebody else."""

    def __init__(self, operator: Operator, pause: float = 1.0) -> None:
        self.operator, self._pause = operator, pause
        self.exits: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="kubelet", daemon=True)

    def __enter__(self) -> Restarting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            if not self.operator.alive():
                self.exits.append(self.operator.wait(0))
                if not self._stop.wait(self._pause):
                    self.operator.start()
