"""Faults on the way to users: the operator dies in every stage, Prometheus goes away under a canary.

One job of a tiny model meets them all, one after the other, and still ends Promoted. Its SLO and gate are easy: these
tests are about what is lost, not about the model. The job before it, which has to be there for that, is measured by two pods,
on benchmarks as well.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest
from e2e.bench import TINY_MODEL, Bench, jobs_by_stage, small, until
from e2e.benchmark import FILES, GATE
from serin_demo import staging
from serin_demo.client import Client, Gateway
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
LONG_STEP = [{"weightPercent": 50, "holdSeconds": 120}, {"weightPercent": 100, "holdSeconds": 3}]
# No model is as good as this, so none can pass until the platform team takes it back.
POLICY = {
    "apiVersion": "serin.dev/v1alpha1",
    "kind": "ClusterEvalPolicy",
    "metadata": {"name": NAMESPACE},
    "spec": {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
        "requirements": [{"name": "all-but-certain", "metric": "Perplexity", "max": "1.01"}],
    },
}
ANY_SIZE = 'max(vllm:num_requests_running{namespace="{{namespace}}",service="{{service}}",revision="{{revision}}"})'


@dataclass
class Survival:
    """What was seen while everything went wrong."""

    player: Player
    killed_in: list[str] = field(default_factory=list)
    rejected: Object = field(default_factory=dict)
    outage: list[Object] = field(default_factory=list)
    outage_weights: set[int] = field(default_factory=set)
    jobs: list[Seen] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    first: Object = field(default_factory=dict)
    first_jobs: list[Seen] = field(default_factory=list)
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
    with staging.loader(kubectl, bench.cluster.images["trainer"], ("datasets",)) as on_volumes:
        on_volumes(["tar", "-xmf", "-", "-C", "/mnt/pvc/datasets"], staging.archive(FILES))
    gates = [*job["spec"]["gates"], {"name": GATE["metadata"]["name"]}]
    first = small(job, "first", gates=gates, evaluation={"parallelism": 2})
    with Watch(kubectl, "jobs.batch") as jobs:
        kubectl.apply([gate, GATE, service, first])
        until(lambda: state(kubectl, "first") == "Promoted", "the first model serves", 600)
        found.first, found.first_jobs = kubectl.get("finetunejob", "first") or {}, list(jobs.history)

    second = small(job, "second", hyperparameters__seed=8)
    second["spec"]["distribution"]["nodes"] = 2
    with Watch(kubectl, "jobs.batch") as jobs, Watch(kubectl, "httproutes") as routes:
        kubectl.apply([POLICY, second])
        for stage in STAGES:
            until(lambda stage=stage: running(kubectl, stage), f"{stage} runs", 300, every=0.1)
            bench.kill_operator()
            found.killed_in.append(stage)
        until(lambda: gate_reason(kubectl) == "RequirementMissed", "the policy's bound is missed", 300)
        found.rejected = kubectl.get("finetunejob", "second") or {}
        client = Client(kubectl, bench.cluster.images["evaluator"], "client", found.player.gateway).start(3.0)
        kubectl.delete("clusterevalpolicy", NAMESPACE)
        candidate = until(lambda: candidate_of(kubectl), "a candidate is on its way in", 300)
        until(lambda: weight(routes, candidate) == 50, "the canary has half of the traffic", 300, every=0.1)
        bench.kill_operator()
        found.killed_in.append("Canary")
        lose_prometheus(bench, found, routes, candidate)
        until(lambda: state(kubectl, "second") == "Promoted", "the second model serves", 300)
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
        until(lambda: len(monitoring.items("pods", "app=prometheus")) == 0, "Prometheus is gone", 180)
        before = weight(routes, candidate)
        found.outage_weights.add(before)
        until(lambda: unmeasured(found.player.kubectl), "the service says that it cannot measure", 180)
        for _ in range(10):
            found.outage.append(found.player.kubectl.get("modelservice", "api-helper") or {})
            found.outage_weights.add(weight(routes, candidate))
            until(lambda: True, "a second later", 5, every=1)
    finally:
        monitoring.run("scale", "deployment", "prometheus", "--replicas=1")
        monitoring.run("rollout", "status", "deployment", "prometheus", "--timeout=110s")


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


def test_two_pods_shared_the_first_evaluation(survival: Survival) -> None:
    (uid,) = jobs_by_stage(survival.first_jobs, "first")["evaluate"]
    versions = [seen.object for seen in survival.first_jobs if seen.object["metadata"]["uid"] == uid]
    assert (versions[-1]["spec"]["completions"], versions[-1]["spec"]["completionMode"]) == (2, "Indexed")
    assert any(version["status"].get("succeeded") == 2 for version in versions)


def test_benchmarks_of_a_volume_and_synonyms_of_the_image_were_measured_beside_the_rows(survival: Survival) -> None:
    stages = {stage["name"]: stage["output"] for stage in survival.first["status"]["stages"]}
    scores = {f"{one['suite']}/{one['metric']}": one for one in stages["Evaluate"]["scores"]}
    assert set(scores) == {"heldout/Perplexity", "words/METEOR", "texts/BytePerplexity", "choices/Accuracy"}
    assert (scores["texts/BytePerplexity"]["n"], scores["choices/Accuracy"]["n"]) == (24, 32)
    assert all(one["low"] <= one["value"] <= one["high"] for one in scores.values())


def test_the_operator_was_killed_in_every_stage(survival: Survival) -> None:
    assert survival.killed_in == [*STAGES, "Canary"]


def test_the_story_still_ends_promoted(survival: Survival) -> None:
    assert survival.revision["status"]["rollout"]["promotedAt"]
    assert condition(survival.job, "Promoted")["status"] == "True"


def test_a_policy_that_the_model_misses_rejects_it_and_says_so(survival: Survival) -> None:
    """And once the policy is gone the same scores are judged again; the other tests show that nothing ran twice."""
    gate = condition(survival.rejected, "GatePassed")
    assert gate["status"] == "False"
    assert "Perplexity" in gate["message"]
    assert survival.rejected["status"]["state"] == "Rejected"


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


# --- the same models without a gateway ------------------------------------------------------------------------------


@dataclass
class Divided:
    """What clients of the Service saw while one model came, and another was sent away."""

    first: str = ""
    second: str = ""
    shares: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """Pods of the candidate and the sentence, each time that the status said something else."""
    after_abort: dict[str, int] = field(default_factory=dict[str, int])
    requests: list[dict[str, Any]] = field(default_factory=list)
    aborted: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture(scope="module")
def divided(bench: Bench, survival: Survival) -> Divided:
    """The service anew, by numbers of pods: the second model serves again, the first one is tried once more and promoted, and
    the second one is sent away in its first step. Shares of two pods are halves."""
    kubectl, found = survival.player.kubectl, Divided(second=survival.revision["metadata"]["name"])
    found.first = next(
        name for one in kubectl.items("modelrevisions") if (name := one["metadata"]["name"]) != found.second
    )
    (service,) = survival.player.manifests("20-service.yaml")
    service["spec"] |= {
        "canary": CANARY | {"bakeSeconds": 0},
        "slos": [{"name": "queue", "query": ANY_SIZE, "max": "60"}],
    }
    service["spec"]["traffic"] = {"provider": "ReplicaRatio"}
    kubectl.delete("modelservice", "api-helper")
    kubectl.apply([service])
    until(lambda: stable(kubectl) == found.second and behind(kubectl) == {found.second: 1}, "it serves again", 300)
    entry = Gateway("api-helper", 8000, "api-helper")
    client = Client(kubectl, bench.cluster.images["evaluator"], "client-by-pods", entry).start(4.0)
    both = {found.second: 1, found.first: 1}
    with Watch(kubectl, "modelservices") as told:
        say(kubectl, f"retry/again/{found.first}")
        until(lambda: behind(kubectl) == both, "both are behind the Service", 180, every=0.1)
        until(lambda: any(pods == 1 for pods, _ in shares(told)), "the status says so", 60)
        until(lambda: stable(kubectl) == found.first and behind(kubectl) == {found.first: 1}, "it is promoted", 180)
        found.shares = shares(told)
    until(lambda: latest(client) == {found.first}, "kube-proxy has heard of it, and it alone answers", 60)
    found.requests = client.records()
    # The abort is to meet the first step, however long it takes to get there.
    service["spec"]["canary"] = service["spec"]["canary"] | {"steps": LONG_STEP}
    kubectl.apply([service])
    say(kubectl, f"retry/back/{found.second}")
    until(lambda: behind(kubectl) == both, "both are behind the Service again", 180, every=0.1)
    say(kubectl, "abort/now")
    until(lambda: found.second not in behind(kubectl), "it is out of the Service", 60, every=0.1)
    found.after_abort = behind(kubectl)
    until(lambda: len(kubectl.items("deployments", "serin.dev/service=api-helper")) == 1, "its pods go", 180)
    until(lambda: latest(client) == {found.first}, "kube-proxy has heard of it, and the other one alone answers", 60)
    found.aborted = client.stop()[len(found.requests) :]
    return found


def say(kubectl: Kubectl, command: str) -> None:
    kubectl.run("annotate", "--overwrite", "modelservice", "api-helper", f"serin.dev/command={command}")


def stable(kubectl: Kubectl) -> str:
    service = kubectl.get("modelservice", "api-helper") or {}
    return (service.get("status", {}).get("stable") or {}).get("revision", "")


def latest(client: Client) -> set[str]:
    """Who gave the latest five answers. kube-proxy writes its rules a second or more after an EndpointSlice has changed."""
    return {one["revision"] for one in client.records()[-5:]}


def shares(told: Watch) -> list[tuple[int, str]]:
    found = [seen.object.get("status", {}).get("replicaRatio") or {} for seen in list(told.history)]
    said = [(one.get("candidatePods", 0), one.get("message", "")) for one in found]
    return list(dict.fromkeys(said))


def behind(kubectl: Kubectl) -> dict[str, int]:
    """Ready pods behind the Service that clients use, by revision."""
    known = {
        pod["metadata"]["name"]: pod["metadata"]["labels"]["serin.dev/revision"]
        for pod in kubectl.items("pods", "serin.dev/stage=serve")
    }
    ready = [
        known.get(one["targetRef"]["name"], "")
        for found in kubectl.items("endpointslices", "kubernetes.io/service-name=api-helper")
        for one in found.get("endpoints") or ()
        if one["conditions"].get("ready")
    ]
    return {name: ready.count(name) for name in ready}


def test_without_a_gateway_a_share_is_that_of_ready_pods_and_the_status_says_so(divided: Divided) -> None:
    said = [message for pods, message in divided.shares if pods == 1]
    assert any("1 of 2 ready pods is the candidate's, so about 50 percent" in message for message in said), said


def test_without_a_gateway_both_models_answered_and_then_the_promoted_one_alone(divided: Divided) -> None:
    answered = [one["revision"] for one in divided.requests]
    assert {divided.first, divided.second} <= set(answered)
    assert divided.second not in answered[-3:]


def test_without_a_gateway_no_request_is_lost_by_a_promotion_or_a_rollback(divided: Divided) -> None:
    assert len(divided.requests) + len(divided.aborted) > 60
    assert failures(divided.requests) == []
    assert failures(divided.aborted) == []


def test_without_a_gateway_a_model_that_is_sent_away_is_out_of_the_service(divided: Divided) -> None:
    assert divided.after_abort == {divided.first: 1}
    assert {one["revision"] for one in divided.aborted[-5:]} == {divided.first}
