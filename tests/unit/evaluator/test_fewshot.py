"""Solved examples stand before each question: always the same, in its own form, and none that is evaluated."""

import json
from pathlib import Path
from typing import Any

import pytest
from serin_evaluator.config import Suite
from serin_evaluator.errors import DataError
from serin_evaluator.fewshot import asked, with_shots
from serin_evaluator.suites import LoadedSuite, load_suite
from support.evaluation import suite_document

SUMS = [{"prompt": f"{one}+{one}=", "completion": f" {2 * one}"} for one in range(30)]
TALKS = [
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"Double {one}."},
            {"role": "assistant", "content": f"{2 * one}"},
        ]
    }
    for one in range(30)
]


@pytest.fixture(autouse=True)
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SERIN_PVC_ROOT", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    return tmp_path / "datasets"


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def loaded(
    folder: Path, rows: list[dict[str, Any]], few: dict[str, Any] | None, seed: int = 7, **changes: Any
) -> LoadedSuite:
    write(folder, "heldout.jsonl", rows)
    suite = Suite.model_validate(suite_document(fewShot=few, maxExamples=20, **changes))
    return with_shots(load_suite(suite, seed), seed)


OTHERS = {"examples": 2, "dataset": {"uri": "pvc://datasets/others.jsonl"}}


def test_plain_prompts_are_preceded_by_solved_ones(volumes: Path) -> None:
    suite = loaded(volumes, SUMS, {"examples": 2})

    first, second = suite.shots
    for line, example in asked(suite).items():
        own = suite.examples[line]
        assert example.prompt == f"{first.prompt}{first.answer}\n\n{second.prompt}{second.answer}\n\n{own.prompt}"
        assert (example.answer, example.line) == (own.answer, line)


def test_conversations_are_preceded_by_solved_turns_under_their_own_system_message(volumes: Path) -> None:
    suite = loaded(volumes, TALKS, {"examples": 1})

    (shot,) = suite.shots
    example = asked(suite)[min(suite.examples)]
    own = suite.examples[example.line]
    assert example.prompt == ""
    assert [turn["role"] for turn in example.messages] == ["system", "user", "assistant", "user"]
    assert example.messages[2] == {"role": "assistant", "content": shot.answer}
    assert example.messages == (own.messages[0], shot.messages[1], example.messages[2], own.messages[1])


def test_rows_of_both_forms_are_shown_in_both(volumes: Path) -> None:
    suite = loaded(volumes, [{"input": f"Double {one}.", "output": f"{2 * one}"} for one in range(30)], {"examples": 1})

    (shot,) = suite.shots
    example = asked(suite)[min(suite.examples)]
    assert example.prompt.startswith(f"{shot.prompt}{shot.answer}\n\nDouble ")
    assert len(example.messages) == 3


def test_a_suite_without_few_shot_is_asked_as_it_is(volumes: Path) -> None:
    suite = loaded(volumes, SUMS, None)

    assert (suite.shots, suite.shots_digest) == ((), None)
    assert asked(suite) is suite.examples


def test_the_same_rows_are_evaluated_with_and_without_shots(volumes: Path) -> None:
    assert loaded(volumes, SUMS, {"examples": 3}).examples == loaded(volumes, SUMS, None).examples


@pytest.mark.parametrize("seed", range(20))
def test_no_example_that_is_evaluated_is_shown(volumes: Path, seed: int) -> None:
    write(volumes, "others.jsonl", SUMS)  # the very rows that are evaluated are in it
    beside, others = (loaded(volumes, SUMS, few, seed) for few in ({"examples": 2}, OTHERS))

    for suite in (beside, others):
        assert not {shot.prompt for shot in suite.shots} & {one.prompt for one in suite.examples.values()}
        assert len({shot.prompt for shot in suite.shots}) == 2


def test_a_question_that_is_evaluated_is_not_shown_with_another_answer_either(volumes: Path) -> None:
    write(volumes, "others.jsonl", [{"prompt": row["prompt"] + " ", "completion": "?"} for row in SUMS])

    with pytest.raises(DataError, match="has 10 solved examples that ask nothing that is evaluated"):
        loaded(volumes, SUMS, {**OTHERS, "examples": 11})


