"""A ModelService on a real apiserver with real Deployment controllers; kubelet, gateway and Prometheus are played.

What only a real apiserver knows: every manifest is accepted as it was meant, a status that was written is read back the
same (or the loop would write for ever), conflicts stop stale looks, ownership takes the children away.
"""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from serin_devcluster.apiserver import ApiServer
from support.operator_process import OperatorProcess
from support.service_world import a_revision, a_service, revision_name
from support.serving_cluster import PlayedPrometheus, ServingPlayer, install_gateway_api

Json = dict[str, Any]
STEPS = [{"weightPercent": 10, "holdSeconds": 2}, {"weightPercent": 100, "holdSeconds": 2}]
CONTROLLERS = (
    "deployment-controller",
    "replicaset-controller",
    "garbage-collector-controller",
    "serviceaccount-controller",
)
A, B = revision_name("a"), revision_name("b")


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with ApiServer(controllers=CONTROLLERS) as found:
        found.kubectl("apply", "--server-side", "-f", "crds/")
        install_gateway_api(found)
        yield found


@pytest.fixture(scope="module")
def prometheus() -> Iterator[PlayedPrometheus]:
    with PlayedPrometheus() as found:
        yield found


@pytest.fixture(scope="module")
def player(server: ApiServer) -> Iterator[ServingPlayer]:
    with ServingPlayer(server) as found:
        yield found


@pytest.fixture
def operator(server: ApiServer, prometheus: PlayedPrometheus, player: ServingPlayer) -> Iterator[OperatorProcess]:
    process = OperatorProcess(
        server.kubeconfig, metricSources=[{"name": "default", "url": prometheus.url}], scaleDownDelaySeconds=1
    ).start()
    yield process
    process.stop()


class Service:
    """The ModelService of one test, through kubectl."""

    def __init__(self, server: ApiServer, namespace: str, operator: OperatorProcess) -> None:
        self._server, self._namespace, self._operator = server, namespace, operator
        service = a_service(steps=STEPS, intervalSeconds=1, minRequests=1)
        service["metadata"] = {"name": "bot", "namespace": namespace}
        service["spec"]["slos"] = [{"name": "length", "query": 'length{revision="{{revision}}"}', "max": "96"}]
        self.apply(service)

    def apply(self, manifest: Json) -> None:
        self._server.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    def passes(self, letter: str) -> None:
        revision = a_revision(letter, datetime.now(UTC))
        status = {"status": revision.pop("status")}
        revision["metadata"]["namespace"] = self._namespace
        for field in ("uid", "creationTimestamp"):
            revision["metadata"].pop(field)
        self.apply(revision)
        name = revision["metadata"]["name"]
        self.kubectl("patch", "modelrevision", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))

    def kubectl(self, *args: str) -> str:
        return self._server.kubectl("-n", self._namespace, *args)

    def get(self, kind: str, name: str) -> Json:
        return json.loads(self.kubectl("get", kind, name, "-o", "json"))

    @property
    def status(self) -> Json:
        return self.get("modelservice", "bot").get("status", {})

    def rollout(self, name: str) -> Json:
        return self.get("modelrevision", name)["status"].get("rollout", {})

    @property
    def weights(self) -> dict[str, int]:
        refs = self.get("httproute", "bot")["spec"]["rules"][0]["backendRefs"]
        return {ref["name"]: ref["weight"] for ref in refs if ref["weight"]}

    def names(self, kind: str) -> list[str]:
        found = self.kubectl("get", kind, "-l", "serin.dev/service=bot", "-o", "jsonpath={.items[*].metadata.name}")
        return sorted(found.split())

    def until(self, what: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds} s: {json.dumps(self.status, indent=1)}\n{self._operator.tail()}")
            time.sleep(0.2)

    def stable(self) -> str:
        return (self.status.get("stable") or {}).get("revision", "")

    def serves(self, name: str) -> bool:
        return self.stable() == name and self.status.get("state") == "Stable"


@pytest.fixture
def service(server: ApiServer, operator: OperatorProcess, request: pytest.FixtureRequest) -> Iterator[Service]:
    namespace = f"s{abs(hash(request.node.name)) % 10**8}"
    server.kubectl("create", "namespace", namespace)
    found = Service(server, namespace, operator)
    yield found
    server.kubectl("-n", namespace, "delete", "modelservice", "bot", "--ignore-not-found", "--wait=false")


def test_a_service_gets_its_first_model_then_a_good_one_then_keeps_a_bad_one_out(
    service: Service, prometheus: PlayedPrometheus
) -> None:
    prometheus.values.update({A: 23.0, B: 24.0, revision_name("c"): 126.0})
    service.passes("a")
    service.until(lambda: service.serves(A))
    assert service.weights == {A: 100}
    service.passes("b")
    service.until(lambda: service.serves(B))
    service.until(lambda: service.names("deployments") == [B])
    assert service.names("services") == [B]
    assert service.names("configmaps") == [B]
    assert "promotedAt" in service.rollout(B)

    bad = revision_name("c")
    service.passes("c")
    service.until(lambda: "weightZeroAt" in service.rollout(bad).get("rejection", {}))
    assert service.weights == {B: 100}
    assert "length 126 > 96" in service.rollout(bad)["rejection"]["message"]
    service.until(lambda: service.names("deployments") == [B])


def test_a_settled_service_is_not_written_again(service: Service, prometheus: PlayedPrometheus) -> None:
    prometheus.values[A] = 23.0
    service.passes("a")
    service.until(lambda: service.serves(A))
    time.sleep(2)
    kinds = [("modelservice", "bot"), ("httproute", "bot"), ("modelrevision", A), ("service", A), ("configmap", A)]
    before = [service.get(kind, name)["metadata"]["resourceVersion"] for kind, name in kinds]
    for number in range(3):  # wakes the loop without changing anything it cares for
        service.kubectl("label", "modelservice", "bot", f"look={number}", "--overwrite")
        time.sleep(0.5)
    service.kubectl("label", "modelservice", "bot", "look-")
    time.sleep(1)
    after = [service.get(kind, name)["metadata"]["resourceVersion"] for kind, name in kinds]
    assert before[1:] == after[1:]
    assert service.get("modelservice", "bot")["metadata"]["generation"] == 1


def test_the_operator_killed_during_a_rollback_never_raises_the_bad_weight_again(
    service: Service, prometheus: PlayedPrometheus, operator: OperatorProcess
) -> None:
    prometheus.values.update({A: 23.0, B: 126.0})
    service.passes("a")
    service.until(lambda: service.serves(A))
    service.passes("b")
    for pause in (1.0, 1.5, 2.0):
        time.sleep(pause)
        operator.kill()
        operator.start()
    service.until(lambda: "weightZeroAt" in service.rollout(B).get("rejection", {}))
    assert service.weights == {A: 100}


def test_all_children_go_with_their_service(service: Service, prometheus: PlayedPrometheus) -> None:
    prometheus.values[A] = 23.0
    service.passes("a")
    service.until(lambda: service.serves(A))
    service.kubectl("delete", "modelservice", "bot")
    for kind in ("deployments", "services", "configmaps", "httproutes"):
        service.until(lambda kind=kind: service.names(kind) == [])


def test_a_serving_pod_passes_pod_security_restricted(service: Service, prometheus: PlayedPrometheus) -> None:
    service.kubectl("label", "namespace", service.get("modelservice", "bot")["metadata"]["namespace"],
                    "pod-security.kubernetes.io/enforce=restricted")  # fmt: skip
    service.passes("a")
    service.until(lambda: service.serves(A))
    assert service.names("pods")
