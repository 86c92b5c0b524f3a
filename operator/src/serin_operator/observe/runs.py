"""Stage runs read from batch/v1 Jobs and their pods. Pure parsing; the reads are in `observe/job.py`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from serin_operator.api.contract import StageResult, parse_result
from serin_operator.api.v1alpha1 import StageName
from serin_operator.decide.job.failures import EXIT_CONFIG, EXIT_DATA, EXIT_TRY_AGAIN
from serin_operator.decide.job.snapshot import RunPhase, StageRun
from serin_operator.manifests import names

Json = Mapping[str, Any]
JOB_NAME_LABEL = "batch.kubernetes.io/job-name"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
_STAGES = {stage.lower(): stage for stage in StageName}
_TELLING = (EXIT_CONFIG, EXIT_DATA, EXIT_TRY_AGAIN)
_IMAGE = (
    "ImagePullFailed",
    "correct the image in Serin's configuration, or name a secret for its registry in"
    " spec.distribution.scheduling.imagePullSecrets; it is pulled again by itself",
)
_STUCK = {
    "ImagePullBackOff": _IMAGE,
    "ErrImagePull": _IMAGE,
    "ErrImageNeverPull": _IMAGE,
    "InvalidImageName": _IMAGE,
    "CreateContainerConfigError": ("ContainerNotCreated", "create what it names, and it starts by itself"),
    "CreateContainerError": ("ContainerNotCreated", "see what its node says: it is tried again by itself"),
}
_UNSCHEDULABLE = (  # words of the scheduler, the most telling first
    ("Insufficient", "it starts by itself once there is room: add nodes, or lower spec.distribution.resources"),
    ("untolerated taint", "it starts by itself once a node is free: see spec.distribution.scheduling.tolerations"),
    ("node affinity/selector", "no node has these labels: see spec.distribution.scheduling.nodeSelector"),
    ("PersistentVolumeClaim", "it starts by itself once the claim is bound"),
)
PEER_LOST = "PeerLost"  # the trainer's word for: another process of the run went away
_EVICTED = frozenset({"Evicted", "NodeLost", "Preempting", "NodeShutdown", "Terminated"})
_OWN_LIMIT = (
    "exceeds the total limit of containers",
    "exceeds the limit",
    "exceeded its local ephemeral storage limit",
)


def runs(jobs: Iterable[Json], pods: Iterable[Json], owner: str) -> tuple[StageRun, ...]:
    """One StageRun for each of our Jobs. Those of a deleted job of the same name (another owner uid) have no key: they
    are in the way while they live, and never taken for this job's own.

    A Job that is deleted is gone before its pods are: each of those that still runs is in the way, too.
    """
    by_job: dict[str, list[Json]] = {}
    found: list[StageRun | None] = []
    by_uid: dict[str, Json] = {job["metadata"]["uid"]: job for job in jobs}
    by_name: dict[str, str] = {job["metadata"]["name"]: uid for uid, job in by_uid.items()}
    for pod in pods:
        uid = _controller(pod) or by_name.get(_labels(pod).get(JOB_NAME_LABEL, ""), "")
        by_job.setdefault(uid, []).append(pod)
    found += [_run(job, by_job.get(uid, []), owner) for uid, job in by_uid.items()]
    found += [_left_behind(pod) for uid, left in by_job.items() if uid not in by_uid for pod in left]
    return tuple(run for run in found if run is not None)


@dataclass(frozen=True, slots=True)
class PodOfRun:
    """One pod of a run: its place among them, its IP while it runs, and whether it ended well."""

    index: int
    address: str | None
    done: bool


def pods_of(pods: Iterable[Json], run: StageRun) -> tuple[PodOfRun, ...]:
    """The pods of a run that run or are done; of one index, which may have been tried before, the one that says most."""
    found: dict[int, PodOfRun] = {}
    for pod in pods:
        labels, status = _labels(pod), _status(pod)
        index = labels.get(INDEX_LABEL, "")
        if labels.get(JOB_NAME_LABEL) != run.name or not index.isdigit():
            continue
        address = status.get("podIP") if status.get("phase") == "Running" else None
        one = PodOfRun(int(index), address, status.get("phase") == "Succeeded")
        if one.done or (one.address and not (one.index in found and found[one.index].done)):
            found[one.index] = one
    return tuple(found[index] for index in sorted(found))


def training_pod_address(pods: Iterable[Json], run: StageRun) -> str | None:
    """The IP of the pod of rank 0 while it runs."""
    for pod in pods:
        labels = _labels(pod)
        if labels.get(JOB_NAME_LABEL) == run.name and labels.get(INDEX_LABEL) == "0":
            status = _status(pod)
            return status.get("podIP") if status.get("phase") == "Running" else None
    return None


def _controller(pod: Json) -> str:
    """The uid of the Job that made the pod."""
    owners = cast("list[Json]", pod["metadata"].get("ownerReferences") or [])
    return next((ref["uid"] for ref in owners if ref.get("controller")), "")


def _left_behind(pod: Json) -> StageRun | None:
    """A pod whose Job is gone, while it runs: on its way out, with its whole grace period to save a checkpoint."""
    meta, labels = pod["metadata"], _labels(pod)
    stage = _STAGES.get(labels.get(names.STAGE, ""))
    attempt = labels.get(names.ATTEMPT, "")
    if stage is None or not attempt.isdigit() or _status(pod).get("phase") in ("Succeeded", "Failed"):
        return None
    return StageRun(
        stage=stage,
        key="",
        attempt=int(attempt),
        name=meta["name"],
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        phase=RunPhase.RUNNING,
        started_at=_time(meta["creationTimestamp"]),
        deleting=True,
    )


def _run(job: Json, pods: list[Json], owner: str) -> StageRun | None:
    labels = _labels(job)
    stage = _STAGES.get(labels.get(names.STAGE, ""))
    attempt = labels.get(names.ATTEMPT, "")
    if stage is None or not attempt.isdigit():
        return None  # somebody else's Job under our label
    phase, finished_at = _phase(job)
    ended = [end for pod in pods if (end := _terminated(pod)) is not None]
    told = _most_telling(ended, phase)
    waiting = next((why for pod in pods if (why := _waiting(pod)).said), _without_pods(job, pods))
    return StageRun(
        stage=stage,
        key=labels.get(names.KEY, "") if _owned_by(job, owner) else "",
        attempt=int(attempt),
        name=job["metadata"]["name"],
        uid=job["metadata"]["uid"],
        resource_version=job["metadata"]["resourceVersion"],
        phase=phase,
        started_at=_time(job["metadata"]["creationTimestamp"]),
        finished_at=finished_at,
        result=parse_result(str(told.get("message", ""))) if told else None,
        exit_code=told.get("exitCode") if told else None,
        disruption=next((why for pod in pods if (why := _disruption(pod))), ""),
        over_limit=next((said for pod in pods if (said := _over_limit(pod))), "")[:400],
        out_of_memory=any(end.get("reason") == "OOMKilled" for end in ended),
        pods_lost=phase is RunPhase.FAILED and _lost(job, pods, ended),
        waiting=waiting.said,
        waiting_reason=waiting.reason,
        suspended=bool(_part(job, "spec").get("suspend")),
        queue=labels.get(names.QUEUE, ""),
        placement=str(_part(job["metadata"], "annotations").get(names.PLACEMENT, "")),
        size=str(_part(job["metadata"], "annotations").get(names.SIZE, "")),
        log_tail=str(told.get("message", "")) if told else "",
        image=next((image for pod in pods if (image := _image(pod))), ""),
        deleting=job["metadata"].get("deletionTimestamp") is not None,
    )


def _owned_by(job: Json, owner: str) -> bool:
    return any(ref.get("uid") == owner for ref in cast("list[Json]", job["metadata"].get("ownerReferences") or []))


def _phase(job: Json) -> tuple[RunPhase, datetime | None]:
    """Complete and Failed are set only once all pods have ended (Kubernetes 1.31 and later)."""
    for condition in cast("list[Json]", _status(job).get("conditions") or []):
        if condition.get("status") == "True" and condition.get("type") in ("Complete", "Failed"):
            phase = RunPhase.SUCCEEDED if condition["type"] == "Complete" else RunPhase.FAILED
            return phase, _time(condition["lastTransitionTime"])
    return RunPhase.RUNNING, None


def _most_telling(ended: list[Json], phase: RunPhase) -> Json | None:
    """Of a success, the pod that wrote the result; of a failure, the pod that knows whose turn it is."""
    if phase is RunPhase.SUCCEEDED:
        well = [end for end in ended if end.get("exitCode") == 0]  # others may have failed before, and were run again
        return next((end for end in well if _result(end) is not None), next(iter(well), None))
    failed = [end for end in ended if end.get("exitCode") != 0]
    return min(failed, key=_rank, default=None)


def _rank(end: Json) -> tuple[int, str]:
    """A pod that says why comes first, then one with a telling exit code, then whoever failed first; then those that
    were asked to end, as the others are once one has failed, and last those that only missed another one."""
    return _telling(end), str(end.get("finishedAt"))


def _telling(end: Json) -> int:
    if _missed_a_peer(end):
        return 4
    if end.get("exitCode") == EXIT_TRY_AGAIN:
        return 3
    if _result(end) is not None:
        return 0
    return 1 if end.get("exitCode") in _TELLING else 2


def _missed_a_peer(end: Json) -> bool:
    result = _result(end)
    return result is not None and result.reason == PEER_LOST


def _lost(job: Json, pods: list[Json], ended: list[Json]) -> bool:
    """Pods are gone, and of those that are left none failed by itself. Once one has, the Job controller deletes the
    others: that these are gone tells nothing."""
    by_itself = [end for end in ended if end.get("exitCode") not in (0, EXIT_TRY_AGAIN) and not _missed_a_peer(end)]
    return len(pods) < int(_part(job, "spec").get("parallelism") or 0) and not by_itself


def _image(pod: Json) -> str:
    """What runs there, by digest: a tag may mean something else tomorrow."""
    statuses = cast("list[Json]", _status(pod).get("containerStatuses") or [])
    return next((str(status["imageID"])[:512] for status in statuses if status.get("imageID")), "")


def _result(end: Json) -> StageResult | None:
    return parse_result(str(end.get("message", "")))


def _terminated(pod: Json) -> Json | None:
    for status in cast("list[Json]", _status(pod).get("containerStatuses") or []):
        ended = _part(_part(status, "state"), "terminated")
        if ended:
            return ended
    return None


def _disruption(pod: Json) -> str:
    """Kubernetes' word for what befell the pod from outside; the condition tells more than the status."""
    status = _status(pod)
    for condition in cast("list[Json]", status.get("conditions") or []):
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return str(condition.get("reason") or "DisruptionTarget")
    reason = str(status.get("reason") or "")
    return reason if reason in _EVICTED else ""


