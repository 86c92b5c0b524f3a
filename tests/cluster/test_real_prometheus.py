"""Comparisons on a real Prometheus: what it answers to their questions is understood, and adds up to what was served."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from serin_operator.decide.service.counters import Sampled, of_errors, of_histogram
from serin_operator.decide.service.snapshot import Reading, ReadingKind
from serin_operator.observe.prometheus import MetricSources
from serin_operator.settings import MetricSource
from support.real_prometheus import real_prometheus

SLOW = 300  # seconds; on an idle machine each wait takes one or two
LATENCY = "vllm:time_to_first_token_seconds_bucket"
EDGES = ("0.1", "0.5", "+Inf")


class Pod:
    """A server's metrics page."""

    def __init__(self) -> None:
        self.requests, self.failed = 0, 0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _page(self))
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def text(self) -> str:
        counted = zip(EDGES, (self.requests // 2, self.requests, self.requests), strict=True)
        lines = [f'{LATENCY}{{le="{le}"}} {count}' for le, count in counted]
        lines.append(f'http_requests_total{{status="2xx"}} {self.requests - self.failed}')
        if self.failed:
            lines.append(f'http_requests_total{{status="5xx"}} {self.failed}')
        return "\n".join([f"# TYPE {LATENCY.removesuffix('_bucket')} histogram", *lines, ""])


def _page(pod: Pod) -> type[BaseHTTPRequestHandler]:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pod.text().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Page


@pytest.fixture(scope="module")
def pods() -> Iterator[list[Pod]]:
    found = [Pod(), Pod()]
    yield found
    for pod in found:
        pod.server.shutdown()
        pod.server.server_close()


@pytest.fixture(scope="module")
def url(pods: list[Pod], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that scrapes both pods each second."""
    folder = tmp_path_factory.mktemp("prometheus")
    targets = [f"127.0.0.1:{pod.server.server_port}" for pod in pods]
    job = {"job_name": "pods", "static_configs": [{"targets": targets, "labels": {"revision": "bot-b"}}]}
    with real_prometheus(folder, {"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}) as found:
        yield found


async def read(url: str, promql: str) -> Sampled | Reading:
    sources = MetricSources([MetricSource(name="default", url=url)])
    try:
        return await sources.samples("default", promql)
    finally:
        await sources.close()


async def samples(url: str, promql: str) -> Sampled:
    found = await read(url, promql)
    assert isinstance(found, Sampled), found
    return found


async def scraped(url: str, requests: float) -> None:
    """Until both pods were scraped with so many requests, all of them together."""
    for _ in range(5 * SLOW):
        found = await samples(url, '{__name__="http_requests_total",revision="bot-b"}[30s]')
        if sum(series.samples[-1][1] for series in found.series) == requests:
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"never scraped {requests} requests")


async def test_what_prometheus_tells_adds_up_to_what_was_served(url: str, pods: list[Pod]) -> None:
    """Two pods; a first failure, whose series was not there before; a restart that begins at zero again."""
    first, second = pods
    first.requests, second.requests = 100, 40
    await scraped(url, 140)
    began = time.time()
    first.requests, second.requests, second.failed = 130, 50, 5
    await scraped(url, 180)
    first.requests = 7  # restarted
    await scraped(url, 57)
    labels = '{revision="bot-b"}'
    requests = await samples(url, f"http_requests_total{labels}[300s]")
    failures = await samples(url, 'http_requests_total{revision="bot-b",status="5xx"}[300s]')
    assert of_errors(requests, failures).between(began, time.time(), (0.0, 0.0)) == (30 + 10 + 7, 5)
    edges, grown = of_histogram(await samples(url, f"{LATENCY}{labels}[300s]"))
    assert edges == (0.1, 0.5)
    assert grown.between(began, time.time(), (0.0, 0.0, 0.0)) == (15 + 5 + 3, 15 + 5 + 4, 0)


async def test_the_stables_past_is_told_pods_added_up(url: str, pods: list[Pod]) -> None:
    pods[0].requests, pods[1].requests = 1000, 1000
    await scraped(url, 2000)
    await asyncio.sleep(1.5)
    found = await samples(url, f'sum by (le) ({LATENCY}{{revision="bot-b"}})[3600s:1s]')
    assert sorted(series.labels["le"] for series in found.series) == ["+Inf", "0.1", "0.5"]
    whole = next(series for series in found.series if series.labels["le"] == "+Inf")
    assert whole.samples[-1][1] == 2000
    assert len(whole.samples) > 1


async def test_a_revision_without_pods_has_no_series(url: str) -> None:
    assert (await samples(url, f'{LATENCY}{{revision="bot-z"}}[300s]')).series == ()


async def test_a_question_that_prometheus_refuses_is_the_users_to_mend(url: str) -> None:
    found = await read(url, 'http_requests_total{revision="bot-b"[300s]')
    assert isinstance(found, Reading)
    assert found.kind is ReadingKind.INVALID_QUERY
