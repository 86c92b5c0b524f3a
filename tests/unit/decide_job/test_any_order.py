"""Anything in any order: pods that end well or badly, crashes of the operator between writes, clocks that are set, people
who edit the spec, delete children and take away what the job refers to.

What must hold is checked at every creation of a Job: never two attempts of a stage alive, and no stage again for inputs
that it was already done for. What failed for good or was decided stays so until something of it changes. In the end
everything heals, and every job comes to an end.
"""

from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from serin_operator.api.v1alpha1 import StageName
from serin_operator.decide.job import decide_job, stages
from serin_operator.decide.job.snapshot import RunPhase, StageRun
from serin_operator.manifests import names
from support.jobs import MODEL_DIGEST, NOON, World, a_gate, an_evaluation

REVISION = names.revision("bot", MODEL_DIGEST)
STAYS = {"Failed", "Promoted", "RolledBack", "Superseded"}
ENDS = {"Passed", "Rejected", "Held", *STAYS}
FAILURES: list[dict[str, Any]] = [
    {"exit_code": 1, "log_tail": "boom"},
    {"exit_code": 64},
    {"exit_code": 65},
    {"exit_code": 75},
    {"exit_code": 137, "disruption": "Evicted"},
    {"exit_code": 137, "out_of_memory": True},
]
EDITS: list[dict[str, Any]] = [
    {},
    {"hyperparameters": {"learningRate": "1e-4"}},
    {"hyperparameters": {"learningRate": "3e-4"}},
    {"distribution": {"nodes": 2, "processesPerNode": 1, "maxRestarts": 0}},
    {"hyperparameters": {"globalBatchSize": 64}},
    {"hyperparameters": {"globalBatchSize": 64}, "distribution": {"nodes": 2, "processesPerNode": 2}},
    {"data": {"train": [{"name": "other", "uri": "pvc://datasets/other.jsonl"}]}},
]


@dataclass
class Guarded(World):
    """Checks each Job that is created."""

    done: dict[StageName, str] = field(default_factory=dict[StageName, str])  # the key each stage was last done for

    def _create_job(self, manifest: Mapping[str, Any]) -> None:
        labels = manifest["metadata"]["labels"]
        stage = next(s for s in StageName if s.lower() == labels[names.STAGE])
        if manifest["metadata"]["name"] not in self.runs:
            alive = [run.name for run in self.running() if run.stage is stage]
            assert not alive, f"{manifest['metadata']['name']} begins while {alive} runs"
            assert self.done.get(stage) != labels[names.KEY], f"{stage} runs again for what it was done for"
        super()._create_job(manifest)

    def act(self, decision: Any, most: int | None = None) -> int:
        count = super().act(decision, most)
        for entry in self.status.get("stages", []):
            if entry["outcome"] == "Succeeded":
                self.done[StageName(entry["name"])] = entry["key"][: names.KEY_DIGITS]
        return count


