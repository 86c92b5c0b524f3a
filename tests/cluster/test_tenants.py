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
APPROVAL = "approval.serin.dev/1"
LEAD = ("--as=lena", "--as-group=leads", "--as-group=system:authenticated")

Json = dict[str, Any]


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    """The tenant has a Role with every verb on every resource of its namespace."""
    with ApiServer(controllers=("serviceaccount-controller",)) as found:
        found.kubectl("apply", "--server-side", "-f", str(ROOT / "deploy/serin.yaml"))
        found.kubectl("wait", "--for=condition=Established", "--timeout=110s", "-f", str(ROOT / "crds"))
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
        eventually(lambda: "an approval is written" in annotates(found, "finetunejob", f"{APPROVAL}=7f leads alice"))
        yield found


def eventually(holds: Callable[[], bool], seconds: float = 300) -> None:
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


def annotates(
    server: ApiServer, kind: str, *annotations: str, who: tuple[str, ...] = TENANT, keep: bool = False
) -> str:
    """What somebody is told who annotates the object called support-bot; `""` when it is taken."""
    flags = () if keep else ("--dry-run=server",)
    done = server.kubectl_process("-n", NS, "annotate", "--overwrite", *flags, kind, "support-bot", *annotations, *who)
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


def test_not_even_who_writes_policies_says_that_one_is_in_force(server: ApiServer) -> None:
    patch = ("--subresource=status", "--type=merge", "--dry-run=server", "-p", '{"status":{"selectedJobs":7}}')
    assert "status of" in server.kubectl_process("patch", "cepol", "baseline", *patch).stderr
    by_it = (OPERATOR, "--as-group=system:masters")  # kubectl reads before it patches, which the operator need not
    assert not server.kubectl_process("patch", "cepol", "baseline", *patch, *by_it).returncode


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


# --- approvals, commands and waivers ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def people(server: ApiServer) -> None:
    """The leads may do all that the tenant may."""
    server.kubectl("-n", NS, "create", "rolebinding", "leads", "--role=all", "--group=leads")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("7f3a leads lena", id="in another's name"),
        pytest.param("7f3a leads tina", id="of a group that she is not in"),
        pytest.param("7f3a system:authenticated lena", id="of her own group, in another's name"),
        pytest.param("7f3a leads lena tina", id="in a name that ends with her own"),
        pytest.param("7f3a  leads tina", id="with a blank too many"),
        pytest.param("7f3a leads", id="in nobody's name"),
        pytest.param("tina", id="no approval at all"),
    ],
)
@pytest.mark.parametrize("kind", ["finetunejob", "modelservice"])
def test_a_tenant_forges_no_approval(server: ApiServer, kind: str, text: str) -> None:
    assert "you are tina, in system:authenticated" in annotates(server, kind, f"{APPROVAL}={text}")


def test_a_tenant_brings_no_forged_approval_with_a_new_job(server: ApiServer) -> None:
    job = changed(MINIMAL["FineTuneJob"], "metadata.name", "another")
    forged = changed(job, "metadata.annotations", {APPROVAL: "7f3a leads lena"})
    assert "an approval is written" in tries(server, "create", forged)


def test_a_tenant_forges_no_approval_on_a_revision(server: ApiServer, made: Callable[[Json], str]) -> None:
    name = made(MINIMAL["ModelRevision"])
    command = ("-n", NS, "annotate", "mrev", name, "--dry-run=server", *TENANT)
    assert "an approval is written" in server.kubectl_process(*command, f"{APPROVAL}=7f3a leads lena").stderr


def test_a_tenant_forges_no_approval_beside_a_status(server: ApiServer) -> None:
    """The apiserver takes nothing but the status there, so nothing need hold it."""
    body = {key: MINIMAL["FineTuneJob"][key] for key in ("apiVersion", "kind")}
    meta = {"name": "support-bot", "namespace": NS, "annotations": {APPROVAL: "7f3a leads lena"}}
    told = json.dumps({**body, "metadata": meta, "status": {"state": "Passed"}})
    server.kubectl("apply", "--server-side", "--subresource=status", OPERATOR, "-f", "-", stdin=told)
    found = json.loads(server.kubectl("-n", NS, "get", "finetunejob", "support-bot", "-o", "json"))
    assert APPROVAL not in found["metadata"].get("annotations", {})


