"""The world as one FineTuneJob sees it. Filled by `observe/job.py`; the clock is an input."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from serin_operator.api.contract import StageResult
from serin_operator.api.v1alpha1 import (
    ClusterEvalPolicy,
    EvalGate,
    EvalWaiver,
    FineTuneJob,
    ModelRevision,
    ModelService,
    PodProgress,
    Progress,
    StageName,
)
from serin_operator.decide.job.approvals import NOT_LOOKED, Admission
from serin_operator.decide.policies import Unreadable, of_job, of_named_job
from serin_operator.decide.recipes import Translation
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
    size: str = ""  # nodes x processes of each, as the spec had them then
    log_tail: str = ""
    image: str = ""  # with its digest, as the kubelet resolved it
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class Measurer:
    """One pod of the running evaluation: what it says of itself (None: nothing yet, or no more), or that it ended well."""

    index: int
    progress: PodProgress | None = None
    done: bool = False


@dataclass(frozen=True, slots=True)
class Configured:
    """What the operator's own configuration adds to a decision."""

    trainer_image: str
    evaluator_image: str
    pull_policy: str
    prepare_retry: timedelta


@dataclass(frozen=True, slots=True)
class RecipeSource:
    """The ConfigMap that `spec.configFrom` names, as it was found."""

    exists: bool
    keys: tuple[str, ...] = ()
    text: str | None = None  # None: the ConfigMap has no such key


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
    waivers: tuple[EvalWaiver, ...] = ()  # those for this namespace, expired ones as well
    admission: Admission = NOT_LOOKED  # looked at only where approvals are asked for
    service: ModelService | None = None
    recipe: RecipeSource | None = None  # None: the spec names none
    translation: Translation | None = None  # what it says, once `decide` has read it
    revisions: tuple[ModelRevision, ...] = ()  # of this service
    runs: tuple[StageRun, ...] = ()
    refused: Refusal | None = None  # a write of the last look that the apiserver refused
    progress: Progress | None = None  # as rank 0 reports it; None when it could not be asked
    measuring: tuple[Measurer, ...] = ()  # the pods of the running evaluation

    @property
    def asking(self) -> tuple[ClusterEvalPolicy, ...]:
        """The policies that select this very job."""
        return of_job(self.policies, self.job.metadata.labels)

    @property
    def waiving(self) -> tuple[EvalWaiver, ...]:
        """The waivers for this very job."""
        return of_named_job(self.waivers, self.job.metadata.name)
