"""The reports in a real browser: what they promise to show is laid out, on a desk and on a telephone, by day and by night,
with every request but the page's own refused.

Pictures of each are left in build/browser for people.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serin_evaluator.cache import Entry
from serin_evaluator.config import Metric, Role, Slice, Suite
from serin_evaluator.measured import Choice, Generation
from serin_evaluator.measuring import Measured
from serin_evaluator.pairs import Pairs
from serin_evaluator.report import write_report
from serin_evaluator.scoring import samples, score
from serin_evaluator.suites import Example, LoadedSuite
from serin_trainer.config import PrepareConfig
from serin_trainer.estimate import Facts, plan
from serin_trainer.overlap import Overlap
from serin_trainer.report import Account
from serin_trainer.report import Example as Shown
from serin_trainer.report_page import page as prepare_page
from serin_trainer.rows import Row
from serin_trainer.tokens import Sequence
from support.browser import Browser, BrowserFailed, Page
from support.evaluation import BASE, CANDIDATE, config, suite_document
from support.training import PREPARE, changed

Json = dict[str, Any]
ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "build/browser"
LOOKING = (Path(__file__).parent / "looking.js").read_text()
INCUMBENT = {"role": "Incumbent", "uri": "pvc://artifacts/ml/support-bot/model-3f9c", "digest": "sha256:" + "c" * 64}
LONG = "a-name-without-any-space-in-it-that-somebody-found-in-a-data-set-and-kept-for-good"
WINDOWS = [
    pytest.param(1280, "light", id="desk"),
    pytest.param(390, "light", id="telephone"),
    pytest.param(1280, "dark", id="night"),
]


# --- what is looked at --------------------------------------------------------------------------------------------


def a_suite(name: str, **fields: Any) -> LoadedSuite:
    languages = ("en", "de", "pt-BR", LONG)
    examples = {
        line: Example(
            line, f"Where do I find invoice {line}? {LONG}" + " Please be brief." * (line % 9), (), f"On page {line}.",
            ("yes", "no"), 0, (Slice(field="language", value=languages[line % 4]),),
        )
        for line in range(1, 41)
    }  # fmt: skip
    wanted = {"metrics": ["RougeL", "BLEU", "ECE"], "choices": {"field": "options"}, "slices": [{"field": "language"}]}
    return LoadedSuite(
        Suite.model_validate(suite_document(name=name, **wanted, **fields)), "sha256:" + "d" * 64, 43, 3, examples
    )


def a_model(wrong: int, pairs: bool = False) -> Measured:
    """It answers the last lines with something long, and the very last one with nothing."""
    said = {
        line: Generation(f"On page {line}." if line <= 40 - wrong else f"{LONG} " * 9, 5, "stop")
        for line in range(1, 40)
    }
    said[40] = Generation(" ", 48, "length")
    sure = {line: Choice((-0.05 * (line % 19) - 0.02, -1.5 + line / 40)) for line in range(1, 41)}
    worth = {line: float(line % 3 > 0) for line in range(1, 31)}
    judged = {Metric.JUDGE_WIN_RATE: Pairs(Role.BASE, "gpt-judge", worth, 40, 2, reversed=5, first=33)} if pairs else {}
    return Measured(generation=Entry(said, ()), choice=Entry(sure, ()), pairs=judged)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of an evaluator: two suites, three models, slices, calibration, a judge."""
    root = tmp_path_factory.mktemp("pvc")
    (root / "artifacts/candidate").mkdir(parents=True)
    lineage = {"images": {"Train": "serin.dev/trainer@sha256:" + "1" * 64}, "note": LONG * 3}
    (root / "artifacts/candidate/manifest.json").write_text(json.dumps({"lineage": lineage}))
    names = ("heldout", "questions-about-invoices-in-several-languages")
    documents = [a_suite(name).suite.model_dump(mode="json", by_alias=True, exclude_none=True) for name in names]
    apart = [
        {"suite": name, "metric": "RougeL", "against": against, "method": "PairedBootstrap"}
        for name in names
        for against in ("Base", "Incumbent")
    ]
    asked = config(
        models=[CANDIDATE, INCUMBENT, BASE], suites=documents, comparisons=apart,
        wanted=[*(f"{name}/RougeL" for name in names), "other/ECE"],
    )  # fmt: skip
    models = {
        Role.CANDIDATE: {name: a_model(9, pairs=True) for name in names},
        Role.INCUMBENT: {name: a_model(2) for name in names},
        Role.BASE: {name: a_model(20) for name in names},
    }
    suites = [a_suite(name) for name in names]
    found = samples(suites, models)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERIN_PVC_ROOT", str(root))
        write_report(asked, suites, models, found, score(asked, found))
    return root / "artifacts/ml/support-bot/evaluate-3f9c/report.html"


