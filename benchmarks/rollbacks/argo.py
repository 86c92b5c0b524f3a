"""Argo Rollouts v1.9.2: its controller as a process, a Rollout for each canary, traffic by an SMI TrafficSplit.

The split needs no data plane: what is timed is the controller's write. Its controller serves /metrics and /healthz on all
addresses and has no option for less.
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

from rollbacks.stand import ARGO, GOOD, MOST, SMI, Stand, pod_template, read, until
from rollbacks.systems import Pace, Row, written

Json = dict[str, Any]
USER, MODULE, GROUP = "argo-rollouts", "github.com/argoproj/argo-rollouts", "argoproj.io/v1alpha1"


class ArgoRollouts:
    """A Rollout in canary mode with a background analysis, as its documentation's first example has it."""

    name = "Argo Rollouts"
    # docs/features/analysis.md: interval 5m, failureLimit 3 (the fourth bad measurement fails the run).
    paces = {Row.FLOOR: Pace(1, 1), Row.MATCHED: Pace(10, 1), Row.DOCUMENTED: Pace(300, 4)}

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._log = Path(tempfile.mkdtemp(prefix="serin-argo-")) / "controller.log"
        self._child: Child

    def start(self) -> None:
        plane = self._stand.plane
        for crd in sorted((module_folder(ARGO, MODULE) / "manifests" / "crds").glob("*-crd.yaml")):
            self._stand.apply(str(crd))
        self._stand.apply(_traffic_split_crd(), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": USER}})
        plane.server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        plane.admit(USER)
        metrics, health = free_ports(2)
        program = ARGO.program(Paths.default(), "rollouts-controller")
        flags = [f"--metricsPort={metrics}", f"--healthzPort={health}", "--leader-elect=false", "--loglevel=warn"]
        kubeconfig = f"--kubeconfig={plane.kubeconfig(USER)}"
        self._child = Child(USER, [program, kubeconfig, *flags], self._log)

    def stop(self) -> None:
        self._child.stop()

    def label(self, namespace: str) -> str:
        return f"{namespace}.canary"

    def serve(self, namespace: str, pace: Pace) -> None:
        self._stand.prometheus.says(value(GOOD), metric="length", revision=self.label(namespace))
        self._stand.apply(*self._manifests(namespace, pace), namespace=namespace)
        with self._stand.plane.api() as api:

            def is_stable() -> bool:
                rollout = read(api, GROUP, "rollouts", namespace, "bot")
                return rollout.get("status", {}).get("phase") == "Healthy"

            until(is_stable, f"{namespace}: the first model serves", 120)

    def release(self, namespace: str) -> None:
        change = {"spec": {"template": {"metadata": {"annotations": {"example.com/model": "b"}}}}}
        with self._stand.plane.api() as api:
            api.patch(f"/apis/{GROUP}/namespaces/{namespace}/rollouts/bot", change)

    def weight(self, event: Json) -> int | None:
        split = written(event, "trafficsplits")
        if split is None:
            return None
        return sum(int(b["weight"]) for b in split["spec"]["backends"] if b["service"] == "bot-canary")

    def last_words(self) -> str:
        return tail(self._log.read_text(errors="replace"))

    def _manifests(self, namespace: str, pace: Pace) -> list[Json]:
        query = f'length{{revision="{self.label(namespace)}"}}'
        provider = {"prometheus": {"address": self._stand.prometheus.url, "query": query}}
        metric = {
            "name": "length",
            "interval": f"{pace.interval}s",
            "failureLimit": pace.failures - 1,
            "successCondition": f"result[0] <= {MOST}",
            "provider": provider,
        }
        template = {"apiVersion": GROUP, "kind": "AnalysisTemplate", "metadata": {"name": "length"},
                    "spec": {"metrics": [metric]}}  # fmt: skip
        canary = {
            "stableService": "bot-stable",
            "canaryService": "bot-canary",
            "trafficRouting": {"smi": {}},
            "analysis": {"templates": [{"templateName": "length"}]},
            "steps": [{"setWeight": 10}, {"pause": {}}],
        }
        rollout = {
            "apiVersion": GROUP,
            "kind": "Rollout",
            "metadata": {"name": "bot"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "bot"}},
                "template": pod_template("bot"),
                "strategy": {"canary": canary},
            },
        }
        return [*(_service(name) for name in ("bot-stable", "bot-canary")), template, rollout]


def _service(name: str) -> Json:
    spec = {"selector": {"app": "bot"}, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def _traffic_split_crd() -> Json:
    """As much of the SMI's TrafficSplit as its one writer here needs."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {
        "kind": "TrafficSplit",
        "listKind": "TrafficSplitList",
        "plural": "trafficsplits",
        "singular": "trafficsplit",
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"trafficsplits.{SMI}"},
        "spec": {"group": SMI, "scope": "Namespaced", "names": names, "versions": [version]},
    }
