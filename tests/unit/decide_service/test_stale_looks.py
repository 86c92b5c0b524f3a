"""A look that was stale when its writes came: no weight rises, nothing is deleted.

Each story takes a snapshot, lets the world go on (another process, or we ourselves before a long sleep), and only then
carries the old decision out.
"""

from collections.abc import Callable

import pytest
from serin_operator.decide.service import decide_service
from serin_operator.decide.service.snapshot import ReadingKind
from serin_operator.errors import Conflict
from support.service_world import World, play, stable_is, with_stable

Story = Callable[[], tuple[World, str]]


def late(world: World, go_on: Callable[[], None]) -> None:
    """Decide now, act after the world went on."""
    decision = decide_service(world.snapshot())
    go_on()
    world.carry_out(decision)


def reject(world: World, name: str) -> None:
    """What another leader would have written by now."""
    record = {
        "rejection": {"reason": "SloBreached", "message": "latency", "at": world.now.isoformat(), "step": 1,
                      "weightPercent": 10, "breachObservedAt": world.now.isoformat()}
    }  # fmt: skip
    world.touch("ModelRevision", name, lambda status: status.update(rollout=record))


def before_its_first_weight() -> tuple[World, str]:
    """The step is in status, its weight is not yet in the route: the next look writes nothing but the route."""
    world, _ = with_stable()
    candidate = world.passes("b")
    play(world, 30, until=lambda w: (w.status.get("candidate") or {}).get("step") == 1, dies_after=None)
    world.set_route({name: 100 for name in world.weights if name != candidate})
    return world, candidate


def test_the_route_is_not_written_for_a_revision_that_was_rejected_meanwhile() -> None:
    world, candidate = before_its_first_weight()
    decision = decide_service(world.snapshot())
    assert not any(write.kind == "ModelRevision" for write in decision.statuses)
    reject(world, candidate)
    with pytest.raises(Conflict):
        world.carry_out(decision)
    assert candidate not in world.weights


def test_the_route_is_not_written_over_one_that_moved_meanwhile() -> None:
    world, candidate = before_its_first_weight()
    with pytest.raises(Conflict):
        late(world, lambda: world.set_route(dict(world.weights)))
    assert candidate not in world.weights


def test_a_revision_is_not_rejected_for_what_a_service_was_before() -> None:
    """An operator that woke up in an older view, where the revision was still on trial."""
    world, _ = with_stable()
    candidate = world.passes("b")
    play(world, 60, until=lambda w: w.weights.get(candidate))
    world.models[candidate].says("latency", ReadingKind.VALUE, 9.0)
    decision = decide_service(world.snapshot())
    while not any(write.kind == "ModelRevision" for write in decision.statuses):
        world.carry_out(decision)
        world.tick()
        decision = decide_service(world.snapshot())
    world.touch("ModelService", "bot", lambda status: status.update(message="went on"))
    with pytest.raises(Conflict):
        world.carry_out(decision)
    assert "rollout" not in world.objects["ModelRevision", candidate]["status"]


def test_nothing_is_deleted_for_a_service_that_moved_on() -> None:
    world, old = with_stable()
    new = world.passes("b")
    play(world, 200, until=stable_is(new))
    play(world, 120, until=lambda w: bool(decide_service(w.snapshot()).actions))
    deletes = decide_service(world.snapshot())
    assert deletes.actions
    with pytest.raises(Conflict):
        late(world, lambda: world.edit(lambda spec: spec["canary"].update(minRequests=1)))
    assert any(old in name for name in world.running())
