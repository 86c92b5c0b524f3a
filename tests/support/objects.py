"""Manifests of the five kinds, each in the shortest and in the longest form that a user may write.

The longest form names every field of the schema; `test_crds.py` holds it to that.
"""

from copy import deepcopy
from typing import Any

Json = dict[str, Any]
REMOVED = object()
API_VERSION = "serin.dev/v1alpha1"


# Fields that cannot stand beside those of the longest form.
PROVIDED: Json = {
    "train": [{"name": "tickets", "uri": "pvc://datasets/train.csv", "format": "PromptCompletion"}],
    "validation": [{"name": "tickets", "uri": "pvc://datasets/validation.csv", "format": "PromptCompletion"}],
    "test": [{"name": "tickets", "uri": "pvc://datasets/test.csv", "format": "PromptCompletion"}],
    "split": {"strategy": "Provided"},
}


def changed(manifest: Json, path: str, value: Any) -> Json:
    """A copy with one field set, appended (`spec.gates.+`) or, with REMOVED, taken away: `spec.data.train.0.uri`."""
    found = deepcopy(manifest)
    *parents, last = path.split(".")
    place: Any = found
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
    if isinstance(place, list):
        place.append(value) if last == "+" else place.__setitem__(int(last), value)
    elif value is REMOVED:
        del place[last]
    else:
        place[last] = value
    return found


def _object(kind: str, name: str, spec: Json) -> Json:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


MINIMAL: dict[str, Json] = {
    "FineTuneJob": _object(
        "FineTuneJob",
        "support-bot",
        {
            "baseModel": {"uri": "pvc://models/base"},
            "data": {"train": [{"name": "tickets", "uri": "pvc://datasets/tickets.jsonl"}]},
            "artifacts": {"uri": "pvc://artifacts"},
        },
    ),
    "EvalGate": _object(
        "EvalGate",
        "support-quality",
        {
            "suites": [{"name": "heldout", "dataset": {"uri": "pvc://datasets/test.jsonl"}, "metrics": ["RougeL"]}],
            "requirements": [{"name": "quality", "metric": "heldout/RougeL", "min": "0.35"}],
        },
    ),
    "ClusterEvalPolicy": _object(
        "ClusterEvalPolicy",
        "baseline",
        {"requirements": [{"name": "not-worse", "metric": "RougeL", "comparedTo": "Base", "maxRegression": "0.02"}]},
    ),
    "ModelService": _object(
        "ModelService",
        "support-bot",
        {
            "runtime": {"engine": "CPU"},
            "traffic": {
                "provider": "GatewayAPI",
                "gatewayRef": {"name": "public", "namespace": "infra"},
                "hostnames": ["bot.example.com"],
            },
            "slos": [{"name": "errors", "query": 'sum(failures{revision="{{revision}}"})', "max": "0.01"}],
        },
    ),
    "ModelRevision": _object(
        "ModelRevision",
        "support-bot-3f9c2a71b0",
        {
            "modelServiceRef": {"name": "support-bot"},
            "jobRef": {"name": "support-bot", "uid": "2e1f3c0a-52a1-4a7e-9a35-6a3d9a6a4f10"},
            "artifact": {"uri": "pvc://artifacts/ml/support-bot/model-3f9c", "digest": "sha256:3f9c2a71b0"},
            "lineage": {
                "baseModelUri": "pvc://models/base",
                "baseModelDigest": "sha256:aa",
                "dataDigest": "sha256:bb",
                "prepareKey": "cc",
                "trainKey": "dd",
                "modelKey": "ee",
            },
        },
    ),
}

_RESOURCES = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": 2, "memory": "2Gi", "nvidia.com/gpu": 1}}

