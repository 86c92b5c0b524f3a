"""Reads back the Service that clients use where there is no gateway, and who is behind it.

Its selector says what was written, its EndpointSlices what came of it: requests go to the pods that those call ready, and
nowhere else. Not here: what it should select.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from serin_operator.api.v1alpha1 import ModelService
from serin_operator.decide.service.snapshot import Front, RouteView
from serin_operator.manifests import names
from serin_operator.manifests.front import EVERYBODY, selected
from serin_operator.observe.fields import Json, owned_by, part, parts


def front_view(
    front: Json | None,
    slices: Sequence[Json],
    pods: Sequence[Json],
    deployments: Sequence[Json],
    service: ModelService,
) -> RouteView | None:
    """As a route: its weights are as they were written, by numbers of pods that are wanted, and count as taken up when the
    EndpointSlices agree. None when there is no Service of this name."""
    if front is None:
        return None
    version = front["metadata"]["resourceVersion"]
    if not owned_by(front, service.metadata.uid):
        problem = (
            f"a Service {service.metadata.name} exists already and is not Serin's; delete it, or give the ModelService another"
            " name"
        )
        return RouteView((), (), None, False, False, version, problem, obstacle="ServiceNameTaken")
    living = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    there = Counter(_revision(pod) for pod in living)
    selects = selected(service.metadata.name, part(front, "spec", "selector"))
    ready = ready_pods(slices, pods)
    wanted = {**there, **{_revision(one): int(one["spec"].get("replicas", 1)) for one in deployments}}
    agreed = set(ready) == (set(wanted) if selects == EVERYBODY else {selects})
    return RouteView(
        backends=_weights(selects, wanted),
        hostnames=(),
        gateway=None,
        programmed=bool(ready) and bool(selects) and agreed,
        serving=bool(ready),
        resource_version=version,
        front=Front(selects, ready, there, part(front, "spec")),
    )


def ready_pods(slices: Sequence[Json], pods: Sequence[Json]) -> Mapping[str, int]:
    """Pods that get requests, by revision. A pod with an address of each family stands in a slice of each."""
    known = {pod["metadata"]["name"]: _revision(pod) for pod in pods}
    found = {
        str(part(endpoint, "targetRef").get("name", ""))
        for one in slices
        for endpoint in parts(one, "endpoints")
        if part(endpoint, "conditions").get("ready") is not False  # absent means ready
    }
    return dict(Counter(known.get(name, "") for name in found))


def _weights(selects: str, wanted: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """In percent, and at least one for whoever is selected at all."""
    if selects != EVERYBODY:
        return ((names.serving(selects), 100),) if selects else ()
    total = sum(wanted.values())
    return tuple((names.serving(name), max(round(100 * n / total), 1)) for name, n in wanted.items() if n)


def _revision(item: Json) -> str:
    return str(part(item, "metadata", "labels").get(names.REVISION, ""))
