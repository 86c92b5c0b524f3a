"""What serving pods say about themselves: why they are not ready, and when a server last ended by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from serin_operator.api.contract import parse_result
from serin_operator.manifests import weights
from serin_operator.observe.fields import Json, by_type, part, parts

MAX_TEXT = 500
OTHER_FILES = 65  # the contract's exit code for a model that is not what it should be
_NODE_LOST = {"Unknown", "ContainerStatusUnknown"}  # the node went away under it: not the server's doing


@dataclass(frozen=True, slots=True)
class PodsView:
    trouble: str = ""
    crashed_at: datetime | None = None
    tried: bool = False  # a pod that is not ready has run something of the model's: it had its chance


def pods_view(pods: Sequence[Json]) -> PodsView:
    """Of one revision's pods; those that are being deleted no longer count."""
    living = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    troubles = [text for pod in living if (text := trouble(pod))]
    crashes = [at for pod in living if (at := crashed_at(pod)) is not None]
    return PodsView(troubles[0] if troubles else "", max(crashes, default=None), any(tried(pod) for pod in living))


def tried(pod: Json) -> bool:
    """It is not ready, although its server runs or has ended, or what proves the model's files has found others. A pod that
    waits for a place, an image, a volume, a Secret or a store says nothing of the model."""
    if part(by_type(parts(pod, "status", "conditions")), "Ready").get("status") == "True":
        return False
    running = ["running" in part(container, "state") for container in parts(pod, "status", "containerStatuses")]
    return any(running) or any(_of_the_model(container) is not None for container in _containers(pod))


def trouble(pod: Json) -> str:
    """Why this pod is not ready, in its own words; "" when it is, or when it is only starting."""
    conditions = by_type(parts(pod, "status", "conditions"))
    if part(conditions, "Ready").get("status") == "True":
        return ""
    for container in _containers(pod):
        if text := _container_trouble(container):
            return text[:MAX_TEXT]
    scheduled = part(conditions, "PodScheduled")
    if scheduled.get("status") == "False":
        return f"{scheduled.get('reason', '')}: {scheduled.get('message', '')}"[:MAX_TEXT]
    return ""


def _container_trouble(container: Json) -> str:
    ended = _ended(container)
    if ended is not None:
        return _ending(ended)
    waiting = part(container, "state", "waiting")
    if waiting.get("reason") in (None, "ContainerCreating", "PodInitializing"):
        return ""
    return f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")


def _ending(ended: Json) -> str:
    """The server's own result when it left one, else how it ended."""
    message = str(ended.get("message") or "")
    if (result := parse_result(message)) is not None:
        return result.sentence
    lines = message.strip().splitlines()
    tail = f": {lines[-1]}" if lines else ""
    return f"the server ended with exit code {ended.get('exitCode')} ({ended.get('reason', '')}){tail}"


def crashed_at(pod: Json) -> datetime | None:
    ends = [
        datetime.fromisoformat(ended["finishedAt"])
        for container in _containers(pod)
        if (ended := _of_the_model(container)) is not None
        and ended.get("finishedAt")
        and ended.get("reason") not in _NODE_LOST
    ]
    return max(ends, default=None)


def _ended(container: Json) -> Json | None:
    """The last end of this container, whether it runs again or not."""
    return part(container, "state", "terminated") or part(container, "lastState", "terminated") or None


def _of_the_model(container: Json) -> Json | None:
    """The last end of this container, when it says something of the model. Who fetches the files does so in one case: they
    are others than were judged. A store that cannot be reached, a full disk, a kill say nothing."""
    ended = _ended(container)
    if ended is not None and container.get("name") == weights.NAME and ended.get("exitCode") != OTHER_FILES:
        return None
    return ended


def _containers(pod: Json) -> list[Json]:
    """Those that serve, and before them those that should have ended well and did not."""
    before = parts(pod, "status", "initContainerStatuses")
    return [*(c for c in before if (_ended(c) or {}).get("exitCode") != 0), *parts(pod, "status", "containerStatuses")]
