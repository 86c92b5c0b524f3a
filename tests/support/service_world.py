"""A miniature cluster for the service loop: manifests in a dictionary, and neighbours that do what the real ones do.

The real observer reads it and the real decision is carried out on it, write by write, so a test may let the operator
die after any of them. The safety rules are checked on every write of the route and of the stable.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from serin_operator.api.kinds import GATEWAY, MODEL_REVISION, MODEL_SERVICE, Kind
from serin_operator.api.v1alpha1 import COMMAND, COMMAND_BY, HOLD_SECONDS
from serin_operator.decide.decision import Action, Amend, Apply, Create, Decision, Delete, StatusWrite
from serin_operator.decide.job.approvals import Admission
from serin_operator.decide.policies import NO_POLICIES
from serin_operator.decide.service import ServiceSnapshot, approvers, decide_service
from serin_operator.decide.service.counters import Sampled
from serin_operator.decide.service.hostnames import beside
from serin_operator.decide.service.slos import Unusable
from serin_operator.decide.service.snapshot import Grouped, Reading, ReadingKind
from serin_operator.errors import Conflict
from serin_operator.manifests import names
from serin_operator.observe.service import Answer, Found, Question, of_jobs, questions, snapshot_of, with_answers
from serin_operator.observe.traffic import other_routes
from serin_operator.settings import Images, MetricSource, Settings
from support.scrapes import EVERY, Scrapes

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
USER_KEY = "X-User-Id"
"""The header that experiments of these tests know users by."""
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
                "bakeSeconds": 0,
                **canary,
            },
        },
    }


def a_neighbour(hostnames: list[str], made_at: datetime, name: str = "other", gateway: str = GATEWAY_NAME) -> Json:
    """The route of another ModelService."""
    return {
        "metadata": {"name": name, "namespace": "team-b", "creationTimestamp": made_at.isoformat()},
        "spec": {"hostnames": hostnames, "parentRefs": [{"namespace": INFRA, "name": gateway}]},
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
    ready_pods: int | None = None  # overrides how many of them are ready
    crashed_at: datetime | None = None
    blocked: str | None = None  # the cluster does not run its pods, and says this
    container: Json | None = None  # what the kubelet says of the server
    first: Json | None = None  # what it says of the init container, which has not ended well
    requests_per_second: float = 10.0  # at 100 percent
    fails: float = 0.01  # share of the requests
    seconds: float = 0.4  # typical latency
    succeeds: float = 0.5  # share of the requests with which users did what they wanted

    def says(self, metric: str, kind: ReadingKind, value: float | None = None, text: str = "") -> "Model":
        self.samples[metric] = Reading(kind, value, text)
        return self


class World:
    """The store, its controllers, Prometheus, and the operator."""

    def __init__(self, service: Json | None = None) -> None:
        self.now = NOON
        self.clock_set_at: list[datetime] = []
        self._skew = timedelta()
        self.objects: dict[tuple[str, str], Json] = {}
        self.models: dict[str, Model] = {}
        self.sources = FakeSources(self)
        self.scrapes = Scrapes()
        self.gateway_up = True
        self.controllers_up = True  # that of Deployments
        self.started: dict[str, datetime | None] = {}  # when a Deployment got its pods; None while it has none
        self.version = 0
        self.writes: list[str] = []
        self.sentences: list[str] = []
        self.events: list[str] = []
        self.answers: dict[str, Reading] = {}  # what the last look was told
        self.failures = 0  # requests that met no ready pod
        self.step_requests: dict[str, float] = {}
        self.weight_log: list[tuple[datetime, dict[str, int]]] = []
        self.shares: dict[str, tuple[int, datetime]] = {}  # what each gets by the route, and since when
        self.looks = 0
        self.bad_look_at = NOON  # when status last took in that an SLO that decides did not hold
        self.policies = NO_POLICIES
        self.admission = Admission(identity="policy/1 binding/1", since=NOON - timedelta(hours=1))
        self.neighbours: Items = []  # the routes of other services
        self.names_held = True
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

    def say(self, command: str, by: str | None = "alice") -> None:
        """A person annotates the ModelService."""
        service = self.objects[("ModelService", SERVICE)]
        said = {COMMAND: command} | ({COMMAND_BY: by} if by is not None else {})
        service["metadata"]["annotations"] = said
        fields = {"f:metadata": {"f:annotations": {f"f:{name}": {} for name in said}}}
        service["metadata"]["managedFields"] = [{"manager": "kubectl-annotate", "fieldsV1": fields}]
        self._stamp(service)

    def annotate(self, kind: str, name: str, key: str, text: str | None) -> None:
        """A person writes an annotation on an object, or takes it away."""
        found = self.objects[(kind, name)]
        annotations = found["metadata"].setdefault("annotations", {})
        if text is None:
            annotations.pop(key)
        else:
            annotations[key] = text
        self._stamp(found)

    def remove(self, kind: str, name: str) -> None:
        """Somebody deletes an object."""
        del self.objects[(kind, name)]
        if kind == "HTTPRoute":
            self._route_changed()

    def touch(self, kind: str, name: str, change: Callable[[Json], None]) -> None:
        """Somebody else writes a status: another leader, or we ourselves before a long sleep."""
        found = self.objects[(kind, name)]
        change(found["status"])
        self._stamp(found)

    def set_route(self, weights: dict[str, int]) -> None:
        """Somebody else writes the route."""
        route = self.objects[self.route_key]
        refs = route["spec"]["rules"][-1]["backendRefs"]
        for ref in refs:
            ref["weight"] = weights.get(ref["name"], 0)
        route["metadata"]["generation"] += 1
        self._stamp(route)
        self._route_changed()

    @property
    def skew(self) -> timedelta:
        """How wrong the operator's clock is."""
        return self._skew

    @skew.setter
    def skew(self, wrong: timedelta) -> None:
        self._skew = wrong
        self.clock_set_at.append(self.now)

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
        return {name: weight for name, weight in self.backends.items() if weight}

    def running(self) -> set[str]:
        return {name for kind, name in self.objects if kind == "Deployment"}

    def revisions(self) -> list[str]:
        return [name for kind, name in self.objects if kind == "ModelRevision"]

    def deployment_ready(self, service: str) -> bool:
        """Requests to it are answered."""
        if ("Service", service) not in self.objects:
            return False
        found = self.objects.get(("Deployment", service), {})
        return bool(found.get("status", {}).get("readyReplicas", 0)) and found["spec"]["replicas"] > 0

    # --- the operator ---------------------------------------------------------------------------------------------

    def snapshot(self) -> ServiceSnapshot:
        """What the real observer makes of this world."""
        self.answers = {}
        snapshot = snapshot_of(self._found(), SETTINGS, self.sources.names, self.now + self.skew)
        snapshot = replace(snapshot, admission=self.admission) if approvers.asked(snapshot) else snapshot
        snapshot = of_jobs(beside(snapshot, other_routes(self.neighbours)), self._kind("FineTuneJob"))
        asked = questions(snapshot)
        return with_answers(snapshot, {question: self.sources.answer(question) for question in asked})

    def _found(self) -> Found:
        return Found(
            service=self.objects[("ModelService", SERVICE)],
            revisions=self._kind("ModelRevision"),
            deployments=self._kind("Deployment"),
            services=self._kind("Service"),
            config_maps=self._kind("ConfigMap"),
            pods=self._pods(),
            route=self.objects.get(self.route_key),
            gateway=self.objects.get(("Gateway", GATEWAY_NAME)),
            policies=self.policies,
            names_held=self.names_held,
        )

    def _kind(self, kind: str) -> Items:
        return [item for (found, _), item in self.objects.items() if found == kind]

    def _pods(self) -> Items:
        """One for each Deployment, and where not all of its pods are ready, one of the others."""
        pods: Items = []
        for (kind, name), item in self.objects.items():
            if kind != "Deployment" or name not in self.models:
                continue
            ready = item.get("status", {}).get("readyReplicas", 0)
            pods += [a_pod(item, self.models[name], ready=ready > 0)]
            if 0 < ready < item["spec"].get("replicas", 1):
                pods += [a_pod(item, self.models[name], ready=False)]
        return pods

    def look(self, dies_after: int | None = None) -> Decision:
        """One look of the operator; it may die after some of its writes."""
        self.looks += 1
        decision = decide_service(self.snapshot())
        self.sentences.append(decision.sentence)
        self.carry_out(decision, dies_after)
        return decision

    def carry_out(self, decision: Decision, dies_after: int | None = None) -> None:
        """What the executor does with a decision."""
        for guard in decision.guards:
            self._expect(guard.kind, guard.name, guard.expect)
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
            case Amend(_, kind, _, name, patch, _, expect):
                self._expect(kind, name, expect)
                self._amend((kind, name), patch)
            case Create(manifest):
                self._apply(dict(manifest))
            case Delete(_, kind, _, name, uid, version):
                self.writes.append(f"delete {kind} {name}")
                if (found := self.objects.get((kind, name))) is not None and found["metadata"]["uid"] == uid:
                    self._expect(kind, name, version)
                    self._check_forgetting(kind, name)
                    del self.objects[(kind, name)]

    def _expect(self, kind: str, name: str, version: str | None) -> None:
        """The apiserver's precondition."""
        found = self.objects.get((kind, name))
        if version is not None and (found is None or found["metadata"]["resourceVersion"] != version):
            raise Conflict(f"{kind} {name} is newer")

    def _write_status(self, write: StatusWrite) -> None:
        self._expect(write.kind, write.name, write.expect)
        found = self.objects[(write.kind, write.name)]
        self.writes.append(f"status {write.kind} {write.name}")
        before = found.get("status", {})
        if write.kind == "ModelRevision":
            found["status"] = {**before, **write.status}
            self._check_rejection(before, found["status"])
        else:
            found["status"] = dict(write.status)
            self._check_status(before, found["status"])
        self._stamp(found)

    def _apply(self, manifest: Json) -> None:
        key = (manifest["kind"], manifest["metadata"]["name"])
        self.writes.append(f"apply {key[0]} {key[1]}")
        before = self.objects.get(key)
        if key[0] == "HTTPRoute":
            self._check_route(self.backends, self._backends_of(manifest))
            self._check_aside(for_testers(manifest) | mirrors_of(manifest))
            self._check_arms(kept_by(manifest), self._backends_of(manifest))
        if key[0] == "Deployment":
            self._check_stopping(key[1], manifest["spec"]["replicas"], before)
        new = {**manifest, "metadata": dict(manifest["metadata"])}  # what is written is never changed in place below
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
            self._route_changed()

    def _amend(self, key: tuple[str, str], patch: Mapping[str, Any]) -> None:
        """A user's route: nothing but the backends of its rules may change."""
        self.writes.append(f"amend {key[0]} {key[1]}")
        found = self.objects[key]
        old, new = found["spec"]["rules"], deepcopy(patch["spec"]["rules"])
        assert patch.keys() == {"spec"}
        assert patch["spec"].keys() == {"rules"}
        assert [{**rule, "backendRefs": 0} for rule in old] == [{**rule, "backendRefs": 0} for rule in new]
        assert [self._elsewhere(rule) for rule in old] == [self._elsewhere(rule) for rule in new]
        self._check_route(self.backends, self._backends_of({"spec": {"rules": new}}))
        self.write_rules(new)

    def write_rules(self, rules: Items) -> None:
        """Somebody writes the rules of a user's route."""
        found = self.objects[self.route_key]
        if found["spec"]["rules"] == rules:
            return
        found["spec"] = {**found["spec"], "rules": deepcopy(rules)}
        found["metadata"]["generation"] += 1
        self._stamp(found)
        self._route_changed()

    def _route_changed(self) -> None:
        self.weight_log.append((self.now, self.weights))
        old, self.shares = self.shares, {}
        route = self.objects.get(self.route_key)
        copied = dict.fromkeys(mirrors_of(route), 0) if route is not None else {}
        for name, weight in {**copied, **self.weights}.items():
            same = name in old and old[name][0] == weight
            self.shares[name] = old[name] if same else (weight, self.now)

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

    def _check_stopping(self, name: str, replicas: int, before: Json | None) -> None:
        """Only who is kept in a bake has no pods, and who was stopped already; nobody is on it."""
        if replicas or (before is not None and not before["spec"]["replicas"]):
            return
        bake = self.status.get("bake") or {}
        assert bake.get("previous") == name, f"{name} is stopped, and is no previous revision in a bake"
        assert not self.weights.get(name), f"{name} is stopped with {self.weights[name]} percent"
        assert self.deployment_ready(bake["revision"]), f"{name} is stopped, and {bake['revision']} does not answer"

    def _check_aside(self, services: set[str]) -> None:
        """Testers and copies go to the candidate that status names, which is not rejected and answers."""
        for service in services:
            assert service == (self.status.get("candidate") or {}).get("revision"), f"{service} is no candidate"
            assert not self.is_rejected(service), f"the rejected {service} gets testers or copies"
            assert self.deployment_ready(service), f"{service} gets testers or copies without a ready pod"

    def _check_arms(self, services: set[str], backends: dict[str, int]) -> None:
        """Users are kept with the candidate that status names, in its experiment, and with the stable; both have a share."""
        if not services:
            return
        both = {(self.status.get(what) or {}).get("revision") for what in ("candidate", "stable")}
        assert services == both, f"users are kept with {services}"
        for service in services:
            assert backends.get(service), f"users are kept with {service}, which has no share"
            assert not self.is_rejected(service), f"users are kept with the rejected {service}"
            assert self.deployment_ready(service), f"users are kept with {service} without a ready pod"
        step = self._steps()[min(self.status["candidate"]["step"], len(self._steps())) - 1]
        assert "experiment" in step, "users are kept, and there is no experiment"

    def _check_status(self, before: Json, after: Json) -> None:
        """What a status may say after what it said before."""
        deciding = [bound for bound in BOUNDS if not self._slo(bound[0]).get("dryRun")]
        told = [(self.answers.get(metric, _SILENT).value, low, high) for metric, low, high in deciding]
        if self.answers and not all(value is not None and low <= value <= high for value, low, high in told):
            self.bad_look_at = self.now
        assert "candidate" not in after or "bake" not in after, "a candidate is on its way during a bake"
        self._check_stable(before, after)
        self._check_step(before, after)
        self._check_tolerated(before, after)
        self._check_superseded(before, after)

    def _check_stable(self, before: Json, after: Json) -> None:
        """A new stable was a candidate that went well to its end, or it comes back after the rejection of another."""
        old, new = before.get("stable"), after.get("stable")
        bake, still = before.get("bake"), after.get("bake")
        if old is None or new is None:
            return
        if old["revision"] != new["revision"]:
            if (before.get("rollback") or {}).get("revision") == new["revision"]:
                known = ("ModelRevision", old["revision"]) in self.objects
                assert not known or self.is_rejected(old["revision"]), f"{old['revision']} gave way without a rejection"
                assert self.deployment_ready(new["revision"]), f"{new['revision']} is back without a ready pod"
            elif bake is not None and bake["previous"] == new["revision"]:
                known = ("ModelRevision", old["revision"]) in self.objects
                assert not known or self.is_rejected(old["revision"]), f"{old['revision']} is back without a rejection"
            else:
                assert before["candidate"]["revision"] == new["revision"], f"{new['revision']} came from nowhere"
                if _by_person(before, after):
                    assert self.deployment_ready(new["revision"]), f"{new['revision']} was promoted without a ready pod"
                    return
                self._check_approved(before, after)
                self._check_in_time(before, after)
                self._check_measured(new["revision"], f"step {len(self._steps())}")
                self._check_step_watched(new["revision"], len(self._steps()))
        elif bake is not None and still is None:
            previous = self.objects.get(("ModelRevision", bake["previous"]))
            if previous is not None and self._canary()["bakeSeconds"] > 0:
                self._check_measured(new["revision"], "its bake")
                self._check_watched(new["revision"], self._canary()["bakeSeconds"])

    def _check_step(self, before: Json, after: Json) -> None:
        """A step ends well only on a look at which every SLO was told and held, after it was watched for its time."""
        was, now = before.get("candidate"), after.get("candidate")
        if was is None or now is None or was["revision"] != now["revision"]:
            return
        if now["step"] > was["step"]:
            assert now["step"] == was["step"] + 1 or "promotionRequest" in now, "a step is left out"
            self._check_approved(before, after)
            assert "paused" not in after, "a step begins while it is paused"
            self._check_in_time(before, after)
            assert not self.is_rejected(now["revision"]), f"the rejected {now['revision']} goes on"
        if now["step"] > was["step"] > 0 and not _by_person(before, after):
            self._check_measured(now["revision"], f"step {was['step']}")
            self._check_step_watched(now["revision"], was["step"])
            self._check_decided(before, self._steps()[was["step"] - 1])

    def _check_decided(self, before: Json, step: Json) -> None:
        """An experiment ends well by a verdict that was in status before, and lets the candidate go on."""
        if (experiment := step.get("experiment")) is None:
            return
        known = before.get("experiment") or {}
        assert known.get("candidate", {}).get("revision") == before["candidate"]["revision"], (
            "it ended without a status"
        )
        better = known.get("verdict") == "CandidateBetter" and experiment.get("whenBetter", "Proceed") == "Proceed"
        same = known.get("verdict") == "NoDifference" and experiment.get("whenNoDifference") == "Proceed"
        assert better or same, f"an experiment with {known.get('verdict')} ended well"

    def _check_in_time(self, before: Json, after: Json) -> None:
        """What takes longer than it may goes on by a person's word only."""
        most = self._canary().get("maxDurationSeconds")
        begun = before["candidate"]["step"] > 0
        if most is not None and begun and not _by_person(before, after):
            assert before["candidate"]["rolloutSeconds"] < most, f"it goes on after more than {most} s"

    def _check_approved(self, before: Json, after: Json) -> None:
        """An approval ends when a person has said so in this very step, or wanted it to end in another way."""
        was = before["candidate"]
        number = min(was["step"], len(self._steps()))
        if number == 0 or "approval" not in self._steps()[number - 1] or _by_person(before, after):
            return
        known = [command["request"] for command in before.get("commands", [])]
        new = [command for command in after.get("commands", []) if command["request"] not in known]
        asked = self._steps()[number - 1]["approval"]
        if asked.get("groups") or asked.get("users"):
            assert self._approved_by_name(asked, was["revision"]), f"step {number} ended without any of {asked}"
            return
        now = any(command.get("verb") == "approve" and command["outcome"] == "Done" for command in new)
        assert now or was.get("approvedStep") == was["step"], f"step {was['step']} ended without an approval"

    def _approved_by_name(self, asked: Json, revision: str) -> bool:
        both = [self.objects.get(key, {}) for key in (("ModelService", SERVICE), ("ModelRevision", revision))]
        texts = [text for one in both for text in one.get("metadata", {}).get("annotations", {}).values()]
        said = [text.split(" ", 2) for text in texts if len(text.split(" ", 2)) == 3]
        return any(group in asked.get("groups", ()) or user in asked.get("users", ()) for _, group, user in said)

    def _check_step_watched(self, name: str, number: int) -> None:
        """A share had its time; an analysis had that long without a look that failed."""
        step = self._steps()[number - 1]
        if "analysis" in step:
            seconds = step["analysis"]["passingSeconds"]
            self._check_since(max(self.bad_look_at, self.shares.get(name, (0, self.now))[1]), name, seconds)
        elif "approval" not in step and "experiment" not in step:
            delay = self._canary().get("initialDelaySeconds", 0)
            self._check_watched(name, step.get("holdSeconds", HOLD_SECONDS) + delay, 6 if delay else 0)

    def _check_measured(self, name: str, what: str) -> None:
        assert not self.is_rejected(name), f"the rejected {name} ended {what} well"
        for metric, low, high in BOUNDS:
            if self._slo(metric).get("dryRun"):
                continue
            told = self.answers.get(metric, _SILENT)
            assert told.kind is ReadingKind.VALUE, f"{name} ended {what} unmeasured: {metric} is {told}"
            assert told.value is not None, told
            assert low <= told.value <= high, f"{name} ended {what} with {metric} {told.value}"

    def _check_superseded(self, before: Json, after: Json) -> None:
        """Where candidates with requests finish, none that could go on gives way to another."""
        was, now = before.get("candidate"), after.get("candidate")
        if was is None or now is None or was["revision"] == now["revision"] or was["step"] == 0:
            return
        old = self.objects.get(("ModelRevision", was["revision"]), {}).get("status", {})
        able = old.get("gate", {}).get("verdict") == "Passed" and not self.is_rejected(was["revision"])
        if self._canary().get("supersedePolicy") == "Finish":
            assert not able, f"{was['revision']} gave way to {now['revision']}"

    def _check_forgetting(self, kind: str, name: str) -> None:
        """The operator deletes no record that keeps a model out, that somebody could go back to, or that a job would miss."""
        if kind != "ModelRevision":
            return
        limit, status = self.objects[("ModelService", SERVICE)]["spec"].get("revisionHistoryLimit"), self.status
        assert limit is not None, f"{name} is deleted, and nobody wants it"
        assert not self.is_rejected(name), f"the rejection of {name} is forgotten"
        trial = [(status.get(what) or {}).get("revision") for what in ("stable", "candidate", "bake", "rollback")]
        assert name not in (*trial, (status.get("bake") or {}).get("previous")), f"{name} is deleted while it is needed"
        assert name not in self.backends, f"{name} is deleted, and stands in the route"
        assert name not in self.running(), f"{name} is deleted, and has pods"
        job = self.objects.get(("FineTuneJob", "job"), {"metadata": {"deletionTimestamp": ""}})
        assert "deletionTimestamp" in job["metadata"], f"{name} is deleted, and its job exists"
        others = [other for other in self.revisions() if other != name and not self.is_rejected(other)]
        found = sum(self.status["stable"]["revision"] != other for other in others)
        assert found >= limit, f"{name} is deleted, and only {found} others are kept"
        record = self.rollout(name)
        passed = self.objects[("ModelRevision", name)]["status"]["gate"]["verdict"] == "Passed"
        assert not passed or "promotedAt" in record or "supersededAt" in record, f"{name} had not had its turn"

    def _check_tolerated(self, before: Json, after: Json) -> None:
        """Nobody stays on trial at a look that is one failure more than the user tolerates."""
        for slo in self._slos():
            was, now = _failures(before, slo["name"]), _failures(after, slo["name"])
            if now > was and not slo.get("dryRun"):
                assert now <= slo.get("failureLimit", 0), f"{slo['name']} failed {now} times and nothing follows"

    def _check_rejection(self, before: Json, after: Json) -> None:
        """A breach is of an SLO that decides, and was told on this very look."""
        old, new = (rollout.get("rejection") for rollout in (before.get("rollout", {}), after.get("rollout", {})))
        if old is None and new is not None and new["reason"] == "Overdue":
            assert self._canary().get("whenOverdue") == "RollBack", "rejected for its time, and nobody wants it so"
        if old is not None or new is None or new["reason"] != "SloBreached":
            return
        told = {metric: self.answers[metric] for metric, _, _ in BOUNDS if metric in self.answers}
        deciding = [bound for bound in BOUNDS if bound[0] in told and not self._slo(bound[0]).get("dryRun")]
        outside = [m for m, low, high in deciding if (value := told[m].value) is not None and not low <= value <= high]
        compared = any("comparedTo" in slo and not slo.get("dryRun") for slo in self._slos())
        assert outside or compared, f"rejected without a breach: {new['message']}"

    def _slos(self) -> Items:
        slos: Items = self.objects[("ModelService", SERVICE)]["spec"]["slos"]
        return slos

    def _slo(self, name: str) -> Json:
        return next((slo for slo in self._slos() if slo["name"] == name), {})

    def _check_watched(self, name: str, seconds: float, slack: int = 0) -> None:
        """By the world's own clock, whatever the operator's says; each time that is set may cost a look or two."""
        self._check_since(self.shares.get(name, (0, self.now))[1], name, seconds, slack)

    def _check_since(self, since: datetime, name: str, seconds: float, slack: int = 0) -> None:
        had, jumps = self.now - since, sum(at >= since for at in self.clock_set_at)
        least = timedelta(seconds=seconds - 1 - jumps * (2 * self._canary()["intervalSeconds"] + slack))
        assert had >= least, f"{name} did well for {had} and not for {seconds} s"

    def _canary(self) -> Json:
        return self.objects[("ModelService", SERVICE)]["spec"]["canary"]

    def _steps(self) -> Items:
        """As policies let them be, which is what the rules are about."""
        snapshot = snapshot_of(self._found(), SETTINGS, self.sources.names, self.now)
        return [step.manifest() for step in snapshot.service.spec.canary.steps]

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
            if kind == "Deployment" and self.controllers_up:
                self._run_pods(name, item)
        self._program()
        self._send(seconds)
        if int(self.now.timestamp()) % EVERY == 0:
            self.scrapes.scrape(self.now.timestamp())

    def _run_pods(self, name: str, item: Json) -> None:
        model = self.models.get(name, Model())
        made_at = datetime.fromisoformat(item["metadata"]["creationTimestamp"])
        since = max(self.started.get(name, made_at) or self.now, made_at)
        self.started[name] = since if item["spec"]["replicas"] else None
        age = (self.now - since).total_seconds()
        ready = model.ready if model.ready is not None else age >= model.starts_in
        ready = ready and model.blocked is None and model.first is None
        before = item.get("status", {}).get("conditions", [{}])[0]
        pods = item["spec"]["replicas"] if ready else 0
        pods = model.ready_pods if model.ready_pods is not None else pods
        status = "True" if pods else "False"
        since = before["lastTransitionTime"] if before.get("status") == status else self.now.isoformat()
        item["status"] = {
            "observedGeneration": item["metadata"]["generation"],
            "readyReplicas": pods,
            "updatedReplicas": item["spec"]["replicas"],
            "conditions": [{"type": "Available", "status": status, "lastTransitionTime": since}],
        }

    def _program(self) -> None:
        route = self.objects.get(self.route_key)
        if route is None or not self.gateway_up:
            return
        named = {*_backends_of(route), *for_testers(route), *kept_by(route), *mirrors_of(route)}
        resolved = all(("Service", name) in self.objects for name in named)
        generation = route["metadata"]["generation"]
        conditions = [
            {"type": type_, "status": "True" if true else "False", "observedGeneration": generation, "message": text}
            for type_, true, text in (("Accepted", True, ""), ("ResolvedRefs", resolved, "a Service is missing"))
        ]
        parent = {"parentRef": {"namespace": INFRA, "name": GATEWAY_NAME}, "conditions": conditions}
        route["status"] = {"parents": [parent]}

    def _send(self, seconds: float) -> None:
        route = self.objects.get(self.route_key)
        for name in mirrors_of(route) if route is not None else ():
            if (model := self.models.get(name)) is not None and self.deployment_ready(name):
                self.scrapes.serve(
                    name, model.requests_per_second * seconds, model.fails, model.seconds, model.succeeds
                )
        for name, weight in self.backends.items():
            if weight and self.deployment_ready(name):
                self.step_requests[name] = self.step_requests.get(name, 0) + seconds * weight / 10
                if (model := self.models.get(name)) is not None:
                    served = model.requests_per_second * seconds * weight / 100
                    self.scrapes.serve(name, served, model.fails, model.seconds, model.succeeds)
            elif weight:
                self.failures += 1

    @property
    def backends(self) -> dict[str, int]:
        """By the route as it is written, with zeros."""
        route = self.objects.get(self.route_key)
        return self._backends_of(route) if route is not None else {}

    @property
    def route_key(self) -> tuple[str, str]:
        """Of the route that Serin makes, or of the user's."""
        traffic = self.objects[("ModelService", SERVICE)]["spec"]["traffic"]
        return "HTTPRoute", traffic.get("routeRef", {"name": SERVICE})["name"]

    def _backends_of(self, route: Any) -> dict[str, int]:
        """Of a user's route, what leads to this service."""
        lent = self.objects[("ModelService", SERVICE)]["spec"]["traffic"].get("routeRef")
        if lent is None:
            return _backends_of(route)
        rules = [rule for rule in route["spec"]["rules"] if lent.get("ruleName") in (None, rule["name"])]
        found = _backends_of({"spec": {"rules": rules}})
        return {name: weight for name, weight in found.items() if _leads_here(name)}

    @staticmethod
    def _elsewhere(rule: Json) -> Items:
        return [ref for ref in rule["backendRefs"] if not _leads_here(ref["name"])]


