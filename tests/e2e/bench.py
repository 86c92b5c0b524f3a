"""What the end-to-end tests need beside the demo: more namespaces, small jobs, waiting, and pulling the plug."""

import contextlib
import copy
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from serin_demo import data, plan, prepare, staging
from serin_demo.kube import Kubectl, Object
from serin_demo.prepare import Cluster
from serin_demo.progress import Progress
from serin_demo.stories import Player
from serin_demo.watching import Seen

# A model that is made, trained and served in seconds, for tests that are not about what it says.
TINY_MODEL = [
    *("--corpus", "/mnt/pvc/datasets/words.jsonl"),
    *("--out", "/mnt/pvc/models/scratch"),
    *("--vocab-size", "512", "--hidden", "64", "--layers", "2", "--heads", "2", "--max-positions", "256"),
]
OPERATOR = "app.kubernetes.io/name=serin"


@dataclass
class Bench:
    """Namespaces with data and a model in them."""

    cluster: Cluster
    progress: Progress
    namespaces: list[str] = field(default_factory=list)
    scenes: dict[str, str] = field(default_factory=dict)
    _data: data.DataFiles | None = None

    def stage(self, namespace: str, model: list[str]) -> Player:
        """A fresh namespace, ready for stories."""
        self.namespaces.append(namespace)
        staging.fresh_namespace(self.cluster.kubectl, namespace)
        kubectl = self.cluster.kubectl.within(namespace)
        self._data = self._data or staging.make_data(kubectl)
        staging.load_volumes(kubectl, prepare.EXAMPLES, self.cluster.images["trainer"], self._data.files)
        staging.make_scratch_model(kubectl, self.cluster.images["trainer"], model)
        gateway = prepare.check_neighbours(self.cluster.kubectl, namespace)
        return Player(kubectl, prepare.EXAMPLES, self.cluster.images["evaluator"], gateway, self.progress)

    def clear(self) -> None:
        for namespace in self.namespaces:
            self.cluster.kubectl.delete("namespace", namespace, wait=False)

    # --- the operator ---------------------------------------------------------------------------------------------

    @property
    def system(self) -> Kubectl:
        return self.cluster.kubectl.within(plan.SYSTEM_NAMESPACE)

    def operators(self) -> list[Object]:
        return self.system.items("pods", OPERATOR)

    def kill_operator(self) -> None:
        """SIGKILL where its process can be reached; then its pod goes without grace, so no backoff delays the next."""
        for pod in self.operators():
            for process in processes_of(pod["metadata"]["uid"]):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            name = pod["metadata"]["name"]
            self.system.run("delete", "pod", name, "--grace-period=0", "--force", "--ignore-not-found", "--wait=false")


def processes_of(pod_uid: str) -> list[int]:
    """Processes of a pod on this very machine, by their control group; none when the node is elsewhere."""
    found: list[int] = []
    marks = (pod_uid, pod_uid.replace("-", "_"))
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            groups = (entry / "cgroup").read_text()
            command = (entry / "cmdline").read_bytes()
            if any(mark in groups for mark in marks) and b"serin_operator" in command:
                found.append(int(entry.name))
    return found


def small(job: Object, name: str, **changes: Any) -> Object:
    """A copy of a job that trains a few steps in one small pod; dotted names say what else is different."""
    found = copy.deepcopy(job)
    found["metadata"]["name"] = name
    found["spec"]["baseModel"]["uri"] = "pvc://models/scratch"
    found["spec"]["hyperparameters"] |= {"maxSteps": 6, "saveSteps": 3, "batchSize": 4, "epochs": 1}
    found["spec"]["distribution"]["nodes"] = 1
    found["spec"]["data"]["split"] |= {"minValidationRows": 0, "minTestRows": 0}
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = found["spec"]
        for part in parents:
            place = place[part]
        place[last] = value
    return found


def until(done: Callable[[], Any], what: str, timeout: float, every: float = 0.5) -> Any:
    """The first true answer, or a test failure that says what did not happen."""
    ends = time.monotonic() + timeout
    while not (answer := done()):
        if time.monotonic() > ends:
            pytest.fail(f"after {timeout:.0f} s still not so: {what}", pytrace=False)
        time.sleep(every)
    return answer


def jobs_by_stage(history: Iterable[Seen], job: str) -> dict[str, set[str]]:
    """The Kubernetes Jobs that ever existed for a FineTuneJob, by stage."""
    found: dict[str, set[str]] = {}
    for seen in history:
        labels = seen.object["metadata"].get("labels", {})
        if labels.get("serin.dev/job") == job and "serin.dev/stage" in labels:
            found.setdefault(labels["serin.dev/stage"], set()).add(seen.object["metadata"]["uid"])
    return found


def numbers_in(sentence: str) -> list[str]:
    """The words of a sentence that are numbers."""
    words = (word.strip("()[],;:%") for word in sentence.replace("..", " ").split())
    return [word for word in words if word.replace(".", "", 1).lstrip("+-").isdigit()]
