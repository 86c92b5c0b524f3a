"""Somebody uninstalls Serin first, with `helm uninstall`, while one model serves and another one trains (R21): users notice
nothing, and the team's namespace can be deleted as any other. Installed again afterwards, for whoever uses the cluster next."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from e2e.bench import Bench, small, until
from serin_demo import prepare
from serin_demo.client import Client
from serin_demo.kube import Kubectl, Object
from serin_demo.shares import failures
from serin_demo.stories import Player, Record

# What a chart may leave behind only on purpose: the CRDs, and with them everybody's objects.
OF_THE_CHART = (
    "clusterroles,clusterrolebindings,roles,rolebindings,serviceaccounts,deployments,configmaps,services,"
    "validatingadmissionpolicies,validatingadmissionpolicybindings,leases"
)
WITHOUT_SERIN_SECONDS = 10.0


@dataclass
class Farewell:
    """What was seen from the uninstallation on."""

    uninstalled_at: float = 0.0
    left: list[str] = field(default_factory=list)
    kept: list[Object] = field(default_factory=list)
    still_training: list[Object] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    gone_after: float = 0.0


@pytest.fixture(scope="module")
def farewell(bench: Bench, player: Player, citizen: Record) -> Iterator[Farewell]:
    found, kubectl = Farewell(), player.kubectl
    (job,) = player.manifests("30-base.yaml")
    kubectl.apply([small(job, "unfinished", hyperparameters__maxSteps=1_000_000)])
    until(lambda: training(kubectl), "the last job trains", 300)
    client = Client(kubectl, bench.cluster.images["evaluator"], "client-farewell", player.gateway).start(3.0)
    try:
        found.uninstalled_at = time.time()
        command = bench.cluster.helm_command("uninstall", "serin", "--wait", "--timeout", "3m")
        prepare.stream(command, bench.progress, "the chart could not be uninstalled")
        until(lambda: not bench.operators(), "the operator is gone", 120)
        time.sleep(WITHOUT_SERIN_SECONDS)
        found.left = named(bench.system, OF_THE_CHART)
        found.kept = kubectl.items("modelservices") + kubectl.items("finetunejobs")
        found.still_training = training(kubectl)
        found.requests = client.stop()
        began = time.monotonic()
        kubectl.delete("namespace", kubectl.namespace, wait=False)
        until(lambda: bench.cluster.kubectl.get("namespace", kubectl.namespace) is None, "the namespace is gone", 240)
        found.gone_after = time.monotonic() - began
        bench.progress.tell(f"without Serin the namespace was gone after {found.gone_after:.0f} s")
        yield found
    finally:
        prepare.install_serin(bench.cluster, bench.progress)


def training(kubectl: Kubectl) -> list[Object]:
    """Pods that train for the last job."""
    pods = kubectl.items("pods", "serin.dev/job=unfinished,serin.dev/stage=train")
    return [
        pod for pod in pods if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
    ]


def named(kubectl: Kubectl, kinds: str) -> list[str]:
    """Objects of the release, as kubectl names them."""
    return kubectl.run("get", kinds, "-o", "name", "--selector=app.kubernetes.io/name=serin").decode().split()


def test_users_are_served_without_the_operator(farewell: Farewell) -> None:
    assert failures(farewell.requests) == []
    assert any(one["at"] > farewell.uninstalled_at + WITHOUT_SERIN_SECONDS for one in farewell.requests)


def test_services_jobs_and_the_running_training_stay(farewell: Farewell) -> None:
    assert {"api-helper", "unfinished"} <= {one["metadata"]["name"] for one in farewell.kept}
    assert farewell.still_training


def test_nothing_of_the_chart_is_left_but_the_crds(farewell: Farewell) -> None:
    assert farewell.left == []


def test_nothing_holds_the_namespace_back(farewell: Farewell, bench: Bench, player: Player) -> None:
    """What takes a while are pods that save and drain first; how long it took is among the lines of progress. A namespace that
    hangs ends the play above."""
    assert bench.cluster.kubectl.get("namespace", player.kubectl.namespace) is None
