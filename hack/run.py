"""`make run`: the operator in the foreground on this machine, against the current cluster.

It runs as the service account that it has in the cluster, so what its RBAC lacks shows here as well. The chart is
installed without replicas, since the operator in the cluster would hold the Lease. Not here: booting a cluster.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from serin_devcluster.errors import DevclusterError
from serin_devcluster.gobuild import find_program
from serin_devcluster.paths import Paths

ROOT = Path(__file__).resolve().parents[1]
NAMESPACE = "serin-system"
RELEASE = "serin"
OUR_IMAGES = ("trainer", "evaluator", "server")
CONFIG = ROOT / "build" / "run-operator.yaml"
KUBECONFIG = ROOT / "build" / "run.kubeconfig"


class Cluster:
    """kubectl and helm on the current context, or on the repo's own cluster when there is no other."""

    def __init__(self, paths: Paths) -> None:
        self.env = dict(os.environ)
        if "KUBECONFIG" not in self.env and not (Path.home() / ".kube" / "config").exists():
            self.env["KUBECONFIG"] = str(paths.kubeconfig)
        self.own = self.env.get("KUBECONFIG") == str(paths.kubeconfig)
        self._paths = paths

    def run(self, program: str, *args: str) -> str:
        command = [shutil.which(program) or str(find_program(self._paths, program)), *args]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{program} {' '.join(args[:3])}: {done.stderr.strip()}")
        return done.stdout

    def object(self, *args: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.run("kubectl", "get", "-o", "json", "--ignore-not-found", *args) or "{}"
        )
        return found

    def own_images(self) -> dict[str, str]:
        """What the repo's own cluster holds; another cluster is told by the chart's values."""
        listed = self._paths.cluster / "images.json"
        return json.loads(listed.read_text()) if self.own and listed.exists() else {}


def install(cluster: Cluster) -> None:
    """CRDs, service account, RBAC and configuration, without an operator in the cluster."""
    images = [f"images.{name}={cluster.own_images()[name]}" for name in OUR_IMAGES if name in cluster.own_images()]
    values = [word for value in images for word in ("--set-string", value)]
    where = ["--namespace", NAMESPACE, "--create-namespace"]
    keep = ["--reset-then-reuse-values", "--set", "replicas=0"]
    cluster.run("helm", "upgrade", "--install", RELEASE, str(ROOT / "charts" / "serin"), *where, *keep, *values)


def configuration(cluster: Cluster, base: Path) -> dict[str, Any]:
    """The developer's file with the cluster's images, and Prometheus by its address: here no Service has a name."""
    found: dict[str, Any] = yaml.safe_load(base.read_text())
    installed = cluster.object("configmap", RELEASE, "-n", NAMESPACE)
    found["images"] = yaml.safe_load(installed["data"]["operator.yaml"])["images"]
    address = cluster.object("service", "prometheus", "-n", "monitoring").get("spec", {}).get("clusterIP")
    if cluster.own and address:
        found["metricSources"] = [{"name": "default", "url": f"http://{address}:9090"}]
    return found


def credentials(cluster: Cluster) -> dict[str, Any]:
    """A kubeconfig of the current cluster with a token of the operator's service account."""
    found: dict[str, Any] = json.loads(
        cluster.run("kubectl", "config", "view", "--minify", "--flatten", "--raw", "-o", "json")
    )
    token = cluster.run("kubectl", "create", "token", RELEASE, "-n", NAMESPACE, "--duration=12h").strip()
    found["users"] = [{"name": RELEASE, "user": {"token": token}}]
    found["contexts"][0]["context"] |= {"user": RELEASE, "namespace": NAMESPACE}
    return found


def write_private(path: Path, what: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(what, file, indent=1)  # JSON is YAML


def main(argv: Sequence[str]) -> None:
    base = Path(argv[1]) if len(argv) > 1 else ROOT / "hack" / "dev-operator.yaml"
    try:
        cluster = Cluster(Paths.default())
        install(cluster)
        write_private(CONFIG, configuration(cluster, base))
        write_private(KUBECONFIG, credentials(cluster))
    except DevclusterError as error:
        sys.exit(str(error))
    print(f"running as serviceaccount {RELEASE} of {NAMESPACE}; Ctrl-C stops it. To give the work back to the cluster:")
    print(f"  kubectl -n {NAMESPACE} scale deployment/{RELEASE} --replicas=1", flush=True)
    settings = {"KUBECONFIG": str(KUBECONFIG), "SERIN_CONFIG": str(CONFIG), "POD_NAMESPACE": NAMESPACE}
    os.execve(sys.executable, [sys.executable, "-m", "serin_operator"], {**os.environ, **settings})


if __name__ == "__main__":
    main(sys.argv)
