"""The executor writes in the promised order and stops at the first stale look."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from serin_operator.act.execute import Executor, WriteRefused
from serin_operator.api.kinds import Kind
from serin_operator.decide.decision import Apply, Create, Decision, Delete, Event, Fence, StatusWrite
from serin_operator.errors import ClusterUnavailable, Conflict, NotLeading, Refused

REGARDING = {"kind": "FineTuneJob", "namespace": "ml", "name": "bot", "uid": "u"}
STATUS = StatusWrite("serin.dev/v1alpha1", "FineTuneJob", "ml", "bot", {"state": "Training"}, "m", expect="7")
JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "ml"}}


class Recorder:
    """Stands where the Cluster stands and notes the calls."""

    def __init__(self, fail_on: str = "", error: Exception | None = None) -> None:
        self.calls: list[str] = []
        self.bodies: list[Mapping[str, Any]] = []
        self._fail_on, self._error = fail_on, error

    def _note(self, call: str, body: Mapping[str, Any] | None = None) -> None:
        self.calls.append(call)
        self.bodies.append(body or {})
        if self._error is not None and call == self._fail_on:
            raise self._error

    async def apply(
        self, kind: Kind, manifest: Mapping[str, Any], manager: str, subresource: str | None = None
    ) -> dict[str, Any]:
        self._note(f"apply {kind.kind}{'/' + subresource if subresource else ''}", manifest)
        return {"metadata": {"uid": "u", "resourceVersion": "8"}}

    async def create(self, kind: Kind, manifest: Mapping[str, Any]) -> bool:
        self._note(f"create {kind.kind}", manifest)
        return True

    async def confirm(self, kind: Kind, namespace: str, name: str, version: str) -> None:
        self._note(f"confirm {kind.kind} {name} {version}")

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str, version: str) -> None:
        self._note(f"delete {kind.kind} {name} {uid} {version}")


def executor(recorder: Recorder, leading: Callable[[], bool] = lambda: True) -> Executor:
    return Executor(recorder, "pod-1", leading, lambda: datetime.now(UTC))  # type: ignore[arg-type]


DECISION = Decision(
    sentence="x",
    statuses=(STATUS,),
    actions=(Create(JOB), Apply(JOB, "m"), Delete("batch/v1", "Job", "ml", "old", "old-uid", "3")),
    events=(Event("Training", "it trains"),),
)


async def test_status_comes_first_then_objects_then_events() -> None:
    recorder = Recorder()
    await executor(recorder).carry_out(DECISION, REGARDING)
    assert recorder.calls == [
        "apply FineTuneJob/status",
        "create Job",
        "apply Job",
        "delete Job old old-uid 3",
        "create Event",
    ]


async def test_a_stale_status_write_stops_everything() -> None:
    recorder = Recorder("apply FineTuneJob/status", Conflict("newer"))
    with pytest.raises(Conflict):
        await executor(recorder).carry_out(DECISION, REGARDING)
    assert recorder.calls == ["apply FineTuneJob/status"]


async def test_the_status_write_names_the_version_that_the_decision_was_made_on() -> None:
    recorder = Recorder()
    await executor(recorder).carry_out(DECISION, REGARDING)
    assert recorder.bodies[0]["metadata"] == {"name": "bot", "namespace": "ml", "resourceVersion": "7"}


async def test_an_event_that_cannot_be_written_is_let_go() -> None:
    recorder = Recorder("create Event", ClusterUnavailable("down"))
    await executor(recorder).carry_out(DECISION, REGARDING)


async def test_the_echo_of_an_own_write_is_recognised_and_nothing_else() -> None:
    acts = executor(Recorder())
    await acts.carry_out(DECISION, REGARDING)
    assert acts.wrote("u", "8")
    assert not acts.wrote("u", "9")
    assert not acts.wrote("other", "8")


async def test_the_same_event_twice_has_the_same_name() -> None:
    recorder = Recorder()
    await executor(recorder).carry_out(DECISION, REGARDING)
    await executor(recorder).carry_out(DECISION, REGARDING)
    first, second = (body for call, body in zip(recorder.calls, recorder.bodies, strict=True) if "Event" in call)
    assert first["metadata"]["name"] == second["metadata"]["name"]
    assert first["regarding"] == REGARDING


async def test_a_process_that_lost_the_lease_in_the_middle_writes_no_more() -> None:
    recorder = Recorder()
    answers = iter([True, False])
    with pytest.raises(NotLeading):
        await executor(recorder, lambda: next(answers)).carry_out(DECISION, REGARDING)
    assert recorder.calls == ["apply FineTuneJob/status"]


FENCED = Decision(
    sentence="x",
    fences=(Fence("serin.dev/v1alpha1", "ModelService", "ml", "bot", "7"),),
    actions=(Apply(JOB, "m", expect="4"),),
)


async def test_fences_are_passed_after_the_statuses_and_before_the_first_action() -> None:
    recorder = Recorder()
    await executor(recorder).carry_out(FENCED, REGARDING)
    assert recorder.calls == ["confirm ModelService bot 7", "apply Job"]


async def test_a_fence_that_does_not_hold_stops_the_actions() -> None:
    recorder = Recorder("confirm ModelService bot 7", Conflict("newer"))
    with pytest.raises(Conflict):
        await executor(recorder).carry_out(FENCED, REGARDING)
    assert recorder.calls == ["confirm ModelService bot 7"]


async def test_a_decision_without_actions_asks_for_no_fence() -> None:
    recorder = Recorder()
    await executor(recorder).carry_out(Decision(sentence="x", fences=FENCED.fences), REGARDING)
    assert recorder.calls == []


async def test_an_apply_names_the_version_that_it_may_replace() -> None:
    recorder = Recorder()
    await executor(recorder).carry_out(FENCED, REGARDING)
    assert recorder.bodies[1]["metadata"] == JOB["metadata"] | {"resourceVersion": "4"}
    assert "resourceVersion" not in JOB["metadata"]


ROUTE = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "r", "namespace": "ml"},
}
NO = Refused("PATCH /apis/...: no", 403, "exceeded quota: q")


async def test_a_refused_apply_keeps_neither_the_route_nor_the_events_back() -> None:
    recorder = Recorder("apply Job", NO)
    decision = Decision(
        sentence="x",
        actions=(Apply(JOB, "m"), Apply(ROUTE, "m")),
        events=(Event("RolledBack", "all traffic goes back"),),
        requeue_after=timedelta(seconds=5),
    )
    with pytest.raises(WriteRefused) as told:
        await executor(recorder).carry_out(decision, REGARDING)
    assert recorder.calls == ["apply Job", "apply HTTPRoute", "create Event"]
    assert (told.value.refusal.kind, told.value.refusal.name, told.value.refusal.code) == ("Job", "j", 403)
    assert told.value.look_again == timedelta(seconds=5)


async def test_what_builds_upon_a_refused_create_is_left() -> None:
    recorder = Recorder("create Job", NO)
    with pytest.raises(WriteRefused):
        await executor(recorder).carry_out(DECISION, REGARDING)
    assert recorder.calls == ["apply FineTuneJob/status", "create Job", "create Event"]


async def test_an_object_that_went_before_its_status_was_written_is_a_stale_look() -> None:
    with pytest.raises(Conflict):
        await executor(Recorder("apply FineTuneJob/status", Refused("gone", 404))).carry_out(DECISION, REGARDING)
