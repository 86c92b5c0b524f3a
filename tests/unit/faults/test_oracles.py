"""The oracles speak up: each thing that must never be, told in a few audit events, and the same story without it."""

from collections import Counter
from typing import Any

import pytest
from faults.harness.oracles import Naming, comparable, count_differences, creates_and_deletes, differences, safety
from faults.harness.plane import ACTORS, OPERATOR, USER
from faults.harness.sweep import points_of, some

Json = dict[str, Any]


class Log:
    """An audit log that is written by hand; each event is a second after the one before."""

    def __init__(self) -> None:
        self.events: list[Json] = []

    def add(
        self, user: str, verb: str, resource: str, name: str, made: Json, *, sub: str = "", code: int = 200
    ) -> "Log":
        ref = {"resource": resource, "namespace": "ns", "name": name, "subresource": sub}
        self.events.append(
            {"stageTimestamp": f"2026-06-01T12:00:{len(self.events):02}.000000Z", "verb": verb, "objectRef": ref,
             "user": {"username": user}, "responseStatus": {"code": code}, "responseObject": made}
        )  # fmt: skip
        return self

    def revision(self, name: str, *, rejected: bool = False, promoted: bool = False, verdict: str = "Passed") -> "Log":
        rollout = {"rejection": {"reason": "x"}} if rejected else {"promotedAt": "x"} if promoted else {}
        status: Json = {"gate": {"verdict": verdict}, "rollout": rollout}
        made = {"metadata": {"name": name}, "status": status}
        return self.add(OPERATOR, "patch", "modelrevisions", name, made, sub="status")

    def weights(self, **weights: int) -> "Log":
        refs = [{"name": name, "weight": weight} for name, weight in weights.items()]
        made = {"metadata": {"name": "bot"}, "spec": {"rules": [{"backendRefs": refs}]}}
        return self.add(OPERATOR, "patch", "httproutes", "bot", made)

    def aside(self, copies: str = "", testers: str = "") -> "Log":
        """All users go to a; copies of their requests, or testers, to another."""
        mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": copies}}}
        everybody = {"backendRefs": [{"name": "a", "weight": 100}, {"name": "b", "weight": 0}]}
        rules: list[Json] = [{"backendRefs": [{"name": testers, "weight": 1}]}] if testers else []
        rules.append({**everybody, "filters": [mirror]} if copies else everybody)
        return self.add(OPERATOR, "patch", "httproutes", "bot", {"metadata": {"name": "bot"}, "spec": {"rules": rules}})

    def lent(self, user: str, **weights: int) -> "Log":
        """A route that leads to something of the user's, too."""
        ours = [{"name": name, "weight": weight} for name, weight in weights.items()]
        rules = [{"backendRefs": [{"name": "web"}]}, {"backendRefs": ours}]
        return self.add(user, "patch", "httproutes", "chat", {"metadata": {"name": "chat"}, "spec": {"rules": rules}})

    def selects(self, revision: str = "") -> "Log":
        """The Service of a ModelService without a gateway; all pods when no revision is named."""
        labels = {"serin.dev/service": "bot"}
        selector = labels | ({"serin.dev/revision": revision} if revision else {})
        made = {"metadata": {"name": "bot", "labels": labels}, "spec": {"selector": selector}}
        return self.add(OPERATOR, "patch", "services", "bot", made)

    def looks_at(self, resource: str) -> "Log":
        """The log tells of reads without what was read."""
        self.add(OPERATOR, "get", resource, "chat", {})
        del self.events[-1]["responseObject"]
        return self

    def seconds(self, count: int) -> "Log":
        """Somebody reads, once a second."""
        for _ in range(count):
            self.looks_at("modelservices")
        return self

    def server(self, revision: str, ready: bool = True) -> "Log":
        labels = {"serin.dev/stage": "serve", "serin.dev/revision": revision}
        return self._pod(f"pod-{revision}", labels, "rs", "Running", ready)

    def trainer(self, run: str, phase: str = "Running") -> "Log":
        return self._pod(f"pod-{run}", {"serin.dev/stage": "train", "serin.dev/job": "bot"}, run, phase, True)

    def gone(self, name: str, grace: int) -> "Log":
        made = {"metadata": {"uid": name, "name": name, "labels": {"serin.dev/stage": "train"},
                             "deletionGracePeriodSeconds": grace}}  # fmt: skip
        return self.add(ACTORS, "delete", "pods", name, made)

    def finalizer_off(self, name: str, run: str) -> "Log":
        labels = {"serin.dev/stage": "train", "serin.dev/job": "bot"}
        made = {"metadata": {"uid": name, "name": name, "labels": labels, "ownerReferences": [{"uid": run}],
                             "deletionTimestamp": "x", "deletionGracePeriodSeconds": 0},
                "status": {"phase": "Running"}}  # fmt: skip
        return self.add(ACTORS, "patch", "pods", name, made)

    def job(self, name: str, condition: str = "") -> "Log":
        labels = {"serin.dev/stage": "train", "serin.dev/job": "bot", "serin.dev/key": "k"}
        conditions = [{"type": condition, "status": "True"}] if condition else []
        made = {"metadata": {"name": name, "uid": name, "labels": labels}, "status": {"conditions": conditions}}
        return self.add(OPERATOR, "update" if condition else "create", "jobs", name, made, code=201)

    def _pod(self, name: str, labels: Json, owner: str, phase: str, ready: bool) -> "Log":
        condition = {"type": "Ready", "status": str(ready)}
        made = {"metadata": {"uid": name, "name": name, "labels": labels, "ownerReferences": [{"uid": owner}]},
                "status": {"phase": phase, "conditions": [condition]}}  # fmt: skip
        return self.add(ACTORS, "patch", "pods", name, made, sub="status")

    def found(self) -> list[str]:
        return [violation.what for violation in safety(self.events)]


