"""One look at a FineTuneJob: walk the stages in order until one is not done, then say so.

The walk collects an `Outlook`; `status.py` turns it into conditions, a state and a sentence. Nothing is remembered
between looks: what was done is in the journal (`status.stages`), in ModelRevisions and in the Jobs themselves.
"""

from serin_operator.api.contract import (
    ConsolidateOutput,
    EvaluateOutput,
    PrepareOutput,
    RoleModel,
    TrainOutput,
)
from serin_operator.api.v1alpha1 import (
    API_VERSION,
    EvalGate,
    GateRecord,
    GateStatus,
    ModelRevision,
    ModelRevisionStatus,
    StageName,
    StageOutcome,
    StageStatus,
    Verdict,
)
from serin_operator.decide.decision import Create, Decision, StatusWrite
from serin_operator.decide.job import record
from serin_operator.decide.job.demands import Demand, asked_suites, demands, wanted_comparisons, wanted_scores
from serin_operator.decide.job.gates import Judgement, judge
from serin_operator.decide.job.outlook import Outlook
from serin_operator.decide.job.plans import (
    Candidate,
    consolidate_plan,
    evaluate_plan,
    prepare_plan,
    train_plan,
)
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
    wanted = retried(s)
    outlook = Outlook(missing=missing(wanted))
    _walk(wanted, outlook)
    return job_decision(wanted, outlook, stored=s.job.status)


def _walk(s: JobSnapshot, o: Outlook) -> None:
    if o.missing is not None:
        o.wait(poll_missing(s))
    prepared = _prepare(s, o)
    if prepared is None:
        return
    candidate = _model(s, o, prepared)
    if candidate is None:
        return
    o.model_digest = candidate.digest
    _register(s, o, candidate, prepared)
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
    earlier = record.made_before(s.revisions, trained)
    if earlier is not None and not _journal_has(s, StageName.CONSOLIDATE, model_key(trained)):
        o.reused = earlier.metadata.name
        return Candidate(earlier.spec.artifact.uri, earlier.spec.artifact.digest)
    training = _take(s, o, train_plan(s, prepared))
    if training is None:
        return None
    checkpoint = TrainOutput.model_validate(training.entry.output).checkpoint_uri
    entries = [found.entry for found in o.steps]
    merged = _take(s, o, consolidate_plan(s, prepared, checkpoint, entries))
    if merged is None:
        return None
    model = ConsolidateOutput.model_validate(merged.entry.output)
    return Candidate(model.model_uri, model.digest)


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
    asked = demands(gates, s.asking)
    comparisons = wanted_comparisons(asked, first_deployment=incumbent is None)
    roles = [RoleModel(role="Candidate", uri=candidate.uri, digest=candidate.digest)]
    opponents = {comparison.against for comparison in comparisons}
    if "Base" in opponents:
        roles.append(RoleModel(role="Base", uri=s.job.spec.base_model.uri, digest=prepared.base_model_digest))
    if "Incumbent" in opponents and incumbent is not None:
        artifact = incumbent.spec.artifact
        roles.append(RoleModel(role="Incumbent", uri=artifact.uri, digest=artifact.digest))
    measured, evaluation = EvaluateOutput(report_uri=""), ""
    suites = asked_suites(gates, s.asking)
    if suites:
        done = _take(s, o, evaluate_plan(s, suites, tuple(roles), comparisons, wanted_scores(asked)))
        if done is None:
            return
        measured, evaluation = EvaluateOutput.model_validate(done.entry.output), done.entry.key
    elif not asked:
        return
    judgement = judge(asked, measured, first_deployment=incumbent is None)
    if o.missing is not None and o.missing.stops:
        judgement = Judgement(Verdict.ERROR, o.missing.message, judgement.requirements)
    _record_verdict(s, o, judgement, asked, evaluation)


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
    s: JobSnapshot, o: Outlook, judgement: Judgement, asked: tuple[Demand, ...], evaluation: str
) -> None:
    key = key_of("gate", evaluation, [_asked(d) for d in asked])
    policies = refs(s.policies, s.job.metadata.labels)
    o.gate = GateStatus(
        verdict=judgement.verdict,
        key=key,
        message=judgement.message[:2000],
        warning=judgement.warning or None,
        requirements=list(judgement.requirements),
        policies=policies,
        limits=strictest(s.asking),
    )
    if o.revision is None or o.known_revision is None:
        return
    before = o.known_revision.status.gate
    if before is not None and (before.verdict, before.message, before.policies) == (
        o.gate.verdict,
        o.gate.message,
        policies,
    ):
        return
    same = before is not None and (before.verdict, before.message) == (o.gate.verdict, o.gate.message)
    judged_at = before.judged_at if before is not None and same else s.now  # the order of candidates goes by it
    gate = GateRecord(verdict=judgement.verdict, message=o.gate.message, judged_at=judged_at, policies=policies)
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
    return [d.source, d.suite, d.asked.manifest(), d.enforced, d.pass_percent, d.warn_percent, d.least]
