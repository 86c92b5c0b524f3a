"""A Prometheus that answers by a script, on a loopback port: numbers, and every bad form in which numbers can be missing.

    with ScriptedPrometheus() as prometheus:
        prometheus.says(value(0.4), metric="latency", revision=B)                 # from now on
        prometheus.plays([(0, value(0.4)), (20, EMPTY), (60, value(9))], metric="latency", revision=B)
        prometheus.refuses(seconds=30)                                            # nobody listens on the port

Each query is answered by the newest line of the script whose labels the query has: the metric's name and `revision`. A
query for which nothing was ever said finds no series, as with the real one; requests are counted as plenty. Seconds of a
timeline count from the moment it was given. Not here: PromQL. What a query computes is what the script says it is.
"""

import json
import math
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
REQUESTS: Final = "vllm:request_success_total"
PLENTY: Final = 1000.0


# --- what can be answered -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Series:
    """An answer of so many series, each with one value; `age` is how old the samples say they are."""

    values: tuple[float, ...] = ()
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class Growing:
    """A counter that grows by so many a second from when it is first said; asked for a range, its raw samples."""

    per_second: float
    since: float = field(default_factory=time.time)

    def at(self, moment: float) -> float:
        return float(int(self.per_second * max(0.0, moment - self.since)))

    def samples(self, start: float, end: float) -> list[tuple[float, float]]:
        """One each half second, at the same moments whoever asks."""
        first = math.ceil(max(start, self.since) * 2)
        return [(n / 2, self.at(n / 2)) for n in range(first, int(end * 2) + 1)]


@dataclass(frozen=True, slots=True)
class Http:
    """An answer that is not what was asked for: an error, a login page, a redirect."""

    status: int
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Late:
    """The answer, after so many seconds."""

    seconds: float
    then: "Answer"


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is reset in place of an answer."""


Answer = Series | Growing | Http | Late | Cut


def value(number: float) -> Series:
    return Series((number,))


def stale(number: float, age: float = 600) -> Series:
    """A number whose own time is long past."""
    return Series((number,), age=age)


def slow(answer: Answer, seconds: float = 30) -> Late:
    return Late(seconds, answer)


def error(status: int = 500, kind: str = "internal", text: str = "the storage is closed") -> Http:
    """An error in Prometheus' own words."""
    return Http(status, json.dumps({"status": "error", "errorType": kind, "error": text}))


EMPTY: Final = Series()
NAN: Final = value(math.nan)
INFINITE: Final = value(math.inf)
MINUS_INFINITE: Final = value(-math.inf)
TWO_SERIES: Final = Series((0.4, 0.5))
LOGIN_PAGE: Final = Http(200, "<html>please log in</html>")
REDIRECT: Final = Http(302, "", (("Location", "http://169.254.169.254/latest/meta-data"),))
PARTIAL: Final = Http(
    200,
    json.dumps(
        {
            "status": "success",
            "warnings": ["a store was not reachable"],
            "data": {"resultType": "vector", "result": [{"metric": {}, "value": [0, "0.4"]}]},
        }
    ),
)

BAD_FORMS: Final[dict[str, Answer]] = {
    "no series": EMPTY,
    "NaN": NAN,
    "+Inf": INFINITE,
    "-Inf": MINUS_INFINITE,
    "two series": TWO_SERIES,
    "a stale timestamp": stale(0.4),
    "a timestamp to come": stale(0.4, age=-3600),
    "error 500": error(),
    "error 503": error(503, "timeout", "query timed out"),
    "30 s late": slow(value(0.4)),
    "a cut connection": Cut(),
    "a login page": LOGIN_PAGE,
    "a redirect": REDIRECT,
    "a partial answer": PARTIAL,
}


# --- the script ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Line:
    """Who is meant, and what is answered from which second on."""

    metric: str
    revision: str
    timeline: tuple[tuple[float, Answer], ...]

    def means(self, query: str) -> bool:
        return _named(self.metric, query) and (not self.revision or f'revision="{self.revision}"' in query)

    def at(self, seconds: float) -> Answer | None:
        return next((answer for since, answer in reversed(self.timeline) if since <= seconds), None)


def _named(metric: str, query: str) -> bool:
    return not metric or re.search(rf"(?<![\w:]){re.escape(metric)}(?![\w:])", query) is not None


@dataclass(frozen=True, slots=True)
class Asked:
    """One query that came in."""

    seconds: float  # since the start
    path: str
    query: str


