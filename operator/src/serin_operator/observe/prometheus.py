"""Asks the metric sources that the operator's configuration names: one instant query, one number or the reason why not.

A URL never comes from a user's object (SSRF): an SLO names a source. Redirects are refused for the same reason. No
answer is ever an exception here: an outage is something to decide on.

Old samples: a sample whose own time is far from that of the answer that brought it (its Date header, so that nobody's
clock but the source's own counts) is not a value. Prometheus itself answers an instant query with the newest sample of
the last five minutes, under the time of the query. Queries over rate() or increase() do not have this trouble, since
they are empty when nothing was scraped within their window; so there is no second query for the age of a series here.
"""

import asyncio
import json
import math
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, cast

from serin_operator.decide.service.counters import Sampled, Series
from serin_operator.decide.service.facts import SLOWEST_LOOK
from serin_operator.decide.service.slos import unknown_source
from serin_operator.decide.service.snapshot import Grouped, Reading, ReadingKind
from serin_operator.http import httpx
from serin_operator.observe.fields import Json, part, parts
from serin_operator.settings import MetricSource

MAX_ANSWER_BYTES: Final = 256 * 1024  # one number needs a few hundred
MAX_SAMPLES_BYTES: Final = 8 * 1024 * 1024  # an hour of a histogram needs one; minutes of a hundred pods, a few
MAX_SAMPLE_AGE_SECONDS: Final = 60.0  # some sources evaluate up to 30 s back on purpose


class MetricSources:
    """The configured sources, by name."""

    def __init__(self, sources: Iterable[MetricSource], client: httpx.AsyncClient | None = None) -> None:
        self._sources = {source.name: source for source in sources}
        self._client = client or httpx.AsyncClient(timeout=SLOWEST_LOOK, follow_redirects=False, trust_env=False)
        self._own: dict[str, tuple[bytes, httpx.AsyncClient]] = {}  # of sources with an authority of their own

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._sources)

    async def close(self) -> None:
        for client in (self._client, *(own for _, own in self._own.values())):
            await client.aclose()

    async def query(self, source: str, promql: str, patience: float = SLOWEST_LOOK) -> Reading:
        """The value of `promql` now; `patience` is in seconds, after which the source counts as away."""
        answer = await self._asked(source, {"query": promql}, patience, MAX_ANSWER_BYTES)
        return answer if isinstance(answer, Reading) else _reading(source, answer)

    async def groups(self, source: str, promql: str, label: str, patience: float = SLOWEST_LOOK) -> Grouped | Reading:
        """The values of `promql` now, by a label that each of its series has."""
        answer = await self._asked(source, {"query": promql}, patience, MAX_ANSWER_BYTES)
        return answer if isinstance(answer, Reading) else _groups(source, answer, label)

    async def samples(
        self, source: str, promql: str, moment: float | None = None, patience: float = SLOWEST_LOOK
    ) -> Sampled | Reading:
        """The raw samples of a range (`metric{...}[5m]`) up to now, or up to a moment of the source's clock."""
        form = {"query": promql, **({"time": f"{moment:.3f}"} if moment is not None else {})}
        answer = await self._asked(source, form, patience, MAX_SAMPLES_BYTES)
        return answer if isinstance(answer, Reading) else _samples(self._sources[source], answer, moment)

    async def _asked(self, source: str, form: dict[str, str], patience: float, most: int) -> "_Answer | Reading":
        asked = self._sources.get(source)
        if asked is None:
            return Reading(ReadingKind.UNKNOWN_SOURCE, text=unknown_source(source, self.names))
        patience = min(patience, asked.timeout_seconds)
        try:
            request = {"headers": _headers(asked), **_form(asked, {**form, "timeout": f"{patience:g}s"})}
            client = await self._client_of(asked)
        except (OSError, ValueError) as error:  # a file that is not there, or not what it should be
            return Reading(ReadingKind.OUTAGE, text=f"metric source {source} cannot be asked: {error}")
        try:
            return await self._send(client, asked, request, patience, most)
        except (httpx.TimeoutException, TimeoutError):
            return _outage(source, f"did not answer within {patience:g} s")
        except httpx.HTTPError as error:
            return _outage(source, f"cannot be reached ({type(error).__name__}: {error})")
        except _TooLong:
            return _unusable(f"metric source {source} answered with more than {most} bytes")

    async def _client_of(self, source: MetricSource) -> httpx.AsyncClient:
        """One that trusts the source's authority; made anew when its file has changed."""
        if not source.ca_file:
            return self._client
        trusted = _authority(source)
        known, client = self._own.get(source.name, (b"", None))
        if client is None or known != trusted:
            context = ssl.create_default_context(cadata=trusted.decode("ascii"))
            made = httpx.AsyncClient(verify=context, follow_redirects=False, trust_env=False)
            self._own[source.name] = (trusted, made)
            if client is not None:
                await client.aclose()
            return made
        return client

    async def _send(
        self, client: httpx.AsyncClient, source: MetricSource, request: dict[str, Any], patience: float, most: int
    ) -> "_Answer":
        url = f"{source.url.rstrip('/')}/api/v1/query"
        async with (
            asyncio.timeout(patience),  # of all of it: httpx counts each read anew, so a trickle would never end
            client.stream(source.method, url, timeout=patience, follow_redirects=False, **request) as answer,
        ):
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > most:
                    raise _TooLong
            return _Answer(answer.status_code, bytes(body), _moment(answer.headers.get("Date")))


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    at: float  # by the source's clock


def _authority(source: MetricSource) -> bytes:
    return Path(source.ca_file).read_bytes()


