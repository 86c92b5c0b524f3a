"""What people get wrong about evaluation, item by item: when they are told, and in which words.

Each table is one moment: applied, before any pod, in the pod, judged. The earlier the better; what is further down could
not have been known before. Every rule by itself is tested with the code that it is in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from serin_devcluster.apiserver import ApiServer
from serin_evaluator.config import Suite as EvaluatorSuite
from serin_evaluator.errors import DataError
from serin_evaluator.suites import load_suite
from serin_operator.api.contract import EvaluateOutput
from serin_operator.api.v1alpha1 import ClusterEvalPolicy, EvalGate, Verdict
from serin_operator.decide.job import decide_job
from serin_operator.decide.job.demands import demands
from serin_operator.decide.job.gates import judge
from support.evaluation import suite_document
from support.jobs import World, a_gate, a_policy, an_evaluation
from support.objects import MINIMAL, changed

Json = dict[str, Any]
CRDS = Path(__file__).parents[2] / "crds"
GATE = MINIMAL["EvalGate"]


@pytest.fixture(scope="module")
def crds(apiserver: ApiServer) -> ApiServer:
    """The apiserver, with our CRDs served."""
    apiserver.kubectl("apply", "--server-side", "-f", str(CRDS))
    apiserver.kubectl("wait", "--for=condition=Established", "--timeout=110s", "-f", str(CRDS))
    return apiserver


def asking(metric: str, **bounds: str) -> Json:
    """A gate whose suite measures the metric and whose one requirement has these bounds."""
    suited = changed(GATE, "spec.suites.0.metrics", [metric])
    return changed(suited, "spec.requirements.0", {"name": "quality", "metric": f"heldout/{metric}", **bounds})


def measuring(*metrics: str) -> Json:
    return changed(GATE, "spec.suites.0.metrics", list(metrics))


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        pytest.param(
            measuring("RougeL", "ECE"),
            "AdaptiveECE, Brier, ECE, F1Macro, F1Micro need choices: what the model may choose from",
            id="a calibration error of free text",
        ),
        pytest.param(
            changed(measuring("RougeL", "F1Macro"), "spec.suites.0.choices", {"field": "options"}),
            "F1Macro, F1Micro need choices.labels: the same for every row",
            id="F1 over labels that differ from row to row",
        ),
        pytest.param(
            measuring("RougeL", "Toxicity"),
            "Toxicity needs a classifier of that metric in classifiers: nothing else can tell it",
            id="toxicity without a classifier",
        ),
        pytest.param(measuring("RougeL", "BERTScore"), 'Unsupported value: "BERTScore"', id="an unknown metric"),
        pytest.param(
            asking("RougeL", min="35"), "and so must their bounds and margins: write 0.35 for 35 percent", id="35 for 0.35"
        ),
        pytest.param(asking("BLEU", min="0.35"), "write 35, not 0.35", id="0.35 for 35"),
        pytest.param(
            asking("RougeL", comparedTo="Base", maxRegression="2"), "write 0.35 for 35 percent", id="a margin of 200 percent"
        ),
        pytest.param(
            asking("TimeToFirstToken", max="200"),
            "TimeToFirstToken is in seconds, so max is at most 100: write 0.2 for 200 milliseconds",
            id="milliseconds for seconds",
        ),
        pytest.param(asking("Perplexity", max="1"), "Perplexity is never below 1, so max must be above 1", id="cross entropy for perplexity"),
        pytest.param(
            asking("Perplexity", min="10"),
            "this metric is better when lower, so a floor alone asks for a bad model: give max",
            id="a floor where lower is better",
        ),
        pytest.param(
            asking("RougeL", max="0.5"),
            "this metric is better when higher, so a ceiling alone asks for a bad model: give min",
            id="a ceiling where higher is better",
        ),
        pytest.param(
            asking("RougeL", min="1.0"), "no sample can show that a score is 1, its best", id="a bound that nothing can prove"
        ),
        pytest.param(asking("RougeL", min="0.5", max="0.4"), "min must not be above max", id="a floor above its ceiling"),
        pytest.param(
            changed(GATE, "spec.suites.0.maxExamples", 10),
            "maxExamples must be at least 20: on fewer examples nothing is judged",
            id="too few examples to judge anything",
        ),
        pytest.param(
            changed(GATE, "spec.requirements.0.weight", 0),
            "at least one requirement needs a weight above 0 or mustPass: the gate would pass every model",
            id="a gate that asks for nothing",
        ),
        pytest.param(
            changed(GATE, "spec.requirements.0.metric", "other/RougeL"),
            "add the metric to spec.suites[].metrics, or name another in spec.requirements[].metric",
            id="a requirement on what no suite measures",
        ),
        pytest.param(
            changed(GATE, "spec.requirements.0.slice", {"field": "language", "value": "de"}),
            "a requirement's slice must be by a field that its suite is sliced by: add the field to spec.suites[].slices",
            id="a slice that no suite is cut into",
        ),
        pytest.param(
            changed(GATE, "spec.suites.0.dataset.uri", "pvc://datasets/test.csv"),
            "of a JSON Lines file (.jsonl or .jsonl.gz)",
            id="another kind of file",
        ),
    ],
)  # fmt: skip
def test_it_is_refused_when_applied(crds: ApiServer, namespace: str, gate: Json, said: str) -> None:
    done = crds.kubectl_process("create", "-n", namespace, "--dry-run=server", "-f", "-", stdin=json.dumps(gate))
    assert done.returncode != 0
    assert said in done.stderr


TWO = {"gates": [{"name": "quality"}, {"name": "again"}]}


@pytest.mark.parametrize(
    ("world", "reason", "said"),
    [
        pytest.param(
            {"gates": {"quality": a_gate(min="0.5", max="0.9"), "again": a_gate(min="0.1", max="0.4")}, "spec": TWO},
            "SuiteGivenTwice",
            "both have a suite 'heldout', so their scores could not be told apart; rename one of them",
            id="two gates with a suite of one name",
        ),
        pytest.param(
            {"gates": {"quality": a_gate(min="0.5")}, "policies": (a_policy(metric="RougeL", min="0.1", max="0.4"),)},
            "GatesContradict",
            "better of gate quality asks for heldout/RougeL of at least 0.5, and sane of policy floor for at most 0.4: no"
            " model can meet both; correct one of them",
            id="a gate and a policy that contradict",
        ),
        pytest.param(
            {"policies": (a_policy(metric="BLEU", min="20"),)},
            "RequirementOfNothing",
            "which no suite of the job's gates or of the policy measures; add the metric to spec.suites[].metrics",
            id="a policy on what nobody measures",
        ),
        pytest.param(
            {"spec": {"ratings": [{"suite": "heldout", "uri": "pvc://datasets/ratings.jsonl"}]}},
            "RatingsOfNothing",
            "no gate of the job has a suite of that name with a preference",
            id="ratings of what nobody was asked about",
        ),
        pytest.param(
            {"gates": {}},
            "EvalGateNotFound",
            "apply it or correct the name, and the job goes on by itself",
            id="no such gate",
        ),
    ],
)
def test_it_is_a_condition_before_any_pod_runs(world: Json, reason: str, said: str) -> None:
    looked_at = World(**world)
    for _ in range(3):
        looked_at.act(decide_job(looked_at.snapshot()))
    assert looked_at.created == []
    found = next(one for one in looked_at.status["conditions"] if one["type"] == "ReferencesResolved")
    assert (found["status"], found["reason"]) == ("False", reason)
    assert said in found["message"]


ROW = {"prompt": "a", "completion": "b"}


@pytest.mark.parametrize(
    ("content", "suite", "said"),
    [
        pytest.param(
            [{"question": "a", "answer": "b"}],
            {},
            "heldout.jsonl:1: the row has none of messages, prompt and input; it has question, answer.",
            id="columns of other names",
        ),
        pytest.param(
            [{"prompt": "a", "answer": "b"}],
            {},
            "None of the 1 rows of pvc://datasets/heldout.jsonl has an answer: suite heldout is empty.",
            id="a column of answers that is called otherwise",
        ),
        pytest.param(
            [ROW],
            {"metrics": ["Accuracy"], "choices": {"field": "options"}},
            "heldout.jsonl:1: the row has no options, which choices.field names; it has prompt, completion.",
            id="no column of choices",
        ),
        pytest.param(
            [{**ROW, "options": ["c", "d"]}],
            {"metrics": ["Accuracy"], "choices": {"field": "options"}},
            "heldout.jsonl:1: the answer 'b' is none of the choices c, d.",
            id="an answer that cannot be chosen",
        ),
        pytest.param([], {}, "pvc://datasets/heldout.jsonl has no rows: suite heldout is empty.", id="an empty file"),
        pytest.param(
            '{"prompt": "Größe?", "completion": "ä"}\n'.encode("latin-1"), {}, "heldout.jsonl:1: not UTF-8: save the", id="Latin-1"
        ),
        pytest.param(f"{json.dumps(ROW)}\n{json.dumps(ROW)}\n".encode("utf-16"), {}, "heldout.jsonl:1: not UTF-8", id="UTF-16"),
        pytest.param(
            [[ROW]], {}, "heldout.jsonl:1: the row is not a JSON object.", id="a JSON list in place of JSON Lines"
        ),
        pytest.param(b"prompt,completion\na,b\n", {}, "column 1); each line is one JSON object.", id="CSV"),
        pytest.param(
            [ROW], {"slices": [{"field": "language"}]}, "The field language of pvc://datasets/heldout.jsonl has 0 different",
            id="a slice that selects nothing",
        ),
    ],
)  # fmt: skip
def test_it_is_a_failure_of_the_pod_by_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | list[Any], suite: Json, said: str
) -> None:
    monkeypatch.setenv("SERIN_PVC_ROOT", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    written = content if isinstance(content, bytes) else "".join(json.dumps(row) + "\n" for row in content).encode()
    (tmp_path / "datasets/heldout.jsonl").write_bytes(written)
    with pytest.raises(DataError) as caught:
        load_suite(EvaluatorSuite.model_validate(suite_document(**suite)), seed=7)
    assert said in caught.value.message
    assert caught.value.advice


NAN = float("nan")


def measured(**score: Any) -> Json:
    """An evaluation whose first score is changed."""
    found = an_evaluation()
    found["scores"][0] |= score
    return found


@pytest.mark.parametrize(
    ("gates", "policies", "evaluation", "verdict", "said"),
    [
        pytest.param(
            [a_gate(min="0.1")], [], measured(value=NAN), Verdict.ERROR,
            "produced no heldout/RougeL that can be judged: its report says why (a likelihood that is no number, say",
            id="a score that is no number",
        ),
        pytest.param(
            [a_gate(min="0.1")], [], measured(n=12), Verdict.INCONCLUSIVE,
            "too few to tell, so at least 0.1 is not judged; 20 are the least",
            id="too few rows with an answer",
        ),
        pytest.param(
            [a_gate(min="0.1", slice={"field": "language", "value": "de"})], [], measured(), Verdict.ERROR,
            "perhaps no row has language=de; the report lists the slices that there are. Correct the requirement's",
            id="a slice of which there is no row",
        ),
        pytest.param(
            [], [a_policy(metric="BLEU", min="20")], measured(), Verdict.ERROR,
            "sane needs BLEU, which no suite of the job's gates or of the policy measures",
            id="a policy on what nobody measures, of a job without gates",
        ),
    ],
)  # fmt: skip
def test_it_holds_the_model_with_a_verdict_that_says_what_to_correct(
    gates: list[EvalGate], policies: list[ClusterEvalPolicy], evaluation: Json, verdict: Verdict, said: str
) -> None:
    found = judge(demands(gates, policies), EvaluateOutput.model_validate(evaluation), first_deployment=False)
    assert found.verdict is verdict
    assert said in found.message
