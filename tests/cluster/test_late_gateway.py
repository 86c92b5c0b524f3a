"""The Gateway API may be installed after Serin: its routes are watched from then on, without a restart of the process."""

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from serin_devcluster.apiserver import ApiServer
from serin_operator.manifests import names
from support.on_a_cluster import SLOW
from support.operator_process import OperatorProcess
from support.serving_cluster import install_gateway_api


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as found:
        found.kubectl("apply", "--server-side", "-f", "crds/")
        found.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=110s")
        yield found


def a_route(name: str) -> dict[str, Any]:
    labels = {names.MANAGED_BY: names.MANAGER}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"parentRefs": [{"name": "public", "namespace": "infra"}]},
    }


def measured(operator: OperatorProcess, metric: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{operator.port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(metric))


def told_of_routes(operator: OperatorProcess) -> float:
    """How many events of routes the operator's watches told."""
    return measured(operator, 'serin_watch_events_total{kind="httproutes"}')


def until(count: float, operator: OperatorProcess) -> None:
    deadline = time.monotonic() + SLOW
    while told_of_routes(operator) < count:
        assert time.monotonic() < deadline, operator.tail()
        time.sleep(0.5)


def test_routes_are_watched_once_there_are_routes(server: ApiServer) -> None:
    operator = OperatorProcess(server.kubeconfig).start()
    try:
        deadline = time.monotonic() + SLOW
        while "leading as" not in operator.tail(100):
            assert time.monotonic() < deadline, operator.tail()
            time.sleep(0.2)
        time.sleep(3)  # kopf has found out what there is
        install_gateway_api(server)
        server.kubectl("apply", "-f", "-", stdin=json.dumps(a_route("first")))
        until(1, operator)  # the net misses it, and the watches start anew
        restarts, told = measured(operator, "serin_watch_restarts_total"), told_of_routes(operator)
        server.kubectl("apply", "-f", "-", stdin=json.dumps(a_route("second")))
        until(told + 1, operator)
        assert (
            measured(operator, "serin_watch_restarts_total") == restarts
        )  # so a watch told it, and not the net's help
        assert operator.alive()
    finally:
        operator.stop()
