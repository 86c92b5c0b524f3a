"""The world as one FineTuneJob sees it. Filled by `observe/job.py`; the clock is an input."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from serin_operator.api.contract import StageResult
from serin_operator.api.v1alpha1 import (
    ClusterEvalPolicy,
    EvalGate,
    FineTuneJob,
    ModelRevision,
    ModelService,
    Progress,
    StageName,
)
from serin_operator.decide.policies import Unreadable, of_job
from serin_operator.decide.refusals import Refusal


class RunPhase(StrEnum):
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class StageRun:
    """One attempt of one stage: a batch/v1 Job and what its pods said."""

    stage: StageName
    key: str
    attempt: int
    name: str
    uid: str
    resource_version: str
    phase: RunPhase
    started_at: datetime
    finished_at: datetime | None = None
    result: StageResult | None = None
    exit_code: int | None = None
    disruption: str = ""  # evicted, preempted or its node lost: Kubernetes' word for it
    over_limit: str = ""  # evicted for using more disk or shared memory than its own limit: the kubelet's sentence
    out_of_memory: bool = False
    pods_lost: bool = False  # pods of a failed run are gone without a word: somebody deleted them
    waiting: str = ""  # why a pod does not run yet, as the scheduler or kubelet says
    waiting_reason: str = ""  # the same in a word
    suspended: bool = False  # a queue holds the Job: it has no pods, or they are ending
    queue: str = ""  # the queue that the Job was given to
    placement: str = ""  # what of the spec said where it may run when it was created
    log_tail: str = ""
    image: str = ""  # with its digest, as the kubelet resolved it
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class Configured:
    """What the operator's own configuration adds to a decision."""

    trainer_image: str
    evaluator_image: str
    pull_policy: str
    prepare_retry: timedelta


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """Everything that one decision about a FineTuneJob may look at."""

    job: FineTuneJob
    now: datetime
    configured: Configured
    claims: frozenset[str] = frozenset()  # PersistentVolumeClaims of the namespace that the job names and that exist
    gates: Mapping[str, EvalGate] | None = None  # those that exist
    policies: tuple[ClusterEvalPolicy, ...] = ()  # those that select this namespace
    unreadable_policies: tuple[Unreadable, ...] = ()  # a policy that cannot be understood parks the job
    service: ModelService | None = None
    revisions: tuple[ModelRevision, ...] = ()  # of this service
    runs: tuple[StageRun, ...] = ()
    refused: Refusal | None = None  # a write of the last look that the apiserver refused
    progress: Progress | None = None  # as rank 0 reports it; None when it could not be asked

    @property
    def asking(self) -> tuple[ClusterEvalPolicy, ...]:
        """The policies that select this very job."""
        return of_job(self.policies, self.job.metadata.labels)