_SILENT = Reading(ReadingKind.NO_DATA)
BOUNDS = (("latency", 0, 2), ("length", 1, 96))


def _failures(status: Json, slo: str) -> int:
    """Failed looks at what is on trial, as status counts them."""
    trial = status.get("candidate") or status.get("bake") or {}
    return next((int(one["failures"]) for one in trial.get("counts", []) if one["name"] == slo), 0)


def _by_person(before: Json, after: Json) -> bool:
    """A person wanted the step to end, or the candidate to be promoted."""
    candidate = before.get("candidate") or {}
    if "promotionRequest" in candidate or candidate.get("skippedStep") == candidate.get("step"):
        return True
    known = [command["request"] for command in before.get("commands", [])]
    new = [command for command in after.get("commands", []) if command["request"] not in known]
    return any(command.get("verb") in ("promote", "skip") and command["outcome"] == "Done" for command in new)


class FakeSources:
    """Prometheus, which may be away, and may lie about a model."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.names: tuple[str, ...] = ("default",)
        self.away = False
        self.absent = ""  # a metric that nobody exposes
        self.queries: list[str] = []
        self.grouped: dict[str, Grouped] = {}  # by the name of the series
        self.of_presets: dict[tuple[str, str], Reading] = {}  # by series and revision; others are absent
        self.refused: dict[str, str] = {}  # queries with this text, and Prometheus' words against them

    def answer(self, question: Question) -> Answer:
        promql = question.query
        if question.role and isinstance(promql, str) and not self.away:
            if self.absent and self.absent in promql:
                return Sampled((), self.world.now.timestamp())
            return self.world.scrapes.answer(promql, self.world.now.timestamp(), question.moment)
        if isinstance(promql, Unusable):
            return Reading(ReadingKind.INVALID_QUERY, text=promql.message)
        self.queries.append(promql)
        if self.away:
            return Reading(ReadingKind.OUTAGE, text="metric source default cannot be reached")
        if question.by:
            return next(answer for series, answer in self.grouped.items() if series in promql)
        if (words := next((words for text, words in self.refused.items() if text in promql), None)) is not None:
            return Reading(ReadingKind.INVALID_QUERY, text=words)
        if "NaN * " in promql:
            told = (reading for (series, of), reading in self.of_presets.items() if series in promql and of in promql)
            return next(told, Reading(ReadingKind.NO_DATA))
        name = re.findall(r'revision="([^"]*)"', promql)[0]
        if promql.startswith("count("):
            raw = self.world.scrapes.answer(f"{promql[6:-1]}[300s]", self.world.now.timestamp(), None)
            there = raw.series and not (self.absent and self.absent in promql)
            return Reading(ReadingKind.VALUE, len(raw.series)) if there else Reading(ReadingKind.NO_DATA)
        model = self.world.models[name]
        if "request_success_total" in promql:
            seconds = float(re.findall(r"\[(\d+)s\]", promql)[0])
            route = self.world.objects.get(self.world.route_key)
            copied = route is not None and name in mirrors_of(route)
            weight = 100 if copied else self.world.weights.get(name, 0)
            return Reading(ReadingKind.VALUE, model.requests_per_second * seconds * weight / 100)
        metric = promql.split("{")[0]
        self.world.answers[metric] = model.samples[metric]
        return model.samples[metric]


def _gateway() -> Json:
    return {
        "apiVersion": GATEWAY.api_version,
        "kind": "Gateway",
        "metadata": {"name": GATEWAY_NAME, "namespace": INFRA, "uid": "uid-gateway"},
        "status": {"conditions": [{"type": "Programmed", "status": "True"}]},
    }


def _backends_of(route: Any) -> dict[str, int]:
    """For everybody: testers' rules ask for headers."""
    rules = [rule for rule in route["spec"]["rules"] if "headers" not in rule["matches"][0]]
    return {ref["name"]: ref.get("weight", 1) for rule in rules for ref in rule["backendRefs"]}


