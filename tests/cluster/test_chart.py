"""The chart on a real apiserver: it is accepted, the RBAC is enough and no more, only the operator writes records.

It has an apiserver of its own, since the admission policy would stand in the way of the other tests of this room.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from serin_devcluster.apiserver import ApiServer
from serin_devcluster.gobuild import find_program
from serin_operator.api.kinds import Kind
from serin_operator.observe.admission import admission_of
from serin_operator.settings import Settings
from support.objects import MINIMAL, changed

ROOT = Path(__file__).parents[2]
NAMESPACE = "serin-system"
OPERATOR = f"--as=system:serviceaccount:{NAMESPACE}:serin"
REVISION = MINIMAL["ModelRevision"]
REVISION_NAME = REVISION["metadata"]["name"]
CONTROLLERS = ("garbage-collector-controller", "clusterrole-aggregation-controller", "serviceaccount-controller")


@pytest.fixture(scope="module")
def installed() -> Iterator[ApiServer]:
    """An apiserver on which deploy/serin.yaml was applied, its admission policy in force."""
    with ApiServer(controllers=CONTROLLERS) as server:
        server.kubectl("apply", "--server-side", "-f", str(ROOT / "deploy/serin.yaml"))
        server.kubectl("wait", "--for=condition=Established", "--timeout=110s", "-f", str(ROOT / "crds"))
        eventually(
            lambda: "written by Serin's operator only" in said(server, "create", "--dry-run=server", of=REVISION)
        )
        yield server


def said(server: ApiServer, verb: str, *flags: str, of: dict[str, Any]) -> str:
    """What a user who does this is told, `""` when it was done."""
    done = server.kubectl_process(verb, "-n", "default", *flags, "-f", "-", stdin=json.dumps(of))
    return done.stderr if done.returncode else ""


def eventually(holds: Any, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.3)


def rendered(*flags: str) -> subprocess.CompletedProcess[str]:
    helm = find_program(ApiServer().paths, "helm")
    command = [helm, "template", "serin", ROOT / "charts/serin", "-n", NAMESPACE, "--kube-version", "1.34", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# --- who may write a record ---------------------------------------------------------------------------------------


def test_only_the_operator_writes_revisions_and_their_verdicts(installed: ApiServer) -> None:
    gate = {"verdict": "Passed", "message": "-", "judgedAt": "2026-01-01T00:00:00Z"}
    passed = {key: REVISION[key] for key in ("apiVersion", "kind", "metadata")} | {"status": {"gate": gate}}
    apply_status = ("--server-side", "--subresource=status", "--field-manager=serin-gate")
    assert said(installed, "create", OPERATOR, of=REVISION) == ""
    assert "written by Serin's operator only" in said(installed, "apply", *apply_status, of=passed)
    assert said(installed, "apply", *apply_status, OPERATOR, of=passed) == ""
    installed.kubectl("delete", "mrev", REVISION_NAME, "-n", "default")


def test_a_revision_is_relabelled_by_nobody_but_annotated_by_whoever_may(installed: ApiServer) -> None:
    said(installed, "create", OPERATOR, of=REVISION)
    label = installed.kubectl_process("label", "mrev", REVISION_NAME, "-n", "default", "serin.dev/service=other")
    assert "written by Serin's operator only" in label.stderr
    installed.kubectl("annotate", "mrev", REVISION_NAME, "-n", "default", "note=seen")
    installed.kubectl("delete", "mrev", REVISION_NAME, "-n", "default")


def test_the_garbage_collector_finishes_a_foreground_deletion(installed: ApiServer) -> None:
    said(installed, "create", OPERATOR, of=REVISION)
    installed.kubectl("delete", "mrev", REVISION_NAME, "-n", "default", "--cascade=foreground", "--timeout=110s")
    assert installed.kubectl("get", "mrev", "-n", "default", "-o", "name") == ""


# --- what the operator may do -------------------------------------------------------------------------------------


def may(server: ApiServer, verb: str, resource: str, namespace: str = "") -> bool:
    """`resource` is `plural.group/subresource`; without a namespace: in all of them."""
    whole, _, subresource = resource.partition("/")
    plural, _, group = whole.partition(".")
    attributes = {"verb": verb, "group": group, "resource": plural, "subresource": subresource, "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": OPERATOR.removeprefix("--as="), "resourceAttributes": attributes},
    }
    told = server.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review))
    return bool(json.loads(told)["status"]["allowed"])


@pytest.mark.parametrize("verb", ["get", "list", "watch", "create", "update", "patch", "delete"])
def test_the_operator_may_do_nothing_with_secrets(installed: ApiServer, verb: str) -> None:
    assert not may(installed, verb, "secrets")


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("watch", "finetunejobs.serin.dev"),
        ("watch", "clusterevalpolicies.serin.dev"),
        ("watch", "evalwaivers.serin.dev"),
        ("patch", "finetunejobs.serin.dev/status"),
        ("patch", "modelservices.serin.dev/status"),
        ("patch", "modelrevisions.serin.dev/status"),
        ("patch", "clusterevalpolicies.serin.dev/status"),
        ("patch", "evalwaivers.serin.dev/status"),
        ("create", "modelrevisions.serin.dev"),
        ("delete", "modelrevisions.serin.dev"),
        ("create", "jobs.batch"),
        ("delete", "jobs.batch"),
        ("patch", "configmaps"),
        ("patch", "services"),
        ("patch", "deployments.apps"),
        ("watch", "pods"),
        ("patch", "httproutes.gateway.networking.k8s.io"),
        ("get", "persistentvolumeclaims"),
        ("get", "namespaces"),
        ("list", "namespaces"),
        ("create", "events.events.k8s.io"),
    ],
)
def test_the_operator_may_do_what_it_does(installed: ApiServer, verb: str, resource: str) -> None:
    assert may(installed, verb, resource)


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("patch", "finetunejobs.serin.dev"),
        ("update", "modelservices.serin.dev"),
        ("create", "clusterevalpolicies.serin.dev"),
        ("create", "evalwaivers.serin.dev"),
        ("patch", "evalwaivers.serin.dev"),
        ("get", "validatingadmissionpolicies.admissionregistration.k8s.io"),
        ("create", "pods"),
        ("patch", "jobs.batch"),
        ("delete", "httproutes.gateway.networking.k8s.io"),
        ("create", "pods/exec"),
        ("list", "customresourcedefinitions.apiextensions.k8s.io"),
        ("patch", "gateways.gateway.networking.k8s.io"),
        ("impersonate", "users"),
    ],
)
def test_the_operator_may_not_do_more(installed: ApiServer, verb: str, resource: str) -> None:
    assert not may(installed, verb, resource)


@pytest.mark.parametrize("kind", ["validatingadmissionpolicy", "validatingadmissionpolicybinding"])
def test_the_operator_reads_what_holds_people_to_their_names_and_no_other_admission_policy(
    installed: ApiServer, kind: str
) -> None:
    installed.kubectl("get", kind, "serin-approvals", OPERATOR)
    assert "forbidden" in installed.kubectl_process("get", kind, "serin-children", OPERATOR).stderr


def test_the_operator_takes_the_charts_admission_policy_for_a_proof(installed: ApiServer) -> None:
    """As the apiserver gives it back, with its defaults filled in."""

    class AsOperator:
        async def get(self, kind: Kind, namespace: str | None, name: str) -> dict[str, Any]:
            return dict(json.loads(installed.kubectl("get", kind.plural, name, "-o", "json", OPERATOR)))

    found = asyncio.run(admission_of(AsOperator(), Settings.model_fields["approval_policy"].default))  # type: ignore[arg-type]
    assert found.problem == ""
    assert len(found.identity.split()) == 2


def test_the_lease_is_taken_in_the_operators_own_namespace_only(installed: ApiServer) -> None:
    lease = "leases.coordination.k8s.io"
    assert all(may(installed, verb, lease, NAMESPACE) for verb in ("create", "get", "update"))
    assert not may(installed, "update", lease, "default")


@pytest.mark.parametrize(
    ("role", "verb", "resource"),
    [
        ("view", "watch", "finetunejobs"),
        ("edit", "create", "finetunejobs"),
        ("edit", "patch", "modelservices"),
        ("admin", "delete", "modelrevisions"),
    ],
)
def test_the_built_in_roles_know_serins_kinds(installed: ApiServer, role: str, verb: str, resource: str) -> None:
    def granted() -> bool:
        rules = json.loads(installed.kubectl("get", "clusterrole", role, "-o", "json"))["rules"]
        return any(verb in rule["verbs"] and resource in rule.get("resources", ()) for rule in rules)

    eventually(granted)


def test_the_operators_pod_passes_pod_security_restricted(installed: ApiServer) -> None:
    deployment = json.loads(installed.kubectl("get", "deployment", "serin", "-n", NAMESPACE, "-o", "json"))
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "serin"},
        "spec": deployment["spec"]["template"]["spec"],
    }
    create = ["create", "-n", NAMESPACE, "--dry-run=server", "-f", "-"]
    installed.kubectl(*create, stdin=json.dumps(pod))
    loose = changed(pod, "spec.containers.0.securityContext.allowPrivilegeEscalation", True)
    refused = installed.kubectl_process(*create, stdin=json.dumps(loose))
    assert "restricted" in refused.stderr, "the namespace does not enforce it"


# --- the chart ----------------------------------------------------------------------------------------------------


def test_everything_generated_is_current() -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "devcluster/src")}
    done = subprocess.run(
        [sys.executable, ROOT / "hack/generate.py", "--check"], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--set", "replica=2"], ["replica"]),
        (["--set", "images.trainr=x"], ["images", "trainr"]),
        (["--set", "logFormat=xml"], ["logFormat"]),
        (["--set", "metricSources[0].name=default", "--set", "metricSources[0].url=prometheus:9090"], ["url"]),
        (["--set", "prepareRetrySeconds=0"], ["prepareRetrySeconds"]),
        (["--set", "metricSources[0].timeoutSeconds=6"], ["timeoutSeconds"]),
        (["--set", "metricSources[0].method=PUT"], ["method"]),
        (["--set", "metricSecrets[0]=a.b"], ["metricSecrets"]),
    ],
)
def test_a_wrong_value_is_refused_by_name(flags: list[str], words: list[str]) -> None:
    done = rendered(*flags)
    assert done.returncode != 0
    assert all(word in done.stderr for word in words)


def test_values_reach_the_objects() -> None:
    digest = "sha256:" + "0" * 64
    flags = {
        "image.digest": digest,
        "images.server": "registry.example.com/server:1",
        "replicas": "2",
        "imagePullSecrets[0].name": "registry",
        "admission.alsoAllowed[0]": "restorer",
        "podLabels.team": "platform",
    }
    done = rendered(
        "--set-json", "metricSources=[]", *(word for flag in flags.items() for word in ("--set", "=".join(flag)))
    )
    assert done.returncode == 0, done.stderr
    objects = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(done.stdout) if one}
    deployment = objects["Deployment", "serin"]["spec"]
    assert deployment["replicas"] == 2
    assert deployment["template"]["metadata"]["labels"]["team"] == "platform"
    assert deployment["template"]["spec"]["containers"][0]["image"] == f"serin.dev/operator@{digest}"
    assert deployment["template"]["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    config: Any = yaml.safe_load(objects["ConfigMap", "serin"]["data"]["operator.yaml"])
    assert config["metricSources"] == []
    assert config["images"]["server"] == "registry.example.com/server:1"
    policy = objects["ValidatingAdmissionPolicy", "serin-revisions"]["spec"]["validations"][0]["expression"]
    assert f"['system:serviceaccount:{NAMESPACE}:serin', 'restorer']" in policy
    crd = objects["CustomResourceDefinition", "finetunejobs.serin.dev"]
    assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_a_metric_source_has_its_secret_where_the_configuration_looks_for_it() -> None:
    where = "/etc/serin-metrics/mimir"
    source = {
        "name": "default", "url": "https://mimir", "bearerTokenFile": f"{where}/token", "caFile": f"{where}/ca.crt",
        "headers": {"X-Scope-OrgID": "ml"}, "method": "GET", "timeoutSeconds": 2.5, "delaySeconds": 30,
    }  # fmt: skip
    done = rendered("--set-json", f"metricSources={json.dumps([source])}", "--set", "metricSecrets[0]=mimir")
    assert done.returncode == 0, done.stderr
    objects = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(done.stdout) if one}
    config: Any = yaml.safe_load(objects["ConfigMap", "serin"]["data"]["operator.yaml"])
    assert Settings.model_validate(config).metric_sources[0].model_dump(by_alias=True) == source
    pod = objects["Deployment", "serin"]["spec"]["template"]["spec"]
    assert {"name": "metrics-mimir", "secret": {"secretName": "mimir"}} in pod["volumes"]
    mount = {"name": "metrics-mimir", "mountPath": where, "readOnly": True}
    assert mount in pod["containers"][0]["volumeMounts"]


@pytest.mark.parametrize(
    ("value", "gone"),
    [
        ("crds.enabled=false", "CustomResourceDefinition"),
        ("admission.enabled=false", "ValidatingAdmissionPolicy"),
        ("rbac.aggregate=false", "aggregate-to-edit"),
    ],
)
def test_parts_can_be_left_out(value: str, gone: str) -> None:
    assert gone in rendered().stdout
    assert gone not in rendered("--set", value).stdout
