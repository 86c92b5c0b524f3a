"""A cluster in which anything happens to the service loop in any order, for tests that let it run (test_any_order.py)."""

from collections import Counter
from contextlib import suppress
from copy import deepcopy
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from serin_operator.api.kinds import FINE_TUNE_JOB
from serin_operator.decide.decision import Decision
from serin_operator.decide.service import decide_service
from serin_operator.decide.service.snapshot import Reading, ReadingKind
from serin_operator.errors import Conflict
from support.service_world import USER_KEY, Died, Json, Model, World, a_neighbour, a_service, play

READINGS = st.sampled_from(
    [
        Reading(ReadingKind.VALUE, 0.5),
        Reading(ReadingKind.VALUE, 1.5),
        Reading(ReadingKind.VALUE, 126.0),
        Reading(ReadingKind.NO_DATA),
        Reading(ReadingKind.NOT_A_NUMBER, text="NaN"),
        Reading(ReadingKind.STALE, text="600 s old"),
        Reading(ReadingKind.SEVERAL_SERIES, text="2 series"),
        Reading(ReadingKind.OUTAGE, text="away"),
    ]
)
STEPS = [{"weightPercent": 20, "holdSeconds": 4}, {"weightPercent": 100, "holdSeconds": 4}]
TRIED: Json = {
    "experiment": {
        "total": 'tasks_total{revision="{{revision}}"}',
        "successes": 'tasks_total{revision="{{revision}}",outcome="success"}',
        "minDifferencePoints": "20",
        "minOutcomes": 50,
        "sticky": {"header": USER_KEY, "cookie": {}},
        "whenNoDifference": "Proceed",
    },
    "maxDurationSeconds": 6,
}
LETTERS = "abcdefgh"
ANY = st.integers(0, 7)
EDITS: list[Json] = [
    {"bakeSeconds": 0},
    {"bakeSeconds": 8},
    {"previousRevision": "Stopped"},
    {"previousRevision": "Warm"},
    {"blindness": {"timeoutSeconds": 6, "action": "Withdraw"}},
    {"blindness": {"timeoutSeconds": 6, "action": "Hold"}},
    {"minRequests": 0},
    {"steps": [{"weightPercent": 100, "holdSeconds": 4}]},
    {"steps": [{"weightPercent": n, "holdSeconds": 2} for n in (1, 30, 100)]},
    {"steps": STEPS},
    {"intervalSeconds": 1},
    {"intervalSeconds": 3},
    {"steps": [STEPS[0], {"approval": {}}, STEPS[1]]},
    {"steps": [STEPS[0], {"analysis": {"passingSeconds": 6, "minRequests": 1}}, STEPS[1], {"approval": {}}]},
    {"steps": [STEPS[0], {"approval": {"groups": ["leads"], "validSeconds": 60}}, STEPS[1]]},
    {"steps": [{"shadow": {}, "holdSeconds": 3}, *STEPS]},
    {"steps": [STEPS[0], TRIED, STEPS[1]]},
    {"steps": [STEPS[0], {**TRIED, "experiment": {**TRIED["experiment"], "whenNoDifference": "Reject"}}, STEPS[1]]},
    {"steps": [{"shadow": {}, "holdSeconds": 3}, {"analysis": {"passingSeconds": 3}}, *STEPS]},
    {"initialDelaySeconds": 3},
    {"initialDelaySeconds": 0},
    {"maxDurationSeconds": 15, "whenOverdue": "Hold"},
    {"maxDurationSeconds": 15, "whenOverdue": "RollBack"},
    {"maxDurationSeconds": None},
    {"supersedePolicy": "Finish"},
    {"supersedePolicy": "Replace"},
]
SLO_EDITS: list[Json] = [
    {"failureLimit": 2},
    {"failureLimit": 0},
    {"consecutiveErrorLimit": 1},
    {"consecutiveErrorLimit": 5},
    {"dryRun": True},
    {"dryRun": False},
]


