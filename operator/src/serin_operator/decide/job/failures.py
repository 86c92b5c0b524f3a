"""Whose turn is it after a failed attempt? The user's, the cluster's, or nobody knows.

Exit codes are the contract's (docs/reference/contract.md); the rest is what Kubernetes says of the pods.
"""

from dataclasses import dataclass
from enum import StrEnum

from serin_operator.decide.job.snapshot import StageRun

EXIT_CONFIG = 64
EXIT_DATA = 65
EXIT_TRY_AGAIN = 75


class Turn(StrEnum):
    CONFIG = "Config"  # the user's: nothing helps but another spec
    DATA = "Data"  # the user's: data or model, which may change without the spec
    CLUSTER = "Cluster"  # nobody's fault: try again, not counted
    UNKNOWN = "Unknown"  # try again, counted


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt, explained."""

    turn: Turn
    reason: str
    message: str


def explain(run: StageRun) -> Failure:
    """The failure of one attempt in a word and a sentence."""
    if run.disrupted:
        return Failure(Turn.CLUSTER, "PodDisrupted", f"a pod of {run.name} was evicted or its node was lost")
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
    return Failure(Turn.UNKNOWN, _reason(run, "PodFailed"), _sentence(run))


def _reason(run: StageRun, otherwise: str) -> str:
    return run.result.reason if run.result is not None and run.result.reason else otherwise


def _sentence(run: StageRun) -> str:
    if run.result is not None:
        return run.result.sentence
    code = "without an exit code" if run.exit_code is None else f"with exit code {run.exit_code}"
    tail = f": {run.log_tail.strip()[-400:]}" if run.log_tail.strip() else ""
    return f"a pod of {run.name} ended {code}{tail}"
