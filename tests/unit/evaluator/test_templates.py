"""What a model was asked, and in which form, is known by digests."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from serin_evaluator.config import Suite
from serin_evaluator.fewshot import asked_digest
from serin_evaluator.suites import Example, LoadedSuite
from serin_evaluator.templates import template_digest
from support.evaluation import suite_document

TEMPLATE = "{% for m in messages %}{{ m.content }}é{% endfor %}"
DIGEST = "sha256:" + hashlib.sha256(TEMPLATE.encode()).hexdigest()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SERIN_PVC_ROOT", str(tmp_path))
    (tmp_path / "models" / "m").mkdir(parents=True)
    return tmp_path / "models" / "m"


def test_a_template_has_the_same_digest_wherever_it_lies(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}), "utf-8")
    assert template_digest("pvc://models/m") == DIGEST

    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    assert template_digest("pvc://models/m") == DIGEST


@pytest.mark.parametrize("config", [None, "{}", "no json", "[]"])
def test_a_model_without_a_template_has_none(folder: Path, config: str | None) -> None:
    if config is not None:
        (folder / "tokenizer_config.json").write_text(config)

    assert template_digest("pvc://models/m") is None


def test_several_templates_by_name_have_one_digest(folder: Path) -> None:
    named = [{"name": "default", "template": TEMPLATE}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    first = template_digest("pvc://models/m")

    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": [{**named[0], "template": "x"}]}))

    assert first not in (None, template_digest("pvc://models/m"))


def test_a_model_on_a_hub_is_not_fetched_for_it(folder: Path) -> None:
    assert template_digest("hf://org/m") is None


def suite(**changes: Any) -> LoadedSuite:
    few = {"examples": 1} if "shots" in changes else None
    one = Example(3, "1+1=", (), " 2")
    made = LoadedSuite(Suite.model_validate(suite_document(fewShot=few)), "sha256:" + "d" * 64, 9, 0, {3: one})
    return replace(made, **changes)


def test_the_same_questions_have_the_same_digest_whatever_file_they_came_from() -> None:
    assert asked_digest(suite()) == asked_digest(suite(digest="sha256:" + "e" * 64, rows=10))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"examples": {3: Example(3, "1+1= ", (), " 2")}}, id="another prompt"),
        pytest.param({"examples": {3: Example(3, "1+1=", (), " 3")}}, id="another answer"),
        pytest.param({"examples": {3: Example(3, "1+1=", ({"role": "user", "content": "a"},), " 2")}}, id="messages"),
        pytest.param({"examples": {3: Example(3, "1+1=", (), " 2", ("2", "3"))}}, id="choices"),
        pytest.param({"shots": (Example(4, "2+2=", (), " 4"),)}, id="a solved example before them"),
    ],
)
def test_other_questions_have_another_digest(other: dict[str, Any]) -> None:
    assert asked_digest(suite()) != asked_digest(suite(**other))
