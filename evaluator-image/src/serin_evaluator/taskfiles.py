"""What the YAML files of a benchmark's tasks may say, and where the data that they name lie: read without running any of it.

lm-evaluation-harness runs Python that lies beside a YAML file, and fetches data sets from a hub. Here both are refused: the
volume belongs to those whose model is measured, and the evaluator has no way out. Not here: the harness itself (`benchmarks.py`).
"""

import difflib
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from serin_evaluator.errors import DataError

FORMATS: Final = frozenset({"arrow", "csv", "json", "parquet", "text"})
"""Values of `dataset_path` that mean files of this format, named in `dataset_kwargs.data_files`."""
_READING: Final = frozenset({"column_names", "delimiter", "field", "quotechar", "sep"})
"""What `dataset_kwargs` may say of how files are read."""
_OF_A_HUB: Final = frozenset({"revision", "token", "trust_remote_code", "verification_mode"})
"""What it may say that means nothing to files on a volume."""
_OF_THE_PACKAGE: Final = re.compile(
    r"^lm_eval\.tasks\.(?P<module>[a-z0-9][A-Za-z0-9_]*(\.[a-z0-9][A-Za-z0-9_]*)+)\.[A-Za-z]\w*$"
)
_CODE: Final = frozenset({"class", "custom_dataset", "unsafe_code", "use_prompt"})
"""Fields of a task that name code, or allow it."""


def refuse(task: str, what: str, advice: str, reason: str = "TaskInvalid") -> DataError:
    """An error that names the task."""
    return DataError(reason, f"The task {task} {what}.", advice)


@dataclass(frozen=True)
class Folder:
    """A benchmark's folder, under the name that a user knows it by, and the harness's own tasks."""

    uri: str
    path: Path
    package: Path | None

    def holds(self, path: Path) -> bool:
        """Whether a file lies in it, wherever links lead."""
        return path.resolve().is_relative_to(self.path.resolve())


def check_yaml(task: str, path: Path, folder: Folder) -> None:
    """Refuse a task's file, or one that it includes, when it would run what lies on the volume."""
    left, seen = [path.resolve()], set[Path]()
    while left:
        file = left.pop()
        if file in seen or (folder.package is not None and file.is_relative_to(folder.package)):
            continue  # the harness's own files are part of the image
        seen.add(file)
        if not folder.holds(file):
            raise refuse(
                task, f"includes {file.name}, which is not below {folder.uri}", "Include files of that folder."
            )
        try:
            root = yaml.compose(file.read_text("utf-8"), Loader=yaml.SafeLoader)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise refuse(task, f"cannot be read: {file.name}: {error}", "Correct the file.") from error
        for key, node in _nodes(root):
            _check_node(task, file, key, node, folder)
            if key == "include" and isinstance(node, yaml.ScalarNode):
                left.append((file.parent / str(node.value)).resolve())


def _nodes(root: yaml.Node | None) -> Iterator[tuple[str, yaml.Node]]:
    """All nodes, each with the key that it stands under."""
    left: list[tuple[str, yaml.Node]] = [("", root)] if root is not None else []
    seen: set[int] = set()
    while left:
        key, node = left.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield key, node
        if isinstance(node, yaml.SequenceNode):
            left += [(key, one) for one in node.value]
        elif isinstance(node, yaml.MappingNode):
            left += [(str(name.value), one) for name, one in node.value]


def _check_node(task: str, file: Path, key: str, node: yaml.Node, folder: Folder) -> None:
    where = f"line {node.start_mark.line + 1} of {file.name}"
    if key in _CODE:
        raise refuse(
            task,
            f"has {key} ({where}), and no code but the image's is run here",
            "Write the task with templates, filters and metrics of the harness alone.",
        )
    if node.tag == "!function":
        if not _is_of_the_package(str(node.value), file, folder):
            raise refuse(
                task,
                f"names the function {node.value} ({where}), and no code but the image's is run here",
                "Write it as a template (doc_to_text and the like are Jinja), prepare the rows beforehand, or name a function"
                " of lm_eval.tasks.",
            )
    elif not node.tag.startswith("tag:yaml.org,2002:") or node.tag.startswith("tag:yaml.org,2002:python"):
        raise refuse(task, f"has the tag {node.tag} ({where})", "Use plain YAML.")


def _is_of_the_package(name: str, file: Path, folder: Folder) -> bool:
    """Whether it is a function of one of the harness's own tasks, and no file beside the YAML takes its place."""
    found = _OF_THE_PACKAGE.match(name)
    if found is None or folder.package is None:
        return False
    module = found["module"].replace(".", "/") + ".py"
    beside = file.parent / "lm_eval" / "tasks" / module
    return (folder.package / module).is_file() and not beside.exists()


@cache
def digest_of(folder: Path, files: tuple[str, ...]) -> str:
    """Of files, by their names within the folder and what they hold. Many tasks may share them."""
    content = hashlib.sha256()
    for file in files:
        with Path(file).open("rb") as opened:
            sha = hashlib.file_digest(opened, "sha256").hexdigest()
        content.update(f"{sha}  {Path(file).relative_to(folder)}\n".encode())
    return "sha256:" + content.hexdigest()


