"""What must hold whatever the fault was: the same end (E), the same creates and deletes (C), safety at every moment (S).

E and C compare with a run of the same flow without a fault. S reads the apiserver's audit log, so it sees moments that no
end state shows.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from faults.harness.plane import OPERATOR, Api
from serin_operator.api.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    EVAL_GATE,
    FINE_TUNE_JOB,
    HTTP_ROUTE,
    JOB,
    MODEL_REVISION,
    MODEL_SERVICE,
    SERVICE,
)
from serin_operator.decide.service.monitoring import CONDITION as MONITORED
from serin_operator.manifests import names

Json = dict[str, Any]
OURS = (FINE_TUNE_JOB, MODEL_SERVICE, MODEL_REVISION, EVAL_GATE, JOB, DEPLOYMENT, SERVICE, CONFIG_MAP, HTTP_ROUTE)
USERS = frozenset(
    {"finetunejobs", "modelservices", "evalgates", "persistentvolumeclaims"}  # cluster-wide ones: R24 has the rights
)
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_DROPPED = frozenset(
    {
        "resourceVersion",
        "uid",
        "creationTimestamp",
        "managedFields",
        "clusterIP",
        "clusterIPs",
        "deployment.kubernetes.io/revision",
        "serin.dev/fingerprint",
        "serin.dev/config",
    }
)  # fmt: skip  (hashes of texts that name the namespace)
_CHILDREN_ONLY = frozenset({"generation", "observedGeneration"})
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)|\d\d:\d\d:\d\d UTC")
_DURATION = re.compile(r"\b(\d+ of )?\d+(\.\d+)? s\b")
# A key that the pods of a service share is made from the service's uid.
_OF_THE_UID = re.compile(r"(feedbackKey\W+)[0-9a-f]{64}")
_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NUMBER = re.compile(r"\d[\d.,]*")
_OUTCOMES = re.compile(r'experiment: [^"]*')  # how many there were is a matter of when one looked
_APPROVAL = re.compile(r'("approval\.serin\.dev/\w+": ")\w+ ')  # a code is of the uid and the moment
_CHILD = re.compile(r"-([0-9a-f]{8})-\d+$")


# --- E --------------------------------------------------------------------------------------------------------------


def end_state(api: Api, namespace: str) -> dict[str, Json]:
    """All our objects, without what differs from run to run: uids, versions, moments, and the hashes in names."""
    found = [(kind, item) for kind in OURS for item in api.items(kind.path(namespace))]
    said = Naming(namespace, (item for _, item in found))
    return {
        f"{kind.kind} {said.plain(item['metadata']['name'])}": comparable(kind.api_version, item, said)
        for kind, item in found
    }


def differences(clean: dict[str, Json], faulty: dict[str, Json]) -> list[str]:
    """One line for each field that is not as in the clean run."""
    lines: list[str] = []
    for name in sorted(clean.keys() | faulty.keys()):
        if name not in faulty:
            lines.append(f"E: {name} is missing")
        elif name not in clean:
            lines.append(f"E: {name} is there and should not be")
        else:
            lines += [f"E: {name}: {line}" for line in _changes("", clean[name], faulty[name])]
    return lines


def _changes(path: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _changes(f"{path}.{key}", old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _changes(f"{path}[{index}]", before, after)
    elif old != new:
        was, now = _where_they_part(json.dumps(old), json.dumps(new))
        yield f"{path} is {now}, without a fault {was}"


def _where_they_part(old: str, new: str) -> tuple[str, str]:
    """Of long texts, the places that differ."""
    same = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    start = max(0, same - 40)
    return old[start : start + 200], new[start : start + 200]


class Naming:
    """Names of stages' children hold a hash of their owner's uid; the stage's key, which a label tells, takes its place."""

    def __init__(self, namespace: str, objects: Iterable[Json]) -> None:
        self._namespace = namespace
        self._keys: dict[str, str] = {}
        for item in objects:
            meta = item.get("metadata") or {}
            key = (meta.get("labels") or {}).get(names.KEY)
            child = _CHILD.search(meta.get("name", ""))
            if key and child:
                self._keys[child[1]] = key[:8]

    def plain(self, text: str) -> str:
        for hashed, key in self._keys.items():
            text = text.replace(hashed, key)
        text = text.replace(self._namespace, "NAMESPACE")
        text = _OUTCOMES.sub(lambda said: _NUMBER.sub("N", said[0]), text)
        text = _APPROVAL.sub(r"\1CODE ", _OF_THE_UID.sub(r"\1KEY", text))
        return _DURATION.sub("N s", _TIME.sub("TIME", _UID.sub("UID", text)))


