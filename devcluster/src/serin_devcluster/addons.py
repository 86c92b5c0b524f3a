"""DNS, storage, the gateway and Prometheus: real programs under their own manifests, with our images put in.

Upstream manifests are read from the Go module that the program was built from, so they always fit it and are not copied
into this repository. What is ours lies in devcluster/manifests; `<<name>>` there is filled in here.
"""

from __future__ import annotations

import re
import shutil
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serin_devcluster.errors import DevclusterError
from serin_devcluster.gobuild import CONTOUR, LOCAL_PATH, GoTool, module_folder
from serin_devcluster.keys import key_of
from serin_devcluster.node import DNS_SERVICE, NAME, Node, host_resolver_file
from serin_devcluster.paths import CHECKOUT
from serin_devcluster.shell import tail

MANIFESTS = CHECKOUT / "devcluster" / "manifests"
TOKEN = re.compile(r"<<([a-z_]+)(?::([a-z-]+))?>>")
READY_SECONDS = 180
CONTOUR_MODULE = "github.com/projectcontour/contour"
# Where clients inside the cluster find things; also printed by `status`.
GATEWAY_ADDRESS = "http://envoy.projectcontour.svc.cluster.local"
PROMETHEUS_ADDRESS = "http://prometheus.monitoring.svc.cluster.local:9090"
WORKLOADS = (
    ("kube-system", "deployment/coredns"),
    ("local-path-storage", "deployment/local-path-provisioner"),
    ("projectcontour", "deployment/contour"),
    ("projectcontour", "daemonset/envoy"),
    ("monitoring", "deployment/prometheus"),
)


@dataclass(frozen=True)
class Addon:
    """A folder of ours, and the upstream files that its kustomization names below upstream/."""

    folder: str
    tool: GoTool | None = None
    module: str = ""
    upstream: tuple[str, ...] = ()


CONTOUR_FILES = ("00-common", "01-contour-config", "02-job-certgen", "02-rbac", "02-role-contour", "02-service-contour",
                 "02-service-envoy", "03-contour", "03-envoy")  # fmt: skip
ADDONS = (
    Addon("dns"),
    Addon("gateway-crds", CONTOUR, CONTOUR_MODULE, ("examples/gateway/00-crds.yaml", "examples/contour/01-crds.yaml")),
    Addon("storage", LOCAL_PATH, "github.com/rancher/local-path-provisioner", ("deploy/local-path-storage.yaml",)),
    Addon("monitoring"),
    Addon("gateway", CONTOUR, CONTOUR_MODULE, tuple(f"examples/contour/{name}.yaml" for name in CONTOUR_FILES)),
)


def apply(node: Node, images: Mapping[str, str]) -> None:
    """Applies all of them; an object that is right already is not touched."""
    values = values_for(node)
    for addon in ADDONS:
        rendered = render(node, addon, values, images)
        forget_changed_job(node, addon, rendered)
        node.kubectl(
            "apply", "--server-side", "--force-conflicts", "--field-manager=serin-devcluster", "-f", "-", stdin=rendered
        )
        if addon.folder == "gateway-crds":
            node.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")


def wait_ready(node: Node) -> None:
    """Until each workload is rolled out and the Gateway has its data plane."""
    timeout = f"--timeout={READY_SECONDS}s"
    try:
        for namespace, workload in WORKLOADS:
            node.kubectl("rollout", "status", "-n", namespace, workload, timeout)
        node.kubectl("wait", "--for=condition=Programmed", "gateway/public", "-n", "infra", timeout)
    except DevclusterError as error:
        warnings = node.kubectl("get", "events", "-A", "--field-selector=type=Warning", "--sort-by=.lastTimestamp")
        raise DevclusterError(
            f"{error}\n{node.kubectl('get', 'pods', '-A')}\nlast warnings:\n{tail(warnings, 8)}"
        ) from error


def values_for(node: Node) -> dict[str, str]:
    config = (MANIFESTS / "monitoring" / "prometheus.yaml").read_text()
    return {
        "dns_address": DNS_SERVICE,
        "volumes": str(node.paths.volumes),
        "node": NAME,
        "forward": forward_rule(host_resolver_file()),
        "config_key": key_of(config),
    }


def render(node: Node, addon: Addon, values: Mapping[str, str], images: Mapping[str, str]) -> str:
    """The addon's objects as YAML, made by kubectl's kustomize."""
    stage = node.paths.scratch / "manifests" / addon.folder
    shutil.rmtree(stage, ignore_errors=True)
    shutil.copytree(MANIFESTS / addon.folder, stage)
    for path in stage.glob("*.yaml"):
        path.write_text(fill(path.read_text(), values, images))
    if addon.tool is not None:
        (stage / "upstream").mkdir()
        source = module_folder(addon.tool, addon.module)
        for name in addon.upstream:
            (stage / "upstream" / Path(name).name).write_bytes((source / name).read_bytes())
    return node.kubectl("kustomize", str(stage))


def fill(text: str, values: Mapping[str, str], images: Mapping[str, str]) -> str:
    """Replaces <<name>>, <<image:x>>, <<name:x>> and <<tag:x>>; an unknown one is an error."""

    def value(match: re.Match[str]) -> str:
        what, of = match.groups()
        if of is None:
            return values[what]
        name, _, tag = images[of].rpartition(":")
        return {"image": images[of], "name": name, "tag": tag}[what]

    return TOKEN.sub(value, text)


def forget_changed_job(node: Node, addon: Addon, rendered: str) -> None:
    """A Job cannot be changed: Contour's certificate job goes when what it runs is another image than before."""
    if "kind: Job" not in rendered:
        return
    record = node.paths.cluster / f"applied-{addon.folder}"
    key = key_of(rendered)
    if record.exists() and record.read_text() != key:
        node.kubectl("delete", "jobs", "--all", "-n", "projectcontour", "--ignore-not-found")
    record.write_text(key)


def forward_rule(resolver_file: Path) -> str:
    """CoreDNS' line for outside names. Without a resolver that answers they are refused at once, instead of after a timeout."""
    usable = [server for server in nameservers(resolver_file) if answers_dns(server)]
    return f"forward . {' '.join(usable)}" if usable else "# this machine has no resolver that answers"


def nameservers(resolver_file: Path) -> list[str]:
    """Servers of a resolv.conf that a pod could reach: loopback in a pod is the pod's own."""
    try:
        lines = resolver_file.read_text().splitlines()
    except FileNotFoundError:
        return []
    servers = [line.split()[1] for line in lines if line.startswith("nameserver") and len(line.split()) > 1]
    return [server for server in servers if not server.startswith("127.") and ":" not in server][:3]


def answers_dns(server: str, seconds: float = 1.0) -> bool:
    """True when the server says anything to a question about the root."""
    question = struct.pack(">HHHHHH", 0x5E21, 0x0100, 1, 0, 0, 0) + b"\0" + struct.pack(">HH", 2, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(seconds)
        try:
            client.sendto(question, (server, 53))
            return client.recv(512)[:2] == question[:2]
        except OSError:
            return False
