"""What a person said, by annotation: how it is understood, and the journal of what became of it.

`heard` puts a new command into the status that the rules then go by, so journal and effect are one write. A command that
rejects, or takes a rejection back, writes other objects as well: those are written by a later look than the journal, which
then names the revision that was meant, so a crash never makes it hit another one. Not here: what follows (steering.py).
"""

import re
from dataclasses import dataclass, replace
from typing import Any, Final

from serin_operator.api.v1alpha1 import (
    COMMAND,
    COMMAND_BY,
    CommandOutcome,
    CommandStatus,
    PauseStatus,
    RollbackStatus,
    Verb,
)
from serin_operator.decide.service import approvers, facts, revisions
from serin_operator.decide.service.snapshot import ServiceSnapshot

REMEMBERED: Final = 20  # commands in the journal: older ones are forgotten
LONGEST: Final = 256  # characters of a text that are looked at
NAMING: Final = (Verb.ROLLBACK, Verb.RETRY)  # those that may name a revision
UNPROVEN: Final = " (by own account)"  # nothing in the cluster held the person to that name
_SYNTAX: Final = re.compile(r"([a-z]+)/([A-Za-z0-9][A-Za-z0-9._:-]{0,63})(?:/([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?))?")
_ANEW: Final = "then say it again with another nonce"


@dataclass(frozen=True, slots=True)
class Said:
    """A command as it was written, and by whom as far as that is known."""

    request: str
    verb: Verb | None
    name: str  # of a revision; empty when none was named
    asked_by: str | None
    asked_through: str | None


@dataclass(frozen=True, slots=True)
class _Answer:
    """Accepted or Done, for this revision, with this change of status; or the reason why not."""

    outcome: CommandOutcome
    message: str
    revision: str | None = None
    change: tuple[tuple[str, Any], ...] = ()


def _no(message: str) -> _Answer:
    return _Answer(CommandOutcome.REFUSED, message)


def _later(message: str, revision: str, **change: Any) -> _Answer:
    return _Answer(CommandOutcome.ACCEPTED, message, revision, tuple(change.items()))


def _now(message: str, revision: str | None = None, **change: Any) -> _Answer:
    return _Answer(CommandOutcome.DONE, message, revision, tuple(change.items()))


def heard(s: ServiceSnapshot) -> ServiceSnapshot:
    """The snapshot with a new command in its journal, and what the command changes at once."""
    said = _said(s)
    if said is None or unfinished(s) is not None:
        return s
    answer = _answer(s, said)
    entry = CommandStatus(
        request=said.request,
        verb=said.verb,
        revision=answer.revision,
        outcome=answer.outcome,
        message=answer.message,
        asked_by=said.asked_by,
        asked_through=said.asked_through,
        at=s.now,
    )
    before, change = s.service.status, dict(answer.change)
    known = [_done(one, f"given up for {said.request}") for one in before.commands] if "rollback" in change else []
    status = before.model_copy(update={**change, "commands": [entry, *(known or before.commands)][:REMEMBERED]})
    return replace(s, service=s.service.model_copy(update={"status": status}), heard=entry)


def _said(s: ServiceSnapshot) -> Said | None:
    """The command that nobody has acted upon yet."""
    annotations = s.service.metadata.annotations
    text = annotations.get(COMMAND, "").strip()[:LONGEST]
    if not text or any(known.request == text for known in s.service.status.commands):
        return None
    found = _SYNTAX.fullmatch(text)
    verb = next((verb for verb in Verb if found is not None and verb.value == found.group(1)), None)
    by = annotations.get(COMMAND_BY, "").strip()[: LONGEST - len(UNPROVEN)] or None
    by = f"{by}{UNPROVEN}" if by and not s.names_held else by
    return Said(text, verb, (found.group(3) or "") if found is not None else "", by, s.asked_through or None)


def _answer(s: ServiceSnapshot, said: Said) -> _Answer:
    if said.verb is None:
        verbs = ", ".join(verb.value for verb in Verb)
        return _no(f"write <verb>/<nonce>, for rollback and retry also <verb>/<nonce>/<revision>; verbs are {verbs}")
    if said.name and said.verb not in NAMING:
        return _no(
            f"{said.verb.value} is about what is on its way now and takes no name: write {said.verb.value}/<nonce>"
        )
    if s.stable is None:
        return _no("nothing is served yet, so there is nothing to steer: wait until the first model serves, " + _ANEW)
    return _ANSWERS[said.verb](s, said)


def who(asked_by: str | None) -> str:
    """For sentences. The name is what the person wrote, which the chart's admission policy holds to be the person's own;
    where that was away, the journal says so behind the name."""
    return asked_by or "somebody who gave no name"


# --- at once ------------------------------------------------------------------------------------------------------


def _pause(s: ServiceSnapshot, said: Said) -> _Answer:
    paused = s.service.status.paused
    if paused is not None:
        return _no(f"it is paused already, since {paused.since:%Y-%m-%d %H:%M:%S} by {who(paused.asked_by)}")
    pause = PauseStatus(request=said.request, asked_by=said.asked_by, since=s.now)
    return _now("nobody gets more traffic until resume; a breach still rolls back", paused=pause)


