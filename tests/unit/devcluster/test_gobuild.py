"""Go tools: what is in a key, and that an interrupted build never looks complete."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from serin_devcluster import __main__ as main
from serin_devcluster import gobuild
from serin_devcluster.errors import DevclusterError
from serin_devcluster.gobuild import GoTool
from serin_devcluster.paths import Paths
from serin_devcluster.tasks import Tasks

Write = list[str]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "cache")


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GoTool:
    monkeypatch.setattr(gobuild, "GO_MODULES", tmp_path / "go")
    monkeypatch.setattr(gobuild, "go_version", lambda: "go1.26 amd64")
    monkeypatch.setattr(gobuild, "go", lambda: "go")
    module = tmp_path / "go" / "echo"
    module.mkdir(parents=True)
    (module / "go.mod").write_text("module x\n")
    (module / "go.sum").write_text("")
    return GoTool("echo", {"one": "x/cmd/one", "two": "x/cmd/two"})


def compiler(monkeypatch: pytest.MonkeyPatch, writes: Write, dies: bool = False) -> None:
    """Stands in for `go build`: writes the files it is told to, then ends or dies."""

    def run(argv: list[str], **_: object) -> str:
        target = Path(argv[argv.index("-o") + 1])
        for name in writes:
            (target / name).write_text("binary")
        if dies:
            raise DevclusterError("go build was interrupted")
        return ""

    monkeypatch.setattr(gobuild, "run", run)


def test_a_build_interrupted_half_way_is_not_taken_for_complete(
    tool: GoTool, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler(monkeypatch, ["one"], dies=True)
    with pytest.raises(DevclusterError):
        gobuild.build(tool, paths)
    assert not tool.is_built(paths)
    assert not tool.folder(paths).exists()


def test_the_next_run_completes_what_was_interrupted(
    tool: GoTool, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler(monkeypatch, ["one"], dies=True)
    with pytest.raises(DevclusterError):
        gobuild.build(tool, paths)
    compiler(monkeypatch, ["one", "two"])
    gobuild.build(tool, paths)
    assert tool.is_built(paths)


def test_a_folder_that_lacks_a_program_is_built_again(
    tool: GoTool, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool.folder(paths).mkdir(parents=True)
    (tool.folder(paths) / "one").write_text("from somewhere")
    compiler(monkeypatch, ["one", "two"])
    gobuild.build(tool, paths)
    assert tool.is_built(paths)


def test_another_version_of_the_same_tool_goes_when_the_new_one_is_there(
    tool: GoTool, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler(monkeypatch, ["one", "two"])
    old = paths.binaries / "echo-0123456789ab"
    other_tool = paths.binaries / "echo-server-0123456789ab"
    old.mkdir(parents=True)
    other_tool.mkdir()
    gobuild.build(tool, paths)
    assert not old.exists()
    assert other_tool.exists()


def test_the_key_changes_with_the_lock_the_packages_and_the_linker_flags(tool: GoTool) -> None:
    key = tool.key()
    assert GoTool("echo", {"one": "x/cmd/one"}).key() != key
    assert GoTool("echo", tool.programs, {"version": "v2"}).key() != key
    assert GoTool("echo", tool.programs, tags=("small",)).key() != key
    (tool.module / "go.sum").write_text("x v1.0.0 h1:abc=\n")
    assert tool.key() != key


def test_a_missing_program_is_an_error_that_says_how_to_build_it(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gobuild, "go_version", lambda: "go1.26 amd64")
    with pytest.raises(DevclusterError, match="make tools"):
        gobuild.find_program(paths, "kube-apiserver")


def test_a_program_that_is_built_on_demand_names_its_own_target(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gobuild, "go_version", lambda: "go1.26 amd64")
    with pytest.raises(DevclusterError, match="make kueue"):
        gobuild.find_program(paths, "kueue")


def test_make_tools_waits_for_nothing_that_is_built_on_demand(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(main, "run_tasks", lambda table, _: asked.extend(task.name for task in table))
    monkeypatch.setattr(Tasks, "check_disk", lambda _: None)
    for only in ([], ["kueue"]):
        assert main.tools(Tasks(paths), argparse.Namespace(where=False, only=only)) == 0
    first, alone = asked[:-2], asked[-2:]
    assert "tool-kubernetes" in first
    assert "tool-kueue" not in first
    assert alone == ["fetch-kueue", "tool-kueue"]


def test_every_module_has_its_lock_and_no_replacement_by_a_local_folder() -> None:
    for tool in gobuild.ALL:
        assert (tool.module / "go.sum").exists(), tool.name
        text = (tool.module / "go.mod").read_text()
        assert "=> ./" not in text, tool.name
        assert "=> ../" not in text, tool.name
        assert "=> /" not in text, tool.name
