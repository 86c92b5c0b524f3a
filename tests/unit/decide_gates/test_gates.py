"""A gate has four answers; each is given for the right reason, with the numbers in the sentence."""

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from serin_operator.api.contract import EvaluateOutput
from serin_operator.api.v1alpha1 import EvalGate, Verdict
from serin_operator.decide.job.demands import contradiction, demands, wanted_comparisons, wanted_scores
from serin_operator.decide.job.gates import Judgement, judge
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
        pytest.param({"max": "0.46"}, Verdict.PASSED, id="the whole interval is below the ceiling"),
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
        pytest.param(-0.01, 0.2, {"minImprovement": "0"}, Verdict.INCONCLUSIVE, id="zero is not excluded"),
        pytest.param(-0.2, -0.01, {"minImprovement": "0"}, Verdict.FAILED, id="worse"),
        pytest.param(0.03, 0.2, {"minImprovement": "0.05"}, Verdict.INCONCLUSIVE, id="perhaps better enough"),
        pytest.param(-0.009, 0.2, {"maxRegression": "0.01"}, Verdict.PASSED, id="worse by no more than allowed"),
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


@settings(deadline=None)  # a busy machine is not a slow rule
@given(low=st.floats(-1, 1), width=st.floats(0.001, 1), allowed=st.sampled_from(["0", "0.01", "0.1"]))
def test_a_passed_non_inferiority_never_has_a_lower_limit_beyond_the_margin(
    low: float, width: float, allowed: str
) -> None:
    assume(abs(low + float(allowed)) > 1e-6)
    measured = an_evaluation(low + width / 2, low, low + width)
    verdict = judged(measured, comparedTo="Base", maxRegression=allowed).verdict
    assert (verdict is Verdict.PASSED) == (low + float(allowed) > 0)


def test_a_metric_that_was_not_produced_is_an_error_and_never_a_pass() -> None:
    measured = an_evaluation()
    measured["scores"] = measured["comparisons"] = []
    assert judged(measured, min="0.0").verdict is Verdict.ERROR
    assert judged(measured, comparedTo="Base", maxRegression="1").verdict is Verdict.ERROR
    assert "produced no heldout/RougeL that can be judged: its report says why" in judged(measured, min="0.0").message


@pytest.mark.parametrize("wrong", [None, float("nan"), float("inf")], ids=["missing", "NaN", "infinite"])
def test_a_number_that_is_none_is_an_error_and_never_a_pass(wrong: float | None) -> None:
    measured = an_evaluation()
    measured["scores"][0]["value"] = wrong
    measured["comparisons"][0]["curve"][3] = wrong
    assert judged(measured, min="0.0").verdict is Verdict.ERROR
    assert judged(measured, comparedTo="Base", maxRegression="1").verdict is Verdict.ERROR


def test_a_score_on_no_examples_is_an_error() -> None:
    measured = an_evaluation()
    for score in measured["scores"]:
        score["n"] = 0
    assert judged(measured, min="0.0").verdict is Verdict.ERROR


def test_the_same_measurement_is_judged_at_every_confidence() -> None:
    measured = an_evaluation(0.1, 0.0, 0.2)
    verdicts = [judged(measured, comparedTo="Base", minImprovement="0", confidencePercent=c).verdict for c in (90, 99)]
    assert verdicts == [Verdict.PASSED, Verdict.INCONCLUSIVE]


def test_a_comparison_by_another_method_does_not_count() -> None:
    assert judged(comparedTo="Base", minImprovement="0", testMethod="Wilcoxon").verdict is Verdict.ERROR


def test_a_failure_outweighs_an_error_and_an_error_outweighs_noise() -> None:
    gate = a_gate(min="0.48")
    asked = demands([gate], [a_policy(metric="ExactMatch", min="0.1"), a_policy(metric="RougeL", min="0.40")])
    measured = EvaluateOutput.model_validate(an_evaluation())
    assert judge(asked, measured, False).verdict is Verdict.FAILED
    assert judge(asked[1:], measured, False).verdict is Verdict.ERROR
    assert judge(asked[2:], measured, False).verdict is Verdict.INCONCLUSIVE


def test_the_sentence_has_the_number_its_limits_the_bound_and_what_follows() -> None:
    message = judged(min="0.46").message
    assert "heldout/RougeL 0.410 [0.370, 0.450] on 100 examples misses at least 0.46 (at 95 percent)" in message
    assert "what users get stays as it is" in message
    assert "pvc://artifacts/report.json" in message


def test_an_inconclusive_says_how_many_examples_would_settle_it() -> None:
    verdict = judged(min="0.40").requirements[0]
    # ((1.645 + 0.842) x 0.0243 / 0.01) squared x 100, the textbook's power calculation
    assert verdict.needed_examples == 3700
    assert "is within noise of at least 0.40 (at 95 percent); about 3,700 examples would settle it" in verdict.message
    assert (verdict.examples, verdict.p_value) == (100, "0.3405")


def test_a_bound_that_is_the_value_itself_is_settled_by_no_number_of_examples() -> None:
    verdict = judged(min="0.41").requirements[0]
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert verdict.needed_examples is None
    assert "no number of examples would settle it" in verdict.message


def test_too_few_examples_are_inconclusive_however_clear_they_look() -> None:
    measured = an_evaluation()
    measured["scores"][0]["n"] = 19
    verdict = judged(measured, min="0.1").requirements[0]
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert "too few to tell" in verdict.message


def test_a_bound_that_every_number_meets_asks_only_for_a_measurement() -> None:
    measured = an_evaluation()
    measured["scores"][0]["curve"] = [0.0] * 13
    measured["scores"][0] |= {"value": 0.0, "stderr": 0.0, "n": 2}
    assert judged(measured, min="0").verdict is Verdict.PASSED