@pytest.fixture(scope="module")
def preparation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a Prepare that left rows out."""
    settings = PrepareConfig.model_validate(changed(PREPARE, {"data.packing": "Isolated"}))
    account = Account(settings)
    for number in range(60):
        account.cleaning.saw("train/tickets")
        if number >= 50:
            reason = ("Empty", "ExactDuplicate")[number % 2]
            account.cleaning.drop(reason, "train/tickets", f"pvc://datasets/tickets.jsonl:{number}", LONG, LONG)

    def rows(first: int, last: int) -> list[tuple[Row, Sequence]]:
        return [
            (
                Row("text", {"text": LONG}, f"f:{n}", source="tickets"),
                Sequence(list(range(3 + n)), [False] + [True] * (2 + n)),
            )
            for n in range(first, last)
        ]

    account.parts = {"train": rows(0, 40), "validation": rows(40, 45), "test": rows(45, 50)}
    account.overlaps = [Overlap(f"gate/{LONG}", 50, {1, 2}, {1}, [account.parts["train"][0][0]])]
    account.examples = [Shown(place=f"pvc://datasets/{LONG}.jsonl:7", pieces=[("asked ", False), (LONG * 2, True)])]
    account.sequence_lengths = [900, 700]
    account.plan = plan(Facts(10**9, 10**7, 2048, 24, 50_000), settings.training, [900, 700])
    written = tmp_path_factory.mktemp("prepare") / "report.html"
    written.write_text(prepare_page(account.report("Succeeded", "50 of 60 rows kept")))
    return written


# --- looking ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as found:
        yield found


def seen(browser: Browser, page: Path, width: int, scheme: str, name: str) -> Page:
    found = browser.open(page, width, scheme=scheme)
    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES / f"{name}-{width}-{scheme}.png").write_bytes(found.picture())
    return found


def counted(page: Page, selector: str) -> int:
    """How many of them take room."""
    boxes = f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.getBoundingClientRect())"
    return int(page.ask(f"{boxes}.filter(b => b.width > 0 || b.height > 0).length"))


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_the_evaluators_report_is_laid_out_whole(browser: Browser, evaluation: Path, width: int, scheme: str) -> None:
    page = seen(browser, evaluation, width, scheme, "evaluation")

    faults = page.ask(LOOKING)
    assert not faults, "\n".join(faults)
    assert page.said == page.refused == []
    headings = page.ask("[...document.querySelectorAll('h2')].map(e => e.textContent)")
    assert headings == [
        "Models", "Candidate beside what it is compared with", "Slices", "Calibration", "Preferred answers",
        "Worst regressions", "Suites", "Lineage",
    ]  # fmt: skip
    assert counted(page, "table td svg g.Candidate circle") == 6  # two suites of three metrics
    assert counted(page, "table td svg g line") == 18  # an interval for each of three models
    assert counted(page, ".figures svg g.Candidate line") == 24  # and for each of four slices
    assert counted(page, ".figures svg g.Incumbent[fill] > circle") >= 24 + 2
    assert counted(page, ".pair pre") == 10 * 4


@pytest.mark.parametrize(("width", "beside"), [(1280, True), (390, False)], ids=["desk", "telephone"])
def test_regressions_lie_side_by_side_where_there_is_room(
    browser: Browser, evaluation: Path, width: int, beside: bool
) -> None:
    page = browser.open(evaluation, width)
    tops = page.ask("[...document.querySelector('.pair').children].map(e => e.getBoundingClientRect().top)")
    assert (tops[0] == tops[1]) == beside  # what was asked, and the right answer
    assert tops[1] < tops[2]
    assert (tops[2] == tops[3]) == beside  # the candidate's answer, and the incumbent's


def test_on_a_desk_no_table_of_the_evaluators_report_has_to_be_scrolled(browser: Browser, evaluation: Path) -> None:
    page = browser.open(evaluation, 1280)
    assert page.ask("[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length") == 0


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_the_report_of_prepare_is_laid_out_whole(browser: Browser, preparation: Path, width: int, scheme: str) -> None:
    page = seen(browser, preparation, width, scheme, "prepare")

    faults = page.ask(LOOKING)
    assert not faults, "\n".join(faults)
    assert page.said == page.refused == []
    assert counted(page, ".charts svg rect") > 10
    assert counted(page, ".card") == 7
    assert counted(page, "mark") == 1


# --- that the looking sees ----------------------------------------------------------------------------------------

FAULTY = """<!doctype html><html><head><style>body{color:#333;background:#fff}</style></head><body>
<img src="http://example.com/pixel.png"><script>console.error("oh"); nowhere()</script>
<p style="width:3000px">wide</p><p style="color:#bbb">faint</p>
<svg width="50" height="50"><text x="40" y="20">beyond</text><text x="0" y="20">under</text><line x1="0" x2="30" y1="16" y2="16"/></svg>
<table style="height:0;overflow:hidden;display:block"><tr><td>flat</td></tr></table></body></html>"""


def test_a_page_with_faults_is_not_found_good(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "faulty.html").write_text(FAULTY)
    page = browser.open(tmp_path / "faulty.html", 800)
    told = "\n".join(page.ask(LOOKING))
    for fault in (
        "the page is 3008 wide", 'p "wide" reaches', '"faint" has a contrast', '"beyond" reaches out of its svg',
        '"under" lies on a line', 'table "flat" takes no room',
    ):  # fmt: skip
        assert fault in told
    assert page.refused == ["http://example.com/pixel.png"]
    assert any("nowhere" in said or "Uncaught" in said for said in page.said)
    assert any("oh" in said for said in page.said)


def test_a_machine_without_a_browser_fails_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERIN_BROWSER", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BrowserFailed, match="make test-browser"):
        Browser()
