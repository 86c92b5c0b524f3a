"""One stage, level-based: given what was journalled and what runs, is it done, running, to be started, or given up?

The journal (`status.stages`) is written before a Job is created, so an attempt is never forgotten; the Job's name
derives from owner, stage, key and attempt, so it is never created twice.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from serin_operator.api.v1alpha1 import StageName, StageOutcome, StageStatus
from serin_operator.decide.decision import Action, Create, Delete
from serin_operator.decide.job.failures import Failure, Turn, explain, pause
from serin_operator.decide.job.snapshot import JobSnapshot, RunPhase, StageRun
from serin_operator.manifests.stage_job import StageJob, stage_objects

POLL_RUNNING = timedelta(seconds=15)  # Jobs and pods are watched; this only bounds the harm of a missed event
POLL_TRAINING = timedelta(seconds=3)
WAIT_FOR_DELETION = timedelta(seconds=2)
# The reasons of an entry whose attempt was ended on purpose: its number is not used again.
SUSPENDED = "Suspended"
REPLACED = "Replaced"
QUEUED = "Queued"  # the reason of an entry whose Job a queue holds


@dataclass(frozen=True, slots=True)
class Plan:
    """A stage that should have run: its key and how one attempt of it looks."""

    stage: StageName
    key: str
    wish: Callable[[int], StageJob]


@dataclass(frozen=True, slots=True)
class Step:
    """Where a stage stands: its journal entry, what to do, and when to look again (None: nothing to wait for)."""

    entry: StageStatus
    actions: tuple[Action, ...] = ()
    requeue_after: timedelta | None = None
    note: str = ""

    @property
    def done(self) -> bool:
        return self.entry.outcome is StageOutcome.SUCCEEDED


def step(s: JobSnapshot, plan: Plan) -> Step:
    """The next step of a stage."""
    entry = _journalled(s, plan)
    if entry is not None and entry.outcome is StageOutcome.SUCCEEDED:
        return Step(entry)
    leftovers = _in_the_way(s, plan)
    if leftovers:
        return _clear(s, plan, entry, leftovers)
    run = _newest_run(s, plan)
    if run is None:
        return _without_a_run(s, plan, entry)
    if entry is None or entry.attempt <= run.attempt:
        return _with_a_run(s, plan, entry, run)
    return _started(s, plan, entry, entry.attempt)  # journalled, but the Job was not created yet


def _journalled(s: JobSnapshot, plan: Plan) -> StageStatus | None:
    for entry in s.job.status.stages:
        if entry.name is plan.stage and entry.key == plan.key:
            return entry
    return None


def _in_the_way(s: JobSnapshot, plan: Plan) -> list[StageRun]:
    """Runs of this stage that are not wanted, or on their way out, and still hold pods."""
    return [
        run
        for run in s.runs
        if run.stage is plan.stage and (run.deleting or (run.key != plan.key and run.phase is RunPhase.RUNNING))
    ]


def _newest_run(s: JobSnapshot, plan: Plan) -> StageRun | None:
    runs = [run for run in s.runs if run.stage is plan.stage and run.key == plan.key and not run.deleting]
    return max(runs, key=lambda run: run.attempt, default=None)


def _clear(s: JobSnapshot, plan: Plan, entry: StageStatus | None, leftovers: list[StageRun]) -> Step:
    """Two attempts of one stage never live at the same time: the old one goes first."""
    waiting = entry or _entry(plan, s.now, attempt=1)
    names = ", ".join(run.name for run in leftovers)
    return Step(waiting, deletions(s, leftovers), WAIT_FOR_DELETION, f"waiting until {names} is gone")


def deletions(s: JobSnapshot, runs: Iterable[StageRun]) -> tuple[Delete, ...]:
    """End these runs, unless they are ending. Their pods get SIGTERM; those that train save first."""
    namespace = s.job.metadata.namespace
    return tuple(
        Delete("batch/v1", "Job", namespace, run.name, run.uid, run.resource_version)
        for run in runs
        if not run.deleting
    )


def _without_a_run(s: JobSnapshot, plan: Plan, entry: StageStatus | None) -> Step:
    if entry is None:
        return _started(s, plan, None, 1)
    if entry.reason in (SUSPENDED, REPLACED):
        return _started(s, plan, entry, entry.attempt + 1)
    if entry.outcome is StageOutcome.RUNNING:
        return _started(s, plan, entry, entry.attempt, entry.started_at)
    return _after_failure(s, plan, entry)


def _with_a_run(s: JobSnapshot, plan: Plan, entry: StageStatus | None, run: StageRun) -> Step:
    entry = entry or _entry(plan, run.started_at, run.attempt)
    if run.phase is RunPhase.RUNNING:
        return _replaced(s, plan, entry, run) or _running(plan, entry, run)
    if entry.outcome is StageOutcome.FAILED and entry.attempt == run.attempt:
        return _after_failure(s, plan, entry)
    if run.phase is RunPhase.SUCCEEDED:
        return _succeeded(s, plan, entry, run)
    return _failed(s, plan, entry, run, explain(run))


def _replaced(s: JobSnapshot, plan: Plan, entry: StageStatus, run: StageRun) -> Step | None:
    """What still waits for a place goes when the spec says another one; what runs is left where it is."""
    waits = bool(run.waiting) or run.suspended
    if not waits or not run.placement or run.placement == plan.wish(run.attempt).placement:
        return None
    ended = entry.model_copy(update={"outcome": StageOutcome.RUNNING, "reason": REPLACED, "message": ""})
    note = f"{run.name} had not started where the spec said before; it is placed anew"
    return Step(ended, deletions(s, [run]), WAIT_FOR_DELETION, note)


def _running(plan: Plan, entry: StageStatus, run: StageRun) -> Step:
    poll = POLL_TRAINING if plan.stage is StageName.TRAIN else POLL_RUNNING
    waiting = _in_queue(run) or run.waiting
    reason = (QUEUED if run.suspended else run.waiting_reason) or "Running"
    running = entry.model_copy(
        update={"attempt": run.attempt, "outcome": StageOutcome.RUNNING, "started_at": run.started_at,
                "retry_at": None, "finished_at": None, "reason": reason, "message": waiting[:1000],
                "failure_class": None, "image": run.image or entry.image}
    )  # fmt: skip
    return Step(running, (), POLL_RUNNING if run.suspended else poll, waiting)


def _in_queue(run: StageRun) -> str:
    """A Job that a queue holds, before its first start or because others went before it."""
    if not run.suspended:
        return ""
    if not run.queue:
        return f"{run.name} is suspended, and not by Serin: whoever did it may let it go on"
    return f"waits for quota in queue {run.queue}; what Kueue says of it: kubectl describe job {run.name}"


def _succeeded(s: JobSnapshot, plan: Plan, entry: StageStatus, run: StageRun) -> Step:
    if run.result is None or run.result.key != plan.key:
        # The pod went before its result was read. The next attempt finds the finished output and reports it at once.
        lost = Failure(Turn.UNKNOWN, "ResultLost", f"{run.name} finished, but its result could not be read")
        return _failed(s, plan, entry, run, lost)
    done = entry.model_copy(
        update={"attempt": run.attempt, "outcome": StageOutcome.SUCCEEDED, "reason": run.result.reason,
                "message": run.result.message, "output": run.result.output, "started_at": run.started_at,
                "finished_at": run.finished_at or s.now, "retry_at": None, "failure_class": None,
                "image": run.image or entry.image}
    )  # fmt: skip
    return Step(done)


def _failed(s: JobSnapshot, plan: Plan, entry: StageStatus, run: StageRun, failure: Failure) -> Step:
    """First written down, then acted upon: the next look finds the entry and starts the next attempt."""
    restarts = entry.restarts + (1 if failure.turn is Turn.UNKNOWN else 0)
    interruptions = entry.interruptions + (1 if failure.turn is Turn.CLUSTER else 0)
    ran = (run.finished_at or s.now) - run.started_at
    retry_at = _retry_at(s, plan, failure, restarts, interruptions, ran)
    failed = entry.model_copy(
        update={"attempt": run.attempt, "restarts": restarts, "interruptions": interruptions,
                "outcome": StageOutcome.FAILED, "failure_class": failure.turn.failure_class,
                "reason": failure.reason, "message": failure.message[:1000], "started_at": run.started_at,
                "finished_at": run.finished_at or s.now, "retry_at": retry_at,
                "image": run.image or entry.image}
    )  # fmt: skip
    return Step(failed, (), _until(retry_at, s.now))


def _retry_at(
    s: JobSnapshot, plan: Plan, failure: Failure, restarts: int, interruptions: int, ran: timedelta
) -> datetime | None:
    """When the next attempt may start; None when only the user can go on."""
    if failure.turn is Turn.CLUSTER:
        return s.now + pause(interruptions, ran)
    if failure.turn is Turn.UNKNOWN:
        return s.now + pause(restarts, ran) if restarts <= s.job.spec.distribution.max_restarts else None
    if failure.turn is Turn.DATA and plan.stage in (StageName.PREPARE, StageName.EVALUATE):
        return s.now + s.configured.prepare_retry  # a file can be mended without touching the spec
    return None


def _after_failure(s: JobSnapshot, plan: Plan, entry: StageStatus) -> Step:
    if entry.retry_at is None:
        return Step(entry)
    if s.now < entry.retry_at:
        return Step(entry, (), _until(entry.retry_at, s.now))
    return _started(s, plan, entry, entry.attempt + 1)


def _started(
    s: JobSnapshot, plan: Plan, before: StageStatus | None, attempt: int, started_at: datetime | None = None
) -> Step:
    """What failed before stays counted."""
    counts = {"restarts": before.restarts, "interruptions": before.interruptions} if before is not None else {}
    entry = _entry(plan, started_at or s.now, attempt).model_copy(update=counts)
    creates = tuple(Create(part) for part in stage_objects(plan.wish(attempt)))
    return Step(entry, creates, timedelta(seconds=5))


def _entry(plan: Plan, started_at: datetime, attempt: int) -> StageStatus:
    return StageStatus(
        name=plan.stage,
        key=plan.key,
        attempt=attempt,
        outcome=StageOutcome.RUNNING,
        reason="Started",
        started_at=started_at,
    )


def _until(when: datetime | None, now: datetime) -> timedelta | None:
    return None if when is None else max(when - now, timedelta(milliseconds=100))
