"""Benchmarks: what lm-evaluation-harness reads and scores, asked by our own ways, is what its own backend says."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support.benchmark_files import asking, report_of, write_benchmark

pytest.importorskip("lm_eval", reason="the environment of the other tests has none; the image has")
Evaluate = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]
TASKS = [
    "kind",
    "spell",
    "story",
    "last_word",
]  # of parity the harness makes numbers by scikit-learn, which no image has


@pytest.fixture(scope="module")
def folder(volumes: Any) -> Path:
    path = volumes.root / "benchmarks" / "own"
    if not path.exists():
        write_benchmark(path)
    return path


@pytest.fixture(scope="module")
def theirs(volumes: Any, folder: Path) -> Callable[..., dict[str, Any]]:
    """The harness's own results with its own backend, on the same candidate."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model = HFLM(pretrained=str(volumes.root / "artifacts" / "candidate"), device="cpu", dtype="float32", batch_size=4)

    @cache
    def evaluated(shots: int | None = None) -> dict[str, Any]:
        with pytest.MonkeyPatch.context() as patched:
            patched.chdir(folder)
            manager = TaskManager(include_path=str(folder), include_defaults=False)
            return simple_evaluate(
                model=model,
                tasks=list(TASKS),
                task_manager=manager,
                num_fewshot=shots,
                bootstrap_iters=0,
                log_samples=True,
            )

    return evaluated


ASKED = [
    asking(["Accuracy", "AccuracyNorm", "Brier"], ["kind"], "chosen"),
    asking(["ExactMatch", "BLEU"], ["spell"], "said", filter="whole"),
    asking(["ExactMatch"], ["spell"], "word", filter="first-word"),
    asking(["WordPerplexity", "BytePerplexity", "BitsPerByte"], ["story"], "rolled"),
    asking(["Accuracy"], ["last_word"], "last"),
]
EXPECTED = [
    ("chosen", "Accuracy", "kind", "acc,none"),
    ("chosen", "AccuracyNorm", "kind", "acc_norm,none"),
    ("chosen", "Brier", "kind", "brier_score,none"),
    ("said", "ExactMatch", "spell", "exact_match,whole"),
    ("word", "ExactMatch", "spell", "exact_match,first-word"),
    ("said", "BLEU", "spell", "bleu,whole"),
    ("rolled", "WordPerplexity", "story", "word_perplexity,none"),
    ("rolled", "BytePerplexity", "story", "byte_perplexity,none"),
    ("rolled", "BitsPerByte", "story", "bits_per_byte,none"),
    ("last", "Accuracy", "last_word", "acc,none"),
]


@pytest.mark.parametrize("shots", [None, 2])
def test_every_number_is_that_of_the_harness_with_its_own_backend(
    evaluate: Evaluate, volumes: Any, folder: Path, theirs: Callable[..., dict[str, Any]], shots: int | None
) -> None:
    suites = [
        {**one, "benchmark": {**one["benchmark"], **({} if shots is None else {"numFewshot": shots})}} for one in ASKED
    ]
    if shots is not None:
        suites = [one for one in suites if one["name"] == "chosen"]
    number = "d1" if shots is None else "d2"
    code, result = evaluate(
        volumes.config(
            key=number, output=f"pvc://artifacts/ml/bench-{number}", suites=suites, wanted=[], comparisons=[]
        )
    )

    assert (code, result["outcome"]) == (0, "Succeeded"), result
    report, examples = report_of(volumes, result)
    ours = {
        (one["suite"], one["metric"]): one
        for one in report["scores"]
        if one["role"] == "Candidate" and not one["slice"]
    }
    asked = {one["name"] for one in suites}
    for suite, metric, task, name in EXPECTED:
        if suite in asked:
            assert ours[suite, metric]["value"] == pytest.approx(theirs(shots)["results"][task][name], rel=1e-5), (
                suite,
                metric,
            )
    logged = [one for one in theirs(shots)["samples"]["kind"] if one["filter"] == "none"]
    rows = [one for one in examples if one["suite"] == "chosen"]
    assert [one["prompt"] for one in rows] == [one["arguments"][0][0] for one in logged]
    for row, sample in zip(rows, logged, strict=True):
        said = row["models"]["Candidate"]["logLikelihoods"]
        assert said == pytest.approx([answer[0][0] for answer in sample["resps"]], abs=1e-4)
    tasks = {task["name"]: task for suite in report["suites"] for task in suite["tasks"]}
    assert (tasks["kind"]["version"], tasks["kind"]["numFewshot"]) == ("2.0", shots or 0)
    assert tasks["kind"]["promptsDigest"] != tasks["kind"]["configDigest"]
    if shots is None:
        answers = {row["prompt"]: row["models"]["Candidate"]["text"] for row in examples if row["suite"] == "said"}
        told = {one["arguments"][0][0]: one["resps"][0][0] for one in theirs()["samples"]["spell"]}
        assert answers == told


