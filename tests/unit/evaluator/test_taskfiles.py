"""What a benchmark's files may say: nothing that runs code of the volume, nothing that lies elsewhere."""

from pathlib import Path
from typing import Any

import pytest
from serin_evaluator.errors import DataError
from serin_evaluator.taskfiles import Folder, Rows, check_yaml, digest_of, rows_of, unknown


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    package = tmp_path / "lm_eval" / "tasks"
    (package / "mmlu").mkdir(parents=True)
    (package / "mmlu" / "utils.py").write_text("")
    (package / "base.yaml").write_text("doc_to_text: !function utils.ask\n")
    own = tmp_path / "claim" / "tasks"
    own.mkdir(parents=True)
    return Folder("pvc://claim/tasks", own, package)


def checked(folder: Folder, text: str) -> None:
    (folder.path / "own.yaml").write_text(text)
    check_yaml("own", folder.path / "own.yaml", folder)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("task: own\ndoc_to_text: '{{question}}'\n", id="templates"),
        pytest.param(
            "task: own\nprocess_docs: !function lm_eval.tasks.mmlu.utils.rows\n", id="a function of the harness's tasks"
        ),
        pytest.param("task: own\nmetadata: {version: 1.0}\nx: &a [1, 2]\ny: *a\n", id="aliases"),
        pytest.param("task: own\nx: &a {inner: *a}\n", id="an alias of itself"),
        pytest.param("", id="nothing"),
    ],
)
def test_plain_files_are_fine(folder: Folder, text: str) -> None:
    checked(folder, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task: own\ndoc_to_text: !function beside.ask\n", r"names the function beside.ask \(line 2 of own.yaml\)"),
        ("x: {y: [{z: !function os.system}]}\n", "names the function os.system"),
        ("x: !function lm_eval.utils.apply_template\n", "names the function lm_eval.utils"),
        ("x: !function lm_eval.tasks._yaml_loader._import_fun_from_str\n", "names the function"),
        ("x: !function lm_eval.tasks.manager.TaskManager\n", "names the function"),
        ("x: !function lm_eval.tasks.mmlu.other.rows\n", "names the function"),
        ("x: !!python/object/apply:os.system ['id']\n", "has the tag tag:yaml.org,2002:python"),
        ("x: !other y\n", "has the tag !other"),
        ("class: SomeTask\n", "has class"),
        ("x: {unsafe_code: true}\n", "has unsafe_code"),
        ("use_prompt: 'promptsource:*'\n", "has use_prompt"),
        ("custom_dataset: x\n", "has custom_dataset"),
        ("x: [\n", "cannot be read: own.yaml"),
        ("include: missing.yaml\n", "cannot be read: missing.yaml"),
        ("include: ../../elsewhere.yaml\n", "includes elsewhere.yaml, which is not below pvc://claim/tasks"),
    ],
)
def test_code_and_what_lies_elsewhere_are_refused(folder: Folder, text: str, said: str) -> None:
    with pytest.raises(DataError, match=f"The task own {said}") as refused:
        checked(folder, text)

    assert (refused.value.reason, refused.value.exit_code) == ("TaskInvalid", 65)
    assert refused.value.advice


def test_a_file_on_the_volume_does_not_take_the_place_of_the_harnesss_own(folder: Folder) -> None:
    beside = folder.path / "lm_eval" / "tasks" / "mmlu"
    beside.mkdir(parents=True)
    (beside / "utils.py").write_text("")

    with pytest.raises(DataError, match="names the function"):
        checked(folder, "x: !function lm_eval.tasks.mmlu.utils.rows\n")


def test_included_files_are_looked_at_as_well_except_the_harnesss_own(folder: Folder) -> None:
    (folder.path / "inner.yaml").write_text("x: !function beside.ask\n")
    (folder.path / "outer.yaml").write_text("include: inner.yaml\n")

    checked(folder, f"include: {folder.package}/base.yaml\n")
    with pytest.raises(DataError, match=r"line 1 of inner\.yaml"):
        checked(folder, "include: [outer.yaml]\n")


