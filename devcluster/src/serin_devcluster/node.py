"""The node: its private address, the programs of the control plane and of the node, and how they are started.

Everything listens on loopback or on the private address of a network device of our own. Every file is below the cache,
but for sockets and containerd's state in /run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from serin_devcluster import baseline
from serin_devcluster.apiserver import etcd_flags
from serin_devcluster.audit import audit_policy
from serin_devcluster.containerd import POD_RANGE, RUN_FOLDER, SOCKET, Ctr, config, pod_network
from serin_devcluster.errors import DevclusterError
from serin_devcluster.gobuild import find_program
from serin_devcluster.paths import Paths
from serin_devcluster.pki import Authority, Pair, embedded_kubeconfig, kubeconfig
from serin_devcluster.processes import Daemon, wait_until
from serin_devcluster.shell import run, succeeds

NAME = "serin"
DEVICE = "serin0"
ADDRESS = "10.89.0.1"
API_PORT = 6443
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
# Not etcd's usual ports: the machine may have one.
ETCD_PORT, ETCD_PEER_PORT = 12379, 12380
NFT_TABLE = "serin-devcluster"
START_SECONDS = 60.0
KUBERNETES_API = f"https://{ADDRESS}:{API_PORT}"
NO_PROXY = {"NO_PROXY": ADDRESS, "no_proxy": ADDRESS}


class Node:
    """One node and its control plane. Each start_ method may be called at any time: what runs is left alone."""

    def __init__(self, paths: Paths, pause_image: str) -> None:
        self.paths = paths
        self.pause_image = pause_image

    # What runs

    @cached_property
    def authority(self) -> Authority:
        return Authority(self.paths.pki).prepare()

    @cached_property
    def admin(self) -> Pair:
        return self.authority.issue("admin", "/O=system:masters/CN=admin")

    def daemons(self) -> list[Daemon]:
        """In the order of their start."""
        return [
            self.containerd(),
            self.etcd(),
            self.apiserver(),
            self.controllers(),
            self.scheduler(),
            self.kubelet(),
            self.proxy(),
        ]

    def containerd(self) -> Daemon:
        return self._daemon("containerd", ["containerd", "--config", str(self.paths.cluster / "containerd.toml")])

    def etcd(self) -> Daemon:
        return self._kubernetes("etcd", etcd_flags(self.paths.cluster / "etcd", ETCD_PORT, ETCD_PEER_PORT))

    def apiserver(self) -> Daemon:
        names = (
            f"IP:{ADDRESS}",
            f"IP:{API_SERVICE}",
            "IP:127.0.0.1",
            "DNS:kubernetes",
            "DNS:kubernetes.default",
            "DNS:kubernetes.default.svc",
        )
        served = self.authority.issue("apiserver", "/CN=kube-apiserver", names)
        flags = [
            f"--etcd-servers=http://127.0.0.1:{ETCD_PORT}",
            f"--bind-address={ADDRESS}",
            f"--advertise-address={ADDRESS}",
            f"--secure-port={API_PORT}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            f"--tls-cert-file={served.certificate}",
            f"--tls-private-key-file={served.key}",
            f"--client-ca-file={self.authority.ca.certificate}",
            f"--service-account-key-file={self.authority.service_account_public}",
            f"--service-account-signing-key-file={self.authority.service_account_key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged",
            f"--kubelet-client-certificate={self.admin.certificate}",
            f"--kubelet-client-key={self.admin.key}",
            f"--kubelet-certificate-authority={self.authority.ca.certificate}",
            "--kubelet-preferred-address-types=InternalIP",
            "--profiling=false",
            f"--audit-policy-file={self.paths.cluster / 'audit-policy.json'}",
            f"--audit-log-path={self.paths.audit_log}",
            "--audit-log-maxsize=100",
            "--audit-log-maxbackup=3",
        ]
        return self._kubernetes("kube-apiserver", flags)

    def controllers(self) -> Daemon:
        flags = [
            *self._client("kube-controller-manager", "/CN=system:kube-controller-manager"),
            f"--service-account-private-key-file={self.authority.service_account_key}",
            f"--root-ca-file={self.authority.ca.certificate}",
            f"--cluster-signing-cert-file={self.authority.ca.certificate}",
            f"--cluster-signing-key-file={self.authority.ca.key}",
            "--use-service-account-credentials",
            # There is one of each; with elections a busy machine would make it lose its own lease and stop.
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ]
        return self._kubernetes("kube-controller-manager", flags)

    def scheduler(self) -> Daemon:
        flags = [
            *self._client("kube-scheduler", "/CN=system:kube-scheduler"),
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ]
        return self._kubernetes("kube-scheduler", flags)

    def kubelet(self) -> Daemon:
        flags = [
            f"--config={self.paths.cluster / 'kubelet.json'}",
            *self._client("kubelet", f"/O=system:nodes/CN=system:node:{NAME}", (f"DNS:{NAME}", f"IP:{ADDRESS}")),
            f"--hostname-override={NAME}",
            f"--node-ip={ADDRESS}",
            f"--root-dir={self.paths.kubelet}",
            f"--cert-dir={self.paths.pki}",
        ]
        return self._kubernetes("kubelet", flags)

    def proxy(self) -> Daemon:
        flags = [
            *self._client("kube-proxy", "/CN=system:kube-proxy"),
            "--proxy-mode=nftables",
            f"--cluster-cidr={POD_RANGE}",
            f"--hostname-override={NAME}",
            "--nodeport-addresses=127.0.0.0/8",
            "--healthz-bind-address=127.0.0.1:10256",
            "--metrics-bind-address=127.0.0.1:10249",
            # The machine's connection tracking stays as it is.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0s",
            "--conntrack-tcp-timeout-close-wait=0s",
        ]
        return self._kubernetes("kube-proxy", flags)

    # Starting

    def start_containerd(self) -> None:
        require_root()
        self.remember_machine()
        RUN_FOLDER.mkdir(parents=True, exist_ok=True)
        self._write(self.paths.cluster / "containerd.toml", config(self.paths, self.pause_image))
        self._write(self.paths.cluster / "cni" / "10-serin.conflist", json.dumps(pod_network(self.paths), indent=1))
        load_modules("overlay")
        daemon = self.containerd()
        daemon.start()
        self._wait(daemon, Ctr().answers)

    def start_control_plane(self) -> None:
        require_root()
        self.remember_machine()
        add_device()
        self.paths.logs.mkdir(parents=True, exist_ok=True)
        self._write(self.paths.cluster / "audit-policy.json", json.dumps(audit_policy(), indent=1))
        self._write(
            self.paths.kubeconfig, embedded_kubeconfig(KUBERNETES_API, self.authority.ca.certificate, self.admin)
        )
        self.paths.kubeconfig.chmod(0o600)
        self.etcd().start()
        server = self.apiserver()
        server.start()
        self._wait(server, self.api_is_ready)
        self.controllers().start()
        self.scheduler().start()

    def start_node(self) -> None:
        add_masquerade()
        self._write(self.paths.cluster / "kubelet.json", json.dumps(self.kubelet_configuration(), indent=1))
        self.proxy().start()
        kubelet = self.kubelet()
        kubelet.start()
        self._wait(kubelet, self.is_ready)

    def is_booted(self) -> bool:
        """True when a kubelet runs, whatever else does."""
        return Daemon("kubelet", (), self.paths.run, self.paths.logs).pid() is not None

    def containerd_runs(self) -> bool:
        return self.containerd().pid() is not None and Ctr().answers()

    def control_plane_runs(self) -> bool:
        programs = (self.etcd(), self.apiserver(), self.controllers(), self.scheduler())
        return all(program.pid() for program in programs) and self.api_is_ready()

    def node_runs(self) -> bool:
        return bool(self.proxy().pid() and self.kubelet().pid()) and self.is_ready()

    def remember_machine(self) -> None:
        """Once for each life of the cluster, before anything is touched."""
        if baseline.Baseline.read(self.baseline_file) is None:
            baseline.take().write(self.baseline_file)

    @property
    def baseline_file(self) -> Path:
        return self.paths.cluster / "machine-before.json"

    def kubelet_configuration(self) -> dict[str, Any]:
        served = self.authority.issue(
            "kubelet", f"/O=system:nodes/CN=system:node:{NAME}", (f"DNS:{NAME}", f"IP:{ADDRESS}")
        )
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": ADDRESS,
            "healthzBindAddress": "127.0.0.1",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self.authority.ca.certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(served.certificate),
            "tlsPrivateKeyFile": str(served.key),
            "cgroupDriver": "cgroupfs",
            "containerRuntimeEndpoint": f"unix://{SOCKET}",
            "clusterDNS": [DNS_SERVICE],
            "clusterDomain": "cluster.local",
            "resolvConf": str(host_resolver_file()),
            "podLogsDir": str(self.paths.logs / "pods"),
            "volumePluginDir": str(self.paths.cluster / "volume-plugins"),
            "staticPodPath": "",
            "failSwapOn": False,
            # The rules of kube-proxy and the one of ours are all there is.
            "makeIPTablesUtilChains": False,
            "serializeImagePulls": False,
            "maxPods": 60,
            # Images are imported, they could not be pulled again: never collect them.
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {
                "memory.available": "200Mi",
                "nodefs.available": "2%",
                "imagefs.available": "2%",
                "nodefs.inodesFree": "1%",
            },
            "evictionPressureTransitionPeriod": "30s",
            "kubeReserved": {"memory": "1Gi"},
            "runtimeRequestTimeout": "5m",
        }

    # Asking

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        kubectl = find_program(self.paths, "kubectl")
        return run([kubectl, f"--kubeconfig={self.paths.kubeconfig}", *args], stdin=stdin, env=NO_PROXY)

    def api_is_ready(self) -> bool:
        return self._asks("get", "--raw", "/readyz") and self._asks("get", "namespace", "kube-system")

    def is_ready(self) -> bool:
        condition = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
        try:
            return self.kubectl("get", "node", NAME, "-o", condition) == "True"
        except DevclusterError:
            return False

    def _asks(self, *args: str) -> bool:
        kubectl = find_program(self.paths, "kubectl")
        return succeeds(
            [kubectl, f"--kubeconfig={self.paths.kubeconfig}", "--request-timeout=5s", *args], timeout=15, env=NO_PROXY
        )

    # Parts

    def _daemon(self, name: str, argv: Sequence[str]) -> Daemon:
        # Pods inherit from containerd, so only the others are put ahead of the work in the pods.
        niceness = 0 if name in {"containerd", "kubelet"} else -5
        return Daemon(name, tuple(argv), self.paths.run, self.paths.logs, niceness=niceness)

    def _kubernetes(self, name: str, flags: Sequence[str]) -> Daemon:
        return self._daemon(name, [str(find_program(self.paths, name)), *flags])

    def _client(self, name: str, subject: str, names: tuple[str, ...] = ()) -> list[str]:
        """The flag that names a kubeconfig of its own for a component."""
        user = self.authority.issue(name, subject, names)
        path = self.paths.cluster / f"{name}.kubeconfig"
        self._write(path, kubeconfig(KUBERNETES_API, self.authority.ca.certificate, user))
        return [f"--kubeconfig={path}"]

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)

    def _wait(self, daemon: Daemon, fact: Any) -> None:
        """Until the fact holds, or the program is dead, or the time is over."""
        wait_until(lambda: daemon.pid() is None or fact(), START_SECONDS, every=0.3)
        if daemon.pid() is None:
            raise DevclusterError(f"{daemon.name} ended soon after its start ({daemon.log}):\n{daemon.last_words(15)}")
        if not fact():
            raise DevclusterError(
                f"{daemon.name} was not ready after {START_SECONDS:.0f} s ({daemon.log}):\n{daemon.last_words(15)}"
            )


def require_root() -> None:
    if os.geteuid() != 0:
        raise DevclusterError(
            "booting a node needs root: run as root, or set KUBECONFIG to a cluster that runs already"
        )


def load_modules(*names: str) -> None:
    """Where they are built into the kernel there is nothing to load, and perhaps no modprobe either."""
    if shutil.which("modprobe"):
        for name in names:
            subprocess.run(["modprobe", "-q", name], check=False, capture_output=True)


def add_device() -> None:
    """A device that leads nowhere, for an address that nobody outside can reach. A kernel without dummy devices has bridges."""
    load_modules("dummy")
    if not Path("/sys/class/net", DEVICE).exists() and not succeeds(["ip", "link", "add", DEVICE, "type", "dummy"]):
        run(["ip", "link", "add", DEVICE, "type", "bridge"])
    run(["ip", "addr", "replace", f"{ADDRESS}/32", "dev", DEVICE])
    run(["ip", "link", "set", DEVICE, "up"])


def add_masquerade() -> None:
    """Pods reach the outside under the machine's address. One table, so that removing it removes all."""
    rules = f"""
table ip {NFT_TABLE}
delete table ip {NFT_TABLE}
table ip {NFT_TABLE} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat + 10; policy accept;
    ip saddr {POD_RANGE} ip daddr != {{ {POD_RANGE}, {SERVICE_RANGE}, {ADDRESS} }} fib daddr type != local masquerade
  }}
}}
"""
    run(["nft", "-f", "-"], stdin=rules)
    baseline.write_sysctl("net/ipv4/ip_forward", "1")


def host_resolver_file() -> Path:
    """systemd-resolved's own list when the usual file only names its stub, which pods cannot reach."""
    resolved = Path("/run/systemd/resolve/resolv.conf")
    return resolved if resolved.exists() else Path("/etc/resolv.conf")
