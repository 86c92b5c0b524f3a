"""Manifests of the six kinds, each in the shortest and in the longest form that a user may write.

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
    "EvalWaiver": _object(
        "EvalWaiver",
        "german-answers",
        {
            "policyRef": {"name": "baseline"},
            "requirements": ["not-worse"],
            "namespaces": ["ml"],
            "owner": "safety@example.com",
            "reason": "the German rows are being corrected, see SAFE-214",
            "expiresAt": "2027-01-01T00:00:00Z",
        },
    ),
}

CLASSIFIER: Json = {
    "name": "toxic",
    "metric": "Toxicity",
    "uri": "pvc://models/toxicity",
    "digest": "sha256:" + "0123456789abcdef" * 4,
    "label": "toxic",
    "threshold": "0.7",
}

JUDGE: Json = {
    "url": "https://judge.example.com:8443/v1",
    "model": "a-large-model",
    "against": "Incumbent",
    "secretRef": {"name": "judge"},
    "criteria": "correct first, then short",
    "timeoutSeconds": 30,
    "retries": 3,
    "maxTokens": 256,
    "concurrency": 8,
}

KNOWLEDGE = {
    "name": "knowledge",
    "benchmark": {
        "tasks": ["mmlu", "cola"],
        "uri": "pvc://datasets/benchmarks",
        "digest": "sha256:" + "0123456789abcdef" * 4,
        "numFewshot": 5,
        "filter": "strict-match",
        "applyChatTemplate": True,
    },
    "metrics": ["Accuracy", "AccuracyNorm", "MCC", "BytePerplexity"],
}
SAYING: list[Json] = [
    {
        "name": "harm",
        "dataset": {"uri": "pvc://datasets/harm.jsonl"},
        "metrics": ["Toxicity", "Faithfulness", "JailbreakSuccess"],
        "classifiers": [CLASSIFIER, {**CLASSIFIER, "name": "entails", "metric": "Faithfulness", "label": "entailment"}],
        "contextField": "context",
        "refusalPhrases": ["that is not for me to say"],
    },
    {
        "name": "preferred",
        "dataset": {"uri": "pvc://datasets/open.jsonl"},
        "metrics": ["JudgeWinRate", "HumanWinRate", "TimeToFirstToken", "PeakMemory"],
        "judge": JUDGE,
        "preference": {"against": "Base", "question": "Which answer would you rather send?"},
    },
]

_RESOURCES = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": 2, "memory": "2Gi", "nvidia.com/gpu": 1}}

FULL: dict[str, Json] = {
    "FineTuneJob": _object(
        "FineTuneJob",
        "support-bot-in-forty-characters-long-abc",
        {
            "baseModel": {
                "uri": "hf://HuggingFaceTB/SmolLM2-135M@93efa2f097d58c2a74874c7e644dbc9b0cee75a2",
                "secretRef": {"name": "hub"},
            },
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
                        "uri": "s3://team-data/general/2026/",
                        "s3": {
                            "endpoint": "https://minio.example.com:9000",
                            "region": "eu-central-1",
                            "addressing": "VirtualHosted",
                            "caRef": {"kind": "ConfigMap", "name": "our-authority", "key": "ca.crt"},
                        },
                        "secretRef": {"name": "store"},
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
                "adapter": "Kept",
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
                "deepspeed": {
                    "zeroStage": 3,
                    "offload": "OptimizerAndParameters",
                    "configOverride": {"zero_optimization.overlap_comm": "true"},
                },
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
            "tracking": {
                "mlflow": {
                    "uri": "https://mlflow.example.com:8443/team-a/",
                    "experiment": "/Users/a@example.com/support bot",
                    "authentication": "Password",
                    "secretRef": {"name": "mlflow"},
                    "caRef": {"kind": "ConfigMap", "name": "our-authority", "key": "ca.crt"},
                },
                "wandb": {
                    "project": "support bot",
                    "entity": "team-a",
                    "mode": "Online",
                    "baseUrl": "https://wandb.example.com:8443",
                    "secretRef": {"name": "wandb"},
                    "caRef": {"kind": "Secret", "name": "our-authority", "key": "tls.ca"},
                },
            },
            "configFrom": {"format": "Axolotl", "configMapRef": {"name": "recipe"}, "key": "lora.yaml"},
            "artifacts": {
                "uri": "pvc://artifacts/team-a/",
                "copyTo": {
                    "uri": "s3://models/bots/",
                    "s3": {
                        "endpoint": "https://minio.example.com:9000",
                        "region": "eu-central-1",
                        "addressing": "VirtualHosted",
                        "caRef": {"kind": "ConfigMap", "name": "our-authority", "key": "ca.crt"},
                    },
                    "secretRef": {"name": "store"},
                },
            },
            "gates": [{"name": "support-quality"}, {"name": "safety"}],
            "evaluation": {"parallelism": 4},
            "ratings": [
                {
                    "suite": "baseline.preferred",
                    "uri": "pvc://datasets/ratings.jsonl",
                    "digest": "sha256:" + "0123456789abcdef" * 4,
                }
            ],
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
                    "fewShot": {"examples": 3, "separator": "\n---\n"},
                },
                {
                    "name": "quiz",
                    "dataset": {"uri": "pvc://datasets/quiz.jsonl"},
                    "metrics": ["Accuracy", "Brier", "AdaptiveECE"],
                    "choices": {"field": "options"},
                    "fewShot": {
                        "examples": 5,
                        "dataset": {"uri": "pvc://datasets/quiz-train.jsonl", "digest": "sha256:" + "0" * 64},
                    },
                },
                {"name": "smoke", "dataset": {"uri": "pvc://datasets/smoke.jsonl"}, "metrics": ["ExactMatch"]},
                KNOWLEDGE,
                *SAYING,
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
                {"name": "kind", "metric": "harm/Toxicity", "max": "0.01"},
                {
                    "name": "knows",
                    "metric": "knowledge/AccuracyNorm",
                    "slice": {"field": "task", "value": "mmlu"},
                    "comparedTo": "Base",
                    "maxRegression": "0.02",
                    "testMethod": "McNemar",
                },
                {"name": "grammar", "metric": "knowledge/MCC", "min": "-0.1", "max": "1"},
                {
                    "name": "as-safe",
                    "metric": "harm/JailbreakSuccess",
                    "comparedTo": "Base",
                    "maxRegression": "0.02",
                    "testMethod": "McNemar",
                },
                {"name": "judged", "metric": "preferred/JudgeWinRate", "min": "0.5"},
                {"name": "quick", "metric": "preferred/TimeToFirstToken", "max": "1.5"},
            ],
            "passPercent": 70,
            "warnPercent": 90,
            "approvals": [{"name": "lead", "groups": ["oidc:ml-leads"], "validSeconds": 3600}],
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
                    "fewShot": {
                        "examples": 2,
                        "dataset": {"uri": "pvc://datasets/solved.jsonl", "digest": "sha256:" + "0" * 64},
                        "separator": "\n",
                    },
                    "stop": ["\n"],
                },
                KNOWLEDGE,
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
                *SAYING,
            ],
            "limits": {
                "minExamples": 200,
                "maxCanaryStepPercent": 25,
                "minStepSeconds": 60,
                "minBakeSeconds": 3600,
                "allowedBaseModels": ["hf://HuggingFaceTB", "pvc://models/approved"],
            },
            "approvals": [{"name": "safety", "groups": ["safety", "safety-deputies"], "validSeconds": 604800}],
            "requirements": [
                {"name": "refuses", "suite": "red-team", "metric": "ExactMatch", "min": "0.95"},
                {
                    "name": "refuses-in-german",
                    "suite": "red-team",
                    "metric": "ExactMatch",
                    "slice": {"field": "language", "value": "de"},
                    "min": "0.9",
                },
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
            "runtime": {
                "engine": "CPU",
                "replicas": 2,
                "resources": _RESOURCES,
                "weights": {
                    "uri": "s3://models/bots/",
                    "s3": {
                        "endpoint": "https://minio.example.com:9000",
                        "region": "eu-central-1",
                        "addressing": "VirtualHosted",
                        "caRef": {"kind": "Secret", "name": "our-authority", "key": "ca.crt"},
                    },
                    "secretRef": {"name": "store"},
                },
                "maxNewTokens": 64,
            },
            "traffic": {
                "provider": "GatewayAPI",
                "gatewayRef": {"name": "public", "namespace": "infra"},
                "hostnames": ["bot.example.com", "*.bots.example.com"],
                "testers": {
                    "headers": [{"name": "X-Tester", "value": "yes"}],
                    "cookies": [{"name": "preview", "value": "on.1"}],
                },
            },
            "slos": [
                {
                    "name": "ttft-p95",
                    "source": "default",
                    "query": 'f(x{namespace="{{namespace}}",service="{{service}}",revision="{{revision}}"})'
                    ' / f(x{revision="{{stable}}"})',
                    "min": "0",
                    "max": "0.8",
                    "failureLimit": 2,
                    "consecutiveErrorLimit": 4,
                },
                {"name": "errors", "preset": "ErrorPercent", "windowSeconds": 30, "max": "2"},
                {
                    "name": "no-slower",
                    "comparedTo": "Stable",
                    "histogram": 'ttft_seconds_bucket{namespace="{{namespace}}",revision="{{revision}}"}',
                    "maxIncreasePercent": 20,
                    "warmUpSeconds": 0,
                    "dryRun": True,
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
            "monitoring": {
                "intervalSeconds": 120,
                "drift": {"source": "default", "windowSeconds": 7200, "minAnswers": 500, "maxPsi": "0.25"},
            },
            "canary": {
                "steps": [
                    {"shadow": {}, "holdSeconds": 600},
                    {"weightPercent": 10, "holdSeconds": 30},
                    {
                        "approval": {
                            "message": "look at the transcripts first",
                            "groups": ["ml-leads"],
                            "users": ["alice@example.com"],
                            "validSeconds": 3600,
                        },
                        "maxDurationSeconds": 86400,
                    },
                    {"weightPercent": 50, "holdSeconds": 0},
                    {"analysis": {"passingSeconds": 600, "minRequests": 500}},
                    {
                        "experiment": {
                            "source": "default",
                            "total": 'serin_feedback_tasks_total{answered_by="{{revision}}"}',
                            "successes": 'serin_feedback_tasks_total{answered_by="{{revision}}",outcome="success"}',
                            "minDifferencePoints": "2",
                            "confidencePercent": 99,
                            "minOutcomes": 1000,
                            "minSeconds": 86400,
                            "sticky": {"header": "X-User-Id", "cookie": {"maxAgeSeconds": 604800}},
                            "whenBetter": "Hold",
                            "whenWorse": "Hold",
                            "whenNoDifference": "Reject",
                        },
                        "maxDurationSeconds": 604800,
                    },
                    {"weightPercent": 100},
                ],
                "minRequests": 0,
                "intervalSeconds": 1,
                "progressDeadlineSeconds": 120,
                "blindness": {"timeoutSeconds": 60, "action": "Withdraw"},
                "supersedePolicy": "Finish",
                "initialDelaySeconds": 30,
                "maxDurationSeconds": 172800,
                "whenOverdue": "RollBack",
                "bakeSeconds": 86400,
                "previousRevision": "Stopped",
            },
            "revisionHistoryLimit": 5,
        },
    ),
    "ModelRevision": changed(
        MINIMAL["ModelRevision"],
        "spec.artifact",
        {
            **MINIMAL["ModelRevision"]["spec"]["artifact"],
            "sizeBytes": 269_060_552,
            "base": {"uri": "pvc://models/base", "digest": "sha256:aa"},
        },
    ),
    "EvalWaiver": changed(MINIMAL["EvalWaiver"], "spec.jobs", ["support-bot"]),
}

VLLM: Json = {
    "engine": "VLLM",
    "resources": {"limits": {"nvidia.com/gpu": 2}},
    "vllm": {
        "image": "vllm/vllm-openai:v0.11.0",
        "tensorParallelSize": 2,
        "maxModelLen": 8192,
        "gpuMemoryUtilization": "0.9",
        "extraArgs": ["--enable-prefix-caching", "--max-num-seqs=64"],
    },
}
CUSTOM: Json = {
    "engine": "Custom",
    "custom": {
        "image": "registry.example/server@sha256:" + "a" * 64,
        "command": ["/server"],
        "args": ["--model={{modelPath}}", "--alias={{modelName}}"],
        "env": [{"name": "CONTEXT", "value": "4096"}],
        "healthPath": "/v1/health",
    },
}

BY_THE_GLOBAL_BATCH: Json = {
    "globalBatchSize": 64,
    "batchSize": 2,
    "warmupSteps": 20,
    "precision": "FP16",
    "gradientCheckpointing": True,
}

AUTO: Json = {"type": "Auto", "auto": {"deviceMemory": "80Gi"}}
QLORA: Json = {"type": "QLoRA", "lora": {"rank": 16, "alpha": 32, "targetModules": ["q_proj"]}, "adapter": "Kept"}
PROMPT: Json = {"type": "PromptTuning", "promptTuning": {"virtualTokens": 50}, "adapter": "Kept"}
IA3: Json = {"type": "IA3", "ia3": {"targetModules": ["q_proj", "up_proj"], "feedforwardModules": ["up_proj"]}}

_S3: Json = {
    "endpoint": "https://minio.infra:9000",
    "region": "eu-1",
    "addressing": "VirtualHosted",
    "caRef": {"kind": "Secret", "name": "our-authority", "key": "ca.crt"},
}
_IN_A_BUCKET: Json = {"uri": "s3://models/team/base", "s3": _S3, "secretRef": {"name": "store"}}
_ON_THE_HUB: Json = {
    "name": "tickets",
    "uri": "hf://datasets/team/general@v1.0/data/train.parquet",
    "secretRef": {"name": "hub"},
}
_PARTS_IN_A_BUCKET: Json = {
    part: [{"name": "tickets", "uri": f"s3://rows/{part}.csv", "s3": _S3, "secretRef": {"name": "store"}}]
    for part in ("train", "validation", "test")
}

LENT: Json = {"provider": "GatewayAPI", "routeRef": {"name": "chat.example", "ruleName": "model"}}

BY_PODS: Json = {"provider": "ReplicaRatio", "maxReplicas": 20}

# Forms that exclude a part of FULL.
OTHERWISE: dict[str, list[Json]] = {
    "FineTuneJob": [
        changed(FULL["FineTuneJob"], "spec.method", AUTO),
        changed(FULL["FineTuneJob"], "spec.method", IA3),
        changed(MINIMAL["FineTuneJob"], "spec.method", QLORA),
        changed(MINIMAL["FineTuneJob"], "spec.method", PROMPT),
        changed(FULL["FineTuneJob"], "spec.data", PROVIDED),
        changed(FULL["FineTuneJob"], "spec.hyperparameters", BY_THE_GLOBAL_BATCH),
        changed(MINIMAL["FineTuneJob"], "spec.data", {**_PARTS_IN_A_BUCKET, "split": {"strategy": "Provided"}}),
        changed(MINIMAL["FineTuneJob"], "spec.baseModel", _IN_A_BUCKET),
        changed(MINIMAL["FineTuneJob"], "spec.data.train.0", _ON_THE_HUB),
        changed(MINIMAL["FineTuneJob"], "spec.data.train.0.uri", "s3://team-data/tickets.jsonl.gz"),
    ],
    "ModelService": [
        *(changed(FULL["ModelService"], "spec.runtime", runtime) for runtime in (VLLM, CUSTOM)),
        changed(
            MINIMAL["ModelService"], "spec.runtime.weights", {"uri": "hf://team/bots", "secretRef": {"name": "hub"}}
        ),
        changed(MINIMAL["ModelService"], "spec.traffic", LENT),
        changed(MINIMAL["ModelService"], "spec.traffic", BY_PODS),
    ],
}
