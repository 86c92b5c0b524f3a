"""A tenant with all rights in its namespace, on an apiserver where the chart is installed and the operator is away.

Each test is one attempt to get a model served past the platform team's policy. What an attempt needs of the operator (a gate
that is edited, a verdict given under other policies) is in tests/unit/decide_job and decide_service.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serin_devcluster.apiserver import ApiServer
from support.objects import MINIMAL, changed

ROOT = Path(__file__).parents[2]
OPERATOR = "--as=system:serviceaccount:serin-system:serin"
TENANT = ("--as=tina", "--as-group=system:authenticated")
NS = "tenants"
LABELS = {"app.kubernetes.io/managed-by": "serin", "serin.dev/job": "support-bot", "serin.dev/stage": "evaluate"}
SERVES = {"serin.dev/stage": "serve", "serin.dev/revision": "support-bot-3f9c2a71b0"}
POD_SPEC = {"restartPolicy": "Never", "containers": [{"name": "evaluate", "image": "mine"}]}
RULE = ("apiGroups", "resources", "verbs")
ONLY = "written by Serin's operator only"

Json = dict[str, Any]


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    """The tenant has a Role with every verb on every resource of its namespace."""
    with ApiServer(controllers=("serviceaccount-controller",)) as found:
        found.kubectl("apply", "--server-side", "-f", str(ROOT / "deploy/serin.yaml"))
        found.kubectl("wait", "--for=condition=Established", "--timeout=120s", "-f", str(ROOT / "crds"))
        found.kubectl("create", "namespace", NS)
        found.kubectl("label", "namespace", NS, "models=production")
        role = child("Role", "rbac.authorization.k8s.io/v1", "all", {}, rules=[{key: ["*"] for key in RULE}])
        found.kubectl("create", "-f", "-", stdin=json.dumps(role))
        found.kubectl("-n", NS, "create", "rolebinding", "all", "--role=all", "--user=tina")
        policy = changed(MINIMAL["ClusterEvalPolicy"], "spec.namespaceSelector.matchLabels", {"models": "production"})
        policy = changed(policy, "spec.jobSelector.matchExpressions", [{"key": "exempt", "operator": "DoesNotExist"}])
        found.kubectl("apply", "-f", "-", stdin=json.dumps(policy))
        for manifest in (MINIMAL["FineTuneJob"], MINIMAL["ModelService"]):
            found.kubectl("-n", NS, "create", "-f", "-", stdin=json.dumps(manifest))
        eventually(lambda: ONLY in tries(found, "create", MINIMAL["ModelRevision"]))
        eventually(lambda: ONLY in tries(found, "create", a_config_map("probe")))
        eventually(lambda: "only" in tries(found, "create", a_workload("Deployment")))
        eventually(lambda: "selects by labels" in relabels(found, "namespace", NS, "models-"))
        eventually(lambda: "status of" in sets_status(found, "finetunejob", {"state": "Passed"}))
        yield found


def eventually(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.5)


def tries(server: ApiServer, verb: str, manifest: Json, *who: str) -> str:
    """What the tenant is told who writes this; `""` when it is taken. Nothing is kept."""
    command = ("-n", NS, verb, "--dry-run=server", *(who or TENANT), "-f", "-")
    done = server.kubectl_process(*command, stdin=json.dumps(manifest))
    return done.stderr if done.returncode else ""


def relabels(server: ApiServer, kind: str, name: str, *labels: str) -> str:
    done = server.kubectl_process("-n", NS, "label", kind, name, "--overwrite", "--dry-run=server", *labels, *TENANT)
    return done.stderr if done.returncode else ""


def sets_status(server: ApiServer, kind: str, status: Json) -> str:
    patch = json.dumps({"status": status})
    command = ("-n", NS, "patch", kind, "support-bot", "--subresource=status", "--type=merge", "--dry-run=server")
    done = server.kubectl_process(*command, *TENANT, "-p", patch)
    return done.stderr if done.returncode else ""


def child(kind: str, api: str, name: str, labels: Json | None = None, **body: Any) -> Json:
    meta = {"name": name, "namespace": NS, "labels": LABELS if labels is None else labels}
    return {"apiVersion": api, "kind": kind, "metadata": meta, **body}


def a_config_map(name: str, labels: Json | None = None) -> Json:
    return child("ConfigMap", "v1", name, labels, data={"config.json": "{}"})


def a_job(labels: Json | None = None, inside: Json | None = None) -> Json:
    template = {"metadata": {"labels": inside or {}}, "spec": POD_SPEC}
    return child("Job", "batch/v1", "support-bot-evaluate-1", labels, spec={"template": template})


def a_pod(labels: Json) -> Json:
    return child("Pod", "v1", "support-bot-evaluate-1-0", labels, spec=POD_SPEC)


def a_workload(kind: str) -> Json:
    """A controller whose pods would be taken for servers of a revision."""
    always = {"containers": POD_SPEC["containers"]}
    template: Json = {"metadata": {"labels": SERVES}, "spec": always}
    if kind == "CronJob":
        job = {"template": {**template, "spec": POD_SPEC}}
        return child(kind, "batch/v1", "w", {}, spec={"schedule": "* * * * *", "jobTemplate": {"spec": job}})
    if kind == "ReplicationController":
        return child(kind, "v1", "w", {}, spec={"selector": SERVES, "template": template})
    spec: Json = {"selector": {"matchLabels": SERVES}, "template": template}
    return child(kind, "apps/v1", "w", {}, spec=spec | ({"serviceName": "w"} if kind == "StatefulSet" else {}))


@pytest.fixture
def made(server: ApiServer) -> Iterator[Callable[[Json], str]]:
    """Makes an object as the operator does (a pod, as a controller of the cluster does), and takes it away in the end."""
    found: list[tuple[str, str]] = []

    def make(manifest: Json) -> str:
        who = () if manifest["kind"] == "Pod" else (OPERATOR,)
        server.kubectl("-n", NS, "create", *who, "-f", "-", stdin=json.dumps(manifest))
        found.append((manifest["kind"], manifest["metadata"]["name"]))
        return manifest["metadata"]["name"]

    yield make
    for kind, name in found:
        server.kubectl("-n", NS, "delete", kind, name, "--wait=false")


# --- records and status -------------------------------------------------------------------------------------------


def test_a_tenant_writes_no_revision(server: ApiServer) -> None:
    assert ONLY in tries(server, "create", MINIMAL["ModelRevision"])


def test_a_tenant_gives_a_revision_no_verdict(server: ApiServer, made: Callable[[Json], str]) -> None:
    name = made(MINIMAL["ModelRevision"])
    gate = {"verdict": "Passed", "message": "", "judgedAt": "2026-01-01T00:00:00Z"}
    told = server.kubectl_process(
        "-n", NS, "patch", "mrev", name, "--subresource=status", "--type=merge", *TENANT, "-p",
        json.dumps({"status": {"gate": gate}}),
    ).stderr  # fmt: skip
    assert ONLY in told


def test_a_tenant_points_a_revision_at_no_other_artifact(server: ApiServer, made: Callable[[Json], str]) -> None:
    name = made(MINIMAL["ModelRevision"])
    patch = json.dumps({"spec": {"artifact": {"uri": "pvc://mine"}}})
    told = server.kubectl_process("-n", NS, "patch", "mrev", name, "--type=merge", *TENANT, "-p", patch).stderr
    assert "cannot be changed" in told or ONLY in told


def test_a_tenant_moves_a_revision_to_no_other_service(server: ApiServer, made: Callable[[Json], str]) -> None:
    name = made(MINIMAL["ModelRevision"])
    assert ONLY in relabels(server, "mrev", name, "serin.dev/service=other")


def test_a_tenant_writes_no_stage_into_the_journal(server: ApiServer) -> None:
    entry = {"name": "Evaluate", "key": "a" * 16, "outcome": "Succeeded", "startedAt": "2026-01-01T00:00:00Z"}
    assert "status of" in sets_status(server, "finetunejob", {"stages": [entry]})


def test_a_tenant_names_no_stable(server: ApiServer) -> None:
    stable = {"revision": "mine", "digest": "sha256:0", "since": "2026-01-01T00:00:00Z"}
    assert "status of" in sets_status(server, "modelservice", {"stable": stable})


def test_a_status_given_at_creation_is_dropped(server: ApiServer) -> None:
    """A job that is deleted and made again brings no journal with it."""
    manifest = changed(MINIMAL["FineTuneJob"], "metadata.name", "again") | {"status": {"state": "Passed"}}
    command = ("-n", NS, "create", "--dry-run=server", *TENANT, "-o", "json", "-f", "-")
    made = json.loads(server.kubectl(*command, stdin=json.dumps(manifest)))
    assert made.get("status", {}).get("state") != "Passed"


# --- policies and selection ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attempt",
    [
        ("patch", "cepol", "baseline", "--type=merge", "-p", '{"spec":{"mode":"Audit"}}'),
        ("delete", "cepol", "baseline"),
        ("annotate", "cepol", "baseline", "note=mine"),
    ],
    ids=lambda attempt: attempt[0],
)
def test_a_tenant_writes_no_policy(server: ApiServer, attempt: tuple[str, ...]) -> None:
    told = server.kubectl_process(*attempt, "--dry-run=server", *TENANT)
    assert "clusterevalpolicies.serin.dev" in told.stderr
    assert "forbidden" in told.stderr


@pytest.mark.parametrize("label", ["models-", "models=sandbox"])
def test_a_tenant_takes_its_namespace_out_of_no_policy(server: ApiServer, label: str) -> None:
    """Who has all rights in a namespace may edit the Namespace itself."""
    assert relabels(server, "namespace", NS, "note=mine") == ""
    assert "selects by labels models" in relabels(server, "namespace", NS, label)


def test_a_tenant_exempts_no_job_that_runs(server: ApiServer) -> None:
    assert relabels(server, "finetunejob", "support-bot", "note=mine") == ""
    assert "selects by labels exempt" in relabels(server, "finetunejob", "support-bot", "exempt=yes")


def test_a_tenant_makes_no_job_that_is_exempt(server: ApiServer) -> None:
    job = changed(MINIMAL["FineTuneJob"], "metadata.name", "another")
    assert tries(server, "create", job) == ""
    assert "selects by labels exempt" in tries(server, "create", changed(job, "metadata.labels", {"exempt": "yes"}))


def test_the_platform_team_may_relabel(server: ApiServer) -> None:
    server.kubectl("label", "namespace", NS, "--overwrite", "--dry-run=server", "models=sandbox")


# --- stages -------------------------------------------------------------------------------------------------------


def test_a_tenant_forges_no_job_of_a_stage(server: ApiServer) -> None:
    """Its pod would say in its last words what it measured."""
    assert ONLY in tries(server, "create", a_job())


def test_a_tenant_forges_no_pod_of_a_stage(server: ApiServer) -> None:
    assert ONLY in tries(server, "create", a_pod(LABELS))


def test_a_tenants_job_makes_no_pod_of_a_stage(server: ApiServer) -> None:
    assert "made by Serin's operator only" in tries(server, "create", a_job({"app": "mine"}, LABELS))
    assert ONLY in tries(server, "create", a_job({}, LABELS))  # the apiserver gives it its pods' labels


def test_a_tenant_relabels_no_pod_of_its_own(server: ApiServer) -> None:
    server.kubectl("-n", NS, "create", *TENANT, "-f", "-", stdin=json.dumps(a_pod({"app": "mine"})))
    assert ONLY in relabels(server, "pod", "support-bot-evaluate-1-0", "serin.dev/stage=evaluate")
    server.kubectl("-n", NS, "delete", "pod", "support-bot-evaluate-1-0", "--force", "--grace-period=0")


def test_a_tenant_changes_no_image_and_writes_no_last_words(server: ApiServer, made: Callable[[Json], str]) -> None:
    name = made(a_pod(LABELS))
    image = server.kubectl_process("-n", NS, "set", "image", f"pod/{name}", "evaluate=other", *TENANT)
    assert ONLY in image.stderr
    said = json.dumps({"status": {"phase": "Succeeded"}})
    words = ("-n", NS, "patch", "pod", name, "--subresource=status", "--type=merge", *TENANT, "-p", said)
    assert ONLY in server.kubectl_process(*words).stderr


def test_a_tenant_edits_no_config_of_a_stage_nor_puts_another_in_its_place(
    server: ApiServer, made: Callable[[Json], str]
) -> None:
    name = made(a_config_map("support-bot-evaluate-1"))
    edit = ("-n", NS, "patch", "configmap", name, "--type=merge", *TENANT, "-p", '{"data":{"config.json":"other"}}')
    assert ONLY in server.kubectl_process(*edit).stderr
    assert ONLY in server.kubectl_process("-n", NS, "delete", "configmap", name, *TENANT).stderr
    assert ONLY in relabels(server, "configmap", name, "serin.dev/stage-", "serin.dev/job-")


# --- servers and traffic ------------------------------------------------------------------------------------------


def test_a_tenants_pod_gets_no_traffic_of_a_revision(server: ApiServer) -> None:
    assert ONLY in tries(server, "create", a_pod(SERVES))


@pytest.mark.parametrize(
    "kind", ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "CronJob", "ReplicationController"]
)
def test_a_tenants_controller_makes_no_servers_of_a_revision(server: ApiServer, kind: str) -> None:
    assert "made by Serin's operator only" in tries(server, "create", a_workload(kind))


def test_a_tenant_points_no_service_of_a_revision_at_its_own_pods(
    server: ApiServer, made: Callable[[Json], str]
) -> None:
    ports = [{"port": 8000}]
    name = made(child("Service", "v1", "support-bot-3f9c2a71b0", SERVES, spec={"selector": SERVES, "ports": ports}))
    patch = ("-n", NS, "patch", "service", name, "--type=merge", *TENANT, "-p", '{"spec":{"selector":{"app":"mine"}}}')
    assert ONLY in server.kubectl_process(*patch).stderr
    assert ONLY in server.kubectl_process("-n", NS, "delete", "service", name, *TENANT).stderr


def test_the_operator_takes_over_nothing_that_a_tenant_put_in_its_way(server: ApiServer) -> None:
    """Server-side apply would leave the tenant's containers in it."""
    name = "support-bot-3f9c2a71b0"
    server.kubectl("-n", NS, "create", *TENANT, "-f", "-", stdin=json.dumps(a_config_map(name, {})))
    apply = ("-n", NS, "apply", "--server-side", "--force-conflicts", "--dry-run=server", OPERATOR, "-f", "-")
    told = server.kubectl_process(*apply, stdin=json.dumps(a_config_map(name, SERVES)))
    assert "that Serin did not make" in told.stderr
    server.kubectl("-n", NS, "delete", "configmap", name)


def test_the_operator_still_writes_and_corrects_what_is_its_own(server: ApiServer, made: Callable[[Json], str]) -> None:
    name = made(a_config_map("its-own", SERVES))
    apply = ("-n", NS, "apply", "--server-side", "--force-conflicts", OPERATOR, "-f", "-")
    server.kubectl(*apply, stdin=json.dumps(a_config_map(name, SERVES)))


def test_a_tenants_other_objects_are_its_own(server: ApiServer) -> None:
    for manifest in (a_config_map("mine", {"app": "mine"}), a_pod({"app": "mine"}), a_job({})):
        assert tries(server, "create", manifest) == ""
