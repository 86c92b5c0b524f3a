"""EvalWaiver: what the platform team lets pass for a while, with a name to it."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from serin_operator.api.base import ApiModel, Name, list_map
from serin_operator.api.v1alpha1.shared import Condition, LocalRef, ObjectMeta


class EvalWaiverSpec(ApiModel):
    """These requirements of one policy do not count for these jobs until then. They are measured and told all the same.

    Without `jobs`: all jobs of the namespaces.
    """

    policy_ref: LocalRef
    requirements: Annotated[
        list[Name], Field(min_length=1, max_length=32, json_schema_extra={"x-kubernetes-list-type": "set"})
    ]
    namespaces: Annotated[
        list[Name], Field(min_length=1, max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})
    ]
    jobs: (
        Annotated[list[Name], Field(min_length=1, max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})]
        | None
    ) = None
    owner: Annotated[str, Field(min_length=1, max_length=256)]
    reason: Annotated[str, Field(min_length=10, max_length=1024)]
    expires_at: datetime


class WaiverState(StrEnum):
    """Active: a verdict was given under it. Unused: in force, and none was. Ineffective: nothing that it names is there to
    be lifted."""

    ACTIVE = "Active"
    UNUSED = "Unused"
    EXPIRED = "Expired"
    INEFFECTIVE = "Ineffective"


class WaiverUse(ApiModel):
    """A job whose verdict was given under the waiver, and for which requirements; `since` is when it passed or failed."""

    namespace: str
    job: str
    revision: str | None = None
    requirements: Annotated[list[str], Field(max_length=32)]
    since: datetime | None = None


class EvalWaiverStatus(ApiModel):
    """What became of the waiver. `jobs` are those whose verdict leans on it now; `lastUses` outlive their jobs."""

    observed_generation: int | None = None
    state: str | None = None
    conditions: Annotated[list[Condition], list_map("type", 8)] = []
    jobs: int | None = None
    last_uses: Annotated[list[WaiverUse], Field(max_length=10, exclude_if=lambda uses: not uses)] = []


class EvalWaiver(ApiModel):
    """Requirements of a ClusterEvalPolicy that do not count for a while, who answers for it, and why."""

    metadata: ObjectMeta
    spec: EvalWaiverSpec
    status: EvalWaiverStatus = EvalWaiverStatus()
