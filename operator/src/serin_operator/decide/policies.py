"""ClusterEvalPolicies as both loops use them: which of them hold for whom, and the strictest of their limits. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from serin_operator.api.v1alpha1 import (
    CanaryStep,
    ClusterEvalPolicy,
    EvalWaiver,
    LabelExpression,
    LabelOperator,
    LabelSelector,
    Limits,
    ModelService,
    PolicyMode,
    PolicyRef,
    WaiverRef,
)
from serin_operator.decide.steps import hold_seconds


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A policy that may concern this namespace and cannot be gone by: nothing is let through while it is there."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Policies:
    """Those that select a namespace, those of which nobody can say, and what is waived in it."""

    found: tuple[ClusterEvalPolicy, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    waivers: tuple[EvalWaiver, ...] = ()  # expired ones as well


NO_POLICIES = Policies()


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors"""
    named = all(labels.get(key) == value for key, value in selector.match_labels.items())
    return named and all(_holds(expression, labels) for expression in selector.match_expressions)


def _holds(expression: LabelExpression, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression.key), expression.values or []
    match expression.operator:
        case LabelOperator.IN:
            return value in values
        case LabelOperator.NOT_IN:
            return value not in values
        case LabelOperator.EXISTS:
            return value is not None
        case LabelOperator.DOES_NOT_EXIST:
            return value is None


def of_job(policies: Iterable[ClusterEvalPolicy], labels: Mapping[str, str]) -> tuple[ClusterEvalPolicy, ...]:
    """Of the namespace's policies, those that select a job with these labels."""
    return tuple(policy for policy in policies if matches(policy.spec.job_selector, labels))


def refs(policies: Iterable[ClusterEvalPolicy], labels: Mapping[str, str]) -> list[PolicyRef]:
    """The namespace's policies as they are now, to be written down beside a verdict."""
    return [
        PolicyRef(
            name=policy.metadata.name,
            uid=policy.metadata.uid,
            generation=policy.metadata.generation,
            mode=policy.spec.mode,
            selected=matches(policy.spec.job_selector, labels),
        )
        for policy in sorted(policies, key=lambda one: one.metadata.name)
    ]


def changed_since(recorded: Iterable[PolicyRef], policies: Iterable[ClusterEvalPolicy]) -> list[str]:
    """Names of enforced policies that came, went or changed since a verdict was written down."""
    then = {(ref.name, ref.uid, ref.generation) for ref in recorded if ref.mode is PolicyMode.ENFORCE}
    now = {
        (policy.metadata.name, policy.metadata.uid, policy.metadata.generation)
        for policy in policies
        if policy.spec.mode is PolicyMode.ENFORCE
    }
    return sorted({name for name, _, _ in then ^ now})


# --- waivers ------------------------------------------------------------------------------------------------------


def of_namespace(waivers: Iterable[EvalWaiver], namespace: str) -> tuple[EvalWaiver, ...]:
    """Those for a namespace; one that is being deleted lifts nothing any more."""
    return tuple(w for w in waivers if namespace in w.spec.namespaces and w.metadata.deletion_timestamp is None)


def of_named_job(waivers: Iterable[EvalWaiver], job: str) -> tuple[EvalWaiver, ...]:
    return tuple(w for w in waivers if w.spec.jobs is None or job in w.spec.jobs)


def in_force(waiver: EvalWaiver, now: datetime) -> bool:
    return now < waiver.spec.expires_at


def waiver_ref(waiver: EvalWaiver, lifted: Iterable[str]) -> WaiverRef:
    """The waiver as it is now, to be written down beside a verdict."""
    return WaiverRef(
        name=waiver.metadata.name,
        uid=waiver.metadata.uid,
        generation=waiver.metadata.generation,
        policy=waiver.spec.policy_ref.name,
        requirements=list(lifted),
        owner=waiver.spec.owner,
        reason=waiver.spec.reason,
        expires_at=waiver.spec.expires_at,
    )


