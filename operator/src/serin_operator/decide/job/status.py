"""The status of a FineTuneJob: conditions, a word, and one sentence. For people; decisions never read the word back."""

import math
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Final

from serin_operator.api.contract import TrainOutput
from serin_operator.api.v1alpha1 import (
    API_VERSION,
    ApprovalOutcome,
    ConditionStatus,
    FailureClass,
    FineTuneJobStatus,
    GateStatus,
    Progress,
    StageName,
    StageOutcome,
    StageStatus,
    Verdict,
)
from serin_operator.decide import refusals
from serin_operator.decide.conditions import Finding, false, merged, true, unknown
from serin_operator.decide.decision import Decision, Event, Fence, StatusWrite
from serin_operator.decide.job.measuring import evaluation_progress, told
from serin_operator.decide.job.outlook import Outlook
from serin_operator.decide.job.snapshot import JobSnapshot
from serin_operator.decide.job.stages import is_queued
from serin_operator.decide.refusals import refusal_finding
from serin_operator.manifests import names

SOON = timedelta(seconds=5)
LONGEST_MISSING_POLL = timedelta(seconds=60)
POLL_IDLE = timedelta(minutes=10)  # the safety net under the watches


class State(StrEnum):
    """Display only."""

    WAITING = "Waiting"
    SUSPENDED = "Suspended"
    QUEUED = "Queued"
    PREPARING = "Preparing"
    TRAINING = "Training"
    CONSOLIDATING = "Consolidating"
    COPYING = "Copying"
    EVALUATING = "Evaluating"
    HELD = "Held"
    PASSED = "Passed"
    CANARY = "Canary"
    PROMOTED = "Promoted"
    SUCCEEDED = "Succeeded"
    REJECTED = "Rejected"
    ROLLED_BACK = "RolledBack"
    SUPERSEDED = "Superseded"
    FAILED = "Failed"


READY: Final = frozenset({State.PROMOTED, State.SUCCEEDED})
STALLED: Final = frozenset({State.REJECTED, State.ROLLED_BACK, State.SUPERSEDED, State.FAILED})
FINAL: Final = READY | STALLED

_RUNNING: Final = {
    StageName.PREPARE: State.PREPARING,
    StageName.TRAIN: State.TRAINING,
    StageName.CONSOLIDATE: State.CONSOLIDATING,
    StageName.COPY: State.COPYING,
    StageName.EVALUATE: State.EVALUATING,
}
_CONDITION: Final = {
    StageName.PREPARE: "DataPrepared",
    StageName.TRAIN: "Trained",
    StageName.CONSOLIDATE: "Consolidated",
    StageName.COPY: "Copied",
    StageName.EVALUATE: "Evaluated",
}


def poll_missing(s: JobSnapshot) -> timedelta:
    """Claims are not watched (gates and services are, and wake the job earlier), so they are asked for: often at first,
    then every minute, so that a thousand forgotten jobs do not keep the apiserver busy."""
    for condition in s.job.status.conditions:
        if condition.type == "ReferencesResolved" and condition.status is ConditionStatus.FALSE:
            waited = s.now - condition.last_transition_time
            return min(max(SOON, waited / 4), LONGEST_MISSING_POLL)
    return SOON


def job_decision(s: JobSnapshot, o: Outlook, stored: FineTuneJobStatus) -> Decision:
    """The decision: the status first if it is news (`stored` is the one that was read), then revisions' records, then Jobs."""
    state, sentence = _state(s, o)
    status = _status(s, o, state, sentence)
    news = status.manifest() != stored.manifest()
    own = (_write(s, status),) if news else ()
    changed = state != s.job.status.state
    events = (Event(state.value, sentence, warning=state in STALLED | {State.HELD}),) if changed else ()
    events += _waived(s, o)
    return Decision(
        sentence=sentence,
        guards=(_fence(s),) if o.records and not news else (),
        statuses=(*own, *o.records),
        fences=() if news else (_fence(s),),
        actions=tuple(o.actions),
        events=events,
        requeue_after=o.requeue_after or POLL_IDLE,
    )


