"""A suite that prefers answers, from what both models said to the score and to what waits for people."""

from pathlib import Path
from typing import Any

import pytest
from serin_evaluator.cache import Entry, ScoreCache
from serin_evaluator.config import EvaluateConfig, Metric, Role
from serin_evaluator.measured import Generation
from serin_evaluator.measuring import Measured
from serin_evaluator.preference import pack
from serin_evaluator.preferring import prefer
from serin_evaluator.report import notes
from serin_evaluator.scoring import samples, score, unscored
from serin_evaluator.suites import Example, LoadedSuite
from support.evaluation import config_document, suite_document

LINES = range(30)


def world(ratings: str | None = None) -> tuple[EvaluateConfig, LoadedSuite, dict[Role, dict[str, Measured]]]:
    preference: dict[str, Any] = {"against": "Base", "ratings": {"uri": ratings} if ratings else None}
    config = EvaluateConfig.model_validate(
        config_document(
            suites=[suite_document(metrics=["HumanWinRate", "RougeL"], preference=preference)],
            wanted=["heldout/HumanWinRate"],
        )
    )
    examples = {line: Example(line, f"q{line}", (), "right") for line in LINES}
    suite = LoadedSuite(config.suites[0], "sha256:" + "d" * 64, 30, 0, examples)
    said = {
        role: {"heldout": Measured(generation=Entry({at: Generation(f"{role} {at}", 2, "stop") for at in LINES}, ()))}
        for role in (Role.CANDIDATE, Role.BASE)
    }
    return config, suite, said


def test_until_people_have_rated_the_score_is_missing_and_the_pack_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERIN_PVC_ROOT", str(tmp_path))
    config, suite, said = world()

    [waiting] = prefer(config, [suite], said, ScoreCache(None))

    assert (waiting.told.pairs, waiting.what) == (30, "heldout/HumanWinRate")
    folder = tmp_path / waiting.told.pack_uri.removeprefix("pvc://")
    assert len((folder / "pack.jsonl").read_text().splitlines()) == 30
    found = samples([suite], said)
    scores = score(config, found, unscored([suite], said) | {waiting.what: waiting.why})
    assert [one.why for one in scores.missing if one.what == "heldout/HumanWinRate"] == [waiting.why]
    assert {one.metric for one in scores.scores} == {Metric.ROUGE_L}


def test_ratings_become_a_score_that_says_against_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERIN_PVC_ROOT", str(tmp_path))
    config, suite, said = world("pvc://d/r.jsonl")
    shown = pack(config.seed, "heldout", suite.examples, {at: (f"Candidate {at}", f"Base {at}") for at in LINES})
    lines = [f'{{"pair": "{one.pair}", "choice": "{one.candidate}", "rater": "x"}}\n' for one in shown[:25]]
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "r.jsonl").write_text("".join(lines))

    assert prefer(config, [suite], said, ScoreCache(None)) == []

    [told] = [one for one in score(config, samples([suite], said)).scores if one.metric is Metric.HUMAN_WIN_RATE]
    assert (told.value, told.n, told.role, told.against) == (1.0, 25, Role.CANDIDATE, Role.BASE)
    assert len(told.curve) == 13
    assert "5 of 30 pairs are not rated yet" in " ".join(notes(suite, said))
