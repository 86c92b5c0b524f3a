"""Ready-made queries on a real Prometheus: a number, "there and unused", and "absent" are three different answers.

One of the pages is written by the CPU server's own code; drift is asked of that one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import Drift, Reference, Slo, SloPreset, Verdict
from serin_operator.decide.service import drift, presets, slos
from serin_operator.decide.service.counters import Sampled, from_zero, of_errors
from serin_operator.decide.service.presets import CATALOGUE
from serin_operator.decide.service.snapshot import Grouped, Reading, ReadingKind
from serin_operator.observe.prometheus import MetricSources
from serin_operator.settings import MetricSource
from serin_server.languages import LANGUAGES
from serin_server.metrics import Metrics
from support.real_prometheus import real_prometheus
from support.service_world import with_stable

GAUGES = {SloPreset.WAITING_REQUESTS, SloPreset.CACHE_USAGE_PERCENT}
SECONDS = ("time_to_first_token_seconds", "e2e_request_latency_seconds", "request_queue_time_seconds")


def a_histogram(name: str, edges: dict[str, float], labels: str = "") -> list[str]:
    """Counts by upper edge, as a page tells them."""
    between = "," if labels else ""
    return [f'{name}_bucket{{{labels}{between}le="{edge}"}} {count:g}' for edge, count in edges.items()]


def a_server(
    answered: float, *, token: str = "inter_token_latency", cache: str = "kv", name: str = "modern"
) -> list[str]:
    """A vLLM page after so many answers: all within a second, and 4 percent of them failed."""
    told = {"0.5": answered / 2, "1": answered, "+Inf": answered}
    lines = [line for name in (*SECONDS, f"{token}_seconds") for line in a_histogram(f"vllm:{name}", told)]
    lines += a_histogram("vllm:request_generation_tokens", {"8": 0, "16": answered, "+Inf": answered})
    lines += ["vllm:num_requests_waiting 3", f"vllm:{cache}_cache_usage_perc 0.25"]
    lines.append(f'http_requests_total{{handler="/v1/completions",method="POST",status="2xx"}} {0.96 * answered:g}')
    if answered:
        lines.append(f'http_requests_total{{handler="/v1/completions",method="POST",status="5xx"}} {0.04 * answered:g}')
    for metric, good, bad in (
        ("thumbs", 'thumbs="up"', 'thumbs="down"'),
        ("tasks", 'outcome="success"', 'outcome="failure"'),
    ):
        lines += [f'serin_feedback_{metric}_total{{answered_by="{by}",{word}}} {share * answered:g}'
                  for by, up in ((name, 0.75), ("another", 0.5)) for word, share in ((good, up), (bad, 1 - up))]  # fmt: skip
    return [*lines, 'http_requests_total{handler="/health",method="GET",status="5xx"} 1000']


def an_envoy(answered: float) -> list[str]:
    """Contour's names of clusters: namespace, Service and port."""
    cluster = 'envoy_cluster_name="ml_modern_8000"'
    classes = [f'envoy_cluster_upstream_rq_xx{{{cluster},envoy_response_code_class="{kind}"}} {share * answered:g}'
               for kind, share in (("2", 0.9), ("5", 0.1))]  # fmt: skip
    return [
        *classes,
        *a_histogram("envoy_cluster_upstream_rq_time", {"250": 0, "500": answered, "+Inf": answered}, cluster),
    ]


def an_istio(answered: float) -> list[str]:
    to = 'reporter="source",destination_service_namespace="ml",destination_service_name="old"'
    codes = [f'istio_requests_total{{{to},response_code="{code}"}} {share * answered:g}'
             for code, share in (("200", 0.8), ("503", 0.2))]  # fmt: skip
    return [
        *codes,
        *a_histogram("istio_request_duration_milliseconds", {"500": 0, "1000": answered, "+Inf": answered}, to),
    ]


class OurServer:
    """The CPU server's own page: questions of 40 characters, of which it answers three of four and refuses one."""

    def __init__(self, revision: str) -> None:
        self._metrics, self._answered = Metrics("bot", revision), 0

    def page(self, answered: float) -> list[str]:
        while self._answered < int(answered):
            self._answered += 1
            self._metrics.answered(ASKED, "I am sorry." if self._answered % 4 == 0 else "It is 12 o'clock now.")
            self._metrics.e2e_latency.observe(0.7)
            self._metrics.cache_usage.set(0.25)
        return self._metrics.exposition().decode().splitlines()


ASKED = "How many replicas are there, and where?"


@dataclass(frozen=True)
class Target:
    """A page that Prometheus reads; with a revision it is a server's."""

    revision: str
    page: Callable[[float], list[str]]
    pace: float  # answers per second


