"""Suites with a judge, with people or with classifiers: what their pod is given, what it is told, and what is said meanwhile."""

import json
from typing import Any

import pytest
from serin_evaluator.config import EvaluateConfig
from serin_operator.api.contract import EvaluateOutput
from serin_operator.api.v1alpha1 import EvalGate, Verdict
from serin_operator.decide.decision import Create
from serin_operator.decide.job import decide_job
from serin_operator.decide.job.demands import demands
from serin_operator.decide.job.gates import judge
from serin_operator.decide.job.references import missing, suite_uris
from support.jobs import World, a_service, an_evaluation, stable_of
from support.objects import CLASSIFIER, JUDGE

PACK = {"suite": "open", "packUri": "pvc://artifacts/ml/bot/evaluate-1/preference/open", "pairs": 30}
RATED = [{"suite": "open", "uri": "pvc://datasets/ratings.jsonl"}]


def gate(**suite: Any) -> EvalGate:
    found = {
        "name": "open",
        "dataset": {"uri": "pvc://datasets/open.jsonl"},
        "metrics": ["JudgeWinRate", "HumanWinRate", "Toxicity"],
        "judge": JUDGE,
        "preference": {"against": "Incumbent", "question": "Which one?"},
        "classifiers": [CLASSIFIER],
        **suite,
    }
    asked = [
        {"name": metric.lower(), "metric": f"open/{metric}", "min": "0.5"}
        for metric in ("JudgeWinRate", "HumanWinRate")
    ]
    return EvalGate.model_validate(
        {"metadata": {"name": "quality", "namespace": "ml"}, "spec": {"suites": [found], "requirements": asked}}
    )


