"""HTTP: paths, bodies, streams and errors in the words of OpenAI's API.

Not here: what requests may ask for (`openai.py`), computing answers (`engine.py`), start and end (`serving.py`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serin_server.config import ServeConfig
from serin_server.engine import End, Engine, Event, Piece, Request
from serin_server.errors import Broken, MethodNotAllowed, NotFound, RequestError, TooLarge
from serin_server.feedback import Feedback, FeedbackRequest
from serin_server.metrics import Metrics
from serin_server.model import ServedModel
from serin_server.openai import STREAM_END, Answers, ChatRequest, CompletionRequest, Usage, event, parse
from serin_server.receipts import Receipts
from serin_server.sampling import Sampler
from serin_server.text import TextStream

MOST_BODY_BYTES = 2**20
_CLIENT_CLOSED = 499
"""What nginx calls a request whose client went away before the answer."""


@dataclass
class Service:
    """All that the paths need."""

    config: ServeConfig
    model: ServedModel
    engine: Engine
    metrics: Metrics
    draining: bool = False
    created: int = field(default_factory=lambda: int(time.time()))
    receipts: Receipts = field(init=False)
    feedback: Feedback = field(init=False)

    def __post_init__(self) -> None:
        self.receipts = Receipts.of(self.config.feedback_key)
        self.feedback = Feedback(self.receipts, self.metrics)


Endpoint = Callable[[Service, HttpRequest], Awaitable[Response]]


def build(service: Service) -> ASGIApp:
    """The application."""
    paths: dict[str, tuple[str, Endpoint]] = {
        "/health": ("GET", _health),
        "/metrics": ("GET", _metrics),
        "/v1/models": ("GET", _models),
        "/v1/completions": ("POST", partial(_complete, CompletionRequest)),
        "/v1/chat/completions": ("POST", partial(_complete, ChatRequest)),
        "/v1/feedback": ("POST", _feedback),
    }
    routes = [Route(path, partial(endpoint, service), methods=[method]) for path, (method, endpoint) in paths.items()]
    handlers: dict[Any, Any] = {RequestError: _refused, HTTPException: _no_such_path, Exception: _unforeseen}
    return _Observed(Starlette(routes=routes, exception_handlers=handlers), service, frozenset(paths))


class _Observed:
    """Around every answer: counts it, names the revision, and asks clients to leave while the server drains."""

    def __init__(self, app: ASGIApp, service: Service, paths: frozenset[str]) -> None:
        self._app, self._service, self._paths = app, service, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status = 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", []), *self._headers()]}
            await send(message)

        try:
            await self._app(scope, receive, observed)
        finally:
            handler = scope["path"] if scope["path"] in self._paths else "none"
            method = scope["method"] if scope["method"] in ("GET", "POST", "HEAD") else "other"
            self._service.metrics.http(handler, method, status)

    def _headers(self) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-serin-revision", self._service.config.revision.encode())]
        if self._service.draining:
            headers.append((b"connection", b"close"))
        return headers


async def _health(service: Service, http: HttpRequest) -> Response:
    if service.draining:
        return JSONResponse({"status": "draining"}, 503)
    if not service.engine.alive:
        return JSONResponse({"status": "the engine's thread has ended"}, 503)
    return JSONResponse({"status": "ok"})


async def _metrics(service: Service, http: HttpRequest) -> Response:
    return Response(service.metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _models(service: Service, http: HttpRequest) -> Response:
    model = {
        "id": service.config.model.name,
        "object": "model",
        "created": service.created,
        "owned_by": "serin",
        "root": service.config.model.digest,
        "max_model_len": service.model.context,
    }
    return JSONResponse({"object": "list", "data": [model]})


async def _feedback(service: Service, http: HttpRequest) -> Response:
    return JSONResponse(service.feedback.hear(parse(await _body(http), FeedbackRequest), time.time()))


async def _complete(kind: type[CompletionRequest] | type[ChatRequest], service: Service, http: HttpRequest) -> Response:
    asked = parse(await _body(http), kind)
    if asked.model != service.config.model.name:
        raise NotFound(f"The model {asked.model} does not exist here.", "model", "model_not_found")
    answers = Answers(isinstance(asked, ChatRequest), _new_id(service, asked), int(time.time()), asked.model)
    events: asyncio.Queue[Event] = asyncio.Queue()
    request = _request(service, asked, events)
    service.engine.submit(request)
    answered = partial(service.metrics.answered, asked.sent())
    if not asked.stream:
        return await _whole(http, request, events, answers, answered)
    usage_wanted = asked.wants_usage_chunk()
    stream = _stream(request, events, answers, answered, with_usage=usage_wanted)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-cache"})


def _request(service: Service, asked: CompletionRequest | ChatRequest, events: asyncio.Queue[Event]) -> Request:
    model = service.model
    prompt = model.chat(asked.plain_messages()) if isinstance(asked, ChatRequest) else model.prompt(asked.text())
    loop = asyncio.get_running_loop()
    temperature = model.defaults.temperature if asked.temperature is None else asked.temperature
    top_p = model.defaults.top_p if asked.top_p is None else asked.top_p

    held: list[str] = []

    def pass_on(said: Event) -> None:
        with suppress(RuntimeError):  # the loop is gone when the server was ended by force
            loop.call_soon_threadsafe(events.put_nowait, said)

    def tell(said: Event) -> None:
        """Who does not stream is told once: waking the loop at every token takes time from the next one."""
        if isinstance(said, Piece) and not asked.stream:
            held.append(said.text)
            return
        if held:
            pass_on(Piece("".join(held)))
        pass_on(said)

    return Request(
        prompt=prompt,
        sampler=Sampler(temperature, top_p, asked.seed),
        most_tokens=model.most_tokens(prompt, asked.most_tokens(), service.config.max_new_tokens),
        text=TextStream(model.decode, asked.stops()),
        tell=tell,
    )


async def _whole(
    http: HttpRequest,
    request: Request,
    events: asyncio.Queue[Event],
    answers: Answers,
    answered: Callable[[str], None],
) -> Response:
    """The answer in one piece; a client that goes away meanwhile takes its request with it."""
    gone = asyncio.create_task(_gone(http))
    collected = asyncio.create_task(_collect(events))
    try:
        await asyncio.wait({gone, collected}, return_when=asyncio.FIRST_COMPLETED)
        if not collected.done():
            request.abandon()
            return Response(status_code=_CLIENT_CLOSED)
        text, end = collected.result()
        answered(text)
        usage = Usage(len(request.prompt), end.completion_tokens)
        return JSONResponse(answers.whole(text, end.finish_reason, usage))
    finally:
        gone.cancel()
        collected.cancel()


async def _collect(events: asyncio.Queue[Event]) -> tuple[str, End]:
    pieces: list[str] = []
    while True:
        match await events.get():
            case Piece(text):
                pieces.append(text)
            case End() as end:
                return "".join(pieces), end
            case Broken() as broken:
                raise broken


async def _stream(
    request: Request,
    events: asyncio.Queue[Event],
    answers: Answers,
    answered: Callable[[str], None],
    *,
    with_usage: bool,
) -> AsyncIterator[bytes]:
    """Server-sent events; when the client goes away, Starlette cancels this generator."""
    said: list[str] = []
    try:
        for document in answers.opening():
            yield event(document)
        while True:
            match await events.get():
                case Piece(text):
                    said.append(text)
                    yield event(answers.piece(text))
                case End(finish_reason, completion_tokens):
                    answered("".join(said))
                    usage = Usage(len(request.prompt), completion_tokens)
                    for document in answers.closing(finish_reason, usage, with_usage=with_usage):
                        yield event(document)
                    break
                case Broken() as broken:
                    yield event(broken.body())
                    break
        yield STREAM_END
    finally:
        request.abandon()


async def _body(http: HttpRequest) -> bytes:
    body = bytearray()
    try:
        async for chunk in http.stream():
            body += chunk
            if len(body) > MOST_BODY_BYTES:
                raise TooLarge(f"The body has more than {MOST_BODY_BYTES} bytes.", code="body_too_large")
    except ClientDisconnect as error:
        raise RequestError("The body ended early.", code="incomplete_body") from error
    return bytes(body)


async def _gone(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


def _new_id(service: Service, asked: CompletionRequest | ChatRequest) -> str:
    kind = "chatcmpl" if isinstance(asked, ChatRequest) else "cmpl"
    return service.receipts.write(kind, service.config.revision, time.time())


async def _refused(http: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return JSONResponse(error.body(), error.status, error.headers)


async def _no_such_path(http: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return await _refused(http, MethodNotAllowed(f"{http.method} is not possible on {http.url.path}."))
    return await _refused(http, NotFound(f"There is no path {http.url.path}.", code="unknown_path"))


async def _unforeseen(http: HttpRequest, error: Exception) -> Response:
    """Starlette raises the error again afterwards, and uvicorn logs it with its trace."""
    return await _refused(http, Broken("The server failed; its log says why.", code="internal_error"))
