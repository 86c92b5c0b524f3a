"""BLEU and chrF are sacrebleu's, also when they are put together from resampled counts."""

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest
from serin_evaluator.config import Metric
from serin_evaluator.corpus import bleu, chrf, corpus_sample, signatures
from serin_evaluator.curves import PROBABILITIES
from serin_evaluator.uncertainty import difference, estimate

SAID = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
ANSWERS = [
    ["The dog bit the man.", "It was not unexpected.", "The man bit him first."],
    ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."],
]
LIBRARY = {Metric.BLEU: BLEU, Metric.CHR_F: CHRF}
OURS = {Metric.BLEU: bleu, Metric.CHR_F: chrf}
WORDS = ["the", "cat", "sat", "on", "a", "mat", ".", "dog's", "é"]


def texts(number: int, length: int, seed: int) -> dict[int, str]:
    random = np.random.default_rng(seed)
    return {one: " ".join(f"w{word}" for word in random.integers(0, 300, length)) for one in range(number)}


def cut(texts: dict[int, str], seed: int) -> dict[int, str]:
    """Answers that begin well and end elsewhere."""
    random = np.random.default_rng(seed)
    return {one: " ".join([*text.split()[: random.integers(3, 12)], "x", "y"]) for one, text in texts.items()}


@pytest.mark.parametrize(("metric", "published"), [(Metric.BLEU, 48.53), (Metric.CHR_F, 59.73)])
def test_the_formula_gives_the_value_of_the_librarys_readme(metric: Metric, published: float) -> None:
    rows = LIBRARY[metric]()._extract_corpus_statistics(SAID, ANSWERS)

    assert OURS[metric](np.array(rows, dtype=float).sum(0)) == pytest.approx(published, abs=0.005)


@pytest.mark.parametrize("metric", LIBRARY)
@pytest.mark.parametrize("longest", [3, 12])
def test_any_corpus_has_the_score_that_the_library_gives_it(metric: Metric, longest: int) -> None:
    random = np.random.default_rng(longest)
    for size in (1, 2, 9, 9, 9):
        said, answers = (
            {one: " ".join(random.choice(WORDS, random.integers(0, longest))) for one in range(size)} for _ in range(2)
        )
        published = LIBRARY[metric]().corpus_score(list(said.values()), [list(answers.values())]).score

        assert corpus_sample(metric, said, answers).value() == pytest.approx(published, abs=1e-9)


@pytest.mark.parametrize("metric", LIBRARY)
def test_each_example_alone_is_scored_as_the_librarys_sentence(metric: Metric) -> None:
    sample = corpus_sample(metric, dict(enumerate(SAID)), dict(enumerate(ANSWERS[0])))
    library = BLEU(effective_order=True) if metric is Metric.BLEU else CHRF()

    for one, (said, answer) in enumerate(zip(SAID, ANSWERS[0], strict=True)):
        assert sample.by_example()[one] == pytest.approx(library.sentence_score(said, [answer]).score)


@pytest.mark.parametrize("metric", LIBRARY)
def test_the_interval_is_that_of_resampled_corpora(metric: Metric) -> None:
    random = np.random.default_rng(3)
    answers = {one: " ".join(random.choice(WORDS, 12)) for one in range(80)}
    said = {one: " ".join([*text.split()[: random.integers(2, 12)], "x", "y"]) for one, text in answers.items()}
    sample = corpus_sample(metric, said, answers)

    made = estimate(sample, (7,))

    drawn = [float(sample.of(sample.rows[random.integers(0, 80, 80)].sum(0))) for _ in range(400)]
    assert made.value == sample.value()
    assert made.stderr == pytest.approx(np.std(drawn), rel=0.15)
    assert (made.low, made.high) == (
        pytest.approx(np.quantile(drawn, 0.025), abs=made.stderr),
        pytest.approx(np.quantile(drawn, 0.975), abs=made.stderr),
    )


