"""Before the first story: a cluster, images in it, and Serin installed by its chart.

Either the cluster is this repo's own (booted by devcluster, which also builds and loads the images), or one that was
named explicitly by KUBECONFIG or SERIN_CONTEXT. Then the images are what SERIN_IMAGES says, since this machine cannot
know how images get into a cluster that it did not make.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serin_devcluster.gobuild import find_program
from serin_devcluster.paths import Paths

from serin_demo import plan
from serin_demo.client import Gateway
from serin_demo.errors import DemoError
from serin_demo.kube import Kubectl
from serin_demo.progress import Progress

REPOSITORY = Path(__file__).resolve().parents[3]
CHART = REPOSITORY / "charts" / "serin"
EXAMPLES = REPOSITORY / "examples" / "quickstart"
OUR_IMAGES = ("operator", "trainer", "evaluator", "server")


@dataclass(frozen=True)
class Cluster:
    """The cluster of this run, and whether this repo made it."""

    kubectl: Kubectl
    helm: str
    own: bool
    images: Mapping[str, str]

    def helm_command(self, *arguments: str) -> list[str]:
        where = [f"--kubeconfig={self.kubectl.kubeconfig}"] if self.kubectl.kubeconfig else []
        where += [f"--kube-context={self.kubectl.context}"] if self.kubectl.context else []
        return [self.helm, *arguments, *where, f"--namespace={plan.SYSTEM_NAMESPACE}"]

    def hint(self) -> str:
        """How a person reaches this cluster."""
        if self.kubectl.kubeconfig:
            return f"export KUBECONFIG={self.kubectl.kubeconfig}"
        return f"kubectl config use-context {self.kubectl.context}"


def given(environment: Mapping[str, str]) -> bool:
    """True when a cluster other than this repo's own was named explicitly."""
    named = environment.get("KUBECONFIG", "")
    return bool(environment.get("SERIN_CONTEXT") or (named and Path(named) != Paths.default().kubeconfig))


def prepare_cluster(progress: Progress, environment: Mapping[str, str] = os.environ) -> Cluster:
    """The cluster that was named, or this repo's own, booted when it does not run yet."""
    paths = Paths.default()
    if not given(environment):
        stream([sys.executable, "-m", "serin_devcluster", "up"], progress, "the cluster could not be brought up")
        return own_cluster()
    kubectl = Kubectl(
        program("kubectl", paths), environment.get("KUBECONFIG", ""), environment.get("SERIN_CONTEXT", "")
    )
    kubectl.run("version", "-o", "json", timeout=30)
    return Cluster(kubectl, program("helm", paths), False, named_images(environment))


def own_cluster() -> Cluster:
    """The repo's own cluster as it runs now."""
    paths = Paths.default()
    if not paths.kubeconfig.exists():
        raise DemoError("there is no cluster yet: run `make cluster-up`, or name one with KUBECONFIG=…")
    images = json.loads((paths.cluster / "images.json").read_text())
    kubectl = Kubectl(str(find_program(paths, "kubectl")), str(paths.kubeconfig))
    return Cluster(kubectl, str(find_program(paths, "helm")), True, images)


def current_cluster(environment: Mapping[str, str] = os.environ) -> Cluster:
    """For tests: whatever `prepare_cluster` made or found, without bringing anything up."""
    if not given(environment):
        return own_cluster()
    paths = Paths.default()
    kubectl = Kubectl(
        program("kubectl", paths), environment.get("KUBECONFIG", ""), environment.get("SERIN_CONTEXT", "")
    )
    return Cluster(kubectl, program("helm", paths), False, named_images(environment))


def program(name: str, paths: Paths) -> str:
    """One from the PATH, else the one that devcluster built."""
    return shutil.which(name) or str(find_program(paths, name))


