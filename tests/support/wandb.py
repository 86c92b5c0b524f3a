"""A played W&B server: what W&B's own client asks of one while it tells of a run, as version 0.31 was seen to ask.

The protocol is not documented; this is no proof that wandb.ai takes it. It keeps every line of history that it is given: what is
told twice is seen twice.
"""

from __future__ import annotations

import gzip
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Document = dict[str, Any]
USER = "me"  # whose key it is


@dataclass
class PlayedRun:
    project: str
    entity: str
    name: str = ""
    config: Document = field(default_factory=dict)
    lines: list[Document] = field(default_factory=list)
    preempting: bool = False
    exit_code: int | None = None

    def curve(self, name: str) -> list[tuple[int, float]]:
        """As it was told."""
        return [(line["_step"], line[name]) for line in self.lines if name in line]


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are told nothing more."""


class PlayedWandb:
    """The state of a server. While it is `away` it answers every call with 503."""

    def __init__(self) -> None:
        self.runs: dict[str, PlayedRun] = {}
        self.headers: list[dict[str, str]] = []
        self.calls: list[str] = []
        self.away = False
        self.address = ""

    @property
    def run(self) -> PlayedRun:
        [only] = self.runs.values()
        return only

    @contextmanager
    def served(self, tls: ssl.SSLContext | None = None) -> Iterator[str]:
        """Its address."""
        played = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"] or 0))
                if self.headers["Content-Encoding"] == "gzip":
                    content = gzip.decompress(content)
                played.headers.append({name.lower(): value for name, value in self.headers.items()})
                body = json.dumps({} if played.away else played.answer(self.path, content)).encode()
                self.send_response(503 if played.away else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = _answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = _Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        self.address = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}"
        try:
            yield self.address
        finally:
            server.shutdown()
            server.server_close()

    def answer(self, path: str, content: bytes) -> Document:
        if path.endswith("/file_stream"):
            self.calls.append("file_stream")
            return self._stream(path.split("/")[-2], json.loads(content))
        if path != "/graphql":
            self.calls.append(path)
            return {}
        asked = json.loads(content)
        self.calls.append(asked["operationName"])
        answers = {
            "RunResumeStatus": self._resume,
            "UpsertBucket": self._upsert,
            "CreateRunFiles": self._files,
        }
        if (answer := answers.get(asked["operationName"])) is None:
            return {"errors": [{"message": f"no {asked['operationName']} here"}]}
        return {"data": answer(asked["variables"])}

    def _resume(self, asked: Document) -> Document:
        run = self.runs.get(asked["name"])
        if run is None:
            return {"model": None}
        bucket = {
            **self._bucket(asked["name"], run),
            "summaryMetrics": "{}",
            "logLineCount": 0,
            "historyLineCount": len(run.lines),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(line) for line in run.lines[-1:]]),
            "eventsTail": "[]",
            "tags": [],
            "notes": "",
            "wandbConfig": json.dumps({"t": 1}),
        }
        entity = {"id": "entity", "name": run.entity}
        return {"model": {"id": "project", "name": run.project, "entity": entity, "bucket": bucket}}

    def _upsert(self, asked: Document) -> Document:
        inserted = asked["name"] not in self.runs
        run = self.runs.setdefault(asked["name"], PlayedRun(asked["project"], asked["entity"] or USER))
        run.name = asked.get("displayName") or run.name
        told = json.loads(asked.get("config") or "{}")
        run.config |= {key: one["value"] for key, one in told.items() if key != "_wandb"}
        return {"upsertBucket": {"bucket": self._bucket(asked["name"], run), "inserted": inserted}}

    def _files(self, asked: Document) -> Document:
        files = [{"name": name, "uploadUrl": f"{self.address}/upload/{name}"} for name in asked["files"]]
        return {"createRunFiles": {"runID": asked["run"], "uploadHeaders": [], "files": files}}

    def _stream(self, name: str, told: Document) -> Document:
        run = self.runs[name]
        for line in told.get("files", {}).get("wandb-history.jsonl", {}).get("content", []):
            run.lines.append(json.loads(line))
        run.preempting |= bool(told.get("preempting"))
        if told.get("complete"):
            run.exit_code = told["exitcode"]
        return {}

    def _bucket(self, name: str, run: PlayedRun) -> Document:
        entity = {"id": "entity", "name": run.entity}
        return {
            "id": f"id-of-{name}",
            "name": name,
            "displayName": run.name,
            "description": "",
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "sweepName": None,
            "project": {"id": "project", "name": run.project, "entity": entity},
            "historyLineCount": len(run.lines),
        }