def comparable(api_version: str, item: Json, said: Naming) -> Json:
    ours = api_version.startswith("serin.dev/")
    dropped = _DROPPED if ours else _DROPPED | _CHILDREN_ONLY
    made: Json = json.loads(said.plain(json.dumps(item)))
    status = made.get("status") or {}
    # The last look's numbers: a crash may swallow a look, and nobody can take it again. Verdicts are in the records.
    status.pop("slos", None)
    # A stable is looked at for the first time 60 s after its promotion: whether it was is how slow the story was, and what
    # the look found is told by no story. That a stable breaks its SLOs stays.
    if not (status.pop("monitoring", None) or {}).get("breached") and "conditions" in status:
        status["conditions"] = [one for one in status["conditions"] if one["type"] != MONITORED]
    # An experiment's numbers grow with time; who has won stays.
    if (experiment := status.get("experiment")) is not None:
        status["experiment"] = {"verdict": experiment.get("verdict")}
    # How often a lent route had been written when it was written last is a matter of who came first, Git or Serin.
    (status.get("lentRoute") or {}).pop("generation", None)
    if not ours and "conditions" in status:  # how a controller got there is its own affair
        status["conditions"] = sorted(f"{c['type']}={c['status']}" for c in status["conditions"])
        for passing in ("startTime", "completionTime"):
            status.pop(passing, None)
    return _without(made, dropped)


def _without(value: Any, dropped: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(part, dropped) for key, part in value.items() if key not in dropped}
    if isinstance(value, list):
        return [_without(part, dropped) for part in value]
    return value


# --- C --------------------------------------------------------------------------------------------------------------


def creates_and_deletes(events: Iterable[Json]) -> Counter[str]:
    """What the operator created and deleted, by object."""
    events = list(events)
    said = Naming(_namespace(events), (event.get("responseObject") or {} for event in events))
    found: Counter[str] = Counter()
    for event in events:
        ref, code = event["objectRef"], event.get("responseStatus", {}).get("code", 0)
        if event["user"]["username"] != OPERATOR or ref.get("subresource") or ref["resource"] in ("events", "leases"):
            continue
        name = ref.get("name") or (event.get("responseObject") or {}).get("metadata", {}).get("name", "")
        if event["verb"] in ("create", "patch") and code == 201:
            found[f"create {ref['resource']} {said.plain(name)}"] += 1
        elif event["verb"] == "delete" and code in (200, 202):
            found[f"delete {ref['resource']} {said.plain(name)}"] += 1
    return found


def count_differences(clean: Counter[str], faulty: Counter[str]) -> list[str]:
    return [
        f"C: {what} {faulty[what]} times, without a fault {clean[what]}"
        for what in sorted(clean.keys() | faulty.keys())
        if clean[what] != faulty[what]
    ]


def _namespace(events: list[Json]) -> str:
    return events[0]["objectRef"].get("namespace", "") if events else ""


# --- S --------------------------------------------------------------------------------------------------------------

FRESH = timedelta(seconds=3)  # a look may be so old when its write arrives
LEFT_ALONE = timedelta(
    seconds=30
)  # so long a candidate may keep its traffic without a ready pod: a restart, and some looks


@dataclass(frozen=True)
class Violation:
    """Something that must never be, and when it was."""

    at: datetime
    what: str

    def __str__(self) -> str:
        return f"S: {self.at:%H:%M:%S.%f} {self.what}"


@dataclass
class _Pod:
    run: str  # the uid of the Job it belongs to
    stage: str  # job and stage
    revision: str
    ready: bool = False
    unready_at: datetime | None = None
    running: bool = False


@dataclass
class _World:
    """What the audit log has told so far."""

    weights: dict[str, int] = field(default_factory=dict[str, int])
    rejected: set[str] = field(default_factory=set[str])
    passed: set[str] = field(default_factory=set[str])
    promoted: set[str] = field(default_factory=set[str])
    left_alone: set[str] = field(default_factory=set[str])  # told once each
    pods: dict[str, _Pod] = field(default_factory=dict[str, _Pod])
    jobs: dict[str, tuple[str, str]] = field(
        default_factory=dict[str, tuple[str, str]]
    )  # uid -> stage, name; unfinished
    all_selected: bool = False  # by the Service of a ModelService without a gateway
    found: list[Violation] = field(default_factory=list[Violation])


