"""What Prometheus can answer, and what is made of it: a number, or why there is none."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from email.utils import formatdate
from typing import Any

import pytest
from serin_operator.decide.service.counters import Sampled
from serin_operator.decide.service.snapshot import Reading, ReadingKind
from serin_operator.http import httpx
from serin_operator.observe.prometheus import DELAY_SECONDS, MAX_ANSWER_BYTES, MetricSources
from serin_operator.settings import MetricSource

SOURCE = MetricSource(name="default", url="http://prometheus.example/base/")
Handler = Callable[[httpx.Request], httpx.Response]


async def ask(handler: Handler, source: str = "default", patience: float = 5) -> Reading:
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
        return await MetricSources([SOURCE], client).query(source, 'up{a="b"}', patience)


def answers(document: Any, status: int = 200) -> Handler:
    return lambda request: httpx.Response(status, json=document, headers={"Date": DATE})


NOW = 1780000000.0
DATE = formatdate(NOW, usegmt=True)


def vector(*values: str, at: float = NOW) -> dict[str, Any]:
    result = [{"metric": {"i": str(i)}, "value": [at, value]} for i, value in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def raises(error: type[httpx.HTTPError]) -> Handler:
    def handler(request: httpx.Request) -> httpx.Response:
        raise error("no route to host")

    return handler


async def test_one_series_is_its_value() -> None:
    assert await ask(answers(vector("0.98"))) == Reading(ReadingKind.VALUE, 0.98)


async def test_a_scalar_is_its_value() -> None:
    document = {"status": "success", "data": {"resultType": "scalar", "result": [NOW, "3"]}}
    assert await ask(answers(document)) == Reading(ReadingKind.VALUE, 3.0)


async def test_the_query_goes_out_as_a_form_below_the_sources_address() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=vector("1"), headers={"Date": DATE})

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
        pytest.param(answers(vector("1", at=NOW - 61)), ReadingKind.STALE, "61 s old", id="an old sample"),
        pytest.param(answers(vector("1", at=NOW + 3600)), ReadingKind.STALE, "3600 s in the", id="a sample to come"),
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


@pytest.mark.parametrize("age", [-30, 0, 30, 60])
async def test_a_sample_may_be_a_little_old(age: float) -> None:
    assert (await ask(answers(vector("0.98", at=NOW - age)))).kind is ReadingKind.VALUE


async def test_the_operators_own_clock_does_not_make_a_sample_old() -> None:
    """Both times are the source's; ours may be an hour off."""
    assert abs(time.time() - NOW) > 3600
    assert (await ask(answers(vector("0.98")))).kind is ReadingKind.VALUE


async def test_an_answer_without_a_date_is_measured_by_our_own_clock() -> None:
    def at(moment: float) -> Handler:
        return lambda request: httpx.Response(200, json=vector("1", at=moment))

    assert (await ask(at(time.time()))).kind is ReadingKind.VALUE
    assert (await ask(at(time.time() - 600))).kind is ReadingKind.STALE


async def test_an_answer_that_trickles_in_is_an_outage() -> None:
    """Each byte comes in time and the whole never would."""

    async def trickle() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.05)

    reading = await ask(lambda request: httpx.Response(200, content=trickle()), patience=0.2)
    assert reading.kind is ReadingKind.OUTAGE
    assert "did not answer within 0.2 s" in reading.text


# --- raw samples --------------------------------------------------------------------------------------------------

# As Prometheus 2.42 answers to `vllm:time_to_first_token_seconds_bucket{revision="b"}[30s]`.
MATRIX = """{"status":"success","data":{"resultType":"matrix","result":[
{"metric":{"__name__":"vllm:time_to_first_token_seconds_bucket","instance":"10.88.0.7:8000","job":"pods","le":"0.1",
"model_name":"bot","namespace":"ml","pod":"b-1","revision":"b"},
"values":[[1779999970.123,"0"],[1779999985.123,"3"]]},
{"metric":{"__name__":"vllm:time_to_first_token_seconds_bucket","instance":"10.88.0.7:8000","job":"pods","le":"+Inf",
"model_name":"bot","namespace":"ml","pod":"b-1","revision":"b"},
"values":[[1779999970.123,"1"],[1779999985.123,"1e+01"]]}]}}"""


async def ask_samples(handler: Handler, moment: float | None = None) -> Sampled | Reading:
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
        return await MetricSources([SOURCE], client).samples("default", 'x{a="b"}[30s]', moment)


async def test_a_matrix_is_read_series_by_series_with_its_own_times() -> None:
    found = await ask_samples(lambda request: httpx.Response(200, text=MATRIX, headers={"Date": DATE}))
    assert isinstance(found, Sampled)
    assert [series.labels["le"] for series in found.series] == ["0.1", "+Inf"]
    assert found.series[1].samples == ((1779999970.123, 1.0), (1779999985.123, 10.0))


async def test_samples_of_the_last_seconds_may_still_be_coming() -> None:
    found = await ask_samples(lambda request: httpx.Response(200, text=MATRIX, headers={"Date": DATE}))
    assert isinstance(found, Sampled)
    assert found.at == NOW - DELAY_SECONDS


async def test_a_moment_of_the_sources_clock_can_be_asked_for() -> None:
    seen: list[bytes] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.content)
        return httpx.Response(200, text=MATRIX, headers={"Date": DATE})

    found = await ask_samples(handler, moment=NOW - 100)
    assert isinstance(found, Sampled)
    assert found.at == NOW - 100
    assert b"time=1779999900.000" in seen[0]


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        pytest.param(answers(vector("1")), ReadingKind.UNUSABLE_ANSWER, id="a vector"),
        pytest.param(
            answers({"status": "success", "data": {"resultType": "matrix", "result": [{"histograms": []}]}}),
            ReadingKind.UNUSABLE_ANSWER,
            id="native histograms",
        ),
        pytest.param(
            answers({"status": "success", "warnings": ["partial"], "data": {"resultType": "matrix", "result": []}}),
            ReadingKind.UNUSABLE_ANSWER,
            id="a partial answer",
        ),
        pytest.param(raises(httpx.ConnectError), ReadingKind.OUTAGE, id="nobody there"),
        pytest.param(
            answers({"status": "error", "errorType": "bad_data", "error": "parse error"}, 400),
            ReadingKind.INVALID_QUERY,
            id="a query that cannot be parsed",
        ),
    ],
)
async def test_samples_that_cannot_be_counted_on_say_why(handler: Handler, kind: ReadingKind) -> None:
    found = await ask_samples(handler)
    assert isinstance(found, Reading)
    assert found.kind is kind
    assert found.text
