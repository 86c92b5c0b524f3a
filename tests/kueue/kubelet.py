"""Plays the kubelets of a cluster that has none: pods get a node, training pods run until a test lets them end, and pods
that are asked to end save first and say so, as the trainer does. The other stages' pods end well after a moment."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

from serin_devcluster.apiserver import ApiServer
from serin_devcluster.errors import DevclusterError
from serin_operator.api.contract import StageOutcome
from serin_operator.api.v1alpha1 import StageName
from serin_operator.decide.job.failures import EXIT_TRY_AGAIN
from support.pods import PodPlayer

Json = dict[str, Any]
SELECTOR = "app.kubernetes.io/managed-by=serin,serin.dev/job"


class Kubelet(PodPlayer):
    """A thread. `finish` lets the training pods of a job end well."""

    def __init__(self, server: ApiServer) -> None:
        super().__init__(server, seconds=0.1)
        self.finished: set[tuple[str, str]] = set()
        self.saved: list[str] = []
        self.binding: Json = {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "node-1"}}

    def finish(self, namespace: str, job: str) -> None:
        self.finished.add((namespace, job))

    def _play(self) -> None:
        while not self._stop.wait(0.7):
            for pod in self._json("get", "pods", "-A", "-l", SELECTOR)["items"]:
                with contextlib.suppress(DevclusterError):  # its ConfigMap may be gone before it
                    self._visit(pod)

    def _visit(self, pod: Json) -> None:
        phase = pod["status"].get("phase", "Pending")
        if pod["metadata"].get("deletionTimestamp"):
            self._obey(pod, phase)
        elif phase == "Pending":
            self._begin(pod)
        elif phase == "Running" and self._may_end(pod["metadata"]):
            self._end(pod)

    def _begin(self, pod: Json) -> None:
        meta = pod["metadata"]
        if not pod["spec"].get("nodeName"):
            where = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/binding"
            body = self.binding | {"metadata": {"name": meta["name"]}}
            self._server.kubectl_process("create", "--raw", where, "-f", "-", stdin=json.dumps(body))
        self._status(pod, {"phase": "Running", "startTime": _now()})

    def _may_end(self, meta: Json) -> bool:
        labels = meta["labels"]
        return labels["serin.dev/stage"] != "train" or (meta["namespace"], labels["serin.dev/job"]) in self.finished

    def _obey(self, pod: Json, phase: str) -> None:
        """SIGTERM: what trains saves a checkpoint and ends with the code for another try; then the pod goes."""
        meta = pod["metadata"]
        if phase == "Running":
            result = {"stage": StageName.TRAIN.value, "key": meta["labels"]["serin.dev/key"],
                      "outcome": StageOutcome.FAILED.value, "reason": "Interrupted", "message": "saved step 40"}  # fmt: skip
            ended = {"exitCode": EXIT_TRY_AGAIN, "reason": "Error", "message": json.dumps(result),
                     "startedAt": _now(), "finishedAt": _now()}  # fmt: skip
            container = {"name": "train", "image": "i", "imageID": "i", "ready": False, "restartCount": 0,
                         "state": {"terminated": ended}}  # fmt: skip
            self._status(pod, {"phase": "Failed", "containerStatuses": [container]})
            self.saved.append(meta["name"])
        self._server.kubectl_process(
            "-n", meta["namespace"], "delete", "pod", meta["name"], "--force", "--grace-period=0", "--wait=false"
        )


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
