"""A real S3 server over a folder (versitygw), a user who may read nothing, and a neighbour that fails at first."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from serin_devcluster.gobuild import find_program
from serin_devcluster.paths import Paths
from support.ports import free_port

OWNER, STRANGER = ("owner", "secret-of-the-owner"), ("stranger", "secret-of-the-stranger")
DOMAIN = "localhost"  # the client's resolver takes every name below it for this machine


@dataclass(frozen=True)
class Store:
    """Where the server is, and the folder whose folders are its buckets."""

    port: int
    folder: Path

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> Any:
        from pyarrow.fs import S3FileSystem

        return S3FileSystem(
            access_key=OWNER[0],
            secret_key=OWNER[1],
            endpoint_override=f"127.0.0.1:{self.port}",
            scheme="http",
            region="us-east-1",
            allow_bucket_creation=True,
        )

    def bucket(self, name: str) -> None:
        self.client().create_dir(name)

    def put(self, bucket: str, key: str, content: bytes) -> None:
        with self.client().open_output_stream(f"{bucket}/{key}", compression=None) as stream:
            stream.write(content)

    def lay(self, bucket: str, key: str, content: bytes) -> None:
        """The same without asking the server, where there are a thousand of them."""
        path = self.folder / bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@contextmanager
def object_store(scratch: Path) -> Iterator[Store]:
    """Runs until the tests are done. Buckets that are made here are the owner's alone."""
    folder, users, log = scratch / "buckets", scratch / "users", scratch / "versitygw.log"
    folder.mkdir(parents=True)
    users.mkdir()
    port = free_port()
    program = str(find_program(Paths.default(), "versitygw"))
    access = ["--access", OWNER[0], "--secret", OWNER[1]]
    serving = ["--port", f"127.0.0.1:{port}", "--iam-dir", str(users), "--virtual-domain", DOMAIN, "--quiet"]
    with log.open("wb") as said:
        server = subprocess.Popen(
            [program, *access, *serving, "posix", "--sidecar", str(_made(scratch / "notes")), str(folder)],
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(server, port, log)
            subprocess.run(
                [program, "admin", *access, "--endpoint-url", f"http://127.0.0.1:{port}", "create-user",
                 "--access", STRANGER[0], "--secret", STRANGER[1], "--role", "user"],
                check=True, capture_output=True, timeout=60,
            )  # fmt: skip
            yield Store(port, folder)
        finally:
            server.terminate()
            server.wait(30)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that do not believe the certificate hang up."""


@contextmanager
def fails_at_first(store: Store, times: int, tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[int]]]:
    """An endpoint before the store that is too busy for the first requests; and what it answered."""
    answers: list[int] = []
    lock = Lock()

    class Neighbour(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._pass_on("GET")

        def do_HEAD(self) -> None:
            self._pass_on("HEAD")

        def _pass_on(self, method: str) -> None:
            with lock:
                busy = len(answers) < times
                answers.append(503 if busy else 200)
            if busy:
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            behind = http.client.HTTPConnection("127.0.0.1", store.port, timeout=60)
            behind.putrequest(method, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                behind.putheader(name, value)
            behind.endheaders()
            answer = behind.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            behind.close()

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = _Server(("127.0.0.1", 0), Neighbour)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}", answers
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def nobody_listens() -> str:
    """An endpoint where nothing is."""
    return f"http://127.0.0.1:{free_port()}"


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(3000):
        if server.poll() is not None:
            raise RuntimeError(f"versitygw ended: {log.read_text()[-800:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"versitygw does not listen: {log.read_text()[-800:]}")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
