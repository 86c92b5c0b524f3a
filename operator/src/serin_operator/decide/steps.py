"""The steps of a canary as the rules see them: each has a share, its own or that of the step before. Pure."""

from dataclasses import dataclass
from datetime import timedelta

from serin_operator.api.v1alpha1 import HOLD_SECONDS, Analysis, Approval, Canary, CanaryStep, Experiment


@dataclass(frozen=True, slots=True)
class Step:
    """`hold`: how long the share is watched; in an analysis, how long every SLO must pass. A share of 0 is of copies."""

    weight_percent: int
    hold: timedelta
    approval: Approval | None = None
    analysis: Analysis | None = None
    max_seconds: int | None = None
    experiment: Experiment | None = None
    trial_seconds: int = (
        0  # of an experiment: how long it may take to find something; then it has an answer, and is not late
    )

    @property
    def delays(self) -> bool:
        """Requests are new to it: what is measured in the beginning is of the time before."""
        return self.approval is None and self.analysis is None and self.experiment is None


def steps_of(canary: Canary) -> tuple[Step, ...]:
    """In order. The schema asks for a share, or copies, in the first one."""
    found: list[Step] = []
    share = 0
    for step in canary.steps:
        share = share if step.weight_percent is None else step.weight_percent
        hold = timedelta(seconds=hold_seconds(step))
        limit = step.max_duration_seconds
        found.append(
            Step(share, hold, step.approval, step.analysis, limit)
            if step.experiment is None
            else Step(share, hold, experiment=step.experiment, trial_seconds=limit or 0)
        )
    return tuple(found)


def hold_seconds(step: CanaryStep) -> int:
    """An approval takes as long as it takes, and an experiment until it has its answer."""
    if step.analysis is not None:
        return step.analysis.passing_seconds
    if step.approval is not None or step.experiment is not None:
        return 0
    return HOLD_SECONDS if step.hold_seconds is None else step.hold_seconds
