"""What is measured in batches is what one would measure one by one."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from serin_evaluator.generation import Limits, measure_generation
from serin_evaluator.likelihood import measure_likelihood
from serin_evaluator.measured import Generation, Likelihood, Pair
from serin_evaluator.parts import Parts
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast


@pytest.fixture(scope="module")
def model(volumes: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(volumes.root / "models" / "base").eval()


@pytest.fixture(scope="module")
def tokenizer(volumes: Any) -> Any:
    return PreTrainedTokenizerFast.from_pretrained(volumes.root / "models" / "base")


def some_tokens(count: int, seed: int) -> tuple[int, ...]:
    return tuple(random.Random(seed).choices(range(1, 512), k=count))


def test_likelihoods_in_a_batch_are_those_of_each_row_alone(model: Any) -> None:
    pairs = {index: Pair(some_tokens(1 + index * 3, index), some_tokens(1 + index % 5, -index)) for index in range(12)}

    together = measure_likelihood(model, pairs)

    for index, pair in pairs.items():
        alone = measure_likelihood(model, {index: pair})[index]
        assert together[index].negative_log_likelihood == pytest.approx(alone.negative_log_likelihood, abs=1e-4)
        assert (together[index].tokens, together[index].correct) == (alone.tokens, alone.correct)


def test_a_likelihood_is_the_models_loss_on_the_answer(model: Any) -> None:
    pair = Pair(some_tokens(20, 1), some_tokens(7, 2))
    tokens = torch.tensor([pair.prompt + pair.answer])
    labels = torch.tensor([[-100] * 20 + list(pair.answer)])

    measured = measure_likelihood(model, {1: pair})[1]

    with torch.inference_mode():
        loss = model(input_ids=tokens, labels=labels).loss.item()
    assert measured.negative_log_likelihood / measured.tokens == pytest.approx(loss, abs=1e-4)


def test_generation_in_a_batch_is_what_the_library_generates_alone(model: Any, tokenizer: Any) -> None:
    prompts = {index: some_tokens(3 + index * 4, index) for index in range(9)}
    limits = Limits(end_tokens={0}, stop=(), max_new_tokens=24)

    measured = measure_generation(model, tokenizer, prompts, limits)

    for index, prompt in prompts.items():
        tokens = torch.tensor([prompt])
        whole = model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=24,
            do_sample=False,
            eos_token_id=0,
            pad_token_id=0,
        )[0, len(prompt) :]
        text = tokenizer.decode(whole, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert measured[index].text == text
        assert measured[index].finish == ("stop" if 0 in whole.tolist() else "length")


def test_generation_ends_before_a_stop_string(model: Any, tokenizer: Any) -> None:
    prompts = {index: some_tokens(5, index) for index in range(6)}
    free = measure_generation(model, tokenizer, prompts, Limits({0}, (), 32))
    stop = free[3].text[8:10]

    stopped = measure_generation(model, tokenizer, prompts, Limits({0}, (stop,), 32))

    for index, answer in free.items():
        assert stopped[index].text == answer.text.split(stop)[0]
    assert stopped[3].finish == "stop"


def test_the_same_prompts_give_the_same_answers_again(model: Any, tokenizer: Any) -> None:
    prompts = {index: some_tokens(2 + index, index) for index in range(5)}
    limits = Limits({0}, (), 16)

    once, again = (measure_generation(model, tokenizer, prompts, limits) for _ in range(2))

    assert once == again


def test_a_killed_measurement_goes_on_where_it_was_with_the_same_numbers(
    model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serin_evaluator.parts.EVERY_SECONDS", 0.0)
    pairs = {index: Pair(some_tokens(1 + index, index), some_tokens(1 + index % 5, -index)) for index in range(70)}
    prompts = {index: pair.prompt for index, pair in pairs.items()}
    limits = Limits({0}, (), 8)
    whole = measure_likelihood(model, pairs), measure_generation(model, tokenizer, prompts, limits)

    def killed(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_likelihood(model, pairs, killed, Parts(tmp_path / "a", Likelihood))
    with pytest.raises(KeyboardInterrupt):
        measure_generation(model, tokenizer, prompts, limits, killed, Parts(tmp_path / "b", Generation))
    kept = Parts(tmp_path / "a", Likelihood), Parts(tmp_path / "b", Generation)
    told: list[int] = []

    again = (
        measure_likelihood(model, pairs, told.append, kept[0]),
        measure_generation(model, tokenizer, prompts, limits, told.append, kept[1]),
    )

    assert [len(one.known) for one in kept] == [32, 32]
    assert again == whole
    assert told[:3] == [32, 64, 70]


def test_progress_is_told(model: Any) -> None:
    told: list[int] = []

    measure_likelihood(model, {index: Pair((1,), (2,)) for index in range(70)}, told.append)

    assert told == [32, 64, 70]
