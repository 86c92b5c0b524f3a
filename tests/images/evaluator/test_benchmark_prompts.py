"""What a benchmark asks is, letter by letter, what lm-evaluation-harness asks: examples of each question, drawn with its seed."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from support.benchmark_files import KIND, asking, write_benchmark

pytest.importorskip("lm_eval", reason="the environment of the other tests has none; the image has")
Asked = Callable[..., Any]

TASKS = {
    "kind": KIND,
    # Examples from the very rows that are asked: never the one itself.
    "kind_itself": KIND.replace("task: kind", "task: kind_itself") + "fewshot_split: test\n",
    "kind_first": KIND.replace("task: kind", "task: kind_first") + "fewshot_config: {sampler: first_n}\n",
    "kind_given": KIND.replace("task: kind", "task: kind_given")
    + "fewshot_config:\n  samples:\n"
    + "".join(f"    - {{question: '{one}?', options: [a, b], answer: 1}}\n" for one in ("One", "Two", "Three")),
}
SHOTS = 2


@pytest.fixture(scope="module")
def folder(volumes: Any) -> Path:
    path = volumes.root / "benchmarks" / "prompts"
    write_benchmark(path)
    for name, text in TASKS.items():
        (path / f"{name}.yaml").write_text(text)
    gpqa = path / "Idavidrein" / "gpqa"
    gpqa.mkdir(parents=True)
    wrong = ",".join(f"Incorrect Answer {at}" for at in (1, 2, 3))
    rows = "".join(f"Which is {at}?,right {at},wrong {at},bad {at},worse {at}\n" for at in range(12))
    (gpqa / "gpqa_main.csv").write_text(f"Question,Correct Answer,{wrong}\n{rows}")
    (gpqa / "README.md").write_text(
        "---\nconfigs:\n- config_name: gpqa_main\n  data_files: gpqa_main.csv\n---\n",
    )
    return path


@pytest.fixture
def ours(volumes: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """All requests of each task, by its rows, and which rows those are."""
    from serin_evaluator.benchmarks import load_benchmark
    from serin_evaluator.config import Suite

    monkeypatch.setenv("SERIN_PVC_ROOT", str(volumes.root))

    def asked(tasks: list[str], rows: int = 100, chat: Any = None, **benchmark: Any) -> Any:
        document = asking(["Accuracy"], tasks, uri="pvc://benchmarks/prompts", **benchmark)
        loaded = load_benchmark(Suite.model_validate({**document, "maxExamples": rows}), seed=5)
        assert loaded.benchmark is not None
        of = {task.name: task.requests(chat) for task in loaded.benchmark.tasks}
        prompts = {name: [[request.args for request in row] for row in rows.values()] for name, rows in of.items()}
        return prompts, {task.name: list(task.docs) for task in loaded.benchmark.tasks}

    return asked


@pytest.fixture
def theirs(volumes: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The same of the harness's own evaluation, of tasks in this folder or in another."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    monkeypatch.chdir(folder)

    def asked(tasks: list[str], model: str = "artifacts/candidate", within: Path | None = None, **says: Any) -> Any:
        manager = TaskManager(include_path=str(within or folder), include_defaults=False)
        lm = HFLM(pretrained=str(volumes.root / model), device="cpu", dtype="float32")
        made = simple_evaluate(model=lm, tasks=tasks, task_manager=manager, bootstrap_iters=0, **says)
        return {
            name: [[tuple(one) for one in row["arguments"]] for row in sorted(rows, key=lambda row: row["doc_id"])]
            for name, rows in made["samples"].items()
        }

    return asked


def test_each_question_has_the_examples_that_the_harness_draws_for_it(ours: Asked, theirs: Asked) -> None:
    found, _ = ours(list(TASKS), numFewshot=SHOTS)

    assert found == theirs(list(TASKS), num_fewshot=SHOTS)
    before = {
        name: {row[0][0].rpartition("Question:")[0] for row in rows} for name, rows in found.items()
    }  # what stands before the questions
    assert len(before["kind"]) > 6, "each question has a sample of its own"
    assert len(before["kind_first"]) == 1
    assert all(len(row[0][0].split("Question:")) == SHOTS + 2 for rows in found.values() for row in rows)
    assert all(row[0][0].count(row[0][0].rpartition("Question:")[2]) == 1 for row in found["kind_itself"])


def test_of_some_rows_they_are_those_that_the_harness_draws_for_these_rows(ours: Asked, theirs: Asked) -> None:
    found, rows = ours(["kind", "kind_itself"], rows=5, numFewshot=SHOTS)

    assert [len(of) for of in rows.values()] == [5, 5]
    assert found == theirs(["kind", "kind_itself"], num_fewshot=SHOTS, samples=rows)


def test_with_a_chat_template_they_are_turns(ours: Asked, theirs: Asked, volumes: Any) -> None:
    from lm_eval.models.huggingface import HFLM
    from support.tiny_model import write_model

    write_model(volumes.root / "models" / "talks", chat=True, context=512)
    model = HFLM(pretrained=str(volumes.root / "models" / "talks"), device="cpu", dtype="float32")
    found, _ = ours(["kind"], chat=model.apply_chat_template, numFewshot=SHOTS, applyChatTemplate=True)

    assert found == theirs(["kind"], "models/talks", num_fewshot=SHOTS, apply_chat_template=True)


def test_a_task_that_shuffles_its_choices_asks_the_same_each_time(ours: Asked, theirs: Asked) -> None:
    found, again = (ours(["gpqa_main_zeroshot"])[0] for _ in range(2))

    package = find_spec("lm_eval")
    assert package is not None
    assert package.origin is not None
    gpqa = Path(package.origin).parent / "tasks" / "gpqa" / "zeroshot"  # all of its own would take a minute to read
    assert found == again == theirs(["gpqa_main_zeroshot"], within=gpqa)
    assert len({row[0][0].partition("(A)")[2][:4] for row in found["gpqa_main_zeroshot"]}) > 1
