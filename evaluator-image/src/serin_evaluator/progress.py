"""A line in the log every few seconds, so that a long evaluation is never silent."""

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)
EVERY_SECONDS = 5.0


class Progress:
    """Tells how many of the examples are measured: at the start, every few seconds, and at the end."""

    def __init__(self, what: str, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._total, self._clock = what, total, clock
        self._began = self._told = clock()
        log.info("%s done=0 of=%d", what, total)

    def __call__(self, done: int) -> None:
        now = self._clock()
        if done < self._total and now - self._told < EVERY_SECONDS:
            return
        self._told = now
        log.info("%s done=%d of=%d elapsedSeconds=%.1f", self._what, done, self._total, now - self._began)
