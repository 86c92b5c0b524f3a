"""The revision before the new stable, in its bake: kept ready, or stopped until it is needed (`previousRevision: Stopped`).

By what its Deployment is to have now and what answers, never by what was done before, so a look may be lost or repeated. It is
stopped once users are on the new stable and all pods of that are ready, and started when the new one is rejected, or has no
pod left. What was told to stop is let go to its end first: pods that are leaving are counted as ready for a moment, and
traffic would be moved to them. Not here: when traffic moves, which is when it answers (canary.py).
"""

from serin_operator.api.v1alpha1 import PreviousRevision
from serin_operator.decide.service import front
from serin_operator.decide.service.plan import Plan
from serin_operator.decide.service.snapshot import ServiceSnapshot


def replicas(s: ServiceSnapshot, plan: Plan, name: str) -> int | None:
    """How many pods a revision is to have after this look; None: as many as the service says."""
    return 0 if _stopped(s, plan, name) else front.replicas(s, plan, name)


def rests(s: ServiceSnapshot, name: str) -> bool:
    """It is to have no pods now."""
    view = s.serving(name)
    return view is not None and view.wanted == 0


def _stopped(s: ServiceSnapshot, plan: Plan, name: str) -> bool:
    if rests(s, name) and not _gone(s, name):
        return True
    wanted = s.service.spec.canary.previous_revision is PreviousRevision.STOPPED
    if plan.bake is None or plan.bake.previous != name or not wanted:
        return False
    new = s.serving(plan.bake.revision)
    if new is None or rests(s, name):
        return new is not None and new.answers
    return plan.bake.started_at is not None and new.complete


def _gone(s: ServiceSnapshot, name: str) -> bool:
    """Its controller has seen that it is to have none, and none is left."""
    view = s.serving(name)
    return view is not None and view.observed and view.ready == 0
