"""Faults on the way to users: the operator dies in every stage, Prometheus goes away under a canary.

One job of a tiny model meets them all, one after the other, and still ends Promoted. Its SLO and gate are easy: these
tests are about what is lost, not about the model.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest
from e2e.bench import TINY_MODEL, Bench, jobs_by_stage, small, until
from serin_demo.client import Client
from serin_demo.kube import Kubectl, Object, condition
from serin_demo.shares import failures
from serin_demo.stories import Player
from serin_demo.watching import Seen, Watch
from serin_demo.weights import Weight, weights_of

NAMESPACE = "serin-e2e-faults"
STAGES = ["Prepare", "Train", "Consolidate", "Evaluate"]
# A step that holds for this long gives Prometheus the time to go and come back.
CANARY = {
    "steps": [
        {"weightPercent": 50, "holdSeconds": 5},
        {"weightPercent": 100, "holdSeconds": 3},
    ],
    "minRequests": 5,
    "intervalSeconds": 1,
    "progressDeadlineSeconds": 300,
}
# No suite measures this, so no model can pass until the platform team takes it back.
POLICY = {
    "apiVersion": "serin.dev/v1alpha1",
    "kind": "ClusterEvalPolicy",
    "metadata": {"name": NAMESPACE},
    "spec": {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
        "requirements": [{"name": "exact", "metric": "ExactMatch", "min": "0"}],
    },
}
ANY_SIZE = 'max(vllm:num_requests_running{namespace="{{namespace}}",service="{{service}}",revision="{{revision}}"})'


@dataclass
class Survival:
    """What was seen while everything went wrong."""

    player: Player
    killed_in: list[str] = field(default_factory=list)
    held: Object = field(default_factory=dict)
    outage: list[Object] = field(default_factory=list)
    outage_weights: set[int] = field(default_factory=set)
    jobs: list[Seen] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    job: Object = field(default_factory=dict)
    revision: Object = field(default_factory=dict)


@pytest.fixture(scope="module")
def survival(bench: Bench) -> Survival:
    found = Survival(bench.stage(NAMESPACE, TINY_MODEL))
    kubectl = found.player.kubectl
    kubectl.delete("clusterevalpolicy", NAMESPACE)
    (service,) = found.player.manifests("20-service.yaml")
    service["spec"] |= {"canary": CANARY, "slos": [{"name": "queue", "query": ANY_SIZE, "max": "60"}]}
    gate, _ = found.player.manifests("10-gate.yaml")
    gate["spec"]["requirements"][0]["max"] = "100000"
    (job,) = found.player.manifests("30-base.yaml")
    kubectl.apply([gate, service, small(job, "first")])
    until(lambda: state(kubectl, "first") == "Promoted", "the first model serves", 240)

    second = small(job, "second", hyperparameters__seed=8)
    second["spec"]["distribution"]["nodes"] = 2
    with Watch(kubectl, "jobs.batch") as jobs, Watch(kubectl, "httproutes") as routes:
        kubectl.apply([POLICY, second])
        for stage in STAGES:
            until(lambda stage=stage: running(kubectl, stage), f"{stage} runs", 180, every=0.1)
            bench.kill_operator()
            found.killed_in.append(stage)
        until(lambda: gate_reason(kubectl) == "NotMeasured", "the policy's metric is missed", 180)
        found.held = kubectl.get("finetunejob", "second") or {}
        client = Client(kubectl, bench.cluster.images["evaluator"], "client", found.player.gateway).start(3.0)
        kubectl.delete("clusterevalpolicy", NAMESPACE)
        candidate = until(lambda: candidate_of(kubectl), "a candidate is on its way in", 180)
        until(lambda: weight(routes, candidate) == 50, "the canary has half of the traffic", 120, every=0.1)
        bench.kill_operator()
        found.killed_in.append("Canary")
        lose_prometheus(bench, found, routes, candidate)
        until(lambda: state(kubectl, "second") == "Promoted", "the second model serves", 240)
        found.requests = client.stop()
        found.jobs, found.weights = list(jobs.history), weights_of(routes.history, "api-helper", candidate)
    found.job = kubectl.get("finetunejob", "second") or {}
    found.revision = kubectl.get("modelrevision", candidate) or {}
    return found


def lose_prometheus(bench: Bench, found: Survival, routes: Watch, candidate: str) -> None:
    """No metrics for longer than the step holds; a look a second at what the service says meanwhile."""
    monitoring = bench.cluster.kubectl.within("monitoring")
    monitoring.run("scale", "deployment", "prometheus", "--replicas=0")
    try:
        until(lambda: len(monitoring.items("pods", "app=prometheus")) == 0, "Prometheus is gone", 60)
        before = weight(routes, candidate)
        found.outage_weights.add(before)
        until(lambda: unmeasured(found.player.kubectl), "the service says that it cannot measure", 90)
        for _ in range(10):
            found.outage.append(found.player.kubectl.get("modelservice", "api-helper") or {})
            found.outage_weights.add(weight(routes, candidate))
            until(lambda: True, "a second later", 5, every=1)
    finally:
        monitoring.run("scale", "deployment", "prometheus", "--replicas=1")
        monitoring.run("rollout", "status", "deployment", "prometheus", "--timeout=90s")


def state(kubectl: Kubectl, job: str) -> str:
    return (kubectl.get("finetunejob", job) or {}).get("status", {}).get("state", "")


def running(kubectl: Kubectl, stage: str) -> bool:
    """The stage's pods exist, or it is over already: a stage of seconds may be missed between two looks."""
    job = kubectl.get("finetunejob", "second") or {}
    return any(one["name"] == stage for one in job.get("status", {}).get("stages", []))


