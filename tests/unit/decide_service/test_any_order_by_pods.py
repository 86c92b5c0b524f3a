"""Anything in any order (test_any_order.py) where requests are divided by numbers of pods: the world checks on each write that
nobody but stable and candidate is behind the Service, and that no numbers give more than was asked (support/by_pods.py). That
these checks find what is broken, stories in test_replica_ratio.py show."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test
from serin_operator.decide.policies import NO_POLICIES, Policies, refs
from serin_operator.decide.service.snapshot import Reading, ReadingKind
from serin_operator.manifests import names
from support.by_pods import FRONT, ByPods, a_service_by_pods
from support.jobs import policy
from support.service_machine import ANY, EDITS, AnyOrder, Healing, profile
from support.service_world import Json, World

EXAMPLES, LEAST_LOOKS = 70, 5_000
ALLOWED = [edit for edit in EDITS if "shadow" not in str(edit) and "experiment" not in str(edit)]
SEEN = {"FirstDeployment", "CanaryBegins", "CanaryStep", "Promoted", "RolledBack"}
CEILING = policy(limits={"maxCanaryStepPercent": 40})


class AnyOrderByPods(Healing):
    world: ByPods

    def a_world(self, **canary: Any) -> World:
        return ByPods(a_service_by_pods(replicas=2, max_replicas=10, **canary))

    @rule(edit=st.sampled_from(ALLOWED))
    def somebody_edits_the_spec(self, edit: Json) -> None:
        super().somebody_edits_the_spec(edit)

    @rule(most=st.sampled_from([4, 6, 10]))
    def somebody_allows_more_or_fewer_pods(self, most: int) -> None:
        self.world.edit(lambda spec: spec["traffic"].update(maxReplicas=most))

    @rule(replicas=st.sampled_from([1, 2, 3]))
    def somebody_scales_the_service(self, replicas: int) -> None:
        self.world.edit(lambda spec: spec["runtime"].update(replicas=replicas))
        self.world.edit(lambda spec: spec["traffic"].update(maxReplicas=10))

    @rule(pods=st.integers(0, 2), which=ANY)
    def some_pods_fail(self, pods: int, which: int) -> None:
        if (name := self._any("Deployment", which)) is not None:
            self.world.broken[name] = pods
            self.world.tick(0.1)

    @rule(there=st.booleans())
    def the_platform_team_sets_a_ceiling_or_takes_it_away(self, there: bool) -> None:
        """All that passed is judged under it, as its jobs would do."""
        self.slept, self.old = None, {}
        self.world.policies = Policies((CEILING,)) if there else NO_POLICIES
        found = [ref.manifest() for ref in refs((CEILING,), {})] if there else []
        for name in self.world.revisions():
            self.world.touch("ModelRevision", name, lambda status: status["gate"].update(policies=found))

    @rule(seconds=st.integers(3, 8))
    def who_is_on_trial_turns_bad(self, seconds: int) -> None:
        self.time_passes_until_somebody_has_got_requests_for_some_seconds(0)
        self.prometheus_says_something_else_of_who_is_on_trial("latency", Reading(ReadingKind.VALUE, 126.0))
        self._play(seconds)

    @precondition(lambda self: FRONT in self.world.objects)
    @rule(which=ANY)
    def somebody_moves_the_traffic_by_hand(self, which: int) -> None:
        good = [
            n for n in sorted(self.world.running()) if self.world.deployment_ready(n) and not self.world.is_rejected(n)
        ]
        if good:
            labels = {names.SERVICE: "bot", names.STAGE: "serve"}
            self.world.select_by_hand({**labels, names.REVISION: good[which % len(good)]})

    def _heal(self) -> None:
        """Nobody would ever allow the pods that the steps need."""
        super()._heal()
        self.world.edit(lambda spec: spec["traffic"].update(maxReplicas=10))
        self.world.broken.clear()
        self.the_platform_team_sets_a_ceiling_or_takes_it_away(there=False)


def test_whatever_happens_in_whatever_order_it_is_safe_and_settles_in_the_end() -> None:
    AnyOrder.looks = 0
    AnyOrder.events.clear()
    run_state_machine_as_test(AnyOrderByPods, settings=profile(EXAMPLES))
    print(f"{AnyOrder.looks} looks of the operator were played: {dict(AnyOrder.events)}")
    assert AnyOrder.looks >= LEAST_LOOKS
    assert {event for event, times in AnyOrder.events.items() if times >= 5} >= SEEN