def serving() -> Log:
    return Log().revision("a").revision("b").server("a").server("b").weights(a=100)


def by_pods() -> Log:
    """The same without a gateway."""
    return Log().revision("a").revision("b").server("a").selects("a").server("b")


@pytest.mark.parametrize(
    ("log", "words"),
    [
        pytest.param(
            serving().weights(a=90, b=10).revision("b", rejected=True).weights(a=50, b=50),
            "b, which is rejected, rose from 10 to 50",
            id="a rejected weight rises",
        ),
        pytest.param(
            serving().revision("b", verdict="Failed").weights(a=90, b=10), "b, which passed no gate", id="no gate passed"
        ),
        pytest.param(
            serving().lent(USER, bot=1).revision("b", rejected=True).lent(OPERATOR, a=90, b=10),
            "b, which is rejected, rose from 0 to 10",
            id="a rejected one on a lent route",
        ),
        pytest.param(
            by_pods().selects().revision("b", rejected=True).selects(), "also those of b, which is rejected", id="all pods, a rejected one's too"
        ),
        pytest.param(by_pods().server("c").selects(), "c, which passed no gate", id="all pods, also of who passed nothing"),
        pytest.param(
            by_pods().selects().revision("c").server("c"), "all pods are selected, of ['a', 'b', 'c']", id="a third one comes beside two"
        ),
        pytest.param(
            by_pods().revision("b", rejected=True).selects("b"), "b, which is rejected, rose from 0 to 100", id="a rejected one alone"
        ),
        pytest.param(Log().revision("a").weights(a=100), "a has no ready pod", id="nobody there"),
        pytest.param(
            serving().revision("b", rejected=True).aside(copies="b"), "b, which is rejected, rose from 0 to 1", id="copies to a rejected one"
        ),
        pytest.param(
            serving().revision("b", rejected=True).aside(testers="b"), "b, which is rejected, rose from 0 to 1", id="testers to a rejected one"
        ),
        pytest.param(
            serving().server("b", ready=False).revision("c").aside(testers="c"), "c has no ready pod", id="testers to nobody"
        ),
        pytest.param(
            serving().weights(b=100).server("a", ready=False).job("x").job("x", "Complete").job("y", "Complete")
            .job("z", "Complete").weights(a=100),
            "a has no ready pod",
            id="back to pods that went away",
        ),
        pytest.param(
            serving().weights(a=90, b=10).server("b", ready=False).seconds(40),
            "b has kept its traffic for 0:00:31 without a ready pod",
            id="a candidate without pods",
        ),
        pytest.param(Log().trainer("1").trainer("2"), "two attempts of bot/train run", id="two trainings"),
        pytest.param(
            Log().trainer("1").gone("pod-1", 120).trainer("2"), "two attempts of bot/train run", id="the first is dying"
        ),
        pytest.param(Log().job("1").job("2"), "2 was created while 1 was not finished", id="two Jobs"),
        pytest.param(
            Log().add(OPERATOR, "patch", "modelservices", "bot", {}), "the operator wrote modelservices bot itself",
            id="a user's spec",
        ),
    ],
)  # fmt: skip
def test_what_must_never_be_is_told(log: Log, words: str) -> None:
    assert any(words in what for what in log.found()), log.found()


