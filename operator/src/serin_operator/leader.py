"""Leadership by a Lease, with the `kubernetes` library's election: one operator acts, the others wait.

Losing the lease ends the process: whatever was on its way in it stops, and the next start sees the world anew.
"""

import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from kubernetes.aio.client import ApiClient
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

LEASE_NAME = "serin-operator"
LEASE_SECONDS = 15
RENEW_SECONDS = 10
RETRY_SECONDS = 2
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def identity() -> str:
    """The pod's name, or the host's: a container that restarts in its pod gets its own lease back at once."""
    return os.environ.get("POD_NAME") or socket.gethostname()


def own_namespace() -> str:
    """Where the Lease lies: the pod's namespace, or SERIN_NAMESPACE outside a cluster."""
    if _NAMESPACE_FILE.exists():
        return _NAMESPACE_FILE.read_text().strip()
    return os.environ.get("SERIN_NAMESPACE", "default")


async def lead(client: ApiClient, work: Callable[[], Awaitable[None]]) -> None:
    """Wait for the lease, then work; returns when the lease is lost or the work ends."""
    lock = LeaseLock(LEASE_NAME, own_namespace(), identity(), client)
    settings = Config(
        lock,
        lease_duration=LEASE_SECONDS,
        renew_deadline=RENEW_SECONDS,
        retry_period=RETRY_SECONDS,
        onstarted_leading=cast("Any", work),
        onstopped_leading=cast("Any", _lost),
    )
    await LeaderElection(settings).run()


async def _lost() -> None:
    """Nothing to clean up: all state is in the cluster."""
