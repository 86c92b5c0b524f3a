"""Anything in any order: new models, bad ones, crashes of the operator, a lying or absent Prometheus, clocks that are
set, stale looks, and people who edit and delete what they see.

The world checks the safety rules on each write (support/service_world.py): the weight of a rejected model never rises,
weight goes only to pods that answer, no step and no bake ends well but on a look at which every SLO held and after its
time, a stable changes only by a promotion or by a rejection. In the end everything heals, and all of it must settle.
"""

from typing import Any

import pytest
from hypothesis import Phase
from hypothesis.stateful import initialize, run_state_machine_as_test
from serin_operator.decide.service import canary, facts
from support.service_machine import AnyOrder, Healing, profile

LEAST_LOOKS = 20_000
SEEN = {"FirstDeployment", "CanaryBegins", "CanaryStep", "Promoted", "Baked", "RolledBack", "CanaryWithdrawn"}


def test_whatever_happens_in_whatever_order_it_is_safe_and_settles_in_the_end() -> None:
    AnyOrder.looks = 0
    AnyOrder.events.clear()
    run_state_machine_as_test(Healing, settings=profile(220))
    print(f"{AnyOrder.looks} looks of the operator were played: {dict(AnyOrder.events)}")
    assert AnyOrder.looks >= LEAST_LOOKS
    assert {event for event, times in AnyOrder.events.items() if times >= 5} >= SEEN


# --- the machine itself: each broken rule is found ------------------------------------------------------------------

BROKEN: dict[str, tuple[Any, str, Any]] = {
    "what was not measured counts as passed": (facts, "_halves", lambda s: []),
    "traffic goes back to pods that do not answer": (
        facts, "all_to_refuge", lambda s: {facts.trial(s).refuge: 100}
    ),
    "traffic goes to pods that are not ready": (facts, "not_ready", lambda s: False),
    "a rejection is not written": (canary, "_recorded", lambda s, name, rejection: ()),
    "a bake ends at its first look": (facts, "baked", lambda s: facts.baking(s)),
}  # fmt: skip


class InABake(Healing):
    """Begins where a bake has begun: by chance alone that takes a hundred stories."""

    @initialize()
    def a_model_was_promoted_a_moment_ago(self) -> None:
        for _ in range(2):
            self.a_model_passes_its_gates(1.0)
            for _ in range(60):
                if "bake" in self.world.status:
                    return
                self._play(1)


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_rule_is_found(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, broken = BROKEN[what]
    whole = getattr(module, name)
    monkeypatch.setattr(module, name, broken)
    monkeypatch.setattr(canary, "RULES", tuple((broken if a is whole else a, rule) for a, rule in canary.RULES))
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            InABake if "bake" in what else Healing,
            settings=profile(300, phases=[Phase.generate], report_multiple_bugs=False),
        )
