"""`serin.dev/retry: <nonce>`: a person asks that what failed be tried again. Acted on once for each nonce.

The nonce is written to status together with the journal it changed, in one write: a crash before it leaves the wish to
be found, and after it there is nothing left to do.
"""

from dataclasses import replace

from serin_operator.api.v1alpha1 import RetryStatus, StageOutcome, StageStatus
from serin_operator.decide.job.snapshot import JobSnapshot
from serin_operator.manifests import names

MAX_NONCE = 128


def retried(s: JobSnapshot) -> JobSnapshot:
    """The snapshot as a person wants it: what failed is due now, with its whole budget of restarts."""
    nonce = s.job.metadata.annotations.get(names.RETRY, "")[:MAX_NONCE]
    before = s.job.status.retry
    if not nonce or (before is not None and before.nonce == nonce):
        return s
    failed = [entry for entry in s.job.status.stages if entry.outcome is StageOutcome.FAILED]
    said = ", ".join(entry.name.value for entry in failed)
    record = RetryStatus(
        nonce=nonce,
        acted_at=s.now,
        message=f"{said} is tried again" if failed else "nothing had failed, so nothing is tried again",
    )
    stages = [_due(s, entry) if entry in failed else entry for entry in s.job.status.stages]
    status = s.job.status.model_copy(update={"stages": stages, "retry": record})
    return replace(s, job=s.job.model_copy(update={"status": status}))


def _due(s: JobSnapshot, entry: StageStatus) -> StageStatus:
    return entry.model_copy(update={"retry_at": s.now, "restarts": 0, "interruptions": 0})
