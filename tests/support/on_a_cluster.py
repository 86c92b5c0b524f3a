"""What tests of the whole operator on a real apiserver apply, and how they wait and read."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from serin_devcluster.apiserver import ApiServer

SLOW = 300
"""Seconds for a wait: on an idle machine each takes a few, and tests of images compute beside these."""
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


def at_rest(versions: Callable[[], object], seconds: float) -> None:
    """Until they stay as they are for so long: what was caused before may still be written, and then nothing more is."""
    deadline, found, since = time.monotonic() + SLOW, versions(), time.monotonic()
    while time.monotonic() < since + seconds:
        if time.monotonic() > deadline:
            pytest.fail(f"it is written again and again: {found} is not what is there {seconds} s later")
        time.sleep(0.2)
        if (now := versions()) != found:
            found, since = now, time.monotonic()


def condition(server: ApiServer, namespace: str, type_: str) -> dict[str, Any]:
    return next((c for c in status(server, namespace).get("conditions", []) if c["type"] == type_), {})