class AnyOrder(RuleBasedStateMachine):
    looks = 0  # of all machines
    states: Counter[str] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.world = Guarded()
        self.settled: tuple[str, int] | None = None  # a state that stays, and the generation it was reached in
        self.people = True

    def teardown(self) -> None:
        self._heal()
        for _ in range(60):
            self._look()
            self._tick(70)
            for run in self.world.running():
                self.world.finish(run)
        state = self.world.status["state"]
        AnyOrder.states[state] += 1
        assert state in ENDS, f"it does not end: {state}: {self.world.status['message']}"
        assert not self.world.running()

    def _heal(self) -> None:
        self.world.claims = frozenset({"models", "datasets", "artifacts"})
        self.world.gates = {"quality": a_gate()}
        if self.world.spec.pop("suspend", False):
            self.world.generation += 1

    def _look(self, most: int | None = None) -> None:
        AnyOrder.looks += 1
        self.world.act(decide_job(self.world.snapshot()), most)
        state, now = self.world.status.get("state", ""), self.world.generation
        if self.settled is not None and self.settled[1] == now and not self._unsettled():
            assert state == self.settled[0], f"{self.settled[0]} became {state} by itself"
        seen = self.world.status.get("observedGeneration") == now  # or the operator died before it could say anything
        self.settled = (state, now) if state in STAYS and seen and not self._unsettled() else None

    def _unsettled(self) -> bool:
        """A reference is away: to say so comes first."""
        return "quality" not in self.world.gates or len(self.world.claims) < 3

    def _tick(self, seconds: float) -> None:
        self.world.now += timedelta(seconds=seconds)

    def _run(self, which: int) -> StageRun | None:
        there = self.world.running()
        return there[which % len(there)] if there else None

    # --- time and the operator --------------------------------------------------------------------------------------

    @rule(looks=st.integers(1, 6), seconds=st.sampled_from([1, 5, 61]))
    def time_passes(self, looks: int, seconds: int) -> None:
        for _ in range(looks):
            self._look()
            self._tick(seconds)

    @rule(most=st.integers(0, 5))
    def the_operator_dies_after_some_writes(self, most: int) -> None:
        self._look(most)

    @rule(hours=st.sampled_from([-24, -1, 1, 24]))
    def the_clock_is_set(self, hours: int) -> None:
        self.world.now += timedelta(hours=hours)

    # --- pods -------------------------------------------------------------------------------------------------------

    @rule(times=st.integers(1, 4))
    def pods_end_well(self, times: int) -> None:
        for _ in range(times):
            for run in self.world.running():
                self.world.finish(run)
            self._look()
            self._look()

    @rule(failure=st.sampled_from(FAILURES))
    def pods_fail(self, failure: dict[str, Any]) -> None:
        for run in self.world.running():
            self.world.fail(run, **failure)

    @rule()
    def a_model_turns_out_worse(self) -> None:
        for run in self.world.running():
            worse = an_evaluation(difference=-0.3, low=-0.4, high=-0.2) if run.stage is StageName.EVALUATE else {}
            self.world.finish(run, **worse)

    @rule()
    def a_result_is_lost(self) -> None:
        for run in self.world.running():
            self.world.finish(run)
            self.world.runs[run.name] = replace(self.world.runs[run.name], result=None)

    # --- people -----------------------------------------------------------------------------------------------------

    @initialize(there=st.booleans())
    def people_are_about_or_away(self, there: bool) -> None:
        """Where somebody always changes something, hardly any job stays failed."""
        self.people = there

    @precondition(lambda self: self.people)
    @rule(edit=st.sampled_from(EDITS))
    def somebody_edits_the_spec(self, edit: dict[str, Any]) -> None:
        if edit != self.world.spec:
            self.world.spec = deepcopy(edit)
            self.world.generation += 1

    @precondition(lambda self: self.people)
    @rule()
    def somebody_suspends_the_job_or_lets_it_go_on(self) -> None:
        self.world.spec = {**self.world.spec, "suspend": not self.world.spec.get("suspend", False)}
        self.world.generation += 1

    @precondition(lambda self: self.people)
    @rule(nonce=st.sampled_from(["one", "two"]))
    def somebody_asks_for_another_try(self, nonce: str) -> None:
        self.world.annotations = {names.RETRY: nonce}
        self.settled = None

    @rule(which=st.integers(0, 7))
    def somebody_deletes_a_job(self, which: int) -> None:
        there = sorted(self.world.runs)
        if there:
            del self.world.runs[there[which % len(there)]]

    @rule(claim=st.sampled_from(["models", "datasets", "artifacts"]), there=st.booleans())
    def a_claim_comes_or_goes(self, claim: str, there: bool) -> None:
        self.world.claims = self.world.claims | {claim} if there else self.world.claims - {claim}

    @rule(there=st.booleans())
    def a_gate_comes_or_goes(self, there: bool) -> None:
        self.world.gates = {"quality": a_gate()} if there else {}

    @precondition(lambda self: REVISION in self.world.revisions)
    @rule(fate=st.sampled_from(["promotedAt", "supersededAt", "rejection"]))
    def the_service_decides(self, fate: str) -> None:
        rollout = self.world.revisions[REVISION].setdefault("status", {}).setdefault("rollout", {})
        at = NOON.isoformat()
        bad = {"reason": "SloBreached", "message": "length", "at": at, "step": 1, "weightPercent": 10}
        rollout[fate] = bad if fate == "rejection" else at
        self.settled = None

    # --- what must hold, beside what is checked at each creation ------------------------------------------------------

    @invariant()
    def a_suspended_job_starts_nothing(self) -> None:
        if self.world.spec.get("suspend", False):
            created = len(self.world.created)
            self._look()
            assert len(self.world.created) == created

    @invariant()
    def no_stage_has_two_attempts_alive(self) -> None:
        alive = Counter(run.stage for run in self.world.runs.values() if run.phase is RunPhase.RUNNING)
        assert all(count == 1 for count in alive.values()), alive


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


LEAST_LOOKS = 10_000


def test_whatever_happens_in_whatever_order_every_job_comes_to_a_right_end() -> None:
    AnyOrder.looks = 0
    AnyOrder.states.clear()
    run_state_machine_as_test(AnyOrder, settings=profile(130, phases=[Phase.generate]))  # to shrink takes minutes
    print(f"{AnyOrder.looks} looks of the operator were played; they ended as {dict(AnyOrder.states)}")
    assert AnyOrder.looks >= LEAST_LOOKS
    assert AnyOrder.states.keys() >= {"Passed", "Failed"}


class EditedInTraining(AnyOrder):
    """Begins where a training runs that an edit no longer wants: by chance alone that takes a thousand stories."""

    @initialize()
    def somebody_has_edited_a_job_that_trains(self) -> None:
        for _ in range(10):
            self._look()
            if any(run.stage is StageName.TRAIN for run in self.world.running()):
                break
            for run in self.world.running():
                self.world.finish(run)
        self.somebody_edits_the_spec({"hyperparameters": {"learningRate": "1e-4"}})
        self._look()


@pytest.mark.parametrize(
    ("name", "broken", "machine"),
    [
        pytest.param(
            "_in_the_way", lambda s, plan: [], EditedInTraining, id="what an edit left running is not waited for"
        ),
        pytest.param("_journalled", lambda s, plan: None, AnyOrder, id="the journal is not read"),
    ],
)
def test_a_broken_rule_is_found(
    name: str, broken: Any, machine: type[AnyOrder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, name, broken)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=profile(130, phases=[Phase.generate], report_multiple_bugs=False))


def test_the_machine_that_begins_with_an_edit_finds_nothing_where_nothing_is_broken() -> None:
    run_state_machine_as_test(EditedInTraining, settings=profile(5, phases=[Phase.generate]))
