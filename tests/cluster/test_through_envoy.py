"""What a real gateway makes of our routes: Contour and Envoy say who answers testers, users of an experiment, and copies."""

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from serin_devcluster.apiserver import ApiServer
from serin_operator.api.v1alpha1 import ModelService
from serin_operator.manifests.arms import Arms
from serin_operator.manifests.route import http_route
from support.real_gateway import PATIENCE, SHUT_OUT, RealGateway, real_gateway
from support.service_world import STEPS, a_service, play, with_stable

A, B = "bot-a", "bot-b"
HOST = "bot.example.com"
TESTERS = {"headers": [{"name": "X-Tester", "value": "yes"}], "cookies": [{"name": "preview", "value": "on"}]}
ARMS = Arms(B, A, 30, "sha256:b", header="X-User-Id", cookie_seconds=600)
ANSWERED = {"Accepted": "True", "ResolvedRefs": "True"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealGateway]:
    with ApiServer() as api, real_gateway(api, tmp_path_factory.mktemp("gateway"), "default", (A, B)) as found:
        yield found


def route(*backends: tuple[str, int], **more: Any) -> dict[str, Any]:
    service = a_service()
    service["metadata"]["namespace"] = "default"
    service["spec"]["traffic"]["testers"] = TESTERS
    made = http_route(ModelService.model_validate(service), backends, **more)
    del made["metadata"]["ownerReferences"]  # there is no ModelService here
    return made


def in_force(gateway: RealGateway, made: dict[str, Any]) -> None:
    assert gateway.routes(made) == ANSWERED
    deadline = time.monotonic() + PATIENCE
    while not gateway.in_force(HOST) or gateway.get(HOST)[0] not in (A, B):
        assert time.monotonic() < deadline, "nobody answers"
        time.sleep(0.2)
    time.sleep(1)  # of servers to whom nobody was sent before it is told apart from the route


def quiet(gateway: RealGateway) -> None:
    """Until nobody was asked for a second."""
    before = None
    while before != (before := dict(gateway.servers.asked)):
        time.sleep(1)


def answers(gateway: RealGateway, times: int, **headers: str) -> Counter[str]:
    return Counter(gateway.get(HOST, **headers)[0] for _ in range(times))


def test_testers_meet_the_candidate_and_nobody_else_does(gateway: RealGateway) -> None:
    in_force(gateway, route((A, 100), (B, 0), testers=B))
    assert answers(gateway, 50) == {A: 50}
    assert answers(gateway, 20, **{"X-Tester": "yes"}) == {B: 20}
    assert answers(gateway, 20, Cookie="a=1; preview=on; b=2") == {B: 20}
    assert answers(gateway, 20, Cookie="preview=onward") == {A: 20}


def test_copies_reach_the_candidate_and_users_get_the_answers_of_the_stable(gateway: RealGateway) -> None:
    in_force(gateway, route((A, 100), (B, 0), mirror=B))
    quiet(gateway)  # there are copies of the requests that found it in force
    gateway.servers.asked.clear()
    assert answers(gateway, 50) == {A: 50}
    deadline = time.monotonic() + PATIENCE
    while gateway.servers.asked[B] < 50 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert gateway.servers.asked == {A: 50, B: 50}


def test_users_of_an_experiment_keep_their_revision(gateway: RealGateway) -> None:
    in_force(gateway, route((A, 70), (B, 30), arms=ARMS))
    users = [str(uuid.UUID(int=i * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)) for i in range(1, 201)]
    first = [gateway.get(HOST, **{"X-User-Id": user})[0] for user in users]
    assert [gateway.get(HOST, **{"x-user-id": user.upper()})[0] for user in users] == first
    assert 0.2 < first.count(B) / len(users) < 0.4
    assert answers(gateway, 30, Cookie=f"a=1; serin-arm={B}") == {B: 30}
    assert answers(gateway, 30, Cookie=f"serin-arm={A}; b=2") == {A: 30}
    by_key = [gateway.get(HOST, **{"X-User-Id": user, "Cookie": f"serin-arm={A}"})[0] for user in users[:30]]
    assert by_key == first[:30]


def test_a_new_user_gets_the_cookie_of_who_answered_and_the_servers_own_stays(gateway: RealGateway) -> None:
    in_force(gateway, route((A, 70), (B, 30), arms=ARMS))
    found = [gateway.get(HOST) for _ in range(100)]
    assert {name for name, _ in found} == {A, B}
    for name, cookies in found:
        assert cookies == ["its-own=1", f"serin-arm={name}; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"]
    assert gateway.get(HOST, Cookie=f"serin-arm={B}") == (B, ["its-own=1"])


def test_a_cookie_of_an_older_experiment_does_nothing(gateway: RealGateway) -> None:
    in_force(gateway, route((A, 70), (B, 30), arms=ARMS))
    assert set(answers(gateway, 100, Cookie="serin-arm=bot-gone")) == {A, B}


def test_a_gateway_that_does_not_admit_the_namespace_is_told_and_no_weight_moves(gateway: RealGateway) -> None:
    """Contour says it of a real route; a service that reads this of its own route goes no step further."""
    refused = route((A, 100))
    refused["metadata"]["namespace"] = SHUT_OUT
    status = gateway.told(refused)["status"]

    world, stable = with_stable()
    candidate = world.passes("b")
    play(world, 30, until=lambda world: world.weights == {stable: 90, candidate: 10})
    world.gateway_up = False  # Contour speaks instead of the played one
    world.objects[world.route_key]["status"] = at_generation(status, world.objects[world.route_key])
    play(world, 2 * STEPS[0]["holdSeconds"])

    found = world.snapshot().route
    assert found is not None
    assert (found.programmed, found.serving) == (False, False)
    assert found.problem.startswith("Accepted is False (NotAllowedByListeners): ")
    condition = world.condition("RouteProgrammed")
    assert (condition["status"], condition["reason"], condition["message"]) == ("False", "Refused", found.problem)
    assert world.weights == {stable: 90, candidate: 10}


def at_generation(status: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """What was said, as if of this route."""
    said = deepcopy(status)
    for condition in said["parents"][0]["conditions"]:
        condition["observedGeneration"] = made["metadata"]["generation"]
    return said
