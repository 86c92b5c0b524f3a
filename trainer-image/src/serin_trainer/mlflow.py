"""A run on an MLflow server, over the calls of its REST API (https://mlflow.org/docs/latest/rest-api.html).

MLflow's own client is 25 packages; what a run needs are seven documented calls that have not changed since MLflow 1. The
server names runs itself, so ours is found by a tag: whoever opens it again goes on with it, and sees what is there.
"""

from __future__ import annotations

import json
import math
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from .authorities import bundle
from .config import Mlflow
from .credentials import credential
from .telling import NotTold
from .tracking import CURVES, Point

RUN_TAG = "serin.run"
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 10.0
MOST_METRICS, MOST_OTHERS = 1000, 100  # of one log-batch
MOST_LETTERS = 500  # of a param's value: older servers refuse more
MAX_ANSWER_BYTES = 16 * 1024 * 1024

_T = TypeVar("_T")


class _Refused(NotTold):
    """An answer with one of MLflow's error codes."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Opened:
    """A run, where people find it, and the steps of each curve that the server has."""

    run_id: str
    page: str
    known: dict[str, set[int]] = field(default_factory=dict)

    def lacks(self, point: Point) -> Point | None:
        """What of the point is new to the server."""
        values = {name: value for name, value in point.values.items() if point.step not in self.known.get(name, ())}
        return Point(point.step, point.at, values) if values else None

    def note(self, point: Point) -> None:
        for name in point.values:
            self.known.setdefault(name, set()).add(point.step)


class Server:
    """One MLflow server. Each call takes some seconds at most, and says in `NotTold` why it came to nothing."""

    def __init__(self, wish: Mlflow, transport: httpx.BaseTransport | None = None) -> None:
        self._experiment = wish.experiment
        self.address = wish.uri.rstrip("/")
        self._http = httpx.Client(
            base_url=self.address + "/api/2.0/mlflow/",
            auth=_authentication(wish),
            verify=ssl.create_default_context(cafile=str(bundle(wish.ca_ref))),
            headers={"Accept-Encoding": "identity", "User-Agent": "serin-trainer"},
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,  # credentials are for this address
            trust_env=False,
            transport=transport,
        )

    def open(self, run: str, name: str, at: float, params: Mapping[str, str], tags: Mapping[str, str]) -> Opened:
        """Finds the run, or creates it; what a run began with stays, since no param can be changed."""
        return _understood(lambda: self._open(run, name, at, params, tags))

    def log(self, opened: Opened, points: Iterable[Point]) -> None:
        """Tells the points that the server has not, and remembers that it has them."""
        _understood(lambda: self._log(opened, points))

    def end(self, opened: Opened, status: str | None, at: float) -> None:
        """FINISHED or FAILED. Without one it stays RUNNING, as the attempt that goes on with it will have it."""
        if status is None:
            return
        ended = {"run_id": opened.run_id, "status": status, "end_time": _milliseconds(at)}
        _understood(lambda: self._post("runs/update", ended))

    def close(self) -> None:
        """Hangs up."""
        self._http.close()

    def _open(self, run: str, name: str, at: float, params: Mapping[str, str], tags: Mapping[str, str]) -> Opened:
        experiment = self._find_experiment()
        found = self._find_run(experiment, run)
        if found is None:
            marks = [{"key": RUN_TAG, "value": run}, {"key": "mlflow.runName", "value": name}]
            created = {"experiment_id": experiment, "run_name": name, "start_time": _milliseconds(at), "tags": marks}
            found = self._post("runs/create", created)["run"]
        run_id = str(found["info"]["run_id"])
        opened = Opened(run_id, f"{self.address}/#/experiments/{experiment}/runs/{run_id}")
        data = found.get("data") or {}
        self._post("runs/update", {"run_id": run_id, "status": "RUNNING"})
        said = {param["key"] for param in data.get("params", ())}
        new = {key: value[:MOST_LETTERS] for key, value in params.items() if key not in said and value}
        self._describe(run_id, new, tags)
        for metric in {metric["key"] for metric in data.get("metrics", ())} & set(CURVES.values()):
            opened.known[metric] = self._steps(run_id, metric)
        return opened

    def _log(self, opened: Opened, points: Iterable[Point]) -> None:
        new = [found for point in points if (found := opened.lacks(point)) is not None]
        metrics = [
            {"key": name, "value": _number(value), "timestamp": _milliseconds(point.at), "step": point.step}
            for point in new
            for name, value in point.values.items()
        ]
        for part in _parts(metrics, MOST_METRICS):
            self._post("runs/log-batch", {"run_id": opened.run_id, "metrics": part})
        for point in new:
            opened.note(point)

    def _find_experiment(self) -> str:
        try:
            return self._experiment_by_name()
        except _Refused as error:
            if error.code != "RESOURCE_DOES_NOT_EXIST":
                raise
        try:
            return str(self._post("experiments/create", {"name": self._experiment})["experiment_id"])
        except _Refused as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise
        return self._experiment_by_name()  # another job was quicker

    def _experiment_by_name(self) -> str:
        answer = self._call("GET", "experiments/get-by-name", params={"experiment_name": self._experiment})
        return str(answer["experiment"]["experiment_id"])

    def _find_run(self, experiment: str, run: str) -> dict[str, Any] | None:
        wanted = {"experiment_ids": [experiment], "filter": f"tags.`{RUN_TAG}` = '{run}'", "max_results": 1}
        runs = self._post("runs/search", {**wanted, "order_by": ["attributes.start_time ASC"]}).get("runs") or []
        return runs[0] if runs else None

    def _describe(self, run_id: str, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        marks = [{"key": key, "value": value} for key, value in tags.items()]
        self._post("runs/log-batch", {"run_id": run_id, "tags": marks})
        for part in _parts([{"key": key, "value": value} for key, value in params.items()], MOST_OTHERS):
            self._post("runs/log-batch", {"run_id": run_id, "params": part})

    def _steps(self, run_id: str, metric: str) -> set[int]:
        steps: set[int] = set()
        asked: dict[str, str | int] = {"run_id": run_id, "metric_key": metric, "max_results": 5000}
        while True:
            answer = self._call("GET", "metrics/get-history", params=asked)
            found = {int(one.get("step", 0)) for one in answer.get("metrics", ())}
            token = answer.get("next_page_token")
            if not token or found <= steps:
                return steps | found
            steps |= found
            asked["page_token"] = token

    def _post(self, call: str, document: Mapping[str, Any]) -> dict[str, Any]:
        return self._call("POST", call, json=document)

    def _call(self, method: str, call: str, **how: Any) -> dict[str, Any]:
        with self._http.stream(method, call, **how) as response:
            body = b""
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise NotTold("it answers with more than a run can have")
        if response.is_redirect:
            raise NotTold(
                f"it redirects to {_short(response.headers.get('location', 'nowhere'))}, which is not followed"
            )
        if not response.is_success:
            raise _refusal(response.status_code, body)
        answer = json.loads(body or b"{}")
        if not isinstance(answer, dict):
            raise ValueError("no object")
        return answer


def _understood(ask: Callable[[], _T]) -> _T:
    """Whatever a server may do, in our words."""
    try:
        return ask()
    except httpx.TimeoutException as error:
        raise NotTold("it does not answer in time") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotTold(f"it cannot be reached: {_short(str(error)) or type(error).__name__}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotTold("it answers, but not as MLflow's REST API does; is uri the address of its start page?") from error


def _refusal(status: int, body: bytes) -> NotTold:
    try:
        document = json.loads(body)
        code, message = str(document["error_code"]), str(document.get("message", ""))
        return _Refused(code, f"it refuses with {code}: {_short(message)}")
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    if status in (401, 403):
        return NotTold(f"it refuses the credentials of tracking.mlflow.secretRef, or wants some (status {status})")
    return NotTold(f"it answers with status {status}")


def _short(text: str) -> str:
    """What others say, as a part of a sentence."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())[:120]


def _authentication(wish: Mlflow) -> httpx.Auth | None:
    if wish.secret is None:
        return None
    if wish.authentication == "Password":
        user, password = (credential(wish.secret, f"MLFLOW_TRACKING_{key}") for key in ("USERNAME", "PASSWORD"))
        return httpx.BasicAuth(user, password)
    return _Bearer(credential(wish.secret, "MLFLOW_TRACKING_TOKEN"))


class _Bearer(httpx.Auth):
    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Any:
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def _parts(things: Sequence[_T], size: int) -> Iterable[Sequence[_T]]:
    return (things[start : start + size] for start in range(0, len(things), size))


def _milliseconds(at: float) -> int:
    return round(at * 1000)


def _number(value: float) -> float | str:
    """JSON has no word for a loss that is no number; protobuf's JSON, which MLflow reads, has these."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
