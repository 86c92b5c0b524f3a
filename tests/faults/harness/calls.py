"""What passed through the proxy: one record for each request, numbered when it is a write that counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

Json = dict[str, Any]
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "apply", "DELETE": "delete"}


@dataclass
class Call:
    """One request of the operator. `number` counts the writes, from 1; reads, leases and events have none."""

    time: float  # seconds since the proxy started
    method: str
    path: str
    query: str = ""
    body: bytes = b""
    number: int | None = None
    status: int | None = None  # what the apiserver said; None when it was not asked
    told: int | None = None  # what the operator was told; None when it was told nothing
    fault: str = ""
    group: str = field(init=False, default="")
    resource: str = field(init=False, default="")
    namespace: str = field(init=False, default="")
    name: str = field(init=False, default="")
    subresource: str = field(init=False, default="")

    def __post_init__(self) -> None:
        parts = [part for part in self.path.split("/") if part]
        match parts:
            case ["api", _, *rest]:
                pass
            case ["apis", group, _, *rest]:
                self.group = group
            case _:
                return
        if len(rest) > 2 and rest[0] == "namespaces":
            self.namespace, rest = rest[1], rest[2:]
        self.resource, self.name, self.subresource = (*rest, "", "", "")[:3]

    @property
    def verb(self) -> str:
        """As in RBAC, but for `apply`, which is what Serin's patches are, and `confirm`, which only asks for a version."""
        if self.method == "GET":
            return "watch" if self.watches else ("get" if self.name else "list")
        if self.method == "PATCH" and self.manifest.keys() == {"metadata"}:
            return "confirm"
        return _VERBS.get(self.method, self.method.lower())

    @property
    def watches(self) -> bool:
        return parse_qs(self.query).get("watch", [""])[0] in ("1", "true")

    @property
    def writes(self) -> bool:
        return self.method in _VERBS

    @property
    def manifest(self) -> Json:
        """What a write says."""
        return json.loads(self.body) if self.body else {}

    @property
    def what(self) -> str:
        """`apply modelservices/status bot`; a create names what it creates."""
        kind = "/".join(part for part in (self.resource, self.subresource) if part)
        name = self.name or self.manifest.get("metadata", {}).get("name", "")
        return f"{self.verb} {kind} {name}".strip()

    def __str__(self) -> str:
        number = f"#{self.number}" if self.number is not None else ""
        told = "" if self.told == self.status else f", told {self.told or 'nothing'}"
        status = self.status or ("not asked" if self.fault else "no answer yet")
        gist = _gist(self)
        fault = f"  <== {self.fault}" if self.fault else ""
        return f"{self.time:8.3f}s {number:>5} {self.what} -> {status}{told}{fault}{gist}"


Predicate = Callable[[Call], bool]


def counts(call: Call) -> bool:
    """Writes that change the world: leases tick by themselves, events are hints."""
    return call.writes and call.resource not in ("leases", "events")


def _gist(call: Call) -> str:
    """What a write is about, in a few words."""
    if not call.writes:
        return ""
    said = call.manifest
    status = said.get("status") or {}
    words = [str(status[field]) for field in ("state", "message") if status.get(field)]
    words += [f"{s['name']} {s.get('attempt')} {s.get('outcome')}" for s in status.get("stages") or ()]
    words += [json.dumps(status[part], sort_keys=True) for part in ("rollout", "gate") if part in status]
    for rule in (said.get("spec") or {}).get("rules") or ():
        words += [f"{ref['name']}={ref.get('weight')}" for ref in rule.get("backendRefs") or ()]
    return f"  [{'; '.join(words)[:300]}]" if words else ""