def test_a_member_approves_in_her_own_name_and_a_tenant_changes_or_moves_none_of_it(
    server: ApiServer, people: None
) -> None:
    assert annotates(server, "finetunejob", f"{APPROVAL}=7f3a leads lena", who=LEAD, keep=True) == ""
    assert annotates(server, "finetunejob", "note=mine") == ""
    assert "an approval is written" in annotates(server, "finetunejob", f"{APPROVAL}=ffff leads lena")
    assert "an approval is written" in annotates(server, "finetunejob", f"{APPROVAL}0=7f3a leads lena")
    assert "an approval is written" in annotates(server, "modelservice", f"{APPROVAL}=7f3a leads lena")
    assert annotates(server, "finetunejob", f"{APPROVAL}-", keep=True) == ""  # it only holds the model
    assert "an approval is written" in annotates(server, "finetunejob", f"{APPROVAL}=7f3a leads lena")


@pytest.mark.parametrize("text", ["7f3a others lena", "7f3a leads tina"])
def test_a_member_speaks_for_nobody_else(server: ApiServer, people: None, text: str) -> None:
    assert "you are lena, in leads" in annotates(server, "finetunejob", f"{APPROVAL}={text}", who=LEAD)


def test_an_approver_with_no_other_right_approves_on_the_models_own_record(
    server: ApiServer, made: Callable[[Json], str]
) -> None:
    name = made(MINIMAL["ModelRevision"])
    server.kubectl("-n", NS, "create", "rolebinding", "approvers", "--clusterrole=serin-approver", "--group=auditors")
    who = ("--as=otto", "--as-group=auditors", "--dry-run=server")
    server.kubectl("-n", NS, "annotate", "mrev", name, f"{APPROVAL}=7f3a auditors otto", *who)
    other = server.kubectl_process("-n", NS, "annotate", "mrev", name, f"{APPROVAL}=7f3a auditors lena", *who)
    assert "an approval is written" in other.stderr
    label = server.kubectl_process("-n", NS, "label", "mrev", name, "serin.dev/service=other", *who)
    assert ONLY in label.stderr
    server.kubectl("-n", NS, "delete", "rolebinding", "approvers")


def test_a_tenant_gives_no_command_in_anothers_name(server: ApiServer, people: None) -> None:
    pause, by = "serin.dev/command=pause/1", "serin.dev/command-by"
    assert f"{by} says who gives the command, so it must be tina" in annotates(
        server, "modelservice", pause, f"{by}=lena"
    )
    assert annotates(server, "modelservice", pause, f"{by}=tina") == ""
    assert annotates(server, "modelservice", pause) == ""
    assert annotates(server, "modelservice", pause, f"{by}=lena", who=LEAD, keep=True) == ""
    assert "it must be tina" in annotates(server, "modelservice", "serin.dev/command=abort/2")
    assert annotates(server, "modelservice", "note=mine") == ""
    assert annotates(server, "modelservice", "serin.dev/command=abort/2", f"{by}-") == ""


@pytest.mark.parametrize("verb", ["create", "apply"])
def test_a_tenant_writes_no_waiver(server: ApiServer, verb: str) -> None:
    told = tries(server, verb, MINIMAL["EvalWaiver"])
    assert "evalwaivers.serin.dev" in told
    assert "forbidden" in told


@pytest.mark.parametrize(
    "attempt",
    [
        ("patch", "--type=merge", "-p", '{"spec":{"expiresAt":"2099-01-01T00:00:00Z"}}'),
        ("annotate", "note=mine"),
        ("delete",),
    ],
    ids=lambda attempt: attempt[0],
)
def test_a_tenant_changes_no_waiver_and_makes_it_no_longer(server: ApiServer, attempt: tuple[str, ...]) -> None:
    server.kubectl("apply", "-f", "-", stdin=json.dumps(MINIMAL["EvalWaiver"]))
    verb, *rest = attempt
    told = server.kubectl_process(verb, "evalwaiver", "german-answers", *rest, "--dry-run=server", *TENANT)
    assert "evalwaivers.serin.dev" in told.stderr
    assert "forbidden" in told.stderr


# --- stages -------------------------------------------------------------------------------------------------------


def test_a_tenant_forges_no_job_of_a_stage(server: ApiServer) -> None:
    """Its pod would say in its last words what it measured."""
    assert ONLY in tries(server, "create", a_job())


def test_a_tenant_forges_no_pod_of_a_stage(server: ApiServer) -> None:
    assert ONLY in tries(server, "create", a_pod(LABELS))


def test_a_tenants_job_makes_no_pod_of_a_stage(server: ApiServer) -> None:
    assert "made by Serin's operator only" in tries(server, "create", a_job({"app": "mine"}, LABELS))
    # The apiserver gives it its pods' labels, so two policies refuse it; which of them is told is chance.
    assert "by Serin's operator only" in tries(server, "create", a_job({}, LABELS))


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
