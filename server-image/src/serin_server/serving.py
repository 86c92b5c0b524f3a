"""From the first request to the last: listening, and going away without dropping anything.

On SIGTERM the server first says so in /health and asks clients to close their connections, but goes on answering for
a few seconds, until every gateway has heard that this pod leaves; then it stops listening, finishes what it began, and
ends. Not here: what is answered (`app.py`).
"""

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from serin_server.app import Service, build

log = logging.getLogger(__name__)
KEEP_ALIVE_SECONDS = 3660
"""Longer than Envoy keeps an idle connection (an hour): the side that sends requests must be the one to close."""
FINISH_SECONDS = 50
"""For answers that were begun; within the grace period of the pod, which is 60 s after its preStop hook."""


def serve(service: Service) -> None:
    """Answer until a signal ends it; returns when all is answered."""
    settings = uvicorn.Config(
        build(service),
        host="0.0.0.0",
        port=service.config.port,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=FINISH_SECONDS,
    )
    asyncio.run(_Server(settings, service).serve())


def drain_seconds() -> float:
    """How long to go on answering after SIGTERM; SERIN_DRAIN_SECONDS changes it."""
    return float(os.environ.get("SERIN_DRAIN_SECONDS", "5"))


class _Server(uvicorn.Server):
    """uvicorn's server with our manner of ending."""

    def __init__(self, settings: uvicorn.Config, service: Service) -> None:
        super().__init__(settings)
        self._service = service

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM drains; a second one, or Ctrl-C, ends at once. (uvicorn's own raises the signal again at the end.)"""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._leave, loop)
        loop.add_signal_handler(signal.SIGINT, self._stop)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            loop.remove_signal_handler(signal.SIGINT)

    def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._service.draining:
            self._stop()
            return
        self._service.draining = True
        log.info("SIGTERM: answering for %.0f more seconds", drain_seconds())
        loop.call_later(drain_seconds(), self._stop)

    def _stop(self) -> None:
        log.info("no more connections are taken; finishing what was begun")
        self.should_exit = True
