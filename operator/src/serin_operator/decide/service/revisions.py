"""Which revision may serve, and which is next. Pure facts about the records; not here: what to do about them."""

from datetime import UTC, datetime

from serin_operator.api.v1alpha1 import ModelRevision, RolloutRecord, Verdict
from serin_operator.decide.service.snapshot import ServiceSnapshot

_BEGINNING = datetime.min.replace(tzinfo=UTC)


def record(revision: ModelRevision) -> RolloutRecord:
    return revision.status.rollout or RolloutRecord()


def passed(revision: ModelRevision) -> bool:
    return revision.status.gate is not None and revision.status.gate.verdict is Verdict.PASSED


def rejected(s: ServiceSnapshot, revision: ModelRevision) -> bool:
    """Rejection is of the digest: the same model under another name is the same model."""
    return revision.spec.artifact.digest in {
        other.spec.artifact.digest for other in s.revisions if record(other).rejection is not None
    }


def eligible(s: ServiceSnapshot, revision: ModelRevision) -> bool:
    return passed(revision) and not rejected(s, revision) and revision.metadata.deletion_timestamp is None


def age(revision: ModelRevision) -> tuple[datetime, datetime, str]:
    """The order of revisions: when the gates judged them, then when they were made."""
    judged = revision.status.gate.judged_at if revision.status.gate is not None else _BEGINNING
    return judged, revision.metadata.creation_timestamp or _BEGINNING, revision.metadata.name


def waiting(s: ServiceSnapshot) -> list[ModelRevision]:
    """Passed, and neither promoted, rejected, superseded nor stable."""
    stable = s.stable.revision if s.stable is not None else ""
    return [
        revision
        for revision in s.revisions
        if eligible(s, revision)
        and revision.metadata.name != stable
        and record(revision).promoted_at is None
        and record(revision).superseded_at is None
    ]


def newer_than_stable(s: ServiceSnapshot, revision: ModelRevision) -> bool:
    """Judged after the stable was; when the stable's record is gone, after it became stable."""
    if s.stable is None:
        return True
    stable = s.by_name.get(s.stable.revision)
    if stable is None or stable.status.gate is None:
        return age(revision)[0] > s.stable.since
    return age(revision) > age(stable)


def active(s: ServiceSnapshot) -> ModelRevision | None:
    """The revision on its way in, as long as it may go on."""
    if s.candidate is None:
        return None
    name = s.candidate.revision
    return next((revision for revision in waiting(s) if revision.metadata.name == name), None)


def next_candidate(s: ServiceSnapshot) -> ModelRevision | None:
    """The newest one; the one on its way in stays unless a newer one waits."""
    current = active(s)
    newer = [revision for revision in waiting(s) if newer_than_stable(s, revision)]
    return max([*newer, *([current] if current is not None else [])], key=age, default=None)


def first_stable(s: ServiceSnapshot) -> ModelRevision | None:
    """What to serve when the service knows of no stable.

    A revision that was promoted before comes first, newest promotion first: when status was lost (a cluster rebuilt
    from Git, say), users get back what was proven under traffic and not whatever passed last.
    """
    able = [revision for revision in s.revisions if eligible(s, revision)]
    proven = [revision for revision in able if record(revision).promoted_at is not None]
    if proven:
        return max(proven, key=lambda revision: record(revision).promoted_at or _BEGINNING)
    return max((revision for revision in able if record(revision).superseded_at is None), key=age, default=None)


def last_rejected(s: ServiceSnapshot) -> ModelRevision | None:
    """The newest rejection since the stable became stable."""
    found = [
        (rejection.at, revision)
        for revision in s.revisions
        if (rejection := record(revision).rejection) is not None
        and (s.stable is None or rejection.at >= s.stable.since)
    ]
    return max(found, key=lambda pair: pair[0])[1] if found else None
