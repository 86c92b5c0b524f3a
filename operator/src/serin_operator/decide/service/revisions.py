"""Which revision may serve, and which is next. Pure facts about the records; not here: what to do about them."""

from datetime import UTC, datetime

from serin_operator.api.v1alpha1 import ModelRevision, Rejection, RolloutRecord, SupersedePolicy, Verdict
from serin_operator.decide.service import policy
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


def rejection_of(s: ServiceSnapshot, name: str) -> Rejection:
    """For a revision that is rejected: the record that says so may be that of its double."""
    digest = s.by_name[name].spec.artifact.digest
    found = [record(other).rejection for other in s.revisions if other.spec.artifact.digest == digest]
    return next(rejection for rejection in found if rejection is not None)


def eligible(s: ServiceSnapshot, revision: ModelRevision) -> bool:
    """One on its way in stays there while policies change, and goes no further until it is judged anew."""
    able = passed(revision) and not rejected(s, revision) and revision.metadata.deletion_timestamp is None
    on_its_way = s.candidate is not None and s.candidate.revision == revision.metadata.name and s.stable is not None
    return able and (on_its_way or not policy.objection(s, revision))


def age(revision: ModelRevision) -> tuple[datetime, datetime, str]:
    """The order of revisions: when the gates judged them or a person wanted them again, then when they were made."""
    judged = revision.status.gate.judged_at if revision.status.gate is not None else _BEGINNING
    retry = record(revision).retry
    return max(judged, retry.at) if retry is not None else judged, made_at(revision), revision.metadata.name


def made_at(revision: ModelRevision) -> datetime:
    return revision.metadata.creation_timestamp or _BEGINNING


def waiting(s: ServiceSnapshot) -> list[ModelRevision]:
    """Passed, and neither promoted, rejected, superseded nor stable.

    Nor the stable's model under another name: to try it would be to put the stable itself on trial.
    """
    stable = (s.stable.revision, s.stable.digest) if s.stable is not None else ("", "")
    return [
        revision
        for revision in s.revisions
        if eligible(s, revision)
        and revision.metadata.name != stable[0]
        and revision.spec.artifact.digest != stable[1]
        and record(revision).promoted_at is None
        and record(revision).superseded_at is None
    ]


def newer_than_stable(s: ServiceSnapshot, revision: ModelRevision) -> bool:
    """Judged after the stable was, or made after it; when the stable's record is gone, judged after it became stable.

    Either is enough: times of judging are the operator's, and had its clock been set back in between, a new model would
    look old for ever. One that a person wants to be tried again counts as new.
    """
    if s.stable is None or record(revision).retry is not None:
        return True
    stable = s.by_name.get(s.stable.revision)
    if stable is None or stable.status.gate is None:
        return age(revision)[0] > s.stable.since
    return age(revision) > age(stable) or made_at(revision) > made_at(stable)


def active(s: ServiceSnapshot) -> ModelRevision | None:
    """The revision on its way in, as long as it may go on."""
    if s.candidate is None:
        return None
    name = s.candidate.revision
    return next((revision for revision in waiting(s) if revision.metadata.name == name), None)


def next_candidate(s: ServiceSnapshot) -> ModelRevision | None:
    """The newest one; the one on its way in stays unless a newer one waits, or a person keeps it there."""
    current = active(s)
    if current is not None and keeps_its_place(s):
        return current
    newer = [revision for revision in waiting(s) if newer_than_stable(s, revision)]
    return max([*newer, *([current] if current is not None else [])], key=age, default=None)


def keeps_its_place(s: ServiceSnapshot) -> bool:
    """No newer one takes the place of the candidate: a person wants this one promoted, or everything to stand still, or
    those that have requests to finish."""
    if s.service.status.paused is not None:
        return True
    return s.candidate is not None and (s.candidate.promotion_request is not None or finishes(s))


def finishes(s: ServiceSnapshot) -> bool:
    """The candidate has requests, and the user lets such a one come to its end. One that lost them gives way."""
    policy_is = s.service.spec.canary.supersede_policy
    return policy_is is SupersedePolicy.FINISH and s.candidate is not None and s.candidate.step > 0


def in_the_queue(s: ServiceSnapshot) -> str:
    """The newest revision that would take the candidate's place if it did not keep it; empty when there is none."""
    current = active(s)
    later = [r for r in waiting(s) if current is not None and newer_than_stable(s, r) and age(r) > age(current)]
    return max(later, key=age).metadata.name if later else ""


def overtaken(s: ServiceSnapshot) -> list[ModelRevision]:
    """Waiting, and older than the one that was chosen: their turn will not come."""
    chosen = next_candidate(s)
    return [
        revision
        for revision in waiting(s)
        if chosen is None or (revision != chosen and not (keeps_its_place(s) and age(revision) > age(chosen)))
    ]


def before_the_stable(s: ServiceSnapshot) -> str:
    """The newest promotion among revisions that may serve and are not the stable; empty when there is none."""
    promoted = [
        (at, revision.metadata.name)
        for revision in s.revisions
        if (at := record(revision).promoted_at) is not None
        and eligible(s, revision)
        and s.stable is not None
        and revision.metadata.name != s.stable.revision
        and revision.spec.artifact.digest != s.stable.digest
    ]
    return max(promoted)[1] if promoted else ""


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
