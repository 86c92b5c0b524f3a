"""A miniature cluster for the service loop: manifests in a dictionary, and neighbours that do what the real ones do.

The real observer reads it and the real decision is carried out on it, write by write, so a test may let the operator
die after any of them. The safety rules are checked on every write of the route and of the stable.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from serin_operator.api.kinds import GATEWAY, MODEL_REVISION, MODEL_SERVICE, Kind
from serin_operator.decide.decision import Action, Apply, Create, Decision, Delete, StatusWrite
from serin_operator.decide.service import ServiceSnapshot, decide_service
from serin_operator.decide.service.snapshot import Reading, ReadingKind
from serin_operator.errors import Conflict
from serin_operator.manifests import names
from serin_operator.observe.service import observe_service
from serin_operator.settings import Images, MetricSource, Settings

Json = dict[str, Any]
Items = list[Json]
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
NAMESPACE, SERVICE = "ml", "bot"
INFRA, GATEWAY_NAME = "infra", "public"
SETTINGS = Settings(
    images=Images(trainer="trainer:1", evaluator="evaluator:1", server="server:1"),
    metric_sources=(MetricSource(name="default", url="http://prometheus.example"),),
    scale_down_delay_seconds=30,
)
STEPS = [
    {"weightPercent": 10, "holdSeconds": 20},
    {"weightPercent": 50, "holdSeconds": 20},
    {"weightPercent": 100, "holdSeconds": 20},
]


class Died(Exception):
    """The operator was killed."""


def a_service(**canary: Any) -> Json:
    return {
        "apiVersion": "serin.dev/v1alpha1",
        "kind": "ModelService",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE, "uid": "uid-bot", "generation": 1},
        "spec": {
            "runtime": {"engine": "CPU", "replicas": 1, "resources": {"limits": {"cpu": "2"}}, "maxNewTokens": 64},
            "traffic": {
                "provider": "GatewayAPI",
                "gatewayRef": {"name": GATEWAY_NAME, "namespace": INFRA},
                "hostnames": ["bot.example.com"],
            },
            "slos": [
                {"name": "latency", "query": 'latency{revision="{{revision}}"}', "max": "2"},
                {"name": "length", "query": 'length{revision="{{revision}}"}', "min": "1", "max": "96"},
            ],
            "canary": {
                "steps": STEPS,
                "minRequests": 5,
                "intervalSeconds": 5,
                "progressDeadlineSeconds": 60,
                **canary,
            },
        },
    }


def digest_of(letter: str) -> str:
    return f"sha256:{letter * 64}"


def revision_name(letter: str) -> str:
    return names.revision(SERVICE, digest_of(letter))


def a_revision(letter: str, judged_at: datetime, verdict: str = "Passed", name: str | None = None) -> Json:
    stamp = judged_at.isoformat()
    return {
        "apiVersion": "serin.dev/v1alpha1",
        "kind": "ModelRevision",
        "metadata": {
            "name": name or revision_name(letter),
            "namespace": NAMESPACE,
            "uid": f"uid-{letter}",
            "labels": {names.SERVICE: SERVICE, names.MANAGED_BY: names.MANAGER},
            "creationTimestamp": stamp,
        },
        "spec": {
            "modelServiceRef": {"name": SERVICE},
            "jobRef": {"name": "job", "uid": "uid-job"},
            "artifact": {"uri": f"pvc://artifacts/ml/model-{letter}", "digest": digest_of(letter)},
            "lineage": {
                "baseModelUri": "pvc://models/base",
                "baseModelDigest": "sha256:0",
                "dataDigest": "sha256:1",
                "prepareKey": "p",
                "trainKey": "t",
                "modelKey": "m",
            },
        },
        "status": {"gate": {"verdict": verdict, "message": "", "judgedAt": stamp}},
    }


@dataclass
class Model:
    """How one model behaves once it serves."""

    starts_in: float = 3.0  # seconds until its pod is ready; infinity: never
    samples: dict[str, Reading] = field(
        default_factory=lambda: {
            "latency": Reading(ReadingKind.VALUE, 0.4),
            "length": Reading(ReadingKind.VALUE, 23.0),
        }
    )
    ready: bool | None = None  # overrides readiness
    crashed_at: datetime | None = None
    requests_per_second: float = 10.0  # at 100 percent

    def says(self, metric: str, kind: ReadingKind, value: float | None = None, text: str = "") -> "Model":
        self.samples[metric] = Reading(kind, value, text)
        return self


class World:
    """The store, its controllers, Prometheus, and the operator."""

    def __init__(self, service: Json | None = None) -> None:
        self.now = NOON
        self.skew = timedelta()  # how wrong the operator's clock is
        self.objects: dict[tuple[str, str], Json] = {}
        self.models: dict[str, Model] = {}
        self.sources = FakeSources(self)
        self.gateway_up = True
        self.version = 0
        self.writes: list[str] = []
        self.sentences: list[str] = []
        self.events: list[str] = []
        self.answers: dict[str, Reading] = {}  # what the last look was told
        self.failures = 0  # requests that met no ready pod
        self.step_requests: dict[str, float] = {}
        self.weight_log: list[tuple[datetime, dict[str, int]]] = []
        self.put(MODEL_SERVICE, service or a_service())
        self.put(GATEWAY, _gateway())

    # --- the user and the other loop ------------------------------------------------------------------------------

    def put(self, kind: Kind, manifest: Json) -> None:
        manifest = deepcopy(manifest)
        self._stamp(manifest)
        self.objects[(kind.kind, manifest["metadata"]["name"])] = manifest

    def passes(self, letter: str, model: Model | None = None, verdict: str = "Passed") -> str:
        """A revision comes out of its gates."""
        manifest = a_revision(letter, self.now, verdict)
        name = manifest["metadata"]["name"]
        self.models[name] = model or Model()
        if ("ModelRevision", name) not in self.objects:
            self.put(MODEL_REVISION, manifest)
        return name

    def edit(self, change: Callable[[Json], None]) -> None:
        """The user edits the ModelService's spec."""
        service = self.objects[("ModelService", SERVICE)]
        change(service["spec"])
        service["metadata"]["generation"] += 1
        self._stamp(service)

    def touch(self, kind: str, name: str, change: Callable[[Json], None]) -> None:
        """Somebody else writes a status: another leader, or we ourselves before a long sleep."""
        found = self.objects[(kind, name)]
        change(found["status"])
        self._stamp(found)

    def set_route(self, weights: dict[str, int]) -> None:
        """Somebody else writes the route."""
        route = self.objects[("HTTPRoute", SERVICE)]
        refs = route["spec"]["rules"][0]["backendRefs"]
        for ref in refs:
            ref["weight"] = weights.get(ref["name"], 0)
        route["metadata"]["generation"] += 1
        self._stamp(route)

    # --- what a test looks at -------------------------------------------------------------------------------------

    @property
    def status(self) -> Json:
        return self.objects[("ModelService", SERVICE)].get("status", {})

    def condition(self, type_: str) -> Json:
        return next(c for c in self.status["conditions"] if c["type"] == type_)

    def rollout(self, name: str) -> Json:
        return self.objects[("ModelRevision", name)]["status"].get("rollout", {})

    @property
    def weights(self) -> dict[str, int]:
        """By the route as it is written, without zeros."""
        return {name: weight for name, weight in self._backends().items() if weight}

    def running(self) -> set[str]:
        return {name for kind, name in self.objects if kind == "Deployment"}

    def deployment_ready(self, service: str) -> bool:
        status = self.objects.get(("Deployment", service), {}).get("status", {})
        return bool(status.get("readyReplicas", 0))

    # --- the operator ---------------------------------------------------------------------------------------------

    def snapshot(self) -> ServiceSnapshot:
        self.answers = {}
        found = _run(
            observe_service(self, self.sources, SETTINGS, NAMESPACE, SERVICE, self.now + self.skew)  # type: ignore[arg-type]
        )
        assert found is not None
        return found

    def look(self, dies_after: int | None = None) -> Decision:
        """One look of the operator; it may die after some of its writes."""
        decision = decide_service(self.snapshot())
        self.sentences.append(decision.sentence)
        self.carry_out(decision, dies_after)
        return decision

    def carry_out(self, decision: Decision, dies_after: int | None = None) -> None:
        """What the executor does with a decision."""
        for number, write in enumerate([*decision.statuses, *decision.actions]):
            if number == dies_after:
                raise Died
            if number == len(decision.statuses):
                self._pass(decision)
            self._carry_out(write)
        self.events.extend(event.reason for event in decision.events)

    def _pass(self, decision: Decision) -> None:
        for fence in decision.fences:
            self._expect(fence.kind, fence.name, fence.expect)

    def _carry_out(self, write: StatusWrite | Action) -> None:
        match write:
            case StatusWrite():
                self._write_status(write)
            case Apply(manifest, _, expect):
                self._expect(manifest["kind"], manifest["metadata"]["name"], expect)
                self._apply(dict(manifest))
            case Create(manifest):
                self._apply(dict(manifest))
            case Delete(_, kind, _, name, uid, version):
                self.writes.append(f"delete {kind} {name}")
                if (found := self.objects.get((kind, name))) is not None and found["metadata"]["uid"] == uid:
                    self._expect(kind, name, version)
                    del self.objects[(kind, name)]

    def _expect(self, kind: str, name: str, version: str | None) -> None:
        """The apiserver's precondition."""
        found = self.objects.get((kind, name))
        if version is not None and (found is None or found["metadata"]["resourceVersion"] != version):
            raise Conflict(f"{kind} {name} is newer")

    def _write_status(self, write: StatusWrite) -> None:
        found = self.objects[(write.kind, write.name)]
        self._expect(write.kind, write.name, write.expect)
        self.writes.append(f"status {write.kind} {write.name}")
        before = found.get("status", {})
        if write.kind == "ModelRevision":
            found["status"] = {**before, **deepcopy(dict(write.status))}
        else:
            found["status"] = deepcopy(dict(write.status))
            self._check_stable(before, found["status"])
        self._stamp(found)

    def _apply(self, manifest: Json) -> None:
        key = (manifest["kind"], manifest["metadata"]["name"])
        self.writes.append(f"apply {key[0]} {key[1]}")
        before = self.objects.get(key)
        if key[0] == "HTTPRoute":
            self._check_route(self._backends(), _backends_of(manifest))
        new = deepcopy(manifest)
        old_meta = before["metadata"] if before is not None else {}
        changed = before is None or before.get("spec") != new.get("spec")
        new["metadata"] |= {
            "uid": old_meta.get("uid", f"uid-{key[0]}-{key[1]}-{self.version}"),
            "creationTimestamp": old_meta.get("creationTimestamp", self.now.isoformat()),
            "generation": old_meta.get("generation", 0) + (1 if changed else 0),
        }
        if before is not None and "status" in before:
            new["status"] = before["status"]
        self._stamp(new)
        self.objects[key] = new
        if key[0] == "HTTPRoute":
            self.weight_log.append((self.now, self.weights))

    def _stamp(self, manifest: Json) -> None:
        self.version += 1
        manifest["metadata"]["resourceVersion"] = str(self.version)

    # --- safety, checked on every write ---------------------------------------------------------------------------

    def _check_route(self, before: dict[str, int], after: dict[str, int]) -> None:
        """Weight rises only for models that are not rejected, and only to pods that answer."""
        for service, weight in after.items():
            if weight > before.get(service, 0):
                assert not self.is_rejected(service), f"the weight of the rejected {service} rises to {weight}"
                assert self.deployment_ready(service), f"{service} gets {weight} percent without a ready pod"
        assert not after or sum(after.values()) == 100

    def _check_stable(self, before: Json, after: Json) -> None:
        """A canary's step ends well only on a look at which every SLO was told, and held."""
        old, new = before.get("stable"), after.get("stable")
        promoted = old is not None and new is not None and old["revision"] != new["revision"]
        was, now = before.get("candidate"), after.get("candidate")
        same = was is not None and now is not None and was["revision"] == now["revision"]
        stepped = same and now["step"] > was["step"] > 0
        if promoted or stepped:
            name = new["revision"] if promoted else now["revision"]
            assert self.answers.get("latency", _SILENT).kind is ReadingKind.VALUE, f"{name} went on unmeasured"
            assert self.answers["latency"].value <= 2, f"{name} went on with {self.answers['latency']}"
            assert 1 <= (self.answers["length"].value or 0) <= 96, f"{name} went on with {self.answers['length']}"
            assert not self.is_rejected(name), f"the rejected {name} went on"

    def is_rejected(self, service: str) -> bool:
        """By digest, as the store knows it."""
        bad = {
            item["spec"]["artifact"]["digest"]
            for (kind, _), item in self.objects.items()
            if kind == "ModelRevision" and item["status"].get("rollout", {}).get("rejection")
        }
        found = self.objects.get(("ModelRevision", service))
        return found is not None and found["spec"]["artifact"]["digest"] in bad

    # --- the neighbours -------------------------------------------------------------------------------------------

    def tick(self, seconds: float = 1.0) -> None:
        """Time passes: pods start, the gateway takes up the route, requests arrive."""
        self.now += timedelta(seconds=seconds)
        for (kind, name), item in list(self.objects.items()):
            if kind == "Deployment":
                self._run_pods(name, item)
        self._program()
        self._send(seconds)

    def _run_pods(self, name: str, item: Json) -> None:
        model = self.models.get(name, Model())
        age = (self.now - datetime.fromisoformat(item["metadata"]["creationTimestamp"])).total_seconds()
        ready = model.ready if model.ready is not None else age >= model.starts_in
        before = item.get("status", {}).get("conditions", [{}])[0]
        status = "True" if ready else "False"
        since = before["lastTransitionTime"] if before.get("status") == status else self.now.isoformat()
        item["status"] = {
            "observedGeneration": item["metadata"]["generation"],
            "readyReplicas": item["spec"]["replicas"] if ready else 0,
            "updatedReplicas": item["spec"]["replicas"],
            "conditions": [{"type": "Available", "status": status, "lastTransitionTime": since}],
        }

    def _program(self) -> None:
        route = self.objects.get(("HTTPRoute", SERVICE))
        if route is None or not self.gateway_up:
            return
        resolved = all(("Service", name) in self.objects for name in _backends_of(route))
        generation = route["metadata"]["generation"]
        conditions = [
            {"type": type_, "status": "True" if true else "False", "observedGeneration": generation, "message": text}
            for type_, true, text in (("Accepted", True, ""), ("ResolvedRefs", resolved, "a Service is missing"))
        ]
        parent = {"parentRef": {"namespace": INFRA, "name": GATEWAY_NAME}, "conditions": conditions}
        route["status"] = {"parents": [parent]}

    def _send(self, seconds: float) -> None:
        for name, weight in self._backends().items():
            if weight and self.deployment_ready(name):
                self.step_requests[name] = self.step_requests.get(name, 0) + seconds * weight / 10
            elif weight:
                self.failures += 1

    def _backends(self) -> dict[str, int]:
        route = self.objects.get(("HTTPRoute", SERVICE))
        return _backends_of(route) if route is not None else {}

    # --- the apiserver as the observer reads it -------------------------------------------------------------------

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Json | None:
        return self.objects.get((kind.kind, name))

    async def list(self, kind: Kind, namespace: str | None, selector: str = "") -> Items:
        wanted = dict(pair.split("=") for pair in selector.split(",") if pair)
        if kind.kind == "Pod":
            return self._pods(wanted)
        return [
            item
            for (found, _), item in self.objects.items()
            if found == kind.kind and wanted.items() <= item["metadata"].get("labels", {}).items()
        ]

    def _pods(self, wanted: dict[str, str]) -> Items:
        return [
            _pod(item, self.models[name])
            for (kind, name), item in self.objects.items()
            if kind == "Deployment" and wanted.items() <= item["metadata"]["labels"].items() and name in self.models
        ]


