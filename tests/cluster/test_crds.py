"""The CRDs on a real apiserver: what it accepts, what it refuses and with which words, what it fills in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from serin_devcluster.apiserver import ApiServer
from support.objects import FULL, MINIMAL, OTHERWISE, PROVIDED, REMOVED, changed

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

Json = dict[str, Any]


@pytest.fixture(scope="module")
def crds(apiserver: ApiServer) -> ApiServer:
    """The apiserver, with our CRDs served."""
    apiserver.kubectl("apply", "--server-side", "-f", str(CRDS))
    apiserver.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(CRDS))
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
    crds.kubectl("create", "-n", namespace, "--dry-run=server", "-f", str(file))


@pytest.mark.parametrize("kind", ["FineTuneJob", "ModelService"])
def test_an_object_nobody_has_looked_at_reads_as_in_progress(crds: ApiServer, namespace: str, kind: str) -> None:
    conditions = create(crds, namespace, MINIMAL[kind])["status"]["conditions"]
    seen = {one["type"]: (one["status"], one["reason"], one["lastTransitionTime"]) for one in conditions}
    pending = ("Unknown", "Pending", "1970-01-01T00:00:00Z")
    assert seen == {"Ready": pending, "Reconciling": pending}


def test_a_job_of_the_shortest_form_shows_what_will_be_done(crds: ApiServer, namespace: str) -> None:
    spec = create(crds, namespace, MINIMAL["FineTuneJob"], "--dry-run=server")["spec"]
    assert spec["data"]["split"] == {
        "strategy": "Random", "trainPercent": 80, "validationPercent": 10, "testPercent": 10, "seed": 7,
        "minValidationRows": 100, "minTestRows": 100,
    }  # fmt: skip
    assert spec["data"]["cleaning"]["nearDuplicates"] == {"action": "Drop", "similarityPercent": 90}
    assert spec["hyperparameters"]["learningRate"] == "2e-4"
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
        ("ftj", ["NAME", "STATE", "PROGRESS", "LOSS", "GATE", "REVISION", "MESSAGE", "AGE"]),
        ("msvc", ["NAME", "STATE", "STABLE", "CANDIDATE", "CANARY%", "BAKE", "MESSAGE", "AGE"]),
        ("mrev", ["NAME", "SERVICE", "GATE", "PROMOTED", "REJECTED", "DIGEST", "AGE"]),
        ("egate", ["NAME", "AGE"]),
        ("cepol", ["NAME", "MODE", "AGE"]),
    ],
)
def test_kubectl_get_tells_the_story(crds: ApiServer, namespace: str, short: str, headers: list[str]) -> None:
    names = {"ftj": "FineTuneJob", "msvc": "ModelService", "mrev": "ModelRevision", "egate": "EvalGate"}
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
COMPARED = {"name": "q", "metric": "heldout/RougeL", "comparedTo": "Base"}
WITHOUT_BOUND = {"name": "q", "metric": "heldout/RougeL"}
GERMAN = {"field": "language", "value": "de"}
QUIZ = {**MINIMAL["EvalGate"]["spec"]["suites"][0], "choices": {"field": "options"}}


def refused(kind: str, path: str, value: Any, field: str, fix: str) -> Any:
    """A row: this value there is refused, the message naming the field and the fix."""
    shown = "removed" if value is REMOVED else json.dumps(value)[:40]
    return pytest.param(kind, path, value, field, fix, id=f"{kind}.{path}={shown}")


J, G, P, S, R = KINDS
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
    refused(J, "spec.baseModel.uri", "s3://models/base", "spec.baseModel.uri", "pvc://<claim>/<path>"),
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
    refused(J, "spec.data.train.0.uri", "s3://data/a.csv", "spec.data.train[0].uri", "pvc://<claim>/<path>"),
    refused(J, "spec.data.train.0.uri", "pvc://data/" + "a" * 512, "spec.data.train[0].uri", "512"),
    refused(G, "spec.suites.0.dataset.uri", "pvc://data", "spec.suites[0].dataset.uri", ".jsonl"),
    refused(S, "spec.traffic.hostnames.0", "https://a.example.com", "hostnames[0]", "without a scheme"),
    refused(S, "spec.traffic.hostnames.0", "Bot.example.com", "hostnames[0]", "lower-case DNS name"),
    # numbers
    refused(J, "spec.hyperparameters.learningRate", 0.0002, "hyperparameters.learningRate", "of type string"),
    refused(J, "spec.hyperparameters.learningRate", "0", "hyperparameters.learningRate", "above 0"),
    refused(J, "spec.hyperparameters.learningRate", "2", "hyperparameters.learningRate", "at most 1"),
    refused(J, "spec.hyperparameters.learningRate", "fast", "hyperparameters.learningRate", DECIMAL),
    refused(J, "spec.hyperparameters.warmupRatio", "1.5", "hyperparameters.warmupRatio", "from 0 to 1"),
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
    refused(J, "spec.method", {"type": "QLoRA"}, "spec.method.type", '"Full", "LoRA"'),
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
        "spec.requirements[0]", "right or wrong (Accuracy, ExactMatch, F1Micro): use PairedBootstrap",
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
    refused(G, "spec.requirements.0.slice", GERMAN, "spec.suites[].slices", "add the field to spec.suites[].slices"),
    refused(G, "spec.suites.0.slices", [{"field": "a b"}], "slices[0].field", "a field's name has letters"),
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
        "requirements[0]", "the same weight (Brier, Rouge1, Rouge2, RougeL, TokenF1)",
    ),
    refused(P, "spec.mode", "Warn", "spec.mode", '"Enforce", "Audit"'),
    refused(P, "spec.requirements.0.metric", "heldout/RougeL", "spec.requirements[0].metric", '"RougeL"'),
    refused(P, "spec.requirements.0.max", "1", "spec.requirements[0]", "write two requirements"),
    refused(P, "spec.requirements.0.maxRegression", REMOVED, "spec.requirements[0]", "exactly one of"),
    refused(P, "spec.requirements", [], "spec", "it would ask for nothing"),
    refused(P, "spec.requirements.0.suite", "red-team", "spec", "one of this policy's suites that lists the metric"),
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
    refused(S, "spec.runtime.engine", "VLLM", "spec.runtime.engine", '"CPU"'),
    refused(S, "spec.runtime.replicas", 0, "spec.runtime.replicas", "greater than or equal to 1"),
    refused(S, "spec.traffic.provider", "Istio", "spec.traffic.provider", '"GatewayAPI"'),
    refused(S, "spec.slos.0.max", REMOVED, "spec.slos[0]", "needs min or max"),
    refused(S, "spec.slos.0.min", "0.5", "spec.slos[0]", "min must not be above max"),
    refused(S, "spec.slos.0.max", 0.01, "spec.slos[0].max", "of type string"),
    refused(S, "spec.slos.0.query", "up", "spec.slos[0].query", "must contain {{revision}}"),
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
    refused(S, "spec.slos.0.whenInconclusive", "Proceed", "spec.slos[0]", "they need comparedTo"),
    refused(S, "spec.slos.+", NO_WORSE | {"requests": "sum(x{{{revision}}})"}, "requests", "nothing around it"),
    refused(S, "spec.slos.+", NO_WORSE | {"requests": 'x{a="b"}'}, "requests", "both arms would be the same"),
    refused(S, "spec.slos.+", NO_WORSE | {"maxIncreasePoints": "51"}, "maxIncreasePoints", "at most 50"),
    refused(S, "spec.slos.+", NO_WORSE | {"maxIncreasePercent": 0}, "maxIncreasePercent", "greater than or equal to 1"),
    refused(S, "spec.slos.+", NO_WORSE | {"whenInconclusive": "Pass"}, "whenInconclusive", '"Hold", "Proceed"'),
    refused(S, "spec.slos.+", NO_WORSE | {"comparedTo": "Base"}, "comparedTo", '"Stable"'),
    refused(S, "spec.slos", [NO_WORSE], "spec.slos", "at least one SLO needs min or max"),
    refused(
        S, "spec.slos",
        [MINIMAL[S]["spec"]["slos"][0], *({**NO_WORSE, "name": f"c{i}"} for i in range(9))],
        "spec.slos", "at most 8 SLOs may be compared",
    ),
    refused(S, "spec.canary.steps", [{"weightPercent": 50}], "spec.canary.steps", "must have weightPercent 100"),
    refused(
        S, "spec.canary.steps", [{"weightPercent": n} for n in (50, 20, 100)], "spec.canary.steps", "must rise",
    ),
    refused(
        S, "spec.canary.steps", [{"weightPercent": n} for n in (20, 20, 100)], "spec.canary.steps", "must rise",
    ),
    refused(S, "spec.canary.bakeSeconds", -1, "spec.canary.bakeSeconds", "greater than or equal to 0"),
    refused(S, "spec.canary.bakeSeconds", 2_592_001, "spec.canary.bakeSeconds", "less than or equal to 2592000"),
    refused(S, "spec.canary.blindness", {"action": "Ignore"}, "blindness.action", '"Hold", "Withdraw"'),
    refused(S, "spec.canary.blindness", {"timeoutSeconds": 3}, "spec.canary", "at least intervalSeconds"),
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
    fixes = [row.values[-1] for row in REFUSED] + ["a ModelRevision is a record and cannot be changed"]
    messages = set().union(*(_messages(yaml.safe_load(file.read_text())) for file in CRDS.iterdir()))
    assert not {message for message in messages if not any(fix in message for fix in fixes)}


def _messages(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*map(_messages, schema))
    if not isinstance(schema, dict):
        return set()
    own = {one["message"] for one in schema.get("x-kubernetes-validations", ()) if isinstance(one, dict)}
    return own.union(*map(_messages, schema.values()))


def _without_defaults(taken: Any, given: Any) -> Any:
    """What was taken, cut down to the fields that were given."""
    if isinstance(given, dict):
        return {key: _without_defaults(taken[key], given[key]) for key in given if key in taken}
    if isinstance(given, list) and len(given) == len(taken):
        return [_without_defaults(*pair) for pair in zip(taken, given, strict=True)]
    return taken