def named_images(environment: Mapping[str, str]) -> dict[str, str]:
    """SERIN_IMAGES is a pattern such as registry.example.com/serin/{name}:1.0."""
    pattern = environment.get("SERIN_IMAGES", "")
    if "{name}" not in pattern:
        raise DemoError(
            "a cluster was named, but not where it finds Serin's images: set SERIN_IMAGES to a pattern such as"
            " registry.example.com/serin/{name}:1.0 ({name} is one of " + ", ".join(OUR_IMAGES) + ")."
            " Without KUBECONFIG and SERIN_CONTEXT, make demo boots a cluster of its own"
        )
    return {name: pattern.replace("{name}", name) for name in OUR_IMAGES}


def check_neighbours(kubectl: Kubectl, namespace: str) -> Gateway:
    """What the stories need of the platform: a Gateway and Prometheus. Says which is missing before anything starts."""
    service = example_service()
    reference = service["spec"]["traffic"]["gatewayRef"]
    gateway = kubectl.within(reference["namespace"]).get("gateways.gateway.networking.k8s.io", reference["name"])
    if gateway is None:
        raise DemoError(
            f"the cluster has no Gateway {reference['namespace']}/{reference['name']};"
            " create it with your Gateway API implementation, or use the repo's own cluster (no KUBECONFIG)"
        )
    where, name, _ = plan.PROMETHEUS
    if kubectl.within(where).get("service", name) is None:
        raise DemoError(f"the cluster has no Service {where}/{name}; the stories' SLOs are measured by Prometheus")
    listener = next(one for one in gateway["spec"]["listeners"] if one["protocol"] == "HTTP")
    # A Gateway without a load balancer has no address of its own: there, clients ask the Service of its data plane.
    addresses = gateway.get("status", {}).get("addresses", [])
    address = addresses[0]["value"] if addresses else plan.GATEWAY_SERVICE
    return Gateway(address, listener["port"], f"{plan.SERVICE}.{namespace}.example")


def example_service() -> dict[str, Any]:
    import yaml

    return yaml.safe_load((EXAMPLES / "20-service.yaml").read_text())


def install_serin(cluster: Cluster, progress: Progress) -> None:
    """CRDs, RBAC and the operator, by the chart that a user would install."""
    repository, _, tag = cluster.images["operator"].rpartition(":")
    values = {"image.repository": repository, "image.tag": tag}
    values |= {f"images.{name}": cluster.images[name] for name in OUR_IMAGES if name != "operator"}
    settings = [part for name, value in values.items() for part in ("--set-string", f"{name}={value}")]
    # Nobody wants to sit through a minute's wait after mending a file in a demo.
    settings += ["--set", f"prepareRetrySeconds={plan.PREPARE_RETRY_SECONDS}"]
    release_lock(cluster, progress)
    command = cluster.helm_command("upgrade", "--install", "serin", str(CHART), "--create-namespace", *settings)
    stream([*command, "--wait", "--timeout", "3m"], progress, "the chart could not be installed")


def release_lock(cluster: Cluster, progress: Progress) -> None:
    """An install that was interrupted leaves its release "pending", and Helm then refuses everything.

    The release's record is what is taken away; the CRDs and with them all objects stay, as the chart keeps them.
    """
    command = cluster.helm_command("list", "--pending", "--short")
    pending = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    if "serin" in pending:
        progress.tell("an earlier installation was interrupted: it is taken back and done again")
        stream(
            cluster.helm_command("uninstall", "serin", "--wait"), progress, "the broken release could not be removed"
        )


def stream(command: Sequence[str], progress: Progress, failure: str) -> None:
    """Run a program with its output shown line by line; its last lines are in the error."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "devcluster" / "src"), "PYTHONUNBUFFERED": "1"}
    last: list[str] = []

    def pump(pipe: Any) -> None:
        for line in pipe:
            progress.show(f"    {line.rstrip()}")
            last.append(line.rstrip())
            del last[:-5]

    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=REPOSITORY
    ) as process:
        reader = threading.Thread(target=pump, args=(process.stdout,), daemon=True)
        reader.start()
        process.wait()
        reader.join(timeout=5)
    if process.returncode:
        said = " / ".join(line.strip() for line in last[-2:]) or "it said nothing"
        raise DemoError(f"{failure} (exit status {process.returncode}): {said}")