def safety(events: Iterable[Json]) -> list[Violation]:
    """Every moment at which something was wrong, of one namespace."""
    world = _World()
    for event in sorted(events, key=lambda event: event["stageTimestamp"]):
        code = event.get("responseStatus", {}).get("code", 0)
        if not 200 <= code < 300:
            continue
        at = datetime.fromisoformat(event["stageTimestamp"])
        _nobody_there(world, at)
        _spec_writes(world, event, at)
        match event["objectRef"]["resource"]:
            case "modelrevisions":
                _revision(world, event)
            case "httproutes":
                _route(world, event, at)
            case "services":
                _front(world, event, at)
            case "pods":
                _pod(world, event, at)
            case "jobs":
                _job(world, event, at)
            case _:
                pass
    return world.found


def _nobody_there(world: _World, at: datetime) -> None:
    """A candidate whose pods have gone loses its traffic while there is somebody else to send it to. A stable keeps it:
    there may be no better place."""
    if world.all_selected:
        return  # who is not ready gets nothing there
    ready = _answering(world)
    for revision in world.passed - world.promoted - world.left_alone - ready:
        pods = [pod for pod in world.pods.values() if pod.revision == revision]
        gone = max((pod.unready_at for pod in pods if pod.unready_at), default=at)
        if world.weights.get(names.serving(revision), 0) and ready and at - gone > LEFT_ALONE:
            world.left_alone.add(revision)
            world.found.append(Violation(at, f"{revision} has kept its traffic for {at - gone} without a ready pod"))


def _spec_writes(world: _World, event: Json, at: datetime) -> None:
    """What users write is theirs: the operator writes status only."""
    ref = event["objectRef"]
    theirs = ref["resource"] in USERS and not ref.get("subresource")
    if event["user"]["username"] == OPERATOR and theirs and event["verb"] in WRITES:
        world.found.append(Violation(at, f"the operator wrote {ref['resource']} {ref.get('name')} itself"))


def _revision(world: _World, event: Json) -> None:
    made = event.get("responseObject") or {}
    name = made.get("metadata", {}).get("name")
    if not name or event["verb"] in ("delete", "deletecollection"):
        return
    status = made.get("status") or {}
    _set(world.rejected, name, (status.get("rollout") or {}).get("rejection") is not None)
    _set(world.passed, name, (status.get("gate") or {}).get("verdict") == "Passed")
    _set(world.promoted, name, "promotedAt" in (status.get("rollout") or {}))


def _set(names_: set[str], name: str, is_in: bool) -> None:
    (names_.add if is_in else names_.discard)(name)


def _route(world: _World, event: Json, at: datetime) -> None:
    if event["verb"] not in WRITES:
        return
    if event["verb"] == "delete":
        world.weights = {}
        return
    rules = ((event.get("responseObject") or {}).get("spec") or {}).get("rules") or []
    weights = _given(rules)
    if event["user"]["username"] == OPERATOR:
        for backend, weight in weights.items():
            if weight > world.weights.get(backend, 0):
                _raised(world, backend, world.weights.get(backend, 0), weight, at)
    world.weights = weights


def _front(world: _World, event: Json, at: datetime) -> None:
    """The Service of a ModelService without a gateway: whom it selects gets requests. When it selects all pods, whoever has some
    must be the stable or the candidate, of which none is rejected."""
    made = event.get("responseObject") or {}
    labels = (made.get("metadata") or {}).get("labels") or {}
    if names.SERVICE not in labels or names.STAGE in labels or event["user"]["username"] != OPERATOR:
        return
    selector = (made.get("spec") or {}).get("selector") or {}
    if (revision := selector.get(names.REVISION)) is not None:
        backend = names.serving(revision)
        if world.weights != {backend: 100}:
            _raised(world, backend, world.weights.get(backend, 0), 100, at)
        world.weights, world.all_selected = {backend: 100}, False
        return
    for name in _answering(world) & world.rejected:
        world.found.append(Violation(at, f"all pods are selected, also those of {name}, which is rejected"))
    world.weights = {}
    world.all_selected = True
    _look_behind(world, at)


def _answering(world: _World) -> set[str]:
    """Revisions with ready pods."""
    return {pod.revision for pod in world.pods.values() if pod.revision and pod.ready}


