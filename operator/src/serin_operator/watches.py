"""Keeps a watch going: started again when it ends, or when it is found blind. It knows nothing of what is watched."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from serin_operator import telemetry
from serin_operator.errors import SerinError

log = logging.getLogger("serin.watches")

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 10.0
HEALTHY_SECONDS = 60.0  # a watch that lived for so long starts again after the first pause


class Watches:
    """Runs `watch` for ever. What `watch` raises while it is being ended is raised: it cannot be started again."""

    def __init__(self, watch: Callable[[], Awaitable[None]]) -> None:
        self._watch = watch
        self._blind: str | None = None
        self._wish = asyncio.Event()
        self._failures = 0

    def restart(self, reason: str) -> None:
        """Start it anew soon."""
        self._blind = reason
        self._wish.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            reason = await self._once()
            self._failures = 0 if loop.time() - began >= HEALTHY_SECONDS else self._failures + 1
            pause = min(FIRST_PAUSE_SECONDS * 2 ** max(self._failures - 1, 0), LONGEST_PAUSE_SECONDS)
            log.error("the watches are started again in %.0f s: %s", pause, reason)
            telemetry.WATCH_RESTARTS.inc()
            await asyncio.sleep(pause)

    async def _once(self) -> str:
        """Until it ends by itself or a restart is asked for; why it ended."""
        self._wish.clear()
        watching = asyncio.ensure_future(self._watch())
        wished = asyncio.create_task(self._wish.wait())
        try:
            await asyncio.wait({watching, wished}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            wished.cancel()
            if not watching.done():
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
        if self._wish.is_set():
            return self._blind or "somebody asked for it"
        error = watching.exception()
        if isinstance(error, SerinError):
            raise error
        return f"they ended with {error!r}"
