"""A hub of one's own: private models and data sets behind a token, over the calls by which files are resolved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_the_right_one"


@contextmanager
def private_hub(
    models: Mapping[str, Mapping[str, bytes]],
    datasets: Mapping[str, Mapping[str, bytes]],
    revision: str | None = None,
) -> Iterator[str]:
    """Its address. Whoever has no token is told that there is nothing; whoever has a wrong one, that it is not valid. With a
    `revision` the models have that one and no other."""
    # Other files are another commit: clients keep what they know of one.
    commit = hashlib.sha1(repr((models, datasets)).encode(), usedforsecurity=False).hexdigest()

    class Hub(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, with_body: bool) -> None:
            given = self.headers.get("Authorization", "")
            if given != f"Bearer {TOKEN}":
                wrong = {"X-Error-Message": "Invalid credentials in Authorization header"}
                self._say(401, b"", wrong if given else {"X-Error-Code": "RepoNotFound"}, with_body)
                return
            content, more = self._found()
            self._say(200 if content is not None else 404, content or b"", more, with_body)

        def _found(self) -> tuple[bytes | None, dict[str, str]]:
            parts = self.path.split("?")[0].strip("/").split("/")
            asked = parts[5:6] if parts[0] == "api" else parts[3:4]
            if revision is not None and asked and asked[0] not in (revision, commit):
                return None, {"X-Error-Code": "RevisionNotFound"}
            if parts[:2] == ["api", "models"] and parts[4:5] == ["tree"]:
                return _tree("/".join(parts[2:4]), models), {}
            if parts[:2] == ["api", "models"]:
                return _info("/".join(parts[2:4]), models, commit), {}
            if parts[:2] == ["api", "datasets"]:
                return _info("/".join(parts[2:4]), datasets, commit), {}
            kept = datasets if parts[0] == "datasets" else models
            parts = parts[1:] if parts[0] == "datasets" else parts
            files = kept.get("/".join(parts[:2]))
            if files is None:
                return None, {"X-Error-Code": "RepoNotFound"}
            content = files.get("/".join(parts[4:]))
            if content is None:
                return None, {"X-Error-Code": "EntryNotFound"}
            return content, {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}

        def _say(self, status: int, content: bytes, headers: Mapping[str, str], with_body: bool) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _info(name: str, kept: Mapping[str, Mapping[str, bytes]], commit: str) -> bytes | None:
    files = kept.get(name)
    if files is None:
        return None
    siblings = [{"rfilename": path} for path in files]
    return json.dumps({"id": name, "sha": commit, "private": True, "siblings": siblings}).encode()


def _tree(name: str, kept: Mapping[str, Mapping[str, bytes]]) -> bytes | None:
    files = kept.get(name)
    if files is None:
        return None
    listed = [{"type": "file", "path": path, "size": len(content), "oid": "0"} for path, content in files.items()]
    return json.dumps(listed).encode()