def gate_reason(kubectl: Kubectl) -> str:
    return condition(kubectl.get("finetunejob", "second"), "GatePassed").get("reason", "")


def candidate_of(kubectl: Kubectl) -> str:
    service = kubectl.get("modelservice", "api-helper") or {}
    return service.get("status", {}).get("candidate", {}).get("revision", "")


def weight(routes: Watch, revision: str) -> int:
    points = weights_of(list(routes.history), "api-helper", revision)
    return points[-1].percent if points else 0


def unmeasured(kubectl: Kubectl) -> bool:
    service = kubectl.get("modelservice", "api-helper") or {}
    return any(slo["verdict"] == "Error" for slo in service.get("status", {}).get("slos", []))


def test_the_operator_was_killed_in_every_stage(survival: Survival) -> None:
    assert survival.killed_in == [*STAGES, "Canary"]


def test_the_story_still_ends_promoted(survival: Survival) -> None:
    assert survival.revision["status"]["rollout"]["promotedAt"]
    assert condition(survival.job, "Promoted")["status"] == "True"


def test_a_metric_that_nobody_measured_holds_the_model_and_says_so(survival: Survival) -> None:
    """And once the policy is gone the same scores are judged again; the other tests show that nothing ran twice."""
    gate = condition(survival.held, "GatePassed")
    assert gate["status"] == "Unknown"
    assert "ExactMatch" in gate["message"]
    assert survival.held["status"]["state"] == "Held"


def test_no_stage_ran_twice(survival: Survival) -> None:
    counts = {stage: len(uids) for stage, uids in jobs_by_stage(survival.jobs, "second").items()}
    assert counts == {stage.lower(): 1 for stage in STAGES}


def test_the_weight_never_went_down(survival: Survival) -> None:
    percents = [point.percent for point in survival.weights]
    assert percents == sorted(percents)
    assert percents[-1] == 100


def test_no_request_failed(survival: Survival) -> None:
    assert len(survival.requests) > 30
    assert failures(survival.requests) == []


def test_without_prometheus_the_canary_holds_its_weight(survival: Survival) -> None:
    assert survival.outage_weights == {50}
    assert all(service["status"]["candidate"]["step"] == 1 for service in survival.outage)


def test_without_prometheus_a_condition_says_so_with_advice(survival: Survival) -> None:
    said = [one for one in survival.outage[-1]["status"]["conditions"] if "rometheus" in one.get("message", "")]
    assert said, survival.outage[-1]["status"]
