"""Each slice has scores and comparisons of its own, over its own examples."""

import json
from pathlib import Path
from typing import Any

import pytest
from serin_evaluator.cache import Entry
from serin_evaluator.config import Role, Slice, SliceBy, Suite
from serin_evaluator.errors import DataError
from serin_evaluator.measured import Generation
from serin_evaluator.measuring import Measured
from serin_evaluator.scoring import Scores, samples, score
from serin_evaluator.suites import Example, LoadedSuite, load_suite, slices_of
from support.evaluation import config, suite_document

LANGUAGES = ["de", "en"] * 6 + ["fr"]
BY = {"slices": [{"field": "language"}]}
GERMAN, ENGLISH, FRENCH = (Slice(field="language", value=one) for one in ("de", "en", "fr"))


def loaded() -> LoadedSuite:
    suite = Suite.model_validate(suite_document(metrics=["ExactMatch", "BLEU"], **BY))
    examples = {
        line: Example(line, "q", (), "the right answer is this", slices=(Slice(field="language", value=language),))
        for line, language in enumerate(LANGUAGES, start=1)
    }
    return LoadedSuite(suite, "sha256:" + "d" * 64, len(examples), 0, examples)


def answers(right: list[str]) -> Measured:
    """Right in these languages only."""
    rows = {
        line: Generation("the right answer is this" if language in right else "no", 5, "stop")
        for line, language in enumerate(LANGUAGES, start=1)
    }
    return Measured(generation=Entry(rows, ()))


def scored(**changes: Any) -> Scores:
    asked = config(suites=[suite_document(metrics=["ExactMatch", "BLEU"], **BY)], **changes)
    models = {Role.CANDIDATE: answers(["en", "fr"]), Role.BASE: answers(["de", "en", "fr"])}
    return score(asked, samples([loaded()], {role: {"heldout": one} for role, one in models.items()}))


def test_a_candidate_that_forgot_a_language_is_seen_in_its_slice() -> None:
    wanted = [{"suite": "heldout", "metric": "ExactMatch", "against": "Base", "slice": part.model_dump()}
              for part in (GERMAN, ENGLISH)]  # fmt: skip

    made = scored(comparisons=wanted, wanted=["heldout/ExactMatch@language=de"])

    of = {(one.metric, one.role, one.slice): one for one in made.scores}
    assert of["ExactMatch", "Candidate", GERMAN].value == 0.0
    assert of["ExactMatch", "Candidate", ENGLISH].value == 1.0
    assert of["BLEU", "Candidate", GERMAN].value == 0.0
    assert of["ExactMatch", "Candidate", None].n == 13
    assert of["ExactMatch", "Candidate", GERMAN].n == 6
    assert [bool(one.curve) for one in (of["ExactMatch", "Candidate", GERMAN], of["ExactMatch", "Base", GERMAN])] == [
        True,
        False,
    ]
    assert [(one.slice, one.difference) for one in made.comparisons] == [(GERMAN, -1.0), (ENGLISH, 0.0)]


def test_a_slice_of_one_example_has_no_score_and_one_that_is_asked_for_says_why() -> None:
    made = scored(
        comparisons=[{"suite": "heldout", "metric": "ExactMatch", "against": "Base", "slice": FRENCH.model_dump()}],
        wanted=["heldout/ExactMatch@language=fr", "heldout/ExactMatch@language=it"],
    )

    assert not [one for one in made.scores if one.slice == FRENCH]
    assert {one.what: one.why for one in made.missing} == {
        "heldout/ExactMatch@language=fr against Base": "fewer than 2 examples have language=fr",
        "heldout/ExactMatch@language=fr": "fewer than 2 examples have language=fr",
        "heldout/ExactMatch@language=it": "fewer than 2 examples have language=it",
    }


@pytest.mark.parametrize(
    ("value", "said"),
    [("de", ["de"]), (3, ["3"]), (True, ["true"]), (None, []), ("", [])],
)
def test_a_rows_value_names_its_slice(value: Any, said: list[str]) -> None:
    found = slices_of({"language": value}, (SliceBy(field="language"),))

    assert [one.value for one in found] == said


def test_a_value_that_is_no_name_is_refused() -> None:
    with pytest.raises(ValueError, match="language is no text"):
        slices_of({"language": ["de"]}, (SliceBy(field="language"),))


@pytest.mark.parametrize(
    ("values", "count"), [([None] * 60, 0), (list(map(str, range(60))), 60)], ids=["none has it", "each has its own"]
)
def test_a_field_that_makes_no_slices_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[Any], count: int
) -> None:
    monkeypatch.setenv("SERIN_PVC_ROOT", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    rows = "".join(json.dumps({"prompt": "a", "completion": "b", "language": one}) + "\n" for one in values)
    (tmp_path / "datasets" / "heldout.jsonl").write_text(rows)

    with pytest.raises(DataError) as caught:
        load_suite(Suite.model_validate(suite_document(**BY)), seed=7)

    assert caught.value.reason == "SliceFieldUnfit"
    assert f"has {count} different values" in caught.value.message
