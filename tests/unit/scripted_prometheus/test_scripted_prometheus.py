"""The scripted Prometheus itself, asked by the operator's own client and by plain HTTP."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from faults.prometheus import (
    BAD_FORMS,
    EMPTY,
    NAN,
    Answer,
    Cut,
    Growing,
    Script,
    ScriptedPrometheus,
    slow,
    value,
)
from serin_operator.decide.service.snapshot import Reading, ReadingKind
from serin_operator.http import httpx
from serin_operator.observe.prometheus import MetricSources
from serin_operator.settings import MetricSource

QUERY = 'histogram_quantile(0.95, sum by (le) (rate(latency_bucket{revision="b"}[30s])))'


@pytest.fixture
def prometheus() -> Iterator[ScriptedPrometheus]:
    with ScriptedPrometheus() as found:
        yield found


async def ask(prometheus: ScriptedPrometheus, query: str = 'latency{revision="b"}') -> Reading:
    sources = MetricSources([MetricSource(name="default", url=prometheus.url)])
    try:
        return await sources.query("default", query)
    finally:
        await sources.close()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


# --- the script ---------------------------------------------------------------------------------------------------


def test_the_newest_line_that_means_the_query_answers_it() -> None:
    script = Script(Clock())
    script.says(value(1))
    script.says(value(2), metric="latency_bucket")
    script.says(value(3), revision="c")
    assert script.answer('up{revision="b"}') == value(1)
    assert script.answer(QUERY) == value(2)
    assert script.answer(QUERY.replace('"b"', '"c"')) == value(3)


def test_a_metrics_name_is_a_whole_word() -> None:
    script = Script(Clock())
    script.says(value(1), metric="latency")
    assert script.answer('latency{revision="b"}') == value(1)
    assert script.answer('latency_bucket{revision="b"}') == EMPTY
    assert script.answer('vllm:latency{revision="b"}') == EMPTY


def test_what_nobody_told_has_no_series_but_requests_are_plenty() -> None:
    script = Script(Clock())
    assert script.answer("up") == EMPTY
    assert script.answer('sum(increase(vllm:request_success_total{revision="b"}[20s]))') == value(1000)


def test_a_timeline_counts_from_when_it_was_given() -> None:
    clock = Clock()
    script = Script(clock)
    script.says(value(1))
    clock.now += 50
    script.plays([(20, NAN), (10, value(2))], metric="latency")
    heard: list[Answer] = []
    for _ in range(4):
        heard.append(script.answer("latency"))
        clock.now += 8
    assert heard == [value(1), value(1), value(2), NAN]


def test_a_refusal_has_a_beginning_and_an_end() -> None:
    clock = Clock()
    script = Script(clock)
    script.refuses(seconds=10, after=5)
    heard: list[bool] = []
    for _ in range(4):
        heard.append(script.refusing())
        clock.now += 5
    assert heard == [False, True, True, False]
    script.refuses()
    assert script.refusing()
    script.listens()
    assert not script.refusing()


# --- over HTTP ----------------------------------------------------------------------------------------------------


async def test_a_value_is_a_value(prometheus: ScriptedPrometheus) -> None:
    prometheus.says(value(0.25), metric="latency")
    assert await ask(prometheus) == Reading(ReadingKind.VALUE, 0.25)
    assert [asked.query for asked in prometheus.asked] == ['latency{revision="b"}']


async def test_a_growing_counter_has_raw_samples_that_all_who_ask_agree_on(prometheus: ScriptedPrometheus) -> None:
    began = time.time() - 10
    prometheus.says(Growing(100, since=began), metric="tasks_total")
    sources = MetricSources([MetricSource(name="default", url=prometheus.url, delay_seconds=0)])
    try:
        first = await sources.samples("default", 'tasks_total{revision="b"}[60s]')
        later = await sources.samples("default", 'tasks_total{revision="b"}[5s]')
    finally:
        await sources.close()
    assert not isinstance(first, Reading)
    assert not isinstance(later, Reading)
    (series,), (tail,) = first.series, later.series
    assert all(number == int(100 * (at - began)) for at, number in series.samples)
    assert len(series.samples) in (20, 21, 22)
    assert set(tail.samples[:-1]) <= set(series.samples)
    assert len(tail.samples) in (10, 11)


async def test_the_value_of_a_growing_counter_is_asked_for_without_a_range(prometheus: ScriptedPrometheus) -> None:
    prometheus.says(Growing(0.001, since=time.time() - 5000))
    assert await ask(prometheus) == Reading(ReadingKind.VALUE, 5.0)


QUICK = {name: answer for name, answer in BAD_FORMS.items() if name != "30 s late"}


@pytest.mark.parametrize("form", QUICK)
async def test_no_bad_form_is_a_value(prometheus: ScriptedPrometheus, form: str) -> None:
    prometheus.says(QUICK[form])
    assert (await ask(prometheus)).kind is not ReadingKind.VALUE


async def test_a_late_answer_is_late(prometheus: ScriptedPrometheus) -> None:
    prometheus.says(slow(value(1), seconds=0.3))
    before = time.monotonic()
    assert (await ask(prometheus)).kind is ReadingKind.VALUE
    assert time.monotonic() - before >= 0.3


async def test_a_late_answer_keeps_nobody_else_waiting(prometheus: ScriptedPrometheus) -> None:
    prometheus.says(slow(value(1), seconds=30), revision="b")
    prometheus.says(value(2), revision="c")
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get(f"{prometheus.url}/api/v1/query", params={"query": 'x{revision="b"}'}, timeout=0.2)
    assert await ask(prometheus, 'x{revision="c"}') == Reading(ReadingKind.VALUE, 2.0)


async def refused(prometheus: ScriptedPrometheus) -> bool:
    async with httpx.AsyncClient() as client:
        try:
            await client.get(f"{prometheus.url}/api/v1/query", params={"query": "x"})
        except httpx.ConnectError:
            return True
        return False


async def comes(fact: Callable[[], Awaitable[bool]]) -> bool:
    """Within ten seconds: the server is in a thread of its own, and looks now and then."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if await fact():
            return True
        await asyncio.sleep(0.02)
    return False


