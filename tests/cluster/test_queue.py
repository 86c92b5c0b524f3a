"""Training in a queue, on a real Job controller: the test plays Kueue (it lets Jobs go, places their pods and takes the
quota back) and the kubelet."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from serin_devcluster.apiserver import ApiServer
from serin_operator.api.v1alpha1 import FineTuneJob, StageName
from serin_operator.manifests.stage_job import StageJob
from serin_operator.manifests.stage_job import job as stage_job
from support.jobs import job_manifest
from support.on_a_cluster import GATE, SERVICE, SLOW, apply, claims, condition, status, until
from support.operator_process import OperatorProcess
from support.pods import PodPlayer

SELECTOR = {"cloud.example.com/pool": "a100"}
TOLERATION = {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    controllers = (
        "job-controller",
        "garbage-collector-controller",
        "serviceaccount-controller",
        "namespace-controller",
    )
    with ApiServer(controllers=controllers) as found:
        found.kubectl("apply", "--server-side", "-f", "crds/")
        found.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=110s")
        yield found


@pytest.fixture
def namespace(server: ApiServer, request: pytest.FixtureRequest) -> str:
    name = f"q{abs(hash(request.node.name)) % 10**8}"
    server.kubectl("create", "namespace", name)
    return name


@pytest.fixture
def operator(server: ApiServer) -> Iterator[OperatorProcess]:
    process = OperatorProcess(server.kubeconfig).start()
    yield process
    process.stop()


def told(server: ApiServer, namespace: str, operator: OperatorProcess) -> str:
    """For the message of a wait that fails."""
    return f"{status(server, namespace)}\n{operator.tail()}"


def a_queued_job(**more: Any) -> dict[str, Any]:
    spec = job_manifest()["spec"] | {"distribution": {"nodes": 2, "queueName": "team-a"}} | more
    return {"apiVersion": "serin.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": "bot"}, "spec": spec}


def items(server: ApiServer, namespace: str, kind: str) -> list[dict[str, Any]]:
    found = server.kubectl(
        "-n", namespace, "get", kind, "-l", "serin.dev/stage=train", "-o", "json", "--show-managed-fields"
    )
    return json.loads(found)["items"]


def train_job(server: ApiServer, namespace: str) -> dict[str, Any]:
    [job] = items(server, namespace, "jobs")
    return job


def kueue(server: ApiServer, namespace: str, name: str, **spec: Any) -> None:
    """As Kueue writes to a Job: while it is suspended its template may be changed as well."""
    server.kubectl("-n", namespace, "patch", "job", name, "--type=merge", "-p", json.dumps({"spec": spec}))


def admit(server: ApiServer, namespace: str, name: str) -> None:
    placed = {"nodeSelector": SELECTOR, "tolerations": [TOLERATION]}
    kueue(server, namespace, name, suspend=False, template={"spec": placed})


def bind_and_run(server: ApiServer, namespace: str) -> None:
    """The kubelet plays along: pods of a node get their grace period before they go."""
    for pod in items(server, namespace, "pods"):
        server.kubectl_process(
            "-n", namespace, "patch", "pod", pod["metadata"]["name"], "--subresource=status", "--type=merge",
            "-p", json.dumps({"status": {"phase": "Running"}}),
        )  # fmt: skip


def test_a_queued_job_is_admitted_preempted_admitted_again_and_never_touched(
    server: ApiServer, namespace: str, operator: OperatorProcess
) -> None:
    said = partial(told, server, namespace, operator)
    apply(server, namespace, *claims(), GATE, SERVICE, a_queued_job())
    with PodPlayer(server):
        until(lambda: status(server, namespace).get("state") == "Queued", SLOW, said)
    job = train_job(server, namespace)
    name = job["metadata"]["name"]
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert items(server, namespace, "pods") == []
    assert "waits for quota in queue team-a" in status(server, namespace)["message"]
    assert condition(server, namespace, "Suspended")["reason"] == "ByQueue"

    admit(server, namespace, name)
    until(lambda: len(items(server, namespace, "pods")) == 2, SLOW, said)
    assert all(pod["spec"]["nodeSelector"] == SELECTOR for pod in items(server, namespace, "pods"))
    bind_and_run(server, namespace)
    until(lambda: status(server, namespace).get("state") == "Training", SLOW, said)

    kueue(server, namespace, name, suspend=True)
    until(lambda: status(server, namespace).get("state") == "Queued", SLOW, said)
    until(lambda: items(server, namespace, "pods") == [], SLOW, said)

    admit(server, namespace, name)
    with PodPlayer(server):
        until(lambda: status(server, namespace).get("state") == "Passed", SLOW, said)
    [train] = [stage for stage in status(server, namespace)["stages"] if stage["name"] == "Train"]
    assert (train["attempt"], train.get("restarts", 0), train.get("interruptions", 0)) == (1, 0, 0)
    job = train_job(server, namespace)
    assert job["metadata"]["name"] == name
    assert job["spec"]["template"]["spec"]["nodeSelector"] == SELECTOR
    assert {entry["manager"] for entry in job["metadata"]["managedFields"]} == {"kubectl-patch", "kube-controller-manager",
                                                                               operator_manager(job)}  # fmt: skip


def operator_manager(job: dict[str, Any]) -> str:
    """Who created it; it wrote nothing after that."""
    [created] = [
        entry
        for entry in job["metadata"]["managedFields"]
        if "f:completions" in json.dumps(entry["fieldsV1"]) and entry.get("subresource") is None
    ]
    assert created["time"] == job["metadata"]["creationTimestamp"]
    return str(created["manager"])


def test_a_job_suspended_by_its_user_ends_and_goes_on_as_another_attempt(
    server: ApiServer, namespace: str, operator: OperatorProcess
) -> None:
    said = partial(told, server, namespace, operator)
    suspended = {"suspend": True, "distribution": {"nodes": 1}}
    apply(server, namespace, *claims(), GATE, SERVICE, a_queued_job(**suspended))
    until(lambda: status(server, namespace).get("state") == "Suspended", SLOW, said)
    assert json.loads(server.kubectl("-n", namespace, "get", "jobs", "-o", "json"))["items"] == []
    server.kubectl("-n", namespace, "patch", "ftj", "bot", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    until(lambda: status(server, namespace).get("state") == "Preparing", SLOW, said)
    server.kubectl("-n", namespace, "patch", "ftj", "bot", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    until(lambda: json.loads(server.kubectl("-n", namespace, "get", "jobs", "-o", "json"))["items"] == [], SLOW, said)
    server.kubectl("-n", namespace, "patch", "ftj", "bot", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    with PodPlayer(server):
        until(lambda: status(server, namespace).get("state") == "Passed", SLOW, said)
    attempts = {stage["name"]: stage["attempt"] for stage in status(server, namespace)["stages"]}
    assert attempts == {"Prepare": 2, "Train": 1, "Consolidate": 1, "Evaluate": 1}


# --- an evaluation that pods share ---------------------------------------------------------------------------------


def a_shared_evaluation(namespace: str) -> dict[str, Any]:
    owner = FineTuneJob.model_validate(job_manifest())
    wish = StageJob(owner, StageName.EVALUATE, "abc", 1, "none", "Never", config={}, reads=(), writes=(), nodes=3)
    found = stage_job(wish)
    del found["metadata"]["ownerReferences"]  # the owner is not there, and the real garbage collector is
    return {**found, "metadata": found["metadata"] | {"namespace": namespace}}


def pods_by_index(server: ApiServer, namespace: str) -> dict[str, dict[str, Any]]:
    """Of each index the newest pod."""
    found = json.loads(server.kubectl("-n", namespace, "get", "pods", "-o", "json"))["items"]
    found.sort(key=lambda pod: (pod["metadata"]["creationTimestamp"], pod.get("status", {}).get("phase") == "Pending"))
    return {pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]: pod for pod in found}


def ends(server: ApiServer, namespace: str, pod: dict[str, Any], code: int) -> None:
    """As its kubelet would write it."""
    ended = {"name": "evaluate", "image": "none", "imageID": "", "ready": False, "restartCount": 0}
    ended["state"] = {"terminated": {"exitCode": code}}
    status = {"phase": "Failed", "containerStatuses": [ended]}
    name = pod["metadata"]["name"]
    patch = json.dumps({"status": status})
    server.kubectl("-n", namespace, "patch", "pod", name, "--subresource=status", "--type=merge", "-p", patch)


def test_a_share_that_is_lost_is_run_again_by_itself_and_one_with_bad_data_ends_all(
    server: ApiServer, namespace: str
) -> None:
    server.kubectl("create", "-f", "-", stdin=json.dumps(a_shared_evaluation(namespace)))

    def told_of() -> str:
        return server.kubectl("-n", namespace, "get", "jobs,pods")

    until(lambda: len(pods_by_index(server, namespace)) == 3, SLOW, told_of)
    before = pods_by_index(server, namespace)

    ends(server, namespace, before["1"], 1)
    until(
        lambda: pods_by_index(server, namespace)["1"]["metadata"]["uid"] != before["1"]["metadata"]["uid"],
        SLOW,
        told_of,
    )
    now = pods_by_index(server, namespace)
    assert [now[index]["metadata"]["uid"] for index in "02"] == [before[index]["metadata"]["uid"] for index in "02"]

    ends(server, namespace, now["1"], 65)

    def failed() -> bool:
        [job] = json.loads(server.kubectl("-n", namespace, "get", "jobs", "-o", "json"))["items"]
        types = {one["type"]: one.get("reason") for one in job["status"].get("conditions", [])}
        return types.get("FailureTarget") == "PodFailurePolicy" or types.get("Failed") == "PodFailurePolicy"

    until(failed, SLOW, told_of)