_SILENT = Reading(ReadingKind.NO_DATA)


class FakeSources:
    """Prometheus, which may be away, and may lie about a model."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.names: tuple[str, ...] = ("default",)
        self.away = False
        self.queries: list[str] = []

    async def query(self, source: str, promql: str) -> Reading:
        self.queries.append(promql)
        if self.away:
            return Reading(ReadingKind.OUTAGE, text="metric source default cannot be reached")
        name = re.findall(r'revision="([^"]*)"', promql)[0]
        model = self.world.models[name]
        if "request_success_total" in promql:
            seconds = float(re.findall(r"\[(\d+)s\]", promql)[0])
            weight = self.world.weights.get(name, 0)
            return Reading(ReadingKind.VALUE, model.requests_per_second * seconds * weight / 100)
        metric = promql.split("{")[0]
        self.world.answers[metric] = model.samples[metric]
        return model.samples[metric]


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """`asyncio.run` without its signal handling, which takes longer than a whole look."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


def _gateway() -> Json:
    return {
        "apiVersion": GATEWAY.api_version,
        "kind": "Gateway",
        "metadata": {"name": GATEWAY_NAME, "namespace": INFRA, "uid": "uid-gateway"},
        "status": {"conditions": [{"type": "Programmed", "status": "True"}]},
    }


