"""Which ModelRevisions may be forgotten: those beyond `spec.revisionHistoryLimit` that nobody could miss.

A record is what keeps a model out, or lets it in again, so it goes only when neither can happen by its going. Never: what is
rejected, by its digest (a job that is applied again would bring the model back as a new one); what serves, is on its way or
is the one before the stable; what still waits for its turn; what has pods or stands in the route; and what a job that exists
has made or would find again. Nothing goes while something is on trial or a command is open.
Not here: the right to delete, and the models' files, which nobody deletes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from serin_operator.api.kinds import MODEL_REVISION
from serin_operator.api.v1alpha1 import ModelRevision
from serin_operator.decide.decision import Action, Delete, Event
from serin_operator.decide.service import commands, revisions
from serin_operator.decide.service.plan import Plan
from serin_operator.decide.service.snapshot import ServiceSnapshot


@dataclass(frozen=True, slots=True)
class MakingJob:
    """A FineTuneJob that exists: what it is called, and the keys of what it has done."""

    name: str
    keys: frozenset[str]


def beyond(s: ServiceSnapshot) -> list[ModelRevision]:
    """Those that the limit leaves no room for, whoever may still claim them; none while something moves."""
    limit = s.service.spec.revision_history_limit
    if limit is None or not _quiet(s):
        return []
    return sorted(_out_of_use(s), key=_worth, reverse=True)[limit:]


def with_jobs(s: ServiceSnapshot, jobs: Iterable[MakingJob]) -> ServiceSnapshot:
    """The snapshot with the revisions that jobs of the namespace have made, or would take for their own."""
    found = tuple(jobs)
    claimed = {revision.metadata.name for revision in s.revisions if any(_claims(job, revision) for job in found)}
    return replace(s, claimed=frozenset(claimed))


def forgotten(s: ServiceSnapshot, plan: Plan) -> list[Action]:
    """What to delete now, each at the very version that was seen: a record that somebody writes meanwhile stays."""
    return [
        Delete(
            MODEL_REVISION.api_version,
            MODEL_REVISION.kind,
            revision.metadata.namespace,
            revision.metadata.name,
            revision.metadata.uid,
            revision.metadata.resource_version,
        )
        for revision in _unclaimed(s, plan)
    ]


def told(s: ServiceSnapshot, plan: Plan) -> tuple[Event, ...]:
    """Who goes, since nothing else will remember it."""
    gone = [revision.metadata.name for revision in _unclaimed(s, plan)]
    limit = s.service.spec.revision_history_limit
    text = f"deleted, since spec.revisionHistoryLimit is {limit}: ModelRevision {', '.join(gone)}"
    return (Event("HistoryTrimmed", text),) if gone else ()


def _unclaimed(s: ServiceSnapshot, plan: Plan) -> list[ModelRevision]:
    moving = plan.candidate or plan.bake or plan.rollback or plan.deploy or plan.records
    if s.claimed is None or moving or plan.stable != s.stable:
        return []
    return [revision for revision in beyond(s) if revision.metadata.name not in s.claimed]


def _quiet(s: ServiceSnapshot) -> bool:
    """A model serves, nothing is on its way, and no command waits that could name a revision."""
    status = s.service.status
    moving = status.candidate or status.bake or status.rollback or s.heard or commands.unfinished(s)
    return status.stable is not None and not moving


def _out_of_use(s: ServiceSnapshot) -> list[ModelRevision]:
    assert s.stable is not None
    spared = {s.stable.revision, revisions.before_the_stable(s), *(child.revision for child in s.children)}
    return [
        revision
        for revision in s.revisions
        if revision.metadata.name not in spared
        and revision.metadata.deletion_timestamp is None
        and _over(revision)
        and not revisions.rejected(s, revision)
        and not (s.route is not None and s.route.mentions(revision.metadata.name))
    ]


def _over(revision: ModelRevision) -> bool:
    """It had its turn, or is none to get one."""
    record = revisions.record(revision)
    return record.promoted_at is not None or record.superseded_at is not None or not revisions.passed(revision)


def _worth(revision: ModelRevision) -> tuple[int, datetime, tuple[datetime, datetime, str]]:
    """First what served once, since people may go back to it; then what was passed over; then what failed its gates."""
    record = revisions.record(revision)
    if record.promoted_at is not None:
        return 2, record.promoted_at, revisions.age(revision)
    if record.superseded_at is not None:
        return 1, record.superseded_at, revisions.age(revision)
    return 0, revisions.made_at(revision), revisions.age(revision)


def _claims(job: MakingJob, revision: ModelRevision) -> bool:
    """It has made the revision, or has trained what the revision holds: without it, it would register it as a new one."""
    lineage = revision.spec.lineage
    return job.name == revision.spec.job_ref.name or bool(job.keys & {lineage.train_key, lineage.model_key})
