"""From the plan to the writes: records first, then the service's status, then objects, then the route, then events.

Whatever cannot be observed again (a digest is bad, a step begins) is in the store before anything moves, so a crash
after any single write leaves a world from which the next look goes on safely.
"""

from collections.abc import Mapping
from datetime import timedelta

from serin_operator.api.kinds import MODEL_REVISION, MODEL_SERVICE, Kind
from serin_operator.api.v1alpha1 import CommandOutcome, ModelRevision, ModelServiceStatus, ObjectMeta, RolloutRecord
from serin_operator.decide.decision import Decision, Event, Fence, StatusWrite
from serin_operator.decide.service import (
    canary,
    children,
    commands,
    experiment,
    front,
    history,
    lent,
    monitoring,
    revisions,
    traffic,
    words,
)
from serin_operator.decide.service.plan import IDLE, LEAVING, SOON, Plan
from serin_operator.decide.service.snapshot import ServiceSnapshot
from serin_operator.decide.service.status import wanted_status
from serin_operator.manifests import names


def decide_service(s: ServiceSnapshot) -> Decision:
    """What to write now, and when to look again."""
    before_hearing, s = s.service.status, commands.heard(s)
    plan = canary.plan(s)
    monitored = monitoring.after(s, plan)
    before, after = _records_first(s, plan), _records_last(s, plan)
    statuses = (
        *(_record_write(s.by_name[name], record) for name, record in before.items()),
        *_status_write(s, plan, before_hearing),
        *(_record_write(s.by_name[name], record) for name, record in after.items()),
    )
    return Decision(
        sentence=plan.sentence,
        guards=(_fence(MODEL_SERVICE, s.service.metadata),) if before else (),
        statuses=statuses,
        fences=_fences(s, plan, statuses),
        actions=(
            *front.applies(s, plan),  # before its pods: who loses requests loses them first
            *children.applies(s, plan),
            *traffic.applies(s, plan),
            *children.deletes(s, plan),
            *history.forgotten(s, plan),
        ),
        events=(
            *_told(s),
            *experiment.events(s),
            *plan.events,
            *lent.events(s, traffic.wanted_backends(s, plan)),
            *history.told(s, plan),
            *monitoring.events(s, monitored),
        ),
        requeue_after=min(
            plan.requeue_after,
            _scale_down_in(s, plan),
            max(monitoring.again_in(s), SOON),
            front.again_in(s, plan),
        ),
        told=monitoring.told(monitored),
    )


def _told(s: ServiceSnapshot) -> tuple[Event, ...]:
    """That a command was heard, and why it was refused."""
    if s.heard is None:
        return ()
    refused = s.heard.outcome is CommandOutcome.REFUSED
    return (Event("CommandRefused" if refused else "CommandAccepted", words.heard(s.heard), warning=refused),)


def _fences(s: ServiceSnapshot, plan: Plan, written: tuple[StatusWrite, ...]) -> tuple[Fence, ...]:
    """No weight moves and nothing is deleted on a stale view of the service, or of a revision that is to get requests:
    a rejection that this look has not seen changes the revision's version."""
    known = {(write.kind, write.name) for write in written}
    receiving = [s.by_name[name] for name, weight in (plan.weights or {}).items() if weight and name in s.by_name]
    looked_at = [(MODEL_SERVICE, s.service.metadata), *((MODEL_REVISION, r.metadata) for r in receiving)]
    return tuple(_fence(kind, meta) for kind, meta in looked_at if (kind.kind, meta.name) not in known)


def _fence(kind: Kind, meta: ObjectMeta) -> Fence:
    return Fence(kind.api_version, kind.kind, meta.namespace, meta.name, meta.resource_version)


def _records_first(s: ServiceSnapshot, plan: Plan) -> Mapping[str, RolloutRecord]:
    """Rejections and supersessions: they take a revision out of the running, so they come before its weight moves.

    They last for ever, and the revision's own version says nothing of the service that condemns it: a guard does.
    """
    found = {**_superseded(s), **_weight_zero(s)}
    return {**found, **{revision.metadata.name: record for revision, record in plan.records}}


def _superseded(s: ServiceSnapshot) -> dict[str, RolloutRecord]:
    if s.stable is None:
        return {}
    return {
        revision.metadata.name: revisions.record(revision).model_copy(update={"superseded_at": s.now})
        for revision in revisions.overtaken(s)
    }


def _weight_zero(s: ServiceSnapshot) -> dict[str, RolloutRecord]:
    """When a rejected revision was first read back without traffic, by a route in force."""
    if s.route is not None and not s.route.programmed:
        return {}
    return {
        revision.metadata.name: record.model_copy(
            update={"rejection": record.rejection.model_copy(update={"weight_zero_at": s.now})}
        )
        for revision in s.revisions
        if (record := revisions.record(revision)).rejection is not None
        and record.rejection.weight_zero_at is None
        and s.weight(revision.metadata.name) == 0
    }


def _records_last(s: ServiceSnapshot, plan: Plan) -> Mapping[str, RolloutRecord]:
    """A promotion is true once the service's status says so; a record that a crash left out is written later."""
    revision = s.by_name.get(plan.stable.revision) if plan.stable is not None else None
    if revision is None or plan.stable is None or revisions.record(revision).promoted_at is not None:
        return {}
    record = revisions.record(revision).model_copy(update={"promoted_at": plan.stable.since})
    return {revision.metadata.name: record}


def _record_write(revision: ModelRevision, record: RolloutRecord) -> StatusWrite:
    meta = revision.metadata
    return StatusWrite(
        MODEL_REVISION.api_version,
        MODEL_REVISION.kind,
        meta.namespace,
        meta.name,
        {"rollout": record.manifest()},
        names.FIELD_MANAGER_ROLLOUT,
        expect=meta.resource_version,
    )


def _status_write(s: ServiceSnapshot, plan: Plan, before: ModelServiceStatus) -> tuple[StatusWrite, ...]:
    """Only when it is news: our own write wakes us again."""
    meta = s.service.metadata
    status = wanted_status(s, plan)
    if status == before:
        return ()
    return (
        StatusWrite(
            MODEL_SERVICE.api_version,
            MODEL_SERVICE.kind,
            meta.namespace,
            meta.name,
            status.manifest(),
            names.FIELD_MANAGER_STATUS,
            expect=meta.resource_version,
        ),
    )


def _scale_down_in(s: ServiceSnapshot, plan: Plan) -> timedelta:
    """While pods wait to be scaled down, look again when their time is over."""
    leaving = any(child.revision not in children.kept(plan) for child in s.children)
    return min(LEAVING, max(s.settings.scale_down_delay, SOON)) if leaving else IDLE