@pytest.mark.parametrize(("metric", "library"), LIBRARY.items())
def test_the_interval_is_about_as_wide_as_the_librarys(metric: Metric, library: type) -> None:
    answers = texts(60, 12, seed=5)
    said = cut(answers, seed=6)

    made = estimate(corpus_sample(metric, said, answers), (7,))

    theirs = library().corpus_score(list(said.values()), [list(answers.values())], n_bootstrap=1000)
    assert made.value == pytest.approx(theirs.score)
    assert (made.high - made.low) / 2 == pytest.approx(theirs._ci, rel=0.15)


@pytest.mark.parametrize(("metric", "library", "wrong"), [(Metric.BLEU, BLEU, 3), (Metric.CHR_F, CHRF, 1)])
def test_a_few_wrong_answers_leave_the_interval_an_end(metric: Metric, library: type, wrong: int) -> None:
    answers = texts(40, 12, seed=8)
    said = {one: text if one >= wrong else "quite another text" for one, text in answers.items()}

    made = estimate(corpus_sample(metric, said, answers), (7,))

    theirs = library().corpus_score(list(said.values()), [list(answers.values())], n_bootstrap=400)
    assert made.value == pytest.approx(theirs.score)
    # Resamples without a wrong answer have no spread. Ours is the wider one: what was not seen may be wrong too.
    assert made.value - 16 < made.low < theirs._mean - theirs._ci
    assert min(theirs._mean + theirs._ci, 100) <= made.high + 0.5
    assert made.high <= 100


@pytest.mark.parametrize("metric", LIBRARY)
def test_a_perfect_score_does_not_say_that_no_answer_could_be_wrong(metric: Metric) -> None:
    random = np.random.default_rng(4)
    answers = {
        one: " ".join(f"w{word}" for word in random.integers(0, 300, random.integers(5, 15))) for one in range(60)
    }

    made = estimate(corpus_sample(metric, answers, answers), (7,))

    assert (made.value, made.stderr, made.high) == (pytest.approx(100), 0.0, pytest.approx(100))
    assert made.low == pytest.approx(100 * 0.025 ** (1 / 60))


def test_two_models_that_differ_in_one_answer_are_not_hundreds_apart() -> None:
    answers = texts(40, 12, seed=9)
    other = {**answers, 3: "quite another text"}

    made = difference(corpus_sample(Metric.BLEU, other, answers), corpus_sample(Metric.BLEU, answers, answers), (7,))

    assert made is not None
    assert made.value == pytest.approx(corpus_sample(Metric.BLEU, other, answers).value() - 100)
    assert -16 < made.low < made.value < made.high < 10


@pytest.mark.parametrize("shorter", [0.8, 1.0])
def test_a_paired_difference_is_as_likely_to_be_chance_as_by_the_librarys_test(shorter: float) -> None:
    answers, random = texts(60, 12, seed=10), np.random.default_rng(12)
    base = cut(answers, seed=11)
    candidate = {one: text[:-6] if random.random() < shorter else text for one, text in cut(answers, seed=13).items()}

    made = difference(*(corpus_sample(Metric.BLEU, said, answers) for said in (candidate, base)), (7,))

    systems = [("base", list(base.values())), ("candidate", list(candidate.values()))]
    test = PairedTest(systems, {"BLEU": BLEU()}, [list(answers.values())], test_type="bs", n_samples=1000)
    theirs = test()[1]["BLEU"]
    assert made is not None
    assert made.value == pytest.approx(theirs[1].score - theirs[0].score)
    below = float(np.interp(0.0, made.curve, PROBABILITIES))
    assert min(below, 1 - below) == pytest.approx(theirs[1].p_value, abs=0.03)  # theirs is of one side, too


def test_models_are_compared_over_the_same_examples() -> None:
    answers = {one: f"the cat sat on mat number {one} and slept" for one in range(40)}
    worse = {one: text.replace("sat", "lay") if one % 2 else text for one, text in answers.items()}

    made = difference(corpus_sample(Metric.BLEU, answers, answers), corpus_sample(Metric.BLEU, worse, answers), (7,))

    assert made is not None
    assert made.value == pytest.approx(100 - corpus_sample(Metric.BLEU, worse, answers).value())
    assert 0 < made.low < made.value < made.high


def test_the_signature_says_what_scores_can_be_compared_under() -> None:
    assert signatures()[Metric.BLEU].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.")
    assert "nc:6|nw:0" in signatures()[Metric.CHR_F]