def _waived(s: JobSnapshot, o: Outlook) -> tuple[Event, ...]:
    """Each waiver is told once for each verdict that leans on it."""
    before = s.job.status.gate.waivers if s.job.status.gate is not None else []
    now = o.gate.waivers if o.gate is not None else []
    return tuple(
        Event(
            "Waived", f"{', '.join(one.requirements)} of policy {one.policy} did not count: {one.name} of {one.owner}"
        )
        for one in now
        if one not in before
    )


def _fence(s: JobSnapshot) -> Fence:
    """Nothing is judged, started or deleted for a job whose journal has moved on."""
    meta = s.job.metadata
    return Fence(API_VERSION, "FineTuneJob", meta.namespace, meta.name, meta.resource_version)


def _write(s: JobSnapshot, status: FineTuneJobStatus) -> StatusWrite:
    meta = s.job.metadata
    return StatusWrite(
        API_VERSION,
        "FineTuneJob",
        meta.namespace,
        meta.name,
        status.manifest(),
        names.FIELD_MANAGER_STATUS,
        expect=meta.resource_version,
    )


def _status(s: JobSnapshot, o: Outlook, state: State, sentence: str) -> FineTuneJobStatus:
    generation = s.job.metadata.generation
    findings = [
        _references(o),
        refusal_finding(s.refused),
        *_recipe(o),
        _suspension(o),
        *_stage_findings(s, o),
        _healthy(s, o),
        _gate(o),
        _approved(o),
        _promoted(o),
        *_summary(state, sentence),
    ]
    return FineTuneJobStatus(
        observed_generation=generation,
        state=state.value,
        message=sentence[:2000],
        conditions=merged(s.job.status.conditions, findings, generation, s.now),
        stages=_journal(s, o),
        progress=_progress(s, o),
        evaluation=evaluation_progress(s, o),
        gate=_gate_status(s, o),
        model_digest=o.model_digest,
        revision=o.revision,
        retry=s.job.status.retry,
        approvals=o.approvals if o.approvals is not None else s.job.status.approvals,
        recipe=o.recipe.status if o.recipe is not None else None,
    )


def _gate_status(s: JobSnapshot, o: Outlook) -> GateStatus | None:
    """Once a revision's fate is decided it is not judged again, and the verdict that let it in stays to be read."""
    if o.gate is not None or o.final_revision is None:
        return o.gate
    before = s.job.status
    if before.gate is not None and before.revision == o.revision:
        return before.gate
    record = o.final_revision.status.gate
    if record is None:
        return None
    return GateStatus(
        verdict=record.verdict,
        key="",
        message=record.message,
        approvals=record.approvals,
        waivers=record.waivers,
    )


def _journal(s: JobSnapshot, o: Outlook) -> list[StageStatus]:
    """New entries, and the old ones of stages that were not reached: they may still hold a finished output."""
    entries = {entry.name: entry for entry in s.job.status.stages}
    entries.update({found.entry.name: found.entry for found in o.steps})
    return [entries[name] for name in StageName if name in entries]


def _progress(s: JobSnapshot, o: Outlook) -> Progress | None:
    training = o.of(StageName.TRAIN)
    if training is None:
        held = o.missing is not None or bool(o.suspended)
        return s.job.status.progress if o.reused is None and held else None
    same = any(entry.key == training.entry.key for entry in s.job.status.stages)
    if training.entry.outcome is StageOutcome.RUNNING:
        return s.progress or (s.job.status.progress if same else None)
    if not training.done:
        return s.job.status.progress
    return _at_its_end(TrainOutput.model_validate(training.entry.output), s.job.status.progress if same else None)