class AnyOrder(RuleBasedStateMachine):
    looks = 0  # of all machines
    events: Counter[str] = Counter()

    def __init__(self) -> None:
        super().__init__()
        spec: Json = {"steps": STEPS, "intervalSeconds": 2, "minRequests": 2, "progressDeadlineSeconds": 20}
        self.world = self.a_world(**spec, bakeSeconds=8, blindness={"timeoutSeconds": 6, "action": "Withdraw"})
        self.made = 0
        self.code = "0000000000"
        self.slept: tuple[Decision, dict[str, Reading]] | None = None
        self.old: dict[tuple[str, str], Json] = {}

    def a_world(self, **canary: Any) -> World:
        return World(a_service(**canary))

    def teardown(self) -> None:
        AnyOrder.looks += self.world.looks
        AnyOrder.events.update(self.world.events)

    # --- models -----------------------------------------------------------------------------------------------------

    @initialize(models=st.integers(0, 2), previous=st.sampled_from(["Warm", "Stopped"]))
    def some_time_ago(self, models: int, previous: str) -> None:
        self.world.edit(lambda spec: spec["canary"].update(previousRevision=previous))
        for _ in range(models):
            self.a_model_passes_its_gates(1.0)
            play(self.world, 8)

    @precondition(lambda self: self.made < len(LETTERS))
    @rule(starts_in=st.sampled_from([1.0, 3.0, float("inf")]))
    def a_model_passes_its_gates(self, starts_in: float) -> None:
        self.world.passes(LETTERS[self.made], Model(starts_in=starts_in))
        self.made += 1

    @rule(which=ANY)
    def the_gates_change_their_mind(self, which: int) -> None:
        if (revision := self._any("ModelRevision", which)) is not None:
            self.world.touch("ModelRevision", revision, lambda status: status["gate"].update(verdict="Failed"))

    # --- time and the operator --------------------------------------------------------------------------------------

    @rule(seconds=st.integers(1, 12))
    def time_passes(self, seconds: int) -> None:
        self._play(seconds)

    @rule(seconds=st.integers(0, 6))
    def time_passes_until_somebody_has_got_requests_for_some_seconds(self, seconds: int) -> None:
        for _ in range(25):
            if self._on_trial() is not None and "lookedAt" in (self.world.status.get("candidate") or {"lookedAt": ""}):
                break
            self._play(1)
        self._play(seconds)

    @rule(dies_after=st.integers(0, 6), seconds=st.integers(0, 8))
    def the_operator_dies_after_some_writes(self, dies_after: int, seconds: int) -> None:
        with suppress(Died):
            self.world.look(dies_after)
        for _ in range(seconds):
            self.world.tick()

    @rule(seconds=st.sampled_from([5, 60, 600]))
    def the_operator_is_away(self, seconds: int) -> None:
        self.world.tick(seconds)

    @rule(seconds=st.sampled_from([-3600, -600, -20, -3, 0, 3, 20, 600, 3600]))
    def the_operators_clock_is_set(self, seconds: int) -> None:
        self.world.skew = timedelta(seconds=seconds)

    @rule()
    def a_leader_falls_asleep_between_its_look_and_its_writes(self) -> None:
        self.slept = (decide_service(self.world.snapshot()), dict(self.world.answers))

    @precondition(lambda self: self.slept is not None)
    @rule(dies_after=st.integers(1, 9))
    def it_wakes_up_and_writes(self, dies_after: int) -> None:
        assert self.slept is not None
        decision, self.world.answers = self.slept
        self.slept = None
        with suppress(Conflict, Died):
            self.world.carry_out(decision, dies_after)

    @rule()
    def an_apiserver_falls_behind(self) -> None:
        self.old = deepcopy(self.world.objects)

    @precondition(lambda self: self.old != {})
    @rule()
    def it_answers_a_look(self) -> None:
        """Reads are of the past; writes meet what is stored."""
        now, self.world.objects = self.world.objects, self.old
        try:
            decision = decide_service(self.world.snapshot())
        finally:
            self.world.objects, self.old = now, {}
        with suppress(Conflict):
            self.world.carry_out(decision)

    # --- Prometheus, the Gateway, pods -------------------------------------------------------------------------------

    @rule(metric=st.sampled_from(["latency", "length"]), reading=READINGS, which=ANY)
    def prometheus_says_something_else(self, metric: str, reading: Reading, which: int) -> None:
        if (model := self._model(which)) is not None:
            model.samples[metric] = reading

    @rule(metric=st.sampled_from(["latency", "length"]), reading=READINGS)
    def prometheus_says_something_else_of_who_is_on_trial(self, metric: str, reading: Reading) -> None:
        if (model := self._on_trial()) is not None:
            model.samples[metric] = reading

    @rule()
    def a_server_on_trial_ends_by_itself(self) -> None:
        if (model := self._on_trial()) is not None:
            model.crashed_at = self.world.now

    @rule(away=st.booleans())
    def prometheus_goes_or_comes(self, away: bool) -> None:
        self.world.sources.away = away

    @rule(seconds=st.integers(5, 20))
    def prometheus_is_away_for_a_while(self, seconds: int) -> None:
        self.world.sources.away = True
        self._play(seconds)
        self.world.sources.away = False

    @rule(up=st.booleans())
    def the_gateway_stops_or_goes_on(self, up: bool) -> None:
        self.world.gateway_up = up

    @rule(ready=st.sampled_from([True, False, None]), which=ANY)
    def pods_come_and_go(self, ready: bool | None, which: int) -> None:
        if (model := self._model(which)) is not None:
            model.ready = ready
            self.world.tick(0.1)

    @rule(seconds=st.integers(1, 4))
    def the_controllers_of_deployments_are_away_for_a_while(self, seconds: int) -> None:
        self.world.controllers_up = False
        self._play(seconds)
        self.world.controllers_up = True

    @rule(blocked=st.sampled_from(["no room", None]), which=ANY)
    def the_cluster_has_no_room_for_its_pods(self, blocked: str | None, which: int) -> None:
        if (model := self._model(which)) is not None:
            model.blocked = blocked
            self.world.tick(0.1)

    # --- people -----------------------------------------------------------------------------------------------------

    @rule(edit=st.sampled_from(EDITS))
    def somebody_edits_the_spec(self, edit: Json) -> None:
        self.world.edit(lambda spec: spec["canary"].update(deepcopy(edit)))

    @rule(edit=st.sampled_from(SLO_EDITS))
    def somebody_edits_what_an_slo_tolerates(self, edit: Json) -> None:
        """Of one SLO: the other decides in any case, as the schema asks."""
        self.world.edit(lambda spec: spec["slos"][0].update(edit))

    @rule(theirs=st.sampled_from([[], ["bot.example.com"]]), seconds=st.sampled_from([-600, 0, 600]))
    def another_service_has_the_hostname_or_gives_it_back(self, theirs: list[str], seconds: int) -> None:
        self.world.neighbours = [a_neighbour(theirs, self.world.now + timedelta(seconds=seconds))] if theirs else []

    @rule(group=st.sampled_from(["leads", "others"]), nonce=st.integers(0, 3), old=st.booleans())
    def somebody_writes_an_approval(self, group: str, nonce: int, old: bool) -> None:
        """With the code that is told now, or with one that was told before."""
        told = ((self.world.status.get("candidate") or {}).get("approval") or {}).get("message", "")
        self.code = self.code if old else told.partition("=")[2].partition(" ")[0]
        self.world.annotate("ModelService", "bot", f"approval.serin.dev/{nonce}", f"{self.code} {group} alice")

    @rule(headers=st.sampled_from([[], [{"name": "X-Tester", "value": "yes"}]]))
    def somebody_lets_testers_in_or_out(self, headers: list[Json]) -> None:
        self.world.edit(lambda spec: spec["traffic"].update(testers={"headers": headers} if headers else None))

    @rule(limit=st.sampled_from([0, 0, 1, 3, None]))
    def somebody_limits_the_history(self, limit: int | None) -> None:
        self.world.edit(lambda spec: spec.update(revisionHistoryLimit=limit))

    @rule(there=st.booleans())
    def the_job_of_all_models_comes_or_goes(self, there: bool) -> None:
        """A look that was before it cannot know of it: such a job makes its revision anew, which is safe and another story."""
        self.slept, self.old = None, {}
        if there:
            self.world.put(FINE_TUNE_JOB, {"kind": "FineTuneJob", "metadata": {"name": "job"}, "spec": {}})
        else:
            self.world.objects.pop(("FineTuneJob", "job"), None)

    @precondition(lambda self: ("HTTPRoute", "bot") in self.world.objects)
    @rule(share=st.integers(0, 100), which=ANY)
    def somebody_moves_the_traffic_by_hand(self, share: int, which: int) -> None:
        there = [name for name in self.world.backends if self.world.deployment_ready(name)]
        good = [name for name in there if not self.world.is_rejected(name)]
        if len(good) > 1:
            chosen = good[which % len(good)]
            other = next(name for name in good if name != chosen)
            self.world.set_route({chosen: share, other: 100 - share})

    @rule(kind=st.sampled_from(["Deployment", "Service", "ConfigMap", "HTTPRoute", "ModelRevision"]), which=ANY)
    def somebody_deletes_something(self, kind: str, which: int) -> None:
        if (name := self._any(kind, which)) is not None:
            self.world.remove(kind, name)

    # --- what must hold, beside what the world checks on each write ---------------------------------------------------

    @invariant()
    def a_rejection_that_a_look_has_seen_ends_the_candidacy(self) -> None:
        self._look()
        candidate = self.world.status.get("candidate")
        assert candidate is None or not self.world.is_rejected(candidate["revision"])

    @invariant()
    def shares_are_whole(self) -> None:
        assert not self.world.weights or sum(self.world.weights.values()) == 100

    def _look(self) -> None:
        with suppress(Conflict):
            self.world.look()

    def _play(self, seconds: int) -> None:
        for _ in range(seconds):
            self._look()
            self.world.tick()

    def _any(self, kind: str, which: int) -> str | None:
        names = sorted(name for found, name in self.world.objects if found == kind)
        return names[which % len(names)] if names else None

    def _on_trial(self) -> Model | None:
        status = self.world.status
        return self.world.models.get((status.get("candidate") or status.get("bake") or {}).get("revision", ""))

    def _model(self, which: int) -> Model | None:
        models = list(self.world.models.values())
        return models[which % len(models)] if models else None


