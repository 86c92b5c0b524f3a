"""One stage, level-based: given what was journalled and what runs, is it done, running, to be started, or given up?

The journal (`status.stages`) is written before a Job is created, so an attempt is never forgotten; the Job's name
derives from owner, stage, key and attempt, so it is never created twice.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from serin_operator.api.contract import unreadable
from serin_operator.api.v1alpha1 import StageName, StageOutcome, StageStatus
from serin_operator.decide.decision import Action, Create, Delete
from serin_operator.decide.job.demands import asked_suites
from serin_operator.decide.job.failures import LONGEST_PAUSE, Failure, Turn, explain, pause
from serin_operator.decide.job.secrets import copy_secrets, judges_secrets, named_secrets, trackers_secrets
from serin_operator.decide.job.snapshot import JobSnapshot, RunPhase, StageRun
from serin_operator.decide.missing_secrets import missing_secret
from serin_operator.manifests.stage_job import StageJob, stage_objects

POLL_RUNNING = timedelta(seconds=15)  # Jobs and pods are watched; this only bounds the harm of a missed event
POLL_TRAINING = timedelta(seconds=3)
WAIT_FOR_DELETION = timedelta(seconds=2)
# The reasons of an entry whose attempt was ended on purpose: its number is not used again.
SUSPENDED = "Suspended"
REPLACED = "Replaced"
# The reasons of an entry whose Job a queue holds: before its first start, and after others went before it.
QUEUED = "Queued"
PREEMPTED = "Preempted"
_STARTED = "Started"


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
    waiting = entry or _entry(s, plan, s.now, attempt=1)
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
    entry = entry or _entry(s, plan, run.started_at, run.attempt)
    if run.phase is RunPhase.RUNNING:
        return _replaced(s, plan, entry, run) or _running(s, plan, entry, run)
    if entry.outcome is StageOutcome.FAILED and entry.attempt == run.attempt:
        if entry.retry_at is None and run.size and run.size != plan.wish(run.attempt).size:
            return _started(s, plan, entry, entry.attempt + 1)  # the spec has changed where the key has not
        return _after_failure(s, plan, entry)
    if run.phase is RunPhase.SUCCEEDED:
        return _succeeded(s, plan, entry, run)
    return _failed(s, plan, entry, run, explain(run))


def _replaced(s: JobSnapshot, plan: Plan, entry: StageStatus, run: StageRun) -> Step | None:
    """What still waits for a place goes when the spec says another one, and what runs when it says another size: it saves
    first, and the next attempt goes on from there. What runs elsewhere than the spec now says is left where it is."""
    wish = plan.wish(run.attempt)
    waits = bool(run.waiting) or run.suspended
    if run.size and run.size != wish.size:
        note = (
            f"{run.name} has {run.size} processes and the spec says {wish.size}; it saves, and the next attempt goes on"
        )
    elif waits and run.placement and run.placement != wish.placement:
        note = f"{run.name} had not started where the spec said before; it is placed anew"
    else:
        return None
    ended = entry.model_copy(update={"outcome": StageOutcome.RUNNING, "reason": REPLACED, "message": ""})
    return Step(ended, deletions(s, [run]), WAIT_FOR_DELETION, note)


def _running(s: JobSnapshot, plan: Plan, entry: StageStatus, run: StageRun) -> Step:
    poll = POLL_TRAINING if plan.stage is StageName.TRAIN else POLL_RUNNING
    reason, waiting = _why_waiting(s, entry, run)
    running = entry.model_copy(
        update={"attempt": run.attempt, "outcome": StageOutcome.RUNNING, "started_at": run.started_at,
                "retry_at": None, "finished_at": None, "reason": reason, "message": waiting[:1000],
                "failure_class": None, "image": run.image or entry.image}
    )  # fmt: skip
    return Step(running, (), POLL_RUNNING if run.suspended else poll, waiting)


def _why_waiting(s: JobSnapshot, entry: StageStatus, run: StageRun) -> tuple[str, str]:
    """Why it does not run yet, in a word and in a sentence; "Running" and nothing when it does."""
    if run.suspended:
        return _held(entry, run)
    spec = s.job.spec
    judges = judges_secrets(asked_suites((s.gates or {}).values(), s.asking))
    named = [*judges, *named_secrets(spec), *trackers_secrets(spec), *copy_secrets(spec)]
    missing = missing_secret(named, s.job.metadata.namespace, run.waiting)
    return missing or (run.waiting_reason or "Running", run.waiting)


def _held(entry: StageStatus, run: StageRun) -> tuple[str, str]:
    """A Job that a queue holds. That it had its place before is in the journal only: Kueue leaves no mark on the Job."""
    if not run.queue:
        return QUEUED, f"{run.name} is suspended, and not by Serin: whoever did it may let it go on"
    says = f"what Kueue says of it: kubectl describe job {run.name}"
    if _had_its_place(entry, run):
        return PREEMPTED, (
            f"lost its place in queue {run.queue}; it goes on from its newest checkpoint once it is admitted again; {says}"
        )
    return QUEUED, f"waits for quota in queue {run.queue}; {says}"


def _had_its_place(entry: StageStatus, run: StageRun) -> bool:
    """This very attempt was seen without a queue's hold."""
    same = entry.attempt == run.attempt and entry.outcome is StageOutcome.RUNNING
    return same and entry.reason not in (_STARTED, QUEUED, SUSPENDED, REPLACED)


