"""Krippendorff's alpha has the values of his own examples (2011, "Computing Krippendorff's Alpha-Reliability")."""

import pytest
from serin_evaluator.agreement import alpha

# Four observers of twelve units, of which not all saw all; a dot is nothing said.
OBSERVERS = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")


def test_two_observers_of_two_categories() -> None:
    assert alpha(zip("0100000010", "1110010000", strict=True)) == pytest.approx(0.095, abs=5e-4)


def test_two_observers_of_several_categories() -> None:
    assert alpha(zip("aabbdcccedda", "babbbccceddd", strict=True)) == pytest.approx(0.692, abs=5e-4)


def test_any_number_of_observers_with_missing_ratings() -> None:
    units = [[one for one in unit if one != "."] for unit in zip(*OBSERVERS, strict=True)]

    assert alpha(units) == pytest.approx(0.743, abs=5e-4)


@pytest.mark.parametrize(
    "things",
    [
        pytest.param([], id="nothing"),
        pytest.param([["candidate"], ["other"]], id="one rater each"),
        pytest.param([["tie", "tie"], ["tie", "tie"]], id="the same of everything"),
    ],
)
def test_where_nobody_could_disagree_there_is_no_agreement(things: list[list[str]]) -> None:
    assert alpha(things) is None


def test_raters_who_always_agree_and_never_do() -> None:
    assert alpha([["candidate", "candidate"], ["other", "other", "other"]]) == pytest.approx(1.0)
    assert alpha([["candidate", "other"]] * 10) == pytest.approx(-0.9)
