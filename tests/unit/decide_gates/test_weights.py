"""What a gate says as a whole, from the verdicts and weights of its requirements."""

from typing import Any

import pytest
from serin_operator.api.contract import EvaluateOutput
from serin_operator.api.v1alpha1 import EvalGate, Verdict
from serin_operator.decide.job.demands import demands
from serin_operator.decide.job.gates import Judgement, judge
from support.jobs import a_policy, an_evaluation

# RougeL is measured as 0.410, its limits of 95 percent being 0.370 and 0.450.
PASSES, FAILS, OPEN = "0.30", "0.52", "0.405"


def judged(*asked: dict[str, Any], policies: Any = (), **spec: Any) -> Judgement:
    suite = {"name": "heldout", "dataset": {"uri": "pvc://d/x.jsonl"}, "metrics": ["RougeL", "ExactMatch"]}
    requirements = [{"name": f"r{i}", "metric": "heldout/RougeL", **one} for i, one in enumerate(asked)]
    gate = EvalGate.model_validate(
        {"metadata": {"name": "quality"}, "spec": {"suites": [suite], "requirements": requirements, **spec}}
    )
    return judge(demands([gate], policies), EvaluateOutput.model_validate(an_evaluation()), first_deployment=False)


UNMEASURED = {"metric": "heldout/ExactMatch", "min": "0.1"}


@pytest.mark.parametrize(
    ("asked", "percent", "want"),
    [
        pytest.param(
            [{"min": PASSES, "weight": 3}, {"min": FAILS}], 100, Verdict.FAILED, id="all must pass unless said"
        ),
        pytest.param([{"min": PASSES, "weight": 3}, {"min": FAILS}], 75, Verdict.PASSED, id="just enough weight"),
        pytest.param([{"min": PASSES, "weight": 3}, {"min": FAILS}], 76, Verdict.FAILED, id="just too little"),
        pytest.param(
            [{"min": PASSES, "weight": 3}, {"min": OPEN}], 75, Verdict.PASSED, id="enough without what is open"
        ),
        pytest.param([{"min": PASSES}, {"min": OPEN}], 75, Verdict.INCONCLUSIVE, id="what is open decides"),
        pytest.param(
            [{"min": FAILS, "weight": 3}, {"min": OPEN}], 75, Verdict.FAILED, id="what is open cannot save it"
        ),
        pytest.param(
            [{"min": PASSES, "weight": 9}, {"min": FAILS, "mustPass": True}], 50, Verdict.FAILED, id="a must is a must"
        ),
        pytest.param(
            [{"min": PASSES, "weight": 9}, {"min": OPEN, "mustPass": True}], 50, Verdict.INCONCLUSIVE, id="an open must"
        ),
        pytest.param([{"min": PASSES, "weight": 9}, UNMEASURED], 50, Verdict.ERROR, id="what was not measured holds"),
        pytest.param([{"min": PASSES}, {"min": FAILS, "weight": 0}], 100, Verdict.PASSED, id="no weight: told only"),
        pytest.param([{"min": PASSES}, UNMEASURED | {"weight": 0}], 100, Verdict.PASSED, id="no weight: not measured"),
        pytest.param(
            [{"min": PASSES}, {"min": FAILS, "weight": 0, "mustPass": True}],
            50,
            Verdict.FAILED,
            id="no weight but a must",
        ),
    ],
)
def test_a_gate_passes_with_enough_weight_and_every_must(asked: list[Any], percent: int, want: Verdict) -> None:
    assert judged(*asked, passPercent=percent).verdict is want


def test_the_sentence_says_how_much_weight_passed_and_how_much_is_needed() -> None:
    message = judged({"min": PASSES, "weight": 3}, {"min": FAILS, "weight": 2}, passPercent=80).message
    assert "misses at least 0.52" in message
    assert "gate quality: 60 percent of the weight passed, 80 are needed" in message


@pytest.mark.parametrize(
    ("warn", "warned"),
    [pytest.param(80, True, id="below the band"), pytest.param(75, False, id="on its edge")],
)
def test_between_the_two_bands_it_passes_with_a_warning(warn: int, warned: bool) -> None:
    found = judged({"min": PASSES, "weight": 3}, {"min": FAILS}, passPercent=60, warnPercent=warn)
    assert (found.verdict, found.warning) == (Verdict.PASSED, warned)
    assert ("warning: gate quality: 75 percent of the weight passed" in found.message) is warned


def test_weight_in_a_gate_never_buys_off_a_policy() -> None:
    found = judged({"min": PASSES, "weight": 100}, passPercent=1, policies=[a_policy(metric="RougeL", min=FAILS)])
    assert found.verdict is Verdict.FAILED


def test_what_only_adds_weight_is_corrected_for_its_number_and_a_must_is_not() -> None:
    """0.369 is met at 95 percent (p 0.046): alone, and as a must; not as one of two of which either could tip the scale."""
    edge, hard = {"min": "0.369"}, {"min": FAILS}
    assert judged(edge).verdict is Verdict.PASSED
    assert judged(edge, hard, passPercent=50).verdict is Verdict.INCONCLUSIVE
    assert judged(edge | {"mustPass": True}, hard | {"weight": 0}, passPercent=50).verdict is Verdict.PASSED


def test_a_requirement_without_weight_makes_the_others_no_less_sure() -> None:
    told = [{"min": PASSES, "weight": 0}] * 6
    assert judged({"min": "0.452"}, *told).verdict is Verdict.FAILED
    assert judged({"min": "0.452"}, *told).requirements[1].source == "gate quality (no weight)"
