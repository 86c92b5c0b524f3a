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
from serin_operator.decide.service import canary, facts, judging, revisions
from serin_operator.decide.service.snapshot import Reading, ReadingKind
from support.service_machine import STEPS, AnyOrder, Healing, profile

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
    "more failures than are tolerated have no end": (judging, "tolerated", lambda slo: 1000),
    "a dry run decides": (judging.Judged, "decides", property(lambda judged: True)),
    "a candidate that is to finish gives way": (revisions, "finishes", lambda s: False),
    "an approval ends by itself": (facts, "awaits_approval", lambda s: False),
    "what is overdue goes on": (facts, "overdue", lambda s: False),
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


class WithAnApproval(Healing):
    """Begins with a candidate in its first step; an approval comes next."""

    @initialize()
    def a_model_has_requests(self) -> None:
        self.somebody_edits_the_spec({"steps": [STEPS[0], {"approval": {}}, STEPS[1]]})
        for _ in range(2):
            self.a_model_passes_its_gates(1.0)
            self.time_passes_until_somebody_has_got_requests_for_some_seconds(1)


class WithACandidate(Healing):
    """Begins with a candidate that has requests and is to finish, judged by an SLO that tolerates something and by one in
    a dry run."""

    @initialize()
    def a_model_has_requests(self) -> None:
        self.somebody_edits_what_an_slo_tolerates({"dryRun": True})
        self.world.edit(lambda spec: spec["slos"][1].update(failureLimit=2))
        self.world.edit(lambda spec: spec["canary"].update(supersedePolicy="Finish", maxDurationSeconds=3))
        for _ in range(2):
            self.a_model_passes_its_gates(1.0)
            self.time_passes_until_somebody_has_got_requests_for_some_seconds(1)
        self.prometheus_says_something_else_of_who_is_on_trial("latency", Reading(ReadingKind.VALUE, 126.0))
        self._play(3)


class OutsideOnce(Healing):
    """Begins with a candidate whose length was outside of its bounds at one look of the two that are tolerated."""

    @initialize()
    def a_model_has_requests(self) -> None:
        self.world.edit(lambda spec: spec["slos"][1].update(failureLimit=2))
        for _ in range(2):
            self.a_model_passes_its_gates(1.0)
            self.time_passes_until_somebody_has_got_requests_for_some_seconds(1)
        self.prometheus_says_something_else_of_who_is_on_trial("length", Reading(ReadingKind.VALUE, 500.0))
        self._play(1)


BEGINS: dict[str, type[Healing]] = {
    "a rejection is not written": InABake,
    "a bake ends at its first look": InABake,
    "more failures than are tolerated have no end": OutsideOnce,
    "a dry run decides": WithACandidate,
    "a candidate that is to finish gives way": WithACandidate,
    "what is overdue goes on": WithACandidate,
    "an approval ends by itself": WithAnApproval,
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_rule_is_found(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, broken = BROKEN[what]
    whole = getattr(module, name)
    monkeypatch.setattr(module, name, broken)
    monkeypatch.setattr(canary, "RULES", tuple((broken if a is whole else a, rule) for a, rule in canary.RULES))
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            BEGINS.get(what, Healing),
            settings=profile(300, phases=[Phase.generate], report_multiple_bugs=False),
        )
