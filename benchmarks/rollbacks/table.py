"""The figures of all trials: medians, ratios to the peers', and the printed table."""

from __future__ import annotations

import statistics
from typing import Any

from rollbacks.systems import Row
from rollbacks.trials import Trial

Json = dict[str, Any]
# What issue and research page ask for: ours / theirs at most, by row and system.
AIMS = {
    ("matched", "Argo Rollouts"): 1.0,
    ("matched", "Flagger"): 0.6,
    ("floor", "Argo Rollouts"): 1.0,
    ("floor", "Flagger"): 0.2,
    ("documented", "Argo Rollouts"): 0.05,
    ("documented", "Flagger"): 0.05,
}
HARD_P99 = 5.0  # seconds


def rows(trials: list[Trial]) -> list[Json]:
    """One for each system and pace; seconds from the breach to weight 0."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.row, trial.system), []).append(trial)
    return [
        {
            "setting": row,
            "system": system,
            "intervalSeconds": found[0].pace.interval,
            "failuresNeeded": found[0].pace.failures,
            "trials": len(found),
            "medianSeconds": round(statistics.median(t.seconds for t in found), 3),
            "meanSeconds": round(statistics.fmean(t.seconds for t in found), 3),
            "p99Seconds": round(p99([t.seconds for t in found]), 3),
            "maxSeconds": round(max(t.seconds for t in found), 3),
        }
        for (row, system), found in groups.items()
    ]


def p99(seconds: list[float]) -> float:
    """The smallest value that 99 percent do not exceed."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, -(-99 * len(ordered) // 100) - 1)]


def ratios(found: list[Json]) -> list[Json]:
    """Ours / theirs, of medians."""
    medians = {(row["setting"], row["system"]): row["medianSeconds"] for row in found}
    return [
        {"setting": setting, "against": peer, "ratio": round(medians[setting, "Serin"] / theirs, 3),
         "aim": AIMS[setting, peer]}
        for (setting, peer), theirs in medians.items()
        if peer != "Serin" and setting in set(Row)
    ]  # fmt: skip


def text(found: list[Json], compared: list[Json]) -> str:
    """For a terminal."""
    head = f"{'setting':<14}{'system':<15}{'looks every':>12}{'bad looks':>11}{'trials':>8}{'median':>10}{'p99':>10}{'max':>10}"
    lines = [
        f"{row['setting']:<14}{row['system']:<15}{row['intervalSeconds']:>10} s{row['failuresNeeded']:>11}"
        f"{row['trials']:>8}{row['medianSeconds']:>8.2f} s{row['p99Seconds']:>8.2f} s{row['maxSeconds']:>8.2f} s"
        for row in found
    ]
    told = [
        f"{row['setting']:<12} Serin / {row['against']:<14} {row['ratio']:.3f} (aim: at most {row['aim']})"
        for row in compared
    ]
    return "\n".join(["seconds from the breach to weight 0, by the apiserver's audit log", head, *lines, "", *told])