FULL: dict[str, Json] = {
    "FineTuneJob": _object(
        "FineTuneJob",
        "support-bot-in-forty-characters-long-abc",
        {
            "baseModel": {"uri": "hf://HuggingFaceTB/SmolLM2-135M@93efa2f097d58c2a74874c7e644dbc9b0cee75a2"},
            "data": {
                "train": [
                    {
                        "name": "tickets",
                        "uri": "pvc://datasets/tickets.jsonl",
                        "format": "Messages",
                        "weightPercent": 85,
                    },
                    {
                        "name": "general",
                        "uri": "hf://datasets/team/general@v1.0/data/train.parquet",
                        "weightPercent": 15,
                    },
                ],
                "mixing": "Repeat",
                "split": {
                    "strategy": "Stratified",
                    "field": "meta.language",
                    "trainPercent": 90,
                    "validationPercent": 10,
                    "testPercent": 0,
                    "seed": 4294967295,
                    "minValidationRows": 0,
                    "minTestRows": 50,
                },
                "cleaning": {
                    "minTokens": 8,
                    "languages": ["en", "de"],
                    "nearDuplicates": {"action": "Keep", "similarityPercent": 80},
                },
                "rowEnding": "EndOfSequence",
                "lossOn": "LastCompletion",
                "packing": "None",
                "tooLong": "Truncate",
                "overlap": {"action": "Drop", "maxPercent": 0},
            },
            "method": {
                "type": "LoRA",
                "lora": {"rank": 8, "alpha": 16, "targetModules": ["q_proj", "k_proj"], "dropout": "0.05"},
            },
            "hyperparameters": {
                "learningRate": "3e-4",
                "epochs": 3,
                "maxSteps": 400,
                "batchSize": 4,
                "gradientAccumulationSteps": 2,
                "scheduler": "Linear",
                "warmupRatio": "0.1",
                "weightDecay": ".01",
                "maxGradientNorm": "1",
                "maxSequenceLength": 1024,
                "saveSteps": 50,
                "seed": 1,
            },
            "distribution": {
                "nodes": 2,
                "processesPerNode": 8,
                "deepspeed": {"zeroStage": 3},
                "resources": _RESOURCES,
                "maxRestarts": 0,
                "scheduling": {
                    "nodeSelector": {"topology.kubernetes.io/zone": "eu-1a"},
                    "tolerations": [
                        {"key": "nvidia.com/gpu", "operator": "Equal", "value": "present", "effect": "NoSchedule"},
                        {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60},
                    ],
                    "priorityClassName": "research.low",
                    "runtimeClassName": "nvidia",
                    "imagePullSecrets": [{"name": "registry"}],
                },
                "sharedMemory": "8Gi",
                "env": [{"name": "NCCL_IB_HCA", "value": "=mlx5_0:1,mlx5_1:1"}],
                "queueName": "team-a",
            },
            "checkpoints": {"keepRecent": 2, "keepBest": 1, "consolidate": "Best"},
            "earlyStopping": {"patience": 2, "minDelta": "0.01", "minSteps": 100},
            "health": {
                "lossExplosion": "Stop",
                "explosionFactor": "3.5",
                "overfitting": "Warn",
                "overfittingPercent": 20,
                "hungAfterSeconds": 90,
            },
            "artifacts": {"uri": "pvc://artifacts/team-a/"},
            "gates": [{"name": "support-quality"}, {"name": "safety"}],
            "rollout": {"modelServiceRef": {"name": "support-bot"}},
            "suspend": True,
        },
    ),
    "EvalGate": _object(
        "EvalGate",
        "support-quality",
        {
            "suites": [
                {
                    "name": "heldout",
                    "dataset": {"uri": "pvc://datasets/test.jsonl.gz", "digest": "sha256:" + "0123456789abcdef" * 4},
                    "metrics": [
                        "Perplexity",
                        "CrossEntropy",
                        "TokenAccuracy",
                        "ExactMatch",
                        "RougeL",
                        "F1Macro",
                        "ECE",
                    ],
                    "maxExamples": 500,
                    "maxNewTokens": 64,
                    "stop": ["\n"],
                    "choices": {"labels": ["positive", "negative"]},
                    "slices": [{"field": "language"}, {"field": "product"}],
                },
                {
                    "name": "quiz",
                    "dataset": {"uri": "pvc://datasets/quiz.jsonl"},
                    "metrics": ["Accuracy", "Brier", "AdaptiveECE"],
                    "choices": {"field": "options"},
                },
                {"name": "smoke", "dataset": {"uri": "pvc://datasets/smoke.jsonl"}, "metrics": ["ExactMatch"]},
            ],
            "requirements": [
                {
                    "name": "quality",
                    "metric": "heldout/RougeL",
                    "min": "0.35",
                    "max": "1.0",
                    "confidencePercent": 90,
                    "weight": 3,
                },
                {"name": "sharper", "metric": "heldout/RougeL", "comparedTo": "Base", "minImprovement": "0.01"},
                {
                    "name": "safe",
                    "metric": "smoke/ExactMatch",
                    "comparedTo": "Incumbent",
                    "maxRegression": "0",
                    "testMethod": "McNemar",
                    "mustPass": True,
                },
                {
                    "name": "german",
                    "metric": "heldout/RougeL",
                    "slice": {"field": "language", "value": "de"},
                    "min": "0.30",
                },
                {"name": "honest", "metric": "quiz/Brier", "comparedTo": "Base", "maxRegression": "1.5"},
                {"name": "calibrated", "metric": "quiz/AdaptiveECE", "max": "0.1"},
            ],
            "passPercent": 70,
            "warnPercent": 90,
        },
    ),
    "ClusterEvalPolicy": _object(
        "ClusterEvalPolicy",
        "baseline",
        {
            "mode": "Audit",
            "namespaceSelector": {
                "matchLabels": {"team": "support"},
                "matchExpressions": [{"key": "stage", "operator": "NotIn", "values": ["sandbox", "lab"]}],
            },
            "jobSelector": {
                "matchLabels": {"policy.serin.dev/tier": "high"},
                "matchExpressions": [
                    {"key": "policy.serin.dev/exempt", "operator": "DoesNotExist"},
                    {"key": "policy.serin.dev/tier", "operator": "In", "values": ["high"]},
                ],
            },
            "suites": [
                {
                    "name": "red-team",
                    "dataset": {"uri": "pvc://datasets/red-team.jsonl", "digest": "sha256:" + "0123456789abcdef" * 4},
                    "metrics": ["ExactMatch"],
                    "maxExamples": 400,
                    "maxNewTokens": 32,
                    "slices": [{"field": "language"}],
                    "stop": ["\n"],
                },
                {
                    "name": "labelled",
                    "dataset": {"uri": "pvc://datasets/labelled.jsonl"},
                    "metrics": ["Accuracy"],
                    "choices": {"labels": ["yes", "no"]},
                },
                {
                    "name": "options",
                    "dataset": {"uri": "pvc://datasets/options.jsonl"},
                    "metrics": ["Accuracy"],
                    "choices": {"field": "options"},
                },
            ],
            "limits": {
                "minExamples": 200,
                "maxCanaryStepPercent": 25,
                "minStepSeconds": 60,
                "minBakeSeconds": 3600,
                "allowedBaseModels": ["hf://HuggingFaceTB", "pvc://models/approved"],
            },
            "requirements": [
                {"name": "refuses", "suite": "red-team", "metric": "ExactMatch", "min": "0.95"},
                {"name": "bounded", "metric": "Perplexity", "min": "1", "max": "1e3", "confidencePercent": 99},
                {"name": "not-worse", "metric": "RougeL", "comparedTo": "Incumbent", "maxRegression": "0.02"},
                {
                    "name": "better",
                    "metric": "RougeL",
                    "comparedTo": "Base",
                    "minImprovement": "0.02",
                    "testMethod": "Wilcoxon",
                },
            ],
        },
    ),
    "ModelService": _object(
        "ModelService",
        "support-bot",
        {
            "runtime": {"engine": "CPU", "replicas": 2, "resources": _RESOURCES, "maxNewTokens": 64},
            "traffic": {
                "provider": "GatewayAPI",
                "gatewayRef": {"name": "public", "namespace": "infra"},
                "hostnames": ["bot.example.com", "*.bots.example.com"],
            },
            "slos": [
                {
                    "name": "ttft-p95",
                    "source": "default",
                    "query": 'f(x{namespace="{{namespace}}",service="{{service}}",revision="{{revision}}"})'
                    ' / f(x{revision="{{stable}}"})',
                    "min": "0",
                    "max": "0.8",
                },
                {
                    "name": "no-slower",
                    "comparedTo": "Stable",
                    "histogram": 'ttft_seconds_bucket{namespace="{{namespace}}",revision="{{revision}}"}',
                    "maxIncreasePercent": 20,
                    "warmUpSeconds": 0,
                },
                {
                    "name": "no-more-errors",
                    "comparedTo": "Stable",
                    "requests": 'http_requests_total{revision="{{revision}}"}',
                    "failures": 'http_requests_total{revision="{{revision}}",status="5xx"}',
                    "maxIncreasePercent": 20,
                    "maxIncreasePoints": "0.5",
                    "whenInconclusive": "Proceed",
                },
            ],
            "canary": {
                "steps": [
                    {"weightPercent": 10, "holdSeconds": 30},
                    {"weightPercent": 50, "holdSeconds": 0},
                    {"weightPercent": 100},
                ],
                "minRequests": 0,
                "intervalSeconds": 1,
                "progressDeadlineSeconds": 120,
                "blindness": {"timeoutSeconds": 60, "action": "Withdraw"},
                "bakeSeconds": 86400,
            },
        },
    ),
    "ModelRevision": MINIMAL["ModelRevision"],
}

OTHERWISE: dict[str, list[Json]] = {"FineTuneJob": [changed(FULL["FineTuneJob"], "spec.data", PROVIDED)]}