WORLD, OURS = with_stable()
TARGETS = (
    Target(OURS, OurServer(OURS).page, 50),
    Target("modern", a_server, 50),
    Target("old", lambda answered: a_server(answered, token="time_per_output_token", cache="gpu"), 50),
    Target("unused", lambda answered: a_server(0, name="unused"), 0),
    Target("few", lambda answered: a_server(answered, name="few"), 0.05),  # below 20 in any window of these
    Target("foreign", lambda answered: [f"other_requests_total {answered:g}"], 50),
    Target("", an_envoy, 50),
    Target("", an_istio, 50),
)


def _serve(target: Target) -> ThreadingHTTPServer:
    began = time.monotonic()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            lines = target.page(target.pace * (time.monotonic() - began))
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write("\n".join([*lines, ""]).encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that has read all pages for some seconds."""
    servers = [_serve(target) for target in TARGETS]
    folder = tmp_path_factory.mktemp("prometheus")
    groups = [_group(target, server) for target, server in zip(TARGETS, servers, strict=True)]
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [{"job_name": "all", "static_configs": groups}]}
    try:
        with real_prometheus(folder, config) as found:
            yield found
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def _group(target: Target, server: ThreadingHTTPServer) -> dict[str, Any]:
    labels = {"namespace": "ml", "service": "bot", "revision": target.revision} if target.revision else {}
    return {"targets": [f"127.0.0.1:{server.server_port}"], "labels": labels}


def an_slo(preset: SloPreset) -> Slo:
    return Slo.model_validate({"name": "slo", "preset": preset.value, "max": "1000", "windowSeconds": 30})


async def measure(url: str, preset: SloPreset, revision: str, wanted: ReadingKind) -> Reading:
    """The answer, once it is of the kind that is wanted, or after five minutes."""
    words = {"namespace": "ml", "service": "bot", "revision": revision, "stable": "", "backend": revision, "window": ""}
    query = slos.asked_as(an_slo(preset), words)
    assert isinstance(query, str), query
    sources = MetricSources([MetricSource(name="default", url=url)])
    try:
        for _ in range(600):
            found = await sources.query("default", query)
            if found.kind is wanted:
                return found
            await asyncio.sleep(0.5)
        return found
    finally:
        await sources.close()


@pytest.mark.parametrize(
    ("preset", "least", "most"),
    [
        (SloPreset.TIME_TO_FIRST_TOKEN_P95, 0.5, 1),
        (SloPreset.INTER_TOKEN_LATENCY_P95, 0.5, 1),
        (SloPreset.REQUEST_LATENCY_P95, 0.5, 1),
        (SloPreset.QUEUE_TIME_P95, 0.5, 1),
        (SloPreset.ANSWER_TOKENS_P50, 11.9, 12.1),
        (SloPreset.WAITING_REQUESTS, 3, 3),
        (SloPreset.CACHE_USAGE_PERCENT, 25, 25),
        (SloPreset.ERROR_PERCENT, 3.9, 4.1),  # /health is none of the users' business
        (SloPreset.GATEWAY_ERROR_PERCENT, 9.9, 10.1),
        (SloPreset.GATEWAY_LATENCY_P95, 0.25, 0.5),
        (SloPreset.FEEDBACK_POSITIVE_PERCENT, 74.9, 75.1),  # of what it answered itself, whoever was told
        (SloPreset.TASK_SUCCESS_PERCENT, 74.9, 75.1),
    ],
)
async def test_every_preset_measures_a_server_of_today(url: str, preset: SloPreset, least: float, most: float) -> None:
    found = await measure(url, preset, "modern", ReadingKind.VALUE)
    assert found.value is not None, found
    assert least <= found.value <= most


@pytest.mark.parametrize(
    ("preset", "least", "most"),
    [
        (SloPreset.INTER_TOKEN_LATENCY_P95, 0.5, 1),
        (SloPreset.CACHE_USAGE_PERCENT, 25, 25),
        (SloPreset.GATEWAY_ERROR_PERCENT, 19.9, 20.1),
        (SloPreset.GATEWAY_LATENCY_P95, 0.5, 1),
    ],
)
async def test_names_of_older_versions_and_of_other_gateways_are_found_too(
    url: str, preset: SloPreset, least: float, most: float
) -> None:
    found = await measure(url, preset, "old", ReadingKind.VALUE)
    assert found.value is not None, found
    assert least <= found.value <= most


@pytest.mark.parametrize(("preset", "share"), [(SloPreset.ERROR_PERCENT, 0.04), (SloPreset.GATEWAY_ERROR_PERCENT, 0.1)])
async def test_the_counters_behind_a_preset_of_failures_are_read_raw(url: str, preset: SloPreset, share: float) -> None:
    await measure(url, preset, "modern", ReadingKind.VALUE)
    words = {"namespace": "ml", "service": "bot", "revision": "modern", "stable": "", "backend": "modern", "window": ""}
    sources = MetricSources([MetricSource(name="default", url=url)])
    try:
        asked = [slos.filled(one, words) for one in presets.failures(preset)[0]]
        requests, failed = [await sources.samples("default", f"{one}[300s]") for one in asked]
    finally:
        await sources.close()
    assert isinstance(requests, Sampled), requests
    assert isinstance(failed, Sampled), failed
    grown = of_errors(from_zero(requests, 0.0), failed).between(0.0, requests.at, (0.0, 0.0))
    assert grown[1] == pytest.approx(share * grown[0], rel=0.01)


@pytest.mark.parametrize("preset", [preset for preset in SloPreset if preset not in GAUGES and "Gateway" not in preset])
async def test_a_server_without_requests_is_told_from_one_without_the_metric(url: str, preset: SloPreset) -> None:
    found = await measure(url, preset, "unused", ReadingKind.NOT_A_NUMBER)
    judged = slos.judged(an_slo(preset), found)
    assert (found.kind, judged.verdict) == (ReadingKind.NOT_A_NUMBER, Verdict.INCONCLUSIVE)
    assert "the metric is there" in judged.message


async def test_a_share_of_few_voices_is_no_number(url: str) -> None:
    assert (await measure(url, SloPreset.ERROR_PERCENT, "few", ReadingKind.VALUE)).value is not None
    found = await measure(url, SloPreset.FEEDBACK_POSITIVE_PERCENT, "few", ReadingKind.NOT_A_NUMBER)
    assert found.kind is ReadingKind.NOT_A_NUMBER


@pytest.mark.parametrize("preset", list(SloPreset))
async def test_an_absent_metric_is_no_healthy_one_and_its_names_are_told(url: str, preset: SloPreset) -> None:
    await measure(url, SloPreset.WAITING_REQUESTS, "modern", ReadingKind.VALUE)  # pages have been read by now
    judged = slos.judged(an_slo(preset), await measure(url, preset, "foreign", ReadingKind.NO_DATA))
    assert judged.verdict is Verdict.ERROR
    assert f"the metric of {preset} is absent" in judged.message
    assert all(series.name in judged.message for series in CATALOGUE[preset].series)


@pytest.mark.parametrize(
    ("preset", "least", "most"),
    [(SloPreset.REQUEST_LATENCY_P95, 0.6, 0.8), (SloPreset.CACHE_USAGE_PERCENT, 25, 25)],
)
async def test_the_cpu_servers_own_page_is_understood(url: str, preset: SloPreset, least: float, most: float) -> None:
    found = await measure(url, preset, OURS, ReadingKind.VALUE)
    assert found.value is not None, found
    assert least <= found.value <= most


def in_languages(**counts: int) -> list[int]:
    return [counts.get(one, 0) for one in LANGUAGES]


EVALUATED = Reference(
    prompt_characters=[0, 0, 1000, 0, 0, 0, 0, 0, 0, 0, 0, 0],  # 33 to 64
    answer_characters=[250, 750, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],  # up to 16, and 17 to 32
    answer_kinds=[1000, 0, 0, 0],  # it refused nothing then
    prompt_languages=in_languages(de=1000),  # it was asked in German
    answer_languages=in_languages(unknown=1000),  # in few words, then as now
)


async def test_drift_is_asked_of_what_the_cpu_server_told_and_refusals_and_the_language_of_questions_have_changed(
    url: str,
) -> None:
    WORLD.edit(lambda spec: spec.update(monitoring={"drift": {"windowSeconds": 60}}))
    known = EVALUATED.model_dump(by_alias=True)
    WORLD.touch("ModelRevision", OURS, lambda status: status["gate"].update(reference=known))
    asks = drift.asks(WORLD.snapshot())
    assert [ask.signal for ask in asks] == [signal.name for signal in drift.SIGNALS]

    rows = [await drifted(url, ask, signal) for ask, signal in zip(asks, drift.SIGNALS, strict=True)]

    assert [row.name for row in rows if row.verdict is Verdict.FAILED] == ["answerKinds", "promptLanguages"], rows
    assert all(row.verdict in (Verdict.PASSED, Verdict.FAILED) for row in rows), rows


async def drifted(url: str, ask: drift.Ask, signal: drift.Signal) -> drift.DriftSignal:
    """The verdict, once there are 200 answers within the window."""
    assert isinstance(ask.query, str), ask.query
    sources = MetricSources([MetricSource(name="default", url=url)])
    wanted = Drift.model_validate({"windowSeconds": 60})
    try:
        for _ in range(600):
            found = await sources.groups(ask.source, ask.query, ask.label)
            assert isinstance(found, Grouped), found
            row = drift.judged(wanted, signal, signal.expected(EVALUATED), found)
            if row.verdict is not Verdict.INCONCLUSIVE:
                return row
            await asyncio.sleep(0.5)
        return row
    finally:
        await sources.close()
