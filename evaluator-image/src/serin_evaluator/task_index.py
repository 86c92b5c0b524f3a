"""Which file holds which task, group or tag of lm-evaluation-harness: found by reading lines, since its 14,000 YAML files take half a
minute to parse. Only files that are asked for are parsed, by the harness itself.

Pure reading. Not here: what the files say (`taskfiles.py`), and the tasks that are made of them (`benchmarks.py`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

_SAYS: Final = re.compile(
    r"^[\"']?(?:task|group|tag)[\"']?[ \t]*:[ \t]*(?P<named>.*)$|^[ \t]*-[ \t]+(?P<listed>.*)$"
    r"|^[\"']?include[\"']?[ \t]*:[ \t]*[\"']?(?P<included>[^\s\"']+)",
    re.MULTILINE,
)
_NAMES: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_OWN: Final = re.compile(
    r"^[\"']?(?:task|group)[\"']?[ \t]*:[ \t]*[\"']?([A-Za-z0-9][A-Za-z0-9_.+-]*)[\"']?[ \t]*$", re.MULTILINE
)


class Mentions:
    """The files below a folder by the names that they mention."""

    def __init__(self, folder: Path) -> None:
        self.names: set[str] = set()
        """Of tasks and groups."""
        self._said: dict[Path, tuple[set[str], list[Path]]] = {}
        self._files: dict[str, list[Path]] = {}
        for path in sorted(folder.rglob("*.yaml")):
            for name in self._of(path, set()):
                self._files.setdefault(name, []).append(path)

    def _of(self, path: Path, seen: set[Path]) -> set[str]:
        """The names that a file mentions, and those of the files that it includes."""
        if path in seen:
            return set()
        names, includes = self._read(path)
        return names.union(*(self._of(one, seen | {path}) for one in includes))

    def _read(self, path: Path) -> tuple[set[str], list[Path]]:
        if path not in self._said:
            names: set[str] = set()
            includes: list[Path] = []
            try:
                text = path.read_text("utf-8")
            except (OSError, UnicodeDecodeError):
                text = ""
            for found in _SAYS.finditer(text):
                names.update(_NAMES.findall(found["named"] or found["listed"] or ""))
                if found["included"]:
                    includes.append(path.parent / found["included"])
            self.names.update(_OWN.findall(text))
            self._said[path] = names, includes
        return self._said[path]

    def files(self, name: str) -> list[Path]:
        """Those that may say what a name is."""
        return self._files.get(name, [])


def index_of(wanted: Iterable[str], own: Mapping[str, Any], package: Mentions) -> tuple[dict[str, Any], str | None]:
    """The harness's index of the wanted names and of all that groups of them are made of, and the first that is nowhere."""
    from lm_eval.tasks._index import TaskIndex
    from lm_eval.tasks._yaml_loader import load_yaml

    found: dict[str, Any] = {}
    parsed: set[Path] = set()
    while True:
        index = {**found, **own}
        missing = list(missing_in(wanted, index))
        files = [path for name in missing for path in package.files(name) if path not in parsed]
        if not missing or not files:
            return index, next(iter(missing), None)
        for path in sorted(set(files)):
            parsed.add(path)
            try:
                TaskIndex.process_cfg(load_yaml(path, resolve_func=False), path, found)
            except (ValueError, OSError):  # as the harness has it: what is no task is passed over
                continue


def missing_in(wanted: Iterable[str], index: Mapping[str, Any]) -> Iterator[str]:
    """Names, also those that groups are made of, that an index does not have."""
    left, seen = list(wanted), set[str]()
    while left:
        name = left.pop(0)
        if name in seen:
            continue
        seen.add(name)
        entry = index.get(name)
        if entry is None:
            yield name
            continue
        left += _members(entry.cfg.get("task") if entry.cfg else None)


def _members(listed: Any) -> Iterator[str]:
    """Of a group: names, tasks with changes, and groups within."""
    for member in listed if isinstance(listed, list) else ():
        if isinstance(member, str):
            yield member
        elif isinstance(member, Mapping) and isinstance(member.get("task"), list):
            yield from _members(member["task"])
        elif isinstance(member, Mapping):
            yield str(member.get("task") or member.get("group"))
