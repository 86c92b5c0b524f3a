"""The apiserver's answers, turned into what they mean for the next step. A small HTTP server stands for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import ApiClient, Configuration
from serin_operator.api import kinds
from serin_operator.errors import ClusterUnavailable, Conflict, NotLeading, Refused
from serin_operator.patience import Patience
from serin_operator.rest import Cluster

Answer = Callable[[web.Request], Awaitable[web.Response]]
Asking = Callable[..., Awaitable[Cluster]]
JOB: dict[str, Any] = {"metadata": {"name": "j", "namespace": "ml"}}


@pytest.fixture
async def asking() -> AsyncIterator[Asking]:
    """Start a server with this answer and connect to it."""
    open_things: list[Any] = []

    async def start(
        answer: Answer, patience: Patience | None = None, may_write: Callable[[], bool] = lambda: True
    ) -> Cluster:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        server = TestServer(app)
        await server.start_server()
        settings = Configuration()
        settings.host = str(server.make_url("")).rstrip("/")
        client = ApiClient(settings)
        open_things.extend([client, server])
        return Cluster(client, patience=patience or Patience(tries=1), may_write=may_write)

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


async def test_what_was_written_is_told_and_what_was_there_is_not() -> None:
    told: list[str] = []
    answers = iter([201, 409, 200])

    async def answer(_: web.Request) -> web.Response:
        body = {"metadata": {"name": "j", "uid": "u"}, "reason": "AlreadyExists"}
        return web.json_response(body, status=next(answers))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        settings = Configuration()
        settings.host = str(server.make_url("")).rstrip("/")
        async with ApiClient(settings) as client:
            cluster = Cluster(client, made=lambda kind, found: told.append(f"{kind.kind} {found['metadata']['uid']}"))
            for _ in range(2):
                await cluster.create(kinds.JOB, JOB)
            await cluster.apply(kinds.POD, JOB, "m")
    assert told == ["Job u", "Pod u"]


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
            await Cluster(client, patience=Patience(tries=2)).get(kinds.JOB, "ml", "j")
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


async def test_an_amendment_is_a_merge_patch_at_a_version(asking: Asking) -> None:
    seen: list[tuple[str, str, str, dict[str, str], Any]] = []

    async def note(request: web.Request) -> web.Response:
        kind = request.headers["Content-Type"]
        seen.append((request.method, request.path, kind, dict(request.query), await request.json()))
        return web.json_response({"metadata": {}})

    await (await asking(note)).amend(kinds.HTTP_ROUTE, "ml", "chat", {"spec": {"rules": []}}, "7", "serin-traffic")
    path = "/apis/gateway.networking.k8s.io/v1/namespaces/ml/httproutes/chat"
    body = {"spec": {"rules": []}, "metadata": {"resourceVersion": "7"}}
    manager = {"fieldManager": "serin-traffic"}
    assert seen == [("PATCH", path, "application/merge-patch+json", manager, body)]


@pytest.mark.parametrize("status", [404, 409])
async def test_an_amendment_of_an_object_that_is_gone_or_newer_is_a_stale_look(asking: Asking, status: int) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({"reason": "x", "message": "no"}, status=status)

    with pytest.raises(Conflict):
        await (await asking(refuse)).amend(kinds.HTTP_ROUTE, "ml", "chat", {}, "7", "serin-traffic")


async def test_a_list_knows_its_kind_and_its_selector(asking: Asking) -> None:
    async def items(request: web.Request) -> web.Response:
        assert request.query["labelSelector"] == "a=b"
        return web.json_response({"items": [{"metadata": {"name": "p"}}]})

    [pod] = await (await asking(items)).list(kinds.POD, "ml", "a=b")
    assert (pod["kind"], pod["apiVersion"]) == ("Pod", "v1")


# --- repeating single calls -----------------------------------------------------------------------------------------


def failing(times: int, how: int | str, **headers: str) -> tuple[Answer, list[str]]:
    """Answers badly so many times, then well; and who asked."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.method)
        if len(asked) > times:
            return web.json_response({"metadata": {"name": "j"}})
        if isinstance(how, int):
            return web.json_response({"reason": "Whatever"}, status=how, headers=headers)
        if how == "cut":
            assert request.transport is not None
            request.transport.abort()
        return web.Response(text="{half of it")

    return answer, asked


CALLS: dict[str, Callable[[Cluster], Awaitable[Any]]] = {
    "GET": lambda cluster: cluster.get(kinds.JOB, "ml", "j"),
    "POST": lambda cluster: cluster.create(kinds.JOB, JOB),
    "PATCH": lambda cluster: cluster.apply(kinds.JOB, JOB, "m"),
    "PUT": lambda cluster: cluster.replace(kinds.JOB, JOB),
    "DELETE": lambda cluster: cluster.delete(kinds.JOB, "ml", "j", "u", "1"),
}


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("how", [429, 500, 502, 503, 504, "cut", "half"])
async def test_a_call_that_may_heal_is_repeated(asking: Asking, method: str, how: int | str) -> None:
    answer, asked = failing(2, how)
    await CALLS[method](await asking(answer, Patience()))
    assert asked == [method] * 3


