"""METEOR by hand over a WordNet of a few words. The published values are held in the image, which has the real one
(tests/images/evaluator/test_meteor.py)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from serin_evaluator import meteor as module
from serin_evaluator.config import Metric
from serin_evaluator.errors import ConfigError
from serin_evaluator.evaluate import evaluate
from serin_evaluator.measured import Generation
from serin_evaluator.meteor import meteor, require_wordnet, signature, words
from serin_evaluator.metrics import direction, generation_sample, unit
from serin_evaluator.uncertainty import Sample, estimate
from support.evaluation import config_document, suite_document
from support.wordnet import write_wordnet

SYNONYMS = {
    "noun": [["car", "auto"], ["man"]],
    "verb": [["go", "travel"]],
    "adj": [["big", "great"], ["vast", "large"]],
}


@pytest.fixture(autouse=True)
def wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = write_wordnet(tmp_path / "wordnet", SYNONYMS)
    monkeypatch.setenv("SERIN_WORDNET", str(folder))
    module.wordnet.cache_clear()
    yield folder
    module.wordnet.cache_clear()


def by_hand(matches: int, said: int, right: int, chunks: int) -> float:
    """Lavie and Agarwal (2007), formulas of sections 2 and 3."""
    precision, recall = matches / said, matches / right
    return precision * recall / (0.9 * precision + 0.1 * recall) * (1 - 0.5 * (chunks / matches) ** 3)


@pytest.mark.parametrize(
    ("text", "answer", "score"),
    [
        pytest.param("the red car", "the red car", by_hand(3, 3, 3, 1), id="the same"),
        pytest.param("The RED car", "the red car", by_hand(3, 3, 3, 1), id="case does not count"),
        pytest.param("a big auto", "a great car", by_hand(3, 3, 3, 1), id="synonyms"),
        pytest.param("cars travelled", "car travelling", by_hand(2, 2, 2, 1), id="stems"),
        pytest.param("men went", "man traveled", by_hand(2, 2, 2, 1), id="irregular forms of synonyms"),
        pytest.param(
            "a vast car", "a large car", by_hand(2, 3, 3, 2), id="NLTK looks synonyms up by stem, vast and larg"
        ),
        pytest.param("car the red", "the red car", by_hand(3, 3, 3, 2), id="order costs by pieces"),
        pytest.param("the car", "the red car", by_hand(2, 2, 3, 2), id="what is missing costs most"),
        pytest.param("the red red car", "the red car", by_hand(3, 4, 3, 2), id="what is too much costs little"),
        pytest.param("a bicycle", "the car", 0.0, id="nothing in common"),
        pytest.param("", "the car", 0.0, id="no answer"),
    ],
)
def test_meteor(text: str, answer: str, score: float) -> None:
    assert meteor(text, answer) == pytest.approx(score)


def test_without_its_synonym_the_same_answer_has_another_score(wordnet: Path) -> None:
    write_wordnet(wordnet, {})

    assert meteor("a big auto", "a great car") == pytest.approx(by_hand(1, 3, 3, 1))


def test_words_are_split_as_by_nltk_in_each_sentence() -> None:
    assert words("It isn't new. The dog's (old) toy costs $3.50!") == [
        "It", "is", "n't", "new", ".", "The", "dog", "'s", "(", "old", ")", "toy", "costs", "$", "3.50", "!"
    ]  # fmt: skip
    assert words("  ") == []


def test_every_example_has_a_score_and_they_weigh_the_same() -> None:
    said = {3: Generation("a big car", 3, "stop"), 8: Generation("nothing", 1, "stop")}

    sample = generation_sample(Metric.METEOR, said, {3: "a great car", 8: "a car"})

    assert isinstance(sample, Sample)
    assert sample.by_example() == pytest.approx({3: by_hand(3, 3, 3, 1), 8: 0.0})
    assert sample.value() == pytest.approx(by_hand(3, 3, 3, 1) / 2)
    assert (sample.lowest, sample.highest) == (0.0, 1.0)
    assert (unit(Metric.METEOR), direction(Metric.METEOR)) == ("share, 0 to 1", "HigherIsBetter")


def test_a_suite_has_n_a_standard_error_and_an_interval() -> None:
    random = np.random.default_rng(4)
    answers = {one: " ".join(random.choice(["car", "big", "red", "go", "man"], 8)) for one in range(50)}
    said = {one: Generation(" ".join(random.permutation(text.split())[:6]), 6, "stop") for one, text in answers.items()}

    made = estimate(generation_sample(Metric.METEOR, said, answers), (7,))

    assert made.n == 50
    assert made.stderr > 0
    assert 0 < made.low < made.value < made.high < 1
    assert made.high - made.low == pytest.approx(2 * 2.0 * made.stderr, rel=0.2)


@pytest.mark.parametrize("missing", ["index.noun", "data.adv", "verb.exc"])
def test_wordnet_that_is_not_whole_is_an_error_and_no_other_metric(wordnet: Path, missing: str) -> None:
    (wordnet / missing).unlink()

    with pytest.raises(ConfigError, match=f"needs WordNet 3.0 .* has no {missing}") as error:
        meteor("a car", "a car")
    assert (error.value.reason, error.value.exit_code) == ("WordNetMissing", 64)
    assert "wordnet-base" in error.value.advice


def test_another_version_of_wordnet_is_refused(wordnet: Path) -> None:
    write_wordnet(wordnet, SYNONYMS, copyright_of="WordNet 3.1")

    with pytest.raises(ConfigError, match="is another version"):
        require_wordnet()


def test_wordnet_is_asked_for_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from serin_evaluator.config import EvaluateConfig

    monkeypatch.setenv("SERIN_WORDNET", str(tmp_path / "nowhere"))
    monkeypatch.setenv("SERIN_PVC_ROOT", str(tmp_path))
    asked = EvaluateConfig.model_validate(config_document(suites=[suite_document(metrics=["RougeL", "METEOR"])]))

    with pytest.raises(ConfigError, match=r"has no index.noun, data.noun, noun.exc \.\.\."):
        evaluate(asked)


def test_the_signature_says_what_scores_can_be_compared_under() -> None:
    assert signature().startswith("nrefs:1|case:lc|tok:nltk|stem:porter|wordnet:3.0|alpha:0.9|beta:3|gamma:0.5|nltk:3.")
