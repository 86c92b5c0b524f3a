"""The stories that every fault is told into: what the user and the pods do, and how it must end.

`run` is the user's part, up to the last thing that the user does; `final` holds once the story is over. Writes before
`world.begin()` are the same in several stories, so faults are met in one of them only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from faults.harness.actors import Ending, failed, succeeded
from faults.harness.plane import USER
from faults.harness.world import World, passed_revision
from faults.prometheus import Growing
from serin_operator.api.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    EVAL_GATE,
    FINE_TUNE_JOB,
    HTTP_ROUTE,
    JOB,
    MODEL_REVISION,
    MODEL_SERVICE,
    POD,
    SERVICE,
)
from serin_operator.api.v1alpha1 import APPROVAL, COMMAND, StageName
from serin_operator.manifests import names
from support.jobs import MODEL_DIGEST, an_evaluation, job_manifest
from support.lent import a_lent_route
from support.service_world import a_service, revision_name

Json = dict[str, Any]
A, B = revision_name("a"), revision_name("b")
TRAINED = names.revision("bot", MODEL_DIGEST)
LAST = [{"weightPercent": 100, "holdSeconds": 1}]
GROUP = "system:masters"  # the one that the plane's user is in
SERVING = f"{names.STAGE}=serve"
GOOD, BAD = 23.0, 126.0  # what the SLO `length` (at most 96) measures


@dataclass(frozen=True, eq=False)
class Flow:
    """A story. `name` is how a command line asks for it."""

    name: str
    run: Callable[[World], None]
    final: Callable[[World], object]
    settings: Mapping[str, object] = field(default_factory=dict[str, object])  # the operator's

    def __str__(self) -> str:
        return self.name


# --- what the user has --------------------------------------------------------------------------------------------


def claims() -> list[Json]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
        for name in ("models", "datasets", "artifacts")
    ]


def gate(min_improvement: str = "0") -> Json:
    suite = {"name": "heldout", "dataset": {"uri": "pvc://datasets/heldout.jsonl"}, "metrics": ["RougeL", "Perplexity"]}
    better = {"name": "better", "metric": "heldout/RougeL", "comparedTo": "Base", "minImprovement": min_improvement}
    return {"apiVersion": "serin.dev/v1alpha1", "kind": "EvalGate", "metadata": {"name": "quality"},
            "spec": {"suites": [suite], "requirements": [better]}}  # fmt: skip


def job(**spec: Any) -> Json:
    distribution = {"nodes": 1, "processesPerNode": 1}
    return {"apiVersion": "serin.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": "bot"},
            "spec": job_manifest()["spec"] | {"distribution": distribution} | spec}  # fmt: skip


def service(**canary: Any) -> Json:
    steps = [{"weightPercent": 10, "holdSeconds": 1}, {"weightPercent": 100, "holdSeconds": 1}]
    made = a_service(**{"steps": steps, "intervalSeconds": 1, "minRequests": 1, "bakeSeconds": 0} | canary)
    slos = [{"name": "length", "query": 'length{revision="{{revision}}"}', "max": "96"}]
    return made | {"metadata": {"name": "bot"}, "spec": made["spec"] | {"slos": slos}}


# --- what they look at --------------------------------------------------------------------------------------------


def state(w: World) -> str:
    return w.status(FINE_TUNE_JOB, "bot").get("state", "")


def rules_of(w: World) -> list[Json]:
    """Of Serin's own route, or the one rule of the lent one that is Serin's to weigh."""
    return (
        w.get(HTTP_ROUTE, "bot").get("spec", {}).get("rules")
        or w.get(HTTP_ROUTE, "chat").get("spec", {}).get("rules", [])[1:]
    )


def weights(w: World) -> dict[str, int]:
    return {ref["name"]: ref["weight"] for rule in rules_of(w) for ref in rule["backendRefs"] if ref["weight"]}


def rollout(w: World, revision: str) -> Json:
    return w.status(MODEL_REVISION, revision).get("rollout") or {}


def serves(w: World, revision: str) -> bool:
    """It is the stable, has all traffic, and nothing else runs any more."""
    status = w.status(MODEL_SERVICE, "bot")
    return (
        (status.get("stable") or {}).get("revision") == revision
        and status.get("state") == "Stable"
        and weights(w) == {revision: 100}
        and w.names(DEPLOYMENT) == w.names(SERVICE, SERVING) == w.names(CONFIG_MAP, SERVING) == [revision]
    )


def pods_of(w: World, stage: StageName) -> list[Json]:
    return w.items(POD, f"{names.STAGE}={stage.lower()}")


def runs(w: World, stage: StageName) -> bool:
    return any(pod["status"].get("phase") == "Running" for pod in pods_of(w, stage))


# --- of a job -----------------------------------------------------------------------------------------------------


def create_to_promoted(w: World) -> None:
    w.measures(TRAINED, GOOD)
    w.apply(*claims())
    w.begin()
    w.apply(gate(), service(), job())


def promoted_at_the_end(w: World) -> bool:
    return state(w) == "Promoted" and serves(w, TRAINED) and "promotedAt" in rollout(w, TRAINED)


def gate_failed(w: World) -> None:
    def tell(stage: StageName, config: Json) -> Ending:
        worse = an_evaluation(difference=-0.3, low=-0.4, high=-0.2) if stage is StageName.EVALUATE else {}
        return succeeded(stage, config, **worse)

    w.behaviour.tell = tell
    w.apply(*claims())
    w.begin()
    w.apply(gate(), service(), job())


def is_rejected(w: World) -> bool:
    verdict = w.status(MODEL_REVISION, TRAINED).get("gate", {}).get("verdict")
    return state(w) == "Rejected" and verdict == "Failed" and not w.names(DEPLOYMENT)


def user_error(w: World) -> None:
    def tell(stage: StageName, config: Json) -> Ending:
        if stage is StageName.TRAIN:
            return failed(stage, config, 64, "InvalidConfig", "the learning rate is too high")
        return succeeded(stage, config)

    w.behaviour.tell = tell
    w.apply(*claims())
    w.begin()
    w.apply(gate(), service(), job())


def is_failed(w: World) -> bool:
    return state(w) == "Failed" and "learning rate" in str(w.status(FINE_TUNE_JOB, "bot"))


def infrastructure_retry(w: World) -> None:
    """Two nodes train; one pod is evicted, later a pod asks to be tried again; neither counts as the user's."""
    endings = {1: Ending(evicted=True), 2: Ending(75)}

    def tell(stage: StageName, config: Json) -> Ending:
        if stage is StageName.TRAIN:
            return endings.get(config["attempt"]) or succeeded(stage, config)
        return succeeded(stage, config)

    w.behaviour.tell = tell
    w.apply(*claims())
    w.begin()
    w.apply(job(gates=[], rollout=None, distribution={"nodes": 2, "processesPerNode": 1, "maxRestarts": 0}))