def _look_behind(world: _World, at: datetime) -> None:
    """While all pods are selected each that is ready gets requests."""
    there = _answering(world)
    if len(there) > 2:
        world.found.append(Violation(at, f"all pods are selected, of {sorted(there)}"))
    for name in there - world.passed:
        world.found.append(Violation(at, f"{name}, which passed no gate, gets requests as all pods do"))
    world.weights = {names.serving(name): 50 for name in there}


def _given(rules: Iterable[Json]) -> dict[str, int]:
    """The most that each backend gets by any rule, testers' among them; copies of requests count as one percent."""
    found: Counter[str] = Counter()
    for rule in rules:
        copies = [one["requestMirror"]["backendRef"] for one in rule.get("filters") or () if "requestMirror" in one]
        for ref in (*(rule.get("backendRefs") or ()), *({"name": copy["name"], "weight": 1} for copy in copies)):
            found[ref["name"]] = max(found[ref["name"]], int(ref.get("weight", 1)))
    return dict(found)


def _raised(world: _World, backend: str, old: int, new: int, at: datetime) -> None:
    revision = next((name for name in world.rejected | world.passed if names.serving(name) == backend), backend)
    if revision in world.rejected:
        world.found.append(Violation(at, f"the weight of {backend}, which is rejected, rose from {old} to {new}"))
    if revision not in world.passed:
        world.found.append(Violation(at, f"{backend}, which passed no gate, got {new} percent"))
    pods = [pod for pod in world.pods.values() if pod.revision == revision]
    if not any(pod.ready or (pod.unready_at is not None and at - pod.unready_at < FRESH) for pod in pods):
        world.found.append(Violation(at, f"{backend} has no ready pod, and its weight rose from {old} to {new}"))


def _pod(world: _World, event: Json, at: datetime) -> None:
    made = event.get("responseObject") or {}
    meta = made.get("metadata") or {}
    labels = meta.get("labels") or {}
    if names.STAGE not in labels:
        return
    uid = meta["uid"]
    if event["verb"] == "delete":
        _pod_deleted(world, uid, made, at)
        return
    owner = next((ref["uid"] for ref in meta.get("ownerReferences") or ()), "")
    stage = f"{labels.get(names.JOB, '')}/{labels[names.STAGE]}"
    pod = world.pods.setdefault(uid, _Pod(owner, stage, labels.get(names.REVISION, "")))
    status = made.get("status") or {}
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
    _readiness(pod, ready and not meta.get("deletionTimestamp"), at)
    if world.all_selected and pod.revision and pod.ready:
        _look_behind(world, at)
    # A pod whose time is over is gone for its node; only its Job's finalizer keeps the object for a moment.
    ended = bool(meta.get("deletionTimestamp")) and not meta.get("deletionGracePeriodSeconds")
    running = status.get("phase") == "Running" and not ended
    starts = running and not pod.running
    pod.running = running
    if starts and not pod.revision:
        for other in world.pods.values():
            if other.running and other.stage == stage and other.run != owner:
                world.found.append(Violation(at, f"two attempts of {stage} run: {meta['name']} and one before it"))


def _pod_deleted(world: _World, uid: str, made: Json, at: datetime) -> None:
    """Marked first; gone when nobody gives it more time."""
    pod = world.pods.get(uid)
    if pod is None:
        return
    _readiness(pod, False, at)
    if not made["metadata"].get("deletionGracePeriodSeconds"):
        pod.running = False


def _readiness(pod: _Pod, ready: bool, at: datetime) -> None:
    if pod.ready and not ready:
        pod.unready_at = at
    pod.ready = ready


def _job(world: _World, event: Json, at: datetime) -> None:
    made = event.get("responseObject") or {}
    meta = made.get("metadata") or {}
    labels = meta.get("labels") or {}
    if event["verb"] == "delete":
        gone = meta.get("uid") or (made.get("details") or {}).get("uid")
        world.jobs.pop(gone or "", None)
        return
    if names.STAGE not in labels:
        return
    stage = f"{labels.get(names.JOB, '')}/{labels[names.STAGE]}"
    conditions = (made.get("status") or {}).get("conditions") or []
    if meta.get("deletionTimestamp") or any(
        c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions
    ):
        world.jobs.pop(meta["uid"], None)
        return
    if event["verb"] == "create":
        for other, name in world.jobs.values():
            if other == stage:
                world.found.append(Violation(at, f"{meta['name']} was created while {name} was not finished"))
    if event["verb"] == "create" or meta["uid"] in world.jobs:
        world.jobs[meta["uid"]] = (stage, meta["name"])
