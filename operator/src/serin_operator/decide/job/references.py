"""Does everything that the job names exist? Checked before any pod starts, so that no GPU waits for a typing error."""

from dataclasses import dataclass

from serin_operator.api.v1alpha1 import FineTuneJobSpec
from serin_operator.decide.job.demands import asked_suites, contradiction, demands, suite_given_twice
from serin_operator.decide.job.snapshot import JobSnapshot
from serin_operator.decide.policies import forbidding
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
        or _missing_service(s)
    )


def suite_uris(s: JobSnapshot) -> tuple[str, ...]:
    """Addresses of the data sets of all gates that exist, and of the policies."""
    return tuple(one.suite.dataset.uri for one in asked_suites((s.gates or {}).values(), s.asking))


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
    clash = contradiction(demands(gates, s.asking))
    if clash is not None:
        floor, ceiling = clash
        return Missing(
            "GatesContradict",
            f"{floor.name} of {floor.source} asks for {floor.what} of at least {floor.asked.min}, and {ceiling.name} of"
            f" {ceiling.source} for at most {ceiling.asked.max}: no model can meet both; correct one of them, and the"
            " job goes on by itself",
        )
    return None


def _missing_service(s: JobSnapshot) -> Missing | None:
    rollout = s.job.spec.rollout
    if rollout is None or s.service is not None:
        return None
    return Missing(
        "ModelServiceNotFound",
        f"spec.rollout.modelServiceRef names the ModelService {rollout.model_service_ref.name!r}, which does not exist"
        f" in namespace {s.job.metadata.namespace!r}; apply it or correct the name, and the job goes on by itself",
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
