"""The real Kueue beside a real apiserver: its controller manager as a process, installed from its own chart.

What its chart would run in a pod runs here; the test plays the kubelet as far as that goes: it mounts the Secret with the
certificate that Kueue issues for its webhooks. These are found through a Service that is another name for this machine.
Nothing listens beyond the loopback address. The manifests are read from the Go module that the program is built from.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from serin_devcluster.apiserver import LOOPBACK, ApiServer, free_ports
from serin_devcluster.errors import DevclusterError
from serin_devcluster.gobuild import KUEUE, find_program, module_folder
from serin_devcluster.paths import Paths
from serin_devcluster.pki import kubeconfig
from serin_devcluster.processes import Child
from serin_devcluster.shell import run

NAMESPACE = "kueue-system"
USER = f"system:serviceaccount:{NAMESPACE}:kueue-controller-manager"
SERVICE = "kueue-webhook-service"
SECRET = "kueue-webhook-server-cert"
INSTALLED = (
    "CustomResourceDefinition",
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Secret",
)
WEBHOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
START_SECONDS = 240.0  # on an idle machine it takes ten


class Kueue:
    """Kueue with the rights of its chart, for Jobs only, as it is configured without more words."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self._webhooks, self._health = free_ports(2)
        self._folder = server.folder / "kueue"
        self._child: Child | None = None

    @property
    def log(self) -> Path:
        return self.server.folder / "kueue.log"

    def start(self) -> Kueue:
        program = find_program(Paths.default(), "kueue")
        (self._folder / "certs").mkdir(parents=True)
        self._install()
        config = self._folder / "config.json"
        config.write_text(json.dumps(self._configuration()))
        flags = [f"--config={config}", f"--kubeconfig={self._kubeconfig()}"]
        self._child = Child("kueue", [program, *flags], self.log)
        self._mount_certificate()
        self._wait_ready()
        return self

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()

    def tail(self, lines: int = 25) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def _install(self) -> None:
        self.server.kubectl("create", "namespace", NAMESPACE)
        found = list(chart())
        plain = [text for kind, text in found if kind in INSTALLED]
        self.server.kubectl("apply", "--server-side", "-f", "-", stdin="\n---\n".join(plain))
        self.server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=110s")
        hooks = [self._reachable(yaml.safe_load(text)) for kind, text in found if kind in WEBHOOKS]
        for manifest in (self._service(), *hooks):
            self.server.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(manifest))

    def _service(self) -> dict[str, Any]:
        """No Service has an address here, but a name it may be."""
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": SERVICE, "namespace": NAMESPACE},
            "spec": {"type": "ExternalName", "externalName": "localhost"},
        }

    def _reachable(self, configuration: dict[str, Any]) -> dict[str, Any]:
        for webhook in configuration["webhooks"]:
            assert webhook["clientConfig"]["service"]["name"] == SERVICE
            webhook["clientConfig"]["service"]["port"] = self._webhooks
        return configuration

    def _configuration(self) -> dict[str, Any]:
        return {
            "apiVersion": "config.kueue.x-k8s.io/v1beta1",
            "kind": "Configuration",
            "namespace": NAMESPACE,
            "health": {"healthProbeBindAddress": f"{LOOPBACK}:{self._health}"},
            "metrics": {"bindAddress": "0"},
            "webhook": {"host": LOOPBACK, "port": self._webhooks, "certDir": str(self._folder / "certs")},
            "leaderElection": {"leaderElect": False},
            "internalCertManagement": {"enable": True, "webhookServiceName": SERVICE, "webhookSecretName": SECRET},
            "integrations": {"frameworks": ["batch/job"]},
            # A second apiserver that tells of positions in queues. It would listen on every address, at a fixed port.
            "featureGates": {"VisibilityOnDemand": False},
        }

    def _kubeconfig(self) -> Path:
        authority = self.server.authority
        pair = authority.issue("kueue", f"/O=system:serviceaccounts/O=system:serviceaccounts:{NAMESPACE}/CN={USER}")
        found = self._folder / "kubeconfig"
        found.write_text(kubeconfig(self.server.url, authority.ca.certificate, pair))
        return found

    def _mount_certificate(self) -> None:
        """As the kubelet does with a volume: the Secret's keys become files, once Kueue has filled it."""
        for _ in self._tries("its certificate"):
            secret = json.loads(self.server.kubectl("-n", NAMESPACE, "get", "secret", SECRET, "-o", "json"))
            data = secret.get("data", {})
            if {"tls.crt", "tls.key"} <= set(data):
                for name, text in data.items():
                    (self._folder / "certs" / name).write_bytes(base64.b64decode(text))
                return

    def _wait_ready(self) -> None:
        """Until its webhooks let a flavor in: only then are its controllers at work."""
        flavor = {"apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "ResourceFlavor", "metadata": {"name": "probe"}}
        for _ in self._tries("its webhooks"):
            said = self.server.kubectl_process("create", "-f", "-", stdin=json.dumps(flavor))
            if said.returncode == 0:
                return

    def _tries(self, what: str) -> Iterator[None]:
        deadline = time.monotonic() + START_SECONDS
        assert self._child is not None
        while time.monotonic() < deadline:
            self._child.ensure_alive()
            yield
            time.sleep(0.5)
        raise DevclusterError(f"Kueue did not come up with {what}; it said last:\n{self.tail()}")


def chart() -> Iterator[tuple[str, str]]:
    """Kind and text of each object of Kueue's chart, as helm renders it without any values."""
    helm = find_program(Paths.default(), "helm")
    folder = module_folder(KUEUE, "sigs.k8s.io/kueue") / "charts" / "kueue"
    rendered = run([helm, "template", "kueue", folder, "--namespace", NAMESPACE])
    for text in re.split(r"^---$", rendered, flags=re.MULTILINE):
        kind = re.search(r"^kind: (\w+)$", text, flags=re.MULTILINE)
        if kind is not None:
            yield kind[1], text
