"""Start: settings, logs, metrics, leadership; then the queue and the watches. Whichever ends first ends the process."""

import asyncio
import logging
import os
import signal
import sys

import kopf

from serin_operator import handlers, health, leader, logs, settings, telemetry
from serin_operator.act.execute import Executor
from serin_operator.http import httpx
from serin_operator.interest import Interest
from serin_operator.observe.prometheus import MetricSources
from serin_operator.queue import WorkQueue
from serin_operator.reconciler import Reconciler
from serin_operator.rest import Cluster, connect
from serin_operator.settings import Settings

log = logging.getLogger("serin")


async def run(configured: Settings) -> None:
    """Lead and work until told to stop; raises when a part that must not end has ended."""
    client = await connect()
    endpoint = await health.serve(os.environ.get("SERIN_HEALTH_HOST", "0.0.0.0"), health.PORT)
    async with httpx.AsyncClient() as http_client:

        async def work() -> None:
            telemetry.LEADER.set(1)
            log.info("leading as %s", leader.identity())
            await _work(configured, Cluster(client), http_client, leader.identity())

        try:
            await leader.lead(client, work)
        finally:
            telemetry.LEADER.set(0)
            await endpoint.cleanup()
            await client.close()


async def _work(configured: Settings, cluster: Cluster, http_client: httpx.AsyncClient, me: str) -> None:
    queue = WorkQueue()
    executor = Executor(cluster, me)
    reconciler = Reconciler(
        cluster, executor, MetricSources(configured.metric_sources, http_client), http_client, configured
    )
    registry = kopf.OperatorRegistry()
    handlers.register(registry, handlers.Wakeups(queue, Interest(), executor.wrote))
    watches = asyncio.create_task(handlers.watch(registry), name="watches")
    looks = asyncio.create_task(queue.run(reconciler.look), name="queue")
    try:
        ended, _ = await asyncio.wait({watches, looks}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (watches, looks):
            task.cancel()
    for task in ended:
        log.error("%s ended: %r; leaving, so that a fresh start sees the world anew", task.get_name(), task.exception())
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Exit 0 when asked to stop, 64 when the configuration is wrong, 1 when the lease or a watch was lost."""
    try:
        configured = settings.load()
    except settings.InvalidSettings as error:
        print(error, file=sys.stderr)
        return 64
    logs.configure(configured.log_format)
    loop = asyncio.new_event_loop()
    task = loop.create_task(run(configured))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        loop.run_until_complete(task)
    except asyncio.CancelledError:
        return 0
    log.error("the lease was lost; leaving, so that a fresh start sees the world anew")
    return 1


if __name__ == "__main__":
    sys.exit(main())
