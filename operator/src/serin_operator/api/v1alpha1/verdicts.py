"""How a gate's judgement is told, on a FineTuneJob and on its ModelRevision."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from serin_operator.api.base import ApiModel
from serin_operator.api.v1alpha1.approval import ApprovalStatus
from serin_operator.api.v1alpha1.policy import Limits, PolicyMode
from serin_operator.api.v1alpha1.shared import Text


class Verdict(StrEnum):
    """Passed; Failed; Inconclusive (within noise, or too few samples); Error (could not measure)."""

    PASSED = "Passed"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    ERROR = "Error"


class RequirementVerdict(ApiModel):
    """One requirement, judged, with the sentence that says why.

    `pValue` is how often chance alone would speak this strongly for the verdict, corrected for the number of
    requirements; `neededExamples` is how many examples would settle an Inconclusive, should the value stay.
    """

    name: str
    source: str
    verdict: Verdict
    message: Text
    p_value: str | None = None
    examples: int | None = None
    needed_examples: int | None = None


class PolicyRef(ApiModel):
    """A ClusterEvalPolicy of the namespace as it was when a model was judged, and whether it selects the job."""

    name: str
    uid: str
    generation: int
    mode: PolicyMode
    selected: bool


class WaiverRef(ApiModel):
    """An EvalWaiver as it was when a model was judged, and which requirements did not count by it."""

    name: str
    uid: str
    generation: int
    policy: str
    requirements: Annotated[list[str], Field(max_length=32)]
    owner: str
    reason: str
    expires_at: datetime


AskedApprovals = Annotated[list[ApprovalStatus], Field(max_length=64, exclude_if=lambda found: not found)]
Waivers = Annotated[list[WaiverRef], Field(max_length=64, exclude_if=lambda found: not found)]


class GateStatus(ApiModel):
    """The verdict over all gates and policies, what was judged, and which policies, of which version, had a say."""

    verdict: Verdict
    key: str
    message: Text
    warning: bool | None = None
    requirements: Annotated[list[RequirementVerdict], Field(max_length=256)] = []
    policies: Annotated[list[PolicyRef], Field(max_length=256)] = []
    limits: Limits | None = None
    approvals: AskedApprovals = []
    waivers: Waivers = []
