"""Start: settings, logs, metrics, leadership; then queue, watches and safety net. Whichever ends first ends the process."""

import asyncio
import logging
import os
import signal
import sys
from functools import partial

from kubernetes.aio.client import ApiClient

from serin_operator import handlers, health, leader, logs, patience, settings, telemetry
from serin_operator.act.execute import Executor
from serin_operator.clock import ServerClock, since_boot
from serin_operator.http import httpx
from serin_operator.interest import Interest
from serin_operator.leader import Leadership
from serin_operator.observe.prometheus import MetricSources
from serin_operator.queue import WorkQueue
from serin_operator.reconciler import Reconciler
from serin_operator.rest import Cluster, connect
from serin_operator.resync import SafetyNet
from serin_operator.settings import Settings
from serin_operator.wakeups import Wakeups, all_sightings, made
from serin_operator.watches import Watches

log = logging.getLogger("serin")


async def run(configured: Settings) -> None:
    """Lead and work until told to stop; returns when the lease is lost or a part that must not end has ended."""
    client = await connect()
    clock = ServerClock()
    pulse = health.Pulse()
    leadership = Leadership(
        Cluster(client, clock, patience=patience.LEASE),
        leader.own_namespace(),
        leader.identity(),
        configured.leader_election,
        since_boot,
        clock.now,
    )
    endpoint = await health.serve("0.0.0.0" if leader.in_a_pod() else "127.0.0.1", _health_port(), pulse)
    try:
        await leadership.acquire()
        telemetry.LEADER.set(1)
        await _work(configured, client, leadership, clock, pulse)
    except asyncio.CancelledError:
        await leadership.release()
        raise
    finally:
        telemetry.LEADER.set(0)
        await endpoint.cleanup()
        await client.close()


def _health_port() -> int:
    return int(os.environ.get("SERIN_HEALTH_PORT", health.PORT))


async def _work(
    configured: Settings, api: ApiClient, leadership: Leadership, clock: ServerClock, pulse: health.Pulse
) -> None:
    """The lease, the watches with their net, and the queue, side by side, until the first of them ends."""
    queue = WorkQueue()
    sightings = all_sightings()
    cluster = Cluster(api, clock, may_write=leadership.holds, made=partial(made, sightings))
    executor = Executor(cluster, leadership.me, clock.now)
    interest = Interest()
    wakeups = Wakeups(queue, interest, executor.wrote, sightings)
    watches = Watches(lambda: handlers.watch(wakeups.told, leadership.me))
    net = SafetyNet(cluster, wakeups, restart=watches.restart, recovered=queue.hurry)
    pulse.parts = {"the queue": queue.stuck_for, "the safety net": net.stuck_for}
    # No limit of connections: one service's slow queries must not use up those of the others.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx.AsyncClient(trust_env=False, follow_redirects=False, limits=limits) as client:
        sources = MetricSources(configured.metric_sources, client)
        reconciler = Reconciler(cluster, executor, sources, client, configured, clock.now, interest)
        parts = {
            asyncio.create_task(leadership.keep(), name="the lease"),
            asyncio.create_task(watches.run(), name="the watches"),
            asyncio.create_task(net.run(), name="the safety net"),
            asyncio.create_task(queue.run(reconciler.look), name="the queue"),
        }
        try:
            ended, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                log.error("%s ended: %r", task.get_name(), task.exception())
        finally:
            for task in parts:
                task.cancel()


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
    log.error("leaving, so that a fresh start sees the world anew")
    return 1


if __name__ == "__main__":
    sys.exit(main())