async def test_a_refused_connection_is_refused_and_the_port_comes_back(prometheus: ScriptedPrometheus) -> None:
    prometheus.says(value(1))
    prometheus.refuses()
    assert await comes(lambda: refused(prometheus))
    prometheus.listens()

    async def answers() -> bool:
        return await ask(prometheus) == Reading(ReadingKind.VALUE, 1.0)

    assert await comes(answers)


async def test_a_refusal_ends_by_itself(prometheus: ScriptedPrometheus) -> None:
    prometheus.says(value(1))
    prometheus.refuses(seconds=0.5)

    async def answers() -> bool:
        return not prometheus.refusing() and await ask(prometheus) == Reading(ReadingKind.VALUE, 1.0)

    assert await comes(answers)


async def test_a_cut_connection_is_cut(prometheus: ScriptedPrometheus) -> None:
    prometheus.says(Cut())
    reading = await ask(prometheus)
    assert reading.kind is ReadingKind.OUTAGE
    assert "cannot be reached" in reading.text


async def test_get_and_post_are_the_same(prometheus: ScriptedPrometheus) -> None:
    prometheus.says(value(3), metric="x")
    fields = {"query": "x", "time": "1780000000"}
    async with httpx.AsyncClient() as client:
        got = await client.get(f"{prometheus.url}/api/v1/query", params=fields)
        posted = await client.post(f"{prometheus.url}/api/v1/query", data=fields)
    assert got.json() == posted.json()
    assert got.json()["data"]["result"] == [{"metric": {}, "value": [1780000000.0, "3"]}]
    assert "Date" in got.headers


async def test_a_range_is_the_script_read_step_by_step(prometheus: ScriptedPrometheus) -> None:
    prometheus.plays([(0, value(1)), (10, EMPTY), (20, NAN)], metric="x")
    now = time.time()
    fields = {"query": "x", "start": now, "end": now + 25, "step": 5}
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{prometheus.url}/api/v1/query_range", params=fields)
    (series,) = answer.json()["data"]["result"]
    assert [value for _, value in series["values"]] == ["1", "1", "NaN", "NaN"]


async def test_other_paths_are_not_found(prometheus: ScriptedPrometheus) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{prometheus.url}/metrics")).status_code == 404
