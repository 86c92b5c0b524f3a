"""Builders for FineTuneJob worlds: small, readable, and complete enough for the real decision code."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from statistics import NormalDist
from typing import Any

from serin_operator.api.contract import PROBABILITIES, StageResult
from serin_operator.api.v1alpha1 import (
    ClusterEvalPolicy,
    EvalGate,
    EvalWaiver,
    FineTuneJob,
    ModelRevision,
    ModelService,
    StageName,
    StageOutcome,
)
from serin_operator.decide.decision import Create, Decision, Delete, StatusWrite
from serin_operator.decide.job.approvals import Admission
from serin_operator.decide.job.snapshot import Configured, JobSnapshot, Measurer, RunPhase, StageRun
from serin_operator.decide.policies import Unreadable
from serin_operator.manifests import names

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
CONFIGURED = Configured("trainer:1", "evaluator:1", "IfNotPresent", timedelta(seconds=60))
BASE_DIGEST = "sha256:" + "b" * 64
DATA_DIGEST = "sha256:" + "d" * 64
MODEL_DIGEST = "sha256:" + "c" * 64
HELD = Admission(identity="policy/1 binding/1", since=NOON - timedelta(days=1))
STABLE_DIGEST = "sha256:" + "5" * 64


def job_manifest(
    name: str = "bot", generation: int = 1, labels: Mapping[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    return {
        "metadata": {
            **({"labels": dict(labels)} if labels else {}),
            "name": name,
            "namespace": "ml",
            "uid": f"uid-{name}",
            "generation": generation,
            "resourceVersion": "1",
        },
        "spec": {
            "baseModel": {"uri": "pvc://models/base"},
            "data": {"train": [{"name": "tickets", "uri": "pvc://datasets/tickets.jsonl"}]},
            "distribution": {"nodes": 2, "processesPerNode": 1},
            "artifacts": {"uri": "pvc://artifacts"},
            "gates": [{"name": "quality"}],
            "rollout": {"modelServiceRef": {"name": "bot"}},
            **spec,
        },
    }


def a_gate(**requirement: Any) -> EvalGate:
    asked = requirement or {"comparedTo": "Base", "minImprovement": "0"}
    return EvalGate.model_validate(
        {
            "metadata": {"name": "quality", "namespace": "ml"},
            "spec": {
                "suites": [
                    {
                        "name": "heldout",
                        "dataset": {"uri": "pvc://datasets/heldout.jsonl"},
                        "metrics": ["RougeL", "Perplexity"],
                    }
                ],
                "requirements": [{"name": "better", "metric": "heldout/RougeL", **asked}],
            },
        }
    )


def a_policy(mode: str = "Enforce", **requirement: Any) -> ClusterEvalPolicy:
    asked = {"metric": "Perplexity", "max": "50", **requirement}
    return policy(mode=mode, requirements=[{"name": "sane", **asked}])


def policy(name: str = "floor", generation: int = 1, **spec: Any) -> ClusterEvalPolicy:
    meta = {"name": name, "uid": f"uid-{name}", "generation": generation}
    return ClusterEvalPolicy.model_validate({"metadata": meta, "spec": spec})


def waiver(name: str = "german", generation: int = 1, meta: Mapping[str, Any] | None = None, **spec: Any) -> EvalWaiver:
    """Lifts `sane` of the policy `floor` in the namespace of the worlds, until an hour after they begin."""
    return EvalWaiver.model_validate(
        {
            "metadata": {"name": name, "uid": f"uid-{name}", "generation": generation, **(meta or {})},
            "spec": {
                "policyRef": {"name": "floor"},
                "requirements": ["sane"],
                "namespaces": ["ml"],
                "owner": "safety@example.com",
                "reason": "the German rows are being corrected",
                "expiresAt": NOON + timedelta(hours=1),
                **spec,
            },
        }
    )


def a_service(stable: Mapping[str, Any] | None = None, candidate: Mapping[str, Any] | None = None) -> ModelService:
    status = {"stable": stable, "candidate": candidate, "message": "gets 10 percent"}
    return ModelService.model_validate(
        {
            "metadata": {"name": "bot", "namespace": "ml"},
            "spec": {
                "runtime": {"engine": "CPU"},
                "traffic": {
                    "provider": "GatewayAPI",
                    "gatewayRef": {"name": "public", "namespace": "infra"},
                    "hostnames": ["bot.example.com"],
                },
                "slos": [{"name": "errors", "query": "errors{{revision}}", "max": "0.01"}],
            },
            "status": status,
        }
    )


def stable_of(revision: str, digest: str = STABLE_DIGEST) -> dict[str, Any]:
    return {"revision": revision, "digest": digest, "since": NOON}


@dataclass
class World:
    """A cluster in miniature for one job: what was written is what is seen at the next look.

    It plays the apiserver, the Job controller and the pods; the decisions are the real ones.
    """

    spec: dict[str, Any] = field(default_factory=dict[str, Any])
    name: str = "bot"
    now: datetime = NOON
    claims: frozenset[str] = frozenset({"models", "datasets", "artifacts"})
    gates: dict[str, EvalGate] = field(default_factory=lambda: {"quality": a_gate()})
    policies: tuple[ClusterEvalPolicy, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    waivers: tuple[EvalWaiver, ...] = ()
    admission: Admission = HELD
    labels: dict[str, str] = field(default_factory=dict[str, str])
    service: ModelService | None = field(default_factory=a_service)
    revisions: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    runs: dict[str, StageRun] = field(default_factory=dict[str, StageRun])
    measuring: tuple[Measurer, ...] = ()
    created: list[str] = field(default_factory=list[str])
    status: dict[str, Any] = field(default_factory=dict[str, Any])
    status_writes: int = 0
    generation: int = 1
    annotations: dict[str, str] = field(default_factory=dict[str, str])

    def snapshot(self) -> JobSnapshot:
        manifest = job_manifest(self.name, self.generation, self.labels, **self.spec) | {"status": self.status}
        manifest["metadata"]["annotations"] = self.annotations
        return JobSnapshot(
            job=FineTuneJob.model_validate(manifest),
            now=self.now,
            configured=CONFIGURED,
            claims=self.claims,
            gates=self.gates,
            policies=self.policies,
            unreadable_policies=self.unreadable,
            waivers=self.waivers,
            admission=self.admission,
            service=self.service,
            revisions=tuple(ModelRevision.model_validate(r) for r in self.revisions.values()),
            runs=tuple(self.runs.values()),
            measuring=self.measuring,
        )

    def act(self, decision: Decision, most: int | None = None) -> int:
        """Carry out the first `most` writes (all without it), as the executor does; how many there were."""
        writes = [*decision.statuses, *decision.actions]
        for write in writes[:most]:
            self._write(write)
        return len(writes)

    def _write(self, write: Any) -> None:
        match write:
            case StatusWrite(kind="FineTuneJob"):
                self.status = dict(write.status)
                self.status_writes += 1
            case StatusWrite(kind="ModelRevision"):
                self.revisions[write.name].setdefault("status", {}).update(write.status)
            case Create(manifest) if manifest["kind"] == "Job":
                self._create_job(manifest)
            case Create(manifest) if manifest["kind"] == "ModelRevision":
                self.revisions.setdefault(manifest["metadata"]["name"], dict(manifest))
            case Delete(name=name):
                self.runs.pop(name, None)
            case _:
                pass

    def _create_job(self, manifest: Mapping[str, Any]) -> None:
        name = manifest["metadata"]["name"]
        if name in self.runs:
            return
        labels = manifest["metadata"]["labels"]
        self.created.append(name)
        self.runs[name] = StageRun(
            stage=next(s for s in StageName if s.lower() == labels[names.STAGE]),
            key=labels[names.KEY],
            attempt=int(labels[names.ATTEMPT]),
            name=name,
            uid=f"uid-{name}",
            resource_version="1",
            phase=RunPhase.RUNNING,
            started_at=self.now,
            suspended=bool(manifest["spec"].get("suspend")),
            queue=labels.get(names.QUEUE, ""),
            placement=manifest["metadata"].get("annotations", {}).get(names.PLACEMENT, ""),
            size=manifest["metadata"].get("annotations", {}).get(names.SIZE, ""),
        )

    def running(self) -> list[StageRun]:
        return [run for run in self.runs.values() if run.phase is RunPhase.RUNNING]

    def finish(self, run: StageRun, **output: Any) -> None:
        """The pods end well."""
        result = StageResult(
            stage=run.stage,
            key=run.key,
            outcome=StageOutcome.SUCCEEDED,
            reason="Succeeded",
            message="done",
            output=OUTPUTS[run.stage] | output,
        )
        self.runs[run.name] = replace(run, phase=RunPhase.SUCCEEDED, result=result, exit_code=0, finished_at=self.now)

    def fail(self, run: StageRun, **facts: Any) -> None:
        self.runs[run.name] = replace(run, phase=RunPhase.FAILED, finished_at=self.now, **facts)


def a_curve(value: float, low: float, high: float) -> list[float]:
    """A confidence curve whose limits of 95 percent, each by itself, are low and high."""
    z = [NormalDist().inv_cdf(p) / NormalDist().inv_cdf(0.95) for p in PROBABILITIES]
    return [value + one * (value - low if one < 0 else high - value) for one in z]


def an_evaluation(
    difference: float = 0.3, low: float = 0.2, high: float = 0.4, against: str = "Base"
) -> dict[str, Any]:
    score = {"suite": "heldout", "role": "Candidate", "n": 100}
    return {
        "reportUri": "pvc://artifacts/report.json",
        "scores": [
            score | {"metric": "RougeL", "value": 0.41, "stderr": 0.0243, "curve": a_curve(0.41, 0.37, 0.45)},
            score | {"metric": "Perplexity", "value": 9.0, "stderr": 0.608, "curve": a_curve(9.0, 8.0, 10.0)},
        ],
        "comparisons": [
            {"suite": "heldout", "metric": metric, "against": against, "method": "PairedBootstrap", "n": 100,
             "difference": difference, "stderr": (high - low) / 3.29, "curve": a_curve(difference, low, high)}
            for metric in ("RougeL", "Perplexity")
        ],
    }  # fmt: skip


OUTPUTS: Mapping[StageName, dict[str, Any]] = {
    StageName.PREPARE: {
        "dataUri": "pvc://artifacts/ml/bot/prepare",
        "dataDigest": DATA_DIGEST,
        "baseModelDigest": BASE_DIGEST,
    },
    StageName.TRAIN: {
        "checkpointUri": "pvc://artifacts/ml/bot/train",
        "steps": 100,
        "trainLossFirst": 5.0,
        "trainLossLast": 2.0,
    },
    StageName.CONSOLIDATE: {"modelUri": "pvc://artifacts/ml/bot/model", "digest": MODEL_DIGEST},
    StageName.COPY: {"uri": f"s3://models/bots/{MODEL_DIGEST.replace(':', '-')}"},
    StageName.EVALUATE: an_evaluation(),
}
COPIED: dict[str, Any] = {
    "artifacts": {
        "uri": "pvc://artifacts",
        "copyTo": {
            "uri": "s3://models/bots/",
            "s3": {"endpoint": "https://minio:9000", "caRef": {"name": "ours"}},
            "secretRef": {"name": "store"},
        },
    }
}
"""A spec with which every stage runs."""
