"""What one walk over the stages found: the raw material of status and actions."""

from dataclasses import dataclass, field
from datetime import timedelta

from serin_operator.api.v1alpha1 import ApprovalStatus, GateStatus, GivenApproval, ModelRevision, StageName
from serin_operator.decide.decision import Action, StatusWrite
from serin_operator.decide.job.recipe import Taken
from serin_operator.decide.job.references import Missing
from serin_operator.decide.job.stages import Step


@dataclass(slots=True)
class Outlook:
    """Collected during the walk, read by `status.py`. Lives for one decision only."""

    missing: Missing | None = None
    recipe: Taken | None = None  # what `spec.configFrom` came to
    suspended: str = ""  # what `spec.suspend` holds back, as a sentence
    measured_by_one: str = ""  # why the running evaluation is not shared by pods, as a sentence
    steps: list[Step] = field(default_factory=list[Step])
    actions: list[Action] = field(default_factory=list[Action])
    records: list[StatusWrite] = field(default_factory=list[StatusWrite])
    reused: str | None = None  # the earlier revision that spared training
    model_digest: str | None = None
    revision: str | None = None
    known_revision: ModelRevision | None = None
    final_revision: ModelRevision | None = None
    gate: GateStatus | None = None
    approvals: list[GivenApproval] | None = None  # the journal; None: nobody asked on this look
    withheld: tuple[ApprovalStatus, ...] = ()  # approvals without which a model that met all goes no further
    requeue_after: timedelta | None = None

    def add(self, found: Step) -> None:
        self.steps.append(found)
        self.actions.extend(found.actions)
        if found.requeue_after is not None:
            self.wait(found.requeue_after)

    def wait(self, at_most: timedelta) -> None:
        """Look again no later than this."""
        self.requeue_after = at_most if self.requeue_after is None else min(self.requeue_after, at_most)

    def of(self, stage: StageName) -> Step | None:
        return next((found for found in self.steps if found.entry.name is stage), None)