def _resume(s: ServiceSnapshot, said: Said) -> _Answer:
    if s.service.status.paused is None:
        return _no("it is not paused")
    return _now("the rollout goes on", paused=None)


def _promote(s: ServiceSnapshot, said: Said) -> _Answer:
    if (problem := _no_candidate(s)) is not None:
        return _no(problem)
    if approvers.awaited_later(s):
        return _no("a step on its way names who must approve it, so it goes step by step; abort/<nonce> would end it")
    candidate = facts.the_candidate(s).model_copy(
        update={"promotion_request": said.request, "withdrawn_at": None, "looked_at": None}
        if facts.withdrawn(s)
        else {"promotion_request": said.request}
    )
    name = candidate.revision
    return _now(
        f"{name} goes to 100 percent without further steps, once all of its pods are ready; its bake still watches it",
        name,
        candidate=candidate,
        paused=None,
    )


def _skip(s: ServiceSnapshot, said: Said) -> _Answer:
    if (problem := _no_candidate(s)) is not None:
        return _no(problem)
    candidate = facts.the_candidate(s)
    if candidate.step == 0:
        return _no(f"{candidate.revision} is in no step yet; wait until it has traffic, {_ANEW}")
    if approvers.awaited(s):
        return _no(f"step {candidate.step} names who may let it end: {approvers.standing(s).message}")
    if candidate.skipped_step == candidate.step:
        return _no(f"step {candidate.step} is being left already")
    changed = candidate.model_copy(update={"skipped_step": candidate.step})
    message = f"{candidate.revision} leaves step {candidate.step}, once all of its pods are ready"
    return _now(message, candidate.revision, candidate=changed, paused=None)


def _approve(s: ServiceSnapshot, said: Said) -> _Answer:
    if (problem := _no_candidate(s)) is not None:
        return _no(problem)
    candidate = facts.the_candidate(s)
    name, number = candidate.revision, candidate.step
    if not facts.asks_a_person(s):
        return _no(f"{name} waits for no approval now; skip/<nonce> would end its step, {_ANEW}")
    if approvers.named(facts.step_of(s)):
        return _no(f"step {number} names who may approve it: {approvers.standing(s).message}")
    if not facts.awaits_approval(s):
        return _no(f"step {number} is approved already")
    changed = candidate.model_copy(update={"approved_step": number})
    return _now(f"step {number} of {name} is approved; it goes on once no SLO says no", name, candidate=changed)


def _no_candidate(s: ServiceSnapshot) -> str | None:
    if facts.baking(s):
        name = facts.the_bake(s).revision
        return f"{name} has all traffic already and is watched; to end that now, set spec.canary.bakeSeconds to 0"
    if s.candidate is None or facts.candidate_out_of_date(s):
        return "no candidate is on its way; apply a FineTuneJob to make one, or say retry/<nonce>/<revision> for an old one"
    return None


# --- journal first, then the record of a revision -------------------------------------------------------------------


def _abort(s: ServiceSnapshot, said: Said) -> _Answer:
    rollback = s.service.status.rollback
    if rollback is not None:
        return _abort_rollback(s, rollback)
    trial = facts.on_trial(s)
    if trial is None or facts.bake_void(s) or facts.candidate_out_of_date(s):
        return _no("no candidate is on its way and nothing bakes; to leave the stable, say rollback/<nonce>")
    return _later(f"{trial.revision} is to be rejected, and all traffic to go to {trial.refuge}", trial.revision)


def _abort_rollback(s: ServiceSnapshot, rollback: RollbackStatus) -> _Answer:
    assert s.stable is not None
    if _is_rejected(s, s.stable.revision):
        return _no(f"{s.stable.revision} is rejected already, and {rollback.revision} takes over")
    return _now(f"{s.stable.revision} stays, and {rollback.revision} is not started", rollback.revision, rollback=None)


def _rollback(s: ServiceSnapshot, said: Said) -> _Answer:
    if s.bake is not None and not facts.bake_void(s):
        return _rollback_in_bake(s, said.name)
    if s.candidate is not None:
        return _no(f"{s.candidate.revision} is on its way in: say abort/<nonce> to stop it, then rollback/<nonce>")
    name = said.name or revisions.before_the_stable(s)
    if not name:
        return _no("no older revision was ever promoted and may serve; name one that was: rollback/<nonce>/<revision>")
    if (problem := _cannot_take_over(s, name)) is not None:
        return _no(problem)
    assert s.stable is not None
    back = RollbackStatus(revision=name, request=said.request, asked_by=said.asked_by, since=s.now)
    message = f"{name} is started again, and takes over from {s.stable.revision} once it is ready"
    return _later(message, name, rollback=back, paused=None)


