"""Watches -> wake-ups: the only file that knows kopf. An event says no more than "look again".

No change-detecting handlers, timers or daemons: they write annotations and finalizers onto users' objects. Handlers are
async, since kopf runs plain functions in threads, where the queue must not be touched.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import kopf

from serin_operator import telemetry
from serin_operator.api.v1alpha1 import GROUP, VERSION
from serin_operator.interest import Interest
from serin_operator.manifests import names
from serin_operator.queue import Key, WorkQueue
from serin_operator.reconciler import FINE_TUNE_JOB, MODEL_SERVICE

Body = Mapping[str, Any]
Wake = Callable[[str, str, Body], Iterable[Key]]


@dataclass(slots=True)
class Wakeups:
    """Translates events into keys of the queue."""

    queue: WorkQueue
    interest: Interest
    own_writes: Callable[[str, str], bool]

    def job(self, namespace: str, name: str, body: Body) -> Iterable[Key]:
        key = Key(FINE_TUNE_JOB, namespace, name)
        self.interest.learn(key, body)
        return [key]

    def job_gone(self, namespace: str, name: str) -> None:
        key = Key(FINE_TUNE_JOB, namespace, name)
        self.interest.forget(key)
        self.queue.forget(key)

    def service(self, namespace: str, name: str, body: Body) -> Iterable[Key]:
        return [Key(MODEL_SERVICE, namespace, name), *self.interest.in_service(namespace, name)]

    def gate(self, namespace: str, name: str, body: Body) -> Iterable[Key]:
        return self.interest.in_gate(namespace, name)

    def policy(self, namespace: str, name: str, body: Body) -> Iterable[Key]:
        return self.interest.in_policies()

    def revision(self, namespace: str, name: str, body: Body) -> Iterable[Key]:
        """Wakes its service and the job that made it."""
        labels = _labels(body)
        found: list[Key] = []
        if service := labels.get(names.SERVICE):
            found += [Key(MODEL_SERVICE, namespace, service), *self.interest.in_service(namespace, service)]
        if job := labels.get(names.JOB):
            found.append(Key(FINE_TUNE_JOB, namespace, job))
        return found

    def child(self, namespace: str, name: str, body: Body) -> Iterable[Key]:
        """Wakes the owner that the labels name."""
        labels = _labels(body)
        if job := labels.get(names.JOB):
            return [Key(FINE_TUNE_JOB, namespace, job)]
        if service := labels.get(names.SERVICE):
            return [Key(MODEL_SERVICE, namespace, service)]
        return []


def _labels(body: Body) -> Mapping[str, str]:
    return body.get("metadata", {}).get("labels") or {}


def register(registry: kopf.OperatorRegistry, wakeups: Wakeups) -> None:
    """Subscribe to everything that may change a decision."""
    kopf.on.login(registry=registry)(_login)  # type: ignore[arg-type]

    def on(group: str, version: str, plural: str, wake: Wake) -> None:
        async def handler(namespace: str | None, name: str, body: kopf.Body, type: str | None, **_: Any) -> None:
            telemetry.WATCH_EVENTS.labels(plural).inc()
            if plural == "finetunejobs" and type == "DELETED":
                wakeups.job_gone(namespace or "", name)
                return
            if wakeups.own_writes(str(body.metadata.get("uid")), str(body.metadata.get("resourceVersion"))):
                return  # the echo of our own status write is no news
            for key in wake(namespace or "", name, body):
                wakeups.queue.add(key)

        kopf.on.event(group, version, plural, registry=registry, id=f"wake-{plural}")(handler)  # type: ignore[arg-type]

    on(GROUP, VERSION, "finetunejobs", wakeups.job)
    on(GROUP, VERSION, "modelservices", wakeups.service)
    on(GROUP, VERSION, "evalgates", wakeups.gate)
    on(GROUP, VERSION, "clusterevalpolicies", wakeups.policy)
    on(GROUP, VERSION, "modelrevisions", wakeups.revision)
    on("batch", "v1", "jobs", wakeups.child)
    on("", "v1", "pods", wakeups.child)
    on("apps", "v1", "deployments", wakeups.child)
    on("gateway.networking.k8s.io", "v1", "httproutes", wakeups.child)


def settings() -> kopf.OperatorSettings:
    """Kopf as an event source only."""
    found = kopf.OperatorSettings()
    found.peering.standalone = True  # leadership is a Lease; peering freezes everybody at equal priority
    found.posting.enabled = False
    found.scanning.disabled = True  # no right to watch CRDs and namespaces is needed
    found.watching.server_timeout = 300
    found.watching.client_timeout = 330
    found.watching.connect_timeout = 15
    found.watching.chunk_size = 500
    found.process.ultimate_exiting_timeout = 20
    ours = f"{names.MANAGED_BY}={names.MANAGER}"
    for plural in ("jobs", "pods", "deployments", "httproutes"):
        found.watching.label_selectors[plural] = ours
    return found


async def _login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
    """The pod's service account, or the current kubeconfig context outside a cluster."""
    return kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)


async def watch(registry: kopf.OperatorRegistry, me: str) -> None:
    """Run kopf until it ends; it should not. Told who it is, since a pod's user has no name that it could look up."""
    identity = cast("Any", me)
    await kopf.operator(registry=registry, settings=settings(), identity=identity, standalone=True, clusterwide=True)
