"""What clusters do to training, on a real one: each fault ends in its class, costs a checkpoint interval at most, and passes.

Several small jobs of two pods train at once; each meets its fault in the middle of a step, and the operator is killed right
after it. Played by `make test-training-faults`, and not by `make test`, which has no minutes left for it.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from e2e import injections
from e2e.bench import Bench, small, until
from serin_demo import staging
from serin_demo.kube import Kubectl, Object
from serin_demo.stories import Player
from serin_demo.watching import Seen, Watch

NAMESPACE = "serin-e2e-training"
pytestmark = pytest.mark.training_faults
# A step of tens of milliseconds, so that there is a middle to meet.
MODEL = [
    *("--corpus", "/mnt/pvc/datasets/words.jsonl"),
    *("--out", "/mnt/pvc/models/scratch"),
    *("--vocab-size", "512", "--hidden", "96", "--layers", "3", "--heads", "4", "--max-positions", "256"),
]
STEPS, INTERVAL, FAULT_AT = 600, 40, 90
SMALL = "artifacts-small"
FILLER = f"/mnt/pvc/{SMALL}/filler"
LITTLE_MEMORY = {"distribution__resources__limits__memory": "1500Mi", "distribution__sharedMemory": "2Gi"}
MEMORY = "spec.distribution.resources.limits.memory"


@dataclass(frozen=True)
class Fault:
    """What happens, and what the attempt must be said to have ended of: (reason, class)."""

    name: str
    inject: Callable[[Kubectl, list[str]], None]
    reason: str
    failure_class: str
    changes: dict[str, Any] = field(default_factory=dict)
    mend: str = ""  # what a person does before it goes on


FAULTS = (
    Fault("first-killed", injections.kill_first, "ProcessKilled", "Unknown"),
    Fault("other-killed", injections.kill_other, "ProcessKilled", "Unknown"),
    Fault("pod-deleted", injections.delete_pod, "PodDeleted", "Infrastructure"),
    Fault("checkpoint-cut", injections.damage_newest_checkpoint, "ProcessKilled", "Unknown"),
    Fault("hung", injections.stop_process, "TrainingHung", "Unknown"),
    Fault("out-of-memory", injections.use_up_memory, "OutOfMemory", "User", LITTLE_MEMORY, mend="memory"),
    Fault(
        "disk-full",
        partial(injections.fill, FILLER),
        "VolumeFull",
        "User",
        {"artifacts__uri": f"pvc://{SMALL}"},
        mend="disk",
    ),
    # Pods that are gone with what their eviction left on them, before anybody looked, were deleted as far as one can tell.
    Fault("drained", injections.evict, "Evicted or PodDeleted", "Infrastructure"),
)
SUSPENDED = Fault("suspended", partial(injections.suspend, "suspended"), "", "", mend="suspend")
# With a batch for all processes together a training goes on with another number of them.
SHRUNK = Fault("shrunk", partial(injections.shrink, "shrunk"), "", "", {"hyperparameters__globalBatchSize": 16})
WAVE = 4  # jobs that train at the same time


@dataclass
class Met:
    """A job that met its fault: the last step seen before it, all versions of the job, and how it ended."""

    before: int = 0
    versions: list[Seen] = field(default_factory=list)
    waited: Object = field(default_factory=dict)
    ended: Object = field(default_factory=dict)

    def failures(self) -> list[Object]:
        """Each failed attempt of training, once."""
        entries = [train_entry(seen.object) for seen in self.versions]
        return list({one["attempt"]: one for one in entries if one.get("outcome") == "Failed"}.values())


@dataclass
class Hospital:
    """The namespace in which all of it happens."""

    bench: Bench
    player: Player
    jobs: dict[str, Met] = field(default_factory=dict)

    @property
    def kubectl(self) -> Kubectl:
        return self.player.kubectl

    def job(self, name: str) -> Object:
        return self.kubectl.get("finetunejob", name) or {}

    def pods(self, name: str) -> list[str]:
        """The pods of the running attempt, node 0 first."""
        found = self.kubectl.items("pods", f"serin.dev/job={name},serin.dev/stage=train")
        alive = [pod for pod in found if pod["status"].get("phase") == "Running"]
        return sorted(pod["metadata"]["name"] for pod in alive)

    def play(self, faults: list[Fault]) -> None:
        """Lets some jobs train at once, and each meet its fault as soon as it is in the middle."""
        (base,) = self.player.manifests("30-base.yaml")
        with Watch(self.kubectl, "finetunejobs") as watch:
            self.kubectl.apply(training(base, one.name, **one.changes) for one in faults)
            waiting = list(faults)
            until(lambda: self._meet(waiting), f"{', '.join(one.name for one in faults)} trained and met", 300)
            for one in (one for one in faults if one.mend):
                until(lambda one=one: self._waits(one), f"{one.name} waits for a person", 180)
                self.jobs[one.name].waited = self.job(one.name)
                self._mend(one)
            for one in faults:
                until(lambda one=one: trained(self.job(one.name)), f"{one.name} is trained", 300)
                self.jobs[one.name].ended = self.job(one.name)
                self.kubectl.delete("finetunejob", one.name, wait=False)  # what follows is not what this is about
        for one in faults:
            mine = [seen for seen in watch.history if seen.object["metadata"]["name"] == one.name]
            self.jobs[one.name].versions = mine

    def _meet(self, waiting: list[Fault]) -> bool:
        for one in list(waiting):
            job = self.job(one.name)
            assert not failed_for_good(job), train_entry(job)
            assert not trained(job), f"{one.name} was done before its fault: give it more steps"
            step = job.get("status", {}).get("progress", {}).get("step", 0)
            pods = self.pods(one.name)
            if step < FAULT_AT or len(pods) != 2:
                continue
            self.jobs[one.name] = Met(before=step)
            with ExitStack() as stack:
                if one.name == "drained":
                    stack.enter_context(injections.cordoned(self.kubectl))
                one.inject(self.kubectl, pods)
                self.bench.kill_operator()
            waiting.remove(one)
        return not waiting

    def _waits(self, fault: Fault) -> bool:
        if fault is SUSPENDED:
            return self.job(fault.name)["status"]["state"] == "Suspended" and not self.pods(fault.name)
        return failed_for_good(self.job(fault.name))

    def _mend(self, fault: Fault) -> None:
        """What the job's own message asks for."""
        if fault is SUSPENDED:
            self.kubectl.run("patch", "finetunejob", fault.name, "--type=merge", "-p", '{"spec": {"suspend": false}}')
            return
        if fault.mend == "memory":
            patch = '{"spec": {"distribution": {"resources": {"limits": {"memory": "4Gi"}}}}}'
            self.kubectl.run("patch", "finetunejob", fault.name, "--type=merge", "-p", patch)
            return
        with staging.loader(self.kubectl, self.bench.cluster.images["trainer"], (SMALL,)) as on_volumes:
            on_volumes(["rm", FILLER], b"")
        self.kubectl.run("annotate", "finetunejob", fault.name, "serin.dev/retry=there-is-room")