def test_texts_that_a_model_would_say_itself_are_told_apart(volumes: Any, folder: Path) -> None:
    """The flag that the harness has beside each likelihood, for choices that are read together and for single texts."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from serin_evaluator.harness import Asking, HarnessModel
    from serin_evaluator.measured import Choice
    from serin_evaluator.parts import Parts
    from serin_evaluator.progress import Progress

    model = HFLM(pretrained=str(volumes.root / "artifacts" / "candidate"), device="cpu", dtype="float32", batch_size=3)
    question = "What is the field replicas of Deployment?\n"
    texts = [
        (question, "The number of desired pods.\n"), (question, "The number"), (question, "The field"), (question, "A"),
        ("What is the field nodeName of Pod?\n", "A request to schedule"), ("", "What is"), ("one ", " two"),
    ]  # fmt: skip
    requests = [Instance("loglikelihood", {}, of, 0) for of in texts]
    ours = HarnessModel(
        Asking(model.model, model.tokenizer, "pvc://m", 256, frozenset({0}), Progress("test", 7), Parts(None, Choice))
    )
    said, told = ours.loglikelihood(requests), model.loglikelihood(requests)

    assert [greedy for _, greedy in said] == [greedy for _, greedy in told]
    assert {True, False} == {greedy for _, greedy in said}
    assert max(abs(mine - other) for (mine, _), (other, _) in zip(said, told, strict=True)) <= 1e-4


def test_each_task_is_a_slice_and_so_is_a_group_and_models_are_compared_on_it(
    evaluate: Evaluate, volumes: Any, folder: Path
) -> None:
    part = {"field": "task", "value": "kind"}
    asked = {
        "suites": [asking(["Accuracy", "F1"], ["everything", "last_word"])],
        "wanted": ["bench/Accuracy", "bench/Accuracy@task=everything", "bench/Accuracy@task=kind", "bench/F1"],
        "comparisons": [
            {"suite": "bench", "metric": "Accuracy", "against": "Base", "method": "McNemar", "slice": part}
        ],
    }
    code, result = evaluate(volumes.config(key="d3", output="pvc://artifacts/ml/bench-d3", **asked))

    assert code == 0, result
    found = {
        (one["metric"], (one.get("slice") or {}).get("value")): one
        for one in result["output"]["scores"]
        if one["role"] == "Candidate"
    }
    assert [found["Accuracy", of]["n"] for of in (None, "everything", "kind")] == [34, 28, 12]
    assert all(len(found["Accuracy", of]["curve"]) == 13 for of in (None, "everything", "kind"))
    assert found["F1", None]["n"] == 16  # one task alone has it, so it is that task's
    assert result["output"]["comparisons"][0]["slice"] == part
    assert result["output"]["comparisons"][0]["n"] == 12
    assert result["output"].get("reference") is None


def test_a_number_that_several_tasks_cannot_have_together_is_told_for_each(
    evaluate: Evaluate, volumes: Any, folder: Path
) -> None:
    other = (
        (folder / "parity.yaml").read_text().replace("task: parity", "task: parity_again").replace("Is {{", "Was {{")
    )
    (folder / "again.yaml").write_text(other)
    asked = {
        "suites": [asking(["Accuracy", "MCC"], ["parity", "parity_again"])],
        "wanted": ["bench/MCC", "bench/MCC@task=parity_again"],
        "comparisons": [],
    }
    code, result = evaluate(volumes.config(key="d4", output="pvc://artifacts/ml/bench-d4", **asked))

    assert code == 0, result
    told = [one for one in result["output"]["scores"] if one["role"] == "Candidate"]
    assert [(one["metric"], one["slice"]["value"]) for one in told] == [("MCC", "parity_again")]
    assert "bench/MCC is missing: each task has one" in result["message"]


def test_a_second_evaluation_asks_no_model_again(
    evaluate: Evaluate, volumes: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suites = [asking(["Accuracy", "ExactMatch"], ["kind", "spell"], filter="whole")]
    first = evaluate(
        volumes.config(key="d5", output="pvc://artifacts/ml/bench-d5", suites=suites, wanted=[], comparisons=[])
    )
    monkeypatch.setattr("serin_evaluator.loading.load", lambda *_: pytest.fail("a model was loaded"))
    again = evaluate(
        volumes.config(key="d6", output="pvc://artifacts/ml/bench-d6", suites=suites, wanted=[], comparisons=[])
    )

    assert (first[0], again[0]) == (0, 0)
    assert report_of(volumes, first[1])[0]["scores"] == report_of(volumes, again[1])[0]["scores"]


def test_rows_are_drawn_by_the_seed_and_the_same_for_all_models(evaluate: Evaluate, volumes: Any, folder: Path) -> None:
    suites = [{**asking(["Accuracy"], ["kind", "parity"]), "maxExamples": 5}]
    lines = []
    for number, seed in (("d7", 7), ("d8", 7), ("d9", 8)):
        _, result = evaluate(
            volumes.config(
                key=number,
                output=f"pvc://artifacts/ml/bench-{number}",
                suites=suites,
                wanted=[],
                comparisons=[],
                seed=seed,
            )
        )
        report, examples = report_of(volumes, result)
        lines.append([row["prompt"] for row in examples])
        assert [(task["rows"], task["chosen"]) for task in report["suites"][0]["tasks"]] == [(12, 5), (16, 5)]
        assert len({row["line"] for row in examples}) == 10
        assert {len(row["models"]) for row in examples} == {2}

    assert lines[0] == lines[1] != lines[2]


def test_a_chat_template_is_each_models_own(evaluate: Evaluate, volumes: Any, folder: Path) -> None:
    suites = [asking(["Accuracy"], ["kind"], applyChatTemplate=True)]
    code, result = evaluate(
        volumes.config(key="da", output="pvc://artifacts/ml/bench-da", suites=suites, wanted=[], comparisons=[])
    )

    assert (code, result["reason"]) == (65, "ChatTemplateMissing")
    from support.tiny_model import write_model

    chat = volumes.root / "models" / "chat"
    digest = write_model(chat, chat=True, context=512)
    models = [{"role": "Candidate", "uri": "pvc://models/chat", "digest": digest}]
    plain, templated = (
        evaluate(
            volumes.config(
                key=number, output=f"pvc://artifacts/ml/bench-{number}", models=models, wanted=[], comparisons=[],
                suites=[asking(["Accuracy"], ["kind"], applyChatTemplate=chat, numFewshot=1)],
            )
        )[1]
        for number, chat in (("db", False), ("dc", True))
    )  # fmt: skip

    reports = [report_of(volumes, result) for result in (plain, templated)]
    assert reports[1][0]["chatTemplates"]["Candidate"].startswith("sha256:")
    said = [[row["models"]["Candidate"]["logLikelihoods"] for row in examples] for _, examples in reports]
    assert said[0] != said[1]


def test_with_a_digest_only_these_very_tasks_and_rows_are_taken(evaluate: Evaluate, volumes: Any, folder: Path) -> None:
    def asked(number: str, **benchmark: Any) -> tuple[int, dict[str, Any]]:
        suites = [asking(["Accuracy"], ["last_word"], **benchmark)]
        output = f"pvc://artifacts/ml/bench-{number}"
        return evaluate(volumes.config(key=number, output=output, suites=suites, wanted=[], comparisons=[]))

    first = asked("e1")
    digest = report_of(volumes, first[1])[0]["suites"][0]["datasetDigest"]
    assert asked("e2", digest=digest)[0] == 0
    code, result = asked("e3", digest="sha256:" + "0" * 64)

    assert (code, result["reason"]) == (65, "DatasetChanged")
    assert digest in result["message"]


@pytest.mark.parametrize(
    ("tasks", "metrics", "reason", "said"),
    [
        (["kinds"], ["Accuracy"], "TaskNotFound", "a task or group kinds; there are kind"),
        (
            ["kind"],
            ["ExactMatch"],
            "MetricUnfit",
            "has the metrics acc, acc_norm, brier_score, and suite bench asks for",
        ),
        (["spell"], ["ExactMatch"], "TaskInvalid", "has several filters; it has whole, first-word"),
        (
            ["arc_easy"],
            ["Accuracy"],
            "DatasetNotFound",
            "wants the data set allenai/ai2_arc (dataset_path), which is not at",
        ),
        (["humaneval"], ["ExactMatch"], "TaskInvalid", "has unsafe_code"),
        (["code"], ["Accuracy"], "TaskInvalid", "names the function beside.forge (line 2 of code.yaml)"),
        (["template"], ["Accuracy"], "TaskInvalid", "SecurityError"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_name_and_the_way_out(
    evaluate: Evaluate, volumes: Any, folder: Path, tasks: list[str], metrics: list[str], reason: str, said: str
) -> None:
    kind = (folder / "kind.yaml").read_text().replace("task: kind", f"task: {tasks[0]}")
    if tasks == ["code"]:
        (folder / "beside.py").write_text("raise SystemExit('this must never be run')\n")
        (folder / "code.yaml").write_text("task: code\nprocess_docs: !function beside.forge\ninclude: kind.yaml\n")
    if tasks == ["template"]:
        (folder / "template.yaml").write_text(
            kind.replace("Question: {{question}}", "{{ cycler.__init__.__globals__.os.popen('id').read() }}")
        )
    suites = [asking(metrics, tasks)]
    code, result = evaluate(
        volumes.config(key="dd", output="pvc://artifacts/ml/bench-dd", suites=suites, wanted=[], comparisons=[])
    )

    assert (code, result["reason"]) == (65, reason), result
    assert said in result["message"]
    assert result["advice"]


def test_a_task_of_the_harness_is_asked_with_its_rows_from_the_folder(
    evaluate: Evaluate, volumes: Any, folder: Path
) -> None:
    import pandas

    rows = [
        {"id": str(at), "question": f"Which is {at}?", "choices": {"text": ["pod", "node", "key"], "label": ["A", "B", "C"]},
         "answerKey": "ABC"[at % 3]}
        for at in range(6)
    ]  # fmt: skip
    for split in ("train", "validation", "test"):
        path = folder / "allenai" / "ai2_arc" / "ARC-Easy" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pandas.DataFrame(rows).to_parquet(path)
    (folder / "allenai" / "ai2_arc" / "README.md").write_text(
        "---\nconfigs:\n- config_name: ARC-Easy\n  data_files:\n"
        + "".join(f"  - {{split: {one}, path: ARC-Easy/{one}-*}}\n" for one in ("train", "validation", "test"))
        + "---\n"
    )
    suites = [asking(["Accuracy", "AccuracyNorm"], ["arc_easy"])]
    code, result = evaluate(
        volumes.config(key="de", output="pvc://artifacts/ml/bench-de", suites=suites, wanted=[], comparisons=[])
    )

    assert code == 0, result
    report, examples = report_of(volumes, result)
    assert report["suites"][0]["tasks"][0]["version"] == "1.0"
    assert examples[0]["prompt"] == "Question: Which is 0?\nAnswer:"
    assert len(examples) == 6


def test_a_learned_prompt_stands_before_a_benchmarks_questions_too(
    evaluate: Evaluate, volumes: Any, folder: Path
) -> None:
    from support.tiny_model import write_adapter

    own = volumes.root / "artifacts" / "prompted"
    digest = write_adapter(own, volumes.root / "models" / "base", volumes.base, "PROMPT_TUNING")
    base = {"uri": "pvc://models/base", "digest": volumes.base}
    models = [
        {"role": "Candidate", "uri": "pvc://artifacts/prompted", "digest": digest, "base": base},
        {"role": "Base", **base},
    ]
    suites = [asking(["WordPerplexity"], ["story"])]
    code, result = evaluate(
        volumes.config(
            key="be9", cache=None, output="pvc://artifacts/ml/evaluate-be9", models=models, suites=suites,
            wanted=["bench/WordPerplexity"], comparisons=[],
        )
    )  # fmt: skip
    assert (code, result["outcome"]) == (0, "Succeeded"), result
    values = {one["role"]: one["value"] for one in result["output"]["scores"] if one["role"] in ("Candidate", "Base")}
    assert abs(values["Candidate"] - values["Base"]) > 1
