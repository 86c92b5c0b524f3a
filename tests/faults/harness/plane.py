"""The control plane that faults are tried on: a real etcd, kube-apiserver and controller manager, with Serin's CRDs, the
Gateway API and one Gateway. No node runs; `actors.py` plays what is missing.

Three users, so that the audit log tells them apart: `operator` (behind the proxy), `actors`, and `user`, whose hands are
the test's.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import yaml
from serin_devcluster.apiserver import ApiServer
from serin_devcluster.pki import Pair, kubeconfig
from support.serving_cluster import add_node, install_gateway_api

Json = dict[str, Any]
CHECKOUT = Path(__file__).parents[3]
OPERATOR, ACTORS, USER = "operator", "actors", "user"
PROXY = "proxy"
RIGHTS = "system:serviceaccount:serin-system:serin"  # the chart's ServiceAccount, for the test of its rights
CONTROLLERS = (
    "job-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "deployment-controller",
    "replicaset-controller",
    "persistentvolumeclaim-protection-controller",
    "endpointslice-controller",
)


def policy(groups: Iterable[str] = ()) -> Json:
    """Whole objects for every write on what Serin owns or judges by, and on these API groups; leases and events would
    drown them."""
    writes = ["create", "update", "patch", "delete", "deletecollection"]
    told = [
        {"group": "serin.dev"},
        {"group": "batch"},
        {"group": "apps"},
        {"group": "gateway.networking.k8s.io"},
        {"group": "", "resources": ["pods", "pods/status", "services", "configmaps", "namespaces"]},
        *({"group": group} for group in groups),
    ]
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "omitManagedFields": True,
        "rules": [
            {"level": "RequestResponse", "verbs": writes, "resources": told},
            # What was read tells which rights are used.
            {"level": "Metadata", "users": [OPERATOR, RIGHTS]},
            {"level": "None"},
        ],
    }


def approvals() -> str:
    """The chart's admission policy by which the apiserver holds people to their own names."""
    chart = yaml.safe_load_all((CHECKOUT / "deploy" / "serin.yaml").read_text())
    return yaml.safe_dump_all(one for one in chart if one and one["metadata"]["name"] == "serin-approvals")


class Plane:
    """One control plane for many tests; each takes a fresh namespace."""

    def __init__(self, *, extra_args: Iterable[str] = (), told_groups: Iterable[str] = ()) -> None:
        """`told_groups`: API groups whose writes are in the audit log too."""
        # The log is read as it grows: it must not be cut off and begun anew at its default of 100 MB.
        self.server = ApiServer(policy=policy(told_groups), extra_args=("--audit-log-maxsize=100000", *extra_args))
        self.users: dict[str, Pair] = {}
        self.audit: AuditLog

    def __enter__(self) -> Plane:
        self.server.start()
        try:
            self._furnish()
        except BaseException:
            self.server.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        deaths = self.server.deaths()
        self.server.stop()
        assert not deaths, "\n".join(deaths)

    @property
    def url(self) -> str:
        return self.server.url

    def admit(self, user: str) -> None:
        """Another user with all rights, whose name the audit log tells."""
        self.users[user] = self.server.authority.issue(user, f"/O=system:masters/CN={user}")

    def kubeconfig(self, user: str) -> Path:
        """Straight to the apiserver, as this user."""
        path = self.server.folder / f"{user}.kubeconfig"
        if not path.exists():
            path.write_text(kubeconfig(self.url, self.server.authority.ca.certificate, self.users[user]))
        return path

    def tls(self, user: str) -> ssl.SSLContext:
        """For a client that speaks to the apiserver as this user."""
        context = ssl.create_default_context(cafile=str(self.server.authority.ca.certificate))
        context.load_cert_chain(self.users[user].certificate, self.users[user].key)
        return context

    def api(self, user: str = USER) -> Api:
        """A client of its own: httpx clients are not shared between threads here."""
        # trust_env: threads must not read the environment while pytest writes the name of the running test into it
        return Api(httpx.Client(base_url=self.url, verify=self.tls(user), timeout=30, trust_env=False))

    def namespace(self, hint: str = "f") -> str:
        """A fresh one."""
        name = f"{hint}-{uuid.uuid4().hex[:8]}"
        with self.api() as api:
            api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        return name

    def _furnish(self) -> None:
        authority = self.server.authority
        for user in (OPERATOR, ACTORS, USER):
            self.admit(user)
        self.users[PROXY] = authority.issue(PROXY, f"/CN={PROXY}", ("IP:127.0.0.1",))
        self.audit = AuditLog(self.server.audit_log)
        self.server.kubectl("apply", "--server-side", "-f", "crds/")
        self.server.kubectl("apply", "--server-side", "-f", "-", stdin=approvals())
        install_gateway_api(self.server)
        add_node(self.server)  # or the endpoints' controller would leave its pods out
        self.server.start_controllers(CONTROLLERS)