def _at_its_end(output: TrainOutput, seen: Progress | None) -> Progress:
    """What the training gave back; how it went there, as far as it was seen, stays."""
    seen = seen or Progress(step=0, total_steps=0, percent=0)
    loss, eval_loss = output.train_loss_last, output.eval_loss
    return seen.model_copy(
        update={
            "step": output.steps,
            "total_steps": output.steps,
            "percent": 100,
            "eta_seconds": 0,
            "train_loss": f"{loss:.3f}" if loss is not None else None,
            "eval_loss": f"{eval_loss:.3f}" if eval_loss is not None else None,
            "train_perplexity": _perplexity(loss),
            "eval_perplexity": _perplexity(eval_loss),
            "warnings": list(output.warnings),
        }
    )


def _perplexity(loss: float | None) -> str | None:
    return f"{math.exp(loss):.3g}" if loss is not None and loss < 25 else None


# --- conditions ---------------------------------------------------------------------------------------------------


def _references(o: Outlook) -> Finding:
    if o.missing is not None:
        return false("ReferencesResolved", o.missing.reason, o.missing.message)
    return true("ReferencesResolved", "AllFound", "everything that the job names exists")


def _recipe(o: Outlook) -> tuple[Finding, ...]:
    """Only of a job that has a recipe."""
    return (o.recipe.finding,) if o.recipe is not None and o.recipe.finding is not None else ()


def _suspension(o: Outlook) -> Finding:
    if o.suspended:
        return true("Suspended", "BySpec", o.suspended)
    queued = next((found for found in o.steps if is_queued(found.entry)), None)
    if queued is not None:
        return true("Suspended", "ByQueue", f"{queued.entry.name.value} {queued.note}")
    return false("Suspended", "NotSuspended")


def _stage_findings(s: JobSnapshot, o: Outlook) -> list[Finding]:
    copies = s.job.spec.artifacts.copy_to is not None
    return [_stage_finding(s, o, stage) for stage in StageName if copies or stage is not StageName.COPY]


def _stage_finding(s: JobSnapshot, o: Outlook, stage: StageName) -> Finding:
    type_ = _CONDITION[stage]
    found = o.of(stage)
    if found is None:
        if o.reused is not None and stage in (StageName.TRAIN, StageName.CONSOLIDATE):
            return true(type_, "Reused", f"the same training was done before; its model is {o.reused}")
        if stage is StageName.EVALUATE and o.final_revision is not None:
            return true(type_, "Succeeded", "measured before its fate was decided; it is not measured again")
        return unknown(type_, "Pending", "not reached yet")
    entry = found.entry
    if entry.outcome is StageOutcome.SUCCEEDED:
        return true(type_, "Succeeded", entry.message)
    if entry.outcome is StageOutcome.FAILED:
        return false(type_, entry.reason, _failure_sentence(s, entry))
    if o.suspended:
        return unknown(type_, "Suspended", o.suspended)
    return unknown(type_, entry.reason, found.note or f"attempt {entry.attempt}")


# What went wrong beside a training that is as well as before. It is told, and no reason to call the training ill.
_BESIDE_TRAINING: Final = frozenset({"TrackingFailed"})
_UNHEALTHY: Final = frozenset({"LossNotFinite", "LossExploded", "Overfitted"})


def _healthy(s: JobSnapshot, o: Outlook) -> Finding:
    """What the losses of this training say: of a run that was ended by them, of one that was warned of, or nothing."""
    training = o.of(StageName.TRAIN)
    if training is None:
        if o.reused is not None:
            return true("TrainingHealthy", "Reused", "the same training was done before")
        return unknown("TrainingHealthy", "Pending", "not reached yet")
    entry = training.entry
    if entry.outcome is StageOutcome.FAILED:
        if entry.reason in _UNHEALTHY:
            return false("TrainingHealthy", entry.reason, _failure_sentence(s, entry))
        return unknown("TrainingHealthy", "NotTrained", "training failed for another reason")
    progress = _progress(s, o)
    told = progress.warnings if progress is not None else []
    beside = "".join(f"; {one.message}" for one in told if one.reason in _BESIDE_TRAINING)
    warnings = [one for one in told if one.reason not in _BESIDE_TRAINING]
    if warnings:
        said = "; ".join(warning.message for warning in warnings)
        return false("TrainingHealthy", warnings[0].reason, said + beside)
    return true("TrainingHealthy", "NothingFound", f"the losses give no reason to worry{beside}")