@dataclass(frozen=True)
class Rows:
    """Where a task's rows lie: files of a format by split, or a folder as a hub or `save_to_disk` lays it out."""

    format: str | None = None
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folder: Path | None = None
    name: str | None = None
    """The configuration within the folder (`dataset_name`)."""
    reading: Mapping[str, Any] = field(default_factory=dict)

    @property
    def saved(self) -> bool:
        """Whether the folder is what `save_to_disk` leaves."""
        return self.folder is not None and any(
            (self.folder / one).exists() for one in ("dataset_dict.json", "state.json")
        )

    def all_files(self) -> tuple[str, ...]:
        """All files that hold them. What tools leave beside a download (`.cache`) is none of them."""
        if self.folder is None:
            return tuple(sorted({file for of in self.files.values() for file in of}))
        found = [one for one in self.folder.rglob("*") if one.is_file()]
        hidden = {one for one in found if any(part[0] == "." for part in one.relative_to(self.folder).parts)}
        return tuple(sorted(str(one) for one in set(found) - hidden))


def rows_of(task: str, config: Mapping[str, Any], folder: Folder) -> Rows:
    """Where the rows that a task's config names lie; what is not below the folder is refused."""
    named = config.get("dataset_path")
    if not isinstance(named, str) or not named:
        raise refuse(task, "has no dataset_path", "Name a format such as json, or a folder below the benchmark's uri.")
    kwargs = {key: value for key, value in (config.get("dataset_kwargs") or {}).items() if key not in _OF_A_HUB}
    if named in FORMATS:
        reading = {key: value for key, value in kwargs.items() if key != "data_files"}
        if reading.keys() - _READING:
            unknown = min(reading.keys() - _READING)
            raise refuse(task, f"has dataset_kwargs.{unknown}, which is not known here", "Leave it out.")
        return Rows(format=named, files=_files(task, kwargs.get("data_files"), folder), reading=reading)
    if kwargs:
        raise refuse(
            task,
            f"has dataset_kwargs.{min(kwargs)} for the folder {named}",
            f"Name a format in dataset_path ({', '.join(sorted(FORMATS))}) and the files in dataset_kwargs.data_files.",
        )
    found = folder.path / named
    if "://" in named or not folder.holds(found) or not found.is_dir():
        raise refuse(
            task,
            f"wants the data set {named} (dataset_path), which is not at {folder.uri.rstrip('/')}/{named}; nothing is fetched"
            " from a hub",
            f"Put it there: hf download --repo-type dataset {named} --local-dir <the folder>/{named}; or have dataset_path name"
            " files on the volume.",
            reason="DatasetNotFound",
        )
    leading_out = next((one for one in found.rglob("*") if one.is_symlink() and not folder.holds(one)), None)
    if leading_out is not None:
        raise refuse(task, f"reads {leading_out.name}, a link out of {folder.uri}", "Copy the file itself.")
    return Rows(folder=found, name=config.get("dataset_name"))


def _files(task: str, wanted: Any, folder: Folder) -> dict[str, tuple[str, ...]]:
    by_split = wanted if isinstance(wanted, Mapping) else {"train": wanted}
    found: dict[str, tuple[str, ...]] = {}
    for split, named in by_split.items():
        patterns = [named] if isinstance(named, str) else named
        if not isinstance(patterns, list) or not patterns or not all(isinstance(one, str) and one for one in patterns):
            raise refuse(
                task,
                "names no files in dataset_kwargs.data_files",
                "Name them, such as data_files: {test: questions.jsonl}.",
            )
        found[str(split)] = tuple(str(file) for pattern in patterns for file in _matching(task, pattern, folder))
    return found


def _matching(task: str, pattern: str, folder: Folder) -> list[Path]:
    """The files of a name or pattern, which is seen from the benchmark's folder."""
    inside = pattern.removeprefix(f"{folder.path}/")
    try:
        found = sorted(folder.path.glob(inside)) if "://" not in inside else []
    except (NotImplementedError, ValueError):
        found = []  # an absolute path of elsewhere
    files = [one for one in found if one.is_file()]
    if not files:
        raise refuse(
            task,
            f"wants the file {pattern} (dataset_kwargs.data_files), which is not at {folder.uri.rstrip('/')}/{inside}",
            "Put it there; names are seen from the benchmark's uri.",
            reason="DatasetNotFound",
        )
    outside = next((one for one in files if not folder.holds(one)), None)
    if outside is not None:
        raise refuse(task, f"reads {pattern}, which leads out of {folder.uri}", "Name files below the benchmark's uri.")
    return files


def unknown(task: str, known: Iterable[str], uri: str) -> DataError:
    """A name that neither the volume nor the harness has, with those that are like it."""
    near = difflib.get_close_matches(task, list(known), n=5, cutoff=0.6)
    like = f"; there are {', '.join(near)}" if near else ""
    return DataError(
        "TaskNotFound",
        f"Neither {uri} nor lm-evaluation-harness has a task or group {task}{like}.",
        "Correct the name in benchmark.tasks, or put the task's YAML file into that folder.",
    )
