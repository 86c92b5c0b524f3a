"""What all systems under test stand on: one control plane, one Prometheus, and the peers' programs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.harness.actors import Actors
from faults.harness.plane import Api, Plane
from faults.prometheus import ScriptedPrometheus, value
from serin_devcluster.gobuild import GoTool
from serin_operator.manifests import names

Json = dict[str, Any]
PEERS = Path(__file__).parents[1] / "peers"
ARGO = GoTool(
    "argo-rollouts",
    {"rollouts-controller": "github.com/argoproj/argo-rollouts/cmd/rollouts-controller"},
    modules=PEERS,
)
FLAGGER = GoTool("flagger", {"flagger": "github.com/fluxcd/flagger/cmd/flagger"}, modules=PEERS)
GOOD, BAD, MOST = 23.0, 126.0, 96  # what the metric `length` measures, and the most that is allowed
SMI = "split.smi-spec.io"


class Stand:
    """A context manager over the control plane and what plays around it."""

    def __init__(self) -> None:
        self.plane = Plane(told_groups=[SMI])
        self.prometheus = ScriptedPrometheus()

    def __enter__(self) -> Stand:
        self.plane.__enter__()
        self.actors = Actors(self.plane).__enter__()
        self.prometheus.__enter__()
        self.prometheus.says(value(1), metric="vector")  # Flagger asks `vector(1)` before it trusts a server
        return self

    def __exit__(self, *_: object) -> None:
        self.prometheus.__exit__()
        self.actors.__exit__()
        self.plane.__exit__()

    def apply(self, *manifests: Json | str, namespace: str = "") -> None:
        """Of any kind, by kubectl; a string is a file."""
        where = ["--namespace", namespace] if namespace else []
        for manifest in manifests:
            if isinstance(manifest, str):
                self.plane.server.kubectl("apply", "--server-side", *where, "-f", manifest)
            else:
                self.plane.server.kubectl("apply", "--server-side", *where, "-f", "-", stdin=json.dumps(manifest))

    def asked_at(self, label: str) -> list[float]:
        """When (Unix seconds) Prometheus was asked for the metric of `label`, oldest first."""
        start = time.time() - self.prometheus.seconds
        return [start + asked.seconds for asked in list(self.prometheus.asked) if f'"{label}"' in asked.query]


def pod_template(app: str) -> Json:
    """Of a server whose readiness is played as that of Serin's own."""
    labels = {"app": app, names.MANAGED_BY: names.MANAGER, names.STAGE: "serve", names.REVISION: app}
    return {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "server", "image": "server:1"}]}}


def until(fact: Callable[[], object], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


def read(api: Api, group: str, plural: str, namespace: str, name: str) -> Json:
    """An object of a named group and version; empty when there is none."""
    return api.get(f"/apis/{group}/namespaces/{namespace}/{plural}/{name}") or {}