def trained_at_last(w: World) -> bool:
    stages = {entry["name"]: entry for entry in w.status(FINE_TUNE_JOB, "bot").get("stages", [])}
    return (
        state(w) == "Succeeded" and stages["Train"]["attempt"] == 3 and stages["Consolidate"]["outcome"] == "Succeeded"
    )


def spec_edit_mid_run(w: World) -> None:
    """Another learning rate while the first training runs: it is stopped, and gone before the second one starts."""
    w.behaviour.held = {StageName.TRAIN}
    w.behaviour.dies_in = 1.5
    w.apply(*claims())
    w.begin()
    w.apply(gate(), service(), job())
    w.until(lambda: runs(w, StageName.TRAIN), "the training runs")
    w.edit(FINE_TUNE_JOB, "bot", {"spec": {"hyperparameters": {"learningRate": "1e-5"}}})
    w.until(lambda: len(w.items(JOB, f"{names.STAGE}=train")) == 1 and trains_anew(w), "the second training runs")
    w.behaviour.held = set()


def trains_anew(w: World) -> bool:
    return any('"learningRate": "1e-5"' in m["data"].get("config.json", "").replace('":"', '": "')
               for m in w.items(CONFIG_MAP, f"{names.STAGE}=train"))  # fmt: skip


def edited_is_promoted(w: World) -> bool:
    return promoted_at_the_end(w) and len(w.items(JOB, f"{names.STAGE}=train")) == 1


def new_threshold(w: World) -> None:
    """Rejected, then judged again on the old scores by a gate that asks for less."""
    w.measures(TRAINED, GOOD)
    w.apply(*claims(), gate(min_improvement="0.5"), service(), job())
    w.until(lambda: is_rejected(w), "the model is rejected")
    w.begin()
    requirement = gate()["spec"]["requirements"]
    w.edit(EVAL_GATE, "quality", {"spec": {"requirements": requirement}})


