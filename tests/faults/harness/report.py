"""Collects what each fault came to; the rows become `build/faults.json` and the table in docs/reliability.md."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[3]
FAULTS = CHECKOUT / "build" / "faults.json"  # of the whole sweep
PART = CHECKOUT / "build" / "faults-part.json"
PAGE = CHECKOUT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: written by make test-faults -->", "<!-- end of faults -->"


@dataclass
class Row:
    """One fault: at how many points it was tried, how often something was wrong, how long the worst recovery took."""

    fault: str
    points: int = 0
    violations: int = 0
    worst_recovery_seconds: float | None = None

    def document(self) -> dict[str, Any]:
        worst = self.worst_recovery_seconds
        return {
            "fault": self.fault,
            "points": self.points,
            "violations": self.violations,
            "worstRecoverySeconds": None if worst is None else round(worst, 1),
        }


_rows: dict[str, Row] = {}
_lines: list[str] = []
_lock = threading.Lock()


def record(fault: str, points: int, violations: int, worst_recovery_seconds: float | None = None) -> None:
    """Adds to the fault's row: points and violations are summed, of the recoveries the worst is kept."""
    with _lock:
        row = _rows.setdefault(fault, Row(fault))
        row.points += points
        row.violations += violations
        if worst_recovery_seconds is not None:
            row.worst_recovery_seconds = max(row.worst_recovery_seconds or 0.0, worst_recovery_seconds)


def detail(fault: str, point: str, met: bool, recovery_seconds: float, violations: int) -> None:
    """One line of build/faults-points.txt: where the slow ones are."""
    fate = f"{violations} violations" if violations else "as without a fault" if met else "not reached"
    with _lock:
        _lines.append(f"{recovery_seconds:7.1f} s  {fault.split()[0]} {point}: {fate}")


def rows() -> list[dict[str, Any]]:
    """In the order of their names: R2 before R10."""
    return [row.document() for row in sorted(_rows.values(), key=lambda row: _order(row.fault))]


def write(path: Path) -> None:
    """What this run found; a run of a part of the tests leaves the other rows of the file as they are."""
    if not _rows:
        return
    kept = json.loads(path.read_text()) if path.exists() else []
    found = {row["fault"]: row for row in kept} | {row["fault"]: row for row in rows()}
    path.parent.mkdir(parents=True, exist_ok=True)
    ordered = sorted(found.values(), key=lambda row: _order(row["fault"]))
    path.write_text(json.dumps(ordered, indent=2) + "\n")
    if _lines:
        path.with_name("faults-points.txt").write_text("\n".join(sorted(_lines, reverse=True)) + "\n")


def _order(fault: str) -> tuple[int, str]:
    digits = fault.removeprefix("R").split(" ")[0].split(":")[0]
    return (int(digits) if digits.isdigit() else 99, fault)


def table(found: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| fault | points | violations | worst recovery |", "|---|---:|---:|---:|"]
    for row in found:
        worst = row["worstRecoverySeconds"]
        seconds = "" if worst is None else f"{worst:.1f} s"
        lines.append(f"| {row['fault']} | {row['points']:,} | {row['violations']} | {seconds} |")
    return "\n".join(lines)


def publish() -> None:
    """The table of the last whole sweep into docs/reliability.md."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    tail = rest.partition(END)[2]
    found = json.loads(FAULTS.read_text())
    PAGE.write_text(f"{head}{BEGIN}\n\n{table(found)}\n\n{END}{tail}")
    print(table(found))


if __name__ == "__main__":
    publish()
