"""Rows as people write them, and what is said about those that cannot be used."""

import json
from typing import Any

import pytest
from serin_trainer.rows import Format, Refusal, parse

GOOD = [
    ("messages", {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}),
    ("prompt/completion", {"prompt": "1 + 1 =", "completion": " 2"}),
    ("input/output", {"input": "hi", "output": "hello"}),
    ("text", {"text": "A serin is a bird."}),
]

BAD = [
    ("{", "Unparsable"),
    ("", "Unparsable"),
    ("[1]", "UnknownFormat"),
    ('"text"', "UnknownFormat"),
    ('{"question": "a", "answer": "b"}', "UnknownFormat"),
    ("{}", "UnknownFormat"),
    ('{"text": 5}', "UnknownFormat"),
    ('{"text": ""}', "Empty"),
    ('{"text": " \\n"}', "Empty"),
    ('{"input": "a", "output": ""}', "Empty"),
    ('{"input": "a"}', "Incomplete"),
    ('{"output": "a"}', "Incomplete"),
    ('{"prompt": "a", "completion": null}', "Incomplete"),
    ('{"messages": []}', "Empty"),
    ('{"messages": "hi"}', "Empty"),
    ('{"messages": [{"role": "user", "content": "hi"}]}', "Incomplete"),
    ('{"messages": [{"role": "assistant"}]}', "Incomplete"),
    ('{"messages": [{"role": "assistant", "content": " "}]}', "Empty"),
    ('{"messages": [{"role": "bird", "content": "hi"}]}', "UnknownFormat"),
    ('{"messages": [3]}', "UnknownFormat"),
    ('{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', "UnknownFormat"),
    ('{"messages": "[{]"}', "Unparsable"),
    ('{"conversations": [{"from": "human", "value": "hi"}]}', "Incomplete"),
    ('{"conversations": [{"from": "bird", "value": "hi"}]}', "UnknownFormat"),
    ('{"instruction": "a"}', "Incomplete"),
    ('{"instruction": "a", "output": " "}', "Empty"),
    ('{"instruction": "a", "input": 3, "output": "b"}', "UnknownFormat"),
    ('{"prompt": [{"role": "user", "content": "hi"}], "completion": "x"}', "UnknownFormat"),
    ("[" * 100_000, "Unparsable"),
]


@pytest.mark.parametrize(("shape", "document"), GOOD)
def test_each_shape_is_recognised(shape: str, document: dict[str, Any]) -> None:
    row = parse(json.dumps(document), "f:1")
    assert (row.shape, row.document) == (shape, document)


@pytest.mark.parametrize(("line", "reason"), BAD)
def test_each_unusable_row_has_a_reason(line: str, reason: str) -> None:
    with pytest.raises(Refusal) as refusal:
        parse(line, "f:1")
    assert refusal.value.reason == reason
    assert refusal.value.why


def test_further_fields_are_no_hindrance() -> None:
    assert parse('{"input": "a", "output": "b", "id": 7}', "f:1").shape == "input/output"


USER, ASSISTANT = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}


@pytest.mark.parametrize(
    ("document", "found", "shape", "shaped"),
    [
        pytest.param(
            {"instruction": "Add.", "input": "1, 2", "output": "3"}, "Instruction", "input/output",
            {"input": "Add.\n\n1, 2", "output": "3"}, id="Alpaca",
        ),
        pytest.param(
            {"instruction": "Say hi.", "input": "", "output": "hi"}, "Instruction", "input/output",
            {"input": "Say hi.", "output": "hi"}, id="Alpaca without an input",
        ),
        pytest.param(
            {"instruction": "Who?", "context": "Ada wrote it.", "response": "Ada", "category": "qa"}, "Instruction",
            "input/output", {"input": "Who?\n\nAda wrote it.", "output": "Ada", "category": "qa"}, id="Dolly",
        ),
        pytest.param(
            {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}, "Messages",
            "messages", {"messages": [USER, ASSISTANT]}, id="ShareGPT",
        ),
        pytest.param(
            {"prompt": [USER, ASSISTANT, USER], "completion": [ASSISTANT]}, "PromptCompletion",
            "messages", {"messages": [USER, {**ASSISTANT, "weight": 0}, USER, ASSISTANT]}, id="prompt and completion as chats",
        ),
        pytest.param(
            {"messages": [{"role": "developer", "content": "Be kind."}, USER, ASSISTANT]}, "Messages", "messages",
            {"messages": [{"role": "system", "content": "Be kind."}, USER, ASSISTANT]}, id="OpenAI's developer role",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]},
                          {**ASSISTANT, "weight": 1}]}, "Messages", "messages",
            {"messages": [USER, {**ASSISTANT, "weight": 1}]}, id="content in parts",
        ),
        pytest.param(
            {"messages": json.dumps([USER, ASSISTANT])}, "Messages", "messages", {"messages": [USER, ASSISTANT]},
            id="JSON in a table's cell",
        ),
    ],
)  # fmt: skip
def test_the_forms_of_other_tools_become_ours(
    document: dict[str, Any], found: Format, shape: str, shaped: dict[str, Any]
) -> None:
    row = parse(json.dumps(document), "f:1")
    assert (row.format, row.shape, row.document) == (found, shape, shaped)


def test_a_tool_call_is_an_answer_without_words() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
    row = parse(json.dumps({"messages": [USER, call]}), "f:1")
    assert row.document["messages"][1] == {**call, "content": ""}
    assert '"name": "f"' in row.answered()


def test_a_named_format_is_not_guessed() -> None:
    both = json.dumps({"prompt": "p", "completion": "c", "text": "t"})
    assert parse(both, "f:1").shape == "prompt/completion"
    assert parse(both, "f:1", "Text").shape == "text"
    with pytest.raises(Refusal, match="input is missing"):
        parse(both, "f:1", "InputOutput")


def test_what_is_asked_and_what_is_answered_are_told_apart() -> None:
    chat = parse(json.dumps({"messages": [USER, ASSISTANT, {**USER, "content": "bye"}, ASSISTANT]}), "f:1")
    assert (chat.asked(), chat.answered()) == ("hi\nbye", "hello\nhello")
    assert parse('{"text": "a"}', "f:1").asked() == ""