STAGES = [stage for stage in StageName if stage is not StageName.COPY]  # of a job that copies nothing


def deleted_during(stage: StageName) -> Callable[[World], None]:
    def run(w: World) -> None:
        w.behaviour.held = {stage}
        w.apply(*claims(), gate(), service())
        order = STAGES
        if stage is not order[0]:
            before = order[order.index(stage) - 1]
            w.behaviour.held = {before}
            w.apply(job())
            w.until(lambda: runs(w, before), f"{before} runs")
            w.begin()
            w.behaviour.held = {stage}
        else:
            w.begin()
            w.apply(job())
        w.until(lambda: runs(w, stage), f"{stage} runs")
        w.remove(FINE_TUNE_JOB, "bot")

    return run


def job_is_gone(w: World) -> bool:
    children = (FINE_TUNE_JOB, JOB, CONFIG_MAP, POD)
    return not any(w.names(kind, f"{names.JOB}=bot") for kind in children) and not w.get(FINE_TUNE_JOB, "bot")


# --- of a service -------------------------------------------------------------------------------------------------


def with_stable(w: World, testers: Json | None = None, **canary: Any) -> None:
    """A service whose stable is A, and its Prometheus."""
    w.measures(A, GOOD)
    made = service(**canary)
    if testers is not None:
        made["spec"]["traffic"]["testers"] = testers
    w.apply(made, passed_revision("a"))
    w.until(lambda: serves(w, A), "the first model serves")


def first_deployment(w: World) -> None:
    w.measures(A, GOOD)
    w.begin()
    w.apply(service(), passed_revision("a"))


def promotion(w: World) -> None:
    """Two steps, the promotion, and a short bake."""
    with_stable(w, bakeSeconds=1)
    w.measures(B, GOOD)
    w.begin()
    w.apply(passed_revision("b"))


def b_is_promoted(w: World) -> bool:
    return serves(w, B) and "promotedAt" in rollout(w, B)


def rollback_in_step(w: World) -> None:
    """The candidate is good at 10 percent and bad at 50."""
    steps = [{"weightPercent": 10, "holdSeconds": 1}, {"weightPercent": 50, "holdSeconds": 2}, {"weightPercent": 100}]
    with_stable(w, steps=steps)
    w.measures(B, GOOD)
    w.begin()
    w.apply(passed_revision("b"))
    w.until(lambda: weights(w).get(B) == 50, "the second step")
    w.measures(B, BAD)


def b_is_rolled_back(w: World) -> bool:
    return serves(w, A) and "weightZeroAt" in rollout(w, B).get("rejection", {})


def pods_lost_in_step(w: World) -> None:
    """The candidate's servers stop answering while users are on it: it loses them, and begins anew once it answers again."""
    with_stable(w, steps=[{"weightPercent": 10, "holdSeconds": 5}, {"weightPercent": 100, "holdSeconds": 1}])
    w.measures(B, GOOD)
    w.begin()
    w.apply(passed_revision("b"))
    w.until(lambda: weights(w).get(B) == 10, "the first step")
    w.behaviour.silent = {B}
    w.until(lambda: weights(w) == {A: 100}, "the candidate has lost its traffic")
    w.behaviour.silent = set()


def rollback_in_bake(w: World) -> None:
    """Good in every step, bad once it is the stable."""
    with_stable(w, steps=[{"weightPercent": 100, "holdSeconds": 1}], bakeSeconds=600)
    w.measures(B, GOOD)
    w.begin()
    w.apply(passed_revision("b"))
    w.until(lambda: (w.status(MODEL_SERVICE, "bot").get("bake") or {}).get("startedAt"), "the bake")
    w.measures(B, BAD)


def rollback_in_bake_stopped(w: World) -> None:
    """The same with nobody kept ready to go back to: the previous revision is started, and gets the traffic once it answers."""
    with_stable(w, steps=[{"weightPercent": 100, "holdSeconds": 1}], bakeSeconds=600, previousRevision="Stopped")
    w.measures(B, GOOD)
    w.begin()
    w.apply(passed_revision("b"))
    w.until(lambda: w.get(DEPLOYMENT, A).get("spec", {}).get("replicas") == 0, "the previous revision is stopped")
    w.measures(B, BAD)


TESTERS: Json = {"headers": [{"name": "X-Tester", "value": "yes"}], "cookies": [{"name": "preview", "value": "on"}]}


