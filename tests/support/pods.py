"""Plays the kubelet where there is none: pods of Serin's Jobs run for a moment and say what a pod would say.

The apiserver and the Job controller are real; only what happens inside a pod is told here.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from serin_devcluster.apiserver import ApiServer
from serin_devcluster.errors import DevclusterError
from serin_operator.api.v1alpha1 import StageName
from support.jobs import OUTPUTS

Tell = Callable[[StageName, dict[str, Any]], tuple[int, dict[str, Any]]]


def succeed(stage: StageName, config: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Exit code and result of a pod that ends well."""
    result = {"stage": stage.value, "key": config["key"], "outcome": "Succeeded", "reason": "Succeeded",
              "message": "done", "output": OUTPUTS[stage]}  # fmt: skip
    return 0, result


class PodPlayer:
    """A thread that brings every pending pod of Serin through its life."""

    def __init__(self, server: ApiServer, tell: Tell = succeed, seconds: float = 0.3) -> None:
        self._server, self._seconds = server, seconds
        self.tell = tell
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)
        self.ended: list[str] = []

    def __enter__(self) -> "PodPlayer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _play(self) -> None:
        while not self._stop.wait(0.2):
            for pod in self._pods():
                if pod["status"].get("phase", "Pending") == "Pending":
                    # What an earlier test left is collected meanwhile: such a pod may be gone, or its config.
                    with contextlib.suppress(DevclusterError):
                        self._live(pod)

    def _pods(self) -> list[dict[str, Any]]:
        with contextlib.suppress(DevclusterError):
            return self._json("get", "pods", "-A", "-l", "app.kubernetes.io/managed-by=serin,serin.dev/job")["items"]
        return []

    def _live(self, pod: dict[str, Any]) -> None:
        self._status(pod, {"phase": "Running", "startTime": _now()})
        time.sleep(self._seconds)
        self._end(pod)

    def _end(self, pod: dict[str, Any]) -> None:
        labels, namespace = pod["metadata"]["labels"], pod["metadata"]["namespace"]
        stage = next(s for s in StageName if s.lower() == labels["serin.dev/stage"])
        config_map = next(v["configMap"]["name"] for v in pod["spec"]["volumes"] if v["name"] == "config")
        config = json.loads(self._json("-n", namespace, "get", "configmap", config_map)["data"]["config.json"])
        code, result = self.tell(stage, config)
        ended = {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "message": json.dumps(result),
                 "startedAt": _now(), "finishedAt": _now()}  # fmt: skip
        container = {"name": stage.lower(), "image": "i", "imageID": "i", "ready": False, "restartCount": 0,
                     "state": {"terminated": ended}}  # fmt: skip
        phase = "Succeeded" if code == 0 else "Failed"
        self._status(pod, {"phase": phase, "containerStatuses": [container]})
        self.ended.append(pod["metadata"]["name"])

    def _status(self, pod: dict[str, Any], status: dict[str, Any]) -> None:
        self._server.kubectl_process(
            "-n", pod["metadata"]["namespace"], "patch", "pod", pod["metadata"]["name"], "--subresource=status",
            "--type=merge", "-p", json.dumps({"status": status}),
        )  # fmt: skip

    def _json(self, *args: str) -> dict[str, Any]:
        return json.loads(self._server.kubectl(*args, "-o", "json"))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
