"""What tests of the whole operator on a real apiserver apply, and how they wait and read."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from serin_devcluster.apiserver import ApiServer

GATE = {
    "apiVersion": "serin.dev/v1alpha1",
    "kind": "EvalGate",
    "metadata": {"name": "quality"},
    "spec": {
        "suites": [
            {"name": "heldout", "dataset": {"uri": "pvc://datasets/heldout.jsonl"}, "metrics": ["RougeL", "Perplexity"]}
        ],
        "requirements": [{"name": "better", "metric": "heldout/RougeL", "comparedTo": "Base", "minImprovement": "0"}],
    },
}
SERVICE = {
    "apiVersion": "serin.dev/v1alpha1",
    "kind": "ModelService",
    "metadata": {"name": "bot"},
    "spec": {
        "runtime": {"engine": "CPU"},
        "traffic": {
            "provider": "GatewayAPI",
            "gatewayRef": {"name": "public", "namespace": "infra"},
            "hostnames": ["bot.example.com"],
        },
        "slos": [{"name": "errors", "query": 'errors{revision="{{revision}}"}', "max": "0.01"}],
    },
}


def apply(server: ApiServer, namespace: str, *manifests: dict[str, Any]) -> None:
    for manifest in manifests:
        server.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(manifest))


def claims() -> list[dict[str, Any]]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
        for name in ("models", "datasets", "artifacts")
    ]


def status(server: ApiServer, namespace: str) -> dict[str, Any]:
    found = json.loads(server.kubectl("-n", namespace, "get", "finetunejob", "bot", "-o", "json"))
    return found.get("status", {})


def until(what: Callable[[], bool], seconds: float, say: Callable[[], str], every: float = 0.2) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {say()}")
        time.sleep(every)


def condition(server: ApiServer, namespace: str, type_: str) -> dict[str, Any]:
    return next((c for c in status(server, namespace).get("conditions", []) if c["type"] == type_), {})
