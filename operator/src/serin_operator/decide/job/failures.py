"""Whose turn is it after a failed attempt? The user's, the cluster's, or nobody knows.

Exit codes are the contract's (docs/reference/contract.md); the rest is what Kubernetes says of the pods.
Also here: how long the next try waits. Not here: whether there is one (`stages.py`).
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from serin_operator.api.v1alpha1 import FailureClass
from serin_operator.decide.job.snapshot import StageRun

EXIT_CONFIG = 64
EXIT_DATA = 65
EXIT_TRY_AGAIN = 75


class Turn(StrEnum):
    CONFIG = "Config"  # the user's: nothing helps but another spec
    DATA = "Data"  # the user's: data or model, which may change without the spec
    CLUSTER = "Cluster"  # nobody's fault: try again, not counted
    UNKNOWN = "Unknown"  # try again, counted

    @property
    def failure_class(self) -> FailureClass:
        """The same for people: both of the user's turns are one class."""
        if self is Turn.CLUSTER:
            return FailureClass.INFRASTRUCTURE
        return FailureClass.UNKNOWN if self is Turn.UNKNOWN else FailureClass.USER


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt, explained."""

    turn: Turn
    reason: str
    message: str


# What happened to a pod, by the reason of its DisruptionTarget condition or of its status
# (https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions).
_DISRUPTIONS: Final = {
    "PreemptionByScheduler": ("Preempted", "gave way to pods of a higher priority"),
    "Preempting": ("Preempted", "gave way to pods of a higher priority"),
    "EvictionByEvictionAPI": ("Evicted", "was evicted, as when its node is drained"),
    "Evicted": ("Evicted", "was evicted by its node, which ran short of memory or disk"),
    "TerminationByKubelet": ("Evicted", "was ended by its node, which ran short of memory or disk or shuts down"),
    "NodeShutdown": ("NodeLost", "was ended because its node shuts down"),
    "Terminated": ("NodeLost", "was ended because its node shuts down"),
    "DeletionByTaintManager": ("NodeLost", "was ended because its node no longer answers or no longer bears it"),
    "DeletionByPodGC": ("NodeLost", "was lost with its node"),
    "NodeLost": ("NodeLost", "was lost with its node"),
}
_DISRUPTED: Final = ("PodDisrupted", "was evicted or its node was lost")

FIRST_PAUSE: Final = timedelta(seconds=10)
LONGEST_PAUSE: Final = timedelta(minutes=5)
A_GOOD_RUN: Final = timedelta(minutes=10)


def pause(failures: int, ran: timedelta) -> timedelta:
    """How long the next try waits after so many failures: the first does not, nor does one after a run that was long
    enough to be worth it; the others wait twice as long each time."""
    if failures <= 1 or ran >= A_GOOD_RUN:
        return timedelta()
    return min(FIRST_PAUSE * 2 ** min(failures - 2, 10), LONGEST_PAUSE)


def explain(run: StageRun) -> Failure:
    """The failure of one attempt in a word and a sentence."""
    if run.over_limit:
        return Failure(
            Turn.CONFIG,
            "StorageLimitExceeded",
            f"a pod of {run.name} was evicted for what it used itself ({run.over_limit.rstrip('.')}); raise"
            " spec.distribution.sharedMemory or the limit of ephemeral-storage in spec.distribution.resources",
        )
    if run.disruption:
        reason, what = _DISRUPTIONS.get(run.disruption, _DISRUPTED)
        return Failure(Turn.CLUSTER, reason, f"a pod of {run.name} {what}")
    if run.suspended:
        return Failure(Turn.CLUSTER, "Preempted", f"{run.name} lost its place in queue {run.queue} while it ran")
    if run.out_of_memory:
        return Failure(
            Turn.CONFIG,
            "OutOfMemory",
            f"a pod of {run.name} needed more memory than its limit; raise spec.distribution.resources.limits.memory,"
            " or lower batchSize or maxSequenceLength",
        )
    if run.exit_code == EXIT_TRY_AGAIN:
        return Failure(Turn.CLUSTER, _reason(run, "TryAgain"), _sentence(run))
    if run.exit_code == EXIT_CONFIG:
        return Failure(Turn.CONFIG, _reason(run, "InvalidConfig"), _sentence(run))
    if run.exit_code == EXIT_DATA:
        return Failure(Turn.DATA, _reason(run, "InvalidData"), _sentence(run))
    if run.pods_lost:
        return Failure(Turn.CLUSTER, "PodDeleted", f"a pod of {run.name} was deleted while it ran")
    return Failure(Turn.UNKNOWN, _reason(run, "PodFailed"), _sentence(run))


def _reason(run: StageRun, otherwise: str) -> str:
    return run.result.reason if run.result is not None and run.result.reason else otherwise


def _sentence(run: StageRun) -> str:
    if run.result is not None:
        return run.result.sentence
    code = "without an exit code" if run.exit_code is None else f"with exit code {run.exit_code}"
    tail = f": {run.log_tail.strip()[-400:]}" if run.log_tail.strip() else ""
    return f"a pod of {run.name} ended {code}{tail}"
