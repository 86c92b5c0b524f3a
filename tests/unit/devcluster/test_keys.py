"""Content keys: same inputs, same key; any input that matters changes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from serin_devcluster.keys import file_parts, key_of


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "src" / "a.py").write_text("print(1)\n")
    return tmp_path


def test_a_key_tells_parts_apart_even_when_they_join_to_the_same_text() -> None:
    assert key_of("ab", "c") != key_of("a", "bc")


def test_a_key_does_not_depend_on_the_order_of_patterns(tree: Path) -> None:
    one = key_of(*file_parts(tree, ["Dockerfile", "src/**/*"]))
    other = key_of(*file_parts(tree, ["src/**/*", "Dockerfile"]))
    assert one == other


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda tree: (tree / "src" / "a.py").write_text("print(2)\n"), id="content"),
        pytest.param(lambda tree: (tree / "src" / "a.py").rename(tree / "src" / "b.py"), id="name"),
        pytest.param(lambda tree: (tree / "src" / "a.py").chmod(0o755), id="executable bit"),
        pytest.param(lambda tree: (tree / "src" / "b.py").write_text(""), id="one more file"),
    ],
)
def test_a_key_changes_with(tree: Path, change: object) -> None:
    before = key_of(*file_parts(tree, ["**/*"]))
    assert callable(change)
    change(tree)
    assert key_of(*file_parts(tree, ["**/*"])) != before


def test_a_key_ignores_what_running_the_code_leaves_behind(tree: Path) -> None:
    before = key_of(*file_parts(tree, ["**/*"]))
    (tree / "src" / "__pycache__").mkdir()
    (tree / "src" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"\0")
    assert key_of(*file_parts(tree, ["**/*"])) == before


def test_a_pattern_without_a_match_is_an_error_and_not_an_empty_input(tree: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"uv\.lock"):
        file_parts(tree, ["Dockerfile", "uv.lock"])
