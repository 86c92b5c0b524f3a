"""What the machine looked like before the cluster touched it, so that `down` can put it back and prove it."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from serin_devcluster.errors import DevclusterError
from serin_devcluster.shell import run

# The kubelet and the network plugin set these; `down` writes the old values back.
SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/netfilter/nf_conntrack_max",
    "net/ipv4/vs/conntrack",
)
# Folders with fixed names that containerd, the kubelet and the plugins make outside of ours.
FOREIGN_FOLDERS = ("/run/containerd", "/var/log/pods", "/var/log/containers", "/var/lib/cni", "/run/netns", "/var/lib/kubelet",
                   "/var/lib/kube-proxy", "/run/nri", "/var/run/nri", "/run/runc", "/opt/containerd", "/etc/cni", "/run/flannel")  # fmt: skip


@dataclass(frozen=True)
class Baseline:
    """A picture of the machine's shared state."""

    sysctls: dict[str, str]
    devices: list[str]
    mounts: list[str]
    nft_tables: list[str]
    iptables: dict[str, list[str]]
    namespaces: list[str]
    folders: list[str]
    cgroups: list[str]

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> Baseline | None:
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None


def take() -> Baseline:
    return Baseline(
        sysctls={name: value for name in SYSCTLS if (value := read_sysctl(name)) is not None},
        devices=sorted(entry.name for entry in Path("/sys/class/net").iterdir()),
        mounts=sorted(mount_points()),
        nft_tables=nft_tables(),
        iptables=iptables_rules(),
        namespaces=network_namespaces(),
        folders=[folder for folder in FOREIGN_FOLDERS if Path(folder).exists()],
        cgroups=sorted(pod_cgroups()),
    )


def read_sysctl(name: str) -> str | None:
    with contextlib.suppress(OSError):
        return (Path("/proc/sys") / name).read_text().strip()
    return None


def write_sysctl(name: str, value: str) -> None:
    if read_sysctl(name) not in (None, value):
        (Path("/proc/sys") / name).write_text(value)


def mount_points() -> list[str]:
    """Where something is mounted, in the order in which it was; the kernel writes odd characters as octal."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4].encode().decode("unicode_escape") for line in lines]


def nft_tables() -> list[str]:
    if shutil.which("nft") is None:
        return []
    return sorted(line for line in run(["nft", "list", "tables"]).splitlines() if line)


def iptables_rules() -> dict[str, list[str]]:
    """Rules of the older kind, which nft does not show."""
    found: dict[str, list[str]] = {}
    for program in ("iptables-legacy-save", "ip6tables-legacy-save"):
        with contextlib.suppress(OSError, DevclusterError):  # not installed, or not in this kernel
            lines = run([program]).splitlines()
            found[program] = [line for line in lines if line.startswith(("-A", "-N"))]
    return found


def network_namespaces() -> list[str]:
    folder = Path("/run/netns")
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def pod_cgroups() -> list[str]:
    """Groups that the kubelet makes, in each hierarchy of version 1 and in the one of version 2."""
    roots = {Path(point) for point in mount_points() if point.startswith("/sys/fs/cgroup")}
    names = ("kubepods", "k8s.io", "system.slice/containerd")
    return [str(root / name) for root in roots for name in names if (root / name).is_dir()]