def copied_to(w: World) -> set[str]:
    """Who gets copies of requests."""
    return {one["requestMirror"]["backendRef"]["name"] for rule in rules_of(w) for one in rule.get("filters", ())}


def copies_then_approval(w: World) -> None:
    """Testers and copies meet the candidate first; then a person lets users meet it, too."""
    steps = [{"shadow": {}, "holdSeconds": 1}, {"approval": {}}, {"weightPercent": 100, "holdSeconds": 1}]
    with_stable(w, TESTERS, steps=steps)
    w.measures(B, GOOD)
    w.begin()
    w.apply(passed_revision("b"))
    w.until(lambda: w.status(MODEL_SERVICE, "bot").get("state") == "AwaitingApproval", "the approval is asked for")
    w.edit(MODEL_SERVICE, "bot", {"metadata": {"annotations": {COMMAND: "approve/1"}}})


def rejected_under_copies(w: World) -> None:
    """Bad before any user got an answer of it: neither testers nor copies go to it any more."""
    with_stable(w, TESTERS, steps=[{"shadow": {}, "holdSeconds": 600}, {"weightPercent": 100}])
    w.measures(B, GOOD)
    w.begin()
    w.apply(passed_revision("b"))
    w.until(lambda: copied_to(w) == {B}, "copies")
    w.measures(B, BAD)


def approval_by_name(w: World) -> None:
    """Members of one group may let the step end; one of them does, on the candidate's ModelRevision."""
    steps = [{"weightPercent": 10, "holdSeconds": 1}, {"approval": {"groups": [GROUP]}}, *LAST]
    with_stable(w, steps=steps)
    w.measures(B, GOOD)
    w.begin()
    w.apply(passed_revision("b"))
    w.until(lambda: asked_for(w), "the approval is asked for")
    words = f"{asked_for(w)} {GROUP} {USER}"
    w.edit(MODEL_REVISION, B, {"metadata": {"annotations": {f"{APPROVAL}one": words}}})


def asked_for(w: World) -> str:
    """The code that an approval must have; empty when none is awaited."""
    approval = (w.status(MODEL_SERVICE, "bot").get("candidate") or {}).get("approval") or {}
    found = re.search(r"=(\w+) <that group>", approval.get("message", ""))
    return found[1] if found else ""


def experiment(successes: float) -> Callable[[World], None]:
    """Users decide: of the stable's outcomes half are good, of the candidate's this share."""

    def run(w: World) -> None:
        tried = {
            "total": 'tasks_total{revision="{{revision}}"}',
            "successes": 'good_tasks_total{revision="{{revision}}"}',
            "minDifferencePoints": "20",
            "minOutcomes": 50,
            "sticky": {"header": "X-User-Id", "cookie": {}},
        }
        shares = [{"weightPercent": 50, "holdSeconds": 1}, {"experiment": tried, "maxDurationSeconds": 300}, *LAST]
        with_stable(w, steps=shares)
        w.measures(B, GOOD)
        for revision, share in ((A, 0.5), (B, successes)):
            w.prometheus.says(Growing(1000), metric="tasks_total", revision=revision)
            w.prometheus.says(Growing(1000 * share), metric="good_tasks_total", revision=revision)
        w.begin()
        w.apply(passed_revision("b"))

    return run


def verdict(w: World) -> str:
    return (w.status(MODEL_SERVICE, "bot").get("experiment") or {}).get("verdict", "")


def b_has_lost(w: World) -> bool:
    lost = rollout(w, B).get("rejection", {}).get("reason") == "ExperimentLost"
    return b_is_rolled_back(w) and lost and verdict(w) == "StableBetter"


def nobody_meets_b(w: World) -> bool:
    return b_is_rolled_back(w) and not copied_to(w)


def superseded(w: World) -> None:
    """A newer model passes while the older one is a candidate."""
    with_stable(w)
    w.measures(B, GOOD)
    w.measures(revision_name("c"), GOOD)
    w.begin()
    w.apply(passed_revision("b"))
    w.until(lambda: weights(w).get(B) == 10, "the first step")
    w.apply(passed_revision("c"))


def c_is_promoted(w: World) -> bool:
    return serves(w, revision_name("c")) and "supersededAt" in rollout(w, B)


def by_pods(**canary: Any) -> Json:
    """No gateway: two pods carry everything, and one of three is a third."""
    made = service(**{"steps": [{"weightPercent": 34, "holdSeconds": 1}, *LAST]} | canary)
    spec = made["spec"] | {"traffic": {"provider": "ReplicaRatio"}}
    return made | {"spec": spec | {"runtime": spec["runtime"] | {"replicas": 2}}}


