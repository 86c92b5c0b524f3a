"""Conditions by Kubernetes' API conventions: all from the first visit, times that move only when the status does."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from serin_operator.api.v1alpha1 import Condition, ConditionStatus

MAX_MESSAGE = 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition as found now; when it last changed is worked out from the one before."""

    type: str
    status: ConditionStatus
    reason: str
    message: str = ""


def true(type_: str, reason: str, message: str = "") -> Finding:
    return Finding(type_, ConditionStatus.TRUE, reason, message)


def false(type_: str, reason: str, message: str = "") -> Finding:
    return Finding(type_, ConditionStatus.FALSE, reason, message)


def unknown(type_: str, reason: str, message: str = "") -> Finding:
    return Finding(type_, ConditionStatus.UNKNOWN, reason, message)


def merged(before: Sequence[Condition], found: Iterable[Finding], generation: int, now: datetime) -> list[Condition]:
    """The list to write: `lastTransitionTime` is kept as long as the status stays the same."""
    old = {condition.type: condition for condition in before}
    return [_condition(old.get(finding.type), finding, generation, now) for finding in found]


def _condition(old: Condition | None, finding: Finding, generation: int, now: datetime) -> Condition:
    since = old.last_transition_time if old is not None and old.status is finding.status else now
    return Condition(
        type=finding.type,
        status=finding.status,
        reason=finding.reason,
        message=finding.message[:MAX_MESSAGE],
        last_transition_time=since,
        observed_generation=generation,
    )
