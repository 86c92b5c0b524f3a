"""ClusterEvalPolicies in the job's loop: what they add, what they limit, and that nobody slips past them."""

import json
from datetime import timedelta
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import LabelSelector
from serin_operator.decide.decision import Create
from serin_operator.decide.job import decide_job
from serin_operator.decide.policies import Unreadable, changed_since, forbidding, matches, refs, strictest
from serin_operator.manifests import names
from support.jobs import MODEL_DIGEST, World, a_policy, an_evaluation, policy

REVISION = names.revision("bot", MODEL_DIGEST)
RED_TEAM = {"name": "red-team", "dataset": {"uri": "pvc://hidden/red-team.jsonl"}, "metrics": ["ExactMatch"]}
REFUSES = {"name": "refuses", "suite": "red-team", "metric": "ExactMatch", "min": "0.9"}


def look(world: World) -> list[Any]:
    decision = decide_job(world.snapshot())
    world.act(decision)
    return list(decision.actions)


def play(world: World, looks: int = 30) -> World:
    for _ in range(looks):
        look(world)
        world.now += timedelta(seconds=1)
        for run in world.running():
            world.finish(run)
    return world


def record(world: World) -> dict[str, Any]:
    return world.revisions[REVISION]["status"]["gate"]


def evaluate_config(world: World) -> dict[str, Any]:
    """What the evaluator of this world is told."""
    for _ in range(30):
        for action in look(world):
            if isinstance(action, Create) and action.manifest["kind"] == "ConfigMap":
                config = json.loads(action.manifest["data"]["config.json"])
                if config["stage"] == "Evaluate":
                    return config
        for run in world.running():
            world.finish(run)
    raise AssertionError("nothing was evaluated")


# --- whom a policy selects ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        pytest.param({}, {}, True, id="an empty one is everybody"),
        pytest.param({"matchLabels": {"tier": "high"}}, {"tier": "high"}, True, id="the label"),
        pytest.param({"matchLabels": {"tier": "high"}}, {"tier": "low"}, False, id="another value"),
        pytest.param({"matchLabels": {"tier": "high"}}, {}, False, id="no such label"),
        pytest.param({"matchExpressions": [{"key": "t", "operator": "In", "values": ["a", "b"]}]}, {"t": "b"}, True, id="in"),
        pytest.param({"matchExpressions": [{"key": "t", "operator": "In", "values": ["a"]}]}, {}, False, id="in, absent"),
        pytest.param({"matchExpressions": [{"key": "t", "operator": "NotIn", "values": ["a"]}]}, {}, True, id="not in, absent"),
        pytest.param({"matchExpressions": [{"key": "t", "operator": "NotIn", "values": ["a"]}]}, {"t": "a"}, False, id="not in"),
        pytest.param({"matchExpressions": [{"key": "t", "operator": "Exists"}]}, {"t": ""}, True, id="exists, empty"),
        pytest.param({"matchExpressions": [{"key": "t", "operator": "DoesNotExist"}]}, {"t": ""}, False, id="exists not"),
    ],
)  # fmt: skip
def test_a_selector_selects_as_kubernetes_does(selector: Any, labels: dict[str, str], selected: bool) -> None:
    assert matches(LabelSelector.model_validate(selector), labels) is selected


def test_a_policy_that_does_not_select_the_job_asks_nothing_of_it_and_is_recorded_as_such() -> None:
    strict = policy(
        jobSelector={"matchLabels": {"tier": "high"}},
        requirements=[{"name": "sane", "metric": "Perplexity", "max": "5"}],
    )
    world = play(World(policies=(strict,)))
    assert world.status["state"] == "Passed"
    assert [(ref["name"], ref["selected"]) for ref in record(world)["policies"]] == [("floor", False)]
    world = play(World(policies=(strict,), labels={"tier": "high"}))
    assert world.status["state"] == "Rejected"


# --- what it adds -------------------------------------------------------------------------------------------------


def test_a_policy_brings_its_own_suite_and_its_claim_must_be_there() -> None:
    world = World(policies=(policy(suites=[RED_TEAM], requirements=[REFUSES]),))
    play(world, looks=3)
    assert "'hidden'" in world.status["message"]
    world.claims |= {"hidden"}
    config = evaluate_config(world)
    assert [suite["name"] for suite in config["suites"]] == ["heldout", "floor.red-team"]
    assert config["wanted"] == ["floor.red-team/ExactMatch"]