def _failure_sentence(s: JobSnapshot, entry: StageStatus) -> str:
    message = entry.message.rstrip(".")
    if entry.retry_at is None:
        return f"{message}; change the spec, or annotate the job with {names.RETRY}=<any new word>, to try again"
    at = f"{entry.retry_at:%H:%M:%S} UTC"
    if entry.failure_class is FailureClass.UNKNOWN:
        return f"{message}; tried again at {at}, restart {entry.restarts} of {s.job.spec.distribution.max_restarts}"
    if entry.failure_class is FailureClass.INFRASTRUCTURE:
        return f"{message}; tried again at {at}, which does not count as a restart"
    return f"{message}; looked at again at {at}"


_GATE: Final = {
    Verdict.PASSED: (true, "AllPassed"),
    Verdict.FAILED: (false, "RequirementMissed"),
    Verdict.INCONCLUSIVE: (unknown, "WithinNoise"),
    Verdict.ERROR: (unknown, "NotMeasured"),
}


def _gate(o: Outlook) -> Finding:
    gate = o.gate
    if gate is None:
        record = o.final_revision.status.gate if o.final_revision is not None else None
        if record is None:
            return unknown("GatePassed", "Pending", "not judged yet")
        build, reason = _GATE[record.verdict]
        return build("GatePassed", reason, record.message)
    build, reason = _GATE[gate.verdict]
    if o.withheld:
        return build("GatePassed", "ApprovalMissing", gate.message)
    return build("GatePassed", "PassedWithWarning" if gate.warning else reason, gate.message)


_WITHHELD: Final = {
    ApprovalOutcome.AWAITED: "AwaitingApproval",
    ApprovalOutcome.EXPIRED: "ApprovalExpired",
    ApprovalOutcome.UNPROVEN: "ApprovalUnproven",
}


def _approved(o: Outlook) -> Finding:
    """What people said, where a gate or policy asks for people."""
    if o.withheld:
        first = min(o.withheld, key=lambda one: list(ApprovalOutcome).index(one.outcome))
        return false("Approved", _WITHHELD[first.outcome], "; ".join(one.message for one in o.withheld))
    record = o.final_revision.status.gate if o.final_revision is not None else None
    given = o.gate.approvals if o.gate is not None else record.approvals if record is not None else []
    if given:
        return true("Approved", "Approved", "; ".join(one.message for one in given))
    if o.gate is not None and o.gate.verdict is Verdict.PASSED:
        return true("Approved", "NotAsked", "no gate or policy asks for an approval")
    return unknown("Approved", "Pending", "people are asked once every requirement is met")


def _promoted(o: Outlook) -> Finding:
    rollout = o.final_revision.status.rollout if o.final_revision is not None else None
    if rollout is None:
        return unknown("Promoted", "Pending", "not decided yet")
    if rollout.rejection is not None:
        return false("Promoted", "RolledBack", rollout.rejection.message)
    if rollout.promoted_at is not None:
        return true("Promoted", "Promoted", f"{o.revision} is what users get")
    return false("Promoted", "Superseded", "a newer candidate took its place before it was promoted")


def _summary(state: State, sentence: str) -> tuple[Finding, ...]:
    """The three that kstatus reads (https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus)."""
    ready = true("Ready", state.value, sentence) if state in READY else false("Ready", state.value, sentence)
    working = state not in FINAL
    reconciling = (true if working else false)("Reconciling", state.value if working else "Settled", "")
    stalled = (true if state in STALLED else false)("Stalled", state.value if state in STALLED else "NotStalled", "")
    return ready, reconciling, stalled


# --- state and sentence -------------------------------------------------------------------------------------------


def _state(s: JobSnapshot, o: Outlook) -> tuple[State, str]:
    for phase in _PHASES:
        found = phase(s, o)
        if found is not None:
            return found
    return State.SUCCEEDED, f"the model is ready, digest {o.model_digest}"