class Healing(AnyOrder):
    """The same, and when it is over everything heals: then all of it settles, whatever happened before."""

    def teardown(self) -> None:
        try:
            self._heal()
            self._settles()
        finally:
            super().teardown()

    def _heal(self) -> None:
        """Nobody would ever approve in the end, or decide about what is overdue."""
        self.world.edit(lambda spec: spec["canary"].update(steps=deepcopy(STEPS), maxDurationSeconds=None))
        self.world.sources.away, self.world.gateway_up, self.world.neighbours = False, True, []
        for model in self.world.models.values():
            model.starts_in, model.ready, model.blocked, model.samples = 1.0, None, None, Model().samples

    def _settles(self) -> None:
        """Within the time of all that may still be on its way; a bake, a pause, some candidates."""
        for _ in range(40):
            self._play(12)
            self.world.tick(31)  # longer than the delay after which pods without traffic go
            self.world.writes.clear()
            self._play(3)
            if not self.world.writes:
                break
        else:
            raise AssertionError(f"it does not settle: {self.world.status}\n{self.world.sentences[-5:]}")
        stable = self.world.status.get("stable")
        if stable is None:
            assert not self.world.weights or not self.world.revisions()
            return
        name = stable["revision"]
        assert not self.world.is_rejected(name)
        if self.world.deployment_ready(name):  # somebody may have deleted both its record and its pods
            assert self.world.weights == {name: 100}
            assert self.world.running() == {name}
        assert "candidate" not in self.world.status
        assert "bake" not in self.world.status


def profile(examples: int, **extra: Any) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
        **extra,
    )
