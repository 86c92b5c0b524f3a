"""A team's namespace, its queue with room for one job, and what a story asks about its jobs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from kueue.kubelet import Kubelet
from serin_devcluster.apiserver import ApiServer
from support.jobs import job_manifest
from support.kueue import Kueue
from support.on_a_cluster import GATE, apply, claims, until
from support.operator_process import OperatorProcess

Json = dict[str, Any]
SLOW = 240  # seconds; on an idle machine each of these takes a few
KUEUE_API = "kueue.x-k8s.io/v1beta1"
SELECTOR = {"cloud.example.com/pool": "a100"}
TOLERATION = {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}
TAINT = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
QUEUE = "team-a"
OPERATOR = "serin-operator"  # the operator's name towards the apiserver


class Team:
    """`name` is that of the namespace, of the ClusterQueue and of its flavor."""

    def __init__(self, server: ApiServer, kueue: Kueue, operator: OperatorProcess, kubelet: Kubelet, name: str) -> None:
        self.server, self.kueue, self.operator, self.kubelet, self.name = server, kueue, operator, kubelet, name

    def prepare(self) -> Team:
        self.server.kubectl("create", "namespace", self.name)
        self.apply(self._flavor(), self._cluster_queue(), self._local_queue(), *claims(), GATE)
        return self

    def apply(self, *manifests: Json) -> None:
        apply(self.server, self.name, *manifests)

    def _flavor(self) -> Json:
        spec = {"nodeLabels": SELECTOR, "nodeTaints": [TAINT], "tolerations": [TOLERATION]}
        return {"apiVersion": KUEUE_API, "kind": "ResourceFlavor", "metadata": {"name": self.name}, "spec": spec}

    def _cluster_queue(self) -> Json:
        quota = {"cpu": "2", "memory": "4Gi"}
        resources = [{"name": name, "nominalQuota": much} for name, much in quota.items()]
        spec = {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.name}},
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "resourceGroups": [
                {"coveredResources": list(quota), "flavors": [{"name": self.name, "resources": resources}]}
            ],
        }
        return {"apiVersion": KUEUE_API, "kind": "ClusterQueue", "metadata": {"name": self.name}, "spec": spec}

    def _local_queue(self) -> Json:
        return {
            "apiVersion": KUEUE_API,
            "kind": "LocalQueue",
            "metadata": {"name": QUEUE},
            "spec": {"clusterQueue": self.name},
        }

    # --- what a user does ---------------------------------------------------------------------------------------------

    def train(self, name: str, priority: str | None = None, queue: str = QUEUE) -> None:
        """A job of two pods, which take the whole of the team's quota."""
        distribution: Json = {
            "nodes": 2,
            "queueName": queue,
            "resources": {"limits": {"cpu": 1, "memory": "2Gi"}},
            **({"scheduling": {"priorityClassName": priority}} if priority else {}),
        }
        spec = job_manifest()["spec"] | {"distribution": distribution}
        del spec["rollout"]
        self.apply(
            {"apiVersion": "serin.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": name}, "spec": spec}
        )

    def edit(self, name: str, **spec: Any) -> None:
        self._kubectl("patch", "ftj", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def finish(self, name: str) -> None:
        self.kubelet.finish(self.name, name)

    # --- what can be seen ---------------------------------------------------------------------------------------------

    def status(self, name: str) -> Json:
        return json.loads(self._kubectl("get", "ftj", name, "-o", "json")).get("status", {})

    def condition(self, name: str, type_: str) -> Json:
        return next((c for c in self.status(name).get("conditions", []) if c["type"] == type_), {})

    def entry(self, name: str) -> Json:
        return next((e for e in self.status(name).get("stages", []) if e["name"] == "Train"), {})

    def jobs(self, name: str) -> list[Json]:
        return self._items("jobs", name)

    def job(self, name: str) -> Json:
        [found] = self.jobs(name)
        return found

    def pods(self, name: str) -> list[Json]:
        return self._items("pods", name)

    def workload(self, name: str) -> Json:
        """What Kueue keeps of the training Job."""
        found = json.loads(self._kubectl("get", "workloads.kueue.x-k8s.io", "-o", "json"))["items"]
        uid = self.job(name)["metadata"]["uid"]
        return next((w for w in found if w["metadata"]["labels"].get("kueue.x-k8s.io/job-uid") == uid), {})

    def kueue_says(self, name: str, type_: str) -> Json:
        conditions = self.workload(name).get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == type_), {})

    def until(self, fact: Callable[[], bool]) -> None:
        until(fact, SLOW, self.told, every=0.7)

    def until_state(self, name: str, state: str) -> None:
        self.until(lambda: self.status(name).get("state") == state)

    def told(self) -> str:
        """For the message of a wait that fails."""
        seen = self._kubectl("get", "ftj,jobs,pods,workloads.kueue.x-k8s.io", "-o", "wide")
        return "\n".join([seen, self._kubectl("get", "events"), self.operator.tail(15), self.kueue.tail()])

    def writes(self, job: str) -> list[tuple[str, str]]:
        """Who did what to a Job, oldest first, by the apiserver's audit log."""
        found: list[tuple[str, str]] = []
        for event in self.server.audit_events():
            ref = event.get("objectRef", {})
            if (ref.get("resource"), ref.get("namespace"), ref.get("name")) == ("jobs", self.name, job):
                found.append((event["user"]["username"], event["verb"]))
        return found

    def _items(self, kind: str, name: str) -> list[Json]:
        selector = f"serin.dev/stage=train,serin.dev/job={name}"
        found = self._kubectl("get", kind, "-l", selector, "-o", "json", "--show-managed-fields")
        return json.loads(found)["items"]

    def _kubectl(self, *args: str) -> str:
        return self.server.kubectl("-n", self.name, *args)
