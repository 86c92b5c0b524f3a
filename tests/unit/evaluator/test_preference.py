"""People see A and B and not whose they are; what they say is scored, and only of the answers that they saw."""

import json
from pathlib import Path
from typing import Any

import pytest
from serin_evaluator.config import Preference
from serin_evaluator.errors import DataError
from serin_evaluator.preference import Shown, pack, page, rated, write_pack
from serin_evaluator.suites import Example

ANSWERS = {line: (f"ours {line}", f"theirs {line}") for line in range(40)} | {40: ("same", "same ")}
EXAMPLES = {line: Example(line, f"question {line} <b>", (), "") for line in ANSWERS}
SHOWN = pack(7, "s", EXAMPLES, ANSWERS)


def ratings(folder: Path, rows: list[Any], **more: Any) -> Preference:
    (folder / "d").mkdir(exist_ok=True)
    (folder / "d" / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Preference.model_validate({"against": "Base", "ratings": {"uri": "pvc://d/r.jsonl", **more}})


def for_candidate(one: Shown, rater: str = "x") -> dict[str, str]:
    return {"pair": one.pair, "choice": one.candidate, "rater": rater}


def other(one: Shown) -> str:
    return "B" if one.candidate == "A" else "A"


@pytest.fixture(autouse=True)
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERIN_PVC_ROOT", str(tmp_path))


def test_the_sides_are_drawn_and_the_same_seed_draws_them_alike() -> None:
    candidates = [one.candidate for one in SHOWN]

    assert 10 <= candidates.count("A") <= 30
    assert pack(7, "s", EXAMPLES, ANSWERS) == SHOWN
    assert [one.candidate for one in sorted(pack(8, "s", EXAMPLES, ANSWERS), key=lambda x: x.line)] != [
        one.candidate for one in sorted(SHOWN, key=lambda x: x.line)
    ]
    assert [one.line for one in SHOWN] != sorted(one.line for one in SHOWN)


def test_the_pack_does_not_say_whose_answer_is_whose_and_the_key_lies_apart(tmp_path: Path) -> None:
    write_pack(tmp_path, "s", Preference(against="Base"), SHOWN)  # type: ignore[arg-type]

    rows = [json.loads(line) for line in (tmp_path / "preference/s/pack.jsonl").read_text().splitlines()]
    keys = [json.loads(line) for line in (tmp_path / "preference-keys/s.jsonl").read_text().splitlines()]
    assert len(rows) == 40  # the pair that is the same is shown to nobody
    assert all(set(row) == {"pair", "asked", "a", "b"} for row in rows)
    assert sorted(path.name for path in (tmp_path / "preference/s").iterdir()) == ["pack.html", "pack.jsonl"]
    for row, key in zip(rows, keys, strict=True):
        assert row[key["candidate"].lower()].startswith("ours")


def test_the_page_shows_texts_as_texts_and_reaches_no_network() -> None:
    html = page("s", "Which?", SHOWN[:2])

    assert "&lt;b&gt;" in html
    assert "<b>" not in html.replace("<b>A</b>", "").replace("<b>B</b>", "")
    assert "default-src 'none'" in html
    assert "http" not in html.replace("http-equiv", "")
    assert html.count('value="Tie"') == 2


def test_without_ratings_all_pairs_wait() -> None:
    found = rated(Preference(against="Base"), "s", SHOWN, ANSWERS)  # type: ignore[arg-type]

    assert (found.worth, found.waiting, found.why_unscored) == ({}, 40, "no pair has a verdict")


def test_what_people_say_is_scored_with_ties_as_half(tmp_path: Path) -> None:
    rows = [for_candidate(one) for one in SHOWN[:20]]
    rows += [{"pair": one.pair, "choice": other(one), "rater": "x"} for one in SHOWN[20:30]]
    rows += [{"pair": one.pair, "choice": "Tie", "rater": "x"} for one in SHOWN[30:]]

    found = rated(ratings(tmp_path, rows), "s", SHOWN, ANSWERS)

    assert found.sample().value() == pytest.approx((20 + 5 + 0.5) / 41)
    assert (found.waiting, found.same, found.by, found.why_unscored) == (0, 1, "1 person", "")


def test_several_raters_of_one_pair_are_one_pair(tmp_path: Path) -> None:
    one = SHOWN[0]
    rows = [for_candidate(one, "x"), for_candidate(one, "y"), {"pair": one.pair, "choice": other(one), "rater": "z"}]

    found = rated(ratings(tmp_path, rows), "s", SHOWN, ANSWERS)

    assert found.worth[one.line] == pytest.approx(2 / 3)
    assert (found.waiting, found.by) == (39, "3 people")
    assert found.why_unscored == ""  # few pairs are the gate's affair


def test_how_far_raters_agree_is_told_whatever_the_sides(tmp_path: Path) -> None:
    alike = [for_candidate(one, rater) for one in SHOWN[:20] for rater in "xy"]
    alike += [{"pair": one.pair, "choice": other(one), "rater": rater} for one in SHOWN[20:] for rater in "xy"]

    found = rated(ratings(tmp_path, alike), "s", SHOWN, ANSWERS)

    assert (found.rated_by_several, found.agreement, found.notes) == (40, pytest.approx(1.0), ())


def test_raters_who_agree_little_are_noted(tmp_path: Path) -> None:
    rows = [for_candidate(one, "x") for one in SHOWN]
    rows += [
        for_candidate(one, "y") if at % 2 else {**for_candidate(one, "y"), "choice": "Tie"}
        for at, one in enumerate(SHOWN[:30])
    ]

    found = rated(ratings(tmp_path, rows), "s", SHOWN, ANSWERS)

    # 30 pairs, 15 of them one for the candidate and one tie: Do = 15/30, De = 2 * 45 * 15 / (60 * 59).
    assert found.rated_by_several == 30
    assert found.agreement == pytest.approx(1 - 0.5 / (2 * 45 * 15 / (60 * 59)))
    assert "agree little: Krippendorff's alpha is -0.31 over the 30 pairs that several" in found.notes[0]


def test_one_rater_agrees_with_nobody(tmp_path: Path) -> None:
    found = rated(ratings(tmp_path, [for_candidate(one) for one in SHOWN]), "s", SHOWN, ANSWERS)

    assert (found.rated_by_several, found.agreement) == (0, None)


def test_ratings_of_another_models_answers_are_not_taken_for_these(tmp_path: Path) -> None:
    before = pack(7, "s", EXAMPLES, {line: (f"old {line}", theirs) for line, (_, theirs) in ANSWERS.items()})

    found = rated(ratings(tmp_path, [for_candidate(one) for one in before]), "s", SHOWN, ANSWERS)

    assert (found.worth, found.waiting) == ({}, 40)
    assert "are of other answers and not counted" in found.notes[0]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        pytest.param({"pair": "x", "choice": "a"}, "choice is 'a', not A, B or Tie", id="a choice that is none"),
        pytest.param({"choice": "A"}, "pair is missing", id="no pair"),
        pytest.param(["A"], "not a JSON object", id="no object"),
        pytest.param({"pair": SHOWN[0].pair, "choice": "A", "rater": "x"}, "rated twice by x", id="said twice"),
    ],
)
def test_a_rating_that_is_none_is_refused_by_line(tmp_path: Path, row: Any, said: str) -> None:
    with pytest.raises(DataError, match=r"r\.jsonl:2: ") as caught:
        rated(ratings(tmp_path, [for_candidate(SHOWN[0]) | {"choice": "A"}, row]), "s", SHOWN, ANSWERS)

    assert said in caught.value.message
    assert caught.value.reason == "RatingsInvalid"


def test_a_file_that_is_not_there_or_another_is_said(tmp_path: Path) -> None:
    gone = Preference.model_validate({"against": "Base", "ratings": {"uri": "pvc://d/none.jsonl"}})
    with pytest.raises(DataError, match="cannot be read"):
        rated(gone, "s", SHOWN, ANSWERS)
    changed = ratings(tmp_path, [for_candidate(SHOWN[0])], digest="sha256:" + "0" * 64)
    with pytest.raises(DataError, match="was asked for"):
        rated(changed, "s", SHOWN, ANSWERS)
