"""What a decision is made of: status to write first, then actions, then events, and when to look again."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StatusWrite:
    """Server-side apply of a status. `expect` is the resourceVersion the decision was made on: a stale look stops."""

    api_version: str
    kind: str
    namespace: str
    name: str
    status: Manifest
    manager: str
    expect: str | None = None


@dataclass(frozen=True, slots=True)
class Fence:
    """Go on only if this object is still the version that the decision was made on.

    Records and actions touch other objects than the one that was looked at, so its own version does not guard them: a look that was
    stale, or a process that slept between looking and writing, would act on a world that is gone.
    """

    api_version: str
    kind: str
    namespace: str
    name: str
    expect: str


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply: the same wish twice is the same object.

    `expect` is the version it may replace, where that counts; an object that is gone is made anew all the same.
    """

    manifest: Manifest
    manager: str
    expect: str | None = None


@dataclass(frozen=True, slots=True)
class Amend:
    """Change some fields of an object that is somebody else's, or of which the rest is not known any more, at the very version
    that was seen: what `patch` does not name stays (a JSON merge patch, in which a list is one field)."""

    api_version: str
    kind: str
    namespace: str
    name: str
    patch: Manifest
    manager: str
    expect: str


@dataclass(frozen=True, slots=True)
class Create:
    """Create once; an object of that name that is there already is success (names derive from the wish)."""

    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete exactly the object and the version that was seen (preconditions); gone already is success."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str


Action = Apply | Amend | Create | Delete


@dataclass(frozen=True, slots=True)
class Event:
    """A hint for `kubectl describe`; the record is the status."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """A gauge that Prometheus is to see as long as each look says so: what of, and its value."""

    metric: str
    about: str
    value: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now. Status writes come first: what cannot be observed later is written down before anything moves.

    Guards stand before all of it, for statuses that are not of the object that was looked at. Fences stand between the
    statuses and the actions; an object whose status was just written needs none.
    """

    sentence: str
    guards: tuple[Fence, ...] = ()
    statuses: tuple[StatusWrite, ...] = ()
    fences: tuple[Fence, ...] = ()
    actions: tuple[Action, ...] = ()
    events: tuple[Event, ...] = ()
    requeue_after: timedelta | None = None
    told: tuple[Told, ...] = ()
