"""The sentence: observe, decide, act. One look at one object; errors are sorted by whose turn it is."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from serin_operator import telemetry
from serin_operator.act.execute import Executor, WriteRefused
from serin_operator.api.v1alpha1 import API_VERSION, ObjectMeta
from serin_operator.decide.decision import Decision, Told
from serin_operator.decide.job import decide_job
from serin_operator.decide.platform import decide_platform
from serin_operator.decide.refusals import Refusal
from serin_operator.decide.service import decide_service
from serin_operator.errors import ClusterUnavailable, Conflict, SerinError
from serin_operator.http import httpx
from serin_operator.interest import Interest
from serin_operator.observe.job import observe_job
from serin_operator.observe.platform import observe_platform
from serin_operator.observe.prometheus import MetricSources
from serin_operator.observe.service import observe_service
from serin_operator.queue import Key, RetryLater
from serin_operator.rest import Cluster
from serin_operator.settings import Settings

log = logging.getLogger("serin.reconcile")

FINE_TUNE_JOB = "FineTuneJob"
MODEL_SERVICE = "ModelService"
PLATFORM = Key("Platform", "", "policies")  # all ClusterEvalPolicies and EvalWaivers in one look: they name each other
STALE = timedelta(seconds=5)
"""The longest pause after a write that met a newer version: whoever writes often must not hold off a rollback."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look saw of the object and decided."""

    meta: ObjectMeta
    decision: Decision


@dataclass(slots=True)
class Reconciler:
    """Looks at FineTuneJobs and ModelServices, and at the platform's policies and waivers."""

    cluster: Cluster
    executor: Executor
    sources: MetricSources
    client: httpx.AsyncClient
    settings: Settings
    now: Callable[[], datetime]  # the apiserver's time of day, not this machine's
    interest: Interest
    refused: dict[Key, Refusal] = field(
        default_factory=dict[Key, Refusal]
    )  # at the last look; found anew after a restart

    async def look(self, key: Key) -> timedelta | None:
        """Observe, decide, act; when to look again (None: the object is gone)."""
        with telemetry.RECONCILE_SECONDS.labels(key.kind).time():
            try:
                found = await self._loops[key.kind](key)
                if found is None:
                    self.refused.pop(key, None)
                    self._tell(key, ())
                    telemetry.RECONCILES.labels(key.kind, "gone").inc()
                    return None
                again = await self._act(key, found)
            except Exception as error:
                raise self._sorted(key, error) from error
        telemetry.RECONCILES.labels(key.kind, "ok").inc()
        self._tell(key, found.decision.told)
        for event in found.decision.events:
            telemetry.DECISIONS.labels(key.kind, event.reason).inc()
        log.info("%s", found.decision.sentence, extra={"object": str(key)})
        return again

    async def _act(self, key: Key, found: Look) -> timedelta | None:
        """When to look again. What the apiserver refused is a fact of the next look, which tells the user; once all is
        accepted, one more look takes the condition away."""
        try:
            await self.executor.carry_out(found.decision, _regarding(key, found.meta))
        except WriteRefused as error:
            self.refused[key] = error.refusal
            raise
        return timedelta() if self.refused.pop(key, None) is not None else found.decision.requeue_after

    def _tell(self, key: Key, told: tuple[Told, ...]) -> None:
        if key.kind == MODEL_SERVICE:
            telemetry.tell(key.namespace, key.name, ((one.metric, one.about, one.value) for one in told))

    @property
    def _loops(self) -> dict[str, Callable[[Key], Awaitable[Look | None]]]:
        return {FINE_TUNE_JOB: self._job, MODEL_SERVICE: self._service, PLATFORM.kind: self._platform}

    async def _job(self, key: Key) -> Look | None:
        snapshot = await observe_job(self.cluster, self.client, self.settings, key.namespace, key.name, self.now())
        if snapshot is None:
            self.interest.forget(key)
            return None
        decision = decide_job(replace(snapshot, refused=self.refused.get(key)))
        if self.interest.learn(key, snapshot.job.manifest()):
            decision = replace(decision, requeue_after=timedelta(0))
        return Look(snapshot.job.metadata, decision)

    async def _service(self, key: Key) -> Look | None:
        snapshot = await observe_service(self.cluster, self.sources, self.settings, key.namespace, key.name, self.now())
        if snapshot is None:
            self.interest.forget(key)
            return None
        decision = decide_service(replace(snapshot, refused=self.refused.get(key)))
        ref = snapshot.service.spec.traffic.route_ref
        if self.interest.learn_route(key, ref.name if ref is not None else None):
            decision = replace(decision, requeue_after=timedelta(0))
        return Look(snapshot.service.metadata, decision)

    async def _platform(self, key: Key) -> Look | None:
        """None when there is neither a policy nor a waiver: the next one that comes wakes this again."""
        snapshot = await observe_platform(self.cluster, self.now())
        if snapshot is None:
            return None
        return Look(ObjectMeta(name=key.name), decide_platform(snapshot))

    def _sorted(self, key: Key, error: Exception) -> RetryLater:
        """Every failure of a look is looked at again; how it is told depends on whose turn it is."""
        where = {"object": str(key)}
        telemetry.RECONCILES.labels(key.kind, type(error).__name__).inc()
        if isinstance(error, Conflict):
            log.info("the look was stale, looking again: %s", error, extra=where)
            return RetryLater(at_most=STALE)
        if isinstance(error, WriteRefused):
            log.warning("%s", error, extra=where)
            return RetryLater(at_most=error.look_again)
        if isinstance(error, ClusterUnavailable):
            log.warning("%s", error, extra=where)
            return RetryLater(timedelta(seconds=error.retry_after) if error.retry_after is not None else None)
        if isinstance(error, SerinError | ValidationError):
            log.error("%s", error, extra=where)
            return RetryLater()
        log.exception("a bug in Serin: the look failed", exc_info=error, extra=where)
        return RetryLater()


def _regarding(key: Key, meta: ObjectMeta) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": key.kind,
        "namespace": key.namespace,
        "name": key.name,
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
    }
