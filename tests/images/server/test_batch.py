"""Rows that join and leave a batch are given the tokens that they would be given alone."""

from typing import Any

import pytest
import torch
from serin_server.batch import Batch
from serin_server.model import load
from serin_server.sampling import Sampler


@pytest.fixture(scope="module")
def model(models: Any) -> Any:
    return load(models.root / "artifacts" / "babbler", "pvc://artifacts/babbler")


def greedy() -> Sampler:
    return Sampler(temperature=0, top_p=1, seed=None)


def alone(model: Any, prompt: list[int], count: int) -> list[int]:
    tokens = list(prompt)
    with torch.inference_mode():
        for _ in range(count):
            tokens.append(int(model.model(torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[len(prompt) :]


def test_joining_and_leaving_changes_nobodys_tokens(model: Any) -> None:
    prompts = {"short": [5, 6], "long": list(range(20, 60)), "late": [7, 8, 9], "latest": list(range(100, 180))}
    batch, rows, given = Batch(model.model), [], {name: [] for name in prompts}

    def take(names: list[str], tokens: list[int]) -> None:
        for name, token in zip(names, tokens, strict=True):
            given[name].append(token)

    def join(*names: str) -> None:
        take(list(names), batch.admit([prompts[name] for name in names], [greedy() for _ in names]))
        rows.extend(names)

    def steps(count: int) -> None:
        for _ in range(count):
            take(rows, batch.step())

    def leave(name: str) -> None:
        batch.keep([row for row, other in enumerate(rows) if other != name])
        rows.remove(name)

    join("short", "long")
    steps(3)
    join("late")
    steps(3)
    leave("long")
    steps(3)
    join("latest")
    steps(3)
    leave("short")
    leave("latest")
    steps(3)
    leave("late")

    assert len(batch) == 0
    assert {name: len(tokens) for name, tokens in given.items()} == {"short": 13, "long": 7, "late": 13, "latest": 4}
    for name, tokens in given.items():
        assert tokens == alone(model, prompts[name], len(tokens)), name


def test_padding_that_only_a_left_row_needed_is_dropped(model: Any) -> None:
    batch = Batch(model.model)
    batch.admit([[5, 6], list(range(20, 60))], [greedy(), greedy()])
    assert batch.held() == 2 * 40

    batch.keep([0])

    assert batch._mask.shape == (1, 2)
    assert batch._cache.get_seq_length() == 2
    assert batch.held() == 2


def test_a_mask_is_given_while_a_row_is_padded_and_no_longer(model: Any) -> None:
    masks: list[Any] = []

    def forward(attention_mask: Any, **given: Any) -> Any:
        masks.append(attention_mask)
        return model.model(attention_mask=attention_mask, **given)

    batch = Batch(forward)
    batch.admit([[5, 6]], [greedy()])
    batch.step()
    batch.admit([[7, 8, 9]], [greedy()])  # as long as the other one is by now
    batch.step()
    assert masks == [None] * 4
    batch.admit([[7, 8]], [greedy()])
    batch.step()
    assert [mask is None for mask in masks[4:]] == [True, False]
    batch.keep([0, 1])
    batch.step()
    assert masks[-1] is None


def test_a_nucleus_holds_the_likeliest_tokens_only() -> None:
    sampler = Sampler(temperature=1, top_p=0.6, seed=3)
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()

    assert {sampler.choose(logits) for _ in range(200)} == {0, 1}


def test_chance_follows_the_probabilities() -> None:
    sampler = Sampler(temperature=1, top_p=1, seed=3)
    logits = torch.tensor([0.7, 0.3]).log()

    drawn = [sampler.choose(logits) for _ in range(2000)]

    assert 0.26 < sum(drawn) / 2000 < 0.34
