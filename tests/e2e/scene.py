"""What the cluster looked like at the moment a play broke off, short enough to be read at the end of a log."""

import json
from collections.abc import Callable

from serin_demo import plan
from serin_demo.errors import KubectlFailed
from serin_demo.kube import Kubectl, Object

LOG_LINES = 12
EVENTS = 15


def scene(kubectl: Kubectl, namespaces: list[str]) -> str:
    """Jobs, services, pods, last events and the operator's last lines; what cannot be read says so."""
    parts = [_part(f"operator in {plan.SYSTEM_NAMESPACE}", lambda: _operator(kubectl.within(plan.SYSTEM_NAMESPACE)))]
    for name in namespaces:
        parts += [_part(f"namespace {name}", lambda name=name: _namespace(kubectl.within(name)))]
    return "\n".join(parts)


def _part(title: str, lines: Callable[[], list[str]]) -> str:
    try:
        return "\n".join([f"--- {title}", *lines()])
    except KubectlFailed as problem:
        return f"--- {title}\ncould not be read: {problem}"


def _namespace(kubectl: Kubectl) -> list[str]:
    lines: list[str] = []
    for job in kubectl.items("finetunejobs"):
        status = job.get("status", {})
        lines.append(f"job {job['metadata']['name']}: {status.get('state')}: {status.get('message')}")
        lines += [f"  stage {json.dumps(one)[:300]}" for one in status.get("stages", [])[-2:]]
    lines += [
        f"service {one['metadata']['name']}: {json.dumps(one.get('status', {}).get('candidate'))[:600]}"
        for one in kubectl.items("modelservices")
    ]
    for pod in kubectl.items("pods"):
        lines.append(f"pod {pod['metadata']['name']}: {_pod(pod)}")
        if pod["metadata"].get("labels", {}).get("serin.dev/stage") and pod["status"].get("phase") == "Running":
            lines += [f"  {line[:300]}" for line in _log(kubectl, pod["metadata"]["name"])]
    events = sorted(kubectl.items("events"), key=lambda one: one.get("lastTimestamp") or one.get("eventTime") or "")
    lines += [
        f"event {one.get('lastTimestamp') or one.get('eventTime')} {one['involvedObject']['name']} {one.get('reason')}: "
        f"{(one.get('message') or one.get('note') or '')[:200]}"
        for one in events[-EVENTS:]
    ]
    return lines


def _operator(kubectl: Kubectl) -> list[str]:
    lines: list[str] = []
    for pod in kubectl.items("pods"):
        lines.append(f"pod {pod['metadata']['name']}: {_pod(pod)}")
        lines += [f"  {line[:300]}" for line in _log(kubectl, pod["metadata"]["name"])]
    return lines


def _log(kubectl: Kubectl, pod: str) -> list[str]:
    try:
        return kubectl.run("logs", pod, "--all-containers", f"--tail={LOG_LINES}").decode(errors="replace").splitlines()
    except KubectlFailed as problem:
        return [str(problem)]


def _pod(pod: Object) -> str:
    status = pod["status"]
    containers = [
        f"{one['name']} {json.dumps(one['state'])[:200]} restarts {one['restartCount']}"
        for one in status.get("containerStatuses", [])
    ]
    return f"{status.get('phase')} {' '.join(containers)}"