def _over_limit(pod: Json) -> str:
    """Evicted by its kubelet for using more than its own limit, which no other node will bear either."""
    status = _status(pod)
    said = str(status.get("message") or "")
    return said if status.get("reason") == "Evicted" and any(mark in said for mark in _OWN_LIMIT) else ""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Why a pod does not run, in a word and in a sentence."""

    reason: str = ""
    said: str = ""


def _without_pods(job: Json, pods: list[Json]) -> _Waiting:
    """The Job controller has looked at it (it sets startTime) and could not create a pod: it says why in events only."""
    status = _status(job)
    counted = sum(int(status.get(field) or 0) for field in ("active", "succeeded", "failed", "terminating"))
    if pods or counted or status.get("startTime") is None or status.get("conditions"):
        return _Waiting()
    return _Waiting(
        "PodsNotCreated",
        f"no pod of {job['metadata']['name']} could be created, mostly because of a ResourceQuota or an admission policy;"
        f" kubectl describe job {job['metadata']['name']} says why",
    )


def _waiting(pod: Json) -> _Waiting:
    name = pod["metadata"]["name"]
    status = _status(pod)
    for condition in cast("list[Json]", status.get("conditions") or []):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            said = str(condition.get("message", condition.get("reason", ""))).rstrip(".")
            return _Waiting("Unschedulable", f"pod {name} is not scheduled: {said}; {_advice(said)}")
    for container in cast("list[Json]", status.get("containerStatuses") or []):
        waiting = _part(_part(container, "state"), "waiting")
        reason = str(waiting.get("reason", ""))
        if reason in _STUCK:
            word, advice = _STUCK[reason]
            said = str(waiting.get("message", "")).rstrip(".")
            return _Waiting(word, f"pod {name} does not start: {reason}: {said}; {advice}")
    return _Waiting()


def _advice(said: str) -> str:
    """What helps a pod that no node takes, by the scheduler's own words."""
    return next((advice for mark, advice in _UNSCHEDULABLE if mark in said), "it starts by itself once a node takes it")


def _labels(manifest: Json) -> Mapping[str, str]:
    return cast("Mapping[str, str]", manifest["metadata"].get("labels") or {})


def _status(manifest: Json) -> Json:
    return _part(manifest, "status")


def _part(parent: Json, field: str) -> Json:
    """A nested object, empty when it is absent."""
    return cast("Json", parent.get(field) or {})


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
