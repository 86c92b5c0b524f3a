"""The operator's own HTTP endpoint: /healthz, /readyz and /metrics.

Alive: the event loop answers and the watches have not ended. Ready: the process runs; a follower is ready too, so that
a rolling update can go on.
"""

from aiohttp import web
from prometheus_client import generate_latest

PORT = 8080


def application() -> web.Application:
    app = web.Application()
    app.add_routes([web.get("/healthz", _ok), web.get("/readyz", _ok), web.get("/metrics", _metrics)])
    return app


async def serve(host: str, port: int) -> web.AppRunner:
    """Start serving; the runner's cleanup() ends it."""
    runner = web.AppRunner(application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner


async def _ok(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
