"""What the rollback benchmark computes from its trials, and how it reads weights from the audit log."""

from __future__ import annotations

from typing import Any

import pytest
from rollbacks import table
from rollbacks.argo import ArgoRollouts
from rollbacks.flagger import Flagger
from rollbacks.serin import Serin
from rollbacks.systems import Pace, Row, route_weight, written
from rollbacks.trials import Trial, spread

Json = dict[str, Any]


def an_event(resource: str, after: Json, verb: str = "patch", code: int = 200, **ref: str) -> Json:
    return {"verb": verb, "objectRef": {"resource": resource, **ref}, "responseStatus": {"code": code},
            "responseObject": after, "stageTimestamp": "2026-06-01T12:00:00.250000Z"}  # fmt: skip


def a_route(**weights: int) -> Json:
    refs = [{"name": name.replace("_", "-"), "weight": weight} for name, weight in weights.items()]
    return {"spec": {"rules": [{"backendRefs": refs}]}}


def trials(row: str, system: str, *seconds: float) -> list[Trial]:
    return [Trial(system, row, Pace(10, 1), took) for took in seconds]


def test_breaches_are_spread_evenly_over_an_interval() -> None:
    assert [moment.phase for moment in spread(4)] == [0.125, 0.375, 0.625, 0.875]


def test_a_ratio_is_ours_by_theirs_of_medians_for_each_setting() -> None:
    found = [
        *trials("floor", "Serin", 1, 2, 9),
        *trials("floor", "Flagger", 10, 20, 30),
        *trials("matched", "Serin", 5),
    ]
    rows = table.rows(found)
    assert [(row["setting"], row["system"], row["medianSeconds"]) for row in rows] == [
        ("floor", "Serin", 2),
        ("floor", "Flagger", 20),
        ("matched", "Serin", 5),
    ]
    assert table.ratios(rows) == [{"setting": "floor", "against": "Flagger", "ratio": 0.1, "aim": 0.2}]


def test_hard_faults_have_figures_but_no_peer_to_be_compared_with() -> None:
    rows = table.rows(trials("no ready pod", "Serin", *[0.1] * 99, 7.0))
    assert (rows[0]["p99Seconds"], rows[0]["maxSeconds"], rows[0]["trials"]) == (0.1, 7.0, 100)
    assert table.ratios(rows) == []


@pytest.mark.parametrize(("count", "expected"), [(1, 0), (10, 9), (100, 98), (200, 197)])
def test_the_99th_percentile_is_the_least_value_that_99_percent_do_not_exceed(count: int, expected: int) -> None:
    assert table.p99([float(i) for i in reversed(range(count))]) == expected


def test_the_printed_table_tells_every_row_and_every_aim() -> None:
    rows = table.rows([*trials("matched", "Serin", 5.25), *trials("matched", "Argo Rollouts", 5.5)])
    said = table.text(rows, table.ratios(rows))
    assert "5.25 s" in said
    assert "5.50 s" in said
    assert "0.955 (aim: at most 1.0)" in said


def test_the_weight_of_a_route_is_the_share_of_the_canarys_backends() -> None:
    event = an_event("httproutes", a_route(bot_primary=95, bot_canary=5))
    assert route_weight(event, lambda name: name.endswith("-canary")) == 5
    assert route_weight(an_event("httproutes", a_route(bot_primary=100)), lambda name: name.endswith("-canary")) == 0


@pytest.mark.parametrize(
    "event",
    [
        an_event("deployments", a_route(b=1)),
        an_event("httproutes", a_route(b=1), code=409),
        an_event("httproutes", a_route(b=1), verb="delete"),
        an_event("httproutes", a_route(b=1), subresource="status"),
    ],
    ids=["another kind", "refused", "deleted", "only the status"],
)
def test_only_a_successful_write_of_the_object_itself_tells_a_weight(event: Json) -> None:
    assert written(event, "httproutes") is None


def test_the_weight_of_a_traffic_split_is_read_as_text_and_as_a_number() -> None:
    argo = ArgoRollouts.__new__(ArgoRollouts)
    for weight in ("0", 0):
        backends = [{"service": "bot-canary", "weight": weight}, {"service": "bot-stable", "weight": "100"}]
        assert argo.weight(an_event("trafficsplits", {"spec": {"backends": backends}})) == 0


def test_every_system_has_a_pace_for_every_setting_and_the_matched_ones_are_the_same() -> None:
    systems = (Serin, ArgoRollouts, Flagger)
    assert all(set(system.paces) == set(Row) for system in systems)
    assert {system.paces[Row.MATCHED] for system in systems} == {Pace(10, 1)}
