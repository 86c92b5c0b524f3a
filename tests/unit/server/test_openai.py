"""Requests are taken as OpenAI means them, or refused with the parameter's name."""

import json
from typing import Any

import pytest
from serin_server.errors import Busy, NotFound, RequestError
from serin_server.openai import Answers, ChatRequest, CompletionRequest, Usage, event, parse

COMPLETION: dict[str, Any] = {"model": "bot", "prompt": "Hello"}
CHAT: dict[str, Any] = {"model": "bot", "messages": [{"role": "user", "content": "Hello"}]}


def completion(**changes: Any) -> Any:
    return parse(json.dumps({**COMPLETION, **changes}).encode(), CompletionRequest)


def chat(**changes: Any) -> Any:
    return parse(json.dumps({**CHAT, **changes}).encode(), ChatRequest)


def test_the_shortest_requests_are_enough() -> None:
    assert completion().text() == "Hello"
    assert chat().plain_messages() == [{"role": "user", "content": "Hello"}]


def test_parameters_that_ask_for_what_happens_anyway_are_accepted() -> None:
    asked = completion(n=1, best_of=1, echo=False, presence_penalty=0, frequency_penalty=0.0, logit_bias={}, user="u")

    assert asked.text() == "Hello"
    assert chat(response_format={"type": "text"}, logprobs=False, tools=[], tool_choice="none").model == "bot"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        pytest.param({"n": 2}, "n", id="several answers"),
        pytest.param({"temperature": -1}, "temperature", id="a negative temperature"),
        pytest.param({"temperature": float("nan")}, "temperature", id="a temperature that is no number"),
        pytest.param({"temperature": "hot"}, "temperature", id="a word for a temperature"),
        pytest.param({"top_p": 0}, "top_p", id="an empty nucleus"),
        pytest.param({"max_tokens": 0}, "max_tokens", id="no tokens"),
        pytest.param({"max_tokens": 1.5}, "max_tokens", id="half a token"),
        pytest.param({"stop": ["a", "b", "c", "d", "e"]}, "stop", id="five stop strings"),
        pytest.param({"stop": ""}, "stop", id="an empty stop string"),
        pytest.param({"presence_penalty": 1}, "presence_penalty", id="a penalty"),
        pytest.param({"logit_bias": {"1": 5}}, "logit_bias", id="a bias"),
        pytest.param({"prompt": ["a", "b"]}, "prompt", id="several prompts"),
        pytest.param({"prompt": [1, 2]}, "prompt", id="a prompt of tokens"),
        pytest.param({"prompt": None}, "prompt", id="no prompt"),
        pytest.param({"echo": True}, "echo", id="an echo"),
        pytest.param({"logprobs": 3}, "logprobs", id="log-probabilities"),
        pytest.param({"chat_template": "{{ x }}"}, "chat_template", id="a template of the request's own"),
        pytest.param({"stream": "yes!"}, "stream", id="a word for a switch"),
    ],
)
def test_a_completion_that_cannot_be_done_is_refused(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        completion(**changes)

    assert (caught.value.status, caught.value.param) == (400, param)
    assert param in caught.value.message


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        pytest.param({"messages": []}, "messages", id="no messages"),
        pytest.param({"messages": [{"role": "robot", "content": "x"}]}, "messages", id="an unknown role"),
        pytest.param({"messages": [{"role": "user"}]}, "messages", id="a message without content"),
        pytest.param({"messages": [{"role": "user", "content": None}]}, "messages", id="content null"),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages",
            id="an image",
        ),
        pytest.param({"tools": [{"type": "function"}]}, "tools", id="tools"),
        pytest.param({"response_format": {"type": "json_object"}}, "response_format", id="forced JSON"),
        pytest.param({"chat_template": "{{ x }}"}, "chat_template", id="a template of the request's own"),
    ],
)
def test_a_chat_that_cannot_be_done_is_refused(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        chat(**changes)

    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'"x"'])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        parse(body, CompletionRequest)

    assert caught.value.code == "invalid_json"


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(RequestError) as caught:
        parse(b'{"prompt": "x"}', CompletionRequest)

    assert (caught.value.param, caught.value.code) == ("model", "missing_parameter")


def test_the_newer_name_of_the_limit_wins() -> None:
    assert chat(max_tokens=5, max_completion_tokens=9).most_tokens() == 9
    assert chat(max_tokens=5).most_tokens() == 5
    assert chat().most_tokens() is None


def test_parts_of_a_message_are_joined() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]

    assert chat(messages=[{"role": "user", "content": parts}]).plain_messages()[0]["content"] == "Hello"


def test_stop_is_one_string_or_several() -> None:
    assert completion(stop="\n").stops() == ("\n",)
    assert completion(stop=["\n", "Q:"]).stops() == ("\n", "Q:")
    assert completion().stops() == ()


def test_errors_have_the_body_that_clients_read() -> None:
    body = NotFound("The model x does not exist here.", "model", "model_not_found").body()

    assert body["error"] == {
        "message": "The model x does not exist here.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    assert Busy(3).headers == {"retry-after": "3"}


def test_a_chat_answer_has_the_documented_shape() -> None:
    answers = Answers(chat=True, id="chatcmpl-1", created=5, model="bot")

    whole = answers.whole("Hi", "stop", Usage(3, 2))

    assert whole["object"] == "chat.completion"
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": "Hi"}
    assert whole["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def test_a_chat_stream_opens_with_the_role_and_closes_with_the_reason_and_usage() -> None:
    answers = Answers(chat=True, id="chatcmpl-1", created=5, model="bot")

    opening, closing = answers.opening(), answers.closing("length", Usage(3, 2), with_usage=True)

    assert opening[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert opening[0]["object"] == "chat.completion.chunk"
    assert closing[0]["choices"][0]["finish_reason"] == "length"
    assert closing[1]["choices"] == []
    assert closing[1]["usage"]["total_tokens"] == 5


def test_a_completion_stream_has_texts() -> None:
    answers = Answers(chat=False, id="cmpl-1", created=5, model="bot")

    assert answers.opening() == []
    assert answers.piece("Hi")["choices"][0]["text"] == "Hi"
    assert answers.piece("Hi")["object"] == "text_completion"


def test_an_event_is_one_line_of_data() -> None:
    assert event({"a": "x\ny"}) == b'data: {"a":"x\\ny"}\n\n'
