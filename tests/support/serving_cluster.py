"""Plays what a bare apiserver lacks for serving: the kubelet of server pods, the Gateway's controller, and Prometheus.

The apiserver, the Deployment and ReplicaSet controllers and the Gateway API's CRDs are real.
"""

import json
import re
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from serin_devcluster.apiserver import ApiServer
from serin_devcluster.gobuild import CONTOUR, module_folder

Json = dict[str, Any]
GATEWAY_CRDS = "examples/gateway/00-crds.yaml"


def install_gateway_api(server: ApiServer) -> None:
    """The CRDs that Contour's release carries, and one Gateway."""
    crds = module_folder(CONTOUR, "github.com/projectcontour/contour") / GATEWAY_CRDS
    server.kubectl("apply", "--server-side", "-f", str(crds))
    server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=110s")
    server.kubectl("create", "namespace", "infra")
    gateway = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "public", "namespace": "infra"},
        "spec": {
            "gatewayClassName": "played",
            "listeners": [
                {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}
            ],
        },
    }
    server.kubectl("apply", "-f", "-", stdin=json.dumps(gateway))


NODE = "played"
BY_PODS = "by-pods"
"""How names of namespaces begin whose services have no gateway."""


def add_node(server: ApiServer) -> None:
    """One that exists by name: the endpoints' controller leaves out pods of nodes that nobody knows."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
    server.kubectl("apply", "-f", "-", stdin=json.dumps(node))


class ServingPlayer:
    """A thread that makes server pods ready and takes routes up. Pods of services without a gateway get a node and an address."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)
        self._placed_so_far = 0
        self.failure: Exception | None = None

    def __enter__(self) -> "ServingPlayer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _play(self) -> None:
        while not self._stop.wait(0.2):
            try:
                for pod in self._list("pods", "-l", "serin.dev/stage=serve"):
                    self._bring_up(pod)
                for route in self._list("httproutes"):
                    self._program(route)
                self._patch_gateway()
            except Exception as error:
                self.failure = error

    def _bring_up(self, pod: Json) -> None:
        if pod["metadata"].get("deletionTimestamp"):
            meta = pod["metadata"]
            self._server.kubectl("-n", meta["namespace"], "delete", "pod", meta["name"], "--force", "--grace-period=0")
        elif pod["status"].get("phase") != "Running":
            address = self._placed(pod) if pod["metadata"]["namespace"].startswith(BY_PODS) else {}
            ready = [
                {"type": type_, "status": "True", "lastTransitionTime": _now()} for type_ in ("Ready", "PodScheduled")
            ]
            self._status("pod", pod, {"phase": "Running", "conditions": ready, "startTime": _now(), **address})

    def _placed(self, pod: Json) -> Json:
        """Bound to the node; each with an address of its own."""
        meta = pod["metadata"]
        if not pod["spec"].get("nodeName"):
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"]},
                       "target": {"apiVersion": "v1", "kind": "Node", "name": NODE}}  # fmt: skip
            path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/binding"
            self._server.kubectl_process("create", "--raw", path, "-f", "-", stdin=json.dumps(binding))
        self._placed_so_far += 1
        address = f"10.244.{self._placed_so_far // 250}.{self._placed_so_far % 250 + 1}"
        return {"podIP": address, "podIPs": [{"ip": address}], "hostIP": "10.0.0.1"}

    def _program(self, route: Json) -> None:
        generation = route["metadata"]["generation"]
        parents = route.get("status", {}).get("parents", [])
        if parents and parents[0]["conditions"][0]["observedGeneration"] == generation:
            return
        conditions = [
            {"type": type_, "status": "True", "reason": type_, "message": "", "observedGeneration": generation,
             "lastTransitionTime": _now()}
            for type_ in ("Accepted", "ResolvedRefs")
        ]  # fmt: skip
        parent = {"parentRef": route["spec"]["parentRefs"][0], "controllerName": "played.example/x",
                  "conditions": conditions}  # fmt: skip
        self._status("httproute", route, {"parents": [parent]})

    def _patch_gateway(self) -> None:
        gateway = json.loads(self._server.kubectl("-n", "infra", "get", "gateway", "public", "-o", "json"))
        found = {c["type"]: c["status"] for c in gateway.get("status", {}).get("conditions", [])}
        if found.get("Programmed") != "True":
            condition = {"type": "Programmed", "status": "True", "reason": "Programmed", "message": "",
                         "observedGeneration": 1, "lastTransitionTime": _now()}  # fmt: skip
            self._status("gateway", gateway, {"conditions": [condition]})

    def _list(self, plural: str, *args: str) -> list[Json]:
        return json.loads(self._server.kubectl("get", plural, "-A", *args, "-o", "json"))["items"]

    def _status(self, kind: str, item: Json, status: Json) -> None:
        self._server.kubectl_process(
            "-n", item["metadata"]["namespace"], "patch", kind, item["metadata"]["name"], "--subresource=status",
            "--type=merge", "-p", json.dumps({"status": status}),
        )  # fmt: skip


class PlayedPrometheus:
    """Answers instant queries on a loopback port: `values` by revision, requests always enough."""

    def __init__(self) -> None:
        played = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                body = json.dumps(played.answer(form["query"][0])).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.values: dict[str, float] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "PlayedPrometheus":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, query: str) -> Json:
        if "request_success_total" in query:
            return _vector(1000.0)
        revision = re.findall(r'revision="([^"]*)"', query)[0]
        return _vector(self.values[revision]) if revision in self.values else _vector()


def _vector(*values: float) -> Json:
    result = [{"metric": {}, "value": [time.time(), str(value)]} for value in values]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
