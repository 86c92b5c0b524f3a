"""Takes the cluster down without a trace: pods, programs, mounts, devices, rules, cgroups. Caches stay, cluster state goes.

Every step can be run again, and none trusts the one before: `down` also works on a half-started or half-removed cluster.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from serin_devcluster import baseline
from serin_devcluster.apiserver import PREFIX
from serin_devcluster.baseline import Baseline, read_sysctl, write_sysctl
from serin_devcluster.containerd import POD_GATEWAY, RUN_FOLDER, SOCKET, Ctr
from serin_devcluster.node import DEVICE, NFT_TABLE, Node
from serin_devcluster.paths import Paths
from serin_devcluster.processes import Daemon, processes_with, wait_until
from serin_devcluster.shell import run, succeeds

SHIM = "containerd-shim"
KUBE_PROXY_TABLES = ("kube-proxy",)
PATIENCE = 15.0


def stop_pods(node: Node) -> None:
    """The kubelet first, else it would start them again; then every container by SIGKILL: nothing in them is kept."""
    for name in ("kubelet", "kube-scheduler", "kube-controller-manager", "kube-proxy"):
        daemon_named(node.paths, name).stop()
    ctr = Ctr()
    if not ctr.answers():
        return
    for container in ctr.task_ids():
        succeeds([*ctr.base, "tasks", "kill", "--signal", "SIGKILL", "--all", container], timeout=PATIENCE)
    wait_until(lambda: not running_tasks(ctr), PATIENCE)
    for container in ctr.task_ids():
        succeeds([*ctr.base, "tasks", "delete", "--force", container], timeout=PATIENCE)
    for container in ctr.call("containers", "ls", "-q").split():
        succeeds([*ctr.base, "containers", "rm", container], timeout=PATIENCE)


def running_tasks(ctr: Ctr) -> bool:
    return any(line.endswith("RUNNING") for line in ctr.call("tasks", "ls").splitlines())


def stop_programs(paths: Paths) -> None:
    """What is recorded, then whatever else carries our paths in its command line."""
    for name in ("kube-apiserver", "etcd", "containerd"):
        daemon_named(paths, name).stop()
    for pid in leftover_processes(paths):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not leftover_processes(paths), PATIENCE)


def daemon_named(paths: Paths, name: str) -> Daemon:
    """Enough of a daemon to stop it."""
    return Daemon(name, (), paths.run, paths.logs)


def leftover_processes(paths: Paths) -> dict[int, str]:
    """Programs of ours and the shims of our containerd; a shim's children are in the pods' cgroups."""
    found = processes_with(
        (f"{paths.binaries}/", f"{paths.cluster}/", f"-address {SOCKET}", f"--config {paths.cluster}")
    )
    return {**{pid: command for pid, command in found.items() if is_ours(command, paths)}, **pod_processes()}


def is_ours(command: str, paths: Paths) -> bool:
    """A shell or an editor that merely names one of our files is not a leftover, nor is the apiserver of a running test,
    which dies with that."""
    program = command.split()[0]
    return f"/{PREFIX}" not in command and (
        program.startswith(f"{paths.binaries}/")
        or os.path.basename(program).startswith(("containerd", "runc"))
        or SHIM in program
    )


def pod_processes() -> dict[int, str]:
    found: dict[int, str] = {}
    for group in baseline.pod_cgroups():
        for listing in Path(group).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                for pid in listing.read_text().split():
                    found[int(pid)] = f"a process of a pod in {listing.parent}"
    return found


def unmount(paths: Paths) -> None:
    """Deepest first: kubelet's volumes, containers' roots, sandboxes' shared memory, pinned network namespaces."""
    for point in reversed([*image_store_mount(paths), *our_mounts(paths)]):
        if not succeeds(["umount", point]):
            succeeds(["umount", "--lazy", point])


def image_store_mount(paths: Paths) -> list[str]:
    """buildah and skopeo bind their store onto itself. While a build or a test in an image uses it, it has to stay."""
    store = str(paths.buildah.resolve() / "root" / "overlay")
    points = [point for point in baseline.mount_points() if point.startswith(store)]
    return points if set(points) == {store} else []


def our_mounts(paths: Paths) -> list[str]:
    roots = (f"{paths.cluster}/", f"{paths.containerd}/", f"{RUN_FOLDER}/", "/run/netns/cni-", "/var/run/netns/cni-")
    return [point for point in baseline.mount_points() if point.startswith(roots)]


