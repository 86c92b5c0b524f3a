"""SLOs: what is asked, and the verdict on what comes back."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serin_operator.api.v1alpha1 import Slo, Verdict
from serin_operator.decide.service import slos
from serin_operator.decide.service.snapshot import Reading, ReadingKind

WORDS = {
    "namespace": "ml",
    "service": "bot",
    "revision": "bot-1",
    "stable": "bot-0",
    "backend": "bot-1",
    "window": "60s",
}


def an_slo(**bounds: str) -> Slo:
    return Slo(name="latency", query='x{revision="{{revision}}"}', **bounds)


def a_value(value: float) -> Reading:
    return Reading(ReadingKind.VALUE, value)


@pytest.mark.parametrize(
    ("slo", "reading", "verdict", "message"),
    [
        pytest.param(an_slo(max="2"), a_value(0.41), Verdict.PASSED, "latency 0.41 <= 2", id="below its maximum"),
        pytest.param(an_slo(max="2"), a_value(2.0), Verdict.PASSED, "latency 2 <= 2", id="on the bound is inside"),
        pytest.param(an_slo(max="2"), a_value(2.01), Verdict.FAILED, "latency 2.01 > 2", id="above its maximum"),
        pytest.param(an_slo(min="1"), a_value(0.0), Verdict.FAILED, "latency 0 < 1", id="zero is a value"),
        pytest.param(an_slo(min="1", max="3"), a_value(2.0), Verdict.PASSED, "1 <= latency 2 <= 3", id="between"),
        pytest.param(
            an_slo(max="2"), Reading(ReadingKind.NO_DATA), Verdict.INCONCLUSIVE, "scrapes its pods", id="no series"
        ),
        pytest.param(an_slo(max="2"), Reading(ReadingKind.OUTAGE, text="away"), Verdict.ERROR, "away", id="outage"),
        pytest.param(an_slo(max="2"), Reading(ReadingKind.NOT_A_NUMBER, text="NaN"), Verdict.ERROR, "NaN", id="NaN"),
        pytest.param(
            an_slo(max="2"), Reading(ReadingKind.SEVERAL_SERIES, text="2 series"), Verdict.ERROR, "2 series", id="two"
        ),
    ],
)
def test_verdict(slo: Slo, reading: Reading, verdict: Verdict, message: str) -> None:
    found = slos.judged(slo, reading)
    assert found.verdict is verdict
    assert message in found.message
    assert (found.value is not None) == (reading.kind is ReadingKind.VALUE)


@settings(deadline=None)
@given(st.sampled_from([kind for kind in ReadingKind if kind is not ReadingKind.VALUE]))
def test_nothing_but_a_value_ever_passes_or_fails(kind: ReadingKind) -> None:
    assert slos.judged(an_slo(max="2"), Reading(kind)).verdict in (Verdict.INCONCLUSIVE, Verdict.ERROR)


def test_placeholders_are_filled_in_with_or_without_spaces() -> None:
    query = 'a{n="{{namespace}}",s="{{ service }}",r="{{revision}}"} / b{r="{{stable}}"}'
    assert slos.filled(query, WORDS) == 'a{n="ml",s="bot",r="bot-1"} / b{r="bot-0"}'


@pytest.mark.parametrize(
    ("query", "text"),
    [
        pytest.param("x{{pod}}", "{{pod}} is not known; use one of {{namespace}}, {{service}}", id="unknown"),
        pytest.param("x{{revision}", "not closed", id="not closed"),
        pytest.param("x{{revision}} }}", "not closed", id="closed twice"),
        pytest.param("{{Revision}}", "{{Revision}} is not known", id="upper case"),
        pytest.param("{{}}", "{{}} is not known", id="empty"),
    ],
)
def test_a_placeholder_that_cannot_be_filled_is_named(query: str, text: str) -> None:
    found = slos.filled(query, WORDS)
    assert isinstance(found, slos.Unusable)
    assert text in found.message


@settings(deadline=None)
@given(st.text(max_size=8), st.sampled_from('"\\{}\n` '), st.text(max_size=8))
def test_a_value_that_could_end_a_promql_string_is_never_put_in(before: str, bad: str, after: str) -> None:
    words = {**WORDS, "revision": before + bad + after}
    assert isinstance(slos.filled('x{r="{{revision}}"}', words), slos.Unusable)


def test_requests_are_counted_over_whole_seconds_of_the_step() -> None:
    assert slos.requests_query("ml", "bot-1", timedelta(seconds=12.7)) == (
        'sum(increase(vllm:request_success_total{namespace="ml",revision="bot-1"}[12s]))'
    )
    assert "[1s]" in slos.requests_query("ml", "bot-1", timedelta())