def no_longer_waived(recorded: Iterable[WaiverRef], waivers: Iterable[EvalWaiver], now: datetime) -> str:
    """Which waiver that a verdict leans on holds no more, and why; empty when all do."""
    there = {(w.metadata.name, w.metadata.uid, w.metadata.generation) for w in waivers}
    for ref in recorded:
        if now >= ref.expires_at:
            return f"{ref.name} expired at {ref.expires_at:%Y-%m-%d %H:%M:%S} UTC"
        if (ref.name, ref.uid, ref.generation) not in there:
            return f"{ref.name} was changed or taken back"
    return ""


# --- limits -------------------------------------------------------------------------------------------------------


def _enforced(policies: Iterable[ClusterEvalPolicy]) -> list[tuple[str, Limits]]:
    return [
        (policy.metadata.name, policy.spec.limits)
        for policy in policies
        if policy.spec.mode is PolicyMode.ENFORCE and policy.spec.limits is not None
    ]


def strictest(policies: Iterable[ClusterEvalPolicy]) -> Limits | None:
    """The highest of the floors, the lowest of the ceilings; base models must be allowed by each, so they stay apart."""
    limits = [limit for _, limit in _enforced(policies)]
    if not limits:
        return None
    return Limits(
        min_examples=max(_given(limit.min_examples for limit in limits), default=None),
        max_canary_step_percent=min(_given(limit.max_canary_step_percent for limit in limits), default=None),
        min_step_seconds=max(_given(limit.min_step_seconds for limit in limits), default=None),
        min_bake_seconds=max(_given(limit.min_bake_seconds for limit in limits), default=None),
    )


def _given(values: Iterable[int | None]) -> list[int]:
    return [value for value in values if value is not None]


def asker(policies: Iterable[ClusterEvalPolicy], examples: int) -> str:
    """The policy whose floor of examples this is."""
    return next(name for name, limit in _enforced(policies) if limit.min_examples == examples)


def forbidding(policies: Iterable[ClusterEvalPolicy], base_model: str) -> tuple[str, Sequence[str]] | None:
    """The first policy that does not allow this base model, with what it allows."""
    for name, limit in _enforced(policies):
        allowed = limit.allowed_base_models
        if allowed is not None and not any(_begins(base_model, prefix) for prefix in allowed):
            return name, allowed
    return None


def _begins(uri: str, prefix: str) -> bool:
    """Whole words only: hf://team allows hf://team/model and not hf://team-of-others/model."""
    whole = prefix.rstrip("/")
    return uri == whole or uri.startswith((f"{whole}/", f"{whole}@"))


def bounded(service: ModelService, limits: Limits | None) -> ModelService:
    """The service as its policies let it be: more and smaller steps, longer holds and a longer bake where they ask so."""
    if limits is None:
        return service
    canary = service.spec.canary
    steps = [
        _held(step, limits.min_step_seconds or 0) if step.weight_percent is not None else step
        for step in gradual(canary.steps, limits.max_canary_step_percent or 100)
    ]
    bake = max(canary.bake_seconds, limits.min_bake_seconds or 0)
    spec = service.spec.model_copy(update={"canary": canary.model_copy(update={"steps": steps, "bake_seconds": bake})})
    return service.model_copy(update={"spec": spec})


def _held(step: CanaryStep, least: int) -> CanaryStep:
    """Held for at least so long; what it may take at most grows with it, or it could never end."""
    hold = max(hold_seconds(step), least)
    most = step.max_duration_seconds
    longer = most + hold - hold_seconds(step) if most is not None else None
    return step.model_copy(update={"hold_seconds": hold, "max_duration_seconds": longer})


def gradual(steps: Iterable[CanaryStep], most: int) -> list[CanaryStep]:
    """The same way in strides of at most `most` percentage points; what is put between holds as long as the next step."""
    found: list[CanaryStep] = []
    at = 0
    for step in steps:
        share = at if step.weight_percent is None else step.weight_percent
        while share - at > most:
            at += most
            found.append(step.model_copy(update={"weight_percent": at}))
        found.append(step)
        at = share
    return found