def training(base: Object, name: str, **changes: Any) -> Object:
    job = small(base, name, hyperparameters__maxSteps=STEPS, hyperparameters__saveSteps=INTERVAL, **changes)
    job["spec"]["hyperparameters"] |= {"epochs": 50, "batchSize": 8}
    job["spec"]["distribution"] |= {"nodes": 2}
    job["spec"]["distribution"]["resources"]["requests"] = {"cpu": "100m", "memory": "600Mi"}
    job["spec"].pop("rollout", None)
    job["spec"]["gates"] = []
    return job


def train_entry(job: Object) -> Object:
    stages = job.get("status", {}).get("stages", [])
    return next((one for one in stages if one["name"] == "Train"), {})


def trained(job: Object) -> bool:
    return train_entry(job).get("outcome") == "Succeeded"


def failed_for_good(job: Object) -> bool:
    entry = train_entry(job)
    return entry.get("outcome") == "Failed" and "retryAt" not in entry


@pytest.fixture(scope="module")
def hospital(bench: Bench, request: pytest.FixtureRequest) -> Iterator[Hospital]:
    asked = {item.callspec.params["fault"].name for item in request.session.items if hasattr(item, "callspec") and
             "fault" in item.callspec.params}  # fmt: skip
    chosen = [one for one in (*FAULTS[:3], SUSPENDED, *FAULTS[3:], SHRUNK) if one.name in asked]
    found = Hospital(bench, bench.stage(NAMESPACE, MODEL))
    with ExitStack() as stack:
        if any(one.name == "disk-full" for one in chosen):
            stack.enter_context(injections.small_volume(found.kubectl, SMALL, 64))
        for first in range(0, len(chosen), WAVE):
            found.play(chosen[first : first + WAVE])
        yield found
        found.kubectl.delete("finetunejobs", "--all")


