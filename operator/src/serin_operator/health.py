"""The operator's own HTTP endpoint: /healthz, /readyz and /metrics.

Alive means: what a restart of the process could mend is not broken. The event loop answers, the queue begins or ends looks
while there are any, and the safety net under the watches makes its rounds. A watch that is lost is no reason to be killed:
it is started again from within, and when that fails the process ends by itself. Neither is an apiserver that does not
answer: looks and rounds that fail are progress too, since each of their calls has an end, and an operator that was
restarted would only wait anew. How long the apiserver has not been heard of is a metric, serin_watch_age_seconds, for
people to be alarmed by.

Ready: the process runs; a follower is ready too, so that a rolling update can go on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import generate_latest

PORT = 8080
STUCK_SECONDS = 300.0  # longer than the longest look and the longest round


@dataclass(slots=True)
class Pulse:
    """What must make progress, by name: how many seconds it has made none."""

    parts: dict[str, Callable[[], float]] = field(default_factory=dict[str, Callable[[], float]])
    limit: float = STUCK_SECONDS

    def trouble(self) -> str:
        """What is stuck, in words; empty when all is well."""
        found = {name: stuck_for() for name, stuck_for in self.parts.items()}
        return "; ".join(f"{name}: no progress for {took:.0f} s" for name, took in found.items() if took > self.limit)


def application(pulse: Pulse) -> web.Application:
    async def alive(_: web.Request) -> web.Response:
        trouble = pulse.trouble()
        return web.Response(text=f"{trouble or 'ok'}\n", status=500 if trouble else 200)

    app = web.Application()
    app.add_routes([web.get("/healthz", alive), web.get("/readyz", _ok), web.get("/metrics", _metrics)])
    return app


async def serve(host: str, port: int, pulse: Pulse) -> web.AppRunner:
    """Start serving; the runner's cleanup() ends it."""
    runner = web.AppRunner(application(pulse), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner


async def _ok(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
