"""Carries out a Decision: status first (the journal), then fences, then objects, then events. It decides nothing.

A conflict means that the look was stale: nothing further of this decision is done, and the object is looked at again.
A refusal (quota, admission, rights) concerns one action: the others are done, since a Deployment that a quota refuses
must not keep the route from moving. Only what follows a refused Create is left, since that builds upon it.
Whether we may write at all is asked before every try of every write, by the Cluster that is handed in.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from serin_operator.api.kinds import CLUSTER_EVAL_POLICY, EVAL_WAIVER, EVENT, FINE_TUNE_JOB, KINDS, MODEL_SERVICE, Kind
from serin_operator.decide.decision import (
    Action,
    Amend,
    Apply,
    Create,
    Decision,
    Delete,
    Event,
    Fence,
    Manifest,
    StatusWrite,
)
from serin_operator.decide.refusals import Refusal
from serin_operator.errors import Conflict, Refused, SerinError
from serin_operator.manifests import names
from serin_operator.rest import Cluster, Json

CONTROLLER = "serin.dev/operator"
_LOOKED_AT = (FINE_TUNE_JOB, MODEL_SERVICE, CLUSTER_EVAL_POLICY, EVAL_WAIVER)  # their own status is no news to them
MAX_SAID = 600  # of an apiserver's sentence; a condition has room for a thousand letters


class WriteRefused(SerinError):
    """The apiserver refused an action of the decision; `look_again` is when the decision wanted the next look."""

    def __init__(self, refusal: Refusal, look_again: timedelta | None) -> None:
        super().__init__(f"{refusal.kind} {refusal.name} was refused ({refusal.code}): {refusal.said}")
        self.refusal, self.look_again = refusal, look_again


class Executor:
    """Writes to the cluster."""

    def __init__(self, cluster: Cluster, instance: str, now: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._instance = instance
        self._now = now
        self._written: dict[str, str] = {}  # uid -> resourceVersion of our last status write: only to tell echoes

    def wrote(self, uid: str, resource_version: str) -> bool:
        """True for the very version that our own status write made: its event is an echo, not news."""
        return self._written.get(uid) == resource_version

    async def carry_out(self, decision: Decision, regarding: Json) -> None:
        """All of a decision, in order. `regarding` is the object reference that events point to."""
        for guard in decision.guards:
            await self._pass(guard)
        for write in decision.statuses:
            await self._write_status(write)
        for fence in decision.fences if decision.actions else ():
            await self._pass(fence)
        refusal = await self._act(decision.actions)
        for event in decision.events:
            await self._publish(event, regarding)
        if refusal is not None:
            raise WriteRefused(refusal, decision.requeue_after)

    async def _act(self, actions: Iterable[Action]) -> Refusal | None:
        """Do what is accepted; the first refusal, if there was one."""
        first: Refusal | None = None
        for action in actions:
            try:
                await self._do(action)
            except Refused as error:
                first = first or _refusal(action, error)
                if isinstance(action, Create):
                    break
        return first

    async def _write_status(self, write: StatusWrite) -> None:
        kind = KINDS[(write.api_version, write.kind)]
        meta: Json = {"name": write.name, "namespace": write.namespace}
        if write.expect is not None:
            meta["resourceVersion"] = write.expect
        manifest = {"apiVersion": write.api_version, "kind": write.kind, "metadata": meta, "status": write.status}
        try:
            answer = await self._cluster.apply(kind, manifest, write.manager, subresource="status")
        except Refused as error:
            if error.code == 404:
                raise Conflict(str(error)) from error  # deleted since it was looked at
            raise
        if kind in _LOOKED_AT:
            self._written[answer["metadata"]["uid"]] = answer["metadata"]["resourceVersion"]

    async def _pass(self, fence: Fence) -> None:
        await self._cluster.confirm(KINDS[(fence.api_version, fence.kind)], fence.namespace, fence.name, fence.expect)

    async def _do(self, action: Action) -> None:
        match action:
            case Apply(manifest, manager, expect):
                await self._cluster.apply(_kind(manifest), _expecting(manifest, expect), manager)
            case Amend(api_version, kind, namespace, name, patch, manager, version):
                await self._cluster.amend(KINDS[(api_version, kind)], namespace, name, patch, version, manager)
            case Create(manifest):
                await self._create(_kind(manifest), manifest)
            case Delete(api_version, kind, namespace, name, uid, version):
                await self._cluster.delete(KINDS[(api_version, kind)], namespace, name, uid, version)

    async def _create(self, kind: Kind, manifest: Manifest) -> None:
        """What is there already is success when we made it, perhaps a moment ago by a try whose answer was lost."""
        if await self._cluster.create(kind, manifest, blindly=False):
            return
        meta = manifest["metadata"]
        found = await self._cluster.get(kind, meta.get("namespace"), meta["name"])
        if found is None:
            raise Conflict(f"{kind.kind} {meta['name']} went away while it was created")
        if not _ours(manifest, found):
            raise Refused(
                f"{kind.kind} {meta['name']} exists", 409, "an object of this name exists that Serin did not make"
            )

    async def _publish(self, event: Event, regarding: Json) -> None:
        """Events are hints: one that cannot be written is not worth a retry of the whole look."""
        try:
            await self._cluster.create(EVENT, _event(event, regarding, self._instance, self._now()))
        except SerinError:
            return


def _kind(manifest: Any) -> Kind:
    return KINDS[(manifest["apiVersion"], manifest["kind"])]


def _ours(wish: Manifest, found: Manifest) -> bool:
    """The object has every owner of the wish, and says as the wish does who manages it."""
    owners = {owner["uid"] for owner in found["metadata"].get("ownerReferences") or ()}
    wanted = {owner["uid"] for owner in wish["metadata"].get("ownerReferences") or ()}
    return wanted <= owners and _manager(wish) == _manager(found)


def _manager(manifest: Manifest) -> str | None:
    labels: Mapping[str, str] = manifest["metadata"].get("labels") or {}
    return labels.get(names.MANAGED_BY)


def _refusal(action: Action, error: Refused) -> Refusal:
    kind, name = (
        (action.kind, action.name)
        if isinstance(action, Delete | Amend)
        else (action.manifest["kind"], action.manifest["metadata"]["name"])
    )
    return Refusal(kind, name, error.code, error.said[:MAX_SAID])


def _expecting(manifest: Manifest, version: str | None) -> Manifest:
    """The manifest with the version that it may replace; without one it may create or replace whatever is there."""
    if version is None:
        return manifest
    return {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": version}}


def _event(event: Event, regarding: Json, instance: str, now: datetime) -> Json:
    """An events.k8s.io/v1 Event (https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/).

    Its name derives from what it says about which version of the object, so a second try is the same event.
    """
    text = f"{regarding['uid']}/{event.reason}/{event.message}"
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": f"{regarding['name'][:40].rstrip('-.')}.{sha256(text.encode()).hexdigest()[:12]}",
            "namespace": regarding["namespace"],
        },
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reason": event.reason,
        "note": event.message[:1000],
        "type": "Warning" if event.warning else "Normal",
        "action": "Reconcile",
        "reportingController": CONTROLLER,
        "reportingInstance": instance,
        "regarding": regarding,
    }
