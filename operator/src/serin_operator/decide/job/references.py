"""Does everything that the job names exist? Checked before any pod starts, so that no GPU waits for a typing error."""

from collections.abc import Iterable
from dataclasses import dataclass

from serin_operator.api.v1alpha1 import ClusterEvalPolicy, EvalGate, FineTuneJobSpec
from serin_operator.decide.job.demands import asked_suites, contradiction, demands, suite_given_twice, waived
from serin_operator.decide.job.snapshot import JobSnapshot
from serin_operator.decide.policies import forbidding
from serin_operator.manifests.engines import WITH_ADAPTERS
from serin_operator.manifests.volumes import claim_of


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that is named and not there, with the field, and what to do."""

    reason: str
    message: str
    stops: bool = False  # also a model that was measured already may not go on


def needed_claims(spec: FineTuneJobSpec, gate_uris: tuple[str, ...] = ()) -> dict[str, str]:
    """Claims by name, each with the field that names it first."""
    named = [("spec.baseModel.uri", spec.base_model.uri)]
    parts = (("train", spec.data.train), ("validation", spec.data.validation), ("test", spec.data.test))
    named += [(f"spec.data.{part}[{source.name}].uri", source.uri) for part, files in parts for source in files]
    named += [("spec.artifacts.uri", spec.artifacts.uri)]
    named += [(f"spec.ratings[{one.suite}].uri", one.uri) for one in spec.ratings]
    named += [("a gate's or policy's suite", uri) for uri in gate_uris]
    found: dict[str, str] = {}
    for field, uri in named:
        claim = claim_of(uri)
        if claim is not None:
            found.setdefault(claim, field)
    return found


def missing(s: JobSnapshot) -> Missing | None:
    """The first reference that does not resolve; None when all do."""
    return (
        _unreadable_policy(s)
        or _forbidden_base_model(s)
        or _missing_claim(s)
        or _missing_gate(s)
        or _clashing_gates(s)
        or _measured_by_nothing(s)
        or _ratings_of_nothing(s)
        or _missing_service(s)
        or _served_by_others(s)
    )


def suite_uris(s: JobSnapshot) -> tuple[str, ...]:
    """Addresses that the suites of all gates that exist, and of the policies, are measured with."""
    return uris_asked((s.gates or {}).values(), s.asking)


def uris_asked(gates: Iterable[EvalGate], policies: Iterable[ClusterEvalPolicy]) -> tuple[str, ...]:
    """The same, of the gates and policies themselves: whose claims are looked for goes by it."""
    asked = asked_suites(gates, policies)
    return (
        *(uri for one in asked for uri in one.suite.uris()),
        *(c.uri for one in asked for c in one.suite.classifiers or ()),
    )


def _missing_claim(s: JobSnapshot) -> Missing | None:
    for claim, field in needed_claims(s.job.spec, suite_uris(s)).items():
        if claim not in s.claims:
            return Missing(
                "PersistentVolumeClaimNotFound",
                f"{field} names the PersistentVolumeClaim {claim!r}, which does not exist in namespace"
                f" {s.job.metadata.namespace!r}; create it or correct the uri, and the job goes on by itself",
            )
    return None


def _missing_gate(s: JobSnapshot) -> Missing | None:
    gates = s.gates or {}
    for ref in s.job.spec.gates:
        if ref.name not in gates:
            return Missing(
                "EvalGateNotFound",
                f"spec.gates names the EvalGate {ref.name!r}, which does not exist in namespace"
                f" {s.job.metadata.namespace!r}; apply it or correct the name, and the job goes on by itself",
            )
    return None


def _clashing_gates(s: JobSnapshot) -> Missing | None:
    """Gates that no model can pass together, or that cannot be measured together."""
    gates = [found for ref in s.job.spec.gates if (found := (s.gates or {}).get(ref.name)) is not None]
    twice = suite_given_twice(gates)
    if twice is not None:
        suite, one, other = twice
        return Missing(
            "SuiteGivenTwice",
            f"the EvalGates {one!r} and {other!r} both have a suite {suite!r}, so their scores could not be told apart;"
            " rename one of them, and the job goes on by itself",
        )
    clash = contradiction(waived(demands(gates, s.asking), s.waiving, s.now))
    if clash is not None:
        floor, ceiling = clash
        return Missing(
            "GatesContradict",
            f"{floor.name} of {floor.source} asks for {floor.what} of at least {floor.asked.min}, and {ceiling.name} of"
            f" {ceiling.source} for at most {ceiling.asked.max}: no model can meet both; correct one of them, and the"
            " job goes on by itself",
        )
    return None


def _measured_by_nothing(s: JobSnapshot) -> Missing | None:
    """A policy's requirement that would hold the model after all the training: there is nothing to judge it by. A job
    that rolls nothing out may train all the same."""
    if s.job.spec.rollout is None:
        return None
    gates = [found for ref in s.job.spec.gates if (found := (s.gates or {}).get(ref.name)) is not None]
    asked = waived(demands(gates, s.asking), s.waiving, s.now)
    found = next((one for one in asked if one.counts and not one.suite), None)
    if found is None:
        return None
    by, part = (f" by {found.slice.field}", " and the field to its slices") if found.slice is not None else ("", "")
    return Missing(
        "RequirementOfNothing",
        f"{found.name} of {found.source} asks for {found.metric.value}, which no suite of the job's gates or of the policy"
        f" measures{by}; add the metric to spec.suites[].metrics of an EvalGate that spec.gates names{part}, and the job goes"
        " on by itself",
    )


def _ratings_of_nothing(s: JobSnapshot) -> Missing | None:
    """Ratings that nobody would read."""
    gates = [found for ref in s.job.spec.gates if (found := (s.gates or {}).get(ref.name)) is not None]
    rateable = {one.name for one in asked_suites(gates, s.asking) if one.suite.preference is not None}
    stray = next((one.suite for one in s.job.spec.ratings if one.suite not in rateable), None)
    if stray is None:
        return None
    known = f"; those with one are {', '.join(sorted(rateable))}" if rateable else ""
    return Missing(
        "RatingsOfNothing",
        f"spec.ratings names the suite {stray!r}, and no gate of the job has a suite of that name with a preference{known};"
        " correct or remove it, and the job goes on by itself",
    )


def _missing_service(s: JobSnapshot) -> Missing | None:
    rollout = s.job.spec.rollout
    if rollout is None or s.service is not None:
        return None
    return Missing(
        "ModelServiceNotFound",
        f"spec.rollout.modelServiceRef names the ModelService {rollout.model_service_ref.name!r}, which does not exist"
        f" in namespace {s.job.metadata.namespace!r}; apply it or correct the name, and the job goes on by itself",
    )


def _served_by_others(s: JobSnapshot) -> Missing | None:
    """Told before anything trains: the service's engine could not serve what comes out."""
    if not s.job.spec.method.kept or s.service is None or s.service.spec.runtime.engine in WITH_ADAPTERS:
        return None
    merged = "leave" if s.job.spec.method.prompts else "set spec.method.adapter: Merged, or leave"
    meta, engine = s.service.metadata, s.service.spec.runtime.engine.value
    return Missing(
        "AdapterNotServed",
        f"spec.method keeps the adapter, and the engine {engine} of the ModelService {meta.name!r} is given merged models"
        f" only; {merged} spec.rollout out and serve the adapter yourself",
    )


def _unreadable_policy(s: JobSnapshot) -> Missing | None:
    if not s.unreadable_policies:
        return None
    policy = s.unreadable_policies[0]
    return Missing(
        "PolicyUnreadable",
        f"the ClusterEvalPolicy {policy.name!r} {policy.why}, so no model is let through; ask the platform team to correct"
        " it, to finish its deletion or to upgrade the operator",
        stops=True,
    )


def _forbidden_base_model(s: JobSnapshot) -> Missing | None:
    uri = s.job.spec.base_model.uri
    found = forbidding(s.asking, uri)
    if found is None:
        return None
    policy, allowed = found
    return Missing(
        "BaseModelNotAllowed",
        f"spec.baseModel.uri is {uri}, and the ClusterEvalPolicy {policy!r} allows only what begins with"
        f" {', '.join(allowed)}; name another model, or ask the platform team",
        stops=True,
    )
