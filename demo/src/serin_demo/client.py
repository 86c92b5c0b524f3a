"""The load generator from outside: starts it as a pod, sets its rate, stops it, reads what it saw."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serin_demo import plan, pods
from serin_demo.errors import DemoError
from serin_demo.kube import Kubectl

_SCRIPT = Path(__file__).with_name("load.py")


@dataclass(frozen=True)
class Gateway:
    """Where requests for the service enter."""

    address: str
    port: int
    host: str


@dataclass
class Client:
    """One client pod, for one story."""

    kubectl: Kubectl
    image: str
    name: str
    gateway: Gateway
    seed: int = 7

    def start(self, rate: float) -> "Client":
        settings = {
            "ADDRESS": self.gateway.address,
            "PORT": str(self.gateway.port),
            "HOST": self.gateway.host,
            "MODEL": plan.SERVICE,
            "PROMPTS": "/mnt/pvc/datasets/heldout.jsonl",
            "MAX_TOKENS": str(plan.CLIENT_MAX_TOKENS),
            "TIMEOUT_SECONDS": str(plan.CLIENT_TIMEOUT_SECONDS),
            "RATE": str(rate),
            "SEED": str(self.seed),
        }
        self.kubectl.delete("pod", self.name)
        self.kubectl.apply([pods.client_script(_SCRIPT.read_text()), pods.client(self.image, self.name, settings)])
        wait_for_pod(self.kubectl, self.name, {"Running"})
        return self

    def set_rate(self, rate: float) -> None:
        """From now on; replaced in one step, so that the client never reads half a number."""
        script = f"echo {rate} > /tmp/rate.new && mv /tmp/rate.new /tmp/rate"
        self.kubectl.execute(self.name, ["sh", "-c", script])

    def records(self) -> list[dict[str, Any]]:
        """All answers so far, in the order of the questions."""
        lines = self.kubectl.logs(self.name).splitlines()
        return sorted((json.loads(line) for line in lines if line.startswith("{")), key=lambda one: one["at"])

    def stop(self) -> list[dict[str, Any]]:
        """No more questions; the answers to the last ones are waited for. The pod goes, its records stay here."""
        self.kubectl.execute(self.name, ["touch", "/tmp/stop"])
        phase = wait_for_pod(self.kubectl, self.name, {"Succeeded", "Failed"})
        records = self.records()
        if phase == "Failed":
            raise DemoError(f"the client pod {self.name} broke down after {len(records)} answers; see its log")
        self.kubectl.delete("pod", self.name, wait=False)
        return records


def wait_for_pod(kubectl: Kubectl, name: str, phases: set[str], timeout: float = plan.POD_TIMEOUT_SECONDS) -> str:
    """The phase that the pod reached, or DemoError with what Kubernetes says about the pod."""
    ends = time.monotonic() + timeout
    while True:
        pod = kubectl.get("pod", name) or {}
        phase = pod.get("status", {}).get("phase", "absent")
        if phase in phases:
            return phase
        if phase in {"Failed", "Succeeded"} or time.monotonic() > ends:
            raise DemoError(
                f"pod {name} is {phase} and not {' or '.join(sorted(phases))} after {timeout:.0f} s: {_why(pod)}"
                f" Look with: kubectl -n {kubectl.namespace} describe pod {name}"
            )
        time.sleep(0.5)


def _why(pod: dict[str, Any]) -> str:
    status = pod.get("status", {})
    states = [one.get("state", {}).get("waiting", {}) for one in status.get("containerStatuses", [])]
    said = [one.get("message") or one.get("reason", "") for one in states]
    said += [one.get("message", "") for one in status.get("conditions", []) if one.get("status") == "False"]
    return " ".join(text.rstrip(".") + "." for text in said if text) or "nothing is known."
