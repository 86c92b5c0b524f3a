"""R6: an operator that wakes up in an older view must not undo what came after it.

B went through its canary and its bake, and the pods of A are gone. In the older view A still serves and B is on its way:
there a rollback, another step, or a retirement would be right.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future

import pytest
from faults.harness import report
from faults.harness.flows import BAD, FLOWS, GOOD, A, B, Flow, b_is_promoted, rollout, weights, with_stable
from faults.harness.sweep import Sweep
from faults.harness.telling import Told
from faults.harness.world import World, passed_revision
from serin_operator.api.kinds import DEPLOYMENT, MODEL_SERVICE

Moment = Callable[[World], object]
STALE_SECONDS = 6.0
PROMOTION = next(flow for flow in FLOWS if flow.name == "promotion")
MOMENTS: dict[str, Moment] = {
    "deploying": lambda w: B in w.names(DEPLOYMENT),
    "first-step": lambda w: weights(w) == {A: 90, B: 10},
    "bake": lambda w: (w.status(MODEL_SERVICE, "bot").get("bake") or {}).get("startedAt"),
    "retiring": lambda w: weights(w) == {B: 100} and A in w.names(DEPLOYMENT) and "promotedAt" in rollout(w, B),
}

WHOLE = pytest.mark.whole_sweep


def back_to(moment: Moment, measured: float) -> Flow:
    """The promotion, and afterwards a while in the view of that moment."""

    def run(w: World) -> None:
        with_stable(w, bakeSeconds=1)
        w.measures(B, GOOD)
        w.begin()
        w.apply(passed_revision("b"))
        w.until(lambda: moment(w), "the moment to go back to")
        view = w.proxy.revision()
        w.until(lambda: b_is_promoted(w), "the promotion")
        w.measures(B, measured)
        w.operator.kill()
        w.note(f"a new operator sees revision {view} for {STALE_SECONDS:g} s")
        w.proxy.freeze_view(view)
        w.operator.start()
        time.sleep(STALE_SECONDS)
        w.note("and the world as it is from now on")
        w.proxy.thaw()

    return Flow("promotion-and-back", run, b_is_promoted)


@pytest.fixture(scope="module")
def told(sweep: Sweep, request: pytest.FixtureRequest) -> dict[tuple[str, float], Future[Told]]:
    asked = [item.callspec.params for item in request.session.items if item.fspath == request.fspath]
    keys = [(one["moment"], one["measured"]) for one in asked]
    return {key: sweep.story(back_to(MOMENTS[key[0]], key[1]), lambda world: None) for key in keys}


@pytest.mark.parametrize("measured", [pytest.param(GOOD, id="good", marks=WHOLE), pytest.param(BAD, id="bad")])
@pytest.mark.parametrize(
    "moment", ["first-step", "bake", *(pytest.param(m, marks=WHOLE) for m in ("deploying", "retiring"))]
)
def test_nothing_is_undone_in_an_older_view(
    moment: str, measured: float, sweep: Sweep, told: dict[tuple[str, float], Future[Told]]
) -> None:
    clean, story = sweep.clean(PROMOTION).result(), told[moment, measured].result()
    violations = story.compared_with(clean)
    report.record("R6 the operator starts into an older view", 1, 1 if violations else 0)
    assert not violations, "\n".join([*violations, story.timeline])
