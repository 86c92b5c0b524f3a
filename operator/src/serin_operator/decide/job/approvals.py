"""Who must agree to a model, and who did. Pure; the annotation's syntax is in `api/v1alpha1/approval.py`.

An annotation is text that anybody who may annotate can write, also beside another's name. It is believed only because a
ValidatingAdmissionPolicy of the chart lets nobody write another name or group than those that the apiserver authenticated.
So an approval counts only when it certainly passed that policy: its code is made from the policy's and its binding's uid and
generation, which nobody knows before they are there, and is told by the status only while they are. An approval from a time
without them, or from before somebody changed them, has another code. Without them nothing is believed and the model is held:
a policy asks for people where numbers are not enough, so an approval of nobody in particular must not do.

The code is also made from the model's digest and the gate's key: who approves has seen these numbers, and no others.

A model that gets traffic already stays let in when an approval expires or the policies change: canaries would be torn down by
a date. Who takes its approval back, by removing the annotation, ends the canary.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from serin_operator.api.v1alpha1 import (
    APPROVAL,
    ApprovalOutcome,
    ApprovalStatus,
    ClusterEvalPolicy,
    EvalGate,
    GivenApproval,
    GroupApproval,
    PolicyMode,
)
from serin_operator.decide.keys import key_of

REMEMBERED: Final = 32  # annotations in the journal
SETTLING: Final = timedelta(seconds=30)  # until every apiserver has taken up a new admission policy
_CODE: Final = 10


@dataclass(frozen=True, slots=True)
class Admission:
    """The admission policy that holds people to their own names: which one, and since when; or why there is none."""

    identity: str = ""
    since: datetime | None = None
    problem: str = ""


NOT_LOOKED: Final = Admission()


@dataclass(frozen=True, slots=True)
class Asked:
    """An approval that is asked for, and by whom."""

    approval: GroupApproval
    source: str
    enforced: bool = True


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be approved, and where: the model, what was measured of it, and whether it has traffic already."""

    digest: str
    gate_key: str
    admission: Admission
    under_way: bool
    now: datetime
    where: str  # kubectl's words for the annotated object

    @property
    def code(self) -> str:
        return key_of("approval", self.digest, self.gate_key, self.admission.identity)[:_CODE]

    @property
    def unproven(self) -> str:
        """Why no approval can be believed now; empty when they can."""
        if self.admission.problem or self.admission.since is None:
            return self.admission.problem or "nobody looked whether names are held"
        if self.now - self.admission.since < SETTLING:
            return f"the admission policy that holds people to their names is not {SETTLING.seconds} s old yet"
        return ""


def asked_approvals(gates: Iterable[EvalGate], policies: Iterable[ClusterEvalPolicy]) -> tuple[Asked, ...]:
    """Of the job's gates and of every policy that selects it; those of an audited policy are told and hold nobody."""
    own = [Asked(a, f"gate {gate.metadata.name}") for gate in gates for a in gate.spec.approvals]
    added = [
        Asked(a, f"policy {policy.metadata.name}", policy.spec.mode is PolicyMode.ENFORCE)
        for policy in policies
        for a in policy.spec.approvals
    ]
    return (*own, *added)


def journal(
    before: Iterable[GivenApproval], annotations: Iterable[Mapping[str, str]], asked: Iterable[Asked], subject: Subject
) -> list[GivenApproval]:
    """What is written on the objects now, each with the time it was first seen. New is only what names the code of now
    and a group that is asked for: nobody else can fill the journal."""
    groups = {group for one in asked for group in one.approval.groups}
    said = [found for texts in annotations for found in written(texts, subject)]
    known = {_text(one): one for one in before}
    kept = [known[_text(one)] for one in said if _text(one) in known]
    new = [
        one
        for one in said
        if _text(one) not in known and not subject.unproven and (one.code, one.group in groups) == (subject.code, True)
    ]
    found = {_text(one): one for one in (*kept, *new)}
    return sorted(list(found.values())[:REMEMBERED], key=lambda one: (one.seen_at, one.nonce, one.user))


