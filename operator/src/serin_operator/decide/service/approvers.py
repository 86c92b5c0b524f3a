"""An approval step that names who may give it: members of groups, or users, each held to the own name by the apiserver.

It is given as the approvals of gates are: an annotation `approval.serin.dev/<nonce>` with `<code> <group> <user>`, on the
ModelService or on the candidate's ModelRevision, and believed for the same reasons (`decide/job/approvals.py`). The code is of
this model, this step and the moment it began, so what was said of an earlier try is worth nothing now. Not here: approvals
without names, which are the command `approve/<nonce>`.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from serin_operator.api.v1alpha1 import (
    APPROVAL,
    Approval,
    ApprovalOutcome,
    ApprovalStatus,
    CandidateStatus,
    CommandOutcome,
    CommandStatus,
    GivenApproval,
    StableStatus,
    Verb,
)
from serin_operator.decide.job.approvals import REMEMBERED, Subject, written
from serin_operator.decide.service.snapshot import ServiceSnapshot
from serin_operator.decide.steps import Step, steps_of

VALID_SECONDS: Final = 604_800


def named(step: Step | None) -> bool:
    """Not everybody who may annotate the service may approve it."""
    return step is not None and step.approval is not None and bool(step.approval.groups or step.approval.users)


def who(approval: Approval) -> str:
    groups = [f"a member of {group}" for group in approval.groups]
    return " or ".join([*groups, *approval.users])


def asked(s: ServiceSnapshot) -> bool:
    """The running step waits for one of them, so whether names are held must be looked up."""
    return named(_running(s))


def _running(s: ServiceSnapshot) -> Step | None:
    if s.bake is not None or s.candidate is None or s.candidate.step == 0:
        return None
    steps = steps_of(s.service.spec.canary)
    return steps[min(s.candidate.step, len(steps)) - 1]


def awaited(s: ServiceSnapshot) -> bool:
    """None of them has approved the running step, or none any more."""
    return asked(s) and standing(s).outcome is not ApprovalOutcome.APPROVED


def awaited_later(s: ServiceSnapshot) -> bool:
    """None of them has approved this step, or one that comes."""
    steps = steps_of(s.service.spec.canary)
    behind = s.candidate.step if s.candidate is not None else 0
    return awaited(s) or any(named(step) for step in steps[behind:])


def noted(s: ServiceSnapshot, candidate: CandidateStatus) -> CandidateStatus:
    """The candidate with what was seen of approvals in its step, each with the time of that: it expires by it."""
    same = s.candidate is not None and (candidate.revision, candidate.step, candidate.asked_at) == (
        s.candidate.revision,
        s.candidate.step,
        s.candidate.asked_at,
    )
    if not same or not asked(s):
        return candidate.model_copy(update={"given": [], "approval": None})
    return candidate.model_copy(update={"given": _given(s), "approval": standing(s)})


def standing(s: ServiceSnapshot) -> ApprovalStatus:
    """Who approved the running step, or what to write."""
    step, subject = _running(s), _subject(s)
    assert step is not None
    assert step.approval is not None
    approval = step.approval
    fitting = [one for one in _given(s) if _fits(one, approval, subject)]
    if subject.unproven:
        return _status(s, approval, ApprovalOutcome.UNPROVEN, f"no approval can be believed: {subject.unproven}")
    if not fitting:
        return _status(s, approval, ApprovalOutcome.AWAITED, _how(approval, subject))
    newest = max(fitting, key=lambda one: one.seen_at)
    expires = newest.seen_at + timedelta(seconds=approval.valid_seconds or VALID_SECONDS)
    if s.now >= expires:
        late = f"{newest.user} approved, and that expired at {expires:%Y-%m-%d %H:%M:%S} UTC"
        return _status(s, approval, ApprovalOutcome.EXPIRED, f"{late}; {_how(approval, subject)}", newest)
    said = f"{newest.user} of {newest.group} approved at {newest.seen_at:%Y-%m-%d %H:%M:%S} UTC"
    return _status(s, approval, ApprovalOutcome.APPROVED, said, newest)


def ended_by(s: ServiceSnapshot, stable: StableStatus | None, candidate: CandidateStatus | None) -> list[CommandStatus]:
    """For the journal, when the step that was approved ends on this look: who let it."""
    if not asked(s) or awaited(s) or s.candidate is None:
        return []
    was, found = s.candidate, standing(s)
    on = candidate is not None and candidate.revision == was.revision and candidate.step > was.step
    if not on and (candidate is not None or stable is None or stable.revision != was.revision):
        return []
    return [
        CommandStatus(
            request=f"{APPROVAL}{found.nonce}",
            verb=Verb.APPROVE,
            revision=was.revision,
            outcome=CommandOutcome.DONE,
            message=f"step {was.step} of {was.revision}: {found.message}",
            asked_by=found.user,
            at=found.given_at or s.now,
        )
    ]


def _status(
    s: ServiceSnapshot,
    approval: Approval,
    outcome: ApprovalOutcome,
    message: str,
    given: GivenApproval | None = None,
) -> ApprovalStatus:
    assert s.candidate is not None
    return ApprovalStatus(
        name=f"step-{s.candidate.step}",
        source="spec.canary.steps",
        outcome=outcome,
        groups=list(approval.groups),
        message=message,
        user=given.user if given is not None else None,
        group=given.group if given is not None else None,
        nonce=given.nonce if given is not None else None,
        given_at=given.seen_at if given is not None else None,
        expires_at=given.seen_at + timedelta(seconds=approval.valid_seconds or VALID_SECONDS) if given else None,
    )


def _subject(s: ServiceSnapshot) -> Subject:
    assert s.candidate is not None
    candidate = s.candidate
    begun = candidate.asked_at or candidate.since
    return Subject(
        digest=candidate.digest,
        gate_key=f"{s.service.metadata.uid}/{candidate.revision}/{candidate.step}/{begun.isoformat()}",
        admission=s.admission,
        under_way=False,
        now=s.now,
        where=f"mrev {candidate.revision}",
    )


def _how(approval: Approval, subject: Subject) -> str:
    group = "<that group>" if approval.groups else "<a group of yours>"
    return (
        f"waits for {who(approval)}: kubectl annotate {subject.where} '{APPROVAL}<a new word>={subject.code} {group}"
        " <your user name>'"
    )


def _given(s: ServiceSnapshot) -> list[GivenApproval]:
    """What is written now and counts for this step. It is new only while names are held, and by its code."""
    assert s.candidate is not None
    subject, step = _subject(s), _running(s)
    assert step is not None
    assert step.approval is not None
    known = {_text(one): one for one in s.candidate.given}
    found = {_text(one): one for texts in _annotations(s) for one in written(texts, subject)}
    counted = [
        known.get(text, one)
        for text, one in found.items()
        if text in known or (not subject.unproven and _fits(one, step.approval, subject))
    ]
    return sorted(counted, key=lambda one: (one.seen_at, one.nonce, one.user))[:REMEMBERED]


def _annotations(s: ServiceSnapshot) -> Sequence[Mapping[str, str]]:
    """Approvers may have the right to annotate ModelRevisions and no other."""
    revision = s.by_name.get(s.candidate.revision) if s.candidate is not None else None
    own = s.service.metadata.annotations
    return (own, revision.metadata.annotations) if revision is not None else (own,)


def _fits(one: GivenApproval, approval: Approval, subject: Subject) -> bool:
    return one.code == subject.code and (one.group in approval.groups or one.user in approval.users)


def _text(one: GivenApproval) -> tuple[str, str, str, str]:
    return one.nonce, one.code, one.group, one.user
