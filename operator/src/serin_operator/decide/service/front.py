"""Traffic without a gateway: one Service of the ModelService's name, and the numbers of pods behind it.

Its selector is the switch, and one write moves it: to the pods of one revision, or to all pods of this service. All means all, so
it is set only while nobody but stable and candidate has pods, and no third revision is started until it is read back as moved
away. What is written never gives the candidate more than its step: the stable's pods come first and go last, the candidate's
the other way round. Not here: which numbers (ratio.py), and who deserves what (canary.py).
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from serin_operator.api.v1alpha1 import CandidateStatus, ReplicaRatioStatus
from serin_operator.decide.decision import Action, Apply
from serin_operator.decide.service import facts, ratio
from serin_operator.decide.service.plan import IDLE, SOON, Plan
from serin_operator.decide.service.ratio import Split
from serin_operator.decide.service.snapshot import ServiceSnapshot
from serin_operator.manifests import names
from serin_operator.manifests.drift import covers
from serin_operator.manifests.front import EVERYBODY, front_service

LOOKED_AT: Final = timedelta(seconds=10)
"""How often the Service is looked at when nothing moves: no watch tells of it."""


def again_in(s: ServiceSnapshot, plan: Plan) -> timedelta:
    if not ratio.by_pods(s):
        return IDLE
    return SOON if any(not may_start(s, plan, name) for name in _new(s, plan)) else LOOKED_AT


# --- the Service --------------------------------------------------------------------------------------------------


def applies(s: ServiceSnapshot, plan: Plan) -> list[Action]:
    """The Service, when it is not as it should be."""
    if not ratio.by_pods(s) or (s.route is not None and not s.route.ours):
        return []
    selects = selected(s, plan)
    if not selects:
        return []
    wish, front = front_service(s.service, selects), ratio.front_of(s)
    if front is not None and front.selects == selects and covers(front.says, wish["spec"]):
        return []
    version = s.route.resource_version if s.route is not None else None
    return [Apply(wish, names.FIELD_MANAGER_TRAFFIC, expect=version)]


def selected(s: ServiceSnapshot, plan: Plan) -> str:
    """Whom it is to select after this look; empty: there is nobody to send anybody to."""
    front = ratio.front_of(s)
    now = front.selects if front is not None else ""
    receiving = [revision for revision, weight in (plan.weights or {}).items() if weight]
    if not receiving:
        return now
    if len(receiving) == 1:
        (only,) = receiving
        if only == now or not _is_candidate(plan, only) or _may_take_over(s, only):
            return only
    elif _fit_for_both(s, plan):
        return EVERYBODY
    if now == EVERYBODY and not ratio.strangers(s):
        return now  # its pods are on their way to the numbers of the step
    return s.stable.revision if s.stable is not None and facts.stable_answers(s) else now


def _is_candidate(plan: Plan, name: str) -> bool:
    return plan.candidate is not None and plan.candidate.revision == name


def _may_take_over(s: ServiceSnapshot, name: str) -> bool:
    """The candidate gets everything: it has the pods for it, or nobody else answers."""
    view = s.serving(name)
    if view is None or not view.answers:
        return False
    return facts.stable_silent(s) or (view.complete and view.ready >= ratio.full(s))


def _fit_for_both(s: ServiceSnapshot, plan: Plan) -> bool:
    """With all pods selected the candidate would have no more than its step's share, and nobody else any."""
    split = _split(s, plan.candidate)
    if split is None or split.alone or plan.candidate is None or s.stable is None or ratio.strangers(s):
        return False
    stable, candidate, front = s.serving(s.stable.revision), s.serving(plan.candidate.revision), ratio.front_of(s)
    if stable is None or candidate is None or front is None:
        return False
    pods = max(candidate.wanted, candidate.ready, front.pods.get(plan.candidate.revision, 0))
    return stable.answers and candidate.complete and stable.ready >= split.stable and pods == split.candidate


# --- the pods -----------------------------------------------------------------------------------------------------


def _split(s: ServiceSnapshot, candidate: CandidateStatus | None) -> Split | None:
    """The pods of the step that a candidate is in, or is about to begin."""
    if candidate is None:
        return None
    if facts.stable_lost(s):
        return Split(ratio.full(s), ratio.full(s), alone=True)
    found = ratio.splits(s)
    return found[max(min(candidate.step, len(found)), 1) - 1]


def replicas(s: ServiceSnapshot, plan: Plan, name: str) -> int | None:
    """How many pods a revision is to have after this look; None: as many as the service says."""
    if not ratio.by_pods(s) or plan.stable is None:
        return None
    had, full, candidate = ratio.wanted(s, name), ratio.full(s), plan.candidate
    split = _split(s, candidate) or Split(full, 1 if candidate is not None else 0)
    if name == plan.stable.revision:
        moving = selected(s, plan) != EVERYBODY or _beside_the_stable(s) > split.candidate
        if ratio.open_to_all(s) and split.stable < had and moving:
            return had  # fewer of them would be a larger share for the others
        return split.stable
    if candidate is None or name != candidate.revision:
        return full  # kept ready to take over, or being started for it
    if split.alone and ratio.open_to_all(s):
        return max(had, full)  # fewer of them come when it has everything
    stable = s.serving(plan.stable.revision)
    behind = stable is None or stable.ready < split.stable
    if ratio.open_to_all(s) and 0 < had < split.candidate and behind and not facts.stable_lost(s):
        return had  # the stable's come first
    return split.candidate


