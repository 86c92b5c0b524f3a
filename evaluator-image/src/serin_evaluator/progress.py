"""How far an evaluation is: a line in the log every few seconds, so that it is never silent, and numbers for who asks.

The numbers are served as Prometheus metrics, which the operator reads for the job's status.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

log = logging.getLogger(__name__)
EVERY_SECONDS = 5.0
PORT = 9400


class Board:
    """How many examples of each measurement are done, of all that this pod measures."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began = clock, clock()
        self._tasks: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def tell(self, what: str, done: int, total: int) -> None:
        """The newest of one measurement; told with nothing done, it is planned."""
        with self._lock:
            if not self._tasks:
                self._began = self._clock()
            self._tasks[what] = (done, max(done, total))

    def text(self) -> str:
        """The Prometheus exposition; the seconds that are left are no number until something is done."""
        with self._lock:
            done, total = (sum(column) for column in zip((0, 0), *self._tasks.values(), strict=True))
            elapsed = self._clock() - self._began
        left = elapsed * (total - done) / done if done else math.nan
        rows = (("examples_done", done), ("examples_total", total), ("eta_seconds", round(left, 1)))
        return "".join(f"# TYPE serin_evaluate_{name} gauge\nserin_evaluate_{name} {value}\n" for name, value in rows)


BOARD = Board()
"""Of this process, which is one evaluation."""


class Progress:
    """Tells how many of the examples are measured: at the start, every few seconds, and at the end."""

    def __init__(
        self, what: str, total: int, clock: Callable[[], float] = time.monotonic, board: Board | None = None
    ) -> None:
        self._what, self._total, self._clock, self._board = what, total, clock, board
        self._began = self._told = clock()
        log.info("%s done=0 of=%d", what, total)

    def __call__(self, done: int) -> None:
        if self._board is not None:
            self._board.tell(self._what, done, self._total)
        now = self._clock()
        if done < self._total and now - self._told < EVERY_SECONDS:
            return
        self._told = now
        log.info("%s done=%d of=%d elapsedSeconds=%.1f", self._what, done, self._total, now - self._began)

    def ended(self, done: int) -> None:
        """So many it were: what does not fit the model's context was counted in before."""
        if self._board is not None:
            self._board.tell(self._what, done, done)


def serve(board: Board = BOARD) -> ThreadingHTTPServer | None:
    """Answer GET /metrics until the process ends. Without the port nobody is told how far it is; it is measured all the same."""
    port = int(os.environ.get("SERIN_METRICS_PORT", PORT))

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = board.text().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Asked every few seconds, it would drown what the log is for."""

    try:
        server = ThreadingHTTPServer(("", port), Answer)
    except OSError as error:
        log.warning("progress is not served on port %d: %s", port, error.strerror)
        return None
    threading.Thread(target=server.serve_forever, name="progress", daemon=True).start()
    return server