def _final(s: JobSnapshot, o: Outlook) -> tuple[State, str] | None:
    rollout = o.final_revision.status.rollout if o.final_revision is not None else None
    if rollout is None:
        return None
    if rollout.rejection is not None:
        return State.ROLLED_BACK, rollout.rejection.message
    if rollout.promoted_at is not None:
        return (
            State.PROMOTED,
            f"{o.revision} is what users of {_service(s)} get since {rollout.promoted_at:%H:%M:%S} UTC",
        )
    return State.SUPERSEDED, f"{o.revision} gave way to a newer candidate before it was promoted"


def _given_up(s: JobSnapshot, o: Outlook) -> tuple[State, str] | None:
    for found in o.steps:
        if found.entry.outcome is StageOutcome.FAILED and found.entry.retry_at is None:
            return State.FAILED, f"{found.entry.name.value} failed: {_failure_sentence(s, found.entry)}"
    return None


def _refused(s: JobSnapshot, o: Outlook) -> tuple[State, str] | None:
    return (State.WAITING, refusals.sentence(s.refused)) if s.refused is not None else None


def _suspended(s: JobSnapshot, o: Outlook) -> tuple[State, str] | None:
    return (State.SUSPENDED, o.suspended) if o.suspended else None


def _running(s: JobSnapshot, o: Outlook) -> tuple[State, str] | None:
    for found in o.steps:
        if found.entry.outcome is StageOutcome.RUNNING:
            if is_queued(found.entry):
                return State.QUEUED, f"{found.entry.name.value} {found.note}"
            attempt = f", attempt {found.entry.attempt}" if found.entry.attempt > 1 else ""
            said = found.note
            if found.entry.name is StageName.EVALUATE:
                said = "; ".join(filter(None, (said or told(evaluation_progress(s, o)), o.measured_by_one)))
            note = f": {said}" if said else ""
            return _RUNNING[found.entry.name], f"{_RUNNING[found.entry.name].value.lower()}{attempt}{note}"
    return None


def _missing(s: JobSnapshot, o: Outlook) -> tuple[State, str] | None:
    return (State.WAITING, o.missing.message) if o.missing is not None else None


def _to_be_retried(s: JobSnapshot, o: Outlook) -> tuple[State, str] | None:
    for found in o.steps:
        if found.entry.outcome is StageOutcome.FAILED:
            return State.WAITING, f"{found.entry.name.value} failed: {_failure_sentence(s, found.entry)}"
    return None


def _judged(s: JobSnapshot, o: Outlook) -> tuple[State, str] | None:
    if o.gate is None or o.gate.verdict is Verdict.PASSED:
        return None
    return (State.REJECTED if o.gate.verdict is Verdict.FAILED else State.HELD), o.gate.message


def _in_traffic(s: JobSnapshot, o: Outlook) -> tuple[State, str] | None:
    if s.job.spec.rollout is None or o.revision is None:
        return None
    service = s.service
    if service is not None and service.status.candidate is not None:
        candidate = service.status.candidate.revision
        if candidate == o.revision:
            return State.CANARY, service.status.message or f"{o.revision} is on its way in"
        return State.PASSED, f"{o.revision} passed and follows {candidate}, which is on its way in"
    if service is not None and service.status.bake is not None:
        return State.PASSED, f"{o.revision} passed and waits until the bake of {service.status.bake.revision} is over"
    return State.PASSED, f"{o.revision} passed and waits for {_service(s)} to take it"


def _service(s: JobSnapshot) -> str:
    return s.job.spec.rollout.model_service_ref.name if s.job.spec.rollout is not None else ""


_Phase = Callable[[JobSnapshot, Outlook], tuple[State, str] | None]
_PHASES: Final[tuple[_Phase, ...]] = (  # the first that answers wins
    _final,
    _given_up,
    _refused,
    _suspended,
    _running,
    _missing,
    _to_be_retried,
    _judged,
    _in_traffic,
)
