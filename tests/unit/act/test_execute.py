"""The executor writes in the promised order and stops at the first stale look."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from serin_operator.act.execute import Executor, WriteRefused
from serin_operator.api.kinds import EVENT, Kind
from serin_operator.decide.decision import Amend, Apply, Create, Decision, Delete, Event, Fence, StatusWrite
from serin_operator.errors import ClusterUnavailable, Conflict, NotLeading, Refused
from serin_operator.manifests import names

GONE: dict[str, Any] = {}
REGARDING = {"kind": "FineTuneJob", "namespace": "ml", "name": "bot", "uid": "u"}
STATUS = StatusWrite("serin.dev/v1alpha1", "FineTuneJob", "ml", "bot", {"state": "Training"}, "m", expect="7")
JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "ml"}}


class Recorder:
    """Stands where the Cluster stands and notes the calls."""

    def __init__(self, fail_on: str = "", error: Exception | None = None, there: dict[str, Any] | None = None) -> None:
        self._there = there  # what has the name of everything that is created
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

    async def amend(
        self, kind: Kind, namespace: str, name: str, patch: Mapping[str, Any], version: str, manager: str
    ) -> None:
        self._note(f"amend {kind.kind} {namespace}/{name} {version} {manager}", patch)

    async def create(self, kind: Kind, manifest: Mapping[str, Any], *, blindly: bool = True) -> bool:
        self._note(f"create {kind.kind}", manifest)
        assert blindly == (kind is EVENT)  # an object may be gone again with its owner when its creation is repeated
        return self._there is None or kind is EVENT

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        self._note(f"get {kind.kind} {name}")
        return self._there or None

    async def confirm(self, kind: Kind, namespace: str, name: str, version: str) -> None:
        self._note(f"confirm {kind.kind} {name} {version}")

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str, version: str) -> None:
        self._note(f"delete {kind.kind} {name} {uid} {version}")


def executor(recorder: Recorder) -> Executor:
    return Executor(recorder, "pod-1", lambda: datetime.now(UTC))  # type: ignore[arg-type]


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
    recorder = Recorder("create Job", NotLeading("the lease ran out"))
    with pytest.raises(NotLeading):
        await executor(recorder).carry_out(DECISION, REGARDING)
    assert recorder.calls == ["apply FineTuneJob/status", "create Job"]


OWNED: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {
        "name": "j",
        "namespace": "ml",
        "labels": {names.MANAGED_BY: names.MANAGER},
        "ownerReferences": [{"kind": "FineTuneJob", "uid": "u"}],
    },
}
TWICE = Decision(sentence="x", actions=(Create(OWNED),), events=(Event("Training", "it trains"),))


@pytest.mark.parametrize("also", [{}, {"uid": "j-uid", "resourceVersion": "3"}], ids=["bare", "as stored"])
async def test_what_was_created_before_is_success_when_it_is_ours(also: dict[str, Any]) -> None:
    recorder = Recorder(there={**OWNED, "metadata": OWNED["metadata"] | also})
    await executor(recorder).carry_out(TWICE, REGARDING)
    assert recorder.calls == ["create Job", "get Job j", "create Event"]


@pytest.mark.parametrize(
    "found",
    [
        pytest.param({"metadata": {"name": "j"}}, id="a stranger's"),
        pytest.param(
            {"metadata": OWNED["metadata"] | {"ownerReferences": [{"uid": "predecessor"}]}}, id="its predecessor's"
        ),
        pytest.param({"metadata": OWNED["metadata"] | {"labels": {}}}, id="adopted, and not made by Serin"),
    ],
)
async def test_an_object_of_the_same_name_that_is_not_ours_is_told(found: dict[str, Any]) -> None:
    recorder = Recorder(there=found)
    with pytest.raises(WriteRefused, match="that Serin did not make") as caught:
        await executor(recorder).carry_out(TWICE, REGARDING)
    assert (caught.value.refusal.kind, caught.value.refusal.name, caught.value.refusal.code) == ("Job", "j", 409)


async def test_what_went_away_while_it_was_created_is_a_stale_look() -> None:
    with pytest.raises(Conflict):
        await executor(Recorder(there=GONE)).carry_out(TWICE, REGARDING)


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


async def test_a_guard_that_does_not_hold_stops_everything() -> None:
    recorder = Recorder("confirm ModelService bot 7", Conflict("newer"))
    guarded = replace(FENCED, guards=FENCED.fences, statuses=(STATUS,))
    with pytest.raises(Conflict):
        await executor(recorder).carry_out(guarded, REGARDING)
    assert recorder.calls == ["confirm ModelService bot 7"]


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


AMENDED = "amend HTTPRoute ml/chat 7 m"
AMENDING = Decision(
    sentence="x",
    actions=(
        Amend("gateway.networking.k8s.io/v1", "HTTPRoute", "ml", "chat", {"spec": {"rules": []}}, "m", "7"),
        Apply(JOB, "m"),
    ),
)


async def test_somebody_elses_object_is_changed_at_the_version_that_was_seen() -> None:
    recorder = Recorder()
    await executor(recorder).carry_out(AMENDING, REGARDING)
    assert recorder.calls == [AMENDED, "apply Job"]
    assert recorder.bodies[0] == {"spec": {"rules": []}}


async def test_a_change_of_somebody_elses_object_that_is_refused_is_told_and_the_rest_is_done() -> None:
    recorder = Recorder(AMENDED, NO)
    with pytest.raises(WriteRefused) as told:
        await executor(recorder).carry_out(AMENDING, REGARDING)
    assert (told.value.refusal.kind, told.value.refusal.name) == ("HTTPRoute", "chat")
    assert recorder.calls == [AMENDED, "apply Job"]


async def test_a_change_of_an_object_that_is_newer_stops_the_rest() -> None:
    recorder = Recorder(AMENDED, Conflict("newer"))
    with pytest.raises(Conflict):
        await executor(recorder).carry_out(AMENDING, REGARDING)
    assert recorder.calls == [AMENDED]
