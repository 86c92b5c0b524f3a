"""The CRDs on a real apiserver: what it accepts, what it refuses and with which words, what it fills in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from serin_devcluster.apiserver import ApiServer
from support.objects import (
    BY_PODS,
    CLASSIFIER,
    CUSTOM,
    FULL,
    JUDGE,
    LENT,
    MINIMAL,
    OTHERWISE,
    PROVIDED,
    REMOVED,
    VLLM,
    changed,
)

CRDS = Path(__file__).parents[2] / "crds"
EXAMPLES = CRDS.parent / "examples"
KINDS = tuple(MINIMAL)
REQUESTS = 'http_requests_total{revision="{{revision}}"}'
NO_WORSE = {
    "name": "no-more-errors",
    "comparedTo": "Stable",
    "requests": REQUESTS,
    "failures": REQUESTS,
    "maxIncreasePoints": "0.5",
}
MLFLOW = {"uri": "https://mlflow.example.com", "experiment": "bot"}
WANDB = {"project": "bot", "secretRef": {"name": "w"}}
HALF, ALL = {"weightPercent": 50}, {"weightPercent": 100}
TRIED = {
    "experiment": {
        "total": 'tasks_total{revision="{{revision}}"}',
        "successes": 'tasks_total{revision="{{revision}}",outcome="success"}',
        "minDifferencePoints": "2",
        "minSeconds": 60,
        "sticky": {"header": "X-User-Id"},
    },
    "maxDurationSeconds": 3600,
}

Json = dict[str, Any]
GATEWAY: Json = MINIMAL["ModelService"]["spec"]["traffic"]


@pytest.fixture(scope="module")
def crds(apiserver: ApiServer) -> ApiServer:
    """The apiserver, with our CRDs served."""
    apiserver.kubectl("apply", "--server-side", "-f", str(CRDS))
    apiserver.kubectl("wait", "--for=condition=Established", "--timeout=110s", "-f", str(CRDS))
    return apiserver


def without(manifest: Json, *names: str) -> Json:
    return {name: value for name, value in manifest.items() if name not in names}


def create(server: ApiServer, namespace: str, manifest: Json, *flags: str) -> Json:
    said = server.kubectl("create", "-n", namespace, "-o", "json", "-f", "-", *flags, stdin=json.dumps(manifest))
    found: Json = json.loads(said)
    return found


def refusal(server: ApiServer, namespace: str, manifest: Json) -> str:
    """What the apiserver says to a user who applies this."""
    done = server.kubectl_process("create", "-n", namespace, "-f", "-", stdin=json.dumps(manifest))
    assert done.returncode != 0, f"the apiserver accepted {manifest}"
    return done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_the_shortest_example_is_accepted(crds: ApiServer, namespace: str, kind: str) -> None:
    create(crds, namespace, MINIMAL[kind], "--dry-run=server")


@pytest.mark.parametrize("kind", KINDS)
def test_the_longest_example_is_accepted_and_nothing_of_it_is_dropped(
    crds: ApiServer, namespace: str, kind: str
) -> None:
    taken = create(crds, namespace, FULL[kind], "--dry-run=server")["spec"]
    assert _without_defaults(taken, FULL[kind]["spec"]) == FULL[kind]["spec"]


@pytest.mark.parametrize("kind", OTHERWISE)
def test_the_other_forms_are_accepted_and_nothing_of_them_is_dropped(
    crds: ApiServer, namespace: str, kind: str
) -> None:
    for manifest in OTHERWISE[kind]:
        taken = create(crds, namespace, manifest, "--dry-run=server")["spec"]
        assert _without_defaults(taken, manifest["spec"]) == manifest["spec"]


@pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda file: file.name)
def test_every_example_is_accepted(crds: ApiServer, namespace: str, file: Path) -> None:
    """As it is written: kubectl reads YAML another way than our library does. What is of the Gateway API is tried where
    that is installed (test_service_loop.py)."""
    parts = file.read_text().split("\n---\n")
    ours = "\n---\n".join(part for part in parts if "apiVersion: gateway." not in part)
    crds.kubectl("create", "-n", namespace, "--dry-run=server", "-f", "-", stdin=ours)


@pytest.mark.parametrize("kind", ["FineTuneJob", "ModelService"])
def test_an_object_nobody_has_looked_at_reads_as_in_progress(crds: ApiServer, namespace: str, kind: str) -> None:
    conditions = create(crds, namespace, MINIMAL[kind])["status"]["conditions"]
    seen = {one["type"]: (one["status"], one["reason"], one["lastTransitionTime"]) for one in conditions}
    pending = ("Unknown", "Pending", "1970-01-01T00:00:00Z")
    assert seen == {"Ready": pending, "Reconciling": pending}


@pytest.mark.parametrize("kind", ["ClusterEvalPolicy", "EvalWaiver"])
def test_what_the_platform_wrote_and_nobody_has_read_yet_is_not_ready(
    crds: ApiServer, namespace: str, kind: str
) -> None:
    made = create(crds, namespace, MINIMAL[kind])
    crds.kubectl("delete", kind, made["metadata"]["name"])
    (ready,) = made["status"]["conditions"]
    assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "Unknown", "Pending")


def test_a_job_of_the_shortest_form_shows_what_will_be_done(crds: ApiServer, namespace: str) -> None:
    spec = create(crds, namespace, MINIMAL["FineTuneJob"], "--dry-run=server")["spec"]
    assert spec["data"]["split"] == {
        "strategy": "Random", "trainPercent": 80, "validationPercent": 10, "testPercent": 10, "seed": 7,
        "minValidationRows": 100, "minTestRows": 100,
    }  # fmt: skip
    assert spec["data"]["cleaning"]["nearDuplicates"] == {"action": "Drop", "similarityPercent": 90}
    assert spec["hyperparameters"]["maxGradientNorm"] == "1.0"
    assert not {"learningRate", "warmupRatio", "precision"} & spec["hyperparameters"].keys()
    assert (spec["method"], spec["distribution"]["deepspeed"]) == ({"type": "Full"}, {"zeroStage": 2})


def test_half_a_split_is_filled_up_and_then_judged_as_a_whole(crds: ApiServer, namespace: str) -> None:
    manifest = changed(MINIMAL["FineTuneJob"], "spec.data.split.trainPercent", 70)
    assert "add up to 100" in refusal(crds, namespace, manifest)


def test_lists_of_named_things_are_merged_by_name(crds: ApiServer, namespace: str) -> None:
    gate = FULL["EvalGate"]
    first = changed(gate, "spec.requirements", gate["spec"]["requirements"][:1])
    second = changed(gate, "spec.requirements", gate["spec"]["requirements"][1:2])
    for manager, manifest in (("platform", first), ("team", second)):
        flags = ("--server-side", "--force-conflicts", f"--field-manager={manager}")
        crds.kubectl("apply", "-n", namespace, *flags, "-f", "-", stdin=json.dumps(manifest))
    merged = json.loads(crds.kubectl("get", "egate", gate["metadata"]["name"], "-n", namespace, "-o", "json"))
    assert [one["name"] for one in merged["spec"]["requirements"]] == ["quality", "sharper"]


@pytest.mark.parametrize(
    ("short", "headers"),
    [
        ("ftj", ["NAME", "STATE", "PROGRESS", "LOSS", "CURVE", "GATE", "REVISION", "MESSAGE", "AGE"]),
        ("msvc", ["NAME", "STATE", "STABLE", "CANDIDATE", "CANARY%", "BAKE", "MESSAGE", "AGE"]),
        ("mrev", ["NAME", "SERVICE", "GATE", "PROMOTED", "REJECTED", "DIGEST", "AGE"]),
        ("egate", ["NAME", "AGE"]),
        ("cepol", ["NAME", "MODE", "READY", "REASON", "JOBS", "SERVICES", "MESSAGE", "AGE"]),
        ("ewaiver", ["NAME", "POLICY", "STATE", "READY", "JOBS", "OWNER", "EXPIRES", "WHY", "MESSAGE", "AGE"]),
    ],
)
def test_kubectl_get_tells_the_story(crds: ApiServer, namespace: str, short: str, headers: list[str]) -> None:
    names = {
        "ftj": "FineTuneJob",
        "msvc": "ModelService",
        "mrev": "ModelRevision",
        "egate": "EvalGate",
        "ewaiver": "EvalWaiver",
    }
    kind = names.get(short, "ClusterEvalPolicy")
    manifest = json.dumps(MINIMAL[kind])
    crds.kubectl("apply", "-n", namespace, "--server-side", "-f", "-", stdin=manifest)
    assert crds.kubectl("get", short, "-n", namespace, "-o", "wide").splitlines()[0].split() == headers


def test_the_operators_status_is_taken_and_shown(crds: ApiServer, namespace: str) -> None:
    create(crds, namespace, MINIMAL["FineTuneJob"])
    patch = {"status": {"state": "Training", "message": "step 30 of 100", "progress": {
        "step": 30, "totalSteps": 100, "percent": 30, "trainLoss": "2.31"}}}  # fmt: skip
    crds.kubectl(
        "patch", "ftj", "support-bot", "-n", namespace, "--subresource=status", "--type=merge", "-p", json.dumps(patch)
    )
    row = crds.kubectl("get", "ftj", "-n", namespace, "--no-headers").split()
    assert row[:4] == ["support-bot", "Training", "30", "2.31"]
    assert "support-bot" in crds.kubectl("get", "ftj", "-n", namespace, "--field-selector=status.state=Training")
    assert not crds.kubectl("get", "ftj", "-n", namespace, "--field-selector=status.state=Failed", "-o", "name")


def test_the_categories_list_all_kinds_at_once(crds: ApiServer, namespace: str) -> None:
    create(crds, namespace, MINIMAL["EvalGate"])
    assert "evalgate.serin.dev/support-quality" in crds.kubectl("get", "serin", "-n", namespace, "-o", "name")


@pytest.mark.parametrize("other", [LENT | {"routeRef": {"name": "other"}}, MINIMAL["ModelService"]["spec"]["traffic"]])
def test_a_service_keeps_the_route_that_it_was_given(crds: ApiServer, namespace: str, other: Json) -> None:
    lent = changed(MINIMAL["ModelService"], "spec.traffic", LENT)
    create(crds, namespace, lent)
    done = crds.kubectl_process(
        "replace", "-n", namespace, "-f", "-", stdin=json.dumps(changed(lent, "spec.traffic", other))
    )
    assert done.returncode != 0
    assert "routeRef cannot be changed" in done.stderr
    again = changed(lent, "spec.runtime.replicas", 3)
    crds.kubectl("replace", "-n", namespace, "-f", "-", stdin=json.dumps(again))


@pytest.mark.parametrize(("first", "other"), [(GATEWAY, BY_PODS), (BY_PODS, GATEWAY)])
def test_a_service_keeps_what_divides_its_requests(crds: ApiServer, namespace: str, first: Json, other: Json) -> None:
    made = changed(MINIMAL["ModelService"], "spec.traffic", first)
    create(crds, namespace, made)
    done = crds.kubectl_process(
        "replace", "-n", namespace, "-f", "-", stdin=json.dumps(changed(made, "spec.traffic", other))
    )
    assert done.returncode != 0
    assert "provider cannot be changed" in done.stderr


def test_without_a_provider_it_is_a_gateway(crds: ApiServer, namespace: str) -> None:
    create(crds, namespace, changed(MINIMAL["ModelService"], "spec.traffic.provider", REMOVED))
    name, said = MINIMAL["ModelService"]["metadata"]["name"], "jsonpath={.spec.traffic.provider}"
    assert crds.kubectl("get", "modelservice", name, "-n", namespace, "-o", said) == "GatewayAPI"


def test_a_revision_is_a_record(crds: ApiServer, namespace: str) -> None:
    revision = MINIMAL["ModelRevision"]
    create(crds, namespace, revision)
    other = changed(revision, "spec.artifact.digest", "sha256:00")
    flags = ("--server-side", "--force-conflicts")
    done = crds.kubectl_process("apply", "-n", namespace, *flags, "-f", "-", stdin=json.dumps(other))
    assert "a ModelRevision is a record and cannot be changed" in done.stderr
    chosen = crds.kubectl("get", "mrev", "-n", namespace, "--field-selector=spec.modelServiceRef.name=support-bot")
    assert revision["metadata"]["name"] in chosen


TICKETS = MINIMAL["FineTuneJob"]["spec"]["data"]["train"][0]
IN_A_BUCKET = {"name": "tickets", "uri": "s3://team-data/tickets.jsonl"}
COPY_TO = {"uri": "s3://models/bots", "secretRef": {"name": "store"}}
RECIPE = {"format": "Axolotl", "configMapRef": {"name": "recipe"}}
COMPARED = {"name": "q", "metric": "heldout/RougeL", "comparedTo": "Base"}
WITHOUT_BOUND = {"name": "q", "metric": "heldout/RougeL"}
GERMAN = {"field": "language", "value": "de"}
PLAIN = MINIMAL["EvalGate"]["spec"]["suites"][0]
JUDGED = {**PLAIN, "metrics": ["RougeL", "JudgeWinRate"]}
BENCHMARK = {"tasks": ["arc_easy"], "uri": "pvc://datasets/benchmarks"}
BENCHED = {"name": "heldout", "benchmark": BENCHMARK, "metrics": ["Accuracy"]}
TESTERS = {"headers": [{"name": "X-Tester", "value": "yes"}]}
_LENT_SPEC = {**MINIMAL["ModelService"]["spec"], "traffic": LENT}
LENT_AND_SHADOWED = {**_LENT_SPEC, "canary": {"steps": [{"shadow": {}}, ALL]}}
LENT_AND_TRIED = {**_LENT_SPEC, "canary": {"steps": [HALF, TRIED, ALL]}}
_BY_PODS_SPEC = {**MINIMAL["ModelService"]["spec"], "traffic": BY_PODS}


def by_pods(steps: list[Json] | None = None, replicas: int = 1, slo: Json | None = None, **traffic: Any) -> Json:
    """The spec of a service whose requests are divided by numbers of pods."""
    found = {**_BY_PODS_SPEC, "traffic": {"provider": "ReplicaRatio", **traffic}}
    found["runtime"] = {"engine": "CPU", "replicas": replicas}
    found["slos"] = [slo] if slo is not None else found["slos"]
    return {**found, "canary": {"steps": steps or [HALF, ALL]}}


QUIZ = {**MINIMAL["EvalGate"]["spec"]["suites"][0], "choices": {"field": "options"}}


def refused(kind: str, path: str, value: Any, field: str, fix: str) -> Any:
    """A row: this value there is refused, the message naming the field and the fix."""
    shown = "removed" if value is REMOVED else json.dumps(value)[:40]
    return pytest.param(kind, path, value, field, fix, id=f"{kind}.{path}={shown}")


J, G, P, S, R, W = KINDS
DECIMAL = 'in quotes, such as "'


REFUSED = [
    # names
    refused(J, "metadata.name", "a" * 41, "metadata.name", "at most 40"),
    refused(J, "metadata.name", "7bot", "metadata.name", "begin with a letter"),
    refused(S, "metadata.name", "bot.v2", "metadata.name", "letters, digits and dashes"),
    refused(S, "metadata.name", "a" * 41, "metadata.name", "at most 40"),
    refused(G, "metadata.name", "quality.v2", "metadata.name", "no dots"),
    refused(R, "metadata.name", "a" * 64, "metadata.name", "at most 63"),
    # what is not in the schema
    refused(J, "spec.profiling", {"steps": 5}, "spec.profiling", "unknown field"),
    refused(J, "spec.data.weights", {"tickets": 5}, "spec.data.weights", "unknown field"),
    refused(S, "spec.canary.approval", True, "spec.canary.approval", "unknown field"),
    refused(G, "spec.approval", {"required": True}, "spec.approval", "unknown field"),
    # what must be there
    refused(J, "spec", REMOVED, "spec", "Required value"),
    refused(J, "spec.baseModel", REMOVED, "spec.baseModel", "Required value"),
    refused(J, "spec.artifacts", REMOVED, "spec.artifacts", "Required value"),
    refused(J, "spec.data.train", [], "spec.data.train", "at least 1 items"),
    refused(S, "spec.slos", [], "spec.slos", "at least 1 items"),
    refused(S, "spec.traffic.gatewayRef.namespace", REMOVED, "gatewayRef.namespace", "Required value"),
    refused(S, "spec.canary.steps", [], "spec.canary.steps", "at least 1 items"),
    # addresses
    refused(J, "spec.baseModel.uri", "s3://models", "spec.baseModel.uri", "s3://<bucket>/<path>"),
    refused(J, "spec.baseModel.uri", "s3://Models/base", "spec.baseModel.uri", "s3://<bucket>/<path>"),
    refused(J, "spec.baseModel.uri", "s3://models/a/../b", "spec.baseModel.uri", "s3://<bucket>/<path>"),
    refused(J, "spec.configFrom", {"format": "Unsloth", "configMapRef": {"name": "a"}}, "configFrom.format", "Unsupported"),
    refused(J, "spec.configFrom", {"configMapRef": {"name": "a"}}, "spec.configFrom.format", "Required value"),
    refused(J, "spec.configFrom", {"format": "Axolotl"}, "spec.configFrom.configMapRef", "Required value"),
    refused(J, "spec.configFrom", {**RECIPE, "key": "../a"}, "spec.configFrom.key", "a ConfigMap's key has letters"),
    refused(J, "spec.baseModel.s3", {"region": "eu-1"}, "spec.baseModel", "it goes with a uri that is s3://"),
    refused(J, "spec.baseModel.secretRef", {"name": "hub"}, "spec.baseModel", "a volume needs none"),
    refused(J, "spec.data.train.0.s3", {"region": "eu-1"}, "spec.data.train[0]", "it goes with a uri that is s3://"),
    refused(J, "spec.data.train.0.secretRef", {"name": "hub"}, "spec.data.train[0]", "a volume needs none"),
    *(
        refused(J, "spec.data.train.0", {**IN_A_BUCKET, "s3": {"endpoint": given}}, "s3.endpoint", "http://<host>[:<port>]")
        for given in ("minio:9000", "ftp://minio", "https://minio/bucket", "https://user@minio", "https://minio:port")
    ),
    refused(J, "spec.data.train.0", {**IN_A_BUCKET, "s3": {"region": "EU West"}}, "s3.region", "region must have"),
    refused(J, "spec.data.train.0", {**IN_A_BUCKET, "s3": {"addressing": "Auto"}}, "addressing", "Unsupported value"),
    refused(J, "spec.data.train.0", {**IN_A_BUCKET, "secretRef": {"name": "my.store"}}, "secretRef.name", "letters, digits"),
    *(
        refused(J, "spec.artifacts.copyTo", {**COPY_TO, "uri": uri}, "copyTo.uri", "s3://<bucket>/<path>")
        for uri in ("hf://team/bots", "pvc://models", "s3://Models", "s3://models/../bots", "s3://models/a b")
    ),
    refused(J, "spec.artifacts.copyTo", {"uri": "s3://models"}, "copyTo.secretRef", "Required value"),
    refused(
        J, "spec.artifacts.copyTo", {**COPY_TO, "s3": {"endpoint": "http://minio", "caRef": {"name": "ours"}}}, "copyTo.s3",
        "give s3.endpoint as https://",
    ),
    *(
        refused(S, "spec.runtime.weights", {"uri": uri}, "runtime.weights.uri", "hf://<organisation>/<repository>")
        for uri in ("pvc://models", "s3://models/..", "hf://team", "hf://team/bots@v1", "https://models.example.com")
    ),
    refused(
        S, "spec.runtime.weights", {"uri": "hf://team/bots", "s3": {"region": "eu-1"}}, "runtime.weights",
        "it goes with a uri that is s3://",
    ),
    refused(J, "spec.baseModel.uri", "hf://SmolLM2", "spec.baseModel.uri", "hf://<organisation>/<model>"),
    refused(J, "spec.baseModel.uri", "pvc://models/../secrets", "spec.baseModel.uri", "without '..'"),
    refused(J, "spec.artifacts.uri", "pvc://artifacts/..", "spec.artifacts.uri", "without '..'"),
    refused(J, "spec.artifacts.uri", "pvc://artifacts/a b", "spec.artifacts.uri", "pvc://<claim>/<path>"),
    refused(J, "spec.artifacts.uri", "pvc://Artifacts", "spec.artifacts.uri", "pvc://<claim>/<path>"),
    refused(J, "spec.data.train.0.uri", "/mnt/a.jsonl", "spec.data.train[0].uri", "pvc://<claim>/<path>"),
    refused(J, "spec.data.train.0.uri", "pvc://data/../a.jsonl", "spec.data.train[0].uri", "without '..'"),
    refused(J, "spec.data.train.0.uri", "pvc://data/a.xlsx", "spec.data.train[0].uri", ".csv or .parquet file"),
    refused(J, "spec.data.train.0.uri", "hf://team/a/b.jsonl", "spec.data.train[0].uri", "hf://datasets/<org"),
    refused(J, "spec.data.train.0.uri", "hf://datasets/team/a", "spec.data.train[0].uri", "hf://datasets/<org"),
    *(
        refused(J, "spec.data.train.0.uri", uri, "spec.data.train[0].uri", "s3://<bucket>/<key>")
        for uri in ("s3://data/a.txt", "s3://data", "s3://data/a", "s3://D/a.csv", "s3://data/../a.csv", "s3://u@data/a.csv")
    ),
    refused(J, "spec.data.train.0.uri", "pvc://data/" + "a" * 512, "spec.data.train[0].uri", "512"),
    refused(G, "spec.suites.0.dataset.uri", "pvc://data", "spec.suites[0].dataset.uri", ".jsonl"),
    # a route of Serin's or of the user's
    refused(S, "spec.traffic.routeRef", {"name": "chat"}, "spec.traffic", "give gatewayRef and hostnames"),
    refused(S, "spec.traffic.hostnames", REMOVED, "spec.traffic", "give gatewayRef and hostnames"),
    refused(S, "spec.traffic.gatewayRef", REMOVED, "spec.traffic", "give gatewayRef and hostnames"),
    refused(S, "spec.traffic", {**LENT, "testers": TESTERS}, "spec.traffic", "testers need a rule that Serin makes"),
    refused(S, "spec", LENT_AND_SHADOWED, "spec", "shadow and experiment need rules that Serin makes"),
    refused(S, "spec", LENT_AND_TRIED, "spec", "shadow and experiment need rules that Serin makes"),
    refused(S, "spec.traffic", {**LENT, "routeRef": {}}, "routeRef.name", "Required value"),
    refused(S, "spec.traffic", {**LENT, "routeRef": {"name": "a/b"}}, "routeRef.name", "name of an HTTPRoute of this"),
    refused(
        S, "spec.traffic", {**LENT, "routeRef": {"name": "a", "ruleName": "B"}}, "ruleName", "must be the name of a rule"
    ),
    # no gateway
    *(
        refused(S, "spec", by_pods(**given), "spec.traffic", "with provider ReplicaRatio there is no gateway")
        for given in (
            {"gatewayRef": GATEWAY["gatewayRef"]}, {"hostnames": ["a.example.com"]}, {"routeRef": {"name": "chat"}},
            {"testers": TESTERS},
        )
    ),
    refused(S, "spec.traffic.maxReplicas", 20, "spec.traffic", "maxReplicas is of provider ReplicaRatio"),
    refused(S, "spec", by_pods(maxReplicas=5, replicas=3), "spec", "must be at least twice runtime.replicas"),
    refused(S, "spec", by_pods(maxReplicas=1), "spec.traffic.maxReplicas", "greater than or equal to 2"),
    refused(S, "spec", by_pods([{"weightPercent": 10}, ALL], replicas=4), "spec", "the smallest share is one pod of"),
    refused(S, "spec", by_pods([{"weightPercent": 4}, ALL], maxReplicas=20), "spec", "the smallest share is one pod of"),
    refused(S, "spec", {**by_pods(), "canary": {}}, "spec", "raise maxReplicas to 100 / weightPercent"),
    refused(S, "spec", by_pods([{"shadow": {}}, ALL]), "spec", "shadow and experiment need a gateway"),
    refused(S, "spec", by_pods([HALF, TRIED, ALL]), "spec", "shadow and experiment need a gateway"),
    refused(
        S, "spec", by_pods(slo={"name": "e", "preset": "GatewayErrorPercent", "max": "1"}), "spec", "presets whose names begin"
    ),
    refused(S, "spec.traffic.hostnames.0", "https://a.example.com", "hostnames[0]", "without a scheme"),
    refused(S, "spec.traffic.hostnames.0", "Bot.example.com", "hostnames[0]", "lower-case DNS name"),
    # numbers
    refused(J, "spec.hyperparameters.learningRate", 0.0002, "hyperparameters.learningRate", "of type string"),
    refused(J, "spec.hyperparameters.learningRate", "0", "hyperparameters.learningRate", "above 0"),
    refused(J, "spec.hyperparameters.learningRate", "2", "hyperparameters.learningRate", "at most 1"),
    refused(J, "spec.hyperparameters.learningRate", "fast", "hyperparameters.learningRate", DECIMAL),
    refused(J, "spec.hyperparameters.warmupRatio", "1.5", "hyperparameters.warmupRatio", "from 0 to 1"),
    refused(
        J, "spec.hyperparameters", {"warmupRatio": "0.1", "warmupSteps": 5}, "spec.hyperparameters",
        "give warmupSteps or warmupRatio, not both",
    ),
    refused(J, "spec.hyperparameters.warmupSteps", -1, "hyperparameters.warmupSteps", "greater than or equal to 0"),
    refused(
        J, "spec.hyperparameters", {"globalBatchSize": 64, "gradientAccumulationSteps": 2}, "spec.hyperparameters",
        "give globalBatchSize or gradientAccumulationSteps, not both",
    ),
    refused(
        J, "spec", {
            **MINIMAL[J]["spec"], "hyperparameters": {"globalBatchSize": 60, "batchSize": 4},
            "distribution": {"nodes": 2, "processesPerNode": 8},
        },
        "spec", "globalBatchSize must be a multiple of hyperparameters.batchSize x distribution.nodes",
    ),
    refused(J, "spec.hyperparameters", {"precision": "FP16"}, "spec", "needs an accelerator in distribution.resources"),
    refused(J, "spec.hyperparameters.precision", "INT8", "hyperparameters.precision", '"BF16", "FP16", "FP32"'),
    refused(J, "spec.hyperparameters.weightDecay", "-0.1", "hyperparameters.weightDecay", "at least 0"),
    refused(J, "spec.hyperparameters.maxGradientNorm", "0.0", "hyperparameters.maxGradientNorm", "above 0"),
    refused(J, "spec.hyperparameters.epochs", 1.5, "spec.hyperparameters.epochs", "of type integer"),
    refused(J, "spec.hyperparameters.epochs", 0, "spec.hyperparameters.epochs", "greater than or equal to 1"),
    refused(J, "spec.hyperparameters.maxSteps", -1, "spec.hyperparameters.maxSteps", "greater than or equal to 1"),
    refused(J, "spec.hyperparameters.scheduler", "cosine", "hyperparameters.scheduler", '"Cosine", "Linear"'),
    refused(J, "spec.data.split.testPercent", 20, "spec.data.split", "must add up to 100"),
    refused(J, "spec.data.split.trainPercent", 0, "spec.data.split.trainPercent", "greater than or equal to 1"),
    refused(J, "spec.data.split.strategy", "random", "spec.data.split.strategy", '"Random", "Stratified"'),
    refused(J, "spec.data.split.strategy", "Temporal", "spec.data.split", "Stratified and Temporal go by"),
    refused(J, "spec.data.split.field", "at", "spec.data.split", "the other strategies do not"),
    refused(J, "spec.data.split.minTestRows", -1, "spec.data.split.minTestRows", "greater than or equal to 0"),
    refused(J, "spec.data.split.strategy", "Provided", "spec.data", "needs at least one of them"),
    refused(J, "spec.data.validation", PROVIDED["validation"], "spec.data", "files of split.strategy Provided"),
    refused(
        J, "spec.data",
        {**PROVIDED, "split": {"strategy": "Provided", "trainPercent": 90, "validationPercent": 0}},
        "spec.data.split", "leave the percentages out",
    ),
    refused(J, "spec.data.train.0.format", "ShareGPT", "spec.data.train[0].format", '"Messages", "PromptCompletion"'),
    refused(J, "spec.data.cleaning.languages", ["English"], "languages[0]", "may not be more than 3"),
    refused(J, "spec.data.cleaning.languages", ["en", "en"], "languages[1]", "Duplicate value"),
    refused(J, "spec.data.cleaning.nearDuplicates.similarityPercent", 60, "similarityPercent", "equal to 70"),
    refused(J, "spec.data.train.0.weightPercent", 99, "spec.data", "every source of train or for none"),
    refused(
        J, "spec.data.train", [{**TICKETS, "weightPercent": 100}, {**TICKETS, "name": "more"}], "spec.data",
        "every source of train or for none",
    ),
    refused(J, "spec.data.train.0.weightPercent", 101, "spec.data.train[0].weightPercent", "than or equal to 100"),
    refused(J, "spec.data.mixing", "Repeat", "spec.data", "give every source of train a weightPercent"),
    refused(J, "spec.data", {"train": [TICKETS], "rowEnding": "Newline", "packing": "None"}, "spec.data", "leave lossOn"),
    refused(J, "spec.data", {"train": [TICKETS], "rowEnding": "Newline", "tooLong": "Truncate"}, "spec.data", "tooLong"),
    refused(J, "spec.data.overlap.action", "Warn", "spec.data.overlap.action", '"Refuse", "Drop"'),
    refused(J, "spec.data.overlap.maxPercent", 101, "spec.data.overlap.maxPercent", "less than or equal to 100"),
    refused(J, "spec.data.lossOn", "Assistant", "spec.data.lossOn", '"Completions", "LastCompletion"'),
    refused(J, "spec.data.packing", "Packed", "spec.data.packing", '"Isolated", "None"'),
    refused(J, "spec.data.rowEnding", "EOS", "spec.data.rowEnding", '"EndOfSequence", "Newline"'),
    refused(J, "spec.distribution.nodes", 0, "spec.distribution.nodes", "greater than or equal to 1"),
    refused(J, "spec.distribution.deepspeed.zeroStage", 4, "deepspeed.zeroStage", "less than or equal to 3"),
    refused(J, "spec.distribution.deepspeed", {"zeroStage": 2, "offload": "OptimizerAndParameters"}, "deepspeed", "zeroStage 3"),
    refused(J, "spec.distribution.deepspeed", {"zeroStage": 0, "offload": "Optimizer"}, "deepspeed", "at least 1"),
    refused(
        J, "spec.distribution.deepspeed", {"configOverride": {"train_batch_size": "4"}}, "configOverride",
        "train_batch_size is not for configOverride to set: Serin makes it from hyperparameters.globalBatchSize",
    ),
    refused(
        J, "spec.distribution.deepspeed", {"configOverride": {"tensorboard.output_path": "a"}}, "configOverride",
        "is not among what configOverride may set",
    ),
    refused(
        J, "spec.distribution.deepspeed", {"configOverride": {"zero_optimization.overlap_comm": "[1]"}}, "configOverride",
        "each value must be a number, true, false or a lower-case word",
    ),
    refused(J, "spec.distribution.resources.limits", {"cpu": "two"}, "resources.limits", "must be a quantity"),
    refused(J, "spec.distribution.resources.requests", {"cpu": 0.5}, "resources.requests", "string"),
    refused(J, "spec.distribution.resources.limits", {"cpu\n": "1"}, "resources.limits", "must be a resource's name"),
    # where training runs
    refused(J, "spec.distribution.scheduling", {"nodeSelector": {"a b": "c"}}, "nodeSelector", "a node's label"),
    refused(J, "spec.distribution.scheduling", {"nodeSelector": {"a": "b c"}}, "nodeSelector", "a node's label"),
    refused(
        J, "spec.distribution.scheduling", {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
        "tolerations[0]", "Exists a toleration has no value",
    ),
    refused(J, "spec.distribution.scheduling", {"tolerations": [{"value": "b"}]}, "tolerations[0]", "needs operator Exists"),
    refused(
        J, "spec.distribution.scheduling", {"tolerations": [{"key": "a", "value": "b", "tolerationSeconds": 5}]},
        "tolerations[0]", "effect NoExecute only",
    ),
    refused(J, "spec.distribution.scheduling", {"tolerations": [{"key": "a/b/c"}]}, "tolerations[0].key", "as a label's"),
    refused(
        J, "spec.distribution.scheduling", {"tolerations": [{"key": "a", "value": "-"}]}, "tolerations[0].value",
        "a taint's value",
    ),
    refused(J, "spec.distribution.scheduling", {"priorityClassName": "High"}, "priorityClassName", "lower-case letters"),
    refused(J, "spec.distribution.sharedMemory", "lots", "sharedMemory", "more than 1Mi, such as 8Gi"),
    refused(J, "spec.distribution.sharedMemory", "64", "sharedMemory", "more than 1Mi, such as 8Gi"),
    refused(J, "spec.distribution.env", [{"name": "LD_PRELOAD", "value": "x.so"}], "env[0].name", '"NCCL_ALGO"'),
    refused(J, "spec.distribution.env", [{"name": "NCCL_DEBUG", "value": "$(X)"}], "env[0].value", "the signs _ ."),
    refused(J, "spec.distribution.queueName", "Team A", "queueName", "lower-case letters"),
    # method
    refused(J, "spec.method", {"type": "Full", "lora": {}}, "spec.method", "only when type is LoRA"),
    refused(J, "spec.method", {"type": "LoRA", "ia3": {}}, "spec.method", "only when type is IA3"),
    refused(
        J, "spec.method", {"type": "IA3", "ia3": {"feedforwardModules": ["up_proj"]}}, "spec.method.ia3",
        "feedforwardModules must be among targetModules",
    ),
    refused(J, "spec.method", {"type": "Full", "adapter": "Merged"}, "spec.method", "may choose, has none"),
    refused(
        J, "spec.method", {"type": "Auto", "auto": {"deviceMemory": "80Gi"}, "adapter": "Kept"}, "spec.method",
        "only when type is LoRA, QLoRA, IA3 or PromptTuning",
    ),
    refused(
        J, "spec.method", {"type": "LoRA", "auto": {"deviceMemory": "80Gi"}}, "spec.method", "only when type is Auto",
    ),
    refused(J, "spec.method", {"type": "Auto", "auto": {"deviceMemory": "1"}}, "deviceMemory", "more than 1Mi"),
    refused(J, "spec.method", {"type": "Auto"}, "spec", "give method.auto.deviceMemory"),
    refused(
        J,
        "spec",
        {
            **MINIMAL["FineTuneJob"]["spec"],
            "method": {"type": "Auto"},
            "distribution": {"resources": {"limits": {"memory": "64Gi", "nvidia.com/gpu": 1}}},
        },
        "spec",
        "that of one accelerator",
    ),
    refused(J, "spec.method", {"type": "LoRA", "promptTuning": {}}, "spec.method", "only when type is PromptTuning"),
    refused(
        J, "spec.method", {"type": "PromptTuning", "adapter": "Merged"}, "spec.method", "PromptTuning is always Kept",
    ),
    refused(
        J, "spec.method", {"type": "PromptTuning", "promptTuning": {"virtualTokens": 0}}, "virtualTokens",
        "greater than or equal to 1",
    ),
    refused(
        J,
        "spec",
        {
            **MINIMAL["FineTuneJob"]["spec"],
            "method": {"type": "PromptTuning"},
            "data": {**MINIMAL["FineTuneJob"]["spec"]["data"], "packing": "Isolated"},
        },
        "spec",
        "needs data.packing None",
    ),
    refused(J, "spec.method", {"type": "Adapters"}, "spec.method.type", '"Full", "LoRA"'),
    refused(
        J,
        "spec",
        {
            **MINIMAL["FineTuneJob"]["spec"],
            "method": {"type": "QLoRA"},
            "distribution": {"deepspeed": {"zeroStage": 3}},
        },
        "spec",
        "needs distribution.deepspeed.zeroStage below 3",
    ),
    refused(J, "spec.method", {"type": "LoRA", "lora": {"dropout": "1"}}, "lora.dropout", "below 1"),
    refused(J, "spec.checkpoints", {"consolidate": "Best"}, "spec.checkpoints", "needs keepBest of at least 1"),
    refused(
        J,
        "spec",
        {
            **MINIMAL["FineTuneJob"]["spec"],
            "data": {**MINIMAL["FineTuneJob"]["spec"]["data"], "split": {"trainPercent": 90, "validationPercent": 0}},
            "earlyStopping": {},
        },
        "spec",
        "earlyStopping needs validation rows",
    ),
    refused(J, "spec.health", {"hungAfterSeconds": 9}, "hungAfterSeconds", "greater than or equal to 10"),
    refused(J, "spec.health", {"explosionFactor": "1.0"}, "spec.health.explosionFactor", "from 1.1 to 100"),
    refused(J, "spec.health", {"overfitting": "Scream"}, "spec.health.overfitting", '"Stop", "Warn", "Ignore"'),
    refused(J, "spec.tracking", {}, "spec.tracking", "tracking names who is told"),
    refused(J, "spec.tracking.wandb", {"project": "bot"}, "tracking.wandb", "lets nobody in without a key"),
    refused(
        J, "spec.tracking.wandb", {"project": "bot", "mode": "Offline", "secretRef": {"name": "w"}}, "tracking.wandb",
        "Offline writes files and asks no server",
    ),
    refused(
        J, "spec.tracking.wandb", {"project": "bot", "mode": "Offline", "caRef": {"name": "ours"}}, "tracking.wandb",
        "Offline writes files and asks no server",
    ),
    refused(
        J, "spec.tracking.mlflow", {**MLFLOW, "uri": "http://m:5000", "caRef": {"name": "ours"}}, "tracking.mlflow",
        "caRef says whose certificates are believed",
    ),
    refused(
        J, "spec.tracking.mlflow", {**MLFLOW, "caRef": {"name": "ours", "key": "../ca.crt"}}, "mlflow.caRef.key",
        "a ConfigMap's key has letters",
    ),
    refused(J, "spec.tracking.mlflow", {**MLFLOW, "caRef": {"name": "ours", "kind": "Pod"}}, "caRef.kind", '"ConfigMap", "Secret"'),
    refused(
        J, "spec.baseModel", {"uri": "s3://models/base", "s3": {"endpoint": "http://minio:9000", "caRef": {"name": "ours"}}},
        "spec.baseModel.s3", "give s3.endpoint as https://",
    ),
    refused(J, "spec.tracking.wandb", {**WANDB, "project": "a/b"}, "tracking.wandb.project", "named by letters, digits"),
    refused(J, "spec.tracking.wandb", {**WANDB, "entity": "a/b"}, "tracking.wandb.entity", "named by letters, digits"),
    refused(
        J, "spec.tracking.wandb", {**WANDB, "baseUrl": "http://wandb.ml:8080"}, "tracking.wandb.baseUrl",
        "sent over https only",
    ),
    refused(J, "spec.tracking.wandb", {**WANDB, "mode": "Dryrun"}, "tracking.wandb.mode", '"Online", "Offline"'),
    refused(J, "spec.tracking.mlflow", {**MLFLOW, "uri": "mlflow.example.com"}, "tracking.mlflow.uri", "MLflow's start page"),
    refused(
        J, "spec.tracking.mlflow", {**MLFLOW, "uri": "https://me:secret@mlflow.example.com"}, "tracking.mlflow.uri",
        "without user, password",
    ),
    refused(J, "spec.tracking.mlflow", {**MLFLOW, "experiment": "bot "}, "mlflow.experiment", "ends with no space"),
    refused(J, "spec.tracking.mlflow", {**MLFLOW, "experiment": ""}, "mlflow.experiment", "at least 1 chars long"),
    refused(
        J, "spec.tracking.mlflow", {**MLFLOW, "uri": "http://m:5000", "secretRef": {"name": "m"}}, "tracking.mlflow",
        "sent over https only",
    ),
    refused(J, "spec.tracking.mlflow", {**MLFLOW, "authentication": "Token"}, "tracking.mlflow", "name a Secret"),
    refused(J, "spec.earlyStopping", {"minDelta": "-0.1"}, "spec.earlyStopping.minDelta", "at least 0"),
    refused(J, "spec.earlyStopping", {"patience": 0}, "spec.earlyStopping.patience", "greater than or equal to 1"),
    refused(J, "spec.checkpoints", {"keepRecent": 0}, "keepRecent", "greater than or equal to 1"),
    refused(J, "spec.method", {"type": "LoRA", "lora": {"rank": 0}}, "lora.rank", "greater than or equal to 1"),
    refused(J, "spec.method", {"type": "LoRA", "lora": {"targetModules": []}}, "targetModules", "at least 1 items"),
    refused(
        J, "spec.method", {"type": "LoRA", "lora": {"targetModules": ["q_proj\n"]}}, "targetModules", "a module's name",
    ),
    # lists
    refused(J, "spec.data.train.+", MINIMAL[J]["spec"]["data"]["train"][0], "spec.data.train[1]", "Duplicate"),
    refused(J, "spec.gates", [{"name": "a"}, {"name": "a"}], "spec.gates[1]", "Duplicate value"),
    refused(J, "spec.gates", [{"name": "A"}], "spec.gates[0].name", "lower-case letters"),
    refused(J, "spec.rollout", {"modelServiceRef": {"name": "bot"}}, "spec.gates", "at least one gate"),
    # gates
    refused(G, "spec.suites.0.metrics", ["rougeL"], "spec.suites[0].metrics[0]", '"RougeL"'),
    refused(G, "spec.suites.0.metrics", ["RougeL", "RougeL"], "spec.suites[0].metrics[1]", "Duplicate value"),
    refused(G, "spec.suites.0.maxExamples", 0, "spec.suites[0].maxExamples", "greater than or equal to 1"),
    refused(G, "spec.suites.0.maxExamples", 19, "spec.suites[0]", "maxExamples must be at least 20"),
    refused(G, "spec.requirements.0.metric", "RougeL", "spec.requirements[0].metric", "<suite>/<Metric>"),
    refused(G, "spec.requirements.0.metric", "heldout/ExactMatch", "spec.requirements[].metric", "lists the"),
    refused(G, "spec.requirements.0.metric", "other/RougeL", "spec.requirements[].metric", "lists the metric"),
    refused(G, "spec.requirements.0.metric", "eldout/RougeL", "spec.requirements[].metric", "lists the metric"),
    refused(G, "spec.requirements.0.min", REMOVED, "spec.requirements[0]", "needs min, max or comparedTo"),
    refused(G, "spec.requirements.0.min", 0.35, "spec.requirements[0].min", "of type string"),
    refused(G, "spec.requirements.0.min", "35%", "spec.requirements[0].min", DECIMAL),
    refused(G, "spec.requirements.0.min", "1e999", "spec.requirements[0].min", DECIMAL),
    refused(G, "spec.requirements.0.max", "0.1", "spec.requirements[0]", "min must not be above max"),
    refused(G, "spec.requirements.0.comparedTo", "Base", "spec.requirements[0]", "write two requirements"),
    refused(G, "spec.requirements.0.confidencePercent", 100, "confidencePercent", "less than or equal to 99"),
    refused(G, "spec.requirements.0", COMPARED, "spec.requirements[0]", "exactly one of maxRegression"),
    refused(
        G, "spec.requirements.0", {**COMPARED, "maxRegression": "0", "minImprovement": "0"},
        "spec.requirements[0]", "exactly one of maxRegression and minImprovement",
    ),
    refused(G, "spec.requirements.0.maxRegression", "0.1", "spec.requirements[0]", "need comparedTo"),
    refused(G, "spec.requirements.0", {**COMPARED, "maxRegression": "-1"}, "maxRegression", "at least 0"),
    refused(G, "spec.requirements.0", {**COMPARED, "comparedTo": "Best"}, "comparedTo", '"Base", "Incumbent"'),
    refused(G, "spec.requirements.0.min", "35", "spec.requirements[0]", "write 0.35 for 35 percent"),
    refused(G, "spec.requirements.0", {**COMPARED, "maxRegression": "2"}, "spec.requirements[0]", "0.35 for 35 percent"),
    refused(G, "spec.requirements.0", {**WITHOUT_BOUND, "max": "0.5"}, "spec.requirements[0]", "better when higher"),
    refused(G, "spec.requirements.0.testMethod", "McNemar", "spec.requirements[0]", "it needs comparedTo"),
    refused(
        G, "spec.requirements.0", {**COMPARED, "maxRegression": "0", "testMethod": "McNemar"},
        "spec.requirements[0]", "for which an example is right or wrong (Accuracy, AccuracyNorm, Bias",
    ),
    refused(G, "spec.suites.0.metrics", ["RougeL", "ECE"], "spec.suites[0]", "need choices: what the model may choose"),
    refused(G, "spec.suites.0", {**QUIZ, "choices": {}}, "suites[0].choices", "either labels (the same for every row)"),
    refused(
        G, "spec.suites.0", {**QUIZ, "choices": {"labels": ["a", "b"], "field": "options"}},
        "spec.suites[0].choices", "either labels (the same for every row) or field",
    ),
    refused(G, "spec.suites.0", {**QUIZ, "choices": {"labels": ["a"]}}, "choices.labels", "at least 2 items"),
    refused(G, "spec.suites.0", {**QUIZ, "choices": {"labels": ["a", "a"]}}, "choices.labels[1]", "Duplicate value"),
    refused(
        G, "spec.suites.0", {**QUIZ, "metrics": ["RougeL", "F1Macro"]}, "spec.suites[0]", "F1Micro need choices.labels",
    ),
    refused(G, "spec.requirements.0", {"name": "q", "metric": "heldout/BLEU", "min": "0.35"}, "[0]", "write 35, not 0.35"),
    refused(G, "spec.requirements.0", {"name": "q", "metric": "heldout/ChrF", "min": "101"}, "[0]", "from 0 to 100"),
    refused(G, "spec.requirements.0", {"name": "q", "metric": "heldout/ECE", "max": "5"}, "[0]", "0.35 for 35 percent"),
    refused(G, "spec.requirements.0", {"name": "q", "metric": "heldout/ECE", "min": "0.1"}, "[0]", "better when lower"),
    refused(G, "spec.requirements.0", {"name": "q", "metric": "heldout/Brier", "max": "3"}, "[0]", "Brier goes from 0 to 2"),
    refused(
        G, "spec.requirements.0", {**COMPARED, "metric": "heldout/ECE", "maxRegression": "0.01"}, "[0]", "compare Brier",
    ),
    refused(G, "spec.suites.0.metrics", ["RougeL", "Toxicity"], "spec.suites[0]", "Toxicity needs a classifier"),
    refused(G, "spec.suites.0.metrics", ["RougeL", "Bias"], "spec.suites[0]", "Bias needs a classifier"),
    refused(
        G, "spec.suites.0", {**PLAIN, "metrics": ["RougeL", "Faithfulness"], "contextField": "context"},
        "spec.suites[0]", "Faithfulness needs a classifier",
    ),
    refused(G, "spec.suites.0.classifiers", [CLASSIFIER], "spec.suites[0]", "it would be ignored"),
    refused(G, "spec.suites.0.classifiers", [{**CLASSIFIER, "metric": "RougeL"}], "classifiers[0]", "metric is one of Bias"),
    refused(G, "spec.suites.0.classifiers", [{**CLASSIFIER, "threshold": "1"}], "threshold", "above 0 and below 1"),
    refused(G, "spec.suites.0.classifiers", [{**CLASSIFIER, "digest": "latest"}], "classifiers[0].digest", "sha256"),
    refused(G, "spec.suites.0.contextField", "context", "spec.suites[0]", "Faithfulness and contextField need each other"),
    refused(G, "spec.suites.0.refusalPhrases", ["never"], "spec.suites[0]", "add one of them to metrics"),
    refused(G, "spec.suites.0.judge", JUDGE, "spec.suites[0]", "JudgeWinRate and judge need each other"),
    refused(G, "spec.suites.0.preference", {"against": "Base"}, "spec.suites[0]", "HumanWinRate and preference"),
    refused(G, "spec.suites.0", {**JUDGED, "judge": {**JUDGE, "url": "http://j/v1"}}, "suites[0].judge", "https only"),
    refused(
        G, "spec.suites.0", {**JUDGED, "judge": {**JUDGE, "url": "https://j/v1/chat/completions"}},
        "judge.url", "where the API begins",
    ),
    refused(
        G, "spec", {"suites": [{**JUDGED, "judge": JUDGE}], "requirements": [
            {**COMPARED, "metric": "heldout/JudgeWinRate", "maxRegression": "0"}]},
        "requirements[0]", "are comparisons already",
    ),
    refused(G, "spec.requirements.0", {"name": "q", "metric": "heldout/PeakMemory", "max": "0"}, "[0]", "max must be as well"),
    refused(
        G, "spec.requirements.0", {"name": "q", "metric": "heldout/TokensPerSecond", "max": "9"}, "[0]", "better when higher",
    ),
    refused(G, "spec.requirements.0", {"name": "q", "metric": "heldout/Toxicity", "min": "0.1"}, "[0]", "better when lower"),
    refused(G, "spec.requirements.0", {"name": "q", "metric": "heldout/Toxicity", "max": "5"}, "[0]", "0.35 for 35 percent"),
    refused(G, "spec.requirements.0", {"name": "q", "metric": "heldout/TimeToFirstToken", "max": "200"}, "[0]", "milliseconds"),
    refused(G, "spec.requirements.0", {"name": "q", "metric": "heldout/TimePerOutputToken", "max": "50"}, "[0]", "milliseconds"),
    refused(G, "spec.requirements.0.min", "1", "spec.requirements[0]", "must be below 1: such as 0.99"),
    refused(G, "spec.requirements.0", {"name": "q", "metric": "heldout/Toxicity", "max": "0.0"}, "[0]", "such as 0.01"),
    refused(J, "spec.evaluation", {"parallelism": 0}, "evaluation.parallelism", "greater than or equal to 1"),
    refused(J, "spec.evaluation", {"parallelism": 65}, "evaluation.parallelism", "less than or equal to 64"),
    refused(
        J, "spec.ratings", [{"suite": "Held Out", "uri": "pvc://d/r.jsonl"}], "ratings[0].suite", "the name of a suite",
    ),
    refused(G, "spec.suites.0", {**PLAIN, "benchmark": BENCHMARK}, "suites[0]", "either dataset (rows of one's own) or benchmark"),
    refused(G, "spec.suites.0", {**BENCHED, "metrics": ["RougeL"]}, "spec.suites[0]", "a benchmark can be measured with Accuracy"),
    refused(G, "spec.suites.0.metrics", ["RougeL", "MCC"], "spec.suites[0]", "are of benchmarks only"),
    refused(G, "spec.suites.0", {**BENCHED, "stop": ["a"]}, "spec.suites[0]", "would be ignored: leave them out"),
    refused(G, "spec.suites.0", {**BENCHED, "maxNewTokens": 9}, "spec.suites[0]", "few-shot examples are benchmark.numFewshot"),
    refused(G, "spec.suites.0.benchmark", {**BENCHMARK, "tasks": ["a b"]}, "benchmark.tasks[0]", "a task's name has letters"),
    refused(G, "spec.suites.0.benchmark", {**BENCHMARK, "digest": "latest"}, "benchmark.digest", "sha256"),
    refused(G, "spec.suites.0.benchmark", {**BENCHMARK, "tasks": []}, "benchmark.tasks", "at least 1 item"),
    refused(
        G, "spec",
        {"suites": [BENCHED], "requirements": [{"name": "q", "metric": "heldout/Accuracy", "min": "0.5", "slice": GERMAN}]},
        "spec.suites[].slices", "a benchmark is sliced by task",
    ),
    refused(G, "spec.requirements.0", {"name": "q", "metric": "heldout/MCC", "min": "-2"}, "[0]", "MCC goes from -1 to 1"),
    refused(G, "spec.requirements.0", {"name": "q", "metric": "heldout/BitsPerByte", "max": "0"}, "[0]", "BitsPerByte are never"),
    refused(G, "spec.requirements.0.slice", GERMAN, "spec.suites[].slices", "add the field to spec.suites[].slices"),
    refused(G, "spec.suites.0.slices", [{"field": "a b"}], "slices[0].field", "a field's name has letters"),
    refused(G, "spec.suites.0.fewShot", {"examples": 0}, "fewShot.examples", "greater than or equal to 1"),
    refused(G, "spec.suites.0.fewShot", {"separator": "\n"}, "fewShot.examples", "Required value"),
    refused(G, "spec.suites.0.slices", [{"field": "a"}] * 2, "slices[1]", "Duplicate value"),
    refused(G, "spec.requirements.0.slice", {"field": "language"}, "slice.value", "Required value"),
    refused(G, "spec.requirements.0.weight", 0, "spec", "the gate would pass every model"),
    refused(G, "spec.requirements.0.weight", 101, "weight", "less than or equal to 100"),
    refused(G, "spec.passPercent", 0, "passPercent", "greater than or equal to 1"),
    refused(G, "spec.warnPercent", 90, "spec", "warnPercent must be above passPercent"),
    refused(G, "spec.requirements.0.testMethod", "TTest", "testMethod", '"PairedBootstrap"'),
    # records
    refused(R, "spec.artifact.uri", "http://169.254.169.254/latest", "spec.artifact.uri", "pvc://<claim>/<path>"),
    refused(R, "spec.artifact.digest", 'sha256:"}', "spec.artifact.digest", "letters, digits, colons"),
    # policies
    refused(P, "spec.requirements.0", {"name": "q", "metric": "RougeL", "min": "35"}, "requirements[0]", "35 percent"),
    refused(P, "spec.requirements.0", {"name": "q", "metric": "Perplexity", "min": "9"}, "requirements[0]", "give max"),
    refused(P, "spec.requirements.0", {"name": "q", "metric": "Perplexity", "max": "1"}, "requirements[0]", "above 1"),
    refused(P, "spec.requirements.0", {"name": "q", "metric": "CrossEntropy", "max": "0"}, "requirements[0]", "above 0"),
    refused(
        P, "spec.requirements.0",
        {"name": "q", "metric": "Perplexity", "comparedTo": "Base", "maxRegression": "1", "testMethod": "Wilcoxon"},
        "requirements[0]", "the same weight (Brier, METEOR, Rouge1, Rouge2, RougeL, TokenF1)",
    ),
    refused(P, "spec.mode", "Warn", "spec.mode", '"Enforce", "Audit"'),
    refused(P, "spec.requirements.0.metric", "heldout/RougeL", "spec.requirements[0].metric", '"RougeL"'),
    refused(P, "spec.requirements.0.max", "1", "spec.requirements[0]", "write two requirements"),
    refused(P, "spec.requirements.0.maxRegression", REMOVED, "spec.requirements[0]", "exactly one of"),
    refused(P, "spec.requirements", [], "spec", "it would ask for nothing"),
    refused(P, "spec.requirements.0.suite", "red-team", "spec", "one of this policy's suites that lists the metric"),
    refused(
        P, "spec",
        {
            "suites": [{"name": "s", "dataset": {"uri": "pvc://d/x.jsonl"}, "metrics": ["RougeL"], "slices": [{"field": "a"}]}],
            "requirements": [{"name": "q", "suite": "s", "metric": "RougeL", "min": "0.3", "slice": GERMAN}],
        },
        "spec", "by a field that the suite it names is sliced by",
    ),
    # approvals and waivers
    refused(G, "spec.approvals", [{"name": "lead", "groups": []}], "approvals[0].groups", "at least 1 items"),
    refused(G, "spec.approvals", [{"name": "lead", "groups": ["ml leads"]}], "groups[0]", "between blanks"),
    refused(P, "spec.approvals", [{"name": "all", "groups": ["system:authenticated"]}], "groups[0]", "everybody is in"),
    refused(P, "spec.approvals", [{"name": "all", "groups": ["a"], "validSeconds": 5}], "validSeconds", "equal to 60"),
    refused(W, "spec.owner", REMOVED, "spec.owner", "Required value"),
    refused(W, "spec.reason", "because", "spec.reason", "at least 10 chars"),
    refused(W, "spec.expiresAt", REMOVED, "spec.expiresAt", "Required value"),
    refused(W, "spec.expiresAt", "next week", "spec.expiresAt", "date-time"),
    refused(W, "spec.requirements", [], "spec.requirements", "at least 1 items"),
    refused(W, "spec.namespaces", [], "spec.namespaces", "at least 1 items"),
    refused(P, "spec.limits", {}, "spec.limits", "at least one limit"),
    refused(P, "spec.limits.minExamples", 5, "minExamples", "greater than or equal to 20"),
    refused(P, "spec.limits.maxCanaryStepPercent", 0, "maxCanaryStepPercent", "greater than or equal to 1"),
    refused(
        P, "spec.limits.allowedBaseModels", ["https://example.com"], "allowedBaseModels[0]", "by the beginning of its uri"
    ),
    refused(
        P, "spec.jobSelector.matchExpressions", [{"key": "a", "operator": "In"}], "matchExpressions[0]",
        "In and NotIn need values",
    ),
    refused(P, "spec.jobSelector.matchExpressions", [{"key": "a", "operator": "Is"}], "operator", '"NotIn"'),
    refused(G, "spec.suites.0.dataset.digest", "sha256:abc", "digest", "should match"),
    # services
    refused(S, "spec.runtime.engine", "TGI", "spec.runtime.engine", '"CPU"'),
    refused(S, "spec.runtime.engine", "VLLM", "spec.runtime", "give vllm.image at least"),
    refused(S, "spec.runtime.engine", "Custom", "spec.runtime", "give custom.image"),
    refused(S, "spec.runtime", VLLM | {"maxNewTokens": 64}, "spec.runtime", "vLLM has vllm.maxModelLen"),
    refused(S, "spec.runtime", changed(VLLM, "vllm.tensorParallelSize", 4), "spec.runtime", "need a GPU each"),
    refused(S, "spec.runtime", changed(VLLM, "vllm.image", "vllm/vllm-openai"), "vllm.image", "not latest"),
    refused(S, "spec.runtime", changed(VLLM, "vllm.image", "vllm/vllm-openai:latest"), "vllm.image", "not latest"),
    refused(S, "spec.runtime", changed(VLLM, "vllm.gpuMemoryUtilization", "1.5"), "gpuMemoryUtilization", "at most 1"),
    refused(S, "spec.runtime", changed(VLLM, "vllm.extraArgs", ["-q"]), "vllm.extraArgs", "one word"),
    refused(S, "spec.runtime", changed(VLLM, "vllm.extraArgs", ["--trust-remote-code"]), "extraArgs", "is not run"),
    refused(S, "spec.runtime", changed(VLLM, "vllm.extraArgs", ["--served-model-name=x"]), "extraArgs", "are Serin's"),
    refused(S, "spec.runtime", changed(VLLM, "vllm.extraArgs", ["--lora-modules=x=/tmp/x"]), "extraArgs", "adapters"),
    refused(S, "spec.runtime", changed(VLLM, "vllm.extraArgs", ["--tokenizer=/tmp/x"]), "extraArgs", "tokenizer"),
    refused(S, "spec.runtime", changed(CUSTOM, "custom.args", ["--alias=x"]), "custom", "must name {{modelPath}}"),
    refused(S, "spec.runtime.replicas", 0, "spec.runtime.replicas", "greater than or equal to 1"),
    refused(S, "spec.traffic.provider", "Istio", "spec.traffic.provider", '"GatewayAPI", "ReplicaRatio"'),
    refused(S, "spec.slos.0.max", REMOVED, "spec.slos[0]", "needs min or max"),
    refused(S, "spec.slos.0.min", "0.5", "spec.slos[0]", "min must not be above max"),
    refused(S, "spec.slos.0.max", 0.01, "spec.slos[0].max", "of type string"),
    refused(S, "spec.slos.0.query", "up", "spec.slos[0].query", "must contain {{revision}} or {{backend}}"),
    refused(S, "spec.slos.0.preset", "ErrorPercent", "spec.slos[0]", "query or preset, not both"),
    refused(S, "spec.slos.+", {"name": "e", "preset": "ErrorPercent"}, "spec.slos[1]", "belong together"),
    refused(S, "spec.slos.+", {"name": "e", "preset": "Errors", "max": "1"}, "preset", '"ErrorPercent"'),
    refused(S, "spec.slos.0.windowSeconds", 30, "spec.slos[0]", "it needs one of them"),
    refused(S, "spec.slos.0.windowSeconds", 1, "windowSeconds", "greater than or equal to 5"),
    refused(S, "spec.slos.0.query", "{{revision}} {{secret}}", "spec.slos[0].query", "nothing else"),
    refused(S, "spec.slos.0.query", REMOVED, "spec.slos[0]", "query and its bounds belong together"),
    refused(S, "spec.slos.+", NO_WORSE | {"histogram": REQUESTS}, "spec.slos[1]", "needs what to compare"),
    refused(S, "spec.slos.+", without(NO_WORSE, "failures"), "spec.slos[1]", "needs what to compare"),
    refused(S, "spec.slos.+", without(NO_WORSE, "comparedTo"), "spec.slos[1]", "these need"),
    refused(S, "spec.slos.+", without(NO_WORSE, "maxIncreasePoints"), "spec.slos[1]", "needs its tolerance"),
    refused(
        S, "spec.slos.+",
        {"name": "slow", "comparedTo": "Stable", "histogram": REQUESTS, "maxIncreasePoints": "1"},
        "spec.slos[1]", "latency takes maxIncreasePercent",
    ),
    refused(S, "spec.monitoring", {"drift": {"maxPsi": "0"}}, "maxPsi", "must be above 0"),
    refused(S, "spec.monitoring", {"intervalSeconds": 1}, "intervalSeconds", "greater than or equal to 5"),
    refused(S, "spec.slos.0.whenInconclusive", "Proceed", "spec.slos[0]", "they need comparedTo"),
    refused(S, "spec.slos.+", NO_WORSE | {"requests": "sum(x{{{revision}}})"}, "requests", "nothing around it"),
    refused(S, "spec.slos.+", NO_WORSE | {"requests": 'x{a="b"}'}, "requests", "both arms would be the same"),
    refused(S, "spec.slos.+", NO_WORSE | {"maxIncreasePoints": "51"}, "maxIncreasePoints", "at most 50"),
    refused(S, "spec.slos.+", NO_WORSE | {"maxIncreasePercent": 0}, "maxIncreasePercent", "greater than or equal to 1"),
    refused(S, "spec.slos.+", NO_WORSE | {"whenInconclusive": "Pass"}, "whenInconclusive", '"Hold", "Proceed"'),
    refused(S, "spec.slos.+", NO_WORSE | {"comparedTo": "Base"}, "comparedTo", '"Stable"'),
    refused(S, "spec.slos", [NO_WORSE], "spec.slos", "at least one SLO needs min or max"),
    refused(S, "spec.slos.0.dryRun", True, "spec.slos", "at least one SLO needs min or max, and no dryRun"),
    refused(S, "spec.slos.+", NO_WORSE | {"failureLimit": 2}, "spec.slos[1]", "failureLimit counts looks outside of"),
    refused(S, "spec.slos.0.failureLimit", 101, "failureLimit", "less than or equal to 100"),
    refused(S, "spec.slos.0.consecutiveErrorLimit", 0, "consecutiveErrorLimit", "greater than or equal to 1"),
    refused(
        S, "spec.slos",
        [MINIMAL[S]["spec"]["slos"][0], *({**NO_WORSE, "name": f"c{i}"} for i in range(9))],
        "spec.slos", "at most 8 SLOs may be compared",
    ),
    refused(S, "spec.canary.steps", [{"weightPercent": 50}], "spec.canary.steps", "the last weightPercent must be 100"),
    refused(S, "spec.canary.steps", [{"approval": {}}, {"weightPercent": 100}], "spec.canary.steps", "the first step must"),
    refused(S, "spec.canary.steps", [{"weightPercent": 100, "approval": {}}], "steps[0]", "exactly one of weightPercent"),
    refused(S, "spec.canary.steps", [{"weightPercent": 5}, {"shadow": {}}, {"weightPercent": 100}], "steps", "shadow comes before"),
    refused(S, "spec.traffic.testers", {}, "spec.traffic.testers", "known by headers or cookies"),
    refused(S, "spec.traffic.testers", {"headers": [{"name": "a b", "value": "x"}]}, "headers[0].name", "a header's name has"),
    refused(S, "spec.traffic.testers", {"headers": [{"name": "a", "value": "x y"}]}, "headers[0].value", "of a tester's header has"),
    refused(S, "spec.traffic.testers", {"cookies": [{"name": "a=", "value": "x"}]}, "cookies[0].name", "a cookie's name has"),
    refused(S, "spec.traffic.testers", {"cookies": [{"name": "a", "value": "x;y"}]}, "cookies[0].value", "of a tester's cookie has"),
    refused(S, "spec.canary.steps", [{"weightPercent": 100}, {}], "steps[1]", "exactly one of weightPercent"),
    refused(S, "spec.canary.steps", [{"weightPercent": 100}, {"approval": {}, "holdSeconds": 9}], "steps[1]", "goes with"),
    refused(S, "spec.canary.steps", [{"weightPercent": 100}, {"approval": {"validSeconds": 60}}], "steps[1].approval", "by name"),
    refused(S, "spec.canary.steps", [{"weightPercent": 100}, {"approval": {"groups": ["a b"]}}], "groups[0]", "between blanks"),
    refused(S, "spec.canary.steps", [{"weightPercent": 100}, {"approval": {"users": [""]}}], "users[0]", "at least 1"),
    refused(S, "spec.canary.steps", [{"weightPercent": 100}, {"analysis": {}}], "passingSeconds", "Required value"),
    refused(S, "spec.canary.steps", [HALF, without(TRIED, "maxDurationSeconds"), ALL], "steps[1]", "an experiment needs maxDurationSeconds"),
    refused(S, "spec.canary.steps", [HALF, TRIED | {"maxDurationSeconds": 60}, ALL], "steps[1]", "an experiment needs maxDurationSeconds"),
    refused(S, "spec.canary.steps", [HALF, ALL, TRIED], "spec.canary.steps", "both revisions need users"),
    refused(S, "spec.canary.steps", [{"shadow": {}}, TRIED, HALF, ALL], "spec.canary.steps", "both revisions need users"),
    refused(S, "spec.canary.steps", [HALF, TRIED, TRIED, ALL], "spec.canary.steps", "both revisions need users"),
    refused(S, "spec.canary.steps", [HALF, changed(TRIED, "experiment.sticky", {}), ALL], "experiment.sticky", "known by a header or a cookie"),
    refused(S, "spec.canary.steps", [HALF, changed(TRIED, "experiment.sticky.header", "a b"), ALL], "sticky.header", "of a user's key has"),
    refused(
        S, "spec.canary.steps", [HALF, changed(TRIED, "experiment.minDifferencePoints", "0"), ALL],
        "minDifferencePoints", "must be above 0",
    ),
    refused(S, "spec.traffic.testers", {"cookies": [{"name": "serin-arm", "value": "x"}]}, "cookies[0]", "is that of experiments"),
    refused(
        S, "spec.canary.steps", [{"weightPercent": n} for n in (50, 20, 100)], "spec.canary.steps", "must rise",
    ),
    refused(
        S, "spec.canary.steps", [{"weightPercent": n} for n in (20, 20, 100)], "spec.canary.steps", "must rise",
    ),
    refused(S, "spec.canary.bakeSeconds", -1, "spec.canary.bakeSeconds", "greater than or equal to 0"),
    refused(S, "spec.canary.bakeSeconds", 2_592_001, "spec.canary.bakeSeconds", "less than or equal to 2592000"),
    refused(
        S, "spec.canary.steps", [{"weightPercent": 100, "maxDurationSeconds": 60}], "steps[0]",
        "maxDurationSeconds must be above holdSeconds",
    ),
    refused(
        S, "spec.canary.steps", [{"weightPercent": 100}, {"analysis": {"passingSeconds": 9}, "maxDurationSeconds": 9}],
        "steps[1]", "or passingSeconds: the step could never end",
    ),
    refused(S, "spec.canary.whenOverdue", "Promote", "whenOverdue", '"Hold", "RollBack"'),
    refused(S, "spec.canary.initialDelaySeconds", 3601, "initialDelaySeconds", "less than or equal to 3600"),
    refused(S, "spec.canary.supersedePolicy", "Queue", "supersedePolicy", '"Replace", "Finish"'),
    refused(S, "spec.canary.blindness", {"action": "Ignore"}, "blindness.action", '"Hold", "Withdraw"'),
    refused(S, "spec.canary.blindness", {"timeoutSeconds": 3}, "spec.canary", "at least intervalSeconds"),
    refused(S, "spec.canary", {"bakeSeconds": 0, "previousRevision": "Stopped"}, "spec.canary", "is of the bake"),
    refused(S, "spec.canary.previousRevision", "Cold", "spec.canary.previousRevision", '"Warm", "Stopped"'),
    refused(S, "spec.canary.steps", [{"weightPercent": 101}], "weightPercent", "less than or equal to 100"),
    refused(S, "spec.canary.steps", [{"weightPercent": 100, "holdSeconds": -1}], "holdSeconds", "or equal to 0"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "path", "value", "field", "fix"), REFUSED)
def test_wrong_input_is_refused_with_the_field_and_the_fix(
    crds: ApiServer, kind: str, path: str, value: Any, field: str, fix: str
) -> None:
    said = refusal(crds, "default", changed(MINIMAL[kind], path, value))
    assert field in said
    assert fix in said


def test_every_rule_of_the_crds_has_a_row_that_breaks_it() -> None:
    fixes = [row.values[-1] for row in REFUSED] + [
        "a ModelRevision is a record and cannot be changed",
        "routeRef cannot be changed",
        "provider cannot be changed",
    ]
    messages = set().union(*(_messages(yaml.safe_load(file.read_text())) for file in CRDS.iterdir()))
    assert not {message for message in messages if not any(fix in message or message in fix for fix in fixes)}


def _said(validation: dict[str, Any]) -> str:
    """What a broken rule says; of a sentence that is put together, its longest fixed part."""
    literals = re.findall(r"'([^']*)'", validation.get("messageExpression", ""))
    parts = [literal for literal in literals if literal.startswith(" ")]  # the others are names and patterns
    return max(parts, key=len).strip() if parts else validation["message"]


def _messages(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*map(_messages, schema))
    if not isinstance(schema, dict):
        return set()
    own = {_said(one) for one in schema.get("x-kubernetes-validations", ()) if isinstance(one, dict)}
    return own.union(*map(_messages, schema.values()))


def _without_defaults(taken: Any, given: Any) -> Any:
    """What was taken, cut down to the fields that were given."""
    if isinstance(given, dict):
        return {key: _without_defaults(taken[key], given[key]) for key in given if key in taken}
    if isinstance(given, list) and len(given) == len(taken):
        return [_without_defaults(*pair) for pair in zip(taken, given, strict=True)]
    return taken
