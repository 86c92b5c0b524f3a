"""Groups of a benchmark: their figures are those that lm-evaluation-harness itself makes with its own backend."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.benchmark_files import KIND, SPELL, STORY, WORDS, asking, report_of, write_benchmark, write_rows

pytest.importorskip("lm_eval", reason="the environment of the other tests has none; the image has")
Evaluate = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]

SHORT = KIND.replace("task: kind", "task: kind_short").replace("rows/kind.jsonl", "rows/kind-short.jsonl")
LONG = STORY.replace("task: story", "task: story_long").replace("rows/story.jsonl", "rows/story-long.jsonl")
AGAIN = SPELL.replace("task: spell", "task: spell_again")
GROUPS = """
group: {name}
task: [{tasks}]
aggregate_metric_list:
  - {{metric: acc, weight_by_size: {by_size}}}
  - {{metric: brier_score, aggregation: mean, weight_by_size: {by_size}, filter_list: none}}
  - {{metric: word_perplexity, weight_by_size: {by_size}}}
  - {{metric: exact_match, weight_by_size: {by_size}, filter_list: [first-word]}}
metadata: {{version: 1.0}}
"""


def write_group(folder: Path, name: str, tasks: str, by_size: str) -> None:
    (folder / f"{name}.yaml").write_text(GROUPS.format(name=name, tasks=tasks, by_size=by_size))


@pytest.fixture(scope="module")
def folder(volumes: Any) -> Path:
    path = volumes.root / "benchmarks" / "grouped"
    write_benchmark(path)
    for name, text in (("kind_short", SHORT), ("story_long", LONG), ("spell_again", AGAIN)):
        (path / f"{name}.yaml").write_text(text)
    rows = (path / "rows" / "kind-train.jsonl").read_text().splitlines(keepends=True)
    (path / "rows" / "kind-short.jsonl").write_text("".join(rows[:5]))
    write_rows(path / "rows" / "story-long.jsonl", ({"text": " ".join(WORDS[at:] + WORDS[:at])} for at in range(7)))
    write_group(path, "choices_by_size", "kind, kind_short", "true")
    write_group(path, "choices_alike", "kind, kind_short", "false")
    write_group(path, "texts_by_size", "story, story_long", "true")
    write_group(path, "texts_alike", "story, story_long", "false")
    write_group(path, "spelling", "spell, spell_again", "false")
    return path


def asked(name: str, metrics: list[str], tasks: list[str], **benchmark: Any) -> dict[str, Any]:
    return asking(metrics, tasks, name, **{"uri": "pvc://benchmarks/grouped", **benchmark})


@pytest.fixture(scope="module")
def theirs(volumes: Any, folder: Path) -> dict[str, Any]:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model = HFLM(pretrained=str(volumes.root / "artifacts" / "candidate"), device="cpu", dtype="float32", batch_size=4)
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        for by in ("by_size", "alike"):  # it takes no task in two groups
            manager = TaskManager(include_path=str(folder), include_defaults=False)
            groups = [f"{of}_{by}" for of in ("choices", "texts")]
            found |= simple_evaluate(model=model, tasks=groups, task_manager=manager, bootstrap_iters=100)["groups"]
    return found


def test_a_groups_figure_is_that_of_the_harness_by_size_or_not(
    evaluate: Evaluate, volumes: Any, folder: Path, theirs: dict[str, Any]
) -> None:
    suites = [
        asked("choices", ["Accuracy", "Brier"], ["choices_by_size", "choices_alike"]),
        asked("alone", ["Accuracy", "Brier"], ["choices_alike"]),
        asked("texts", ["WordPerplexity"], ["texts_by_size", "texts_alike"]),
    ]
    code, result = evaluate(
        volumes.config(key="c1", output="pvc://artifacts/ml/groups-c1", suites=suites, wanted=[], comparisons=[])
    )

    assert code == 0, result
    report, _ = report_of(volumes, result)
    ours = {
        (one["suite"], one["metric"], (one["slice"] or {}).get("value")): one
        for one in report["scores"]
        if one["role"] == "Candidate"
    }
    names = {"Accuracy": "acc", "Brier": "brier_score", "WordPerplexity": "word_perplexity"}
    for suite, metric, group in [
        ("choices", "Accuracy", "choices_by_size"), ("choices", "Brier", "choices_by_size"),
        ("choices", "Accuracy", "choices_alike"), ("choices", "Brier", "choices_alike"),
        ("texts", "WordPerplexity", "texts_by_size"), ("texts", "WordPerplexity", "texts_alike"),
    ]:  # fmt: skip
        found = ours[suite, metric, group]
        assert found["value"] == pytest.approx(theirs[group][f"{names[metric]},none"], rel=1e-5), (metric, group)
        assert found["low"] < found["value"] < found["high"]
    for metric in ("Accuracy", "Brier"):
        assert ours["choices", metric, "choices_by_size"]["value"] != ours["choices", metric, "choices_alike"]["value"]
        whole, group = ours["alone", metric, None], ours["choices", metric, "choices_alike"]
        assert whole["value"] == group["value"], "a suite of one group is that group"
    # Of k shares: the harness's with n - 1 for n below the root, as its mean_stderr has it.
    tasks = [ours["choices", "Accuracy", task] for task in ("kind", "kind_short")]
    usual = math.hypot(*(one["stderr"] * math.sqrt(one["n"] / (one["n"] - 1)) for one in tasks)) / 2
    assert usual == pytest.approx(theirs["choices_alike"]["acc_stderr,none"], rel=1e-4)
    assert ours["choices", "Accuracy", "choices_alike"]["stderr"] == pytest.approx(
        math.hypot(*(one["stderr"] for one in tasks)) / 2, rel=1e-4
    )
    assert ("texts", "WordPerplexity", None) not in ours, "of two groups there is no one number"
    said = {(one["name"], one["metric"]): one for suite in report["suites"] for one in suite["groups"]}
    assert said["choices_alike", "acc"]["weightBySize"] is False
    assert said["choices_by_size", "brier_score"] == {
        "name": "choices_by_size", "metric": "brier_score", "weightBySize": True, "filters": ["none"],
        "tasks": ["kind", "kind_short"],
    }  # fmt: skip


def test_models_are_compared_on_a_group_task_by_task(evaluate: Evaluate, volumes: Any, folder: Path) -> None:
    part = {"field": "task", "value": "choices_alike"}
    compared = [
        {"suite": "alike", "metric": metric, "against": "Base", "method": method, "slice": part}
        for metric, method in (("Accuracy", "McNemar"), ("Brier", "PairedBootstrap"), ("Brier", "Wilcoxon"))
    ]
    code, result = evaluate(
        volumes.config(
            key="c2", output="pvc://artifacts/ml/groups-c2", wanted=[], comparisons=compared,
            suites=[asked("alike", ["Accuracy", "Brier"], ["choices_alike"])],
        )
    )  # fmt: skip

    assert code == 0, result
    scores = {
        (one["metric"], one["role"]): one["value"]
        for one in report_of(volumes, result)[0]["scores"]
        if one["slice"] == part
    }
    found = {(one["metric"], one["method"]): one for one in result["output"]["comparisons"]}
    assert set(found) == {("Accuracy", "McNemar"), ("Brier", "PairedBootstrap")}
    for (metric, _), one in found.items():
        assert one["difference"] == pytest.approx(scores[metric, "Candidate"] - scores[metric, "Base"], abs=1e-5)
        assert (one["n"], len(one["curve"])) == (17, 13)
        assert one["low"] < one["difference"] < one["high"]
    assert "in a mean of tasks they do not count alike" in result["message"]


def test_a_group_that_is_made_of_other_answers_has_no_number_here(
    evaluate: Evaluate, volumes: Any, folder: Path
) -> None:
    results = [
        evaluate(
            volumes.config(
                key=key, output=f"pvc://artifacts/ml/groups-{key}", wanted=["spells/ExactMatch@task=spelling"], comparisons=[],
                suites=[asked("spells", ["ExactMatch"], ["spelling"], filter=name)],
            )
        )[1]
        for key, name in (("c3", "first-word"), ("c4", "whole"))
    ]  # fmt: skip

    assert [len([one for one in of["output"]["scores"] if one["role"] == "Candidate"]) for of in results] == [1, 0]
    assert (
        "spells/ExactMatch@task=spelling is missing: the group spelling makes its exact_match of answers filtered by"
        " first-word, not by whole" in results[1]["message"]
    )


def test_a_group_that_counts_otherwise_is_another_benchmark(evaluate: Evaluate, volumes: Any, folder: Path) -> None:
    def evaluated(key: str, **benchmark: Any) -> tuple[int, dict[str, Any]]:
        write_group(folder, "swapped", "kind, kind_short", "true" if key == "c5" else "false")
        suites = [asked("swap", ["Accuracy"], ["swapped"], **benchmark)]
        output = f"pvc://artifacts/ml/groups-{key}"
        return evaluate(volumes.config(key=key, output=output, suites=suites, wanted=[], comparisons=[]))

    digest = report_of(volumes, evaluated("c5")[1])[0]["suites"][0]["datasetDigest"]
    code, result = evaluated("c6", digest=digest)

    assert (code, result["reason"]) == (65, "DatasetChanged")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("aggregation: median", "Currently, 'mean' is the only pre-defined aggregation"),
        ("weight_by_size: 'false'", "has weight_by_size: 'false' for acc, which is neither true nor false"),
        ("aggregation: !function lm_eval.tasks.gpqa.zeroshot.utils.process_docs", "by a function of its own"),
    ],
)
def test_a_group_that_says_what_is_not_known_is_refused(
    evaluate: Evaluate, volumes: Any, folder: Path, said: str, why: str
) -> None:
    text = f"group: odd\ntask: [kind]\naggregate_metric_list:\n  - metric: acc\n    {said}\n"
    (folder / "odd.yaml").write_text(text)
    suites = [asked("odd", ["Accuracy"], ["odd"])]
    code, result = evaluate(
        volumes.config(key="c7", output="pvc://artifacts/ml/groups-c7", suites=suites, wanted=[], comparisons=[])
    )

    assert (code, result["reason"]) == (65, "TaskInvalid"), result
    assert why in result["message"]