def test_the_seed_chooses_and_chooses_the_same_again(volumes: Path) -> None:
    lines = [
        tuple(shot.line for shot in loaded(volumes, SUMS, {"examples": 2}, seed).shots) for seed in (1, 1, 2, 3, 4)
    ]

    assert lines[0] == lines[1]
    assert len(set(lines)) > 2


def test_shots_of_another_file_need_no_choices_and_their_file_is_named(volumes: Path) -> None:
    quiz = [{**row, "options": [row["completion"], " x"]} for row in SUMS]
    write(volumes, "others.jsonl", [{"prompt": "1+2=", "completion": " 3"}, {"prompt": "1+3=", "completion": " 4"}])

    suite = loaded(volumes, quiz, OTHERS, metrics=["Accuracy"], choices={"field": "options"})

    assert {shot.prompt for shot in suite.shots} == {"1+2=", "1+3="}
    assert suite.shots_digest not in (None, suite.digest)
    example = asked(suite)[min(suite.examples)]
    assert example.choices == suite.examples[example.line].choices


def test_too_few_rows_beside_the_evaluated_ones_are_refused(volumes: Path) -> None:
    with pytest.raises(DataError) as caught:
        loaded(volumes, SUMS[:22], {"examples": 3})

    assert caught.value.reason == "FewShotTooFew"
    assert "beside what is evaluated, has 2 solved examples" in caught.value.message
    assert "fewShot.dataset" in caught.value.advice


def test_rows_without_an_answer_are_not_shown(volumes: Path) -> None:
    write(volumes, "others.jsonl", [{"prompt": "a", "completion": " "}, {"prompt": "b", "completion": " c"}])

    with pytest.raises(DataError, match="has 1 solved examples"):
        loaded(volumes, SUMS, OTHERS)


def test_another_form_than_the_rows_is_refused_by_line(volumes: Path) -> None:
    write(volumes, "others.jsonl", TALKS)

    with pytest.raises(
        DataError, match=r"Line \d+ of the few-shot examples of suite heldout has another form"
    ) as caught:
        loaded(volumes, SUMS, OTHERS)

    assert caught.value.reason == "FewShotUnfit"


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        pytest.param({"uri": "pvc://datasets/nowhere.jsonl"}, "DatasetNotFound", id="not there"),
        pytest.param(
            {"uri": "pvc://datasets/others.jsonl", "digest": "sha256:" + "0" * 64}, "DatasetChanged", id="not it"
        ),
    ],
)
def test_a_file_of_shots_must_be_there_and_the_right_one(volumes: Path, dataset: dict[str, str], reason: str) -> None:
    write(volumes, "others.jsonl", SUMS)

    with pytest.raises(DataError) as caught:
        loaded(volumes, SUMS, {"examples": 1, "dataset": dataset})

    assert caught.value.reason == reason


def test_rows_that_are_scored_without_an_answer_are_not_shown(volumes: Path) -> None:
    open_ones = [{"prompt": f"Tell of {one}.", "completion": ""} for one in range(28)]
    kinds = {"metrics": ["TokensPerSecond"], "maxExamples": 4}
    write(volumes, "heldout.jsonl", [*open_ones, *SUMS[:6]])
    suite = Suite.model_validate(suite_document(fewShot={"examples": 2}, **kinds))

    shots = with_shots(load_suite(suite, 7), 7).shots
    assert all(shot.answer.strip() for shot in shots)
    assert len(shots) == 2


def test_shown_rows_need_no_context(volumes: Path) -> None:
    write(volumes, "others.jsonl", SUMS)
    with_context = [{**row, "context": "arithmetic"} for row in SUMS]
    write(volumes, "heldout.jsonl", with_context)
    suite = Suite.model_validate(suite_document(fewShot=OTHERS, maxExamples=4))
    suite = suite.model_copy(update={"context_field": "context"})

    assert len(with_shots(load_suite(suite, 7), 7).shots) == 2
