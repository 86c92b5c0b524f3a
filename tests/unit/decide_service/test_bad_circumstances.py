"""What may go wrong around a canary, as a list: what people read, and where traffic is meanwhile.

Each begins with a stable at 90 percent and a good candidate at 10, unless it says otherwise. An operator that is replaced in
the middle of a step is in tests/faults, where there is an operator to replace; what a source's slow or strange answers
look like on the wire is in tests/unit/rest and tests/unit/scripted_prometheus.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from serin_operator.decide.service.snapshot import ReadingKind
from support.service_world import (
    GATEWAY_NAME,
    INFRA,
    SERVICE,
    Json,
    Model,
    World,
    a_neighbour,
    play,
    stable_is,
    with_stable,
)

STABLE, CANARY = "the stable", "the candidate"
HELD = {STABLE: 90, CANARY: 10}
BACK = {STABLE: 100}


@dataclass(frozen=True)
class Bad:
    """Something happens; the condition that tells of it, and the shares."""

    happens: Callable[[World, str, str], object]
    condition: tuple[str, str, str]
    says: str
    shares: dict[str, int]
    seconds: int = 25


def measured(kind: ReadingKind, text: str = "") -> Callable[[World, str, str], object]:
    return lambda world, _, candidate: world.models[candidate].says("latency", kind, text=text)


def source_away(world: World, *_: str) -> None:
    world.sources.away = True


def gateway_deleted(world: World, *_: str) -> None:
    world.remove("Gateway", GATEWAY_NAME)


def gateway_stops(world: World, *_: str) -> None:
    """Its controller says so; of the route it still says what it said."""
    status = {"type": "Programmed", "status": "False", "reason": "AddressNotUsable", "message": "no address is left"}
    world.objects[("Gateway", GATEWAY_NAME)]["status"]["conditions"] = [status]


def gateway_says(type_: str, reason: str, message: str) -> Callable[[World, str, str], None]:
    """The Gateway refuses what the route says from now on."""

    def refuse(world: World, *_: str) -> None:
        world.gateway_up = False
        route = world.objects[("HTTPRoute", SERVICE)]
        generation = route["metadata"]["generation"]
        said = [
            {"type": one, "status": "False" if one == type_ else "True", "reason": reason if one == type_ else one,
             "message": message if one == type_ else "", "observedGeneration": generation}
            for one in ("Accepted", "ResolvedRefs")
        ]  # fmt: skip
        route["status"] = {"parents": [{"parentRef": {"namespace": INFRA, "name": GATEWAY_NAME}, "conditions": said}]}

    return refuse


def stable_lost_and_candidate_bad(world: World, stable: str, candidate: str) -> None:
    world.models[stable].ready = False
    play(world, 2)
    world.models[candidate].says("length", ReadingKind.VALUE, 126.0)


def canary_lost(world: World, _: str, candidate: str) -> None:
    world.models[candidate].ready = False


def out_of_room(world: World, _: str, candidate: str) -> None:
    world.models[candidate].blocked = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu"


def hostname_of_two(world: World, *_: str) -> None:
    world.neighbours = [a_neighbour(["taken.example.com"], world.now - timedelta(days=1))]
    world.edit(lambda spec: spec["traffic"].update(hostnames=["taken.example.com"]))


WORSE = "the candidate is bad while no pod of the stable answers"
LIST = {
    "Prometheus is down": Bad(
        source_away, ("MetricsAvailable", "False", "MetricsOutage"), "metric source default cannot be reached", HELD
    ),
    "Prometheus answers too late": Bad(
        measured(ReadingKind.OUTAGE, "metric source default gave no answer within 8 s"),
        ("MetricsAvailable", "False", "MetricsOutage"), "no answer within 8 s; the canary holds", HELD,
    ),
    "Prometheus answers 500": Bad(
        measured(ReadingKind.OUTAGE, "metric source default answered 500"),
        ("MetricsAvailable", "False", "MetricsOutage"), "answered 500; the canary holds", HELD,
    ),
    "the answer is empty": Bad(
        measured(ReadingKind.NO_DATA), ("MetricsAvailable", "False", "NoData"), "the canary holds", HELD
    ),
    "the answer is no number": Bad(
        measured(ReadingKind.NOT_A_NUMBER), ("MetricsAvailable", "False", "NotANumber"), "the canary holds", HELD
    ),
    "the answer has two series": Bad(
        measured(ReadingKind.SEVERAL_SERIES), ("MetricsAvailable", "False", "SeveralSeries"), "the canary holds", HELD
    ),
    "the answer is old": Bad(
        measured(ReadingKind.STALE), ("MetricsAvailable", "False", "StaleSample"), "the canary holds", HELD
    ),
    "the Gateway is gone": Bad(
        gateway_deleted, ("GatewayReady", "False", "GatewayNotFound"), "spec.traffic.gatewayRef", HELD
    ),
    "the Gateway is not programmed any more": Bad(
        gateway_stops, ("GatewayReady", "False", "GatewayNotProgrammed"), "no address is left", HELD
    ),
    "the route is refused": Bad(
        gateway_says("ResolvedRefs", "BackendNotFound", "service bot-x not found"),
        ("RouteProgrammed", "False", "Refused"), "service bot-x not found", HELD,
    ),
    "the listener does not let the route in": Bad(
        gateway_says("Accepted", "NotAllowedByListeners", "no listener allows routes of namespace ml"),
        ("RouteProgrammed", "False", "Refused"), "no listener allows routes of namespace ml", HELD,
    ),
    "the candidate's pods stop answering": Bad(
        canary_lost, ("CanaryHealthy", "Unknown", "NotReady"), "lost its traffic: no pod answers", BACK, 5
    ),
    "the cluster has no room for its pods": Bad(
        out_of_room, ("CanaryHealthy", "Unknown", "PodsBlocked"), "Insufficient nvidia.com/gpu", BACK, 5
    ),
    WORSE: Bad(
        stable_lost_and_candidate_bad, ("Ready", "False", "NoHealthyStable"), "", HELD, 10,
    ),
    "two services want one hostname": Bad(
        hostname_of_two, ("RouteProgrammed", "False", "HostnameTaken"), "taken.example.com", HELD, 5
    ),
}  # fmt: skip


def under_way(hold: int = 600) -> tuple[World, str, str]:
    """A candidate in its first step."""
    last = {"weightPercent": 100, "holdSeconds": 5}
    world, stable = with_stable(steps=[{"weightPercent": 10, "holdSeconds": hold}, last])
    candidate = world.passes("b")
    play(world, 100, until=lambda w: w.weights == {stable: 90, candidate: 10})
    play(world, 10)
    return world, stable, candidate


@pytest.mark.parametrize("name", LIST)
def test_people_read_what_is_wrong_and_traffic_is_safe(name: str) -> None:
    world, stable, candidate = under_way(
        hold=20
    )  # which is over before the test is: what is held is held by what happens
    bad = LIST[name]
    bad.happens(world, stable, candidate)
    play(world, bad.seconds)
    type_, status, reason = bad.condition
    found = world.condition(type_)
    assert (found["status"], found["reason"]) == (status, reason), world.status["message"]
    assert bad.says in found["message"]
    names = {STABLE: stable, CANARY: candidate}
    assert world.weights == {names[who]: share for who, share in bad.shares.items()}
    assert ("rejection" in world.rollout(candidate)) == (name == WORSE)


@pytest.mark.parametrize("happens", [gateway_deleted, gateway_stops])
def test_a_breach_takes_a_candidate_out_although_its_gateway_serves_nobody(happens: Callable[[World], None]) -> None:
    world, stable, candidate = under_way()
    happens(world)
    play(world, 5)
    world.models[candidate].says("latency", ReadingKind.VALUE, 9.0)
    play(world, 10, until=lambda w: w.weights == {stable: 100})
    assert world.weights == {stable: 100}
    assert "rejection" in world.rollout(candidate)


@pytest.mark.parametrize("happens", [gateway_deleted, gateway_stops])
def test_nobody_is_promoted_behind_a_gateway_that_serves_nobody_until_it_does(happens: Callable[[World], None]) -> None:
    world, stable = with_stable()
    gateway = copy.deepcopy(world.objects[("Gateway", GATEWAY_NAME)])
    happens(world)
    candidate = world.passes("b")
    play(world, 300)
    assert world.weights == {stable: 100}
    assert "waiting for the Gateway" in world.status["message"]
    world.objects[("Gateway", GATEWAY_NAME)] = gateway
    play(world, 600, until=stable_is(candidate))
    assert world.status["stable"]["revision"] == candidate


@pytest.mark.parametrize("hours", [1, -1, 24])
def test_a_clock_that_jumps_neither_ends_nor_stops_the_step(hours: int) -> None:
    world, stable, candidate = under_way(hold=60)
    world.skew = timedelta(hours=hours)
    play(world, 30)
    assert world.weights == {stable: 90, candidate: 10}
    play(world, 120, until=stable_is(candidate))
    assert world.status["stable"]["revision"] == candidate


NEVER: dict[str, tuple[Json, str]] = {
    "it never becomes ready": ({"name": "server", "state": {"running": {}}}, "0 of 1 pods ready"),
    "it is killed for its memory": (
        {"name": "server", "state": {"waiting": {"reason": "CrashLoopBackOff"}},
         "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}},
        "the server ended with exit code 137 (OOMKilled)",
    ),
    "its weights are missing": (
        {"name": "server", "state": {"terminated": {"exitCode": 65, "reason": "Error",
         "message": "serin: pvc://artifacts/ml/model-b holds no manifest."}}},
        "pvc://artifacts/ml/model-b holds no manifest.",
    ),
    "its files are not those that were evaluated": (
        {"name": "server", "state": {"terminated": {"exitCode": 65, "reason": "Error",
         "message": "model.safetensors is not the file that was evaluated: its digest is sha256:1."}}},
        "is not the file that was evaluated",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NEVER)
def test_a_candidate_that_cannot_start_never_gets_traffic_and_is_rejected_with_what_its_pod_says(name: str) -> None:
    world, stable = with_stable()
    container, says = NEVER[name]
    candidate = world.passes("b", Model(ready=False, container=container))
    world.weight_log.clear()
    play(world, 100, until=lambda w: "rejection" in w.rollout(candidate))
    assert world.rollout(candidate)["rejection"]["reason"] == "CandidateNotReady"
    assert says in world.rollout(candidate)["rejection"]["message"]
    assert world.weights == {stable: 100}
    assert all(candidate not in weights for _, weights in world.weight_log)
    assert world.condition("CanaryHealthy")["status"] == "False"


def test_an_image_that_is_missing_holds_the_candidate_without_traffic_and_condemns_nobody() -> None:
    world, stable = with_stable()
    container = {"name": "server", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}}}
    candidate = world.passes("b", Model(ready=False, container=container))
    play(world, 120)
    assert "ImagePullBackOff: no such tag" in world.condition("CanaryHealthy")["message"]
    assert world.condition("CanaryHealthy")["reason"] == "PodsBlocked"
    assert world.weights == {stable: 100}
    assert "rejection" not in world.rollout(candidate)
