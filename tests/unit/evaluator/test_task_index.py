"""Files of tasks are found by their lines: also by a tag that they include, and in every way that YAML is written."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from serin_evaluator.task_index import Mentions, missing_in


@pytest.fixture
def mentions(tmp_path: Path) -> Mentions:
    for name, text in {
        "arc/arc_easy.yaml": "tag:\n  - ai2_arc\ntask: arc_easy\n",
        "arc/arc_challenge.yaml": "include: arc_easy.yaml\ntask: arc_challenge\n",
        "mmlu/law.yaml": '"include": "_template"\n"task": "mmlu_law"\n',
        "mmlu/_template": "include: _deeper\n",
        "mmlu/_deeper": "tag: [mmlu_tasks, other_tasks]\n",
        "mmlu/mmlu.yaml": "group: mmlu\ntask:\n  - group: stem\n    task: [mmlu_law]\n  - mmlu_tasks\n",
        "loop/one.yaml": "include: two.yaml\ntask: one\n",
        "loop/two.yaml": "include: one.yaml\ntask: two\n",
        "README.md": "task: nothing\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    return Mentions(tmp_path)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("arc_easy", ["arc_challenge.yaml", "arc_easy.yaml"]),
        ("ai2_arc", ["arc_challenge.yaml", "arc_easy.yaml"]),
        ("mmlu_law", ["law.yaml"]),
        ("other_tasks", ["law.yaml"]),
        ("mmlu_tasks", ["law.yaml", "mmlu.yaml"]),
        ("mmlu", ["mmlu.yaml"]),
        ("one", ["one.yaml", "two.yaml"]),
        ("nothing", []),
    ],
)
def test_a_name_leads_to_the_files_that_mention_it(mentions: Mentions, name: str, files: list[str]) -> None:
    assert [path.name for path in mentions.files(name)] == files


def test_names_of_tasks_and_groups_are_known_and_tags_are_not(mentions: Mentions) -> None:
    assert mentions.names == {"arc_easy", "arc_challenge", "mmlu_law", "mmlu", "one", "two"}


def entry(members: Any = None) -> Any:
    return SimpleNamespace(cfg={"task": members} if members is not None else None)


def test_what_groups_are_made_of_must_be_there_as_well() -> None:
    index = {
        "mmlu": entry(["stem", {"task": "law", "num_fewshot": 2}, {"group": "inner", "task": ["a", {"task": "b"}]}]),
        "stem": entry(),
        "law": entry("law"),
        "other": entry([{"group": "mmlu"}]),
        "a": entry("a"),
    }

    assert list(missing_in(["stem", "law"], index)) == []
    assert list(missing_in(["other"], index)) == ["b"]
    assert list(missing_in(["nowhere", "nowhere"], index)) == ["nowhere"]


def test_a_group_that_names_itself_ends() -> None:
    assert list(missing_in(["all"], {"all": entry(["all"])})) == []
