"""A gate has four answers; each is given for the right reason, with the numbers in the sentence."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serin_operator.api.contract import EvaluateOutput
from serin_operator.api.v1alpha1 import Verdict
from serin_operator.decide.job.gates import Judgement, demands, judge, wanted_comparisons
from support.jobs import a_gate, a_policy, an_evaluation

LOWER = {"metric": "heldout/Perplexity"}


def judged(measured: dict[str, Any] | None = None, first: bool = False, **requirement: Any) -> Judgement:
    asked = demands([a_gate(**requirement)], [])
    return judge(asked, EvaluateOutput.model_validate(measured or an_evaluation()), first)


@pytest.mark.parametrize(
    ("requirement", "want"),
    [
        pytest.param({"min": "0.37"}, Verdict.PASSED, id="the whole interval is above the floor"),
        pytest.param({"min": "0.40"}, Verdict.INCONCLUSIVE, id="the floor is within the interval"),
        pytest.param({"min": "0.46"}, Verdict.FAILED, id="the whole interval is below the floor"),
        pytest.param({"max": "0.45"}, Verdict.PASSED, id="the whole interval is below the ceiling"),
        pytest.param({"max": "0.41"}, Verdict.INCONCLUSIVE, id="the ceiling is within the interval"),
        pytest.param({"max": "0.30"}, Verdict.FAILED, id="the whole interval is above the ceiling"),
        pytest.param({"min": "0.1", "max": "0.3"}, Verdict.FAILED, id="one of two bounds is missed"),
        pytest.param({"min": "0.1", "max": "0.9"}, Verdict.PASSED, id="both bounds are met"),
    ],
)
def test_a_bound_is_judged_by_the_interval(requirement: dict[str, str], want: Verdict) -> None:
    assert judged(**requirement).verdict is want


@pytest.mark.parametrize(
    ("low", "high", "margin", "want"),
    [
        pytest.param(0.01, 0.2, {"minImprovement": "0"}, Verdict.PASSED, id="better, zero excluded"),
        pytest.param(0.0, 0.2, {"minImprovement": "0"}, Verdict.INCONCLUSIVE, id="zero is not excluded"),
        pytest.param(-0.2, -0.01, {"minImprovement": "0"}, Verdict.FAILED, id="worse"),
        pytest.param(-0.2, 0.0, {"minImprovement": "0"}, Verdict.FAILED, id="at most equal"),
        pytest.param(0.03, 0.2, {"minImprovement": "0.05"}, Verdict.INCONCLUSIVE, id="perhaps better enough"),
        pytest.param(-0.01, 0.2, {"maxRegression": "0.01"}, Verdict.PASSED, id="worse by no more than allowed"),
        pytest.param(-0.02, 0.2, {"maxRegression": "0.01"}, Verdict.INCONCLUSIVE, id="perhaps worse than allowed"),
        pytest.param(-0.2, -0.02, {"maxRegression": "0.01"}, Verdict.FAILED, id="worse than allowed"),
    ],
)
def test_a_comparison_is_judged_by_the_interval_of_the_difference(
    low: float, high: float, margin: dict[str, str], want: Verdict
) -> None:
    measured = an_evaluation((low + high) / 2, low, high)
    assert judged(measured, comparedTo="Base", **margin).verdict is want


@pytest.mark.parametrize(
    ("low", "high", "want"),
    [
        pytest.param(-3.0, -1.0, Verdict.PASSED, id="perplexity fell"),
        pytest.param(1.0, 3.0, Verdict.FAILED, id="perplexity rose"),
        pytest.param(-1.0, 1.0, Verdict.INCONCLUSIVE, id="within noise"),
    ],
)
def test_lower_is_better_for_perplexity(low: float, high: float, want: Verdict) -> None:
    measured = an_evaluation((low + high) / 2, low, high)
    assert judged(measured, comparedTo="Base", minImprovement="0", **LOWER).verdict is want


@given(low=st.floats(-1, 1), width=st.floats(0, 1), allowed=st.sampled_from(["0", "0.01", "0.1"]))
def test_a_passed_non_inferiority_never_has_a_lower_end_beyond_the_margin(
    low: float, width: float, allowed: str
) -> None:
    measured = an_evaluation(low + width / 2, low, low + width)
    verdict = judged(measured, comparedTo="Base", maxRegression=allowed).verdict
    assert (verdict is Verdict.PASSED) == (low + float(allowed) >= 0)


def test_a_metric_that_was_not_produced_is_an_error_and_never_a_pass() -> None:
    measured = an_evaluation()
    measured["scores"] = measured["comparisons"] = []
    assert judged(measured, min="0.0").verdict is Verdict.ERROR
    assert judged(measured, comparedTo="Base", maxRegression="1").verdict is Verdict.ERROR
    assert "produced no heldout/RougeL" in judged(measured, min="0.0").message


def test_a_score_on_no_examples_is_an_error() -> None:
    measured = an_evaluation()
    for score in measured["scores"]:
        score["n"] = 0
    assert judged(measured, min="0.0").verdict is Verdict.ERROR


def test_a_comparison_at_another_confidence_does_not_count() -> None:
    assert judged(comparedTo="Base", minImprovement="0", confidencePercent=99).verdict is Verdict.ERROR


def test_a_failure_outweighs_an_error_and_an_error_outweighs_noise() -> None:
    gate = a_gate(min="0.46")
    asked = demands([gate], [a_policy(metric="ExactMatch", min="0.1"), a_policy(metric="RougeL", min="0.40")])
    measured = EvaluateOutput.model_validate(an_evaluation())
    assert judge(asked, measured, False).verdict is Verdict.FAILED
    assert judge(asked[1:], measured, False).verdict is Verdict.ERROR
    assert judge(asked[2:], measured, False).verdict is Verdict.INCONCLUSIVE


def test_the_sentence_has_the_number_its_interval_the_bound_and_what_follows() -> None:
    message = judged(min="0.46").message
    assert "heldout/RougeL 0.410 [0.370, 0.450] on 100 examples misses at least 0.46" in message
    assert "what users get stays as it is" in message
    assert "pvc://artifacts/report.json" in message


def test_a_policy_holds_for_every_suite_that_measures_its_metric() -> None:
    asked = demands([a_gate()], [a_policy(metric="RougeL", min="0.1")])
    assert [(d.source, d.suite) for d in asked] == [("gate quality", "heldout"), ("policy floor", "heldout")]


def test_the_evaluator_is_asked_for_each_comparison_once() -> None:
    asked = demands([a_gate(), a_gate()], [])
    assert len(wanted_comparisons(asked, first_deployment=False)) == 1


def test_on_a_first_deployment_the_incumbent_is_replaced_by_the_base() -> None:
    asked = demands([a_gate(comparedTo="Incumbent", maxRegression="0.1")], [])
    assert wanted_comparisons(asked, first_deployment=True)[0].against == "Base"
    assert wanted_comparisons(asked, first_deployment=False)[0].against == "Incumbent"
