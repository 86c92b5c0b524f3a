"""A world without a gateway: one Service in front of all pods, each pod for itself, and the EndpointSlices' controller.

It checks on each write what a selector that takes in all pods could do wrong: nobody but stable and candidate is behind it, no
numbers of pods give the candidate more than its step asks, and the stable keeps the pods that carry everything.
"""

from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from serin_operator.api.v1alpha1 import TrafficProvider
from serin_operator.manifests import names
from serin_operator.observe.service import Found
from support.service_world import SERVICE, Items, Json, Model, World, a_pod, a_service

FRONT = ("Service", SERVICE)


def a_service_by_pods(replicas: int = 1, max_replicas: int | None = None, **canary: Any) -> Json:
    found = a_service(**canary)
    found["spec"]["runtime"]["replicas"] = replicas
    found["spec"]["traffic"] = {"provider": TrafficProvider.REPLICA_RATIO.value}
    if max_replicas is not None:
        found["spec"]["traffic"]["maxReplicas"] = max_replicas
    return found


class ByPods(World):
    def __init__(self, service: Json | None = None) -> None:
        self.born: dict[str, list[datetime]] = {}  # of each pod, by Deployment
        self.broken: Counter[str] = Counter()  # pods that are not ready, by Deployment
        self.slices: Items = []
        self.allowed: set[str] = set()  # who may be behind the Service while it selects all pods
        self.ratio_log: list[tuple[dict[str, int], datetime]] = []
        super().__init__(service or a_service_by_pods())

    # --- what is behind the Service -------------------------------------------------------------------------------

    @property
    def selects(self) -> str:
        """A revision, `*` for all pods, empty when there is no Service or a selector of somebody else."""
        selector = self.objects.get(FRONT, {"spec": {"selector": {}}})["spec"]["selector"]
        if selector.get(names.SERVICE) != SERVICE:
            return ""
        return str(selector.get(names.REVISION, "*"))

    @property
    def ready(self) -> dict[str, int]:
        """Pods that get requests, by revision, as the EndpointSlices say."""
        names_of = [one["targetRef"]["name"] for item in self.slices for one in item["endpoints"]]
        return dict(Counter(name.rpartition("-")[0] for name in names_of))

    @property
    def backends(self) -> dict[str, int]:
        """In percent of the ready pods; what rounding leaves goes to the largest share."""
        total = sum(self.ready.values())
        found = {name: max(100 * pods // total, 1) for name, pods in sorted(self.ready.items())}
        if found:
            largest = max(found, key=lambda name: found[name])
            found[largest] += 100 - sum(found.values())
        return found

    def wanted(self, name: str) -> int:
        found = self.objects.get(("Deployment", name))
        return int(found["spec"]["replicas"]) if found is not None else 0

    def ready_of(self, name: str) -> int:
        return int(self.objects.get(("Deployment", name), {}).get("status", {}).get("readyReplicas", 0))

    def pods(self) -> dict[str, int]:
        return {name: len(born) for name, born in self.born.items() if born}

    # --- what the observer reads ----------------------------------------------------------------------------------

    def _found(self) -> Found:
        return replace(super()._found(), route=None, front=self.objects.get(FRONT), slices=self.slices)

    def _kind(self, kind: str) -> Items:
        """Lists are of what has the label of a stage, which the Service in front has not."""
        return [item for item in super()._kind(kind) if (kind, item["metadata"]["name"]) != FRONT]

    def _pods(self) -> Items:
        found: Items = []
        for name, born in self.born.items():
            deployment, model = self.objects.get(("Deployment", name)), self.models.get(name, Model())
            if deployment is None:
                continue
            for number in range(len(born)):
                pod = deepcopy(a_pod(deployment, model, ready=self._is_ready(name, number)))
                pod["metadata"]["name"] = f"{name}-{number}"
                found.append(pod)
        return found

    def _is_ready(self, name: str, number: int) -> bool:
        model, born = self.models.get(name, Model()), self.born[name]
        if model.blocked is not None or number < self.broken[name]:
            return False
        if model.ready is not None:
            return model.ready
        return (self.now - born[number]).total_seconds() >= model.starts_in

    # --- the neighbours -------------------------------------------------------------------------------------------

    def _run_pods(self, name: str, item: Json) -> None:
        born = self.born.setdefault(name, [])
        del born[item["spec"]["replicas"] :]
        born += [self.now] * (item["spec"]["replicas"] - len(born))
        before = item.get("status", {}).get("conditions", [{}])[0]
        ready = sum(self._is_ready(name, number) for number in range(len(born)))
        status = "True" if ready else "False"
        since = before["lastTransitionTime"] if before.get("status") == status else self.now.isoformat()
        item["status"] = {
            "observedGeneration": item["metadata"]["generation"],
            "readyReplicas": ready,
            "updatedReplicas": len(born),
            "conditions": [{"type": "Available", "status": status, "lastTransitionTime": since}],
        }

    def _program(self) -> None:
        """The EndpointSlices follow a moment after the pods and the Service."""
        for name in [name for name in self.born if ("Deployment", name) not in self.objects]:
            del self.born[name]
        if not self.gateway_up:
            return
        selects = self.selects
        chosen = [name for name in self.born if selects in ("*", name)]
        endpoints = [
            {"targetRef": {"kind": "Pod", "name": f"{name}-{number}"}, "conditions": {"ready": True}}
            for name in chosen
            for number in range(len(self.born[name]))
            if self._is_ready(name, number)
        ]
        self.slices = [{"endpoints": endpoints}]
        if selects == "*":
            assert set(self.ready) <= self.allowed, f"{self.ready} are behind the Service, and {self.allowed} may be"
        if not self.ratio_log or self.ratio_log[-1][0] != self.ready:
            self.ratio_log.append((self.ready, self.now))

    def _send(self, seconds: float) -> None:
        super()._send(seconds)
        if FRONT in self.objects and not self.ready:
            self.failures += 1

    def remove(self, kind: str, name: str) -> None:
        super().remove(kind, name)
        if kind == "Deployment":
            self.born.pop(name, None)
        self._written()

    def select_by_hand(self, selector: Json) -> None:
        """Somebody edits the Service."""
        found = self.objects[FRONT]
        found["spec"] = {**found["spec"], "selector": selector}
        self.allowed = {*self.born, *self.running()}
        self._stamp(found)
        self._written()

    # --- safety, checked on every write ---------------------------------------------------------------------------

    def _apply(self, manifest: Json) -> None:
        key = (manifest["kind"], manifest["metadata"]["name"])
        if key == FRONT:
            self._check_front(manifest["spec"]["selector"])
        elif key[0] == "Deployment":
            self._check_numbers(key[1], manifest["spec"]["replicas"])
        super()._apply(manifest)
        if key == FRONT or key[0] == "Deployment":
            self._written()

    def _amend(self, key: tuple[str, str], patch: Mapping[str, Any]) -> None:
        """Of a model without a record, the number of its pods and nothing else."""
        assert key[0] == "Deployment"
        assert ("ModelRevision", key[1]) not in self.objects
        assert patch.keys() == {"spec"}
        assert patch["spec"].keys() == {"replicas"}
        self.writes.append(f"amend {key[0]} {key[1]}")
        self._check_numbers(key[1], patch["spec"]["replicas"])
        found = self.objects[key]
        found["spec"] = {**found["spec"], **patch["spec"]}
        found["metadata"]["generation"] += 1
        self._stamp(found)
        self._written()

    def _check_front(self, selector: Json) -> None:
        revision = selector.get(names.REVISION)
        status = self.status
        stable, candidate = ((status.get(what) or {}).get("revision") for what in ("stable", "candidate"))
        if revision is not None:
            if revision != self.selects:
                assert not self.is_rejected(revision), f"the rejected {revision} gets everything"
                assert self.deployment_ready(revision), f"{revision} gets everything without a ready pod"
            if revision == candidate and self.deployment_ready(stable):
                full = self._replicas()
                ready = self.ready_of(revision)
                assert revision == self.selects or ready >= full, (
                    f"{revision} gets everything with {ready} of {full} pods"
                )
            return
        there = {*self.running(), *self.pods()}
        assert there <= {stable, candidate}, f"all pods are selected, and there are {there}"
        assert not self.is_rejected(candidate), f"the rejected {candidate} is let in"
        if self.selects != "*":
            self._check_share(self.pods()[candidate], self.ready_of(stable))
        self.allowed = {stable, candidate}

    def _check_numbers(self, name: str, replicas: int) -> None:
        status = self.status
        stable, candidate = ((status.get(what) or {}).get("revision") for what in ("stable", "candidate"))
        if name == stable:
            assert replicas >= self._replicas() or not self.wanted(name), f"the stable is left with {replicas} pods"
        if self.selects != "*":
            return
        assert name in self.allowed, f"{name} is started while all pods are selected"
        if name == candidate and replicas > self.wanted(name):
            self._check_share(replicas, self.ready_of(stable))
        if name == stable and replicas < self.wanted(name):
            self._check_share(max(self.wanted(candidate), self.pods().get(candidate, 0)) if candidate else 0, replicas)

    def _check_share(self, candidate: int, stable: int) -> None:
        steps, number = self._steps(), self.status["candidate"]["step"]
        if self.status["candidate"].get("stableSilentSeconds"):
            return
        asked = next(s["weightPercent"] for s in reversed(steps[: min(number, len(steps))]) if "weightPercent" in s)
        assert 100 * candidate <= asked * (candidate + stable), (
            f"{candidate} beside {stable}, and {asked} percent asked"
        )

    def _replicas(self) -> int:
        return int(self.objects[("ModelService", SERVICE)]["spec"]["runtime"]["replicas"])

    def _written(self) -> None:
        """Since when each has had the share that the Service and the Deployments say."""
        pods = {name: self.wanted(name) for name in self.running()} if self.selects == "*" else {self.selects: 1}
        total = sum(pods.values()) or 1
        old, self.shares = self.shares, {}
        for name, number in pods.items():
            share = round(1000 * number / total)
            self.shares[name] = old[name] if name in old and old[name][0] == share else (share, self.now)

    def _route_changed(self) -> None:
        self._written()


def with_stable_by_pods(
    letter: str = "a", replicas: int = 1, max_replicas: int | None = None, **canary: Any
) -> tuple[ByPods, str]:
    """A world in which one model serves behind the Service and nothing moves."""
    world = ByPods(a_service_by_pods(replicas, max_replicas, **canary))
    name = world.passes(letter)
    for _ in range(12):
        world.look()
        world.tick()
    assert world.status["stable"]["revision"] == name
    assert world.weights == {name: 100}
    world.writes.clear()
    world.sentences.clear()
    world.events.clear()
    world.ratio_log.clear()
    return world, name


ALL_GONE = timedelta(seconds=31)
"""Longer than the delay after which pods without traffic go."""