def behind(w: World) -> str:
    """Whom the Service that clients use selects: a revision, `*` for all pods, empty when there is none."""
    selector = w.get(SERVICE, "bot").get("spec", {}).get("selector", {})
    return selector.get(names.REVISION, "*") if selector else ""


def with_stable_by_pods(w: World, **canary: Any) -> None:
    w.measures(A, GOOD)
    w.apply(by_pods(**canary), passed_revision("a"))
    w.until(lambda: serves_by_pods(w, A), "the first model serves")


def serves_by_pods(w: World, revision: str) -> bool:
    status = w.status(MODEL_SERVICE, "bot")
    return (
        (status.get("stable") or {}).get("revision") == revision
        and status.get("state") == "Stable"
        and behind(w) == revision
        and w.names(DEPLOYMENT) == w.names(SERVICE, SERVING) == w.names(CONFIG_MAP, SERVING) == [revision]
    )


def promotion_by_pods(w: World) -> None:
    with_stable_by_pods(w)
    w.measures(B, GOOD)
    w.begin()
    w.apply(passed_revision("b"))


def rollback_by_pods(w: World) -> None:
    with_stable_by_pods(w, steps=[{"weightPercent": 34, "holdSeconds": 600}, *LAST])
    w.measures(B, GOOD)
    w.begin()
    w.apply(passed_revision("b"))
    w.until(lambda: (w.status(MODEL_SERVICE, "bot").get("candidate") or {}).get("stepStartedAt"), "the first step")
    w.measures(B, BAD)


def superseded_by_pods(w: World) -> None:
    """A third revision while all pods are selected."""
    with_stable_by_pods(w)
    w.measures(B, GOOD)
    w.measures(revision_name("c"), GOOD)
    w.begin()
    w.apply(passed_revision("b"))
    w.until(lambda: behind(w) == "*", "the first step")
    w.apply(passed_revision("c"))


def service_deleted_before_traffic(w: World) -> None:
    with_stable(w)
    w.behaviour.silent = {B}
    w.begin()
    w.apply(passed_revision("b"))
    w.until(lambda: B in w.names(DEPLOYMENT), "the candidate is deployed")
    w.remove(MODEL_SERVICE, "bot")


def service_deleted_in_step(w: World) -> None:
    with_stable(w, steps=[{"weightPercent": 10, "holdSeconds": 600}, {"weightPercent": 100}])
    w.measures(B, GOOD)
    w.begin()
    w.apply(passed_revision("b"))
    w.until(lambda: weights(w).get(B) == 10, "the first step")
    w.remove(MODEL_SERVICE, "bot")


def service_deleted_in_bake(w: World) -> None:
    """The previous model is still there, warm, and goes, too."""
    with_stable(w, steps=LAST, bakeSeconds=600)
    w.measures(B, GOOD)
    w.begin()
    w.apply(passed_revision("b"))
    w.until(lambda: (w.status(MODEL_SERVICE, "bot").get("bake") or {}).get("startedAt"), "the bake")
    w.remove(MODEL_SERVICE, "bot")


# --- of a route that is the user's ------------------------------------------------------------------------------------


def with_lent_route(w: World, **canary: Any) -> None:
    """As `with_stable`, on a route of the user's that leads to something else, too."""
    w.measures(A, GOOD)
    made = service(**canary)
    made["spec"]["traffic"] = {"provider": "GatewayAPI", "routeRef": {"name": "chat"}}
    theirs = a_lent_route()
    meta = {key: theirs["metadata"][key] for key in ("name", "annotations")}
    w.apply(theirs | {"metadata": meta}, made, passed_revision("a"))
    w.until(lambda: serves(w, A), "the first model serves")


def git_writes_its_rules(w: World) -> None:
    """All of them, with the backend that stands for what Serin serves."""
    w.edit(HTTP_ROUTE, "chat", {"spec": {"rules": a_lent_route()["spec"]["rules"]}})


def lent_and_promoted(w: World) -> None:
    """Git writes its backends back in the first step, and again while nothing goes on."""
    with_lent_route(w)
    w.measures(B, GOOD)
    w.begin()
    w.apply(passed_revision("b"))
    w.until(lambda: weights(w).get(B) == 10, "the first step")
    git_writes_its_rules(w)
    w.until(lambda: b_is_promoted(w), "the promotion")
    git_writes_its_rules(w)


