"""A row's prompt becomes the same tokens in training, in evaluation and in serving."""

import json
from pathlib import Path
from typing import Any

import pytest
from serin_evaluator.errors import DataError
from serin_evaluator.prompts import Prompts
from serin_evaluator.suites import parse_row
from serin_server.errors import RequestError
from serin_server.model import ServedModel, load
from serin_trainer.errors import DataError as TrainingDataError
from serin_trainer.rows import parse
from serin_trainer.tokens import Encoder
from support.tiny_model import write_model
from transformers import PreTrainedTokenizerFast

ROWS = [
    pytest.param({"prompt": "What is a Pod?\n", "completion": "A group of containers."}, id="prompt and completion"),
    pytest.param({"prompt": "Frage: größer?\nAntwort:", "completion": " ja, größer"}, id="completion with a space"),
    pytest.param({"input": "What is a Pod?", "output": "A group of containers."}, id="input and output"),
    pytest.param(
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hi?"},
                {"role": "assistant", "content": "Yes?"},
                {"role": "user", "content": "What is a Pod?"},
                {"role": "assistant", "content": "A group of containers."},
            ]
        },
        id="messages",
    ),
]


@pytest.fixture(scope="module", params=["plain", "bos", "chat", "chat-bos"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    folder = tmp_path_factory.mktemp(request.param) / "model"
    write_model(folder, chat="chat" in request.param, bos="bos" in request.param)
    model = load(folder, "pvc://models/tiny")
    model.folder = folder  # type: ignore[attr-defined]
    return model


@pytest.mark.parametrize("row", ROWS)
def test_a_rows_prompt_is_the_same_everywhere(served: Any, row: dict[str, Any]) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(Path(served.folder))
    if "messages" in row and not tokenizer.chat_template:
        _refused_everywhere(served, row, tokenizer)
        return
    trained = Encoder(tokenizer, "EndOfSequence", 512).encode(parse(json.dumps(row), "row:1"))
    learned_from = trained.counts.index(True) if "messages" not in row else _last_answer(trained.counts)
    prompts, example = Prompts(tokenizer, "pvc://models/tiny"), parse_row(1, row)

    in_training = trained.ids[:learned_from]
    assert list(prompts.prompt(example)) == in_training
    assert list(prompts.pair(example).prompt) == in_training
    assert _served_prompt(served, row, tokenizer) == in_training
    answer = list(prompts.pair(example).answer)
    assert trained.ids[learned_from : learned_from + len(answer)] == answer
    assert tokenizer.decode(answer) == example.answer


def _refused_everywhere(served: ServedModel, row: dict[str, Any], tokenizer: Any) -> None:
    """Messages need a chat template."""
    with pytest.raises(TrainingDataError):
        Encoder(tokenizer, "EndOfSequence", 512).encode(parse(json.dumps(row), "row:1"))
    with pytest.raises(DataError):
        Prompts(tokenizer, "pvc://models/tiny").prompt(parse_row(1, row))
    with pytest.raises(RequestError):
        served.chat(row["messages"][:-1])


def _last_answer(counts: list[bool]) -> int:
    """Where the last run of learned tokens begins."""
    end = len(counts) - 1 - counts[::-1].index(True)
    return next(index + 1 for index in range(end, -1, -1) if not counts[index])


def _served_prompt(served: ServedModel, row: dict[str, Any], tokenizer: Any) -> list[int]:
    if "prompt" in row:
        return served.prompt(row["prompt"])
    if "messages" in row:
        return served.chat(row["messages"][:-1])
    if tokenizer.chat_template:
        return served.chat([{"role": "user", "content": row["input"]}])
    return served.prompt(row["input"] + "\n")
