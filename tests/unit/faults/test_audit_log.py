"""The audit log is read as it grows, by namespace, and what is forgotten stays so."""

import json
from pathlib import Path

from faults.harness.plane import AuditLog


def write(log: Path, *namespaces: str, cut: int = 0) -> None:
    """One event each; of the last line so many bytes are still to come."""
    lines = "".join(json.dumps({"objectRef": {"namespace": namespace}}) + "\n" for namespace in namespaces)
    with log.open("a") as file:
        file.write(lines[: len(lines) - cut])


def test_events_are_counted_by_namespace_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = AuditLog(path)
    write(path, "a", "b", "a")
    assert (log.count("a"), log.count("b"), log.count("c")) == (2, 1, 0)
    write(path, "b")
    assert (log.count("a"), log.count("b")) == (2, 2)


def test_half_a_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = AuditLog(path)
    write(path, "a", cut=9)
    assert log.count("a") == 0
    with path.open("a") as file:
        file.write((json.dumps({"objectRef": {"namespace": "a"}}) + "\n")[-9:])
    assert log.count("a") == 1


def test_what_a_story_that_is_over_still_does_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = AuditLog(path)
    write(path, "a", "b")
    assert log.count("a") == 1
    log.forget("a")
    write(path, "a", "a", "b")
    assert (log.of("a"), log.count("b")) == ([], 2)
