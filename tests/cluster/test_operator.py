"""The real operator process on a real apiserver with a real Job controller; the test plays the kubelet."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from serin_devcluster.apiserver import ApiServer
from serin_operator.api.v1alpha1 import StageName
from serin_operator.leader import LEASE_NAME
from serin_operator.manifests import names
from support.jobs import MODEL_DIGEST, job_manifest
from support.on_a_cluster import GATE, SERVICE, SLOW, apply, at_rest, claims, condition, status, until
from support.operator_process import OperatorProcess
from support.pods import PodPlayer, succeed

REVISION = names.revision("bot", MODEL_DIGEST)


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    controllers = (
        "job-controller",
        "garbage-collector-controller",
        "serviceaccount-controller",
        "namespace-controller",
        "resourcequota-controller",
    )
    with ApiServer(controllers=controllers) as found:
        found.kubectl("apply", "--server-side", "-f", "crds/")
        found.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=110s")
        yield found


@pytest.fixture
def namespace(server: ApiServer, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"t{abs(hash(request.node.name)) % 10**8}"
    server.kubectl("create", "namespace", name)
    yield name
    # The namespace itself stays: claims and pods go only where kubelet and their controllers run.
    server.kubectl("-n", name, "delete", "finetunejobs,modelservices", "--all", "--wait=false")


@pytest.fixture
def operator(server: ApiServer) -> Iterator[OperatorProcess]:
    process = OperatorProcess(server.kubeconfig).start()
    yield process
    process.stop()


def a_job() -> dict[str, Any]:
    return {
        "apiVersion": "serin.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": "bot"},
        "spec": job_manifest()["spec"],
    }


def jobs(server: ApiServer, namespace: str) -> list[str]:
    found = json.loads(server.kubectl("-n", namespace, "get", "jobs", "-o", "json"))
    return sorted(item["metadata"]["labels"][names.STAGE] for item in found["items"])


def test_a_job_walks_from_data_to_a_judged_revision(
    server: ApiServer, namespace: str, operator: OperatorProcess
) -> None:
    apply(server, namespace, *claims(), GATE, SERVICE, a_job())
    with PodPlayer(server):
        until(lambda: status(server, namespace).get("state") == "Passed", SLOW,
              lambda: f"{status(server, namespace)}\n{operator.tail()}")  # fmt: skip
    assert jobs(server, namespace) == ["consolidate", "evaluate", "prepare", "train"]
    revision = json.loads(server.kubectl("-n", namespace, "get", "modelrevision", REVISION, "-o", "json"))
    assert revision["spec"]["artifact"]["digest"] == MODEL_DIGEST
    assert revision["status"]["gate"]["verdict"] == "Passed"
    job = json.loads(server.kubectl("-n", namespace, "get", "finetunejob", "bot", "-o", "json"))
    assert "finalizers" not in job["metadata"]
    assert "serin" not in json.dumps(job["metadata"].get("annotations", {})).replace("serin.dev/v1alpha1", "")


def test_a_missing_claim_is_told_and_the_job_goes_on_when_it_comes(
    server: ApiServer, namespace: str, operator: OperatorProcess
) -> None:
    apply(server, namespace, *claims()[:2], GATE, SERVICE, a_job())
    until(lambda: status(server, namespace).get("state") == "Waiting", SLOW, operator.tail)
    assert "'artifacts'" in status(server, namespace)["message"]
    apply(server, namespace, *claims())
    with PodPlayer(server):
        until(lambda: status(server, namespace).get("state") == "Passed", SLOW, operator.tail)


def test_the_operator_killed_at_any_time_runs_no_stage_twice(
    server: ApiServer, namespace: str, operator: OperatorProcess
) -> None:
    """SIGKILL again and again while the job walks."""
    apply(server, namespace, *claims(), GATE, SERVICE, a_job())
    with PodPlayer(server, seconds=0.5):
        for pause in (1.2, 1.9, 2.3, 1.4, 2.8):
            time.sleep(pause)
            operator.kill()
            operator.start()
        until(lambda: status(server, namespace).get("state") == "Passed", SLOW,
              lambda: f"{status(server, namespace)}\n{operator.tail()}")  # fmt: skip
    assert jobs(server, namespace) == ["consolidate", "evaluate", "prepare", "train"]


def test_bad_data_is_told_with_advice_and_tried_again_later(
    server: ApiServer, namespace: str, operator: OperatorProcess
) -> None:
    broken = True

    def tell(stage: StageName, config: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if not (broken and stage is StageName.PREPARE):
            return succeed(stage, config)
        result = {"stage": "Prepare", "key": config["key"], "outcome": "Failed", "reason": "DatasetInvalid",
                  "message": "tickets.jsonl:3 is not JSON", "advice": "correct line 3"}  # fmt: skip
        return 65, result

    apply(server, namespace, *claims(), GATE, SERVICE, a_job())
    with PodPlayer(server, tell):
        # In one look: two seconds later the next attempt runs, and says something else.
        until(lambda: says_what_to_correct(status(server, namespace)), SLOW,
              lambda: f"{status(server, namespace)}\n{operator.tail()}")  # fmt: skip
        broken = False
        until(lambda: status(server, namespace).get("state") == "Passed", SLOW, operator.tail)


def says_what_to_correct(found: dict[str, Any]) -> bool:
    conditions = {c["type"]: c["reason"] for c in found.get("conditions", [])}
    return "line 3" in str(found.get("message")) and conditions["DataPrepared"] == "DatasetInvalid"


def test_two_operators_one_acts_and_the_other_takes_over(
    server: ApiServer, namespace: str, operator: OperatorProcess
) -> None:
    second = OperatorProcess(server.kubeconfig, name="operator-1").start()
    try:
        apply(server, namespace, *claims(), GATE, SERVICE, a_job())
        with PodPlayer(server):
            until(lambda: "Train" in str(status(server, namespace).get("stages")), SLOW, operator.tail)
            holder = server.kubectl(
                "-n", "default", "get", "lease", LEASE_NAME, "-o", "jsonpath={.spec.holderIdentity}"
            )
            (operator if holder == "operator-0" else second).kill()
            until(lambda: status(server, namespace).get("state") == "Passed", SLOW,
                  lambda: operator.tail() + second.tail())  # fmt: skip
        assert jobs(server, namespace) == ["consolidate", "evaluate", "prepare", "train"]
    finally:
        second.stop()


def quota(server: ApiServer, namespace: str, **hard: str) -> None:
    manifest = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"}, "spec": {"hard": hard}}
    apply(server, namespace, manifest)
    until(
        lambda: hard == json.loads(server.kubectl("-n", namespace, "get", "resourcequota", "team", "-o", "json"))
        .get("status", {}).get("hard"), SLOW, lambda: "the quota is not in force",
    )  # fmt: skip


def test_what_a_quota_refuses_is_told_and_goes_by_itself(
    server: ApiServer, namespace: str, operator: OperatorProcess
) -> None:
    quota(server, namespace, **{"count/jobs.batch": "0"})
    apply(server, namespace, *claims(), GATE, SERVICE, a_job())
    until(lambda: condition(server, namespace, "WritesAccepted").get("reason") == "QuotaExceeded", SLOW,
          lambda: f"{status(server, namespace)}\n{operator.tail()}")  # fmt: skip
    found = status(server, namespace)
    assert found["state"] == "Waiting"
    assert "exceeded quota: team" in found["message"]
    assert "raise the ResourceQuota" in found["message"]
    assert condition(server, namespace, "Stalled")["status"] == "False"
    quota(server, namespace, **{"count/jobs.batch": "10"})
    with PodPlayer(server):
        until(lambda: status(server, namespace).get("state") == "Passed", SLOW, operator.tail)
    assert condition(server, namespace, "WritesAccepted")["status"] == "True"
    assert jobs(server, namespace) == ["consolidate", "evaluate", "prepare", "train"]


def test_what_an_admission_policy_refuses_is_told_in_its_own_words(
    server: ApiServer, namespace: str, operator: OperatorProcess
) -> None:
    meta = {"name": f"no-jobs-{namespace}"}
    rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}
    constraints = {
        "resourceRules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
    }
    validations = [{"expression": "false", "message": "no Jobs on Saturdays"}]
    group = "admissionregistration.k8s.io/v1"
    policy = {"apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": meta,
              "spec": {"matchConstraints": constraints, "validations": validations}}  # fmt: skip
    binding = {"apiVersion": group, "kind": "ValidatingAdmissionPolicyBinding", "metadata": meta,
               "spec": {"policyName": meta["name"], "validationActions": ["Deny"]}}  # fmt: skip
    probe = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "probe"},
             "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}  # fmt: skip
    apply(server, namespace, policy, binding)
    try:
        until(lambda: "Saturdays" in server.kubectl_process(
            "-n", namespace, "create", "--dry-run=server", "-f", "-", stdin=json.dumps(probe)).stderr,
            SLOW, lambda: "the policy is not in force")  # fmt: skip
        apply(server, namespace, *claims(), GATE, SERVICE, a_job())
        until(lambda: condition(server, namespace, "WritesAccepted").get("reason") == "AdmissionDenied", SLOW,
              lambda: f"{status(server, namespace)}\n{operator.tail()}")  # fmt: skip
        assert "no Jobs on Saturdays" in status(server, namespace)["message"]
    finally:
        server.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", meta["name"])
    until(lambda: jobs(server, namespace) == ["prepare"], SLOW, operator.tail)
    until(lambda: condition(server, namespace, "WritesAccepted").get("status") == "True", SLOW, operator.tail)


def test_a_job_whose_pods_are_refused_says_where_the_reason_is(
    server: ApiServer, namespace: str, operator: OperatorProcess
) -> None:
    """The Job is accepted; its controller may not create the pod, and says so in events only."""
    quota(server, namespace, pods="0")
    apply(server, namespace, *claims(), GATE, SERVICE, a_job())
    until(lambda: "could be created" in str(status(server, namespace).get("message")), SLOW,
          lambda: f"{status(server, namespace)}\n{operator.tail()}")  # fmt: skip
    assert "kubectl describe job" in status(server, namespace)["message"]


def test_stages_pass_pod_security_restricted(server: ApiServer, namespace: str, operator: OperatorProcess) -> None:
    server.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    apply(server, namespace, *claims(), GATE, SERVICE, a_job())
    with PodPlayer(server):
        until(lambda: status(server, namespace).get("state") == "Passed", SLOW, operator.tail)


def test_a_policy_and_a_waiver_say_what_they_select_and_lift(
    server: ApiServer, namespace: str, operator: OperatorProcess
) -> None:
    """What is wrong with them is told as well, and nothing is written when nothing changed."""
    apply(server, namespace, *claims(), GATE, SERVICE, a_job())
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    rule = {"name": "not-worse", "metric": "RougeL", "comparedTo": "Base", "maxRegression": "0.02"}
    policy: dict[str, Any] = {"mode": "Audit", "namespaceSelector": here, "requirements": [rule]}
    lifted = {
        "policyRef": {"name": namespace}, "requirements": ["not-wrose"], "namespaces": [namespace], "owner": "safety",
        "reason": "the German rows are being corrected", "expiresAt": "2099-01-01T00:00:00Z",
    }  # fmt: skip
    head = {"apiVersion": "serin.dev/v1alpha1", "metadata": {"name": namespace}}
    try:
        apply(server, namespace, {**head, "kind": "ClusterEvalPolicy", "spec": policy})
        apply(server, namespace, {**head, "kind": "EvalWaiver", "spec": lifted})
        until(lambda: columns(server, "cepol", namespace)[2:6] == ["True", "Audited", "1", "1"], SLOW,
              lambda: f"{columns(server, 'cepol', namespace)}\n{operator.tail()}")  # fmt: skip
        until(lambda: columns(server, "ewaiver", namespace)[2:5] == ["Ineffective", "False", "0"], SLOW,
              lambda: f"{columns(server, 'ewaiver', namespace)}\n{operator.tail()}")  # fmt: skip
        lifted["requirements"] = ["not-worse"]
        apply(server, namespace, {**head, "kind": "EvalWaiver", "spec": lifted})
        until(lambda: columns(server, "ewaiver", namespace)[2:5] == ["Unused", "True", "0"], SLOW, operator.tail)
        versions = ("get", "cepol,ewaiver", namespace, "-o", "jsonpath={.items[*].metadata.resourceVersion}")
        at_rest(lambda: server.kubectl(*versions), 3)
    finally:
        server.kubectl("delete", "cepol,ewaiver", namespace, "--ignore-not-found")


def columns(server: ApiServer, kind: str, name: str) -> list[str]:
    """What `kubectl get` shows of it."""
    return server.kubectl("get", kind, name, "--no-headers").split()
