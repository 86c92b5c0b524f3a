"""`spec.suspend`: no pod of the job runs, and nothing that was done is lost.

What runs is ended by deleting its Job: its pods get SIGTERM and their grace period, in which training saves. It goes on
as the next attempt, from the newest checkpoint. Neither the end nor the new attempt counts against `maxRestarts`.
Not here: queues that suspend a Job (`queueing.py`). What needs no pod goes on: a verdict, a revision, a rollout.
"""

from serin_operator.api.v1alpha1 import StageName, StageOutcome, StageStatus
from serin_operator.decide.decision import Create
from serin_operator.decide.job.snapshot import JobSnapshot, RunPhase
from serin_operator.decide.job.stages import SUSPENDED, WAIT_FOR_DELETION, Plan, Step, deletions

_GOES_ON = {
    StageName.TRAIN: "training goes on from its newest checkpoint",
    StageName.PREPARE: "Prepare runs again",
    StageName.CONSOLIDATE: "Consolidate runs again",
    StageName.COPY: "Copy runs again, and leaves out what lies there already",
    StageName.EVALUATE: "Evaluate runs again",
}


def at_rest(s: JobSnapshot, plan: Plan, found: Step) -> Step | None:
    """The step of a suspended job: `found`, but nothing starts and what runs is ended. None: it has not begun."""
    alive = [run for run in s.runs if run.stage is plan.stage and (run.phase is RunPhase.RUNNING or run.deleting)]
    if alive:
        names = ", ".join(run.name for run in alive)
        note = f"waiting until {names} has ended; training saves first"
        return Step(_suspended(found.entry), deletions(s, alive), WAIT_FOR_DELETION, note)
    if not any(isinstance(action, Create) for action in found.actions):
        return found  # done, failed, or waiting to be tried again: there is nothing to end
    before = next((e for e in s.job.status.stages if e.name is plan.stage and e.key == plan.key), None)
    if before is None:
        return None
    return Step(_suspended(before) if before.outcome is StageOutcome.RUNNING else before)


def _suspended(entry: StageStatus) -> StageStatus:
    """The journal keeps that this attempt was ended on purpose: the next one is another, and is not counted."""
    return entry.model_copy(
        update={"outcome": StageOutcome.RUNNING, "reason": SUSPENDED, "message": "", "failure_class": None}
    )


def sentence(stage: StageName, step: Step | None) -> str:
    """What a suspended job says."""
    if step is not None and step.note:
        return f"suspended by spec.suspend: {step.note}"
    begun = step is not None
    goes_on = _GOES_ON[stage] if begun else f"{stage.value} starts"
    return f"suspended by spec.suspend; once that is false, {goes_on}"
