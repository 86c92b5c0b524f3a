"""The apiserver's answers, turned into what they mean for the next step. A small HTTP server stands for it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import ApiClient, Configuration
from serin_operator.api import kinds
from serin_operator.errors import ClusterUnavailable, Conflict, Refused
from serin_operator.rest import Cluster

Answer = Callable[[web.Request], Awaitable[web.Response]]
Asking = Callable[[Answer], Awaitable[Cluster]]
JOB: dict[str, Any] = {"metadata": {"name": "j", "namespace": "ml"}}


@pytest.fixture
async def asking() -> AsyncIterator[Asking]:
    """Start a server with this answer and connect to it."""
    open_things: list[Any] = []

    async def start(answer: Answer) -> Cluster:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        server = TestServer(app)
        await server.start_server()
        settings = Configuration()
        settings.host = str(server.make_url("")).rstrip("/")
        client = ApiClient(settings)
        open_things.extend([client, server])
        return Cluster(client)

    yield start
    for thing in open_things:
        await thing.close()


def saying(status: int, reason: str = "", message: str = "", **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"reason": reason, "message": message}, status=status, headers=headers)

    return answer


async def test_what_is_not_there_is_none_and_an_unknown_kind_is_an_empty_list(asking: Asking) -> None:
    cluster = await asking(saying(404, "NotFound"))
    assert await cluster.get(kinds.JOB, "ml", "j") is None
    assert await cluster.list(kinds.HTTP_ROUTE, "ml") == []


async def test_created_before_is_success(asking: Asking) -> None:
    assert await (await asking(saying(409, "AlreadyExists"))).create(kinds.JOB, JOB) is False
    assert await (await asking(saying(201))).create(kinds.JOB, JOB) is True


async def test_deleted_before_is_success(asking: Asking) -> None:
    await (await asking(saying(404, "NotFound"))).delete(kinds.JOB, "ml", "j", "u", "3")


async def test_another_uid_is_a_conflict(asking: Asking) -> None:
    with pytest.raises(Conflict):
        await (await asking(saying(409, "Conflict", "the UID in the precondition differs"))).delete(
            kinds.JOB, "ml", "j", "u", "3"
        )


@pytest.mark.parametrize("status", [401, 429, 500, 502, 503, 504])
async def test_what_may_heal_is_looked_at_again(asking: Asking, status: int) -> None:
    with pytest.raises(ClusterUnavailable):
        await (await asking(saying(status))).apply(kinds.JOB, JOB, "m")


async def test_the_apiservers_wish_to_wait_is_heard(asking: Asking) -> None:
    cluster = await asking(saying(429, "TooManyRequests", "slow down", **{"Retry-After": "7"}))
    with pytest.raises(ClusterUnavailable) as caught:
        await cluster.apply(kinds.JOB, JOB, "m")
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("status", [400, 403, 422])
async def test_a_refusal_carries_the_apiservers_sentence(asking: Asking, status: int) -> None:
    with pytest.raises(Refused, match="must be a number"):
        await (await asking(saying(status, "Invalid", "spec.x must be a number"))).apply(kinds.JOB, JOB, "m")


async def test_an_answer_that_is_not_json_is_still_explained(asking: Asking) -> None:
    async def html(_: web.Request) -> web.Response:
        return web.Response(status=502, text="<html>bad gateway</html>")

    with pytest.raises(ClusterUnavailable, match="bad gateway"):
        await (await asking(html)).get(kinds.JOB, "ml", "j")


async def test_a_dead_apiserver_is_unavailable() -> None:
    settings = Configuration()
    settings.host = "http://127.0.0.1:1"
    client = ApiClient(settings)
    try:
        with pytest.raises(ClusterUnavailable):
            await Cluster(client).get(kinds.JOB, "ml", "j")
    finally:
        await client.close()


async def test_an_apply_is_server_side_with_its_manager_and_forced(asking: Asking) -> None:
    seen: list[web.Request] = []
    bodies: list[Any] = []

    async def note(request: web.Request) -> web.Response:
        seen.append(request)
        bodies.append(await request.json())
        return web.json_response({"metadata": {}})

    await (await asking(note)).apply(kinds.FINE_TUNE_JOB, JOB, "serin-status", subresource="status")
    [request] = seen
    assert request.method == "PATCH"
    assert request.path == "/apis/serin.dev/v1alpha1/namespaces/ml/finetunejobs/j/status"
    assert request.headers["Content-Type"] == "application/apply-patch+yaml"
    assert dict(request.query) == {"fieldManager": "serin-status", "force": "true"}
    assert bodies == [JOB]


async def test_a_list_knows_its_kind_and_its_selector(asking: Asking) -> None:
    async def items(request: web.Request) -> web.Response:
        assert request.query["labelSelector"] == "a=b"
        return web.json_response({"items": [{"metadata": {"name": "p"}}]})

    [pod] = await (await asking(items)).list(kinds.POD, "ml", "a=b")
    assert (pod["kind"], pod["apiVersion"]) == ("Pod", "v1")