def is_queued(entry: StageStatus) -> bool:
    """A queue holds its Job. A failed attempt may have the same reason, and is not held."""
    return entry.outcome is StageOutcome.RUNNING and entry.reason in (QUEUED, PREEMPTED)


def _succeeded(s: JobSnapshot, plan: Plan, entry: StageStatus, run: StageRun) -> Step:
    if run.result is None or run.result.key != plan.key:
        # The pod went before its result was read. The next attempt finds the finished output and reports it at once.
        lost = Failure(Turn.UNKNOWN, "ResultLost", f"{run.name} finished, but its result could not be read")
        return _failed(s, plan, entry, run, lost)
    if wrong := unreadable(plan.stage, run.result.output):
        strange = Failure(
            Turn.UNKNOWN,
            "ResultUnreadable",
            f"{run.name} finished, but this operator cannot read its result ({wrong}); use images of the operator's own"
            " release",
        )
        return _failed(s, plan, entry, run, strange)
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
    if retry_at is None and _of_another_spec(s, entry):
        retry_at, restarts, interruptions = s.now, 0, 0
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
    if failure.turn is Turn.DATA and plan.stage in (StageName.PREPARE, StageName.COPY, StageName.EVALUATE):
        return s.now + s.configured.prepare_retry  # a file or a bucket can be mended without touching the spec
    return None


def _after_failure(s: JobSnapshot, plan: Plan, entry: StageStatus) -> Step:
    if entry.retry_at is None:
        return _again_for_another_spec(s, plan, entry) or Step(entry)
    if not _is_due(s, entry.retry_at):
        return Step(entry, (), _until(entry.retry_at, s.now))
    return _started(s, plan, entry, entry.attempt + 1)


def _is_due(s: JobSnapshot, retry_at: datetime) -> bool:
    """A moment that lies farther ahead than any pause was written before the clock was set back: it would come hours
    late, or days."""
    return not timedelta() < retry_at - s.now <= max(LONGEST_PAUSE, s.configured.prepare_retry)


def _again_for_another_spec(s: JobSnapshot, plan: Plan, entry: StageStatus) -> Step | None:
    """Who was told to change the spec did: a limit that was raised makes no other stage, but another try of it."""
    if not _of_another_spec(s, entry):
        return None
    return _started(s, plan, entry.model_copy(update={"restarts": 0, "interruptions": 0}), entry.attempt + 1)


def _of_another_spec(s: JobSnapshot, entry: StageStatus) -> bool:
    """Whether the spec was changed after the attempt had begun; entries of older releases do not tell."""
    return entry.generation is not None and entry.generation != s.job.metadata.generation


def _started(
    s: JobSnapshot, plan: Plan, before: StageStatus | None, attempt: int, started_at: datetime | None = None
) -> Step:
    """What failed before stays counted."""
    counts = {"restarts": before.restarts, "interruptions": before.interruptions} if before is not None else {}
    entry = _entry(s, plan, started_at or s.now, attempt).model_copy(update=counts)
    creates = tuple(Create(part) for part in stage_objects(plan.wish(attempt)))
    return Step(entry, creates, timedelta(seconds=5))


def _entry(s: JobSnapshot, plan: Plan, started_at: datetime, attempt: int) -> StageStatus:
    return StageStatus(
        name=plan.stage,
        key=plan.key,
        attempt=attempt,
        generation=s.job.metadata.generation,
        outcome=StageOutcome.RUNNING,
        reason=_STARTED,
        started_at=started_at,
    )


def _until(when: datetime | None, now: datetime) -> timedelta | None:
    return None if when is None else max(when - now, timedelta(milliseconds=100))