@dataclass
class Script:
    """What is said when; independent of HTTP. Seconds count from `started` by `clock`."""

    clock: Callable[[], float] = time.monotonic
    _lines: list[_Line] = field(default_factory=list[_Line])
    _refused: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    def __post_init__(self) -> None:
        self.started = self.clock()

    @property
    def seconds(self) -> float:
        return self.clock() - self.started

    def says(self, answer: Answer, metric: str = "", revision: str = "") -> None:
        """From now on; without labels, to every query."""
        self.plays([(0, answer)], metric, revision)

    def plays(self, timeline: Iterable[tuple[float, Answer]], metric: str = "", revision: str = "") -> None:
        """One answer after the other; the seconds count from now, and before the first the older lines hold."""
        now = self.seconds
        moments = tuple(sorted(((now + since, answer) for since, answer in timeline), key=lambda pair: pair[0]))
        self._lines.append(_Line(metric, revision, moments))

    def refuses(self, seconds: float = math.inf, after: float = 0) -> None:
        """Nobody listens on the port for so long."""
        now = self.seconds
        self._refused.append((now + after, now + after + seconds))

    def listens(self) -> None:
        """The end of every refusal."""
        self._refused.clear()

    def refusing(self) -> bool:
        now = self.seconds
        return any(start <= now < end for start, end in list(self._refused))

    def answer(self, query: str, seconds: float | None = None) -> Answer:
        moment = self.seconds if seconds is None else seconds
        for line in reversed(list(self._lines)):
            if line.means(query) and (found := line.at(moment)) is not None:
                return found
        return value(PLENTY) if REQUESTS in query else EMPTY


# --- the server ---------------------------------------------------------------------------------------------------


class ScriptedPrometheus(Script):
    """The script behind `/api/v1/query` and `/api/v1/query_range`, by GET and by POST."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Asked] = []
        self._stop = threading.Event()
        self._server: ThreadingHTTPServer | None = self._listen(0)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "ScriptedPrometheus":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._close()

    def _listen(self, port: int) -> ThreadingHTTPServer:
        server = _Server(("127.0.0.1", port), _handler(self))
        server.timeout = 0.05
        return server

    def _serve(self) -> None:
        """One connection after the other; in between, the port is closed or opened as the script wants it."""
        while not self._stop.is_set():
            if self.refusing():
                self._close()
                self._stop.wait(0.02)
                continue
            if self._server is None:
                self._server = self._listen(self.port)
            self._server.handle_request()

    def _close(self) -> None:
        if self._server is not None:
            self._server.server_close()
            self._server = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a late answer may still be waiting
    allow_reuse_address = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is what some of these answers are for."""


def _handler(played: ScriptedPrometheus) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(urlsplit(self.path).query)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            self._answer(body or urlsplit(self.path).query)

        def _answer(self, form: str) -> None:
            fields = {name: values[0] for name, values in parse_qs(form).items()}
            path, query = urlsplit(self.path).path, fields.get("query", "")
            played.asked.append(Asked(played.seconds, path, query))
            if path == "/api/v1/query":
                self._say(played.answer(query), lambda found: _instant(found, query, fields))
            elif path == "/api/v1/query_range":
                self._say(played.answer(query), lambda _: _matrix(played, query, fields))
            else:
                self._send(Http(404, "404 page not found"))

        def _say(self, answer: Answer, document: Callable[[Series | Growing], Json]) -> None:
            match answer:
                case Late(seconds, then):
                    time.sleep(seconds)
                    self._say(then, document)
                case Cut():
                    linger = struct.pack("ii", 1, 0)  # closing sends a reset
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.connection.close()
                case Http():
                    self._send(answer)
                case Series() | Growing():
                    self._send(Http(200, json.dumps(document(answer))))

        def _send(self, answer: Http) -> None:
            body = answer.body.encode()
            self.send_response_only(answer.status)
            self.send_header("Date", formatdate(usegmt=True))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, text in answer.headers:
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def _instant(found: Series | Growing, query: str, fields: dict[str, str]) -> Json:
    """A query that ends with a range (`tasks_total[60s]`) gets a counter's raw samples, any other one its value."""
    moment = float(fields.get("time", time.time()))
    if isinstance(found, Series):
        return _vector(found, fields)
    if (span := re.search(r"\[(\d+)s\]$", query)) is None:
        return _vector(value(found.at(moment)), fields)
    told = [[at, _text(number)] for at, number in found.samples(moment - int(span[1]), moment)]
    result = [{"metric": {"instance": "played"}, "values": told}] if told else []
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def _vector(series: Series, fields: dict[str, str]) -> Json:
    moment = float(fields.get("time", time.time())) - series.age
    result = [{"metric": _labels(series, i), "value": [moment, _text(v)]} for i, v in enumerate(series.values)]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def _matrix(script: Script, query: str, fields: dict[str, str]) -> Json:
    """What the script said at each step between `start` and `end` (Unix seconds)."""
    start, end, step = (float(fields[name]) for name in ("start", "end", "step"))
    offset = time.time() - script.seconds
    moments = [start + i * step for i in range(int((end - start) / step) + 1)]
    found = [(moment, script.answer(query, moment - offset)) for moment in moments]
    told = [(moment, answer) for moment, answer in found if isinstance(answer, Series)]
    count = max((len(answer.values) for _, answer in told), default=0)
    result = [
        {
            "metric": {"instance": str(i)} if count > 1 else {},
            "values": [[moment, _text(answer.values[i])] for moment, answer in told if len(answer.values) > i],
        }
        for i in range(count)
    ]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def _labels(series: Series, number: int) -> dict[str, str]:
    return {"instance": str(number)} if len(series.values) > 1 else {}


def _text(number: float) -> str:
    """As Prometheus writes it: JSON has no NaN."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    return repr(number)
