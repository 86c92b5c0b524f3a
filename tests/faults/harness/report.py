"""Collects what each fault came to; the rows become `build/faults.json` and the table in docs/reliability.md."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[3]
FAULTS = CHECKOUT / "build" / "faults.json"  # of the whole sweep
PART = CHECKOUT / "build" / "faults-part.json"
PAGE = CHECKOUT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: written by make test-faults -->", "<!-- end of faults -->"


@dataclass
class Row:
    """One fault: at how many points it was tried, how many of them no story reached, how often something was wrong, how
    long the worst recovery took."""

    fault: str
    points: int = 0
    violations: int = 0
    worst: float | None = None
    missed: int = 0

    def add(self, points: int, violations: int, worst: float | None, missed: int = 0) -> None:
        """Counts are summed, of the recoveries the worst is kept."""
        self.points += points
        self.violations += violations
        self.missed += missed
        if worst is not None:
            self.worst = max(self.worst or 0.0, worst)

    def document(self) -> dict[str, Any]:
        worst = None if self.worst is None else round(self.worst, 1)
        return {
            "fault": self.fault,
            "points": self.points,
            "met": self.points - self.missed,
            "violations": self.violations,
            "worstRecoverySeconds": worst,
        }


Told = dict[str, dict[str, Row]]  # by test and fault: a test that is run again tells anew what it had told
_told: Told = {}
_lines: list[str] = []
_lock = threading.Lock()


def record(
    fault: str, points: int, violations: int, worst_recovery_seconds: float | None = None, missed: int = 0
) -> None:
    """What the running test found of a fault. `missed` are those of the points that no story reached."""
    test = os.environ["PYTEST_CURRENT_TEST"].rsplit(" ", 1)[0]
    with _lock:
        _told.setdefault(test, {}).setdefault(fault, Row(fault)).add(points, violations, worst_recovery_seconds, missed)


def detail(fault: str, point: str, met: bool, recovery_seconds: float, violations: int) -> None:
    """One line of build/faults-points.txt: where the slow ones are."""
    fate = f"{violations} violations" if violations else "as without a fault" if met else "not reached"
    with _lock:
        _lines.append(f"{recovery_seconds:7.1f} s  {fault.split()[0]} {point}: {fate}")


def rows(told: Told) -> list[dict[str, Any]]:
    """All tests together, in the order of the faults' names: R2 before R10."""
    found: dict[str, Row] = {}
    for by_fault in told.values():
        for row in by_fault.values():
            found.setdefault(row.fault, Row(row.fault)).add(row.points, row.violations, row.worst, row.missed)
    return [row.document() for row in sorted(found.values(), key=lambda row: _order(row.fault))]


def write(path: Path) -> None:
    """What was found, to `path`, and test by test to `path`-tests: so a part that is run again takes its old place only."""
    if not _told:
        return
    by_test = path.with_name(f"{path.stem}-tests.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    with by_test.with_suffix(".lock").open("w") as lock:  # the other process writes, too
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = _read(by_test) | _told
        by_test.write_text(
            json.dumps({test: [asdict(row) for row in told[test].values()] for test in sorted(told)}, indent=1)
        )
        path.write_text(json.dumps(rows(told), indent=2) + "\n")
    if _lines:
        path.with_name("faults-points.txt").write_text("\n".join(sorted(_lines, reverse=True)) + "\n")


def _read(by_test: Path) -> Told:
    kept = json.loads(by_test.read_text()) if by_test.exists() else {}
    return {test: {row["fault"]: Row(**row) for row in found} for test, found in kept.items()}


def _order(fault: str) -> tuple[int, str]:
    digits = fault.removeprefix("R").split(" ")[0].split(":")[0]
    return (int(digits) if digits.isdigit() else 99, fault)


def table(found: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| fault | points | met | violations | worst recovery |", "|---|---:|---:|---:|---:|"]
    for row in found:
        worst = row["worstRecoverySeconds"]
        seconds = "" if worst is None else f"{worst:.1f} s"
        lines.append(f"| {row['fault']} | {row['points']:,} | {row['met']:,} | {row['violations']} | {seconds} |")
    return "\n".join(lines)


def publish() -> None:
    """The table of the last whole sweep into docs/reliability.md."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    tail = rest.partition(END)[2]
    found = json.loads(FAULTS.read_text())
    PAGE.write_text(f"{head}{BEGIN}\n\n{table(found)}\n\n{END}{tail}")
    print(table(found))


if __name__ == "__main__":
    if sys.argv[1:] == ["part"]:
        print(table(json.loads(PART.read_text())))
    else:
        publish()
