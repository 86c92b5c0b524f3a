"""Who wants to know when an object changes: an index from gates, services and policies to jobs, and from routes to services.

Built from the events that pass by, and put right by every look at a job, so that no lost event leaves it wrong; when in
doubt it wakes too many, never too few.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from serin_operator.decide.job.status import FINAL
from serin_operator.queue import Key

_FINAL = frozenset(state.value for state in FINAL)


@dataclass(frozen=True, slots=True)
class _Wish:
    """What one job refers to, and whether its fate is decided."""

    gates: frozenset[str]
    service: str | None
    final: bool


@dataclass(slots=True)
class Interest:
    """Which jobs refer to what."""

    _jobs: dict[Key, _Wish] = field(default_factory=dict[Key, _Wish])
    _lent: dict[Key, str] = field(default_factory=dict[Key, str])  # services, and the user's route that each names

    def learn(self, key: Key, body: Mapping[str, Any]) -> bool:
        """Remember what a job refers to. True when it refers to something that was not known: whatever changed there
        before now woke nobody, so the job is worth another look."""
        spec = cast("Mapping[str, Any]", body.get("spec") or {})
        status = cast("Mapping[str, Any]", body.get("status") or {})
        gates = cast("list[Mapping[str, str]]", spec.get("gates") or [])
        rollout = cast("Mapping[str, Any]", spec.get("rollout") or {})
        service = cast("Mapping[str, str]", rollout.get("modelServiceRef") or {}).get("name")
        wish = _Wish(frozenset(g["name"] for g in gates), service, status.get("state") in _FINAL)
        known = self._jobs.get(key)
        self._jobs[key] = wish
        return known is None or (known.gates, known.service) != (wish.gates, wish.service)

    def learn_route(self, key: Key, route: str | None) -> bool:
        """Remember which route of the user's a service names, if it does. True when that is news, as of jobs."""
        if route is None:
            self._lent.pop(key, None)
            return False
        known = self._lent.get(key)
        self._lent[key] = route
        return known != route

    def forget(self, key: Key) -> None:
        self._jobs.pop(key, None)
        self._lent.pop(key, None)

    def in_route(self, namespace: str, route: str) -> Iterable[Key]:
        """The services that write its weights, or would."""
        return [key for key, name in self._lent.items() if key.namespace == namespace and name == route]

    def in_gate(self, namespace: str, gate: str) -> Iterable[Key]:
        """Every job that names the gate: also a rejected one is judged anew when the gate changes."""
        return [key for key, wish in self._jobs.items() if key.namespace == namespace and gate in wish.gates]

    def in_service(self, namespace: str, service: str) -> Iterable[Key]:
        """Jobs on their way to the service. Those whose fate is decided need not follow every step of a canary."""
        return [
            key
            for key, wish in self._jobs.items()
            if key.namespace == namespace and wish.service == service and not wish.final
        ]

    def in_policies(self) -> Iterable[Key]:
        return list(self._jobs)