def _rollback_in_bake(s: ServiceSnapshot, name: str) -> _Answer:
    bake = facts.the_bake(s)
    if name and name != bake.previous:
        return _no(
            f"{bake.revision} bakes, and only {bake.previous} is ready to take over: say rollback/<nonce> first, then"
            f" rollback/<nonce>/{name}"
        )
    return _later(f"{bake.revision} is to be rejected, and all traffic to go to {bake.previous}", bake.revision)


def _cannot_take_over(s: ServiceSnapshot, name: str) -> str | None:
    revision = s.by_name.get(name)
    if revision is None:
        return f"there is no ModelRevision {name} for this service; kubectl get mrev lists them"
    assert s.stable is not None
    if name == s.stable.revision or revision.spec.artifact.digest == s.stable.digest:
        return f"{name} is the stable already"
    if revisions.rejected(s, revision):
        return f"{name} was rejected: {revisions.rejection_of(s, name).message[:300]}; say retry/<nonce>/{name} for a canary"
    if not revisions.eligible(s, revision):
        return f"the gates of {name} do not say Passed, or it is being deleted"
    if revisions.record(revision).promoted_at is None:
        return f"{name} never had all traffic; say retry/<nonce>/{name} for a canary of it"
    return None


def _retry(s: ServiceSnapshot, said: Said) -> _Answer:
    last = revisions.last_rejected(s)
    name = said.name or (last.metadata.name if last is not None else "")
    if not name:
        return _no("nothing was rejected since the stable became stable; name a revision: retry/<nonce>/<revision>")
    revision = s.by_name.get(name)
    if revision is None:
        return _no(f"there is no ModelRevision {name} for this service; kubectl get mrev lists them")
    if not revisions.passed(revision):
        return _no(f"the gates of {name} do not say Passed: change the gate or train another model")
    if revision in revisions.waiting(s):
        return _no(f"{name} is on its way, or waits for its turn, already")
    if s.service.status.rollback is not None:
        return _no(f"{s.service.status.rollback.revision} is taking over: wait for it, or say abort/<nonce>; {_ANEW}")
    if s.stable is not None and revision.spec.artifact.digest == s.stable.digest and not _is_rejected(s, name):
        return _no(f"{name} is the stable already")
    return _later(f"{name} is to be a candidate again, from its first step", name)


def _is_rejected(s: ServiceSnapshot, name: str) -> bool:
    revision = s.by_name.get(name)
    return revision is not None and revisions.rejected(s, revision)


_ANSWERS: Final = {
    Verb.PAUSE: _pause,
    Verb.RESUME: _resume,
    Verb.PROMOTE: _promote,
    Verb.SKIP: _skip,
    Verb.APPROVE: _approve,
    Verb.ABORT: _abort,
    Verb.ROLLBACK: _rollback,
    Verb.RETRY: _retry,
}


# --- what is to be done about an accepted one ---------------------------------------------------------------------


def latest(s: ServiceSnapshot) -> CommandStatus | None:
    return s.service.status.commands[0] if s.service.status.commands else None


def unfinished(s: ServiceSnapshot) -> CommandStatus | None:
    """Journalled, and not carried out. A way back that waits for pods is not in the way of the next command."""
    command = latest(s)
    if command is None or command.outcome is not CommandOutcome.ACCEPTED or s.service.status.rollback is not None:
        return None
    return command


def just_journalled(s: ServiceSnapshot) -> bool:
    """It is written down on this look, and done on the next one."""
    return s.heard is not None and s.heard.outcome is CommandOutcome.ACCEPTED


def to_reject(s: ServiceSnapshot) -> bool:
    """The one that was meant is on trial, still."""
    command, trial = unfinished(s), facts.on_trial(s)
    if command is None or command.verb is Verb.RETRY or trial is None or trial.revision != command.revision:
        return False
    return not _is_rejected(s, trial.revision)


def to_retry(s: ServiceSnapshot) -> bool:
    command = unfinished(s)
    return command is not None and command.verb is Verb.RETRY and not _retried(s, command)


def _retried(s: ServiceSnapshot, command: CommandStatus) -> bool:
    """By the record of the revision: nothing is left to do, also when the revision is gone."""
    revision = s.by_name.get(command.revision or "")
    retry = revisions.record(revision).retry if revision is not None else None
    return revision is None or (retry is not None and retry.request == command.request)


def rolling_back(s: ServiceSnapshot) -> bool:
    return s.service.status.rollback is not None


def journal(s: ServiceSnapshot, rollback: RollbackStatus | None, sentence: str) -> list[CommandStatus]:
    """The commands after this look: what was accepted before it is over by now, in one way or another."""
    before = s.service.status.rollback
    ended = before.request if before is not None and rollback is None else None
    command = None if just_journalled(s) else unfinished(s)
    over = {request for request in (ended, command.request if command is not None else None) if request is not None}
    return [_done(one, sentence) if one.request in over else one for one in s.service.status.commands]


def _done(command: CommandStatus, sentence: str) -> CommandStatus:
    if command.outcome is not CommandOutcome.ACCEPTED:
        return command
    return command.model_copy(update={"outcome": CommandOutcome.DONE, "message": sentence})