@pytest.mark.parametrize(
    "log",
    [
        pytest.param(
            serving().weights(a=90, b=10).revision("b", rejected=True).weights(a=100, b=0), id="a rollback"
        ),
        pytest.param(
            serving().aside(copies="b", testers="b").revision("b", rejected=True).aside(), id="testers and copies, and their end"
        ),
        pytest.param(
            serving().lent(USER, bot=1).looks_at("httproutes").lent(OPERATOR, a=90, b=10), id="a route that leads elsewhere, too"
        ),
        pytest.param(
            by_pods().selects().revision("b", rejected=True).selects("a").server("b", ready=False), id="a rollback by pods"
        ),
        pytest.param(
            by_pods().selects().server("b", ready=False).selects("a").revision("c").server("c").selects(), id="the next one by pods"
        ),
        pytest.param(
            serving().weights(a=90, b=10).server("b", ready=False).seconds(20).weights(a=100, b=0).seconds(20),
            id="a candidate without pods loses its traffic",
        ),
        pytest.param(
            serving().weights(a=90, b=10).server("a", ready=False).revision("a", promoted=True).seconds(40), id="a stable without pods"
        ),
        pytest.param(
            serving().weights(a=90, b=10).server("a", ready=False).server("b", ready=False).seconds(40), id="nobody is ready"
        ),
        pytest.param(Log().trainer("1").trainer("1", "Failed").trainer("2"), id="one training after the other"),
        pytest.param(Log().trainer("1").gone("pod-1", 120).gone("pod-1", 0).trainer("2"), id="the first is gone"),
        pytest.param(
            Log().trainer("1").gone("pod-1", 0).finalizer_off("pod-1", "1").trainer("2"), id="only its finalizer is left"
        ),
        pytest.param(Log().job("1").job("1", "Failed").job("2"), id="one Job after the other"),
        pytest.param(Log().add(OPERATOR, "patch", "modelservices", "bot", {}, sub="status"), id="a status"),
        pytest.param(Log().add(USER, "patch", "modelservices", "bot", {}), id="the user's own edit"),
        pytest.param(Log().add(OPERATOR, "patch", "modelservices", "bot", {}, code=409), id="refused"),
    ],
)  # fmt: skip
def test_what_may_be_is_not_told(log: Log) -> None:
    assert log.found() == []


