"""A write that the apiserver refused, as a fact of the next look: which condition it is, and what helps.

Nobody remembers it for long: the write is tried again, and the first look after it was accepted says so.
"""

from dataclasses import dataclass
from typing import Final

from serin_operator.decide.conditions import Finding, false, true

CONDITION: Final = "WritesAccepted"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to one write: on what, with which HTTP status, and the apiserver's own sentence."""

    kind: str
    name: str
    code: int
    said: str


@dataclass(frozen=True, slots=True)
class _Cause:
    """`marks`: words of the apiserver by which the cause is known."""

    reason: str
    marks: tuple[str, ...]
    advice: str


# The first that matches wins: what admission says stands within sentences of more general kinds.
_CAUSES: Final = (
    _Cause("NamespaceTerminating", ("is being terminated",), "nothing is created in a namespace that goes away"),
    _Cause(
        "QuotaExceeded",
        ("exceeded quota", "failed quota"),
        "raise the ResourceQuota of the namespace, or remove what is not needed there",
    ),
    _Cause(
        "PodSecurityViolated",
        ("violates PodSecurity",),
        "Serin's own pods pass `restricted`: look at what was changed in them, and by whom",
    ),
    _Cause(
        "AdmissionDenied",
        ("ValidatingAdmissionPolicy", "admission webhook", "denied the request"),
        "ask whoever runs the policy it names to let it pass",
    ),
    _Cause(
        "NotAuthorized",
        ("cannot create resource", "cannot patch resource", "cannot delete resource"),
        "grant it to the operator's ServiceAccount (Serin's chart does)",
    ),
)
_INVALID: Final = _Cause("Invalid", (), "correct the field that it names")
_NOT_INSTALLED: Final = _Cause("KindNotServed", (), "install what serves this kind in the cluster")
_OTHER: Final = _Cause("Refused", (), "do what it asks for")


def refusal_finding(refusal: Refusal | None) -> Finding:
    """The condition: true as long as nothing was refused."""
    if refusal is None:
        return true(CONDITION, "AllAccepted")
    return false(CONDITION, _cause(refusal).reason, sentence(refusal))


def sentence(refusal: Refusal) -> str:
    """What was refused, why, what helps, and that it is tried again."""
    said = refusal.said.rstrip(". \n")
    return f"{refusal.kind} {refusal.name} was refused: {said}; {_cause(refusal).advice}; it is tried again by itself"


def _cause(refusal: Refusal) -> _Cause:
    for cause in _CAUSES:
        if any(mark in refusal.said for mark in cause.marks):
            return cause
    if refusal.code in (400, 413, 422):
        return _INVALID
    return _NOT_INSTALLED if refusal.code == 404 else _OTHER
