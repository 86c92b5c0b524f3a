"""Requests and answers as OpenAI's API words them (platform.openai.com/docs/api-reference).

What this server does not do is refused, unless the request asks for what happens anyway (`n: 1`): a parameter that is
accepted and ignored would mislead. Not here: HTTP (`app.py`) and tokens (`model.py`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from serin_server.errors import RequestError

Stop = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Zero = Annotated[float, Field(ge=0, le=0)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class StreamOptions(_Body):
    """Whether the stream ends with the usage."""

    include_usage: bool = False


class _Request(_Body):
    """What both kinds of request have in common."""

    model: str
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    # Only what happens anyway is accepted:
    n: Literal[1] | None = None
    presence_penalty: Zero | None = None
    frequency_penalty: Zero | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None

    def stops(self) -> tuple[str, ...]:
        """The stop strings as a tuple."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def most_tokens(self) -> int | None:
        """How long the answer may be at most, if the request says so."""
        return self.max_tokens

    def wants_usage_chunk(self) -> bool:
        """Whether a stream shall end with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage


class CompletionRequest(_Request):
    """POST /v1/completions: the raw prompt, continued."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None
    logprobs: None = None
    suffix: None = None

    def text(self) -> str:
        """The prompt."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]

    def sent(self) -> str:
        """All that the client sent."""
        return self.text()


class TextPart(_Body):
    """A piece of a message; there are only texts."""

    type: Literal["text"]
    text: str


class Message(_Body):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str | list[TextPart]
    refusal: None = None

    def plain(self) -> dict[str, str]:
        """The message as chat templates take it."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": self.role, "content": text}


class ResponseFormat(_Body):
    """Text, and nothing else."""

    type: Literal["text"]


class ChatRequest(_Request):
    """POST /v1/chat/completions: the next message of a conversation."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1024)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: Literal[False] | None = None
    top_logprobs: None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none"] | None = None

    def most_tokens(self) -> int | None:
        """`max_completion_tokens` is the newer name of `max_tokens`."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    def plain_messages(self) -> list[dict[str, str]]:
        """The conversation as chat templates take it."""
        return [message.plain() for message in self.messages]

    def sent(self) -> str:
        """All that the client sent, without the template around it."""
        return "".join(message["content"] for message in self.plain_messages())


def parse(body: bytes, kind: type[BaseModel]) -> Any:
    """The request in the body, or a RequestError that names the parameter."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError("The body is not JSON.", code="invalid_json") from error
    if not isinstance(document, dict):
        raise RequestError("The body is not a JSON object.", code="invalid_json")
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise _refusal(error) from error


def _refusal(error: ValidationError) -> RequestError:
    first = error.errors(include_url=False, include_context=False)[0]
    # The union's branches are named in the location too; a client only knows the parameter.
    param = str(first["loc"][0]) if first["loc"] else None
    place = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or str(part).islower())
    if first["type"] == "extra_forbidden":
        return RequestError(f"This server has no parameter {place}.", param, "unknown_parameter")
    if first["type"] == "missing":
        return RequestError(f"The parameter {place} is missing.", param, "missing_parameter")
    what = f"parameter {place}" if place else "body"
    return RequestError(
        f"The {what} is not accepted: {first['msg'].removeprefix('Value error, ')}.", param, "invalid_value"
    )


@dataclass(frozen=True)
class Usage:
    """What a request cost."""

    prompt_tokens: int
    completion_tokens: int

    def body(self) -> dict[str, int]:
        """As OpenAI words it."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


@dataclass(frozen=True)
class Answers:
    """Builds the documents of one request's answer."""

    chat: bool
    id: str
    created: int
    model: str

    def whole(self, text: str, finish_reason: str, usage: Usage) -> dict[str, Any]:
        """The answer in one document."""
        content = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": finish_reason}
        return self._document("", [choice], usage=usage.body())

    def opening(self) -> list[dict[str, Any]]:
        """What a stream begins with."""
        return [self._chunk({"delta": {"role": "assistant", "content": ""}}, None)] if self.chat else []

    def piece(self, text: str) -> dict[str, Any]:
        """More text."""
        return self._chunk({"delta": {"content": text}} if self.chat else {"text": text}, None)

    def closing(self, finish_reason: str, usage: Usage, *, with_usage: bool) -> list[dict[str, Any]]:
        """What a stream ends with."""
        last = self._chunk({"delta": {}} if self.chat else {"text": ""}, finish_reason)
        return [last, self._document(".chunk", [], usage=usage.body())] if with_usage else [last]

    def _chunk(self, content: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
        return self._document(".chunk", [{"index": 0, **content, "logprobs": None, "finish_reason": finish_reason}])

    def _document(self, suffix: str, choices: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
        kind = f"chat.completion{suffix}" if self.chat else "text_completion"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices, **more}


def event(document: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return (
        b"data: " + json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n\n"
    )


STREAM_END = b"data: [DONE]\n\n"
