"""What Prometheus can answer, and what is made of it: a number, or why there is none."""

from collections.abc import Callable
from typing import Any

import pytest
from serin_operator.decide.service.snapshot import Reading, ReadingKind
from serin_operator.http import httpx
from serin_operator.observe.prometheus import MAX_ANSWER_BYTES, MetricSources
from serin_operator.settings import MetricSource

SOURCE = MetricSource(name="default", url="http://prometheus.example/base/")
Handler = Callable[[httpx.Request], httpx.Response]


async def ask(handler: Handler, source: str = "default") -> Reading:
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
        return await MetricSources([SOURCE], client).query(source, 'up{a="b"}')


def answers(document: Any, status: int = 200) -> Handler:
    return lambda request: httpx.Response(status, json=document)


def vector(*values: str) -> dict[str, Any]:
    result = [{"metric": {"i": str(i)}, "value": [1780000000.0, value]} for i, value in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def raises(error: type[httpx.HTTPError]) -> Handler:
    def handler(request: httpx.Request) -> httpx.Response:
        raise error("no route to host")

    return handler


async def test_one_series_is_its_value() -> None:
    assert await ask(answers(vector("0.98"))) == Reading(ReadingKind.VALUE, 0.98)


async def test_a_scalar_is_its_value() -> None:
    document = {"status": "success", "data": {"resultType": "scalar", "result": [1780000000.0, "3"]}}
    assert await ask(answers(document)) == Reading(ReadingKind.VALUE, 3.0)


async def test_the_query_goes_out_as_a_form_below_the_sources_address() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=vector("1"))

    await ask(handler)
    assert seen[0].method == "POST"
    assert str(seen[0].url) == "http://prometheus.example/base/api/v1/query"
    assert b"query=up%7Ba%3D%22b%22%7D" in seen[0].content


@pytest.mark.parametrize(
    ("handler", "kind", "text"),
    [
        pytest.param(answers(vector()), ReadingKind.NO_DATA, "", id="no series"),
        pytest.param(answers(vector("1", "2", "3")), ReadingKind.SEVERAL_SERIES, "3 series", id="several series"),
        pytest.param(answers(vector("NaN")), ReadingKind.NOT_A_NUMBER, "NaN", id="NaN"),
        pytest.param(answers(vector("+Inf")), ReadingKind.NOT_A_NUMBER, "+Inf", id="+Inf"),
        pytest.param(answers(vector("-Inf")), ReadingKind.NOT_A_NUMBER, "-Inf", id="-Inf"),
        pytest.param(
            answers({**vector("1"), "warnings": ["store unreachable"]}),
            ReadingKind.UNUSABLE_ANSWER,
            "store unreachable",
            id="a warning that the answer is partial",
        ),
        pytest.param(
            answers({"status": "error", "errorType": "bad_data", "error": "parse error at char 3"}, 400),
            ReadingKind.INVALID_QUERY,
            "parse error at char 3",
            id="a query that cannot be parsed",
        ),
        pytest.param(
            answers({"status": "error", "errorType": "timeout", "error": "query timed out"}, 503),
            ReadingKind.OUTAGE,
            "query timed out",
            id="too slow",
        ),
        pytest.param(
            answers({"status": "success", "data": {"resultType": "matrix", "result": []}}),
            ReadingKind.UNUSABLE_ANSWER,
            "matrix",
            id="a range",
        ),
        pytest.param(answers([1, 2]), ReadingKind.OUTAGE, "not a Prometheus document", id="another document"),
        pytest.param(
            answers({"status": "success", "data": {"resultType": "vector", "result": [{"histogram": []}]}}),
            ReadingKind.UNUSABLE_ANSWER,
            "native histogram",
            id="a native histogram",
        ),
        pytest.param(
            lambda request: httpx.Response(200, text="<html>"), ReadingKind.OUTAGE, "not JSON", id="a login page"
        ),
        pytest.param(
            lambda request: httpx.Response(302, headers={"location": "http://169.254.169.254/"}),
            ReadingKind.OUTAGE,
            "redirect (302), which is not followed",
            id="a redirect",
        ),
        pytest.param(
            lambda request: httpx.Response(200, content=b" " * (MAX_ANSWER_BYTES + 1)),
            ReadingKind.UNUSABLE_ANSWER,
            "more than",
            id="an endless answer",
        ),
        pytest.param(raises(httpx.ConnectError), ReadingKind.OUTAGE, "cannot be reached", id="nobody there"),
        pytest.param(raises(httpx.ReadTimeout), ReadingKind.OUTAGE, "within 5 s", id="no answer in time"),
    ],
)
async def test_what_is_no_number_says_why(handler: Handler, kind: ReadingKind, text: str) -> None:
    reading = await ask(handler)
    assert reading.kind is kind
    assert reading.value is None
    assert text in reading.text


async def test_an_unknown_source_is_refused_with_the_known_ones_and_nobody_is_asked() -> None:
    reading = await ask(raises(httpx.ConnectError), source="mimir")
    assert reading.kind is ReadingKind.UNKNOWN_SOURCE
    assert "are: default" in reading.text
