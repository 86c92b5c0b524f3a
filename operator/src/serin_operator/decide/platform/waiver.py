"""The status of an EvalWaiver: what it lifts and until when, or why it lifts nothing, and who leaned on it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from serin_operator.api.v1alpha1 import EvalWaiver, EvalWaiverStatus, WaiverState, WaiverUse
from serin_operator.decide.conditions import Finding, false, merged, true
from serin_operator.decide.platform.policy import selected_namespaces
from serin_operator.decide.platform.snapshot import PlatformSnapshot, PolicyView, WaiverView
from serin_operator.decide.policies import in_force

KEPT: Final = 10  # uses that are told
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


def waiver_status(s: PlatformSnapshot, view: WaiverView) -> EvalWaiverStatus:
    uses = _last(view.uses, view.status.last_uses)
    lifts, finding = _finding(s, view)
    return EvalWaiverStatus(
        observed_generation=view.meta.generation,
        state=_state(s.now, view, lifts, uses).value,
        conditions=merged(view.status.conditions, [finding], view.meta.generation, s.now),
        jobs=len(view.uses),
        last_uses=uses,
    )


def _last(now: Iterable[WaiverUse], before: Iterable[WaiverUse]) -> list[WaiverUse]:
    """The newest, those of jobs that are gone with them. They are in order by times that do not change, so that the same
    world gives the same list."""
    found = {(use.namespace, use.job, use.revision): use for use in (*before, *now)}
    newest = sorted(found.values(), key=lambda use: (use.namespace, use.job, use.revision or ""))
    newest.sort(key=lambda use: use.since or _LONG_AGO, reverse=True)
    return newest[:KEPT]


def _state(now: datetime, view: WaiverView, lifts: bool, uses: list[WaiverUse]) -> WaiverState:
    if view.waiver is not None and not in_force(view.waiver, now):
        return WaiverState.EXPIRED
    if not lifts:
        return WaiverState.INEFFECTIVE
    return WaiverState.ACTIVE if uses else WaiverState.UNUSED


def _finding(s: PlatformSnapshot, view: WaiverView) -> tuple[bool, Finding]:
    """Whether anything can be lifted by it, and what is to be said."""
    waiver = view.waiver
    if waiver is None:
        why = f"this version of Serin does not understand it ({view.problem}), so it lifts nothing: upgrade Serin, or correct it"
        return False, false("Ready", "Unreadable", why)
    name = waiver.spec.policy_ref.name
    if waiver.metadata.deletion_timestamp is not None:
        return False, false("Ready", "BeingDeleted", "it is being deleted and lifts nothing any more")
    if not in_force(waiver, s.now):
        ended = f"it expired at {_time(waiver)}, and {_list(waiver.spec.requirements)} of policy {name} count again"
        return False, false("Ready", "Expired", f"{ended}: delete it, or set a later spec.expiresAt")
    policy = next((one for one in s.policies if one.meta.name == name), None)
    if policy is None:
        return False, false(
            "Ready", "PolicyNotFound", f"there is no ClusterEvalPolicy {name!r}: correct spec.policyRef.name"
        )
    return _of_policy(s, waiver, policy)


def _of_policy(s: PlatformSnapshot, waiver: EvalWaiver, view: PolicyView) -> tuple[bool, Finding]:
    name, policy = view.meta.name, view.policy
    if policy is None:
        why = f"the ClusterEvalPolicy {name!r} cannot be understood, so every model is held and nothing can be lifted"
        return False, false("Ready", "PolicyUnreadable", why)
    known = {requirement.name for requirement in policy.spec.requirements}
    named = waiver.spec.requirements
    if unknown := [one for one in named if one not in known]:
        has = f"it has {_list(sorted(known))}" if known else "it has none"
        why = f"the ClusterEvalPolicy {name!r} has no requirement {_list(unknown)} ({has}): correct spec.requirements"
        return len(unknown) < len(named), false("Ready", "RequirementNotFound", why)
    chosen, wanted = selected_namespaces(s, policy), waiver.spec.namespaces
    if missing := [one for one in wanted if one not in s.namespaces]:
        why = f"there is no namespace {_list(missing)}: correct spec.namespaces, or make it"
        return any(one in chosen for one in wanted), false("Ready", "NamespaceNotFound", why)
    if not any(one in chosen for one in wanted):
        why = f"the ClusterEvalPolicy {name!r} selects none of the namespaces {_list(wanted)}, so there is nothing to lift"
        return False, false("Ready", "NothingToLift", why)
    whose = f"of jobs {_list(waiver.spec.jobs)} in" if waiver.spec.jobs is not None else "in"
    return True, true(
        "Ready",
        "InForce",
        f"{_list(named)} of policy {name} do not count {whose} {_list(wanted)} until {_time(waiver)}",
    )


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def _time(waiver: EvalWaiver) -> str:
    return f"{waiver.spec.expires_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
