"""What a system under test is: a controller that can be given a canary, and whose weight can be read from the audit log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

Json = dict[str, Any]


class Row(StrEnum):
    """How a system is set up."""

    FLOOR = "floor"  # as fast as it can be
    MATCHED = "matched"  # a look every 10 s, and the first bad one counts
    DOCUMENTED = "documented"  # as its documentation's first example, or by default


@dataclass(frozen=True, slots=True)
class Pace:
    """A look every `interval` seconds; so many bad ones until it acts."""

    interval: int
    failures: int


class System(Protocol):
    """One of the three."""

    @property
    def name(self) -> str: ...

    @property
    def paces(self) -> dict[Row, Pace]: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def label(self, namespace: str) -> str:
        """The value of the label `revision` that its canary in this namespace is measured by."""
        ...

    def serve(self, namespace: str, pace: Pace) -> None:
        """A stable model that has all traffic; returns when that is so."""
        ...

    def release(self, namespace: str) -> None:
        """A new model; the canary begins some time after."""
        ...

    def weight(self, event: Json) -> int | None:
        """The canary's share that this event of the audit log has written; None when it wrote none."""
        ...

    def last_words(self) -> str:
        """The end of its log."""
        ...


def written(event: Json, resource: str) -> Json | None:
    """The object that a successful write of the audit log left behind."""
    answered = event.get("responseStatus", {}).get("code", 500) < 300
    ours = event["verb"] in ("create", "update", "patch") and event["objectRef"].get("resource") == resource
    if not (answered and ours) or event["objectRef"].get("subresource"):
        return None
    return event.get("responseObject")


def route_weight(event: Json, is_canary: Callable[[str], bool]) -> int | None:
    """The share of the backends that are the canary's, in a written HTTPRoute."""
    route = written(event, "httproutes")
    if route is None:
        return None
    backends = [ref for rule in route["spec"].get("rules", []) for ref in rule.get("backendRefs", [])]
    return sum(ref.get("weight", 1) for ref in backends if is_canary(ref["name"]))
