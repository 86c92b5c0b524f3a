"""Flagger v1.36.1: its controller as a process, a Canary for each canary, traffic by an HTTPRoute of the Gateway API.

Its controller serves /metrics on all addresses and has no option for less.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from faults.prometheus import value
from serin_devcluster.apiserver import free_ports
from serin_devcluster.gobuild import module_folder
from serin_devcluster.paths import Paths
from serin_devcluster.processes import Child
from serin_devcluster.shell import tail

from rollbacks.stand import FLAGGER, GOOD, MOST, Stand, pod_template, read, until
from rollbacks.systems import Pace, Row, route_weight

Json = dict[str, Any]
USER, MODULE, GROUP = "flagger", "github.com/fluxcd/flagger", "flagger.app/v1beta1"


class Flagger:
    """A Canary of a Deployment with one metric of its own."""

    name = "Flagger"
    # An interval below 10 s is taken for 10 s. docs/gitbook/usage/how-it-works.md: interval 1m, threshold 10.
    paces = {Row.FLOOR: Pace(10, 1), Row.MATCHED: Pace(10, 1), Row.DOCUMENTED: Pace(60, 10)}

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._log = Path(tempfile.mkdtemp(prefix="serin-flagger-")) / "controller.log"
        self._child: Child

    def start(self) -> None:
        plane = self._stand.plane
        self._stand.apply(str(module_folder(FLAGGER, MODULE) / "artifacts" / "flagger" / "crd.yaml"))
        plane.server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        plane.admit(USER)
        program = FLAGGER.program(Paths.default(), "flagger")
        flags = [
            f"--kubeconfig={plane.kubeconfig(USER)}",
            f"--metrics-server={self._stand.prometheus.url}",
            "--mesh-provider=gatewayapi:v1",
            f"--port={free_ports(1)[0]}",
            "--log-level=info",
        ]
        self._child = Child(USER, [program, *flags], self._log)

    def stop(self) -> None:
        self._child.stop()

    def label(self, namespace: str) -> str:
        return f"{namespace}.canary"

    def serve(self, namespace: str, pace: Pace) -> None:
        self._stand.prometheus.says(value(GOOD), metric="length", revision=self.label(namespace))
        self._stand.apply(*self._manifests(namespace, pace), namespace=namespace)
        with self._stand.plane.api() as api:

            def is_stable() -> bool:
                return read(api, GROUP, "canaries", namespace, "bot").get("status", {}).get("phase") == "Initialized"

            until(is_stable, f"{namespace}: the first model serves", 120 + 4 * pace.interval)

    def release(self, namespace: str) -> None:
        change = {"spec": {"template": {"metadata": {"annotations": {"example.com/model": "b"}}}}}
        with self._stand.plane.api() as api:
            api.patch(f"/apis/apps/v1/namespaces/{namespace}/deployments/bot", change)

    def weight(self, event: Json) -> int | None:
        return route_weight(event, lambda backend: backend.endswith("-canary"))

    def last_words(self) -> str:
        return tail(self._log.read_text(errors="replace"))

    def _manifests(self, namespace: str, pace: Pace) -> list[Json]:
        query = f'length{{revision="{self.label(namespace)}"}}'
        provider = {"type": "prometheus", "address": self._stand.prometheus.url}
        template = {"apiVersion": GROUP, "kind": "MetricTemplate", "metadata": {"name": "length"},
                    "spec": {"provider": provider, "query": query}}  # fmt: skip
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "bot"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "bot"}}, "template": pod_template("bot")},
        }
        metric = {
            "name": "length",
            "interval": "1m",
            "templateRef": {"name": "length"},
            "thresholdRange": {"max": MOST},
        }
        canary = {
            "apiVersion": GROUP,
            "kind": "Canary",
            "metadata": {"name": "bot"},
            "spec": {
                "provider": "gatewayapi:v1",
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "bot"},
                "service": {
                    "port": 80,
                    "hosts": [f"{namespace}.example.com"],
                    "gatewayRefs": [{"name": "public", "namespace": "infra"}],
                },
                "analysis": {
                    "interval": f"{pace.interval}s",
                    "threshold": pace.failures,
                    "maxWeight": 50,
                    "stepWeight": 5,
                    "metrics": [metric],
                },
            },
        }
        return [template, deployment, canary]