def lent_and_rolled_back(w: World) -> None:
    """The candidate is bad at 10 percent; Git's backends come back just then."""
    with_lent_route(w, steps=[{"weightPercent": 10, "holdSeconds": 600}, {"weightPercent": 100}])
    w.measures(B, GOOD)
    w.begin()
    w.apply(passed_revision("b"))
    w.until(lambda: weights(w).get(B) == 10, "the first step")
    w.measures(B, BAD)
    git_writes_its_rules(w)


def lent_and_given_back(w: World) -> None:
    """The service is deleted in a step: the route stays, with the weights that it had."""
    with_lent_route(w, steps=[{"weightPercent": 10, "holdSeconds": 600}, {"weightPercent": 100}])
    w.measures(B, GOOD)
    w.begin()
    w.apply(passed_revision("b"))
    w.until(lambda: weights(w).get(B) == 10, "the first step")
    w.remove(MODEL_SERVICE, "bot")


def only_their_route_is_left(w: World) -> bool:
    left = w.get(HTTP_ROUTE, "chat")
    return (
        not any(w.names(kind) for kind in (DEPLOYMENT, SERVICE, CONFIG_MAP, POD))
        and not w.get(MODEL_SERVICE, "bot")
        and "ownerReferences" not in left["metadata"]
        and left["spec"]["rules"][0] == a_lent_route()["spec"]["rules"][0]
    )


def service_is_gone(w: World) -> bool:
    children = (DEPLOYMENT, SERVICE, CONFIG_MAP, HTTP_ROUTE, POD)
    return not any(w.names(kind) for kind in children) and not w.get(MODEL_SERVICE, "bot")


FLOWS: tuple[Flow, ...] = (
    Flow("create-to-promoted", create_to_promoted, promoted_at_the_end),
    Flow("gate-failed", gate_failed, is_rejected),
    Flow("user-error", user_error, is_failed),
    Flow("infrastructure-retry", infrastructure_retry, trained_at_last),
    Flow("spec-edit-mid-run", spec_edit_mid_run, edited_is_promoted),
    Flow("new-threshold", new_threshold, promoted_at_the_end),
    *(Flow(f"job-deleted-in-{stage.lower()}", deleted_during(stage), job_is_gone) for stage in STAGES),
    Flow("first-deployment", first_deployment, lambda w: serves(w, A)),
    Flow("promotion", promotion, b_is_promoted),
    Flow("rollback-in-step", rollback_in_step, b_is_rolled_back),
    Flow("pods-lost-in-step", pods_lost_in_step, b_is_promoted),
    Flow("rollback-in-bake", rollback_in_bake, b_is_rolled_back),
    Flow("rollback-in-bake-stopped", rollback_in_bake_stopped, b_is_rolled_back),
    Flow("copies-then-approval", copies_then_approval, b_is_promoted),
    Flow("rejected-under-copies", rejected_under_copies, nobody_meets_b),
    Flow("approval-by-name", approval_by_name, b_is_promoted),
    Flow("experiment-won", experiment(0.9), lambda w: b_is_promoted(w) and verdict(w) == "CandidateBetter"),
    Flow("experiment-lost", experiment(0.1), b_has_lost),
    Flow("lent-and-promoted", lent_and_promoted, b_is_promoted),
    Flow("lent-and-rolled-back", lent_and_rolled_back, b_is_rolled_back),
    Flow("lent-and-given-back", lent_and_given_back, only_their_route_is_left),
    Flow("superseded", superseded, c_is_promoted),
    Flow("promotion-by-pods", promotion_by_pods, lambda w: serves_by_pods(w, B) and "promotedAt" in rollout(w, B)),
    Flow("rollback-by-pods", rollback_by_pods, lambda w: serves_by_pods(w, A) and "weightZeroAt" in rollout(w, B).get("rejection", {})),
    Flow("superseded-by-pods", superseded_by_pods,
         lambda w: serves_by_pods(w, revision_name("c")) and "supersededAt" in rollout(w, B)),
    Flow("service-deleted-before-traffic", service_deleted_before_traffic, service_is_gone),
    Flow("service-deleted-in-step", service_deleted_in_step, service_is_gone),
    Flow("service-deleted-in-bake", service_deleted_in_bake, service_is_gone),
)  # fmt: skip
