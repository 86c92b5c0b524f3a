"""The catalogue of ready-made SLO queries. What Prometheus makes of them: tests/cluster/test_presets.py."""

from pathlib import Path

import pytest
from serin_operator.api.v1alpha1 import Slo, SloPreset, Verdict
from serin_operator.decide.service import slos
from serin_operator.decide.service.presets import CATALOGUE, FEWEST_VOICES
from serin_operator.decide.service.snapshot import Reading, ReadingKind

WORDS = {"namespace": "ml", "service": "bot", "revision": "bot-1", "stable": "bot-0", "backend": "b-1", "window": "60s"}
GUIDE = Path(__file__).parents[3] / "docs" / "user" / "canary.md"


def an_slo(preset: SloPreset = SloPreset.ERROR_PERCENT, **other: object) -> Slo:
    return Slo.model_validate({"name": "slo", "preset": preset.value, "max": "2"} | other)


@pytest.mark.parametrize("preset", list(SloPreset))
def test_every_preset_asks_about_one_revision_and_leaves_no_placeholder(preset: SloPreset) -> None:
    asked = slos.asked_as(an_slo(preset), WORDS)
    assert isinstance(asked, str)
    assert any(named in asked for named in ('revision="bot-1"', 'answered_by="bot-1"', "b-1"))
    assert "{{" not in asked


@pytest.mark.parametrize("preset", list(SloPreset))
def test_every_name_of_a_metric_is_asked_for_and_looked_for_newest_first(preset: SloPreset) -> None:
    query = CATALOGUE[preset].query
    names = [series.name for series in CATALOGUE[preset].series]
    assert [query.index(name) for name in names] == sorted(query.index(name) for name in names)
    assert query.count("NaN * count(") == len(names)


@pytest.mark.parametrize("preset", list(SloPreset))
def test_every_preset_is_in_the_users_guide_with_its_unit(preset: SloPreset) -> None:
    rows = [line for line in GUIDE.read_text().splitlines() if line.startswith(f"| `{preset}`")]
    assert len(rows) == 1
    assert CATALOGUE[preset].unit in rows[0]


def test_the_window_of_an_slo_is_its_own_and_a_minute_when_it_says_none() -> None:
    assert "[60s]" in str(slos.asked_as(an_slo(), WORDS))
    assert "[15s]" in str(slos.asked_as(an_slo(windowSeconds=15), WORDS))


def test_a_written_query_may_name_window_and_backend() -> None:
    slo = Slo(name="slo", query='sum(rate(x{name="{{backend}}"}[{{window}}]))', max="1", window_seconds=15)
    assert slos.asked_as(slo, WORDS) == 'sum(rate(x{name="b-1"}[15s]))'


@pytest.mark.parametrize(
    ("kind", "verdict", "says"),
    [
        (ReadingKind.NO_DATA, Verdict.ERROR, "http_requests_total (vLLM and Serin's CPU server)"),
        (ReadingKind.NOT_A_NUMBER, Verdict.INCONCLUSIVE, "no request within its window"),
        (ReadingKind.OUTAGE, Verdict.ERROR, "MetricsOutage"),
    ],
)
def test_an_absent_metric_an_unused_one_and_an_outage_are_told_apart(
    kind: ReadingKind, verdict: Verdict, says: str
) -> None:
    found = slos.judged(an_slo(), Reading(kind))
    assert found.verdict is verdict
    assert says in found.message


def test_a_preset_has_bounds_like_a_written_query() -> None:
    assert slos.judged(an_slo(), Reading(ReadingKind.VALUE, 1.5)).verdict is Verdict.PASSED
    assert slos.judged(an_slo(), Reading(ReadingKind.VALUE, 2.5)).verdict is Verdict.FAILED


@pytest.mark.parametrize("preset", [SloPreset.FEEDBACK_POSITIVE_PERCENT, SloPreset.TASK_SUCCESS_PERCENT])
def test_users_are_counted_for_who_answered_them_and_only_when_there_are_enough(preset: SloPreset) -> None:
    query = str(slos.asked_as(an_slo(preset, max=None, min="80", windowSeconds=3600), WORDS))
    assert 'answered_by="bot-1"' in query
    assert ',revision="' not in query  # that one is of the pod that was told
    assert f">= {FEWEST_VOICES})" in query
