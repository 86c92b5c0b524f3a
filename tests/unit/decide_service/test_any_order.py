"""Anything in any order: new models, bad ones, crashes of the operator, a lying or absent Prometheus, clocks set back.

The world checks the safety rules on each write (support/service_world.py): the weight of a rejected model never rises,
weight goes only to pods that answer, and no step ends well but on a look at which every SLO held.
"""

from contextlib import suppress
from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from serin_operator.decide.service.snapshot import Reading, ReadingKind
from support.service_world import Died, Model, World, a_service, play

READINGS = st.sampled_from(
    [
        Reading(ReadingKind.VALUE, 0.5),
        Reading(ReadingKind.VALUE, 1.5),
        Reading(ReadingKind.VALUE, 126.0),
        Reading(ReadingKind.NO_DATA),
        Reading(ReadingKind.NOT_A_NUMBER, text="NaN"),
        Reading(ReadingKind.SEVERAL_SERIES, text="2 series"),
        Reading(ReadingKind.OUTAGE, text="away"),
    ]
)
STEPS = [{"weightPercent": 20, "holdSeconds": 4}, {"weightPercent": 100, "holdSeconds": 4}]
LETTERS = "abcdef"


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(a_service(steps=STEPS, intervalSeconds=2, minRequests=2, progressDeadlineSeconds=20))
        self.made = 0

    @precondition(lambda self: self.made < len(LETTERS))
    @rule(starts_in=st.sampled_from([1.0, 3.0, float("inf")]))
    def a_model_passes_its_gates(self, starts_in: float) -> None:
        self.world.passes(LETTERS[self.made], Model(starts_in=starts_in))
        self.made += 1

    @rule(seconds=st.integers(1, 12))
    def time_passes(self, seconds: int) -> None:
        play(self.world, seconds)

    @rule(dies_after=st.integers(0, 6))
    def the_operator_dies_after_some_writes(self, dies_after: int) -> None:
        with suppress(Died):
            self.world.look(dies_after)
        self.world.tick(0.2)

    @rule(metric=st.sampled_from(["latency", "length"]), reading=READINGS, which=st.integers(0, 5))
    def prometheus_says_something_else(self, metric: str, reading: Reading, which: int) -> None:
        if self.world.models:
            list(self.world.models.values())[which % len(self.world.models)].samples[metric] = reading

    @rule(away=st.booleans())
    def prometheus_goes_or_comes(self, away: bool) -> None:
        self.world.sources.away = away

    @rule(up=st.booleans())
    def the_gateway_stops_or_goes_on(self, up: bool) -> None:
        self.world.gateway_up = up

    @rule(ready=st.sampled_from([True, False, None]), which=st.integers(0, 5))
    def pods_come_and_go(self, ready: bool | None, which: int) -> None:
        if self.world.models:
            list(self.world.models.values())[which % len(self.world.models)].ready = ready
            self.world.tick(0.1)

    @rule(seconds=st.integers(-600, 600))
    def the_operators_clock_is_set(self, seconds: int) -> None:
        self.world.skew = timedelta(seconds=seconds)

    @invariant()
    def a_rejected_model_is_never_the_candidate_of_a_written_status_twice(self) -> None:
        """A rejection that a look has seen ends the candidacy."""
        self.world.look()
        candidate = self.world.status.get("candidate")
        assert candidate is None or not self.world.is_rejected(candidate["revision"])

    @invariant()
    def shares_are_whole(self) -> None:
        assert not self.world.weights or sum(self.world.weights.values()) == 100


AnyOrder.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
TestAnyOrder = AnyOrder.TestCase
