"""Verdicts from evidence, and the arithmetic below them."""

import math

import pytest
from serin_operator.api.v1alpha1 import Verdict
from serin_operator.decide.service.sequential.rule import Evidence, Rule, bound, log_mean, log_sum, verdict

RULE = Rule(max_increase_percent=20, level=0.01, tolerance_level=0.1)
SURE, LIKELY, NOTHING = math.log(100) + 1e-9, math.log(10) + 1e-9, 0.0


@pytest.mark.parametrize(
    ("no_worse", "tolerable", "intolerable", "expected"),
    [
        (NOTHING, NOTHING, NOTHING, Verdict.INCONCLUSIVE),
        (SURE, LIKELY, NOTHING, Verdict.FAILED),
        (SURE, NOTHING, NOTHING, Verdict.INCONCLUSIVE),  # surely worse, perhaps tolerably
        (SURE, NOTHING, SURE, Verdict.PASSED),  # surely worse, surely tolerably
        (LIKELY, LIKELY, NOTHING, Verdict.INCONCLUSIVE),  # perhaps no worse at all
        (NOTHING, NOTHING, SURE, Verdict.PASSED),
        (NOTHING, NOTHING, LIKELY, Verdict.INCONCLUSIVE),
    ],
)
def test_a_verdict_needs_its_evidence(no_worse: float, tolerable: float, intolerable: float, expected: Verdict) -> None:
    assert verdict(RULE, Evidence(no_worse, tolerable, intolerable)) is expected


@pytest.mark.parametrize("wrong", [{"max_increase_percent": 0}, {"level": 0}, {"level": 1}, {"tolerance_level": 1.5}])
def test_a_rule_that_could_not_decide_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="tolerance above 0"):
        Rule(**wrong)


def test_sums_of_logarithms_do_not_overflow() -> None:
    assert log_sum([1000.0, 1000.0]) == pytest.approx(1000 + math.log(2))
    assert log_mean([-2000.0, -2000.0]) == pytest.approx(-2000)


def test_a_confidence_sequence_is_wider_than_an_interval_at_one_moment_and_narrows() -> None:
    widths = [bound(information, 0.05) for information in (1.0, 10.0, 100.0, 1000.0)]
    at_one_moment = [1.96 / math.sqrt(information) for information in (1.0, 10.0, 100.0, 1000.0)]
    assert all(wide > narrow for wide, narrow in zip(widths, at_one_moment, strict=True))
    assert widths == sorted(widths, reverse=True)
    assert bound(0.0, 0.05) == math.inf
