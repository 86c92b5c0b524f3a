"""Our own containerd: its configuration, and ctr to talk to it. A containerd that the machine runs is left alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from serin_devcluster.errors import DevclusterError
from serin_devcluster.paths import Paths
from serin_devcluster.shell import run, succeeds, tail

RUN_FOLDER = Path("/run/serin-devcluster")
SOCKET = RUN_FOLDER / "containerd.sock"
STATE = RUN_FOLDER / "containerd"
NAMESPACE = "k8s.io"
CNI_PROGRAMS = "/usr/lib/cni"
POD_RANGE = "10.244.0.0/24"
POD_GATEWAY = "10.244.0.1"


def config(paths: Paths, pause_image: str) -> str:
    """Version 2 of containerd's configuration. The pause image is any image that sleeps."""
    return f"""\
version = 2
root = "{paths.containerd}"
state = "{STATE}"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing"]

[grpc]
  address = "{SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause_image}"
  # Not every machine lets root lower a process's OOM score (CAP_SYS_RESOURCE).
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PROGRAMS}"
    conf_dir = "{paths.cluster / "cni"}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


def pod_network(paths: Paths) -> dict[str, object]:
    """A veth pair for each pod and no bridge: all traffic passes the host's routing, so Services work between pods of one
    node without br_netfilter, and nothing stays behind when the pods are gone. Masquerading is a rule of ours (node.py)."""
    ipam = {
        "type": "host-local",
        "dataDir": str(paths.cluster / "cni-addresses"),
        "ranges": [[{"subnet": POD_RANGE}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {
        "cniVersion": "1.0.0",
        "name": "serin",
        "plugins": [{"type": "ptp", "ipMasq": False, "ipam": ipam}],
    }


class Ctr:
    """containerd's own client, on our socket and in Kubernetes' namespace."""

    def __init__(self, socket: Path = SOCKET) -> None:
        self.base = ["ctr", "--address", str(socket), "--namespace", NAMESPACE]

    def answers(self) -> bool:
        return succeeds([*self.base, "version"], timeout=5)

    def call(self, *args: str | os.PathLike[str]) -> str:
        return run([*self.base, *args])

    def image_names(self) -> set[str]:
        return set(self.call("images", "ls", "-q").split())

    def image_targets(self) -> dict[str, str]:
        """Name -> digest of its manifest."""
        rows = [line.split() for line in self.call("images", "ls").splitlines()[1:]]
        return {row[0]: row[2] for row in rows if len(row) > 2}

    def remove_images(self, names: list[str]) -> None:
        """Removes the names, and the names by digest that Kubernetes' plugin added: those alone would keep the layers."""
        if gone := with_digest_names(self.image_targets(), names):
            self.call("images", "rm", "--sync", *gone)

    def unpack(self, digest: str) -> None:
        self.call("snapshots", "unpack", digest)

    def start_import(self) -> subprocess.Popen[bytes]:
        """An import that reads a tar from its standard input. Unpacking comes later, when the source is deleted."""
        command = [*self.base, "images", "import", "--no-unpack", "-"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def task_ids(self) -> list[str]:
        return self.call("tasks", "ls", "-q").split()


def with_digest_names(targets: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """The names, and each sha256: name that no other proper name shares its image with."""
    gone = set(names) & set(targets)
    kept = {target for name, target in targets.items() if name not in gone and not name.startswith("sha256:")}
    nameless = {name for name, target in targets.items() if name.startswith("sha256:") and target not in kept}
    return sorted(gone | nameless)


def finish(process: subprocess.Popen[bytes]) -> None:
    """Ends the input and raises what the import said when it failed."""
    feed: IO[bytes] | None = process.stdin
    if feed is not None:
        feed.close()
        process.stdin = None
    said, _ = process.communicate()
    if process.returncode != 0:
        raise DevclusterError(
            f"ctr images import ended with {process.returncode}:\n{tail(said.decode(errors='replace'))}"
        )
