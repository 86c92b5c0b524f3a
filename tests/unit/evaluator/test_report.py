"""The report for machines is pinned; the one for people needs nothing but itself, whatever the data hold."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from serin_evaluator.cache import Entry
from serin_evaluator.config import Role, Slice, Suite
from serin_evaluator.evaluate import _result
from serin_evaluator.measured import Choice, Generation
from serin_evaluator.measuring import Measured
from serin_evaluator.report import Report, notes, write_report
from serin_evaluator.scoring import Scores, samples, score
from serin_evaluator.suites import Example, LoadedSuite
from support.evaluation import config, suite_document
from support.golden import assert_schema_is_current

HOSTILE = '</pre><script src="http://evil/x.js"></script><img onerror=alert(1)> & \x01 "\''
SUITE: dict[str, Any] = {
    "metrics": ["RougeL", "BLEU", "ECE"],
    "choices": {"field": "options"},
    "slices": [{"field": "language"}],
}


def loaded() -> LoadedSuite:
    examples = {
        line: Example(
            line, f"Say {HOSTILE}", (), f"answer number {line}", ("yes", "no"), 0,
            (Slice(field="language", value="<de>" if line % 2 else "en"),) if line > 2 else (),
        )
        for line in range(1, 31)
    }  # fmt: skip
    return LoadedSuite(Suite.model_validate(suite_document(**SUITE)), "sha256:" + "d" * 64, 31, 1, examples)


def measured(wrong: int) -> Measured:
    """A model that answers the last lines with nonsense, the very last one with nothing."""
    said = {
        line: Generation(f"answer number {line}" if line <= 30 - wrong else HOSTILE, 5, "stop") for line in range(1, 30)
    }
    said[30] = Generation(" ", 48, "length")
    chosen = {line: Choice((-0.2, -1.5 - line / 10)) for line in range(1, 31)}
    return Measured(generation=Entry(said, (31,)), choice=Entry(chosen, ()))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pvc")
    candidate = root / "artifacts" / "candidate"
    candidate.mkdir(parents=True)
    (candidate / "manifest.json").write_text(json.dumps({"lineage": {"images": {"Train": "t@sha256:1"}, "x": HOSTILE}}))
    _write(root)
    return root


def _write(root: Path) -> None:
    asked = config(suites=[suite_document(**SUITE)], wanted=["heldout/RougeL", "other/ECE"])
    models = {Role.CANDIDATE: {"heldout": measured(6)}, Role.BASE: {"heldout": measured(0)}}
    found = samples([loaded()], models)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERIN_PVC_ROOT", str(root))
        uri = write_report(asked, [loaded()], models, found, score(asked, found))
    assert uri == "pvc://artifacts/ml/support-bot/evaluate-3f9c/report.json"


@pytest.fixture
def folder(written: Path) -> Path:
    return written / "artifacts/ml/support-bot/evaluate-3f9c"


@pytest.fixture
def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def test_the_schema_of_the_report_is_current() -> None:
    assert_schema_is_current("evaluate.report", Report.model_json_schema(by_alias=True, mode="serialization"))


def test_the_report_is_what_its_schema_says(report: dict[str, Any]) -> None:
    assert Report.model_validate(report).schema_version == 2


def test_each_score_says_what_its_number_is(report: dict[str, Any]) -> None:
    facts = {one["metric"]: (one["unit"], one["direction"]) for one in report["scores"]}

    assert facts == {
        "RougeL": ("share, 0 to 1", "HigherIsBetter"),
        "BLEU": ("0 to 100", "HigherIsBetter"),
        "ECE": ("share, 0 to 1", "LowerIsBetter"),
    }
    assert {"n", "stderr", "low", "high"} <= report["scores"][0].keys()
    assert "tok:13a" in report["signatures"]["BLEU"]


def test_nothing_is_left_out_or_counted_as_wrong_silently(report: dict[str, Any]) -> None:
    said = " ".join(report["suites"][0]["notes"])

    assert "1 of 31 rows of heldout have no answer and are not scored." in said
    assert "2 of 30 examples of heldout have no language" in said
    assert "Candidate answered nothing to 1 of 30 examples" in said
    assert "Candidate was cut off at 48 tokens in 1 of 30" in said
    assert "Candidate could not be given 1 of 30 examples of heldout (generation)" in said


def test_the_termination_message_says_so_as_well() -> None:
    models = {Role.CANDIDATE: {"heldout": measured(6)}}
    less = list(notes(loaded(), models))

    made = _result(config(), Scores((), (), ()), "pvc://a/r.json", less)

    assert "answered nothing to 1 of 30" in made.message


def test_slices_and_their_sizes_are_told(report: dict[str, Any]) -> None:
    assert report["suites"][0]["sliceSizes"] == {"language": {"<de>": 14, "en": 14}}
    assert {(one["slice"] or {}).get("value") for one in report["scores"]} == {None, "<de>", "en"}


def test_the_worst_regressions_lie_side_by_side(report: dict[str, Any]) -> None:
    assert [one["line"] for one in report["regressions"]] == [25, 26, 27, 28, 29]
    first = report["regressions"][0]
    assert (first["models"]["Candidate"]["value"], first["models"]["Base"]["value"]) == (0.0, 1.0)
    assert first["models"]["Base"]["text"] == "answer number 25"


def test_the_reliability_diagram_has_every_example(report: dict[str, Any]) -> None:
    assert [(one["role"], sum(bar["n"] for bar in one["bins"])) for one in report["reliability"]] == [
        ("Candidate", 30),
        ("Base", 30),
    ]


def test_the_lineage_is_the_manifests(report: dict[str, Any]) -> None:
    assert report["lineage"]["images"] == {"Train": "t@sha256:1"}


class Tags(HTMLParser):
    """Every tag with its attributes, and whether tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def tags(folder: Path) -> Tags:
    parsed = Tags()
    parsed.feed((folder / "report.html").read_text())
    return parsed