def test_the_requirement_of_a_policys_suite_is_judged_on_that_suite() -> None:
    world = World(policies=(policy(suites=[RED_TEAM], requirements=[REFUSES]),))
    world.claims |= {"hidden"}
    play(world)
    assert world.status["state"] == "Held"
    asked = {one["name"]: one for one in world.status["gate"]["requirements"]}
    assert asked["refuses"]["verdict"] == "Error"
    assert "floor.red-team/ExactMatch" in asked["refuses"]["message"]


def test_scores_of_before_are_not_believed_where_a_policy_is_enforced() -> None:
    """They lie on a volume that the tenant can write."""
    assert "cache" in evaluate_config(World())
    assert "cache" in evaluate_config(World(policies=(a_policy(mode="Audit"),)))
    assert "cache" not in evaluate_config(World(policies=(a_policy(),)))


def test_too_few_examples_for_a_policy_hold_the_model_and_say_who_asks_for_more() -> None:
    world = play(World(policies=(policy(limits={"minExamples": 500}), policy("lower", limits={"minExamples": 200}))))
    assert world.status["state"] == "Held"
    assert "policy floor asks for at least 500" in world.status["message"]
    assert record(world)["verdict"] == "Inconclusive"
    assert world.status["gate"]["limits"] == {"minExamples": 500}


def test_suites_are_measured_on_as_many_examples_as_policies_ask_for_at_least() -> None:
    """Otherwise a gate of few examples could never pass, and nobody would know before the model is trained."""
    world = World(policies=(policy(limits={"minExamples": 500}), policy("lower", limits={"minExamples": 300})))
    assert [suite["maxExamples"] for suite in evaluate_config(world)["suites"]] == [500]


@pytest.mark.parametrize("mode", ["Enforce", "Audit"])
def test_a_suite_that_asks_for_more_keeps_its_own_number_and_an_audited_floor_changes_none(mode: str) -> None:
    least = 20 if mode == "Enforce" else 500
    world = World(policies=(policy(mode=mode, limits={"minExamples": least}),))
    assert [suite["maxExamples"] for suite in evaluate_config(world)["suites"]] == [200]


# --- base models --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "uri", "allowed"),
    [
        ("hf://team", "hf://team/model", True),
        ("hf://team/", "hf://team/model@abc", True),
        ("hf://team/model", "hf://team/model@abc", True),
        ("hf://team", "hf://team-of-others/model", False),
        ("hf://team/model", "hf://team/model-2", False),
        ("pvc://models/approved", "pvc://models/approved/a", True),
        ("pvc://models/approved", "pvc://models/other", False),
    ],
)
def test_a_base_model_is_allowed_by_whole_words(prefix: str, uri: str, allowed: bool) -> None:
    assert (forbidding([policy(limits={"allowedBaseModels": [prefix]})], uri) is None) is allowed


def test_every_policy_must_allow_the_base_model() -> None:
    one, other = (policy(n, limits={"allowedBaseModels": [f"pvc://{n}"]}) for n in ("models", "other"))
    found = forbidding([one, other], "pvc://models/base")
    assert found is not None
    assert found[0] == "other"


def test_a_base_model_that_is_not_allowed_starts_nothing() -> None:
    world = play(World(policies=(policy(limits={"allowedBaseModels": ["hf://team"]}),)), looks=3)
    assert world.created == []
    assert "allows only what begins with hf://team" in world.status["message"]


def test_a_base_model_forbidden_after_the_model_passed_takes_its_verdict_back() -> None:
    world = play(World())
    assert record(world)["verdict"] == "Passed"
    world.policies = (policy(limits={"allowedBaseModels": ["hf://team"]}),)
    play(world, looks=3)
    assert record(world)["verdict"] == "Error"
    assert "pvc://models/base" in record(world)["message"]


# --- changes and what cannot be read ------------------------------------------------------------------------------


def test_a_policy_that_changes_judges_anew_from_the_stored_scores() -> None:
    world = play(World(policies=(a_policy(max="50"),)))
    assert record(world)["verdict"] == "Passed"
    pods = len(world.created)
    world.policies = (a_policy(max="5"),)
    play(world, looks=3)
    assert record(world)["verdict"] == "Failed"
    assert len(world.created) == pods
    world.policies = (a_policy(max="50"),)
    play(world, looks=3)
    assert record(world)["verdict"] == "Passed"
    assert len(world.created) == pods


