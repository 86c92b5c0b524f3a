"""Scores and comparisons of measurements; what cannot be produced is absent, with a reason."""

from typing import Any

import pytest
from serin_evaluator.cache import Entry
from serin_evaluator.config import Role, Suite
from serin_evaluator.measured import Generation, Likelihood
from serin_evaluator.measuring import Measured
from serin_evaluator.scoring import Scores, samples, score
from serin_evaluator.suites import Example, LoadedSuite
from support.evaluation import config, suite_document

ANSWERS = ["the number of pods", "the name of the node", "the labels", "a list of ports"]


def loaded(metrics: list[str]) -> LoadedSuite:
    suite = Suite.model_validate(suite_document(metrics=metrics))
    examples = {line: Example(line, "q", (), answer) for line, answer in enumerate(ANSWERS, start=1)}
    return LoadedSuite(suite, "sha256:" + "d" * 64, len(ANSWERS), 0, examples)


def said(texts: list[str]) -> Measured:
    rows = {line: Generation(text, 5, "stop") for line, text in enumerate(texts, start=1)}
    return Measured(generation=Entry(rows, ()))


def likely(losses: list[float], tokens: int = 10) -> Measured:
    rows = {line: Likelihood(loss, tokens, 0) for line, loss in enumerate(losses, start=1)}
    return Measured(likelihood=Entry(rows, ()))


def scores(metric: str, models: dict[Role, Measured], **changes: Any) -> Scores:
    comparison = {"suite": "heldout", "metric": metric, "against": "Base", "method": "PairedBootstrap"}
    asked = config(
        suites=[suite_document(metrics=[metric])],
        **{"comparisons": [comparison], "wanted": [f"heldout/{metric}"], **changes},
    )
    found = samples([loaded([metric])], {role: {"heldout": measured} for role, measured in models.items()})
    return score(asked, found)


def test_a_better_candidate_has_a_positive_difference_where_higher_is_better() -> None:
    made = scores("RougeL", {Role.CANDIDATE: said(ANSWERS), Role.BASE: said(["pods", "x", "y", "z"])})

    assert [(one.role, one.value) for one in made.scores] == [("Candidate", 1.0), ("Base", pytest.approx(0.1))]
    assert made.comparisons[0].difference == pytest.approx(0.9)
    assert made.comparisons[0].high == 1.0
    assert made.scores[0].curve
    assert not made.scores[1].curve  # bounds are asked of the candidate only


def test_a_better_candidate_has_a_negative_difference_where_lower_is_better() -> None:
    made = scores("Perplexity", {Role.CANDIDATE: likely([5, 6, 7, 8]), Role.BASE: likely([20, 21, 22, 23])})

    assert made.comparisons[0].difference < 0
    assert made.comparisons[0].high < 0


def test_an_example_that_only_one_model_could_take_is_not_compared() -> None:
    short = said(ANSWERS)
    assert short.generation is not None
    short.generation.measured.pop(4)

    made = scores("RougeL", {Role.CANDIDATE: said(ANSWERS), Role.BASE: short})

    assert made.comparisons[0].n == 3
    assert [one.n for one in made.scores] == [4, 3]


def test_likelihoods_that_are_no_numbers_give_no_score_and_say_why() -> None:
    made = scores("Perplexity", {Role.CANDIDATE: likely([float("nan")] * 4), Role.BASE: likely([1.0] * 4)})

    assert [one.role for one in made.scores] == ["Base"]
    assert made.comparisons == ()
    assert [missing.what for missing in made.missing] == [
        "heldout/Perplexity of Candidate",
        "heldout/Perplexity against Base",
    ]


def test_a_perplexity_beyond_all_numbers_is_absent() -> None:
    made = scores("Perplexity", {Role.CANDIDATE: likely([9000.0] * 4, tokens=10)})

    assert made.scores == ()


def test_models_with_different_tokenizers_are_not_compared_by_token() -> None:
    models = {Role.CANDIDATE: likely([5.0] * 4, tokens=10), Role.BASE: likely([5.0] * 4, tokens=7)}

    made = scores("CrossEntropy", models)

    assert len(made.scores) == 2
    assert made.comparisons == ()
    assert "different tokenizers" in made.missing[0].why


def test_one_example_is_no_measurement() -> None:
    one = said(ANSWERS[:1])

    made = scores("ExactMatch", {Role.CANDIDATE: one, Role.BASE: one})

    assert made.scores == ()
    assert made.missing[0].why == "only 1 examples could be scored"


def test_what_no_suite_measures_is_named_and_absent() -> None:
    models = {Role.CANDIDATE: said(ANSWERS), Role.BASE: said(ANSWERS)}

    made = scores("RougeL", models, wanted=["heldout/ECE", "other/RougeL"])

    assert [missing.what for missing in made.missing] == ["heldout/ECE", "other/RougeL"]


def test_a_comparison_with_a_model_that_is_not_there_is_absent() -> None:
    made = scores("RougeL", {Role.CANDIDATE: said(ANSWERS)})

    assert made.comparisons == ()
    assert made.missing[0].what == "heldout/RougeL against Base"