def test_many_requirements_need_more_to_fail_and_no_more_to_pass() -> None:
    """At 95 percent and 0.020 from the bound, one requirement fails; as one of five it is within noise."""
    measured = an_evaluation()
    alone = judge(demands([a_gate(min="0.452")], []), EvaluateOutput.model_validate(measured), False)
    others = [a_policy(metric="RougeL", min="0.1")] * 4
    among = judge(demands([a_gate(min="0.452")], others), EvaluateOutput.model_validate(measured), False)
    assert (alone.verdict, among.verdict) == (Verdict.FAILED, Verdict.INCONCLUSIVE)
    passing = judge(demands([a_gate(min="0.369")], others), EvaluateOutput.model_validate(measured), False)
    assert passing.verdict is Verdict.PASSED


def test_an_audited_policy_does_not_make_the_others_less_sure() -> None:
    measured = EvaluateOutput.model_validate(an_evaluation())
    audited = [a_policy(mode="Audit", metric="RougeL", min="0.1")] * 4
    assert judge(demands([a_gate(min="0.452")], audited), measured, False).verdict is Verdict.FAILED


def test_what_is_compared_by_examples_that_are_right_or_wrong_is_compared_by_mcnemars_test() -> None:
    suite = {"name": "heldout", "dataset": {"uri": "pvc://d/x.jsonl"}, "metrics": ["ExactMatch", "RougeL"]}
    asked = [
        {"name": m, "metric": f"heldout/{m}", "comparedTo": "Base", "maxRegression": "0"} for m in suite["metrics"]
    ]
    gate = EvalGate.model_validate({"metadata": {"name": "g"}, "spec": {"suites": [suite], "requirements": asked}})
    methods = [one.method for one in wanted_comparisons(demands([gate], []), False)]
    assert methods == ["McNemar", "PairedBootstrap"]


def test_a_threshold_is_no_part_of_what_is_measured() -> None:
    def wanted(**requirement: Any) -> object:
        asked = demands([a_gate(**requirement)], [])
        return wanted_comparisons(asked, False), wanted_scores(asked)

    assert wanted(min="0.3") == wanted(min="0.4", confidencePercent=80)
    compared = {"comparedTo": "Base", "maxRegression": "0.1"}
    assert wanted(**compared) == wanted(**compared | {"maxRegression": "0.2", "confidencePercent": 80})
    assert wanted(**compared) != wanted(**compared, testMethod="Wilcoxon")


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


GERMAN = {"field": "language", "value": "de"}


def of_slice(document: dict[str, Any], part: dict[str, str], **changes: Any) -> dict[str, Any]:
    return {**document, "slice": part, **changes}


def test_a_requirement_on_a_slice_is_judged_by_that_slice_alone() -> None:
    measured = an_evaluation()
    bad, good = measured["scores"][0], measured["scores"][0]
    measured["scores"] += [
        of_slice(good, {"field": "language", "value": "en"}),
        of_slice(bad, GERMAN, value=0.1, curve=[0.05 + 0.01 * place for place in range(13)]),
    ]
    assert judged(measured, min="0.37").verdict is Verdict.PASSED
    found = judged(measured, min="0.37", slice=GERMAN)
    assert found.verdict is Verdict.FAILED
    assert "heldout/RougeL@language=de 0.100" in found.message


def test_a_comparison_on_a_slice_is_judged_by_that_slice_alone() -> None:
    measured = an_evaluation(0.3, 0.2, 0.4)
    worse = an_evaluation(-0.3, -0.4, -0.2)["comparisons"][0]
    measured["comparisons"].append(of_slice(worse, GERMAN))
    asked = {"comparedTo": "Base", "maxRegression": "0.01"}
    assert judged(measured, **asked).verdict is Verdict.PASSED
    assert judged(measured, slice=GERMAN, **asked).verdict is Verdict.FAILED


def test_a_slice_that_was_not_measured_is_an_error_and_a_small_one_is_held_with_the_fewest_examples() -> None:
    measured = an_evaluation()
    missing = judged(measured, min="0.1", slice=GERMAN)
    measured["scores"].append(of_slice(measured["scores"][0], GERMAN, n=7))
    small = judged(measured, min="0.1", slice=GERMAN)
    assert missing.verdict is Verdict.ERROR
    assert "no heldout/RougeL@language=de" in missing.message
    assert "perhaps no row has language=de" in missing.message
    assert "Correct the requirement's slice.value, or add such rows" in missing.message
    assert small.verdict is Verdict.INCONCLUSIVE
    assert "on 7 examples: too few to tell" in small.message
    assert "20 are the least" in small.message


def test_slices_are_asked_for_by_name_beside_the_whole() -> None:
    asked = demands([a_gate(min="0.1", slice=GERMAN), a_gate(min="0.1")], [])
    compared = demands([a_gate(comparedTo="Base", maxRegression="0", slice=GERMAN)], [])
    assert wanted_scores(asked) == ("heldout/RougeL", "heldout/RougeL@language=de")
    assert [one.dump().get("slice") for one in wanted_comparisons(compared, True)] == [GERMAN]


def test_a_floor_of_one_slice_does_not_contradict_a_ceiling_of_another() -> None:
    floor, ceiling = a_gate(min="0.5", slice=GERMAN), a_gate(max="0.4", min="0.1")
    assert contradiction(demands([floor, ceiling], [])) is None
    assert contradiction(demands([a_gate(min="0.5"), ceiling], [])) is not None