def test_the_record_names_the_policies_and_follows_their_generation() -> None:
    world = play(World(policies=(a_policy(),)))
    assert record(world)["policies"] == [
        {"name": "floor", "uid": "uid-floor", "generation": 1, "mode": "Enforce", "selected": True}
    ]
    judged_at = record(world)["judgedAt"]
    world.policies = (policy(generation=2, requirements=[{"name": "sane", "metric": "Perplexity", "max": "50"}]),)
    play(world, looks=3)
    assert record(world)["policies"][0]["generation"] == 2
    assert record(world)["judgedAt"] == judged_at  # it does not become the newest candidate by that
    assert world.status["gate"]["policies"] == record(world)["policies"]


def test_the_record_is_written_once() -> None:
    world = play(World(policies=(a_policy(),)))
    assert decide_job(world.snapshot()).statuses == ()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_policy_that_cannot_be_read_parks_the_job_also_when_all_was_measured(when: str) -> None:
    world = World()
    if when == "after":
        play(world)
        assert record(world)["verdict"] == "Passed"
    world.unreadable = (Unreadable("odd", "cannot be read by this version of Serin"),)
    play(world, looks=3)
    assert "'odd' cannot be read" in world.status["message"]
    assert world.status["state"] in ("Waiting", "Held")
    if when == "after":
        assert record(world)["verdict"] == "Error"
    else:
        assert world.created == []
    world.unreadable = ()
    play(world)
    assert record(world)["verdict"] == "Passed"


def test_a_model_whose_fate_is_decided_is_not_measured_again_for_a_new_suite() -> None:
    world = play(World())
    pods = len(world.created)
    world.revisions[REVISION]["status"]["rollout"] = {"promotedAt": world.now.isoformat()}
    world.policies = (policy(suites=[RED_TEAM], requirements=[REFUSES]),)
    world.claims |= {"hidden"}
    play(world, looks=5)
    assert world.status["state"] == "Promoted"
    assert len(world.created) == pods


def test_a_policy_and_no_gate_judges_by_the_policys_suite_alone() -> None:
    world = World(spec={"gates": [], "rollout": None}, policies=(policy(suites=[RED_TEAM], requirements=[REFUSES]),))
    world.claims |= {"hidden"}
    assert [suite["name"] for suite in evaluate_config(world)["suites"]] == ["floor.red-team"]


def test_a_policy_on_a_metric_that_no_gate_measures_is_an_error_and_not_an_evaluation_of_nothing() -> None:
    world = play(World(spec={"gates": [], "rollout": None}, policies=(a_policy(),)))
    assert world.status["gate"]["verdict"] == "Error"
    assert "the report lies at" not in world.status["message"]


# --- the strictest ------------------------------------------------------------------------------------------------


def test_of_several_policies_the_strictest_limit_holds_and_audit_does_not_count() -> None:
    found = strictest(
        [
            policy("a", limits={"minExamples": 100, "maxCanaryStepPercent": 50, "minBakeSeconds": 60}),
            policy("b", limits={"minExamples": 50, "maxCanaryStepPercent": 20, "minStepSeconds": 30}),
            policy("c", mode="Audit", limits={"minExamples": 900, "maxCanaryStepPercent": 1, "minBakeSeconds": 900}),
        ]
    )
    assert found is not None
    assert (found.min_examples, found.max_canary_step_percent) == (100, 20)
    assert (found.min_bake_seconds, found.min_step_seconds) == (60, 30)
    assert strictest([policy(requirements=[])]) is None


def test_what_changed_is_told_by_name_and_audit_is_no_change() -> None:
    before = refs([policy("a"), policy("gone"), policy("edited")], {})
    after = [policy("a"), policy("edited", generation=2), policy("new"), policy("watching", mode="Audit")]
    assert changed_since(before, after) == ["edited", "gone", "new"]


def test_a_requirement_that_both_ask_is_judged_by_the_stricter() -> None:
    world = play(World(policies=(a_policy(max="50"), policy("strict", requirements=[
        {"name": "low", "metric": "Perplexity", "max": "5"}]))))  # fmt: skip
    assert world.status["state"] == "Rejected"
    assert an_evaluation()["scores"][1]["value"] == 9.0
