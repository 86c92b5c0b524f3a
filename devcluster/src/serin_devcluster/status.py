"""Says how the cluster is: each program, the node, the pods, and the last words of what died."""

from __future__ import annotations

from serin_devcluster import addons, disk
from serin_devcluster.errors import DevclusterError
from serin_devcluster.node import Node


def show(node: Node) -> int:
    """0 when all of it runs, 1 otherwise."""
    if not node.paths.pki.exists():
        print("The cluster is down. `make cluster-up` boots it.")
        return 1
    daemons = node.daemons()
    for daemon in daemons:
        pid = daemon.pid()
        print(
            f"{daemon.name:<24} {f'runs as {pid}' if pid else 'DOES NOT RUN' if daemon.was_started() else 'not started'}"
        )
        if pid is None and daemon.was_started():
            print(f"  its last words ({daemon.log}):\n{daemon.last_words()}")
    healthy = all(daemon.pid() for daemon in daemons)
    try:
        print("\n" + node.kubectl("get", "nodes"))
        print(node.kubectl("get", "pods", "-A"))
        healthy = healthy and node.is_ready()
    except DevclusterError as error:
        print(f"\nthe apiserver does not answer: {error}")
        healthy = False
    print(f"export KUBECONFIG={node.paths.kubeconfig}")
    print(f"gateway {addons.GATEWAY_ADDRESS}   Prometheus {addons.PROMETHEUS_ADDRESS}   logs {node.paths.logs}")
    print(f"{disk.free_gib(node.paths.cache):.0f} GB of disk are free")
    if not healthy:
        print("\nNot all is well; `make cluster-up` repairs what can be repaired.")
    return 0 if healthy else 1
