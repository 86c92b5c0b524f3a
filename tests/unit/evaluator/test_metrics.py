"""Metrics on examples whose scores can be told by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serin_evaluator.config import Metric
from serin_evaluator.measured import Generation, Likelihood
from serin_evaluator.metrics import generation_sample, likelihood_sample
from serin_evaluator.texts import exact_match, rouge_l

PUBLISHED = Path(__file__).parents[2] / "golden" / "evaluator" / "rouge_l.json"


@pytest.mark.parametrize(
    ("text", "answer", "score"),
    [
        pytest.param("the cat sat", "the cat sat", 1.0, id="the same"),
        pytest.param("The CAT, sat!", "the cat sat", 1.0, id="case and punctuation do not count"),
        pytest.param("a dog", "the cat", 0.0, id="nothing in common"),
        pytest.param("", "the cat", 0.0, id="no answer"),
        pytest.param("police killed the gunman", "police kill the gunman", 0.75, id="three of four in order"),
        pytest.param("the gunman kill police", "police kill the gunman", 0.5, id="order counts"),
        pytest.param("a b c d", "b d", 2 * 0.5 * 1 / 1.5, id="a longer answer loses precision"),
        pytest.param("a a a", "a", 0.5, id="a repeated word is found once"),
    ],
)
def test_rouge_l(text: str, answer: str, score: float) -> None:
    assert rouge_l(text, answer) == pytest.approx(score)


@pytest.mark.parametrize("case", json.loads(PUBLISHED.read_text()), ids=lambda case: case["text"][:20])
def test_rouge_l_agrees_with_the_published_package(case: dict[str, Any]) -> None:
    """The file holds what rouge-score 0.1.2 gives: RougeScorer(["rougeL"]).score(answer, text)["rougeL"].fmeasure."""
    assert rouge_l(case["text"], case["answer"]) == pytest.approx(case["score"])


def test_exact_match_looks_at_all_but_the_white_space_around() -> None:
    assert exact_match(" yes\n", "yes") == 1.0
    assert exact_match("Yes", "yes") == 0.0


def test_likelihood_metrics_weigh_by_tokens() -> None:
    measured = {4: Likelihood(2.0, 2, 1), 9: Likelihood(1.0, 8, 8)}

    assert likelihood_sample(Metric.CROSS_ENTROPY, measured).value() == pytest.approx(0.3)
    assert likelihood_sample(Metric.PERPLEXITY, measured).value() == pytest.approx(np.exp(0.3))
    assert likelihood_sample(Metric.TOKEN_ACCURACY, measured).value() == pytest.approx(0.9)
    assert likelihood_sample(Metric.PERPLEXITY, measured).by_example() == pytest.approx({4: np.e, 9: np.exp(0.125)})


def test_generation_metrics_weigh_examples_the_same() -> None:
    measured = {1: Generation("yes", 1, "stop"), 2: Generation("no no no", 9, "length")}

    sample = generation_sample(Metric.EXACT_MATCH, measured, {1: "yes", 2: "no"})

    assert sample.value() == 0.5
    assert sample.by_example() == {1: 1.0, 2: 0.0}


def test_a_likelihood_that_is_no_number_is_told_as_none() -> None:
    sample = likelihood_sample(Metric.PERPLEXITY, {1: Likelihood(float("nan"), 2, 0), 2: Likelihood(1.0, 1, 0)})

    assert sample.by_example() == {1: None, 2: pytest.approx(np.e)}