def evaluation_of(world: World) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config and the pod of the evaluation."""
    config: dict[str, Any] = {}
    pod: dict[str, Any] = {}
    for _ in range(12):
        decision = decide_job(world.snapshot())
        for action in decision.actions:
            if (
                isinstance(action, Create)
                and action.manifest["metadata"].get("labels", {}).get("serin.dev/stage") == "evaluate"
            ):
                if action.manifest["kind"] == "ConfigMap":
                    config = json.loads(action.manifest["data"]["config.json"])
                elif action.manifest["kind"] == "Job":
                    pod = action.manifest["spec"]["template"]["spec"]
        if pod:
            return config, pod
        world.act(decision)
        for run in world.running():
            world.finish(run)
    raise AssertionError("nothing was evaluated")


def test_the_image_reads_what_the_operator_writes_for_them() -> None:
    config, _ = evaluation_of(World(gates={"quality": gate()}, spec={"ratings": RATED}))

    [suite] = EvaluateConfig.model_validate(config).suites
    assert suite.judge is not None
    assert suite.preference is not None
    assert (suite.judge.secret, suite.judge.timeout_seconds, suite.judge.max_tokens) == ("judge", 30, 256)
    assert suite.preference.ratings is not None
    assert suite.preference.ratings.uri == "pvc://datasets/ratings.jsonl"
    assert (suite.classifiers[0].threshold, suite.classifiers[0].label) == (0.7, "toxic")


def test_without_an_incumbent_the_base_stands_in_and_is_measured() -> None:
    config, _ = evaluation_of(World(gates={"quality": gate()}))

    assert [model["role"] for model in config["models"]] == ["Candidate", "Base"]
    assert config["suites"][0]["judge"]["against"] == config["suites"][0]["preference"]["against"] == "Base"


def test_the_judges_key_is_given_to_the_evaluator_alone_and_by_https() -> None:
    _, pod = evaluation_of(World(gates={"quality": gate()}))

    given = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in pod["containers"][0]["env"] if "valueFrom" in one}
    assert given == {"SERIN_SECRET_JUDGE__OPENAI_API_KEY": {"name": "judge", "key": "OPENAI_API_KEY"}}


def test_classifiers_and_ratings_are_mounted_and_their_claims_looked_for() -> None:
    world = World(gates={"quality": gate(classifiers=[{**CLASSIFIER, "uri": "pvc://guards/toxic"}])})
    assert "pvc://guards/toxic" in suite_uris(world.snapshot())
    found = missing(world.snapshot())
    assert found is not None
    assert "'guards'" in found.message
    world.claims = world.claims | {"guards", "people"}
    world.spec["ratings"] = [{"suite": "open", "uri": "pvc://people/ratings.jsonl"}]

    _, pod = evaluation_of(world)

    claims = {one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one}
    assert {"guards", "people"} <= claims


@pytest.mark.parametrize(
    ("changes", "again"),
    [
        pytest.param(
            {"retries": 9, "timeoutSeconds": 9, "concurrency": 9, "secretRef": {"name": "other"}}, False, id="patience"
        ),
        pytest.param({"criteria": "shorter"}, True, id="criteria"),
        pytest.param({"model": "another"}, True, id="model"),
    ],
)
def test_what_changes_no_number_measures_nothing_anew(changes: dict[str, Any], again: bool) -> None:
    one, _ = evaluation_of(World(gates={"quality": gate()}))
    other, _ = evaluation_of(World(gates={"quality": gate(judge={**JUDGE, **changes})}))

    assert (one["key"] != other["key"]) is again


def test_ratings_of_a_suite_that_nobody_rates_are_said() -> None:
    world = World(spec={"ratings": [{"suite": "closed", "uri": "pvc://datasets/r.jsonl"}]}, gates={"quality": gate()})

    found = missing(world.snapshot())

    assert found is not None
    assert (found.reason, "those with one are open" in found.message) == ("RatingsOfNothing", True)


def judged(**output: Any) -> Any:
    measured = EvaluateOutput.model_validate(
        {"reportUri": "pvc://r/report.json", "scores": [], "comparisons": [], **output}
    )
    return judge(demands([gate()], []), measured, first_deployment=False)


def rate(metric: str, value: float = 0.8) -> dict[str, Any]:
    [score] = [one for one in an_evaluation()["scores"] if one["metric"] == "RougeL" and one["role"] == "Candidate"]
    moved = [bound + value - score["value"] for bound in score["curve"]]
    return {**score, "suite": "open", "metric": metric, "value": value, "curve": moved, "against": "Base"}


def test_a_gate_that_waits_for_people_says_where_the_pack_is() -> None:
    found = judged(scores=[rate("JudgeWinRate")], awaiting=[PACK])

    assert found.verdict is Verdict.INCONCLUSIVE
    assert "30 pairs lie in pvc://artifacts/ml/bot/evaluate-1/preference/open (pack.html to rate" in found.message
    assert "spec.ratings of the job, for suite open" in found.message
    assert found.message.endswith("the model is held until they are there")


def test_a_model_that_fails_already_need_not_be_rated() -> None:
    assert judged(scores=[rate("JudgeWinRate", 0.2)], awaiting=[PACK]).verdict is Verdict.FAILED


def test_a_judge_that_gave_no_score_is_an_error_and_no_waiting() -> None:
    assert judged(scores=[rate("HumanWinRate")], awaiting=[PACK]).verdict is Verdict.ERROR


def test_the_sentence_says_whose_answers_they_were_preferred_to() -> None:
    found = judged(scores=[rate("JudgeWinRate"), rate("HumanWinRate")])

    assert found.verdict is Verdict.PASSED
    assert "open/JudgeWinRate against the base model 0.800" in found.message


def test_with_an_incumbent_its_answers_are_measured() -> None:
    world = World(gates={"quality": gate()})
    world.service = a_service(stable=stable_of("bot-1"))
    config, _ = evaluation_of(world)
    # No record of that revision is left, so there is nothing to compare with but the base.
    assert [model["role"] for model in config["models"]] == ["Candidate", "Base"]
