"""One look at a FineTuneJob: walk the stages in order until one is not done, then say so.

The walk collects an `Outlook`; `status.py` turns it into conditions, a state and a sentence. Nothing is remembered
between looks: what was done is in the journal (`status.stages`), in ModelRevisions and in the Jobs themselves.
"""

from dataclasses import replace

from serin_operator.api.contract import (
    ConsolidateOutput,
    EvaluateOutput,
    PrepareOutput,
    RoleModel,
    TrainOutput,
)
from serin_operator.api.v1alpha1 import (
    API_VERSION,
    ApprovalOutcome,
    ApprovalStatus,
    ComparedTo,
    EvalGate,
    GateRecord,
    GateStatus,
    ModelRevision,
    ModelRevisionStatus,
    Reference,
    StageName,
    StageOutcome,
    StageStatus,
    Verdict,
)
from serin_operator.decide.decision import Create, Decision, StatusWrite
from serin_operator.decide.job import approvals, record
from serin_operator.decide.job.demands import (
    Demand,
    asked_suites,
    demands,
    opponents,
    waived,
    waiver_refs,
    wanted_comparisons,
    wanted_scores,
)
from serin_operator.decide.job.gates import Judgement, judge
from serin_operator.decide.job.outlook import Outlook
from serin_operator.decide.job.plans import (
    Candidate,
    Measuring,
    base_model,
    consolidate_plan,
    copy_plan,
    evaluate_plan,
    measured_by_one,
    prepare_plan,
    role_model,
    served_with,
    train_plan,
    with_chosen_method,
)
from serin_operator.decide.job.recipe import with_recipe
from serin_operator.decide.job.references import missing
from serin_operator.decide.job.retrying import retried
from serin_operator.decide.job.snapshot import JobSnapshot
from serin_operator.decide.job.stages import Plan, Step, step
from serin_operator.decide.job.status import SOON, job_decision, poll_missing
from serin_operator.decide.job.suspension import at_rest, sentence
from serin_operator.decide.keys import data_key, key_of, model_key, train_key
from serin_operator.decide.policies import refs, strictest
from serin_operator.manifests import names


def decide_job(s: JobSnapshot) -> Decision:
    """What to write and do for this job now."""
    taken = with_recipe(retried(s))
    wanted = taken.snapshot
    outlook = Outlook(missing=taken.missing or missing(wanted), recipe=taken)
    if taken.readable:
        _walk(wanted, outlook)
    else:
        outlook.wait(poll_missing(wanted))  # what to do is not known yet, and what runs is let run
    return job_decision(wanted, outlook, stored=s.job.status)


def _walk(s: JobSnapshot, o: Outlook) -> None:
    if o.missing is not None:
        o.wait(poll_missing(s))
    prepared = _prepare(s, o)
    if prepared is None:
        return
    s = with_chosen_method(s, prepared)
    candidate = _model(s, o, prepared)
    if candidate is None:
        return
    o.model_digest = candidate.digest
    _register(s, o, candidate, prepared)
    if not _copied(s, o, candidate):
        return
    if o.final_revision is not None or (not s.job.spec.gates and not s.asking):
        return
    _evaluate_and_judge(s, o, candidate, prepared)


def _take(s: JobSnapshot, o: Outlook, plan: Plan) -> Step | None:
    """One stage into the outlook; the step itself when it is done. Nothing starts while a reference is missing."""
    found = step(s, plan)
    if s.job.spec.suspend and not found.done:
        return _hold(s, o, plan, found)
    if o.missing is not None and any(isinstance(action, Create) for action in found.actions):
        return None
    o.add(found)
    return found if found.done else None


def _hold(s: JobSnapshot, o: Outlook, plan: Plan, found: Step) -> None:
    """What `spec.suspend` makes of a step that is not done: it goes no further."""
    resting = at_rest(s, plan, found)
    if resting is not None:
        o.add(resting)
    if resting is None or resting.entry.outcome is StageOutcome.RUNNING or resting.entry.retry_at is not None:
        o.suspended = sentence(plan.stage, resting)


def _prepare(s: JobSnapshot, o: Outlook) -> PrepareOutput | None:
    kept = _prepared_before(s)
    if kept is not None:
        o.add(Step(kept))
        return PrepareOutput.model_validate(kept.output)
    done = _take(s, o, prepare_plan(s))
    return PrepareOutput.model_validate(done.entry.output) if done is not None else None