def _headers(source: MetricSource) -> dict[str, str]:
    if not source.bearer_token_file:
        return dict(source.headers)
    token = Path(source.bearer_token_file).read_text(encoding="ascii").strip()
    if not token or not token.isprintable() or " " in token:
        raise OSError(f"{source.bearer_token_file} holds no token")  # never what it holds
    return {**source.headers, "Authorization": f"Bearer {token}"}


def _form(source: MetricSource, form: dict[str, str]) -> dict[str, Any]:
    return {"data": form} if source.method == "POST" else {"params": form}


def _moment(date: str | None) -> float:
    """When the source answered; by our own clock when it does not say."""
    try:
        return parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return time.time()


class _TooLong(Exception):
    pass


def _outage(source: str, what: str) -> Reading:
    return Reading(ReadingKind.OUTAGE, text=f"metric source {source} {what}; check that Prometheus runs")


def _unusable(text: str) -> Reading:
    return Reading(ReadingKind.UNUSABLE_ANSWER, text=text)


def _reading(source: str, answer: _Answer) -> Reading:
    """The HTTP answer (https://prometheus.io/docs/prometheus/latest/querying/api/) as a reading."""
    data = _told(source, answer)
    return data if isinstance(data, Reading) else _data(data, answer.at)


def _groups(source: str, answer: _Answer, label: str) -> Grouped | Reading:
    """The HTTP answer as numbers by label."""
    data = _told(source, answer)
    if isinstance(data, Reading):
        return data
    if data.get("resultType") != "vector":
        return _unusable(f"the query by {label} gives a {data.get('resultType') or 'document without data'}")
    found: dict[str, float] = {}
    for item in parts(data, "result"):
        reading = _number(item.get("value"), answer.at)
        if reading.value is None:
            return reading
        found[str(part(item, "metric").get(label, ""))] = reading.value
    return Grouped(found) if found else Reading(ReadingKind.NO_DATA)


def _samples(source: MetricSource, answer: _Answer, moment: float | None) -> Sampled | Reading:
    """The HTTP answer as raw samples. The newest may still be coming: a scrape has its beginning as its time."""
    data = _told(source.name, answer)
    if isinstance(data, Reading):
        return data
    if data.get("resultType") != "matrix":
        return _unusable(f"the query for samples gives a {data.get('resultType') or 'document without data'}")
    try:
        series = tuple(_series(item) for item in parts(data, "result"))
    except (TypeError, ValueError, IndexError, KeyError):
        return _unusable("the answer holds samples that are not numbers (a native histogram?)")
    complete = answer.at - source.delay_seconds
    return Sampled(series, complete if moment is None else min(moment, complete))


def _series(item: Json) -> Series:
    labels = {str(name): str(value) for name, value in part(item, "metric").items()}
    return Series(labels, tuple((float(at), float(value)) for at, value in item["values"]))


def _told(source: str, answer: _Answer) -> Json | Reading:
    """The `data` of a document in which nothing speaks against it."""
    status = answer.status
    if status in (401, 403):
        return _outage(source, f"refuses the operator ({status}): check bearerTokenFile and headers of this source")
    if 300 <= status <= 399:
        return _outage(source, f"answered with a redirect ({status}), which is not followed: correct its URL")
    try:
        document = json.loads(answer.body)
    except ValueError:
        return _outage(source, f"answered {status} with something that is not JSON")
    if not isinstance(document, dict):
        return _outage(source, f"answered {status} with something that is not a Prometheus document")
    return _document(source, answer, cast("Json", document))


def _document(source: str, answer: _Answer, document: Json) -> Json | Reading:
    error = str(document.get("error", ""))[:300]
    if document.get("errorType") == "bad_data":
        return Reading(ReadingKind.INVALID_QUERY, text=f"the query is refused: {error}; correct spec.slos[].query")
    if answer.status != 200 or document.get("status") != "success":
        return _outage(source, f"answered {answer.status}{f': {error}' if error else ''}")
    if document.get("warnings"):
        warning = str(document["warnings"][0])[:300]
        return _unusable(f"metric source {source} warns that the answer may be partial: {warning}")
    return part(document, "data")


def _data(data: Json, now: float) -> Reading:
    kind = data.get("resultType")
    if kind == "scalar":
        return _number(data.get("result"), now)
    if kind != "vector":
        return _unusable(f"the query gives a {kind or 'document without data'}, not one number; aggregate it")
    series = parts(data, "result")
    if not series:
        return Reading(ReadingKind.NO_DATA)
    if len(series) > 1:
        return Reading(
            ReadingKind.SEVERAL_SERIES,
            text=f"the query gives {len(series)} series, not one; aggregate it, with sum(...) or max(...)",
        )
    return _number(series[0].get("value"), now)


def _number(sample: Any, now: float) -> Reading:
    """`[time, "value"]`; the value is a string since JSON has no NaN."""
    try:
        age, value = now - float(sample[0]), float(sample[1])
    except (TypeError, ValueError, IndexError, KeyError):
        return _unusable("the answer holds a value that is not a number (a native histogram?)")
    if not math.isfinite(value):
        return Reading(
            ReadingKind.NOT_A_NUMBER,
            text=f"the query gives {sample[1]}: a division by 0, so nothing happened within its window",
        )
    if not abs(age) <= MAX_SAMPLE_AGE_SECONDS:
        when = f"{age:.0f} s old" if age > 0 else f"{-age:.0f} s in the future"
        return Reading(
            ReadingKind.STALE,
            text=f"the sample is {when} by the source's own clock, so it says nothing about now; check what stands"
            " between the operator and Prometheus (a cache?), and their clocks",
        )
    return Reading(ReadingKind.VALUE, value)