def test_a_link_out_of_the_folder_is_not_followed(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("x: 1\n")
    (folder.path / "inner.yaml").symlink_to(tmp_path / "secret.yaml")

    with pytest.raises(DataError, match="which is not below"):
        checked(folder, "include: inner.yaml\n")


def json_task(files: Any, **more: Any) -> dict[str, Any]:
    return {"dataset_path": "json", "dataset_kwargs": {"data_files": files, **more}}


def test_files_are_found_by_split_from_the_folder(folder: Folder) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (folder.path / name).write_text("{}\n")
    found = rows_of("own", json_task({"train": "a.jsonl", "test": ["*.jsonl"]}, field="rows", revision="main"), folder)

    assert found.files == {
        "train": (str(folder.path / "a.jsonl"),),
        "test": (str(folder.path / "a.jsonl"), str(folder.path / "b.jsonl")),
    }
    assert (found.format, dict(found.reading)) == ("json", {"field": "rows"})
    assert rows_of("own", json_task(str(folder.path / "a.jsonl")), folder).files.keys() == {"train"}


@pytest.mark.parametrize(
    "named",
    [
        "missing.jsonl",
        "../a.jsonl",
        "/etc/hostname",
        "https://example.com/a.jsonl",
        "hf://datasets/a/b.jsonl",
        "link.jsonl",
    ],
)
def test_files_that_are_not_there_are_refused_by_name(folder: Folder, named: str) -> None:
    (folder.path.parent / "a.jsonl").write_text("{}\n")
    (folder.path / "link.jsonl").symlink_to(folder.path.parent / "a.jsonl")

    with pytest.raises(DataError, match=r"The task own (wants|reads)") as refused:
        rows_of("own", json_task({"test": named}), folder)

    assert named.removeprefix("https://")[:10] in refused.value.message
    assert refused.value.advice


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "has no dataset_path"),
        ({"dataset_path": "json"}, "names no files in dataset_kwargs.data_files"),
        (json_task({"test": []}), "names no files"),
        (json_task({"test": "a.jsonl"}, streaming=True), "has dataset_kwargs.streaming, which is not known here"),
        (
            {"dataset_path": "pandas", "dataset_kwargs": {"data_files": "a.pkl"}},
            "has dataset_kwargs.data_files for the folder",
        ),
        (
            {"dataset_path": "allenai/ai2_arc"},
            "wants the data set allenai/ai2_arc .* not at pvc://claim/tasks/allenai/ai2_arc",
        ),
        ({"dataset_path": ".."}, "wants the data set .."),
        ({"dataset_path": "/etc"}, "wants the data set /etc"),
    ],
)
def test_rows_from_anywhere_else_are_refused(folder: Folder, config: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said) as refused:
        rows_of("own", config, folder)

    assert refused.value.advice


def test_a_folder_is_taken_as_a_hub_or_as_save_to_disk_lays_it_out(folder: Folder) -> None:
    hub, saved = folder.path / "allenai" / "ai2_arc", folder.path / "saved"
    hub.mkdir(parents=True)
    saved.mkdir()
    (saved / "dataset_dict.json").write_text("{}")
    config = {
        "dataset_path": "allenai/ai2_arc",
        "dataset_name": "ARC-Easy",
        "dataset_kwargs": {"trust_remote_code": True},
    }
    found = rows_of("own", config, folder)

    assert (found.folder, found.name, found.saved) == (hub, "ARC-Easy", False)
    assert rows_of("own", {"dataset_path": "saved"}, folder).saved


def test_a_link_in_a_folder_of_rows_is_not_followed_out_of_it(folder: Folder, tmp_path: Path) -> None:
    (folder.path / "rows").mkdir()
    (tmp_path / "secret.jsonl").write_text("{}\n")
    (folder.path / "rows" / "test.jsonl").symlink_to(tmp_path / "secret.jsonl")

    with pytest.raises(DataError, match=r"reads test\.jsonl, a link out of pvc://claim/tasks"):
        rows_of("own", {"dataset_path": "rows"}, folder)


def test_the_digest_of_rows_goes_by_names_and_content_and_not_by_what_a_download_leaves(folder: Folder) -> None:
    rows = folder.path / "rows"
    (rows / ".cache").mkdir(parents=True)
    for name, text in (("a.jsonl", "1"), ("b.jsonl", "2"), (".cache/when", "now"), (".gitattributes", "x")):
        (rows / name).write_text(text)
    files = Rows(folder=rows).all_files()
    digest = digest_of(folder.path, files)

    assert [Path(file).name for file in files] == ["a.jsonl", "b.jsonl"]
    digest_of.cache_clear()
    (rows / ".cache" / "when").write_text("later")
    assert digest_of(folder.path, Rows(folder=rows).all_files()) == digest
    digest_of.cache_clear()
    (rows / "b.jsonl").write_text("3")
    assert digest_of(folder.path, files) != digest
    digest_of.cache_clear()
    (rows / "b.jsonl").rename(rows / "c.jsonl")
    (rows / "c.jsonl").write_text("2")
    assert digest_of(folder.path, Rows(folder=rows).all_files()) != digest
    by_split = Rows(format="json", files={"train": (files[1], files[0]), "test": (files[0],)})
    assert by_split.all_files() == files


def test_names_that_are_like_an_unknown_one_are_told() -> None:
    error = unknown("arc_esy", ["arc_easy", "arc_challenge", "mmlu"], "pvc://claim/tasks")

    assert error.reason == "TaskNotFound"
    assert (
        error.message
        == "Neither pvc://claim/tasks nor lm-evaluation-harness has a task or group arc_esy; there are arc_easy."
    )
    assert "there are" not in unknown("zzz", ["arc_easy"], "pvc://claim/tasks").message