def _prepared_before(s: JobSnapshot) -> StageStatus | None:
    """Prepared data stay what they are while a gate is away, though its data set cannot be known then; and when the
    model's fate is decided nobody asks any more what it was measured with."""
    known = record.named(s.revisions, s.job.status.revision or "")
    if _gates(s) is not None and (known is None or not _fate_is_decided(known)):
        return None
    return next(
        (
            entry
            for entry in s.job.status.stages
            if entry.name is StageName.PREPARE
            and entry.outcome is StageOutcome.SUCCEEDED
            and entry.key.startswith(data_key(s.job.spec))
        ),
        None,
    )


def _model(s: JobSnapshot, o: Outlook, prepared: PrepareOutput) -> Candidate | None:
    """The consolidated model: of a revision that the very same training made before, or trained now."""
    trained = train_key(s.job.spec, prepared.base_model_digest, prepared.data_digest)
    model_wanted = model_key(trained, s.job.spec.method)
    earlier = record.made_before(s.revisions, model_wanted)
    if earlier is not None and not _journal_has(s, StageName.CONSOLIDATE, model_wanted):
        o.reused = earlier.metadata.name
        artifact = earlier.spec.artifact
        return Candidate(artifact.uri, artifact.digest, artifact.base, artifact.size_bytes)
    training = _take(s, o, train_plan(s, prepared))
    if training is None:
        return None
    checkpoint = TrainOutput.model_validate(training.entry.output).checkpoint_uri
    entries = [found.entry for found in o.steps]
    merged = _take(s, o, consolidate_plan(s, prepared, checkpoint, entries))
    if merged is None:
        return None
    model = ConsolidateOutput.model_validate(merged.entry.output)
    return Candidate(model.model_uri, model.digest, served_with(s.job.spec, prepared), model.size_bytes)


def _journal_has(s: JobSnapshot, stage: StageName, key: str) -> bool:
    return any(entry.name is stage and entry.key == key for entry in s.job.status.stages)


def _register(s: JobSnapshot, o: Outlook, candidate: Candidate, prepared: PrepareOutput) -> None:
    """Make sure that the candidate's revision exists, and note it when its fate is decided already."""
    if s.job.spec.rollout is None:
        return
    service = s.job.spec.rollout.model_service_ref.name
    o.revision = names.revision(service, candidate.digest)
    existing = record.named(s.revisions, o.revision)
    if existing is None:
        trained = train_key(s.job.spec, prepared.base_model_digest, prepared.data_digest)
        done = o.of(StageName.PREPARE)
        assert done is not None  # `prepared` came from it
        manifest = record.revision_manifest(s.job, service, candidate, prepared, done.entry.key, trained)
        o.actions.append(Create(manifest))
        o.wait(SOON)
        return
    o.known_revision = existing
    if _fate_is_decided(existing):
        o.final_revision = existing


def _copied(s: JobSnapshot, o: Outlook, candidate: Candidate) -> bool:
    """The copy lies there, or none is wanted. It comes before the verdict: what is let in can be fetched."""
    to = s.job.spec.artifacts.copy_to
    return to is None or _take(s, o, copy_plan(s, candidate, to)) is not None


def _fate_is_decided(revision: ModelRevision) -> bool:
    rollout = revision.status.rollout
    return rollout is not None and (
        rollout.promoted_at is not None or rollout.rejection is not None or rollout.superseded_at is not None
    )


def _evaluate_and_judge(s: JobSnapshot, o: Outlook, candidate: Candidate, prepared: PrepareOutput) -> None:
    gates = _gates(s)
    if gates is None:
        return
    incumbent = _incumbent(s, candidate)
    asked = waived(demands(gates, s.asking), s.waiving, s.now)
    comparisons = wanted_comparisons(asked, first_deployment=incumbent is None)
    roles = [role_model("Candidate", candidate)]
    suites = asked_suites(gates, s.asking)
    others = opponents(suites, comparisons, first_deployment=incumbent is None)
    if ComparedTo.BASE in others:
        base = base_model(s.job.spec, prepared)
        roles.append(RoleModel(role="Base", uri=base.uri, digest=prepared.base_model_digest))
    if ComparedTo.INCUMBENT in others and incumbent is not None:
        artifact = incumbent.spec.artifact
        roles.append(role_model("Incumbent", Candidate(artifact.uri, artifact.digest, artifact.base)))
    measured, evaluation = EvaluateOutput(report_uri=""), ""
    if suites:
        measuring = Measuring(tuple(roles), comparisons, wanted_scores(asked), first_deployment=incumbent is None)
        done = _take(s, o, evaluate_plan(s, suites, measuring))
        if done is None:
            o.measured_by_one = measured_by_one(s)
            return
        measured, evaluation = EvaluateOutput.model_validate(done.entry.output), done.entry.key
    elif not asked and not approvals.asked_approvals(gates, s.asking):
        return
    judgement = judge(asked, measured, first_deployment=incumbent is None)
    if o.missing is not None and o.missing.stops:
        judgement = Judgement(Verdict.ERROR, o.missing.message, judgement.requirements)
    key = key_of("gate", evaluation, [_asked(d) for d in asked])
    judgement, found = _with_approvals(s, o, judgement, gates, candidate.digest, key)
    _record_verdict(s, o, judgement, asked, key, found, measured.reference)