def _leads_here(backend: str) -> bool:
    return backend == SERVICE or backend.startswith(f"{SERVICE}-")


def for_testers(route: Any) -> set[str]:
    rules = [rule for rule in route["spec"]["rules"] if "headers" in rule["matches"][0] and not _keeps(rule)]
    return {ref["name"] for rule in rules for ref in rule["backendRefs"]}


def kept_by(route: Any) -> set[str]:
    """The Services that users of an experiment come back to."""
    return {ref["name"] for rule in route["spec"]["rules"] if _keeps(rule) for ref in rule["backendRefs"]}


def _keeps(rule: Any) -> bool:
    headers = [header for match in rule["matches"] for header in match.get("headers", ())]
    return any("serin-arm=" in one["value"] or one["name"] == USER_KEY for one in headers)


def mirrors_of(route: Any) -> set[str]:
    filters = [one for rule in route["spec"]["rules"] for one in rule.get("filters", ())]
    return {one["requestMirror"]["backendRef"]["name"] for one in filters if "requestMirror" in one}


def a_pod(deployment: Json, model: Model, ready: bool) -> Json:
    if model.blocked is not None:
        return {
            "metadata": {"name": "pod", "labels": deployment["metadata"]["labels"]},
            "status": {"conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": model.blocked}
            ]},
        }  # fmt: skip
    if model.first is not None:
        waits = {"name": "server", "state": {"waiting": {"reason": "PodInitializing"}}}
        return {
            "metadata": {"name": "pod", "labels": deployment["metadata"]["labels"]},
            "status": {"conditions": [{"type": "Ready", "status": "False"}],
                       "initContainerStatuses": [model.first], "containerStatuses": [waits]},
        }  # fmt: skip
    ended = (
        {"terminated": {"finishedAt": model.crashed_at.isoformat(), "exitCode": 137, "reason": "OOMKilled"}}
        if model.crashed_at is not None
        else {}
    )
    return {
        "metadata": {"name": "pod", "labels": deployment["metadata"]["labels"]},
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [model.container or {"name": "server", "state": {"running": {}}, "lastState": ended}],
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
