"""A ModelService on a real apiserver with real Deployment controllers; kubelet, gateway and Prometheus are played.

What only a real apiserver knows: every manifest is accepted as it was meant, a status that was written is read back the
same (or the loop would write for ever), conflicts stop stale looks, ownership takes the children away.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from serin_devcluster.apiserver import ApiServer
from support.by_pods import a_service_by_pods
from support.lent import a_borrower, a_lent_route
from support.on_a_cluster import SLOW, at_rest
from support.operator_process import OperatorProcess
from support.service_world import a_revision, a_service, revision_name
from support.serving_cluster import BY_PODS, PlayedPrometheus, ServingPlayer, add_node, install_gateway_api

Json = dict[str, Any]
STEPS = [{"weightPercent": 10, "holdSeconds": 2}, {"weightPercent": 100, "holdSeconds": 2}]
CONTROLLERS = (
    "deployment-controller",
    "replicaset-controller",
    "garbage-collector-controller",
    "serviceaccount-controller",
    "endpointslice-controller",
)
A, B = revision_name("a"), revision_name("b")


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with ApiServer(controllers=CONTROLLERS) as found:
        found.kubectl("apply", "--server-side", "-f", "crds/")
        install_gateway_api(found)
        add_node(found)
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

    def __init__(
        self, server: ApiServer, namespace: str, operator: OperatorProcess, service: Json | None = None
    ) -> None:
        self._server, self.namespace, self._operator = server, namespace, operator
        service = service or a_service(steps=STEPS, intervalSeconds=1, minRequests=1)
        service["metadata"] = {"name": "bot", "namespace": namespace}
        service["spec"]["slos"] = [{"name": "length", "query": 'length{revision="{{revision}}"}', "max": "96"}]
        self.apply(service)

    def apply(self, manifest: Json) -> str:
        return self._server.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    def passes(self, letter: str, **artifact: Any) -> None:
        revision = a_revision(letter, datetime.now(UTC))
        revision["spec"]["artifact"] |= artifact
        status = {"status": revision.pop("status")}
        revision["metadata"]["namespace"] = self.namespace
        for field in ("uid", "creationTimestamp"):
            revision["metadata"].pop(field)
        self.apply(revision)
        name = revision["metadata"]["name"]
        self.kubectl("patch", "modelrevision", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))

    def kubectl(self, *args: str) -> str:
        return self._server.kubectl("-n", self.namespace, *args)

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

    def until(self, what: Callable[[], bool], seconds: float = SLOW) -> None:
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
    service.until(lambda: service.names("services") == [B])
    service.until(lambda: service.names("configmaps") == [B])
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
    kinds = [("modelservice", "bot"), ("httproute", "bot"), ("modelrevision", A), ("service", A), ("configmap", A)]

    def versions() -> list[str]:
        return [service.get(kind, name)["metadata"]["resourceVersion"] for kind, name in kinds]

    at_rest(versions, 2)
    before = versions()
    for number in range(3):  # wakes the loop without changing anything it cares for
        service.kubectl("label", "modelservice", "bot", f"look={number}", "--overwrite")
        time.sleep(0.5)
    service.kubectl("label", "modelservice", "bot", "look-")
    time.sleep(1)
    assert before[1:] == versions()[1:]
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


def test_pods_that_fetch_their_weights_are_as_restricted_and_are_not_written_again(
    service: Service, prometheus: PlayedPrometheus
) -> None:
    """The apiserver has words of its own for sizes: 1 GiB of a disk is no edit of 1024 MiB."""
    service.kubectl("label", "namespace", service.namespace, "pod-security.kubernetes.io/enforce=restricted")
    store = {"endpoint": "https://minio:9000", "caRef": {"name": "ours"}}
    weights: Json = {"uri": "s3://models/bots", "secretRef": {"name": "store"}, "s3": store}
    patch = json.dumps({"spec": {"runtime": {"weights": weights}}})
    service.kubectl("patch", "modelservice", "bot", "--type=merge", "-p", patch)
    service.passes("a", sizeBytes=960 * 2**20)
    service.until(lambda: service.serves(A))
    assert service.names("pods")
    pod = service.get("deployment", A)["spec"]["template"]["spec"]
    assert pod["initContainers"][0]["resources"]["requests"]["ephemeral-storage"] == "1Gi"
    for number in range(3):  # wakes the loop without changing anything it cares for
        service.kubectl("label", "modelservice", "bot", f"look={number}", "--overwrite")
        time.sleep(0.5)
    assert service.get("deployment", A)["metadata"]["generation"] == 1


# --- a route of the user's ------------------------------------------------------------------------------------------

LOOKS = 2  # seconds


@pytest.fixture
def borrower(server: ApiServer, operator: OperatorProcess) -> Iterator[Service]:
    server.kubectl("create", "namespace", "borrower")
    found = Service(server, "borrower", operator, a_borrower(steps=STEPS, intervalSeconds=LOOKS, minRequests=1))
    yield found
    server.kubectl("-n", "borrower", "delete", "modelservice", "bot", "--ignore-not-found", "--wait=false")


def conditions(service: Service) -> list[tuple[str, str, str]]:
    return [(one["type"], one["status"], one["reason"]) for one in service.status.get("conditions", [])]


def weights_of(route: Json) -> dict[str, int]:
    return {ref["name"]: ref["weight"] for ref in route["spec"]["rules"][1]["backendRefs"] if ref["weight"]}


def test_of_a_users_route_the_weights_alone_are_written_and_no_faster_than_it_looks_while_its_owner_applies_it(
    borrower: Service, prometheus: PlayedPrometheus
) -> None:
    borrower.kubectl("create", "--dry-run=server", "-f", "examples/canary/own-route.yaml")
    prometheus.values.update({A: 23.0, B: 24.0})
    borrower.passes("a")
    borrower.until(lambda: borrower.stable() == A)
    borrower.until(lambda: ("Stalled", "True", "RouteNotFound") in conditions(borrower))
    theirs = a_lent_route()
    theirs["metadata"] = {name: theirs["metadata"][name] for name in ("name", "annotations")}
    theirs["metadata"]["namespace"] = borrower.namespace
    borrower.apply(theirs)
    borrower.until(lambda: weights_of(borrower.get("httproute", "chat")) == {A: 100})
    route = borrower.get("httproute", "chat")
    assert [{**rule, "backendRefs": 0} for rule in route["spec"]["rules"]] == [
        {**rule, "backendRefs": 0} for rule in theirs["spec"]["rules"]
    ]
    assert route["spec"]["rules"][0] == theirs["spec"]["rules"][0]
    borrower.passes("b")
    borrower.until(lambda: borrower.serves(B))
    backends = "{.spec.rules[1].backendRefs[*].name}"
    borrower.until(lambda: borrower.kubectl("get", "httproute", "chat", "-o", f"jsonpath={backends}") == B)

    before, began, applied = generation(borrower), time.monotonic(), 0
    while time.monotonic() < began + 4 * LOOKS or generation(borrower) < before + 3:  # theirs, ours, and theirs again
        assert time.monotonic() < began + SLOW, "nobody answers what is applied"
        borrower.apply(theirs)
        applied += 1
    borrower.until(lambda: weights_of(borrower.get("httproute", "chat")) == {B: 100})
    took = time.monotonic() - began
    changes = generation(borrower) - before
    assert changes % 2 == 0  # each of theirs is answered by one of ours
    print(f"applied {applied} times in {took:.1f} s, which changed it {changes // 2} times, and so often Serin did")
    assert 2 <= changes // 2 <= took / LOOKS + 1

    borrower.kubectl("delete", "modelservice", "bot")
    borrower.until(lambda: borrower.names("deployments") == [])
    left = borrower.get("httproute", "chat")
    assert weights_of(left) == {B: 100}
    assert "ownerReferences" not in left["metadata"]


def generation(borrower: Service) -> int:
    return borrower.get("httproute", "chat")["metadata"]["generation"]


# --- no gateway -----------------------------------------------------------------------------------------------------


@pytest.fixture
def by_pods(server: ApiServer, operator: OperatorProcess) -> Iterator[Service]:
    server.kubectl("create", "namespace", BY_PODS)
    steps = [{"weightPercent": 40, "holdSeconds": 2}, {"weightPercent": 100, "holdSeconds": 2}]
    found = Service(server, BY_PODS, operator, a_service_by_pods(2, steps=steps, intervalSeconds=1, minRequests=1))
    yield found
    server.kubectl("-n", BY_PODS, "delete", "modelservice", "bot", "--ignore-not-found", "--wait=false")


def behind(service: Service) -> dict[str, int]:
    """Ready pods behind the Service that clients use, by revision, as the endpoints' own controller says."""
    slices = json.loads(service.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=bot", "-o", "json"))
    pods = json.loads(service.kubectl("get", "pods", "-o", "json"))["items"]
    known = {pod["metadata"]["name"]: pod["metadata"]["labels"]["serin.dev/revision"] for pod in pods}
    names = [
        one["targetRef"]["name"]
        for item in slices["items"]
        for one in item.get("endpoints") or ()
        if one["conditions"]["ready"]
    ]
    return dict(Counter(known.get(name, "") for name in names))


def test_without_a_gateway_pods_behind_one_service_are_the_shares(
    by_pods: Service, prometheus: PlayedPrometheus
) -> None:
    by_pods.kubectl("create", "--dry-run=server", "-f", "examples/canary/without-a-gateway.yaml")
    bad = revision_name("c")
    prometheus.values.update({A: 23.0, bad: 126.0})
    prometheus.values.pop(B, None)  # what nobody measures stays in its step for as long as this test looks at it
    by_pods.passes("a")
    by_pods.until(lambda: by_pods.serves(A) and behind(by_pods) == {A: 2})
    pods = ("get", "pods", "-l", f"serin.dev/revision={A}", "-o", "jsonpath={.items[*].metadata.uid}")
    before = by_pods.kubectl(*pods)
    by_pods.passes("b")
    by_pods.until(lambda: behind(by_pods) == {A: 2, B: 1})
    assert by_pods.kubectl(*pods) == before  # nobody starts pods anew to move traffic
    by_pods.until(lambda: by_pods.status.get("replicaRatio", {}).get("givenPercent") == "33.3")
    assert "asked 40 percent; 1 of 3 ready pods is the candidate's" in by_pods.status["replicaRatio"]["message"]
    prometheus.values[B] = 24.0
    by_pods.until(lambda: by_pods.serves(B) and behind(by_pods) == {B: 2})
    by_pods.until(lambda: by_pods.names("deployments") == [B])

    by_pods.passes("c")
    by_pods.until(lambda: "weightZeroAt" in by_pods.rollout(bad).get("rejection", {}))
    assert behind(by_pods) == {B: 2}
    by_pods.until(lambda: by_pods.names("deployments") == [B])

    by_pods.kubectl("delete", "service", "bot")
    by_pods.until(lambda: behind(by_pods) == {B: 2})
    by_pods.kubectl("delete", "modelservice", "bot")
    by_pods.until(lambda: by_pods.names("services") == [])