def _backends_of(route: Any) -> dict[str, int]:
    return {ref["name"]: ref["weight"] for rule in route["spec"]["rules"] for ref in rule["backendRefs"]}


def _pod(deployment: Json, model: Model) -> Json:
    ended = (
        {"terminated": {"finishedAt": model.crashed_at.isoformat(), "exitCode": 137, "reason": "OOMKilled"}}
        if model.crashed_at is not None
        else {}
    )
    ready = "True" if deployment.get("status", {}).get("readyReplicas") else "False"
    return {
        "metadata": {"name": "pod", "labels": deployment["metadata"]["labels"]},
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"name": "server", "state": {"running": {}}, "lastState": ended}],
        },
    }


# --- playing --------------------------------------------------------------------------------------------------------


Until = Callable[[World], bool]


def play(
    world: World, seconds: int, until: Callable[[World], bool] | None = None, dies_after: int | None = None
) -> int:
    """Look once a second, as the watch events would make it; gives the seconds played."""
    for second in range(seconds):
        try:
            world.look(dies_after)
        except Died:
            dies_after = None
        world.tick()
        if until is not None and until(world):
            return second + 1
    return seconds


def deaths(world: World, seconds: int) -> Iterator[World]:
    """The same story again and again: one world for each write of it, in which the operator died before that write."""
    for _ in range(seconds):
        decision = decide_service(world.snapshot())
        for number in range(len(decision.statuses) + len(decision.actions)):
            other = deepcopy(world)
            with suppress(Died):
                other.look(dies_after=number)
            other.tick()
            yield other
        world.look()
        world.tick()


def stable_is(name: str) -> Until:
    return lambda world: (world.status.get("stable") or {}).get("revision") == name


def with_stable(letter: str = "a", **canary: Any) -> tuple[World, str]:
    """A world in which one model serves and nothing moves."""
    world = World(a_service(**canary))
    name = world.passes(letter)
    play(world, 10)
    assert world.status["stable"]["revision"] == name
    world.writes.clear()
    world.sentences.clear()
    world.events.clear()
    world.weight_log.clear()
    return world, name