def remove_network(before: Baseline | None) -> None:
    """Namespaces of sandboxes (their veth pairs go with them), our device, our rules and kube-proxy's."""
    for name in sandbox_namespaces(before):
        succeeds(["ip", "netns", "delete", name])
        Path("/run/netns", name).unlink(missing_ok=True)
    for device in pod_devices():
        succeeds(["ip", "link", "delete", device])
    if Path("/sys/class/net", DEVICE).exists():
        run(["ip", "link", "delete", DEVICE])
    for table in our_tables():
        run(["nft", "delete", "table", *table.split()[1:]])
    succeeds(["conntrack", "-F"])


def sandbox_namespaces(before: Baseline | None) -> list[str]:
    known = set(before.namespaces) if before else set()
    return [name for name in baseline.network_namespaces() if name.startswith("cni-") and name not in known]


def pod_devices() -> list[str]:
    """Host ends of veth pairs: they carry the pods' gateway address."""
    listed = run(["ip", "-o", "-4", "addr", "show", "to", POD_GATEWAY]) if shutil.which("ip") else ""
    return [line.split()[1].partition("@")[0] for line in listed.splitlines()]


def our_tables() -> list[str]:
    if shutil.which("nft") is None:
        return []
    return [
        line
        for line in run(["nft", "list", "tables"]).splitlines()
        if line.split()[-1] in {NFT_TABLE, *KUBE_PROXY_TABLES}
    ]


def remove_cgroups() -> None:
    """Leaves first; a cgroup can only go when it is empty."""
    for group in baseline.pod_cgroups():
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def restore(before: Baseline | None) -> None:
    if before is None:
        return  # without a picture of before, what lies outside our folders may be somebody else's
    for name, value in before.sysctls.items():
        write_sysctl(name, value)
    for folder in baseline.FOREIGN_FOLDERS:
        if folder not in before.folders:
            remove_foreign(Path(folder))


def remove_foreign(folder: Path) -> None:
    """Made by our programs outside of our folders since `up`: sockets, links to logs, pinned namespaces."""
    if not folder.exists():
        return
    for path, folders, files in os.walk(folder, topdown=False):
        for name in [*files, *folders]:
            entry = Path(path, name)
            with contextlib.suppress(OSError):
                entry.rmdir() if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def remove_state(paths: Paths) -> None:
    """The cluster's own folder; images, binaries and package caches are not in it."""
    if our_mounts(paths):
        return  # deleting through a mount would delete somebody's files; the check will name it
    shutil.rmtree(RUN_FOLDER, ignore_errors=True)
    shutil.rmtree(paths.cluster, ignore_errors=True)


def down(node: Node) -> list[str]:
    """Everything, in order; answers with what is left."""
    paths = node.paths
    before = Baseline.read(node.baseline_file)
    stop_pods(node)
    stop_programs(paths)
    unmount(paths)
    remove_network(before)
    remove_cgroups()
    restore(before)
    left = leftovers(paths, before)
    if not left:
        remove_state(paths)
        left = leftovers(paths, before)
    return left


def leftovers(paths: Paths, before: Baseline | None) -> list[str]:
    """What the cluster left on the machine, one line each."""
    time.sleep(0.2)  # the kernel finishes removing devices of a namespace a moment later
    return list(find_leftovers(paths, before))


def find_leftovers(paths: Paths, before: Baseline | None) -> Iterator[str]:
    for pid, command in leftover_processes(paths).items():
        yield f"process {pid}: {command[:120]}"
    for point in [*our_mounts(paths), *image_store_mount(paths)]:
        yield f"mount {point}"
    for device in [*pod_devices(), *([DEVICE] if Path("/sys/class/net", DEVICE).exists() else [])]:
        yield f"network device {device}"
    for name in sandbox_namespaces(before):
        yield f"network namespace {name}"
    for table in our_tables():
        yield f"nftables {table}"
    for group in baseline.pod_cgroups():
        if before is None or group not in before.cgroups:
            yield f"cgroup {group}"
    if before is not None:
        yield from changes_since(before)


def changes_since(before: Baseline) -> Iterator[str]:
    now = baseline.take()
    for name, value in before.sysctls.items():
        if (current := read_sysctl(name)) not in (None, value):
            yield f"sysctl {name} is {current}, was {value}"
    for device in sorted(set(now.devices) - set(before.devices)):
        yield f"network device {device}, which was not there before"
    for table in sorted(set(now.nft_tables) - set(before.nft_tables)):
        yield f"nftables {table}, which was not there before"
    for program, rules in now.iptables.items():
        for rule in sorted(set(rules) - set(before.iptables.get(program, []))):
            yield f"{program}: {rule}"
    for folder in sorted(set(now.folders) - set(before.folders)):
        yield f"folder {folder}, which was not there before"
