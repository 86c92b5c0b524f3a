"""The cluster as the demo sees it: kubectl, as a user has it. Not here: what is asked of the cluster, and why."""

import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from serin_demo.errors import KubectlFailed

Object = dict[str, Any]
_FINETUNE_KINDS = ("finetunejobs", "modelservices", "modelrevisions")


@dataclass(frozen=True)
class Kubectl:
    """kubectl with a cluster and a namespace."""

    binary: str = "kubectl"
    kubeconfig: str = ""
    context: str = ""
    namespace: str = "default"

    def within(self, namespace: str) -> "Kubectl":
        return replace(self, namespace=namespace)

    def command(self, *arguments: str) -> list[str]:
        """The whole command line, for those who need the process itself."""
        where = [f"--kubeconfig={self.kubeconfig}"] if self.kubeconfig else []
        where += [f"--context={self.context}"] if self.context else []
        return [self.binary, *where, f"--namespace={self.namespace}", *arguments]

    def run(self, *arguments: str, stdin: bytes | None = None, timeout: float = 120) -> bytes:
        """Standard output, or KubectlFailed with what kubectl said."""
        try:
            done = subprocess.run(
                self.command(*arguments), input=stdin, capture_output=True, timeout=timeout, check=False
            )
        except FileNotFoundError:
            raise KubectlFailed(f"{self.binary} is not installed; `make cluster-up` brings it") from None
        except subprocess.TimeoutExpired:
            raise KubectlFailed(f"kubectl {' '.join(arguments[:3])} did not answer within {timeout:.0f} s") from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
            raise KubectlFailed(f"kubectl {' '.join(arguments[:3])}: {said}")
        return done.stdout

    def get(self, kind: str, name: str) -> Object | None:
        """One object, or None when it does not exist."""
        found = self.run("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(found) if found.strip() else None

    def items(self, kind: str, selector: str = "") -> list[Object]:
        found = self.run("get", kind, "-o", "json", *([f"--selector={selector}"] if selector else []))
        return json.loads(found)["items"]

    def apply(self, objects: Iterable[Object]) -> None:
        """Create or update objects, as `kubectl apply -f` of their file does."""
        wish = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.run("apply", "-f", "-", stdin=json.dumps(wish).encode())

    def apply_file(self, path: Path) -> None:
        self.run("apply", "-f", str(path))

    def delete(self, kind: str, name: str, *, wait: bool = True, timeout: float = 180) -> None:
        self.run("delete", kind, name, "--ignore-not-found", f"--wait={str(wait).lower()}", timeout=timeout)

    def logs(self, pod: str) -> str:
        return self.run("logs", pod).decode(errors="replace")

    def execute(self, pod: str, command: Sequence[str], stdin: bytes | None = None) -> bytes:
        """Run a command in a pod; input is streamed to it."""
        flags = ["-i"] if stdin is not None else []
        return self.run("exec", *flags, pod, "--", *command, stdin=stdin, timeout=300)

    def raw(self, path: str) -> Any:
        """A parsed JSON document of the apiserver, or of a Service behind its proxy."""
        return json.loads(self.run("get", "--raw", path))

    def overview(self) -> str:
        """The columns that tell the stories by themselves."""
        return self.run("get", ",".join(_FINETUNE_KINDS)).decode()


def condition(found: Object | None, kind: str) -> Object:
    """A condition by type; an empty object when it is not there."""
    conditions = (found or {}).get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {})
