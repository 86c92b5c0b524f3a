"""Serin: its operator as a process, a ModelService for each canary."""

from __future__ import annotations

from typing import Any

from faults.harness.flows import A, B, service
from faults.harness.operators import Operator
from faults.harness.plane import OPERATOR
from faults.harness.world import passed_revision
from faults.prometheus import value
from serin_operator.api.kinds import MODEL_REVISION, MODEL_SERVICE

from rollbacks.stand import GOOD, MOST, Stand, until
from rollbacks.systems import Pace, Row, route_weight

Json = dict[str, Any]


class Serin:
    """`revision` of its SLO's query is the namespace and the revision's name, so that one Prometheus tells all canaries."""

    name = "Serin"
    # docs/user/canary.md: a look every 5 s unless told otherwise. The first bad one counts.
    paces = {Row.FLOOR: Pace(1, 1), Row.MATCHED: Pace(10, 1), Row.DOCUMENTED: Pace(5, 1)}

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._operator: Operator

    def start(self) -> None:
        sources = [{"name": "default", "url": self._stand.prometheus.url}]
        kubeconfig = self._stand.plane.kubeconfig(OPERATOR)
        self._operator = Operator(kubeconfig, metricSources=sources).start()

    def stop(self) -> None:
        self._operator.close()

    def label(self, namespace: str) -> str:
        return f"{namespace}.{B}"

    def serve(self, namespace: str, pace: Pace) -> None:
        steps = [{"weightPercent": 10, "holdSeconds": 86400}, {"weightPercent": 100}]
        blindness = {"timeoutSeconds": 60 + pace.interval}
        made = service(steps=steps, intervalSeconds=pace.interval, blindness=blindness)
        query = 'length{revision="{{namespace}}.{{revision}}"}'
        made["spec"]["slos"] = [{"name": "length", "query": query, "max": str(MOST)}]
        made["spec"]["traffic"]["hostnames"] = [f"{namespace}.example.com"]
        for revision in (A, B):
            self._stand.prometheus.says(value(GOOD), metric="length", revision=f"{namespace}.{revision}")
        with self._stand.plane.api() as api:
            api.create(MODEL_SERVICE.path(namespace), made)
            self._passed(namespace, "a")

            def is_stable() -> bool:
                status = (api.get(MODEL_SERVICE.path(namespace, "bot")) or {}).get("status") or {}
                return status.get("state") == "Stable" and (status.get("stable") or {}).get("revision") == A

            until(is_stable, f"{namespace}: the first model serves", 120)

    def release(self, namespace: str) -> None:
        self._passed(namespace, "b")

    def weight(self, event: Json) -> int | None:
        return route_weight(event, lambda backend: backend == B)

    def last_words(self) -> str:
        return self._operator.tail()

    def _passed(self, namespace: str, letter: str) -> None:
        revision = passed_revision(letter)
        spoken = {key: part for key, part in revision.items() if key != "status"}
        with self._stand.plane.api() as api:
            api.create(MODEL_REVISION.path(namespace), spoken)
            name = revision["metadata"]["name"]
            api.patch(MODEL_REVISION.path(namespace, name, "status"), {"status": revision["status"]})