def test_creates_and_deletes_are_counted_by_object_and_only_when_they_happened() -> None:
    log = Log().job("1").add(OPERATOR, "delete", "jobs", "1", {}).add(OPERATOR, "delete", "jobs", "2", {}, code=404)
    log.add(OPERATOR, "create", "jobs", "3", {}, code=409).add(USER, "create", "jobs", "4", {}, code=201)
    counted = creates_and_deletes(log.events)
    assert counted == Counter({"create jobs 1": 1, "delete jobs 1": 1})
    assert count_differences(counted, counted) == []
    assert count_differences(counted, Counter({"create jobs 1": 2})) == [
        "C: create jobs 1 2 times, without a fault 1",
        "C: delete jobs 1 0 times, without a fault 1",
    ]


def test_ends_differ_by_field() -> None:
    clean = {"Job a": {"status": {"succeeded": 1}}, "Job b": {}}
    assert differences(clean, clean) == []
    assert differences(clean, {"Job a": {"status": {"succeeded": 2}}, "Job c": {}}) == [
        "E: Job a: .status.succeeded is 2, without a fault 1",
        "E: Job b is missing",
        "E: Job c is there and should not be",
    ]


def test_what_differs_from_run_to_run_is_left_out_of_names_and_texts() -> None:
    child = {"metadata": {"name": "bot-train-0a1b2c3d-1", "labels": {"serin.dev/key": "fedcba9876543210"}}}
    said = Naming("f-12345678", [child])
    assert said.plain("f-12345678/bot-train-0a1b2c3d-1") == "NAMESPACE/bot-train-fedcba98-1"
    assert said.plain("since 12:00:01 UTC, 3 of 5 s, after 0.4 s") == "since TIME, N s, after N s"
    assert said.plain("2026-01-02T03:04:05.678901Z") == "TIME"


def end_of(monitoring: Json | None, slos_hold: str, message: str, degraded: str = "False") -> dict[str, Json]:
    """How a service ended whose stable was looked at, or not yet."""
    conditions = [
        {"type": "SlosHold", "status": slos_hold, "message": message},
        {"type": "Degraded", "status": degraded},
    ]
    status: Json = {"state": "Stable", "conditions": conditions} | ({"monitoring": monitoring} if monitoring else {})
    item = {"metadata": {"name": "bot"}, "status": status}
    return {"ModelService bot": comparable("serin.dev/v1alpha1", item, Naming("f-12345678", []))}


def test_whether_the_stable_was_looked_at_yet_is_not_compared_and_a_breach_of_it_is() -> None:
    fast = end_of(None, "Unknown", "the stable was not looked at yet")
    slow = end_of({"lookedAt": "2026-06-01T12:00:00Z", "breached": []}, "True", "length 23 <= 96")
    assert differences(fast, slow) == []
    assert differences(fast, end_of(None, "Unknown", "", degraded="True"))
    breached = end_of({"breached": [{"name": "length"}]}, "False", "length 126 > 96")
    assert differences(slow, breached)
    assert differences(breached, breached) == []


def test_a_part_of_the_points_is_spread_and_picked_by_seed() -> None:
    points = points_of("flow", 20, ("before", "after"))
    assert some(points, 100, 1) == points
    picked = some(points, 4, 1)
    assert picked == some(points, 4, 1)
    assert picked != some(points, 4, 2)
    assert len(set(picked)) == 4
    everything = {point for seed in range(200) for point in some(points, 4, seed)}
    assert everything == set(points)


def test_numbers_of_an_experiment_and_codes_of_approvals_are_not_compared_and_who_won_or_approved_is() -> None:
    said = Naming("ns", [])
    lost = '{"message": "experiment: %s of 1000 outcomes are successes", "reason": "ExperimentLost", "step": %d}'
    assert said.plain(lost % ("10.00%", 2)) == said.plain(lost % ("9.87%", 2))
    assert said.plain(lost % ("10.00%", 2)) != said.plain(lost % ("10.00%", 3))
    given = '{"approval.serin.dev/one": "%s leads %s"}'
    assert said.plain(given % ("51488cc2f7", "ann")) == said.plain(given % ("058a1045ef", "ann"))
    assert said.plain(given % ("51488cc2f7", "ann")) != said.plain(given % ("51488cc2f7", "bob"))