def written(annotations: Mapping[str, str], subject: Subject) -> Iterable[GivenApproval]:
    """What is said by annotation, believed or not."""
    for key, text in sorted(annotations.items()):
        parts = text.split(" ", 2)
        if key.startswith(APPROVAL) and len(parts) == 3 and len(text) <= 512:
            code, group, user = parts
            yield GivenApproval(
                nonce=key.removeprefix(APPROVAL),
                code=code[:32],
                group=group[:256],
                user=user[:256],
                digest=subject.digest,
                seen_at=subject.now,
            )


def _text(one: GivenApproval) -> tuple[str, str, str, str]:
    return one.nonce, one.code, one.group, one.user


def standing(given: Iterable[GivenApproval], asked: Iterable[Asked], subject: Subject) -> tuple[ApprovalStatus, ...]:
    """Each approval that is asked for, with who gave it."""
    found = tuple(given)
    return tuple(_standing(found, one, subject) for one in asked)


def _standing(given: tuple[GivenApproval, ...], asked: Asked, subject: Subject) -> ApprovalStatus:
    approval = asked.approval
    fitting = [
        one
        for one in given
        if one.digest == subject.digest
        and one.group in approval.groups
        and (one.code == subject.code or subject.under_way)
    ]
    if (subject.unproven and not subject.under_way) or not fitting:
        outcome = ApprovalOutcome.UNPROVEN if subject.unproven else ApprovalOutcome.AWAITED
        return _status(asked, outcome, _unproven(subject) if subject.unproven else _awaited(asked, subject))
    newest = max(fitting, key=lambda one: one.seen_at)
    expires = newest.seen_at + timedelta(seconds=approval.valid_seconds)
    if subject.now >= expires and not subject.under_way:
        late = f"{newest.user} approved, and that expired at {expires:%Y-%m-%d %H:%M:%S} UTC"
        return _status(asked, ApprovalOutcome.EXPIRED, f"{late}; {_awaited(asked, subject)}", newest, expires)
    said = f"{newest.user} of {newest.group} approved at {newest.seen_at:%Y-%m-%d %H:%M:%S} UTC"
    return _status(asked, ApprovalOutcome.APPROVED, said, newest, expires)


def _status(
    asked: Asked,
    outcome: ApprovalOutcome,
    message: str,
    given: GivenApproval | None = None,
    expires: datetime | None = None,
) -> ApprovalStatus:
    return ApprovalStatus(
        name=asked.approval.name,
        source=asked.source if asked.enforced else f"{asked.source} (audit)",
        outcome=outcome,
        groups=list(asked.approval.groups),
        message=message,
        user=given.user if given is not None else None,
        group=given.group if given is not None else None,
        nonce=given.nonce if given is not None else None,
        given_at=given.seen_at if given is not None else None,
        expires_at=expires,
    )


def _unproven(subject: Subject) -> str:
    return f"no approval can be believed: {subject.unproven}"


def _awaited(asked: Asked, subject: Subject) -> str:
    groups = asked.approval.groups
    return (
        f"{asked.approval.name} of {asked.source} waits for a member of {' or '.join(groups)}: kubectl annotate"
        f" {subject.where} '{APPROVAL}<a new word>={subject.code} <that group> <your user name>'"
    )


def withheld(found: Iterable[ApprovalStatus], asked: Iterable[Asked]) -> tuple[ApprovalStatus, ...]:
    """Those that hold the model now."""
    return tuple(
        status
        for status, one in zip(found, asked, strict=True)
        if one.enforced and status.outcome is not ApprovalOutcome.APPROVED
    )


def next_change(found: Iterable[ApprovalStatus], subject: Subject) -> timedelta | None:
    """When time alone will make a difference."""
    left = [one.expires_at - subject.now for one in found if one.outcome is ApprovalOutcome.APPROVED and one.expires_at]
    if subject.admission.since is not None and subject.unproven and not subject.admission.problem:
        left.append(subject.admission.since + SETTLING - subject.now)
    return min((one for one in left if one > timedelta()), default=None)
