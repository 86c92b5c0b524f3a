"""The report counts what happened, and its page is safe to open whatever the rows hold."""

from html.parser import HTMLParser
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from serin_trainer.config import PrepareConfig
from serin_trainer.estimate import Facts, plan
from serin_trainer.origins import Origin
from serin_trainer.overlap import Overlap
from serin_trainer.report import Account, Example, histogram
from serin_trainer.report_page import page
from serin_trainer.rows import Row
from serin_trainer.tokens import Sequence
from support.training import PREPARE, changed

EVIL = '<script>alert("x")</script>'


def encoded(place: str, length: int, **fields: Any) -> tuple[Row, Sequence]:
    sequence = Sequence(list(range(length)), [False] + [True] * (length - 1))
    return Row("text", {"text": EVIL, **fields}, place, source="tickets"), sequence


def an_account(**changes: Any) -> Account:
    config = PrepareConfig.model_validate(changed(PREPARE, changes))
    account = Account(config)
    for number in range(12):
        account.cleaning.saw("train/tickets")
        if number >= 9:
            account.cleaning.drop("Empty", "train/tickets", f"pvc://d/t.jsonl:{number}", EVIL, EVIL)
    account.parts = {
        "train": [encoded(f"f:{n}", 5 + n, language=EVIL if n % 2 else "en") for n in range(6)],
        "validation": [encoded("f:6", 4)],
        "test": [encoded("f:7", 4), encoded("f:8", 9)],
    }
    account.overlaps = [Overlap(f"gate/{EVIL}", 50, {1, 2}, {1}, [account.parts["train"][0][0]])]
    account.examples = [Example(place=EVIL, pieces=[("asked", False), (EVIL, True)])]
    account.sequence_lengths = [30, 15]
    account.plan = plan(Facts(10**6, 10**4, 64, 2, 500), config.training, [30, 15])
    return account


def test_the_numbers_of_the_report_add_up() -> None:
    report = an_account().report("Succeeded", "9 of 12 rows kept")
    assert (report.read, report.kept) == (12, 9)
    assert sum(part.rows for part in report.parts.values()) == 9
    assert [(source.read, source.kept, source.dropped) for source in report.sources] == [(12, 9, {"Empty": 3})]
    assert (report.parts["train"].tokens, report.parts["train"].learned_tokens) == (45, 39)
    assert sum(report.row_tokens.counts) == sum(report.learned_tokens.counts) == 9
    assert report.overlap[0].shared_percent == 4.0
    assert report.packed is None


def test_what_packing_and_stratifying_did_is_told() -> None:
    wish = {"data.packing": "Isolated", "data.split.strategy": "Stratified", "data.split.field": "language"}
    report = an_account(**wish).report("Succeeded", "")
    assert report.packed is not None
    assert (report.packed.sequences, report.packed.fill_percent) == (2, 35)
    values = {value.value: (value.train, value.validation, value.test) for value in report.values}
    assert values == {EVIL: (3, 0, 0), "en": (3, 0, 0), "(missing)": (0, 1, 2)}


class Tags(HTMLParser):
    """The elements of a page, and what they link to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_stands_alone_and_runs_nothing() -> None:
    found = Tags(page(an_account(**{"data.packing": "Isolated"}).report("Failed", EVIL, EVIL)))
    assert found.open == []
    assert not found.links
    assert "script" not in found.seen
    assert {"svg", "rect", "table", "mark", "details"} <= found.seen


def test_a_report_of_a_stage_that_failed_at_once_has_a_page_as_well() -> None:
    report = Account(PrepareConfig.model_validate(PREPARE)).report("Failed", "no rows", "fill the file")
    assert Tags(page(report)).open == []
    assert (report.read, report.plan) == (0, None)


@given(st.lists(st.integers(1, 10_000), max_size=100))
@settings(deadline=None)
def test_every_value_is_in_the_bin_of_its_edges(values: list[int]) -> None:
    found = histogram(values)
    assert sum(found.counts) == len(values)
    assert len(found.edges) == (len(found.counts) + 1 if values else 0)
    for low, high, count in zip(found.edges, found.edges[1:], found.counts, strict=False):
        assert sum(low <= value < high for value in values) == count


def test_the_report_and_its_page_tell_every_key_of_a_recipe() -> None:
    recipe = {
        "format": "Axolotl",
        "source": "recipe/config.yaml",
        "keys": [
            {"key": "num_epochs", "field": "hyperparameters.epochs", "value": "3"},
            {"key": "logging_steps", "why": "progress is told in status"},
        ],
        "unknown": ["<my_own>"],
    }
    report = Account(PrepareConfig.model_validate({**PREPARE, "recipe": recipe})).report("Failed", "no rows", "fill")
    assert report.recipe is not None
    assert report.recipe.unknown == ["<my_own>"]
    shown = page(report)
    for text in ("num_epochs", "hyperparameters.epochs: 3", "progress is told in status", "&lt;my_own&gt;"):
        assert text in shown
    assert "<my_own>" not in shown


def test_a_source_of_several_files_is_shown_with_its_digest_and_what_was_left_out() -> None:
    account = Account(PrepareConfig.model_validate(PREPARE))
    name = f"train/{account.config.data.train[0].name}"
    account.origins[name] = Origin(files=12, left_out=3, size_bytes=4096, digest="sha256:" + "a" * 64)
    report = account.report("Failed", "no rows", "fill")
    assert (report.sources[0].files, report.sources[0].left_out, report.sources[0].size_bytes) == (12, 3, 4096)
    assert "12 (3 other objects left out)" in page(report)
    assert "sha256:" + "a" * 64 in page(report)