def test_the_page_needs_no_network_and_runs_nothing(tags: Tags) -> None:
    names = {tag for tag, _ in tags.seen}
    attributes = {name for _, of in tags.seen for name in of}

    assert not names & {"script", "link", "img", "iframe", "object", "form", "a", "base"}
    assert not attributes & {"src", "href", "style"}
    assert not [name for name in attributes if name.startswith("on")]
    policy = next(of["content"] for tag, of in tags.seen if tag == "meta" and "http-equiv" in of)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_the_page_is_well_formed_whatever_the_data_say(tags: Tags, folder: Path) -> None:
    assert tags.open == []
    text = (folder / "report.html").read_text()
    assert "&lt;script src=&quot;http://evil/x.js&quot;&gt;" in text
    assert "&lt;de&gt;" in text


def test_the_page_tells_what_the_report_does(folder: Path) -> None:
    text = re.sub(r"<[^>]+>", " ", (folder / "report.html").read_text())

    for part in ("Candidate beside what it is compared with", "Slices", "Calibration", "Worst regressions", "Lineage"):
        assert part in text
    assert "other/ECE is missing: no suite measures it." in text
    assert "worse" in text


def test_ci_systems_see_each_measurement_and_each_that_could_not_be_made(folder: Path) -> None:
    suite = ElementTree.parse(folder / "junit.xml").getroot()[0]

    cases = {(one.get("classname"), one.get("name")): one for one in suite}
    assert suite.get("errors") == "1"
    assert int(suite.get("tests", 0)) == len(cases) == 11
    assert cases["other", "ECE"].find("error") is not None
    assert "on 30 examples" in str(cases["heldout", "RougeL"].findtext("system-out"))
    assert ("heldout", "RougeL@language=<de>") in cases
    assert ("heldout", "RougeL against Base") in cases


def test_the_model_card_has_a_section_of_what_was_measured(folder: Path, report: dict[str, Any]) -> None:
    card = (folder / "model-card.md").read_text()
    scores = {
        (one["suite"], one["metric"]): one
        for one in report["scores"]
        if one["role"] == "Candidate" and not one["slice"]
    }
    rouge = scores["heldout", "RougeL"]

    assert card.startswith(f"## Evaluation\n\nOf the model with digest `{report['models'][0]['digest']}`")
    value = f"{rouge['value']:.4g} ({rouge['low']:.4g} to {rouge['high']:.4g})"
    assert f"| heldout | RougeL |  | {value} | {rouge['n']} | higher |" in card
    assert "language = &lt;de&gt;" in card, "what rows say is text"
    assert "| against | difference |" in card
    assert "other/ECE is missing" in card or "other/ECE of Candidate is missing" in card
    assert all(suite["datasetDigest"] in card for suite in report["suites"])
    assert all(line.count("|") == 7 for line in card.splitlines() if line.startswith("|"))


def test_the_same_measurements_write_the_same_bytes(folder: Path, written: Path) -> None:
    names = ("report.json", "report.html", "junit.xml", "model-card.md", "examples.jsonl")
    before = [(folder / name).read_bytes() for name in names]

    _write(written)

    assert [(folder / name).read_bytes() for name in names] == before
