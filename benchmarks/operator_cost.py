"""The operator's own cost: memory, time from apply to the first pod, and what the chain adds to the pods' work.

    python benchmarks/operator_cost.py        writes build/bench/operator.json and prints it

A real etcd, kube-apiserver and Job controller run on loopback. The alternative beside it is a bare batch/v1 Job, which is
the floor: no operator can create a pod faster than the Job controller. The chain's overhead is read from a played demo
in the running cluster (KUBECONFIG), when there is one; without it the figure is left out and said so.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from serin_devcluster.apiserver import ApiServer
from serin_operator.decide.job import decide_job
from support.jobs import World, job_manifest
from support.operator_process import OperatorProcess

IDLE_JOBS = 200
REPETITIONS = 20
SETTLE_SECONDS = 15
CONTROLLERS = ("job-controller", "serviceaccount-controller")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench/operator.json"))
    parser.add_argument("--namespace", default="demo", help="where a demo was played, for the chain's overhead")
    parser.add_argument("--job", default="good")
    arguments = parser.parse_args()
    found = control_plane() | chain(arguments.namespace, arguments.job)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 0


def control_plane() -> dict[str, Any]:
    """Memory and apply-to-pod on a control plane without nodes: pods are created there, and wait."""
    with ApiServer(controllers=CONTROLLERS, audit=False) as server:
        server.kubectl("apply", "--server-side", "-f", "crds/")
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        server.kubectl("create", "namespace", "ml")
        server.kubectl("-n", "ml", "apply", "-f", "-", stdin=json.dumps(_claims()))
        operator = OperatorProcess(server.kubeconfig).start()
        try:
            _until_leading(operator)
            say("waiting for the operator to settle")
            time.sleep(SETTLE_SECONDS)
            idle = operator.rss_mib()
            serin, bare = apply_to_pod(server)
            say(f"creating {IDLE_JOBS} settled jobs")
            settled_jobs(server)
            time.sleep(SETTLE_SECONDS)
            full = operator.rss_mib()
        finally:
            operator.stop()
    return {
        "rssMiBIdle": round(idle, 1),
        "rssMiBAt200": round(full, 1),
        "applyToPodP50Seconds": round(statistics.median(serin), 3),
        "applyToPodP95Seconds": round(_p95(serin), 3),
        "bareJobApplyToPodP50Seconds": round(statistics.median(bare), 3),
        "bareJobApplyToPodP95Seconds": round(_p95(bare), 3),
        "applyToPodRatioToBareJob": round(statistics.median(serin) / statistics.median(bare), 2),
        "repetitions": len(serin),
    }


def apply_to_pod(server: ApiServer) -> tuple[list[float], list[float]]:
    """Seconds from the start of `kubectl apply` to a pod in the apiserver: ours and a bare Job's, in turns."""
    serin, bare = [], []
    for number in range(REPETITIONS):
        say(f"apply to pod, {number + 1} of {REPETITIONS}")
        job = {"apiVersion": "serin.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": f"j{number}"},
               "spec": _lonely_spec(number)}  # fmt: skip
        serin.append(_timed(server, job, f"serin.dev/job=j{number}"))
        bare.append(_timed(server, _bare_job(number), f"batch.kubernetes.io/job-name=b{number}"))
    return serin, bare


def _timed(server: ApiServer, manifest: dict[str, Any], selector: str) -> float:
    began = time.monotonic()
    server.kubectl("-n", "ml", "apply", "-f", "-", stdin=json.dumps(manifest))
    while not server.kubectl("-n", "ml", "get", "pods", "-l", selector, "-o", "name"):
        if time.monotonic() - began > 60:
            raise TimeoutError(f"no pod for {selector}")
    return time.monotonic() - began


def settled_jobs(server: ApiServer) -> None:
    """Jobs whose work is done, as the operator itself would have left them."""
    world = World(spec=_lonely_spec(0))
    for _ in range(20):
        world.act(decide_job(world.snapshot()))
        for run in world.running():
            world.finish(run)
    status = json.loads(json.dumps(world.status, default=str))
    items = [
        {"apiVersion": "serin.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": f"idle{n}", "namespace": "ml"},
         "spec": _lonely_spec(0), "status": status}
        for n in range(IDLE_JOBS)
    ]  # fmt: skip
    server.kubectl(
        "apply", "--server-side", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    )
    server.kubectl(
        "apply", "--server-side", "--subresource=status", "--field-manager=serin-status", "-f", "-",
        stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}),
    )  # fmt: skip


def chain(namespace: str, job: str) -> dict[str, Any]:
    """Wall time from apply to verdict, less the time in which a pod of the job was computing."""
    if "KUBECONFIG" not in os.environ:
        return {"chainOverheadNote": "no KUBECONFIG: play `make demo` first"}
    found = _kubectl("-n", namespace, "get", "finetunejob", job, "-o", "json")
    pods = _kubectl("-n", namespace, "get", "pods", "-l", f"serin.dev/job={job}", "-o", "json")
    if found is None or pods is None:
        return {"chainOverheadNote": f"no FineTuneJob {job} in namespace {namespace}: play `make demo` first"}
    spans = [_span(pod) for pod in pods["items"]]
    began = _time(found["metadata"]["creationTimestamp"])
    judged = next(c for c in found["status"]["conditions"] if c["type"] == "GatePassed" and c["status"] == "True")
    wall = (_time(judged["lastTransitionTime"]) - began).total_seconds()
    computing = _covered([span for span in spans if span is not None])
    return {
        "chainSeconds": round(wall, 1),
        "chainComputingSeconds": round(computing, 1),
        "chainOverheadPercent": round(100 * (wall - computing) / wall, 1),
    }


def _span(pod: dict[str, Any]) -> tuple[float, float] | None:
    for status in pod["status"].get("containerStatuses", []):
        ended = status["state"].get("terminated")
        if ended:
            return _time(ended["startedAt"]).timestamp(), _time(ended["finishedAt"]).timestamp()
    return None


def _covered(spans: list[tuple[float, float]]) -> float:
    """Seconds covered by at least one span."""
    total, end = 0.0, float("-inf")
    for began, ended in sorted(spans):
        total += max(0.0, ended - max(began, end))
        end = max(end, ended)
    return total


def _kubectl(*arguments: str) -> dict[str, Any] | None:
    done = subprocess.run(["kubectl", *arguments], capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def _lonely_spec(number: int) -> dict[str, Any]:
    """A job that needs no gate and no service."""
    spec = job_manifest()["spec"] | {"hyperparameters": {"seed": number}}
    return {key: value for key, value in spec.items() if key not in ("gates", "rollout")}


def _bare_job(number: int) -> dict[str, Any]:
    container = {"name": "c", "image": "i", "command": ["true"]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": f"b{number}"}, "spec": {"template": template}}


def _claims() -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    items = [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
        for name in ("models", "datasets", "artifacts")
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _until_leading(operator: OperatorProcess) -> None:
    _until(lambda: "leading as" in operator.tail(200), 60, "the operator does not lead")


def _until(what: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(0.2)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