def _with_approvals(
    s: JobSnapshot, o: Outlook, judgement: Judgement, gates: tuple[EvalGate, ...], digest: str, key: str
) -> tuple[Judgement, list[ApprovalStatus]]:
    """What people say to it. They are asked once the numbers are good: nobody approves what must not go on anyway."""
    asked = approvals.asked_approvals(gates, s.asking)
    if not asked or judgement.verdict is not Verdict.PASSED:
        return judgement, []
    meta, known = s.job.metadata, o.known_revision
    subject = approvals.Subject(
        digest=digest,
        gate_key=key,
        admission=s.admission,
        under_way=_under_way(s, o),
        now=s.now,
        where=f"ftj {meta.name} -n {meta.namespace}",
    )
    written = [meta.annotations, *([known.metadata.annotations] if known is not None else [])]
    o.approvals = approvals.journal(s.job.status.approvals, written, asked, subject)
    found = approvals.standing(o.approvals, asked, subject)
    o.withheld = approvals.withheld(found, asked)
    change = approvals.next_change(found, subject)
    if change is not None:
        o.wait(change)
    if not o.withheld:
        return judgement, list(found)
    unproven = any(one.outcome is ApprovalOutcome.UNPROVEN for one in o.withheld)
    why = "; ".join(dict.fromkeys(one.message for one in o.withheld))
    verdict = Verdict.ERROR if unproven else Verdict.INCONCLUSIVE
    return replace(judgement, verdict=verdict, message=f"every requirement is met, and {why}"), list(found)


def _under_way(s: JobSnapshot, o: Outlook) -> bool:
    """The model has traffic: it was let in."""
    candidate = s.service.status.candidate if s.service is not None else None
    return candidate is not None and candidate.revision == o.revision and candidate.step > 0


def _gates(s: JobSnapshot) -> tuple[EvalGate, ...] | None:
    found = s.gates or {}
    if any(ref.name not in found for ref in s.job.spec.gates):
        return None  # the missing reference is told already
    return tuple(found[ref.name] for ref in s.job.spec.gates)


def _incumbent(s: JobSnapshot, candidate: Candidate) -> ModelRevision | None:
    """What users get now, unless that is this very model."""
    stable = s.service.status.stable if s.service is not None else None
    if stable is None or stable.digest == candidate.digest:
        return None
    return record.named(s.revisions, stable.revision)


def _record_verdict(
    s: JobSnapshot,
    o: Outlook,
    judgement: Judgement,
    asked: tuple[Demand, ...],
    key: str,
    approved: list[ApprovalStatus],
    seen: Reference | None,
) -> None:
    waivers = waiver_refs(asked)
    if waivers:
        o.wait(min(one.expires_at for one in waivers) - s.now)
    policies = refs(s.policies, s.job.metadata.labels)
    o.gate = GateStatus(
        verdict=judgement.verdict,
        key=key,
        message=judgement.message[:2000],
        warning=judgement.warning or None,
        requirements=list(judgement.requirements),
        policies=policies,
        limits=strictest(s.asking),
        approvals=approved,
        waivers=waivers,
    )
    if o.revision is None or o.known_revision is None:
        return
    before = o.known_revision.status.gate
    gate = GateRecord(
        verdict=judgement.verdict,
        message=o.gate.message,
        judged_at=s.now,
        policies=policies,
        approvals=approved,
        waivers=waivers,
        reference=seen,
    )
    if before is not None and before == gate.model_copy(update={"judged_at": before.judged_at}):
        return
    same = before is not None and (before.verdict, before.message) == (o.gate.verdict, o.gate.message)
    judged_at = before.judged_at if before is not None and same else s.now  # the order of candidates goes by it
    gate = gate.model_copy(update={"judged_at": judged_at})
    o.records.append(
        StatusWrite(
            api_version=API_VERSION,
            kind="ModelRevision",
            namespace=s.job.metadata.namespace,
            name=o.revision,
            status=ModelRevisionStatus(gate=gate).manifest(),
            manager=names.FIELD_MANAGER_GATE,
            expect=o.known_revision.metadata.resource_version,
        )
    )


def _asked(d: Demand) -> list[object]:
    """All that a verdict on this demand depends on, besides the measurement."""
    without = [d.waiver.metadata.name] if d.waiver is not None else []
    return [d.source, d.suite, d.asked.manifest(), d.enforced, d.pass_percent, d.warn_percent, d.least, *without]