class Api:
    """Plain manifests over HTTP, for tests: paths as in the Kubernetes documentation."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def get(self, path: str) -> Json | None:
        """None when there is no such object."""
        answer = self.client.get(path)
        return None if answer.status_code == 404 else answer.raise_for_status().json()

    def items(self, path: str, selector: str = "") -> list[Json]:
        params = {"labelSelector": selector} if selector else {}
        return self.client.get(path, params=params).raise_for_status().json()["items"]

    def create(self, path: str, manifest: Json) -> Json:
        return _ok(self.client.post(path, json=manifest))

    def patch(self, path: str, change: Any) -> Json:
        return _ok(self.client.patch(path, json=change, headers={"Content-Type": "application/merge-patch+json"}))

    def delete(self, path: str, propagation: str = "Background") -> None:
        answer = self.client.request("DELETE", path, json={"propagationPolicy": propagation})
        if answer.status_code != 404:
            _ok(answer)


def _ok(answer: httpx.Response) -> Json:
    if answer.is_error:
        raise AssertionError(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}")
    return answer.json()


class AuditLog:
    """The apiserver's audit log, read as it grows and kept by namespace."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""
        self._by_namespace: dict[str, list[Json]] = {}
        self._forgotten: set[str] = set()  # what still happens there is only its end
        self._lock = threading.Lock()

    def of(self, namespace: str) -> list[Json]:
        """What happened in a namespace so far, in the order of completion."""
        with self._lock:
            self._read()
            return list(self._by_namespace.get(namespace, ()))

    def count(self, namespace: str) -> int:
        """How many events it has so far."""
        with self._lock:
            self._read()
            return len(self._by_namespace.get(namespace, ()))

    def settled(self, namespace: str, api: Api) -> list[Json]:
        """Everything up to now: a mark is written and waited for, so that nothing is still on its way to the file."""
        mark = f"mark-{uuid.uuid4().hex[:8]}"
        meta = {"name": mark, "namespace": namespace}
        where = f"/api/v1/namespaces/{namespace}/configmaps"
        api.create(where, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
        api.delete(f"{where}/{mark}")
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            found = self.of(namespace)
            if any(e["objectRef"].get("name") == mark and e["verb"] == "delete" for e in reversed(found)):
                return [e for e in found if not str(e["objectRef"].get("name", "")).startswith("mark-")]
            time.sleep(0.05)
        raise AssertionError("the audit log does not show a write of half a minute ago")

    def forget(self, namespace: str) -> None:
        with self._lock:
            self._by_namespace.pop(namespace, None)
            self._forgotten.add(namespace)

    def _read(self) -> None:
        with self._path.open("rb") as log:
            log.seek(self._offset)
            data = log.read()
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            event = json.loads(line)
            namespace = event.get("objectRef", {}).get("namespace", "")
            if namespace not in self._forgotten:
                self._by_namespace.setdefault(namespace, []).append(event)
