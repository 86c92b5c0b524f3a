"""People delete and edit what is Serin's, services, jobs, whole namespaces, and the operator first: repaired, or cleanly
gone (R21). The garbage collector and the namespace controller are real."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from faults.harness import report
from faults.harness.actors import Actors
from faults.harness.flows import (
    BAD,
    GOOD,
    TRAINED,
    A,
    B,
    claims,
    gate,
    job,
    promoted_at_the_end,
    rollout,
    runs,
    serves,
    service,
    weights,
    with_stable,
)
from faults.harness.plane import Plane
from faults.harness.world import TooLate, World, passed_revision
from serin_operator.api.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    FINE_TUNE_JOB,
    HTTP_ROUTE,
    JOB,
    KINDS,
    MODEL_REVISION,
    MODEL_SERVICE,
    NAMESPACE,
    POD,
    SERVICE,
    Kind,
)
from serin_operator.api.v1alpha1 import StageName
from serin_operator.manifests import names

Json = dict[str, Any]
HOLDING = [{"weightPercent": 10, "holdSeconds": 600}, {"weightPercent": 100, "holdSeconds": 1}]
GONE_SECONDS = 60.0  # the goal for a namespace


@pytest.fixture
def world(plane: Plane, actors: Actors) -> Iterator[World]:
    with World(plane, actors) as found:
        yield found


def in_canary(w: World) -> None:
    """A serves, B gets 10 percent and holds."""
    with_stable(w, steps=HOLDING)
    w.measures(B, GOOD)
    w.apply(passed_revision("b"))
    w.until(lambda: weights(w) == {A: 90, B: 10}, "the first step")


def repaired(w: World, what: str, fact: Callable[[], object], seconds: float = 30) -> float:
    """How long until it is so again; recorded, whatever the answer."""
    began = time.monotonic()
    try:
        w.until(fact, what, seconds)
    except TooLate as late:
        report.record("R21: a child deleted or edited", 1, 1, seconds)
        raise AssertionError(f"{late}\n{w.timeline()}") from late
    took = time.monotonic() - began
    report.record("R21: a child deleted or edited", 1, 0, took)
    return took


# --- children -----------------------------------------------------------------------------------------------------


def uid(w: World, kind: Kind, name: str) -> str:
    return w.get(kind, name).get("metadata", {}).get("uid", "")


def test_children_that_are_deleted_come_back_and_the_canary_goes_on(world: World) -> None:
    in_canary(world)
    children = [(DEPLOYMENT, B), (DEPLOYMENT, A), (SERVICE, A), (SERVICE, B), (CONFIG_MAP, B), (CONFIG_MAP, A),
                (HTTP_ROUTE, "bot")]  # fmt: skip
    for kind, name in children:
        before = uid(world, kind, name)
        world.remove(kind, name)
        repaired(
            world,
            f"{kind.kind} {name} is back, and so is the weight",
            lambda kind=kind, name=name, before=before: (
                uid(world, kind, name) not in ("", before) and weights(world) == {A: 90, B: 10}
            ),
        )
    assert not rollout(world, B), "a deletion is nobody's verdict on the model"


@dataclass(frozen=True)
class Edit:
    """What somebody writes over a child, and where it is read back."""

    kind: Kind
    name: str
    patch: Json


EDITS = (
    Edit(DEPLOYMENT, A, {"spec": {"replicas": 0}}),
    Edit(DEPLOYMENT, B, {"spec": {"template": {"spec": {"enableServiceLinks": True}}}}),
    Edit(SERVICE, A, {"spec": {"selector": {names.REVISION: B}}}),
    Edit(CONFIG_MAP, B, {"data": {"config.json": "{}"}}),
    Edit(HTTP_ROUTE, "bot", {"spec": {"hostnames": ["other.example.com"]}}),
    Edit(HTTP_ROUTE, "bot", {"spec": {"rules": [{"backendRefs": [{"name": B, "port": 8000, "weight": 100}]}]}}),
    Edit(DEPLOYMENT, A, {"metadata": {"labels": {names.SERVICE: "other"}}}),
)


def test_children_that_are_edited_are_mended(world: World) -> None:
    in_canary(world)
    for edit in EDITS:
        before = world.get(edit.kind, edit.name)
        part = next(iter(edit.patch))
        world.edit(edit.kind, edit.name, edit.patch)

        def mended(edit: Edit = edit, before: Json = before, part: str = part) -> bool:
            now = world.get(edit.kind, edit.name)
            same = now[part] == before[part] if part != "metadata" else now[part]["labels"] == before[part]["labels"]
            return same and weights(world) == {A: 90, B: 10}

        repaired(world, f"{edit.kind.kind} {edit.name} is as it was", mended)
    assert not rollout(world, B)


def test_somebody_elses_object_under_our_labels_is_left_alone(world: World) -> None:
    in_canary(world)
    labels = {names.MANAGED_BY: names.MANAGER, names.SERVICE: "bot", names.STAGE: "serve", names.REVISION: "old"}
    mine = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "labels": labels}, "data": {"a": "b"}}
    world.apply(mine)
    world.measures(B, BAD)
    world.until(lambda: serves_only_with(world, "mine"), "the rollback, and the candidate's children are gone")
    assert world.get(CONFIG_MAP, "mine")["data"] == {"a": "b"}


def serves_only_with(w: World, other: str) -> bool:
    return weights(w) == {A: 100} and w.names(CONFIG_MAP, f"{names.STAGE}=serve") == sorted([A, other])


def test_a_candidate_whose_record_is_deleted_loses_its_traffic(world: World) -> None:
    in_canary(world)
    world.remove(MODEL_REVISION, B)
    repaired(world, "all traffic is A's", lambda: serves(world, A))


def test_a_stable_whose_record_is_deleted_goes_on_serving(world: World) -> None:
    with_stable(world)
    world.remove(MODEL_REVISION, A)
    world.edit(MODEL_SERVICE, "bot", {"metadata": {"labels": {"look": "again"}}})
    time.sleep(3)
    assert weights(world) == {A: 100}
    assert world.names(DEPLOYMENT) == [A]


def test_a_jobs_children_that_are_deleted_come_back(world: World) -> None:
    """The Job of the running attempt, then its pod: the stage runs again, and the model gets to its users."""
    w = world
    w.measures(TRAINED, GOOD)
    w.behaviour.held = {StageName.TRAIN}
    w.apply(*claims(), gate(), service(), job())
    w.until(lambda: runs(w, StageName.TRAIN), "the training runs")
    (running,) = w.names(JOB, f"{names.STAGE}=train")
    before = uid(w, JOB, running)
    w.remove(JOB, running)
    repaired(w, "the training runs again",
             lambda: uid(w, JOB, running) not in ("", before) and runs(w, StageName.TRAIN))  # fmt: skip
    (pod,) = w.names(POD, f"{names.STAGE}=train")
    w.remove(POD, pod)
    repaired(w, "a new attempt runs", lambda: w.names(POD, f"{names.STAGE}=train") not in ([], [pod])
             and runs(w, StageName.TRAIN))  # fmt: skip
    w.behaviour.held = set()
    repaired(w, "the model is promoted", lambda: promoted_at_the_end(w), 60)


# --- namespaces, and an operator that is not there ------------------------------------------------------------------


def gone(w: World, what: str) -> float:
    """How long until the namespace is gone."""
    began = time.monotonic()
    w.api.delete(NAMESPACE.path(None, w.namespace))
    violation = 0
    try:
        w.until(lambda: w.api.get(NAMESPACE.path(None, w.namespace)) is None, "the namespace is gone", GONE_SECONDS)
    except TooLate:
        violation = 1
    took = time.monotonic() - began
    report.record(f"R21: {what}", 1, violation, took)
    assert not violation, f"{w.api.get(NAMESPACE.path(None, w.namespace))}\n{w.timeline()}"
    return took


def test_a_namespace_that_is_deleted_mid_rollout_is_gone_in_a_minute(world: World) -> None:
    world.behaviour.held = {StageName.TRAIN}
    in_canary(world)
    world.apply(*claims(), gate(), job())
    world.until(lambda: runs(world, StageName.TRAIN), "a training runs beside")
    gone(world, "the namespace deleted mid-rollout")
    assert world.operator.alive()
    time.sleep(1)
    calls = world.proxy.calls
    time.sleep(4)
    assert world.proxy.calls - calls < 10, f"it still looks at what is gone\n{world.timeline()}"


def test_nothing_of_ours_holds_a_deletion_back_while_the_operator_is_away(world: World) -> None:
    world.behaviour.held = {StageName.TRAIN}
    in_canary(world)
    world.apply(*claims(), gate(), job())
    world.until(lambda: runs(world, StageName.TRAIN), "a training runs beside")
    world.operator.kill()
    held = [
        f"{kind.kind} {item['metadata']['name']}: {item['metadata']['finalizers']}"
        for kind in (FINE_TUNE_JOB, MODEL_SERVICE, MODEL_REVISION, DEPLOYMENT, SERVICE, CONFIG_MAP, HTTP_ROUTE)
        for item in world.items(kind)
        if item["metadata"].get("finalizers")
    ]
    assert not held
    began = time.monotonic()
    world.remove(MODEL_SERVICE, "bot")
    world.remove(FINE_TUNE_JOB, "bot")
    children = (DEPLOYMENT, SERVICE, CONFIG_MAP, HTTP_ROUTE, JOB, POD)
    world.until(lambda: not any(ours(world, kind) for kind in children), "all children are gone", GONE_SECONDS)
    report.record("R21: objects deleted while the operator is away", 1, 0, time.monotonic() - began)
    gone(world, "the namespace deleted while the operator is away")


def ours(w: World, kind: Kind) -> list[str]:
    return w.names(kind, f"{names.MANAGED_BY}={names.MANAGER}")


@pytest.mark.whole_sweep  # it needs a plane of its own
def test_crds_that_are_deleted_before_the_operator_take_everything_with_them() -> None:
    """`helm uninstall` without `crds.keep`, in the middle of a rollout: nothing hangs, and the operator ends with 0."""
    with Plane() as own, Actors(own) as actors, World(own, actors) as w:
        in_canary(w)
        began = time.monotonic()
        for kind in KINDS.values():
            if kind.api_version.startswith("serin.dev"):
                w.api.delete(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind.plural}.serin.dev")
        crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        w.until(
            lambda: not [one for one in w.api.items(crds) if one["metadata"]["name"].endswith(".serin.dev")],
            "the CRDs are gone", GONE_SECONDS,
        )  # fmt: skip
        children = (DEPLOYMENT, SERVICE, CONFIG_MAP, HTTP_ROUTE, POD)
        w.until(lambda: not any(ours(w, kind) for kind in children), "all children are gone", GONE_SECONDS)
        report.record("R21: the CRDs deleted first", 1, 0, time.monotonic() - began)
        assert w.operator.stop() == 0
        gone(w, "the namespace deleted after the CRDs")