@pytest.mark.parametrize("how", [500, 502, 504, "cut", "half"])
async def test_a_creation_that_may_have_happened_is_the_next_looks_affair(asking: Asking, how: int | str) -> None:
    answer, asked = failing(1, how)
    with pytest.raises(ClusterUnavailable) as caught:
        await (await asking(answer, Patience())).create(kinds.JOB, JOB, blindly=False)
    assert caught.value.perhaps
    assert asked == ["POST"]


@pytest.mark.parametrize("how", [429, 503])
async def test_a_creation_that_has_not_happened_is_repeated(asking: Asking, how: int) -> None:
    answer, asked = failing(2, how)
    assert await (await asking(answer, Patience())).create(kinds.JOB, JOB, blindly=False)
    assert asked == ["POST"] * 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
async def test_a_call_that_time_does_not_heal_is_not_repeated(asking: Asking, status: int) -> None:
    answer, asked = failing(9, status)
    cluster = await asking(answer, Patience())
    with pytest.raises((Refused, Conflict, ClusterUnavailable)):
        await cluster.apply(kinds.JOB, JOB, "m")
    assert asked == ["PATCH"]


async def test_the_apiservers_wish_to_wait_is_obeyed(asking: Asking) -> None:
    answer, _ = failing(1, 429, **{"Retry-After": "1"})
    cluster = await asking(answer, Patience())
    began = asyncio.get_running_loop().time()
    await cluster.get(kinds.JOB, "ml", "j")
    assert asyncio.get_running_loop().time() - began >= 1.0


async def test_a_wish_to_wait_for_long_is_the_looks_affair(asking: Asking) -> None:
    answer, asked = failing(1, 503, **{"Retry-After": "60"})
    with pytest.raises(ClusterUnavailable) as caught:
        await (await asking(answer, Patience())).get(kinds.JOB, "ml", "j")
    assert caught.value.retry_after == 60
    assert asked == ["GET"]


async def test_a_held_call_is_given_up_and_repeated(asking: Asking) -> None:
    asked = 0

    async def holding(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        if asked == 1:
            await asyncio.sleep(10)
        return web.json_response({"metadata": {}})

    await (await asking(holding, Patience(try_seconds=1.0))).get(kinds.JOB, "ml", "j")
    assert asked == 2


@pytest.mark.parametrize("method", [method for method in CALLS if method != "GET"])
async def test_a_write_is_not_repeated_once_the_lease_ran_out(asking: Asking, method: str) -> None:
    answer, asked = failing(9, 500)
    cluster = await asking(answer, Patience(), may_write=lambda: not asked)
    with pytest.raises(NotLeading):
        await CALLS[method](cluster)
    assert asked == [method]


async def test_reading_needs_no_lease(asking: Asking) -> None:
    answer, _ = failing(1, 500)
    assert await (await asking(answer, Patience(), may_write=lambda: False)).get(kinds.JOB, "ml", "j")


async def test_an_apiserver_that_refuses_everything_is_asked_ever_less(asking: Asking) -> None:
    answer, asked = failing(10**6, 500)
    cluster = await asking(answer, Patience(tries=2))
    cluster._budget.left = 20.0
    for _ in range(50):
        with pytest.raises(ClusterUnavailable):
            await asyncio.wait_for(cluster.get(kinds.JOB, "ml", "j"), 60)
    assert len(asked) == 50 + 20


# --- metadata -------------------------------------------------------------------------------------------------------


async def test_metadata_comes_in_chunks_and_without_the_rest(asking: Asking) -> None:
    seen: list[web.Request] = []

    async def chunks(request: web.Request) -> web.Response:
        seen.append(request)
        further = {"continue": "there is more"} if len(seen) == 1 else {}
        items = [{"metadata": {"name": f"p{len(seen)}"}}]
        return web.json_response({"metadata": {"resourceVersion": "7", **further}, "items": items})

    cluster = await asking(chunks)
    found = [chunk async for chunk in cluster.metadata(kinds.POD, "a=b")]
    assert found == [([{"name": "p1"}], "7"), ([{"name": "p2"}], "7")]
    assert [dict(request.query) for request in seen] == [
        {"limit": "500", "labelSelector": "a=b"},
        {"limit": "500", "labelSelector": "a=b", "continue": "there is more"},
    ]
    assert {request.headers["Accept"] for request in seen} == {
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    }


async def test_a_kind_that_is_not_installed_has_no_metadata(asking: Asking) -> None:
    cluster = await asking(saying(404, "NotFound"))
    assert [chunk async for chunk in cluster.metadata(kinds.HTTP_ROUTE, "")] == []
