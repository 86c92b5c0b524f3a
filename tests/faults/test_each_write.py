"""One fault at one write of one story, for every write: it ends as if nothing had been.

R2: SIGKILL before and after the write. R3: the write happens, and the operator is not told so. R6: the operator starts
again into a view of the world as it was a few writes ago.

`--sweep=full` takes every point, `--sweep=part` (the default) some of each flow, picked by `--seed`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from faults.harness import report
from faults.harness.flows import FLOWS, Flow
from faults.harness.options import Options
from faults.harness.sweep import SIDES, Point, Sweep, Swept, points_of, some

Chosen = Callable[[Flow, int], list[Point]]


def every(*sides: str) -> Chosen:
    return lambda flow, writes: points_of(flow.name, writes, sides)


def in_turn(*sides: str) -> Chosen:
    """One side at each write, the next one at the next."""
    return lambda flow, writes: [Point(flow.name, n, sides[n % len(sides)]) for n in range(1, writes + 1)]


class Fault:
    """A row of the report: its points, and how many of each flow a partial sweep takes."""

    def __init__(self, name: str, points: Chosen, part: int, flows: str = "") -> None:
        """`flows`: those that a partial sweep tells; all when it is empty."""
        self.name, self.points, self.part, self.flows = name, points, part, flows.split()

    def told_in_part(self, flow: Flow) -> bool:
        return not self.flows or flow.name in self.flows

    def __str__(self) -> str:
        return self.name.split()[0]


MISSED = 0.03  # of the points; on a busy machine 16 of 775 were
SOME = "create-to-promoted spec-edit-mid-run promotion rollback-in-step"
FAULTS = (
    Fault("R2 SIGKILL before and after each write", every("before", "after"), part=1),
    Fault("R3 a write happens and the operator is not told", in_turn("cut", "timeout"), part=1, flows=SOME),
    Fault("R6 the operator starts into an older view", in_turn("older"), part=1, flows=SOME),
)


@pytest.fixture(scope="module")
def swept(sweep: Sweep, options: Options, request: pytest.FixtureRequest) -> dict[tuple[str, str], Swept]:
    """All that was asked for, side by side, so that the pool is never empty."""
    asked = [item.callspec.params for item in request.session.items if item.fspath == request.fspath]
    asked = [one for one in asked if "flow" in one]

    def chosen(fault: Fault) -> Chosen:
        def choose(flow: Flow, writes: int) -> list[Point]:
            points = fault.points(flow, writes)
            if options.point:
                return [point for point in points if str(point) == options.point]
            return points if options.full else some(points, fault.part, options.seed)

        return choose

    return {
        (str(one["fault"]), one["flow"].name): sweep.of(one["flow"], chosen(one["fault"]), lambda p: SIDES[p.side](p))
        for one in asked
    }


ALL = [
    pytest.param(fault, flow, id=f"{fault}-{flow}", marks=() if fault.told_in_part(flow) else pytest.mark.whole_sweep)
    for fault in FAULTS
    for flow in FLOWS
]


@pytest.mark.parametrize(("fault", "flow"), ALL)
def test_a_fault_at_any_write_changes_nothing(
    fault: Fault, flow: Flow, swept: dict[tuple[str, str], Swept], options: Options
) -> None:
    clean, outcomes = swept[str(fault), flow.name].result()
    assert not clean.violations, "\n".join(["without any fault:", *clean.violations, clean.timeline])
    met = [outcome for outcome in outcomes if outcome.met]
    bad = [outcome for outcome in outcomes if outcome.violations]
    worst = max((outcome.recovery_seconds for outcome in met), default=0.0)
    report.record(fault.name, len(outcomes), len(bad), worst, len(outcomes) - len(met))
    for one in outcomes:
        report.detail(fault.name, str(one.point), one.met, one.recovery_seconds, len(one.violations))
    command = f"{options.command} tests/faults/test_each_write.py -k '{fault} and {flow}'"
    assert not bad, "\n\n".join(outcome.told(command) for outcome in bad)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_nearly_every_point_is_met(fault: Fault, swept: dict[tuple[str, str], Swept]) -> None:
    """Two looks that fall into one save a write, so the last write of a story may not come, and no fault meets it. Looks
    fall otherwise when a story is told again; a fault that is missed more often than this is not where it seems to be."""
    outcomes = [one for (name, _), told in swept.items() if name == str(fault) for one in told.result()[1]]
    missed = [str(one.point) for one in outcomes if not one.met]
    print(f"{fault}: {len(outcomes) - len(missed)} of {len(outcomes)} points met; not {missed}")
    assert len(missed) <= max(2, MISSED * len(outcomes)), missed
