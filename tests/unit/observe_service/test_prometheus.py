"""What Prometheus can answer, and what is made of it: a number, or why there is none."""

import asyncio
import json
import ssl
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from serin_operator.decide.service.counters import Sampled
from serin_operator.decide.service.snapshot import Reading, ReadingKind
from serin_operator.http import httpx
from serin_operator.observe.prometheus import MAX_ANSWER_BYTES, MetricSources
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
    assert found.at == NOW - SOURCE.delay_seconds


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


# --- how a source is asked ----------------------------------------------------------------------------------------


async def asked_of(source: MetricSource, status: int = 200) -> tuple[httpx.Request | None, Reading]:
    """The request that a source gets, and what is made of its answer."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, json=vector("1"), headers={"Date": DATE})

    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
        reading = await MetricSources([source], client).query("default", "up")
    return (seen[0] if seen else None), reading


async def test_a_token_is_read_anew_for_each_question(tmp_path: Path) -> None:
    token = tmp_path / "token"
    source = MetricSource(name="default", url="https://prometheus.example", bearer_token_file=str(token))
    for written in ("first\n", "second"):
        token.write_text(written)
        request, _ = await asked_of(source)
        assert request is not None
        assert request.headers["Authorization"] == f"Bearer {written.strip()}"


@pytest.mark.parametrize("written", [None, "", "two words", "split\nin two", "\u00fc"])
async def test_without_a_usable_token_nobody_is_asked_and_it_is_not_shown(tmp_path: Path, written: str | None) -> None:
    token = tmp_path / "token"
    if written is not None:
        token.write_text(written)
    source = MetricSource(name="default", url="https://prometheus.example", bearer_token_file=str(token))
    request, reading = await asked_of(source)
    assert request is None
    assert reading.kind is ReadingKind.OUTAGE
    assert "cannot be asked" in reading.text
    assert "two" not in reading.text.replace(str(token), "")


async def test_headers_name_the_tenant() -> None:
    source = MetricSource(name="default", url="http://mimir/prometheus", headers={"X-Scope-OrgID": "ml"})
    request, _ = await asked_of(source)
    assert request is not None
    assert request.headers["X-Scope-OrgID"] == "ml"
    assert "Authorization" not in request.headers


async def test_a_source_may_be_asked_by_get() -> None:
    request, reading = await asked_of(MetricSource(name="default", url="http://prometheus", method="GET"))
    assert request is not None
    assert (request.method, request.url.params["query"], request.content) == ("GET", "up", b"")
    assert reading == Reading(ReadingKind.VALUE, 1.0)


async def test_a_source_has_no_more_time_than_it_is_given() -> None:
    request, _ = await asked_of(MetricSource(name="default", url="http://prometheus", timeout_seconds=1.5))
    assert request is not None
    assert b"timeout=1.5s" in request.content


@pytest.mark.parametrize("status", [401, 403])
async def test_a_source_that_refuses_us_is_away_and_says_where_to_look(status: int) -> None:
    _, reading = await asked_of(MetricSource(name="default", url="http://prometheus"), status)
    assert reading.kind is ReadingKind.OUTAGE
    assert f"refuses the operator ({status}): check bearerTokenFile" in reading.text


@pytest.mark.parametrize("written", [None, b"", b"no certificate", b"\xff"])
async def test_an_authority_that_cannot_be_read_is_an_outage(tmp_path: Path, written: bytes | None) -> None:
    authority = tmp_path / "ca.crt"
    if written is not None:
        authority.write_bytes(written)
    request, reading = await asked_of(MetricSource(name="default", url="https://p", ca_file=str(authority)))
    assert request is None
    assert reading.kind is ReadingKind.OUTAGE


class _OverTls(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(vector("0.98", at=time.time())).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def a_certificate(folder: Path) -> tuple[Path, Path]:
    """A key and a certificate of its own authority, for 127.0.0.1."""
    key, certificate = folder / "tls.key", folder / "tls.crt"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=prometheus -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return key, certificate


async def test_only_the_authority_that_is_named_is_trusted_and_a_new_one_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    key, certificate = a_certificate(tmp_path)
    _, stranger = a_certificate(tmp_path / "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _OverTls)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    trusted = tmp_path / "ca.crt"
    source = MetricSource(name="default", url=f"https://127.0.0.1:{server.server_port}", ca_file=str(trusted))
    sources = MetricSources([source])
    try:
        trusted.write_bytes(stranger.read_bytes())
        refused = await sources.query("default", "up")
        trusted.write_bytes(certificate.read_bytes())
        accepted = await sources.query("default", "up")
    finally:
        await sources.close()
        server.shutdown()
        server.server_close()
    assert refused.kind is ReadingKind.OUTAGE
    assert "certificate" in refused.text
    assert accepted == Reading(ReadingKind.VALUE, 0.98)
