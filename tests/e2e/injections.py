"""What happens to training on a cluster, done for real: to processes inside pods, to pods, to their node, to a volume.

Each takes the namespace's kubectl and the pods of the attempt, node 0 first. Not here: what must come of it.
"""

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serin_demo.kube import Kubectl, Object

# Runs inside the pod: the training process there is the one that torchrun gave a rank, and not torchrun itself.
_FIND = """
import os, pathlib, signal, sys
def find():
    for entry in pathlib.Path("/proc").iterdir():
        try:
            environment, command = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if entry.name.isdigit() and b"\\0RANK=" in b"\\0" + environment and b"serin_trainer" in command:
            return int(entry.name)
    sys.exit("no training process was found")
rank = find()
"""
_KILL = _FIND + "os.kill(rank, signal.SIGKILL)"
_STOP = _FIND + "os.kill(rank, signal.SIGSTOP)"
# Memory of /dev/shm counts for the container and for no process, so the kernel ends the one with the highest score.
_USE_UP_MEMORY = (
    _FIND
    + """
pathlib.Path(f"/proc/{rank}/oom_score_adj").write_text("1000")
with open("/dev/shm/filler", "wb", buffering=0) as filler:
    while pathlib.Path(f"/proc/{rank}/environ").exists():
        filler.write(b"x" * (1 << 20))
"""
)
# The newest checkpoint that counts loses the second half of its largest file; then its process is killed, before the next.
_DAMAGE = (
    _FIND
    + """
os.kill(rank, signal.SIGSTOP)
output = pathlib.Path("/mnt/pvc/artifacts")
newest = max(output.rglob("checkpoint-*/complete.json"), key=lambda marker: int(marker.parent.name.split("-")[1])).parent
largest = max((one for one in newest.rglob("*") if one.is_file()), key=lambda one: one.stat().st_size)
os.truncate(largest, largest.stat().st_size // 2)
print(newest.name.split("-")[1])
os.kill(rank, signal.SIGKILL)
"""
)
_FILL = """
import os
with open("{path}", "wb", buffering=0) as filler:
    for size in (1 << 20, 4096):
        try:
            while True:
                filler.write(b"x" * size)
        except OSError as full:
            print(full)
"""


def _inside(kubectl: Kubectl, pod: str, script: str) -> str:
    return kubectl.execute(pod, ["python", "-c", script]).decode()


def kill_first(kubectl: Kubectl, pods: list[str]) -> None:
    """SIGKILL to the process where the others meet."""
    _inside(kubectl, pods[0], _KILL)


def kill_other(kubectl: Kubectl, pods: list[str]) -> None:
    """SIGKILL to another process."""
    _inside(kubectl, pods[-1], _KILL)


def stop_process(kubectl: Kubectl, pods: list[str]) -> None:
    """SIGSTOP: the process is there, answers nothing and ends by itself never."""
    _inside(kubectl, pods[-1], _STOP)


def delete_pod(kubectl: Kubectl, pods: list[str]) -> None:
    """Without grace, as when a node is forgotten."""
    kubectl.run("delete", "pod", pods[-1], "--grace-period=0", "--force", "--wait=false")


def use_up_memory(kubectl: Kubectl, pods: list[str]) -> None:
    """The kernel kills the training process for want of memory in the pod."""
    # The connection may go with the pod.
    with contextlib.suppress(Exception):
        _inside(kubectl, pods[-1], _USE_UP_MEMORY)


def damage_newest_checkpoint(kubectl: Kubectl, pods: list[str]) -> None:
    _inside(kubectl, pods[0], _DAMAGE)


def fill(path: str, kubectl: Kubectl, pods: list[str]) -> None:
    """Writes until nothing more goes on the volume."""
    said = _inside(kubectl, pods[0], _FILL.format(path=path))
    assert "No space left" in said, said


def evict(kubectl: Kubectl, pods: list[str]) -> None:
    """As `kubectl drain` does for each pod: through the Eviction API, with the pod's own grace."""
    for pod in pods:
        eviction: Object = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": kubectl.namespace},
        }
        path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{pod}/eviction"
        kubectl.run("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction).encode())


def suspend(job: str, kubectl: Kubectl, pods: list[str]) -> None:
    kubectl.run("patch", "finetunejob", job, "--type=merge", "-p", '{"spec": {"suspend": true}}')


def shrink(job: str, kubectl: Kubectl, pods: list[str]) -> None:
    """A person takes one of two nodes away from the job."""
    patch = '{"spec": {"distribution": {"nodes": 1}}}'
    kubectl.run("patch", "finetunejob", job, "--type=merge", "-p", patch)


@contextlib.contextmanager
def cordoned(kubectl: Kubectl) -> Iterator[None]:
    """No pod is placed anywhere meanwhile."""
    nodes = [node["metadata"]["name"] for node in kubectl.items("nodes")]
    kubectl.run("cordon", *nodes)
    try:
        yield
    finally:
        kubectl.run("uncordon", *nodes)


@contextlib.contextmanager
def small_volume(kubectl: Kubectl, name: str, megabytes: int) -> Iterator[None]:
    """A claim whose volume is a file system of this size. Only where the cluster's node is this very machine."""
    if os.geteuid() != 0:
        raise PermissionError("a file system of a few megabytes is mounted, which takes root on the cluster's node")
    with tempfile.TemporaryDirectory(prefix="serin-small-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0777", "tmpfs", folder], check=True)
        try:
            kubectl.apply(_volume(kubectl.namespace, name, Path(folder), megabytes))
            yield
        finally:
            kubectl.delete("persistentvolume", f"{kubectl.namespace}-{name}", wait=False)
            subprocess.run(["umount", "--lazy", folder], check=True)


def _volume(namespace: str, name: str, folder: Path, megabytes: int) -> list[dict[str, Any]]:
    size = {"storage": f"{megabytes}Mi"}
    common = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{namespace}-{name}"},
        "spec": {**common, "capacity": size, "hostPath": {"path": str(folder)},
                 "claimRef": {"namespace": namespace, "name": name}},
    }  # fmt: skip
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {**common, "resources": {"requests": size}, "volumeName": f"{namespace}-{name}"},
    }
    return [volume, claim]
