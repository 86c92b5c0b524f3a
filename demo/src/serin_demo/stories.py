"""Plays a story on the cluster: applies its file, sends requests, watches, and hands back everything that was seen.

The end of a story is read from what the operator recorded (ModelRevision), what users got from the route and the
client. Not here: the printed table (`report.py`) and what tests claim about a record (`tests/e2e`).
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from serin_demo import plan
from serin_demo.breach import Breach, first_breach, prometheus, scrapes_of, weight_zero_after
from serin_demo.client import Client, Gateway
from serin_demo.errors import DemoError, StoryFailed
from serin_demo.kube import Kubectl, Object, condition
from serin_demo.progress import Progress
from serin_demo.shares import Share, shares_by_step
from serin_demo.watching import Seen, Watch
from serin_demo.weights import Weight, weights_of

_WATCHED = ("httproutes.gateway.networking.k8s.io", "deployments.apps", "jobs.batch", "finetunejobs.serin.dev")


@dataclass
class Record:
    """A story as it went."""

    story: plan.Story
    began: float
    outcome: str = ""
    job: Object = field(default_factory=dict)
    revision: Object = field(default_factory=dict)
    incumbent: str = ""
    service: Object = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)
    breach: Breach | None = None
    seconds_to_weight_zero: float | None = None
    histories: dict[str, list[Seen]] = field(default_factory=dict)
    ended: float = 0.0

    @property
    def revision_name(self) -> str:
        return self.revision.get("metadata", {}).get("name", "")


@dataclass
class Player:
    """Everything that a story needs of the world."""

    kubectl: Kubectl
    examples: Path
    client_image: str
    gateway: Gateway
    progress: Progress

    def play_base(self) -> Record:
        """The first model of the service. There is nobody to compare it with, and nobody who asks yet."""
        record = Record(plan.BASE, time.time())
        with ExitStack() as watching:
            watches = {kind: watching.enter_context(Watch(self.kubectl, kind)) for kind in _WATCHED}
            for name in ("10-gate.yaml", "20-service.yaml", plan.BASE.file):
                self.kubectl.apply(self.manifests(name))
            self._follow(record)
            self._close(record, watches)
        self._insist(record)
        return record

    def play(self, story: plan.Story) -> Record:
        """One story, from `kubectl apply` to its end, with a client asking all the time."""
        record = Record(story, time.time(), incumbent=self._stable())
        with ExitStack() as watching:
            watches = {kind: watching.enter_context(Watch(self.kubectl, kind)) for kind in _WATCHED}
            client = Client(self.kubectl, self.client_image, f"client-{story.job}", self.gateway)
            client.start(plan.QUIET_RATE)
            record.began = time.time()
            self.kubectl.apply(self.manifests(story.file, self._base_model()))
            self._follow(record, once_passed=lambda: client.set_rate(plan.CANARY_RATE))
            self._wait(plan.AFTERMATH_SECONDS)
            record.requests = client.stop()
            self._close(record, watches)
        self._insist(record)
        return record

    def apply_again(self, story: plan.Story) -> Object:
        """Delete the job and apply the same file: the job as it stands once it has settled."""
        self.kubectl.delete("finetunejob", story.job)
        self.kubectl.apply(self.manifests(story.file, self._base_model()))
        ends = time.monotonic() + plan.POD_TIMEOUT_SECONDS
        while True:
            job = self.kubectl.get("finetunejob", story.job) or {}
            if settled(job) or time.monotonic() > ends:
                return job
            self.progress.tell(f"{story.job}, applied again: {_saying(job)}")
            time.sleep(plan.POLL_SECONDS)

    def manifests(self, file: str, base_model: str = "") -> list[Object]:
        return manifests(self.examples / file, base_model, self.gateway.host)

    def _follow(self, record: Record, once_passed: Callable[[], None] = lambda: None) -> None:
        """Until the story is decided."""
        ends, passed = time.monotonic() + plan.STORY_TIMEOUT_SECONDS, False
        while True:
            record.job = self.kubectl.get("finetunejob", record.story.job) or {}
            record.revision = self._revision_of(record.job) or record.revision
            record.outcome = outcome_of(record.job, record.revision)
            if record.outcome:
                return
            if not passed and gate_verdict(record.job) == "Passed":
                passed = True
                once_passed()
            service = self.kubectl.get("modelservice", plan.SERVICE) if passed else None
            self.progress.tell(_saying(record.job, service))
            if stalled := _stalled(record.job):
                raise StoryFailed(f"{record.story.title}: the job {record.story.job} cannot go on: {stalled}")
            if time.monotonic() > ends:
                raise StoryFailed(
                    f"{record.story.title} did not end within {plan.STORY_TIMEOUT_SECONDS:.0f} s; it is at:"
                    f" {_saying(record.job, service)}. Look with: kubectl -n {self.kubectl.namespace} describe ftj,msvc"
                )
            time.sleep(plan.POLL_SECONDS)

    def _close(self, record: Record, watches: dict[str, Watch]) -> None:
        """The last look, and what follows from all that was seen."""
        record.ended = time.time()
        record.job = self.kubectl.get("finetunejob", record.story.job) or record.job
        record.revision = self._revision_of(record.job) or record.revision
        record.service = self.kubectl.get("modelservice", plan.SERVICE) or {}
        record.histories = {kind: list(watch.history) for kind, watch in watches.items()}
        candidate = record.revision_name
        routes = record.histories["httproutes.gateway.networking.k8s.io"]
        record.weights = weights_of(routes, self._route(routes), candidate)
        record.shares = shares_by_step(record.weights, record.requests, candidate, record.ended)
        if record.outcome == "RolledBack":
            self._measure_rollback(record)

    def _measure_rollback(self, record: Record) -> None:
        words = {
            "namespace": self.kubectl.namespace,
            "service": plan.SERVICE,
            "revision": record.revision_name,
            "stable": record.incumbent,
        }
        canary_began = next((weight.at for weight in record.weights if weight.percent), record.began)
        ask = prometheus(self.kubectl)
        scrapes = scrapes_of(words, canary_began, record.ended, ask)
        record.breach = first_breach(record.service, words, scrapes, ask)
        if record.breach:
            zero = weight_zero_after(record.weights, record.breach.at)
            record.seconds_to_weight_zero = round(zero - record.breach.at, 2) if zero else None

    def _insist(self, record: Record) -> None:
        """A story that ends differently is a failure of Serin, or of the demo."""
        if record.outcome != record.story.outcome:
            raise StoryFailed(
                f"{record.story.title} ended {record.outcome} and not {record.story.outcome}:"
                f" {_saying(record.job, record.service)}"
            )

    def _stable(self) -> str:
        service = self.kubectl.get("modelservice", plan.SERVICE) or {}
        return service.get("status", {}).get("stable", {}).get("revision", "")

    def _revision_of(self, job: Object) -> Object | None:
        name = job.get("status", {}).get("revision")
        return self.kubectl.get("modelrevision", name) if name else None

    def _base_model(self) -> str:
        base = self._revision_of(self.kubectl.get("finetunejob", plan.BASE.job) or {})
        if base is None:
            raise DemoError(f"the job {plan.BASE.job} has made no model yet; play it first")
        return base["spec"]["artifact"]["uri"]

    def _route(self, routes: list[Seen]) -> str:
        names = {seen.object["metadata"]["name"] for seen in routes}
        return next((name for name in names if name.startswith(plan.SERVICE)), plan.SERVICE)

    def _wait(self, seconds: float) -> None:
        self.progress.tell(f"decided; the client goes on asking for {seconds:.0f} s")
        time.sleep(seconds)


def manifests(path: Path, base_model: str = "", hostname: str = "") -> list[Object]:
    """The objects of a file, as a user would apply them, but for what a user fills in as well.

    A story's job starts from the model that `base` made, and two namespaces cannot serve under one host name.
    """
    found = [one for one in yaml.safe_load_all(path.read_text()) if one]
    for one in found:
        if base_model and one["kind"] == "FineTuneJob":
            one["spec"]["baseModel"]["uri"] = base_model
        if hostname and one["kind"] == "ModelService":
            one["spec"]["traffic"]["hostnames"] = [hostname]
    return found


def gate_verdict(job: Object) -> str:
    return job.get("status", {}).get("gate", {}).get("verdict", "")


def outcome_of(job: Object, revision: Object) -> str:
    """Promoted, Rejected or RolledBack; empty while it is open."""
    rollout = revision.get("status", {}).get("rollout", {})
    if rollout.get("rejection"):
        return "RolledBack"
    if rollout.get("promotedAt"):
        return "Promoted"
    return "Rejected" if gate_verdict(job) == "Failed" else ""


def settled(job: Object) -> bool:
    """The operator has seen this generation, and what it says is final."""
    status = job.get("status", {})
    seen = status.get("observedGeneration") == job.get("metadata", {}).get("generation")
    return bool(seen and status.get("state") in {"Promoted", "Rejected", "RolledBack", "Failed"})


def _stalled(job: Object) -> str:
    found = condition(job, "Stalled")
    return found.get("message", "") if found.get("status") == "True" else ""


def _saying(job: Object, service: Object | None = None) -> str:
    """Where things stand, in the operator's own words."""
    name, status = job.get("metadata", {}).get("name", "the job"), job.get("status", {})
    said = f"{name}: {status.get('state') or 'Pending'}"
    # Under traffic the service speaks for its candidate; the job repeats it a moment later.
    serving = (service or {}).get("status", {}).get("message", "")
    if said_by := serving or status.get("message", ""):
        said += f": {said_by}"
    if status.get("state") == "Training" and (steps := status.get("progress")):
        loss = f", loss {steps['trainLoss']}" if steps.get("trainLoss") else ""
        said += f" (step {steps['step']} of {steps['totalSteps']}{loss})"
    return said
