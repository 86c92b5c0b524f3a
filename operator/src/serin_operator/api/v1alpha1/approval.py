"""Approvals: people who must agree before a model gets traffic, and how they say so.

A person writes an annotation `approval.serin.dev/<nonce>` with `<code> <group> <user>` on the FineTuneJob or on its
ModelRevision. The code is told by the job's status and names the model and what was measured of it; that user and group are
those of the person is held by a ValidatingAdmissionPolicy of the chart. Not here: which approvals count
(`decide/job/approvals.py`).
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from serin_operator.api.base import ApiModel, Name, field_rules, list_map, rule
from serin_operator.api.v1alpha1.shared import Text

APPROVAL: Final = "approval.serin.dev/"

Nonce = Annotated[str, Field(max_length=63)]
Person = Annotated[str, Field(max_length=256)]

GroupName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=256,
        json_schema_extra=field_rules(
            [
                rule(
                    "self.matches('^[^ \\t\\r\\n]+$')",
                    "a group's name stands in an annotation between blanks, so it has none",
                ),
                rule(
                    "!(self in ['system:authenticated', 'system:unauthenticated', 'system:serviceaccounts'])",
                    "everybody is in this group: name one whose members were chosen",
                ),
            ]
        ),
    ),
]


class GroupApproval(ApiModel):
    """One member of one of these groups must agree. It holds for `validSeconds`, until the model has traffic."""

    name: Name
    groups: Annotated[
        list[GroupName], Field(min_length=1, max_length=8, json_schema_extra={"x-kubernetes-list-type": "set"})
    ]
    valid_seconds: Annotated[int, Field(ge=60, le=31_536_000)] = 604_800


Approvals = Annotated[list[GroupApproval], list_map("name", 8)]


class ApprovalOutcome(StrEnum):
    """Unproven: nothing in the cluster holds people to their own names, so no approval can be believed."""

    APPROVED = "Approved"
    AWAITED = "Awaited"
    EXPIRED = "Expired"
    UNPROVEN = "Unproven"


class GivenApproval(ApiModel):
    """An approval as it was first seen: the journal by which it expires. It goes when its annotation goes."""

    nonce: Nonce
    code: Annotated[str, Field(max_length=32)]
    group: Person
    user: Person
    digest: str
    seen_at: datetime


class ApprovalStatus(ApiModel):
    """One approval that is asked for, and who gave it as far as somebody did."""

    name: str
    source: str
    outcome: ApprovalOutcome
    groups: Annotated[list[str], Field(max_length=8)]
    message: Text = ""
    user: Person | None = None
    group: Person | None = None
    nonce: Nonce | None = None
    given_at: datetime | None = None
    expires_at: datetime | None = None
