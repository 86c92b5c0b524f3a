"""A real kube-apiserver on its own etcd for tests, on free loopback ports, in a folder that goes away with it.

    with ApiServer() as server:
        server.kubectl("apply", "-f", "crds/")

No node runs behind it: a test plays the kubelet, and the controllers too unless it asks for some of them by name.
Nothing outlives the process that started it, not even when that is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from serin_devcluster.audit import audit_policy
from serin_devcluster.errors import DevclusterError
from serin_devcluster.gobuild import find_program
from serin_devcluster.paths import Paths
from serin_devcluster.pki import Authority, kubeconfig
from serin_devcluster.processes import Child
from serin_devcluster.shell import tail

LOOPBACK = "127.0.0.1"
PORTS = range(11_000, 20_000)
PREFIX = "serin-apiserver-"
SERVICE_RANGE = "10.97.0.0/16"
START_SECONDS = 180.0  # on an idle machine it takes five
ATTEMPTS = 3
LAZY = {"GOGC": "400"}  # these live for minutes: a fifth of their work would go into collecting garbage


class ApiServer:
    """etcd and kube-apiserver, and the controller manager with the named controllers (`("*",)` for all of its defaults)."""

    def __init__(
        self,
        *,
        controllers: Sequence[str] = (),
        audit: bool = True,
        extra_args: Sequence[str] = (),
        paths: Paths | None = None,
        policy: Mapping[str, Any] | None = None,
    ) -> None:
        self.controllers = tuple(controllers)
        self.extra_args = tuple(extra_args)
        self.paths = paths or Paths.default()
        self.audit = audit
        self.policy = policy if policy is not None else audit_policy()
        self._children: list[Child] = []
        self._folder: Path | None = None
        self.url = ""

    def __enter__(self) -> ApiServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def folder(self) -> Path:
        if self._folder is None:
            raise DevclusterError("the apiserver is not started")
        return self._folder

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "admin.kubeconfig"

    @property
    def authority(self) -> Authority:
        return Authority(self.folder / "pki").prepare()

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    def start(self) -> ApiServer:
        for attempt in range(1, ATTEMPTS + 1):
            remove_abandoned_folders()
            self._folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
            try:
                self._start_programs()
                return self
            except DevclusterError as error:
                self.stop()
                # A port that was free a moment ago may be taken; anything else fails the same way again.
                if attempt == ATTEMPTS or "address already in use" not in str(error):
                    raise
            except BaseException:
                self.stop()
                raise
        raise AssertionError("unreachable")

    def stop(self) -> None:
        for child in reversed(self._children):
            child.stop()
        self._children.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def start_controllers(self, controllers: Sequence[str]) -> None:
        """The controller manager of an apiserver that runs without one: after the CRDs are there, it need not find them."""
        self.controllers = tuple(controllers)
        self._run("kube-controller-manager", *self._controller_flags(self.authority))

    def kill(self, name: str) -> None:
        """SIGKILL to one program, for tests of outages."""
        self._child(name).process.kill()
        self._child(name).process.wait()

    def deaths(self) -> list[str]:
        """What the programs said last that have ended by themselves."""
        dead = [child for child in self._children if child.process.poll() is not None]
        return [f"{c.name} ended with {c.process.returncode}:\n{tail(c.log.read_text(errors='replace'))}" for c in dead]

    def restart(self, name: str) -> None:
        """Starts a killed program again with the same arguments and data."""
        dead = self._child(name)
        argv = self.arguments(name)
        self._children[self._children.index(dead)] = Child(name, argv, dead.log, LAZY)
        if name == "kube-apiserver":
            self._wait_ready()

    def pause(self, name: str) -> None:
        """SIGSTOP to one program: it holds its connections and answers nothing."""
        self._child(name).process.send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self._child(name).process.send_signal(signal.SIGCONT)

    def arguments(self, name: str) -> list[str]:
        """What a program was started with."""
        return [os.fspath(part) for part in self._child(name).process.args]  # type: ignore[union-attr]

    def kubectl(self, *args: str, stdin: str | None = None, check: bool = True) -> str:
        """Standard output of kubectl; an error shows what it said."""
        done = self.kubectl_process(*args, stdin=stdin)
        if check and done.returncode != 0:
            raise DevclusterError(f"kubectl {' '.join(args[:4])} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def kubectl_process(self, *args: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """The finished process, for tests of refusals."""
        kubectl = find_program(self.paths, "kubectl")
        command = [str(kubectl), "--kubeconfig", str(self.kubeconfig), *args]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)

    def audit_events(self) -> list[dict[str, Any]]:
        """What the audit log holds so far, oldest first."""
        if not self.audit_log.exists():
            return []
        return [json.loads(line) for line in self.audit_log.read_text().splitlines() if line.endswith("}")]

    def _start_programs(self) -> None:
        authority = self.authority
        etcd_client, etcd_peer, secure = free_ports(3)
        self._run("etcd", *etcd_flags(self.folder / "etcd", etcd_client, etcd_peer))
        self.url = f"https://{LOOPBACK}:{secure}"
        admin = authority.issue("admin", "/O=system:masters/CN=admin")
        self.kubeconfig.write_text(kubeconfig(self.url, authority.ca.certificate, admin))
        self._run("kube-apiserver", *self._apiserver_flags(authority, etcd_client, secure))
        self._wait_ready()
        if self.controllers:
            self._run("kube-controller-manager", *self._controller_flags(authority))

    def _run(self, name: str, *flags: str) -> None:
        program = find_program(self.paths, name)
        self._children.append(Child(name, [program, *flags], self.folder / f"{name}.log", LAZY))

    def _child(self, name: str) -> Child:
        return next(child for child in self._children if child.name == name)

    def _apiserver_flags(self, authority: Authority, etcd_port: int, port: int) -> list[str]:
        served = authority.issue("apiserver", "/CN=kube-apiserver", (f"IP:{LOOPBACK}", "DNS:localhost"))
        flags = [
            f"--etcd-servers=http://{LOOPBACK}:{etcd_port}",
            f"--bind-address={LOOPBACK}",
            f"--advertise-address={LOOPBACK}",
            "--endpoint-reconciler-type=none",  # a loopback address is no valid endpoint of the kubernetes Service
            f"--secure-port={port}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            f"--tls-cert-file={served.certificate}",
            f"--tls-private-key-file={served.key}",
            f"--client-ca-file={authority.ca.certificate}",
            f"--service-account-key-file={authority.service_account_public}",
            f"--service-account-signing-key-file={authority.service_account_key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=RBAC",
            # Nobody hands out service accounts here unless their controller was asked for.
            *(() if self._gives_service_accounts() else ("--disable-admission-plugins=ServiceAccount",)),
        ]
        if self.audit:
            policy = self.folder / "audit-policy.json"
            policy.write_text(json.dumps(self.policy))
            flags += [
                f"--audit-policy-file={policy}",
                f"--audit-log-path={self.audit_log}",
                "--audit-log-mode=blocking",
            ]
        return [*flags, *self.extra_args]

    def _gives_service_accounts(self) -> bool:
        return bool({"*", "serviceaccount", "serviceaccount-controller"} & set(self.controllers))

    def _controller_flags(self, authority: Authority) -> list[str]:
        return [
            f"--kubeconfig={self.kubeconfig}",
            f"--controllers={','.join(self.controllers)}",
            "--leader-elect=false",
            "--use-service-account-credentials=false",
            f"--service-account-private-key-file={authority.service_account_key}",
            f"--root-ca-file={authority.ca.certificate}",
            f"--bind-address={LOOPBACK}",
            "--secure-port=0",
        ]

    def _wait_ready(self) -> None:
        """Until /readyz says so and the default namespace is there, which the first writes of a test need."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for child in self._children:
                child.ensure_alive()
            ready = self.kubectl_process("get", "--raw", "/readyz").returncode == 0
            if ready and self.kubectl_process("get", "namespace", "default").returncode == 0:
                return
            time.sleep(0.2)
        said = tail((self.folder / "kube-apiserver.log").read_text(errors="replace"))
        raise DevclusterError(f"kube-apiserver was not ready after {START_SECONDS:.0f} s; it said last:\n{said}")


def remove_abandoned_folders() -> None:
    """A killed process cannot remove its folder; the next one does."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(folder, ignore_errors=True)


def etcd_flags(data: Path, client_port: int, peer_port: int) -> list[str]:
    """A single member that skips fsync: its data need not survive a power cut."""
    client, peer = f"http://{LOOPBACK}:{client_port}", f"http://{LOOPBACK}:{peer_port}"
    return [
        f"--data-dir={data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now, all different; below those from which the kernel takes one for each outgoing connection,
    since who asks listens a moment later, and a program that is started again listens where it did."""
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            found.append(port)
        if len(found) == count:
            return found
    raise DevclusterError(f"no {count} ports from {PORTS.start} to {PORTS.stop - 1} are free")
