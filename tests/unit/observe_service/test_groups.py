"""Counts by a label: what Prometheus answers to one query with several series."""

from email.utils import formatdate
from typing import Any

import pytest
from serin_operator.decide.service.snapshot import Grouped, Reading, ReadingKind
from serin_operator.http import httpx
from serin_operator.observe.prometheus import MetricSources
from serin_operator.settings import MetricSource

NOW = 1780000000.0
SOURCE = MetricSource(name="default", url="http://prometheus.example")


def vector(*rows: tuple[dict[str, str], str], kind: str = "vector", at: float = NOW) -> dict[str, Any]:
    result = [{"metric": labels, "value": [at, value]} for labels, value in rows]
    return {"status": "success", "data": {"resultType": kind, "result": result}}


async def groups(document: dict[str, Any], status: int = 200) -> Grouped | Reading:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json=document, headers={"Date": formatdate(NOW, usegmt=True)})

    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
        return await MetricSources([SOURCE], client).groups("default", "sum by (le) (x)", "le")


async def test_each_series_is_a_number_under_its_label() -> None:
    found = await groups(vector(({"le": "16.0"}, "3"), ({"le": "+Inf"}, "7.5")))
    assert found == Grouped({"16.0": 3.0, "+Inf": 7.5})


@pytest.mark.parametrize(
    ("document", "status", "kind"),
    [
        pytest.param(vector(), 200, ReadingKind.NO_DATA, id="no series"),
        pytest.param(vector(({"le": "1"}, "1"), ({"le": "2"}, "NaN")), 200, ReadingKind.NOT_A_NUMBER, id="one is NaN"),
        pytest.param(vector(({"le": "1"}, "1"), at=NOW - 900), 200, ReadingKind.STALE, id="old samples"),
        pytest.param(vector(kind="matrix"), 200, ReadingKind.UNUSABLE_ANSWER, id="a matrix"),
        pytest.param({"status": "error", "error": "x"}, 503, ReadingKind.OUTAGE, id="an outage"),
    ],
)
async def test_what_cannot_be_counted_on_says_why(document: dict[str, Any], status: int, kind: ReadingKind) -> None:
    found = await groups(document, status)
    assert isinstance(found, Reading)
    assert found.kind is kind
