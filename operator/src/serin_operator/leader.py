"""Leadership by a Lease: one operator acts, the others wait.

The rules are client-go's (https://pkg.go.dev/k8s.io/client-go/tools/leaderelection): a lease is judged by when *we*
last saw it change, on a clock that only runs forward and also while the machine is suspended, so that clocks of two
machines need not agree; every write carries the resourceVersion, so that of two candidates one wins. The `kubernetes`
library's own election (37.0) is not used: it cannot create its Lease, since it passes a boolean where its own client
asks for a string.

Losing the lease ends the process: whatever was on its way in it stops, and the next start sees the world anew. A
process that sleeps between asking `holds()` and sending its write may still write late: what it sends carries the
versions that it looked at, and is refused once the new leader has written.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from serin_operator.api.kinds import LEASE
from serin_operator.errors import SerinError
from serin_operator.rest import Cluster, Json
from serin_operator.settings import LeaderElection

log = logging.getLogger("serin.leader")

LEASE_NAME = "serin-operator"
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def identity() -> str:
    """The pod's name, or the host's: a container that restarts in its pod gets its own lease back at once."""
    return os.environ.get("POD_NAME") or socket.gethostname()


def in_a_pod() -> bool:
    return _NAMESPACE_FILE.exists()


def own_namespace() -> str:
    """Where the Lease lies: the pod's namespace; outside a cluster POD_NAMESPACE says."""
    if in_a_pod():
        return _NAMESPACE_FILE.read_text().strip()
    return os.environ.get("POD_NAMESPACE", "default")


@dataclass(slots=True)
class _Seen:
    """A lease as it was last seen to change, and when that was on our own clock."""

    resource_version: str
    at: float


class Leadership:
    """One candidate for the lease. `span` is monotonic seconds, `now` the time of day, for people's eyes only."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        me: str,
        timing: LeaderElection,
        span: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._cluster, self._namespace, self.me = cluster, namespace, me
        self._timing, self._span, self._now = timing, span, now
        self._seen: _Seen | None = None
        self._renewed_at: float | None = None

    def holds(self) -> bool:
        """True while nobody else can have taken the lease. Asked before every write."""
        renewed = self._renewed_at
        return renewed is not None and self._span() - renewed < self._timing.renew_deadline_seconds

    async def acquire(self) -> None:
        """Return once the lease is ours."""
        while True:
            if await self.attempt():
                break
            await asyncio.sleep(self._timing.retry_period_seconds)
        log.info("leading as %s", self.me)

    async def keep(self) -> None:
        """Renew for ever; return when the lease is lost."""
        while True:
            await asyncio.sleep(self._timing.retry_period_seconds)
            if not self.holds():
                return
            await self.attempt()

    async def release(self) -> None:
        """Let the next one begin at once instead of when the lease runs out."""
        try:
            lease = await self._cluster.get(LEASE, self._namespace, LEASE_NAME)
            if lease is not None and lease["spec"].get("holderIdentity") == self.me:
                self._renewed_at = None
                lease["spec"]["holderIdentity"] = ""
                await self._cluster.replace(LEASE, lease)
        except SerinError as error:
            log.info("the lease was not released: %s", error)

    async def attempt(self) -> bool:
        """Try once to get or keep the lease. The time counts from before the call: an answer may be late."""
        began = self._span()
        try:
            won = await self._try(began)
        except SerinError as error:
            log.info("the lease could not be written: %s", error)
            return False
        if won:
            self._renewed_at = began
        return won

    async def _try(self, now: float) -> bool:
        lease = await self._cluster.get(LEASE, self._namespace, LEASE_NAME)
        if lease is None:
            return await self._cluster.create(LEASE, self._wish({}))
        if not self._free(lease, now):
            self._renewed_at = None  # somebody has it: there is nothing to wait for
            return False
        await self._cluster.replace(LEASE, self._wish(lease))
        return True

    def _free(self, lease: Json, now: float) -> bool:
        """Ours, given up, or not renewed for as long as its holder asked for."""
        spec = lease.get("spec", {})
        version = lease["metadata"]["resourceVersion"]
        if self._seen is None or self._seen.resource_version != version:
            self._seen = _Seen(version, now)
        holder = spec.get("holderIdentity")
        lasts = spec.get("leaseDurationSeconds", self._timing.lease_duration_seconds)
        return holder in (self.me, "", None) or now - self._seen.at > lasts

    def _wish(self, lease: Json) -> Json:
        old = lease.get("spec", {})
        now = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        changed = old.get("holderIdentity") != self.me
        meta = {"name": LEASE_NAME, "namespace": self._namespace}
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": lease.get("metadata", meta),
            "spec": {
                "holderIdentity": self.me,
                "leaseDurationSeconds": self._timing.lease_duration_seconds,
                "acquireTime": now if changed else old.get("acquireTime", now),
                "renewTime": now,
                "leaseTransitions": old.get("leaseTransitions", 0) + (1 if changed and old else 0),
            },
        }