def _beside_the_stable(s: ServiceSnapshot) -> int:
    front, stable = ratio.front_of(s), s.stable.revision if s.stable is not None else ""
    there: Mapping[str, int] = front.pods if front is not None else {}
    counts = {name: max(view.wanted, there.get(name, 0)) for name, view in s.servings.items()}
    return sum(number for name, number in {**there, **counts}.items() if name != stable)


def may_start(s: ServiceSnapshot, plan: Plan, name: str) -> bool:
    """While all pods are selected nobody who is not in a step: it would get requests as soon as it is ready."""
    if not ratio.by_pods(s) or not ratio.open_to_all(s):
        return True
    if s.candidate is not None and s.candidate.revision == name:
        return s.candidate.step > 0
    return s.stable is not None and s.stable.revision == name


def _new(s: ServiceSnapshot, plan: Plan) -> list[str]:
    named = [plan.candidate.revision if plan.candidate is not None else "", plan.deploy]
    back = plan.rollback.revision if plan.rollback is not None else ""
    return [name for name in (*named, back) if name and s.serving(name) is None]


# --- what is told -------------------------------------------------------------------------------------------------


def told(s: ServiceSnapshot, plan: Plan) -> ReplicaRatioStatus | None:
    """What the ready pods give the candidate, while it is in its steps."""
    if not ratio.by_pods(s) or plan.candidate is None or plan.candidate.step == 0 or plan.stable is None:
        return None
    front = ratio.front_of(s)
    ready: Mapping[str, int] = front.ready if front is not None else {}
    stable, candidate = ready.get(plan.stable.revision, 0), ready.get(plan.candidate.revision, 0)
    asked = facts.percent_of(s, facts.steps(s)[min(plan.candidate.step, len(facts.steps(s))) - 1])
    return ReplicaRatioStatus(
        asked_percent=asked,
        given_percent=_tenths(candidate, stable + candidate),
        candidate_pods=candidate,
        stable_pods=stable,
        message=_sentence(s, asked, stable, candidate),
    )


def _tenths(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}".removesuffix(".0") if whole else "0"


def _sentence(s: ServiceSnapshot, asked: int, stable: int, candidate: int) -> str:
    together, given = stable + candidate, _tenths(candidate, stable + candidate)
    said = f"asked {asked} percent; {candidate} of {together} ready pods {_are(candidate)} the candidate's, so about {given} percent"
    if not together or 100 * candidate == asked * together:
        return said
    split = facts.split_of(s)
    if 100 * candidate > asked * together:
        exchanged = split is not None and candidate > split.candidate
        why = "pods of the candidate are on their way out" if exchanged else "pods of the stable are missing"
        return f"{said}, more than asked: {why}"
    if asked >= 100 or split is None or (split.stable, split.candidate) != (stable, candidate):
        return said
    return f"{said}: exactly {asked} percent needs {ratio.exact(s, asked)} pods (spec.traffic.maxReplicas is {ratio.most(s)})"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def share(s: ServiceSnapshot, percent: int) -> str:
    """For the line that a person watches."""
    front = ratio.front_of(s)
    if front is None or s.stable is None or s.candidate is None:
        return f"{percent} percent"
    stable, candidate = front.ready.get(s.stable.revision, 0), front.ready.get(s.candidate.revision, 0)
    given = _tenths(candidate, stable + candidate)
    return f"about {given} percent ({candidate} of {stable + candidate} ready pods; asked {percent})"


def awaited(s: ServiceSnapshot) -> str:
    """What the running step waits for, before its share counts."""
    split, others = facts.split_of(s), ratio.strangers(s)
    if s.route is not None and s.route.problem:
        return s.route.problem
    if split is None or s.stable is None or s.candidate is None:
        return f"waiting until the endpoints of Service {s.service.metadata.name} show it"
    if others and not split.alone:
        return f"waiting until the pods of {', '.join(others)} are gone, since the Service selects all pods of this service"
    numbers = ((s.stable.revision, split.stable), (s.candidate.revision, split.candidate))
    due = [(name, number, s.serving(name)) for name, number in numbers]
    missing = [
        f"{view.ready if view is not None else 0} of {number} pods of {name} are ready{_trouble(view.trouble if view is not None else '')}"
        for name, number, view in due
        if view is None or view.ready != number
    ]
    if missing:
        return f"waiting: {', '.join(missing)}"
    return f"waiting until the endpoints of Service {s.service.metadata.name} show it"


def _trouble(text: str) -> str:
    return f" ({text})" if text else ""
