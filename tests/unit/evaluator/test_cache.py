"""Measurements are kept under all that they depend on; damaged ones are measured again."""

import gzip
from pathlib import Path

import pytest
from serin_evaluator.cache import Entry, ScoreCache, evaluator_version
from serin_evaluator.measured import Generation, Likelihood

IDENTITY = {"kind": "Likelihood", "model": "sha256:aa", "stop": ("\n",)}
ENTRY = Entry({3: Likelihood(1.25, 4, 2), 9: Likelihood(float("nan"), 1, 0)}, (5,))


def test_an_entry_comes_back_as_it_was(tmp_path: Path) -> None:
    ScoreCache(tmp_path / "new").put(IDENTITY, Entry({3: Generation("é\n", 2, "stop")}, (5,)))

    assert ScoreCache(tmp_path / "new").get(IDENTITY, Generation) == Entry({3: Generation("é\n", 2, "stop")}, (5,))


def test_numbers_that_are_none_come_back_too(tmp_path: Path) -> None:
    ScoreCache(tmp_path).put(IDENTITY, ENTRY)

    found = ScoreCache(tmp_path).get(IDENTITY, Likelihood)

    assert found is not None
    assert found.measured[3] == ENTRY.measured[3]
    assert str(found.measured[9].negative_log_likelihood) == "nan"


def test_another_model_or_setting_is_another_entry(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path)
    cache.put(IDENTITY, ENTRY)

    assert cache.get({**IDENTITY, "model": "sha256:bb"}, Likelihood) is None
    assert cache.get({**IDENTITY, "stop": ()}, Likelihood) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"{"), gzip.compress(b'{"identity": {}}')],
    ids=["empty", "no gzip", "no JSON", "of something else"],
)
def test_a_damaged_entry_is_no_entry(tmp_path: Path, content: bytes) -> None:
    cache = ScoreCache(tmp_path)
    cache.put(IDENTITY, ENTRY)
    next(tmp_path.glob("*.json.gz")).write_bytes(content)

    assert cache.get(IDENTITY, Likelihood) is None


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    ScoreCache(tmp_path / "file").put(IDENTITY, ENTRY)

    assert ScoreCache(tmp_path / "file").get(IDENTITY, Likelihood) is None


def test_without_a_folder_nothing_is_kept() -> None:
    ScoreCache(None).put(IDENTITY, ENTRY)

    assert ScoreCache(None).get(IDENTITY, Likelihood) is None


def test_the_version_names_the_code_and_the_libraries() -> None:
    assert "torch" in evaluator_version()
    assert "transformers" in evaluator_version()
