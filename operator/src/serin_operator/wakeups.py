"""What is watched, and who is woken when it changes. Not here: how changes become known (`handlers`, `resync`)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from serin_operator import telemetry
from serin_operator.api import kinds
from serin_operator.api.kinds import Kind
from serin_operator.interest import Interest
from serin_operator.manifests import names
from serin_operator.queue import Key, WorkQueue
from serin_operator.reconciler import FINE_TUNE_JOB, MODEL_SERVICE, PLATFORM
from serin_operator.sightings import Missed, Sighting, Sightings

Body = Mapping[str, Any]
_OF_THE_PLATFORM = (kinds.CLUSTER_EVAL_POLICY, kinds.EVAL_WAIVER)
OURS = f"{names.MANAGED_BY}={names.MANAGER}"


@dataclass(frozen=True, slots=True)
class Watched:
    """A kind of which every change is followed, and which of its objects."""

    kind: Kind
    selector: str = ""


WATCHED = (
    Watched(kinds.FINE_TUNE_JOB),
    Watched(kinds.MODEL_SERVICE),
    Watched(kinds.EVAL_GATE),
    Watched(kinds.CLUSTER_EVAL_POLICY),
    Watched(kinds.EVAL_WAIVER),
    Watched(kinds.MODEL_REVISION),
    Watched(kinds.JOB, OURS),
    Watched(kinds.POD, OURS),
    Watched(kinds.DEPLOYMENT, OURS),
    Watched(
        kinds.HTTP_ROUTE
    ),  # all: a lent one carries no label of ours, labels of serin.dev are not its owner's to write
)


def all_sightings() -> dict[Kind, Sightings]:
    return {watched.kind: Sightings() for watched in WATCHED}


def made(sightings: Mapping[Kind, Sightings], kind: Kind, body: Body) -> None:
    """We wrote an object ourselves: should it go before anybody tells of it, it is missed."""
    if kind in sightings:
        sightings[kind].made(Sighting.of(body["metadata"]))


@dataclass(slots=True)
class Wakeups:
    """Translates changes into keys of the queue."""

    queue: WorkQueue
    interest: Interest
    own_writes: Callable[[str, str], bool]
    sightings: dict[Kind, Sightings] = field(default_factory=all_sightings)
    _asked: dict[str, tuple[object, object]] = field(default_factory=dict[str, tuple[object, object]])  # by uid

    def told(self, kind: Kind, body: Body, gone: bool) -> None:
        """A watch told of an object. Relists and repetitions tell again what is known: nobody is woken by those."""
        telemetry.WATCH_EVENTS.labels(kind.plural).inc()
        found = Sighting.of(body["metadata"])
        known = self.sightings[kind]
        if not (known.heard_gone(found) if gone else known.heard(found)):
            return
        if gone:
            self._asked.pop(found.uid, None)
        if kind is kinds.FINE_TUNE_JOB and not gone:
            self.interest.learn(Key(FINE_TUNE_JOB, found.namespace, found.name), body)
        if kind is kinds.MODEL_SERVICE and not gone:
            self.interest.learn_route(Key(MODEL_SERVICE, found.namespace, found.name), _lent_route(body))
        if not gone and self.own_writes(found.uid, found.version):
            return  # the echo of our own status write is no news
        if kind in _OF_THE_PLATFORM and not gone and self._asks_as_before(body):
            self.queue.add(PLATFORM)
            return
        self._wake(kind, found)

    def _asks_as_before(self, body: Body) -> bool:
        """Only the status, or a note on it, changed: every job of the cluster need not be looked at for that."""
        meta = body["metadata"]
        now = (meta.get("generation"), meta.get("deletionTimestamp"))
        before = self._asked.get(meta.get("uid", ""))
        self._asked[meta.get("uid", "")] = now
        return before == now and now[0] is not None

    def missed(self, kind: Kind, missed: Missed, now: float) -> None:
        """A list shows what no watch has told."""
        telemetry.WATCH_MISSES.labels(kind.plural).inc(len(missed))
        self.sightings[kind].admit(missed, now)
        for found in missed.vanished:
            self._asked.pop(found.uid, None)
        for found in (*missed.changed, *missed.vanished):
            self._wake(kind, found)

    def _wake(self, kind: Kind, found: Sighting) -> None:
        for key in self.concerned(kind, found):
            self.queue.add(key)

    def concerned(self, kind: Kind, found: Sighting) -> Iterable[Key]:
        """Whom a change concerns. Whether the object is still there, the look sees for itself."""
        namespace, name, labels = found.namespace, found.name, dict(found.labels)
        if kind is kinds.FINE_TUNE_JOB:
            return [Key(FINE_TUNE_JOB, namespace, name)]
        if kind is kinds.MODEL_SERVICE:
            return [Key(MODEL_SERVICE, namespace, name), *self.interest.in_service(namespace, name)]
        if kind is kinds.EVAL_GATE:
            return self.interest.in_gate(namespace, name)
        if kind in _OF_THE_PLATFORM:
            return [PLATFORM, *self.interest.in_policies()]
        if kind is kinds.MODEL_REVISION:
            return self._of_revision(namespace, labels)
        if kind is kinds.HTTP_ROUTE:
            return [*_owner(namespace, labels), *self.interest.in_route(namespace, name)]
        return _owner(namespace, labels)

    def _of_revision(self, namespace: str, labels: Mapping[str, str]) -> Iterable[Key]:
        """Its service, those on their way to it, and the job that made it."""
        found: list[Key] = []
        if service := labels.get(names.SERVICE):
            found += [Key(MODEL_SERVICE, namespace, service), *self.interest.in_service(namespace, service)]
        if job := labels.get(names.JOB):
            found.append(Key(FINE_TUNE_JOB, namespace, job))
        return found


def _lent_route(service: Body) -> str | None:
    """The route of the user's that a ModelService names."""
    traffic = cast("Body", cast("Body", service.get("spec") or {}).get("traffic") or {})
    return cast("Body", traffic.get("routeRef") or {}).get("name")


def _owner(namespace: str, labels: Mapping[str, str]) -> Iterable[Key]:
    """The owner that a child's labels name."""
    if job := labels.get(names.JOB):
        return [Key(FINE_TUNE_JOB, namespace, job)]
    if service := labels.get(names.SERVICE):
        return [Key(MODEL_SERVICE, namespace, service)]
    return []
