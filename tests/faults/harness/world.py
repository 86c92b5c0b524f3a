"""One run's world: a namespace of the plane, the operator behind its proxy, a Prometheus, and the user's hands."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from faults.harness.actors import Actors, Behaviour
from faults.harness.operators import Operator
from faults.harness.plane import Api, Plane
from faults.harness.proxy import FaultProxy
from faults.prometheus import ScriptedPrometheus, value
from serin_operator.api.kinds import KINDS, MODEL_REVISION, Kind

Json = dict[str, Any]
PATIENCE = 90.0  # for anything that a story waits for
POLL_SECONDS = 0.1  # between looks at the audit log: a file that we read anyway
LOOK_SECONDS = 1.0  # for facts that no write tells of


class TooLate(AssertionError):
    """What a story waits for did not come."""


class World:
    """A context manager. The operator starts with it; nothing is numbered before `begin()`."""

    def __init__(
        self, plane: Plane, actors: Actors, seed: int = 0, patience: float = PATIENCE, **settings: object
    ) -> None:
        self.plane, self.patience = plane, patience
        self.namespace = plane.namespace()
        self.behaviour: Behaviour = actors.of(self.namespace)
        self.prometheus = ScriptedPrometheus()
        self.proxy = FaultProxy(plane, seed, namespace=self.namespace, counting=False)
        self.api: Api = plane.api()
        self.operator: Operator
        self.began_at = 0.0  # on the proxy's clock
        self.notes: list[tuple[float, str]] = []  # what the user did, for the timeline
        self._actors, self._settings = actors, settings
        self._stop = threading.Event()

    def __enter__(self) -> World:
        self.prometheus.__enter__()
        self.proxy.start()
        sources = [{"name": "default", "url": self.prometheus.url, "delaySeconds": 0}]
        self.operator = Operator(
            self.proxy.kubeconfig,
            namespace=self.namespace,
            **{"metricSources": sources, "scaleDownDelaySeconds": 1, "prepareRetrySeconds": 2} | self._settings,
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.operator.close()
        self.proxy.stop()
        self.prometheus.__exit__()
        self._clean_up()
        self._actors.forget(self.namespace)
        self.plane.audit.forget(self.namespace)
        self.api.client.close()

    def begin(self) -> None:
        """From here on writes are numbered and faults are met."""
        self.began_at = self.proxy.now
        self.proxy.restart_numbers()

    # --- the user's hands -------------------------------------------------------------------------------------------

    def apply(self, *manifests: Json) -> None:
        """Creates them here, with their status if they bring one."""
        for manifest in manifests:
            kind = KINDS[(manifest["apiVersion"], manifest["kind"])]
            name = manifest["metadata"]["name"]
            self.note(f"the user creates {kind.kind} {name}")
            spoken = {key: part for key, part in manifest.items() if key != "status"}
            self.api.create(kind.path(self.namespace), spoken)
            if "status" in manifest:
                self.api.patch(kind.path(self.namespace, name, "status"), {"status": manifest["status"]})

    def edit(self, kind: Kind, name: str, change: Json) -> None:
        """A merge patch."""
        self.note(f"the user edits {kind.kind} {name}: {change}")
        self.api.patch(kind.path(self.namespace, name), change)

    def remove(self, kind: Kind, name: str, propagation: str = "Background") -> None:
        self.note(f"the user deletes {kind.kind} {name}")
        self.api.delete(kind.path(self.namespace, name), propagation)

    def measures(self, revision: str, length: float) -> None:
        """What the SLO `length` finds from now on."""
        self.note(f"{revision} answers with a length of {length:g}")
        self.prometheus.says(value(length), metric="length", revision=revision)

    def get(self, kind: Kind, name: str) -> Json:
        """Empty when there is none."""
        return self.api.get(kind.path(self.namespace, name)) or {}

    def status(self, kind: Kind, name: str) -> Json:
        return self.get(kind, name).get("status") or {}

    def items(self, kind: Kind, selector: str = "") -> list[Json]:
        return self.api.items(kind.path(self.namespace), selector)

    def names(self, kind: Kind, selector: str = "") -> list[str]:
        return sorted(item["metadata"]["name"] for item in self.items(kind, selector))

    def until(self, fact: Callable[[], object], what: str, seconds: float | None = None, free: bool = False) -> None:
        """Looks again when something was written in the namespace, and once a second. `free`: the fact asks no apiserver,
        so that it can be looked at all the time."""
        deadline = time.monotonic() + (seconds or self.patience)
        looked_at, written = 0.0, -1
        while True:
            now, events = time.monotonic(), self.plane.audit.count(self.namespace)
            if free or events != written or now - looked_at >= LOOK_SECONDS:
                if fact():
                    return
                looked_at, written = now, events
            if now > deadline:
                raise TooLate(f"not within {seconds or self.patience:.0f} s: {what}")
            time.sleep(POLL_SECONDS)

    def note(self, text: str) -> None:
        self.notes.append((self.proxy.now, text))

    def timeline(self) -> str:
        """What happened, the user's part included, with the operator's last words."""
        theirs = [(call.time, str(call)) for call in self.proxy.shown()]
        ours = [(at, f"{at:8.3f}s       {text}") for at, text in self.notes]
        lines = [text for _, text in sorted([*theirs, *ours], key=lambda pair: pair[0])]
        return "\n".join([*lines, "the operator's last words:", self.operator.tail(15)])

    def _clean_up(self) -> None:
        """The namespace stays, empty: taking it away costs the apiserver more than the run itself."""
        for plural in ("finetunejobs", "modelservices", "modelrevisions", "evalgates"):
            self.api.client.request("DELETE", f"/apis/serin.dev/v1alpha1/namespaces/{self.namespace}/{plural}")


def passed_revision(letter: str, verdict: str = "Passed") -> Json:
    """A ModelRevision that a gate has let through, unless another verdict is said."""
    from support.service_world import a_revision

    made = a_revision(letter, datetime.now(UTC), verdict)
    meta = {key: made["metadata"][key] for key in ("name", "labels")}
    return made | {"apiVersion": MODEL_REVISION.api_version, "metadata": meta}