def each(*faults: Fault) -> pytest.MarkDecorator:
    """A test of each fault."""
    return pytest.mark.parametrize("fault", [pytest.param(one, id=one.name) for one in faults])


@each(*FAULTS)
def test_the_attempt_ends_in_its_class(hospital: Hospital, fault: Fault) -> None:
    (failure,) = hospital.jobs[fault.name].failures()
    assert failure["reason"] in fault.reason.split(" or "), failure
    assert failure["failureClass"] == fault.failure_class
    assert len(failure["message"]) > 30


@each(*FAULTS, SUSPENDED, SHRUNK)
def test_at_most_one_interval_of_steps_is_lost(hospital: Hospital, fault: Fault) -> None:
    """One more where the newest checkpoint itself was damaged."""
    met = hospital.jobs[fault.name]
    output = train_entry(met.ended)["output"]
    intervals = 2 if fault.name == "checkpoint-cut" else 1
    assert output["resumedFromStep"] > met.before - intervals * INTERVAL
    assert met.ended["status"]["progress"]["step"] == STEPS


@each(*FAULTS, SUSPENDED, SHRUNK)
def test_only_what_may_be_the_jobs_own_fault_counts_against_it(hospital: Hospital, fault: Fault) -> None:
    entry = train_entry(hospital.jobs[fault.name].ended)
    expected = {"Unknown": (1, 0), "Infrastructure": (0, 1), "User": (0, 0), "": (0, 0)}[fault.failure_class]
    assert (entry["restarts"], entry["interruptions"]) == expected
    assert entry["attempt"] == 2


@each(SUSPENDED)
def test_a_suspended_job_lost_no_step_that_it_had_taken(hospital: Hospital, fault: Fault) -> None:
    """It saves when it is asked to stop."""
    met = hospital.jobs[fault.name]
    assert met.failures() == []
    assert train_entry(met.ended)["output"]["resumedFromStep"] >= met.before


@each(SHRUNK)
def test_one_pod_goes_on_where_two_were_and_no_step_that_they_had_taken_is_lost(
    hospital: Hospital, fault: Fault
) -> None:
    met = hospital.jobs[fault.name]
    output = train_entry(met.ended)["output"]
    assert met.failures() == []
    assert output["resumedFromStep"] >= met.before
    assert (output["worldSize"], output["steps"]) == (1, STEPS)


def test_a_person_is_told_which_limit_to_raise(hospital: Hospital) -> None:
    assert MEMORY in hospital.jobs["out-of-memory"].waited["status"]["message"]


def test_a_person_is_told_which_volume_is_full(hospital: Hospital) -> None:
    said = hospital.jobs["disk-full"].waited["status"]["message"]
    assert f"/mnt/pvc/{SMALL}" in said
    assert re.search(r"serin\.dev/retry", said)
