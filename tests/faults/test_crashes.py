"""R2: the operator is killed before and after every write of every story; each ends as if nothing had been.

`--sweep=full` takes every point, `--sweep=part` (the default) some of each flow, picked by `--seed`.
"""

from __future__ import annotations

import pytest
from faults.harness import report
from faults.harness.flows import FLOWS, Flow
from faults.harness.options import Options
from faults.harness.sweep import SIDES, Point, Sweep, Swept, points_of, some

PART = 2  # points of each flow in a partial sweep


@pytest.fixture(scope="module")
def crashes(sweep: Sweep, options: Options, request: pytest.FixtureRequest) -> dict[str, Swept]:
    """All asked flows side by side, so that the pool is never empty."""

    def chosen(flow: Flow, writes: int) -> list[Point]:
        points = points_of(flow.name, writes)
        if options.point:
            return [point for point in points if str(point) == options.point]
        return points if options.full else some(points, PART, options.seed)

    asked = {item.callspec.params["flow"] for item in request.session.items if item.fspath == request.fspath}
    flows = [flow for flow in FLOWS if flow in asked]
    return {flow.name: sweep.of(flow, chosen, lambda point: SIDES[point.side]) for flow in flows}


@pytest.mark.parametrize("flow", FLOWS, ids=str)
def test_a_crash_at_any_write_changes_nothing(flow: Flow, crashes: dict[str, Swept], options: Options) -> None:
    clean, outcomes = crashes[flow.name].result()
    assert not clean.violations, "\n".join(["without any fault:", *clean.violations, clean.timeline])
    met = [outcome for outcome in outcomes if outcome.met]
    bad = [outcome for outcome in outcomes if outcome.violations]
    worst = max((outcome.recovery_seconds for outcome in met), default=0.0)
    report.record("R2 SIGKILL before and after each write", len(met), len(bad), worst)
    assert not bad, "\n\n".join(outcome.told(options.command) for outcome in bad)
