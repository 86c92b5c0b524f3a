"""Text metrics by hand, and beside the package that everybody's ROUGE comes from."""

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from serin_evaluator.texts import rouge_1, rouge_2, rouge_l, token_f1

README = ("The quick brown dog jumps on the log.", "The quick brown fox jumps over the lazy dog")


def test_rouge_has_the_values_of_the_packages_readme() -> None:
    assert rouge_1(*README) == pytest.approx(0.7058823529411765)
    assert rouge_l(*README) == pytest.approx(0.5882352941176471)


def test_rouge_agrees_with_the_package_on_random_texts() -> None:
    scorer, random = RougeScorer(["rouge1", "rouge2", "rougeL"]), np.random.default_rng(5)
    words = ["the", "The", "pod", "pod's", "10.0.0.1", "größe", ",", "x_y", "", "node"]
    for _ in range(60):
        text, answer = (" ".join(random.choice(words, random.integers(0, 12))) for _ in range(2))
        published = scorer.score(answer, text)
        assert rouge_1(text, answer) == pytest.approx(published["rouge1"].fmeasure)
        assert rouge_2(text, answer) == pytest.approx(published["rouge2"].fmeasure)
        assert rouge_l(text, answer) == pytest.approx(published["rougeL"].fmeasure)


@pytest.mark.parametrize(
    ("text", "answer", "score"),
    [
        pytest.param("The Normans!", "normans", 1.0, id="case, punctuation and articles do not count"),
        pytest.param("in the 10th century", "10th and 11th centuries", 2 / 7, id="one word of three and four"),
        pytest.param("a a b", "a b b", 2 / 3, id="an article is no word, and a word counts as often as both have it"),
        pytest.param("", "yes", 0.0, id="no answer"),
        pytest.param("the", "a", 1.0, id="nothing but articles on both sides"),
    ],
)
def test_token_f1_is_squads(text: str, answer: str, score: float) -> None:
    assert token_f1(text, answer) == pytest.approx(score)
