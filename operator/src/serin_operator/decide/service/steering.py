"""What follows from a person's command, where the rules of a canary alone would not do it: retry, and the way back to an
older revision. Not here: how commands are understood and remembered (commands.py)."""

from dataclasses import replace

from serin_operator.api.v1alpha1 import ModelRevision, Rejection, Retry, RollbackStatus, RolloutRecord, StableStatus
from serin_operator.decide.decision import Event
from serin_operator.decide.service import commands, facts, revisions, watch, words
from serin_operator.decide.service.facts import READINESS
from serin_operator.decide.service.plan import ROUTE, SOON, Plan
from serin_operator.decide.service.snapshot import ServiceSnapshot


def as_it_is(s: ServiceSnapshot, sentence: str) -> Plan:
    """Nothing moves on this look."""
    return Plan(sentence, s.stable, s.candidate, None, SOON, bake=s.bake, rollback=s.service.status.rollback)


def write_down(s: ServiceSnapshot) -> Plan:
    """The journal names the revision that is meant; the next look goes by that."""
    assert s.heard is not None
    return as_it_is(s, words.heard(s.heard))


def retry(s: ServiceSnapshot) -> Plan:
    """Its rejection goes, on every record of this model, and it waits for its turn like a new one.

    Its own record comes last and says so: until then this is done again.
    """
    command = commands.unfinished(s)
    assert command is not None
    revision = s.by_name[command.revision or ""]
    name, digest = revision.metadata.name, revision.spec.artifact.digest
    doubles = [
        (other, revisions.record(other).model_copy(update={"rejection": None}))
        for other in s.revisions
        if other.metadata.name != name
        and other.spec.artifact.digest == digest
        and revisions.record(other).rejection is not None
    ]
    withdrew = revisions.rejection_of(s, name).message if revisions.rejected(s, revision) else ""
    record = RolloutRecord(
        retry=Retry(request=command.request, asked_by=command.asked_by, at=s.now, withdrew=withdrew),
        promoted_at=revisions.record(revision).promoted_at if s.stable and s.stable.revision == name else None,
    )
    sentence = words.retried(s, name, command)
    plan = as_it_is(s, sentence)
    return replace(plan, records=(*doubles, (revision, record)), events=(Event("Retried", sentence),))


def roll_back_to_older(s: ServiceSnapshot) -> Plan:
    """Start it, and when it is ready: reject the stable, make it the stable, move the traffic. In this order."""
    back = s.service.status.rollback
    assert back is not None
    target = s.by_name.get(back.revision)
    bad = _stable_record(s)
    if target is None or not revisions.eligible(s, target):
        sentence = words.rollback_void(s, back)
        event = Event("RollbackEnded", sentence, warning=True)
        return Plan(sentence, s.stable, None, None, SOON, records=_taken_back(back, bad), events=(event,))
    view = s.serving(back.revision)
    if view is None or not view.complete:
        return _await_older(s, back, bad)
    sentence = words.rolled_back_to(s, back)
    return Plan(
        sentence,
        StableStatus(revision=back.revision, digest=target.spec.artifact.digest, since=s.now),
        None,
        {back.revision: 100},
        ROUTE,
        records=_rejecting(s, back, bad),
        events=(Event("RolledBack", sentence, warning=True),),
    )


def _stable_record(s: ServiceSnapshot) -> ModelRevision | None:
    return s.by_name.get(s.stable.revision) if s.stable is not None else None


def _await_older(s: ServiceSnapshot, back: RollbackStatus, bad: ModelRevision | None) -> Plan:
    """The stable goes on serving meanwhile: it is what there is."""
    waited = back.not_ready_seconds + watch.passed(back.looked_at, s.now, int(READINESS.total_seconds()))
    due = back.looked_at is None or not s.now - back.looked_at < READINESS
    late = waited >= s.service.spec.canary.progress_deadline_seconds
    now_late = late and back.not_ready_seconds < s.service.spec.canary.progress_deadline_seconds
    sentence = words.rollback_waits(s, back)
    rejected = bad is not None and revisions.rejected(s, bad)
    return Plan(
        sentence,
        s.stable,
        None,
        None if rejected else facts.all_to_stable(s),
        READINESS,
        rollback=back.model_copy(update={"looked_at": s.now, "not_ready_seconds": waited}) if due else back,
        events=(Event("RollbackHeld", sentence, warning=True),) if now_late and due else (),
        hold="RollbackTargetNotReady" if late else "",
    )


def _taken_back(back: RollbackStatus, bad: ModelRevision | None) -> tuple[tuple[ModelRevision, RolloutRecord], ...]:
    """The rejection that this very way back has written, and nothing had moved yet: the stable is what it was."""
    record = revisions.record(bad) if bad is not None else RolloutRecord()
    if bad is None or record.rejection is None or record.rejection.request != back.request:
        return ()
    return ((bad, record.model_copy(update={"rejection": None})),)


def _rejecting(
    s: ServiceSnapshot, back: RollbackStatus, bad: ModelRevision | None
) -> tuple[tuple[ModelRevision, RolloutRecord], ...]:
    if bad is None or revisions.record(bad).rejection is not None:
        return ()
    rejection = Rejection(
        reason="RolledBackByPerson",
        message=words.rejected_by_person(s, bad.metadata.name, back),
        at=s.now,
        step=len(facts.steps(s)),
        weight_percent=100,
        request=back.request,
    )
    return ((bad, revisions.record(bad).model_copy(update={"rejection": rejection})),)
