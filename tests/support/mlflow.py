"""A played MLflow: the calls of its REST API that a run needs, as a real server (3.x) answers them.

It is strict where a real one is (a param is never changed, a batch has its limits), and keeps each metric as often as it is
told, as the file store does: what is told twice is seen twice.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

PREFIX = "/api/2.0/mlflow/"
_OUR_TAG = re.compile(r"tags\.`([^`]+)` = '([^']*)'")

Document = dict[str, Any]


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class PlayedRun:
    experiment: str
    name: str
    status: str = "RUNNING"
    end_time: int | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[Document] = field(default_factory=list)

    def curve(self, name: str) -> list[tuple[int, float]]:
        """As often as it was told, in the order of steps."""
        found = [(one["step"], float(one["value"])) for one in self.metrics if one["key"] == name]
        return sorted(found, key=lambda point: point[0])


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that do not believe the certificate hang up."""


class PlayedMlflow:
    """The state of a server. `before` is asked before each call, and may raise or answer in its place."""

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, PlayedRun] = {}
        self.calls: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.before: Callable[[str], httpx.Response | None] = lambda _call: None
        self.after: Callable[[str], None] = lambda _call: None
        self.page = 5000  # points of a metric in one answer

    @property
    def run(self) -> PlayedRun:
        [only] = self.runs.values()
        return only

    def transport(self) -> httpx.MockTransport:
        """For a client in the same process."""

        def answer(request: httpx.Request) -> httpx.Response:
            self.headers.append(dict(request.headers))
            call = request.url.path.rpartition(PREFIX)[2]
            self.calls.append(call)
            instead = self.before(call)
            if instead is not None:
                return instead
            status, document = self.answer(request.method, call, dict(request.url.params), request.content)
            self.after(call)
            return httpx.Response(status, json=document)

        return httpx.MockTransport(answer)

    @contextmanager
    def served(self, tls: ssl.SSLContext | None = None) -> Iterator[str]:
        """For a client in another process; its address."""
        played = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                self._say(parts.path, dict(parse_qsl(parts.query)), b"")

            def do_POST(self) -> None:
                self._say(self.path, {}, self.rfile.read(int(self.headers["Content-Length"])))

            def _say(self, path: str, params: Document, content: bytes) -> None:
                status, document = played.answer(self.command, path.removeprefix(PREFIX), params, content)
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = _Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()

    def answer(self, method: str, call: str, params: Document, content: bytes) -> tuple[int, Document]:
        asked = params if method == "GET" else json.loads(content)
        calls = {
            ("GET", "experiments/get-by-name"): self._get_experiment,
            ("POST", "experiments/create"): self._create_experiment,
            ("POST", "runs/search"): self._search,
            ("POST", "runs/create"): self._create,
            ("POST", "runs/update"): self._update,
            ("POST", "runs/log-batch"): self._log,
            ("GET", "metrics/get-history"): self._history,
        }
        try:
            return 200, calls[method, call](asked)
        except KeyError as error:
            return 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": str(error)}
        except Refusal as refusal:
            return refusal.status, {"error_code": refusal.code, "message": str(refusal)}

    def _get_experiment(self, asked: Document) -> Document:
        name = asked["experiment_name"]
        if name not in self.experiments:
            raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"Could not find experiment with name '{name}'")
        return {"experiment": {"experiment_id": self.experiments[name], "name": name, "lifecycle_stage": "active"}}

    def _create_experiment(self, asked: Document) -> Document:
        name = asked["name"]
        if name in self.experiments:
            raise Refusal(400, "RESOURCE_ALREADY_EXISTS", f"Experiment '{name}' already exists.")
        self.experiments[name] = str(len(self.experiments) + 1)
        return {"experiment_id": self.experiments[name]}

    def _search(self, asked: Document) -> Document:
        wanted = _OUR_TAG.fullmatch(asked["filter"])
        assert wanted is not None
        key, value = wanted.groups()
        found = [
            self._shown(run_id)
            for run_id, run in self.runs.items()
            if run.experiment in asked["experiment_ids"] and run.tags.get(key) == value
        ]
        return {"runs": found[: asked["max_results"]]} if found else {}

    def _create(self, asked: Document) -> Document:
        run_id = f"{len(self.runs):032x}"
        tags = {tag["key"]: tag["value"] for tag in asked["tags"]}
        self.runs[run_id] = PlayedRun(asked["experiment_id"], asked["run_name"], tags=tags)
        return {"run": self._shown(run_id)}

    def _update(self, asked: Document) -> Document:
        run = self.runs[asked["run_id"]]
        run.status, run.end_time = asked["status"], asked.get("end_time", run.end_time)
        return {"run_info": {"run_id": asked["run_id"], "status": run.status}}

    def _log(self, asked: Document) -> Document:
        run = self.runs[asked["run_id"]]
        params, metrics, tags = (asked.get(name, []) for name in ("params", "metrics", "tags"))
        if len(metrics) > 1000 or len(params) > 100 or len(tags) > 100:
            raise Refusal(400, "INVALID_PARAMETER_VALUE", "A batch logging request can contain at most 1000 metrics")
        for param in params:
            if run.params.get(param["key"], param["value"]) != param["value"]:
                raise Refusal(400, "INVALID_PARAMETER_VALUE", "Changing param values is not allowed.")
            run.params[param["key"]] = param["value"]
        run.tags |= {tag["key"]: tag["value"] for tag in tags}
        run.metrics += metrics
        return {}

    def _history(self, asked: Document) -> Document:
        told = [one for one in self.runs[asked["run_id"]].metrics if one["key"] == asked["metric_key"]]
        start = int(asked.get("page_token", 0))
        more = {"next_page_token": str(start + self.page)} if len(told) > start + self.page else {}
        return {"metrics": told[start : start + self.page], **more}

    def _shown(self, run_id: str) -> Document:
        run = self.runs[run_id]
        latest = {one["key"]: one for one in run.metrics}
        data = {
            "metrics": list(latest.values()),
            "params": [{"key": key, "value": value} for key, value in run.params.items()],
            "tags": [{"key": key, "value": value} for key, value in run.tags.items()],
        }
        return {"info": {"run_id": run_id, "status": run.status}, "data": {k: v for k, v in data.items() if v}}
