"""The benchmark's rows as a table in Markdown and as a picture."""

from collections.abc import Sequence
from math import log10
from typing import Any, Final

Row = dict[str, Any]

_COLOURS: Final = ("#0b7a75", "#c8553d", "#e09f3e", "#7b5ea7", "#4a6fa5", "#555555")
_CEILING: Final = 1740.0


def table(rows: Sequence[Row]) -> str:
    lines = [
        "| traffic | fault | detector | false rollbacks | rolled back | passed | requests, median / p95 | seconds, p95 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['traffic']} | {row['fault']} | {row['detector']} | {row['falseRollbackPercent']:g} % |"
        f" {row['rolledBackPercent']:g} % | {row['passedPercent']:g} % |"
        f" {_number(row, 'medianRequests')} / {_number(row, 'p95Requests')} | {_number(row, 'p95Seconds')} |"
        for row in sorted(rows, key=lambda row: (_order(rows, row, "traffic"), _order(rows, row, "fault")))
    ]
    return "\n".join(lines) + "\n"


def _order(rows: Sequence[Row], row: Row, field: str) -> int:
    return list(dict.fromkeys(each[field] for each in rows)).index(row[field])


def _number(row: Row, field: str) -> str:
    if row["fault"] == "none":
        return ""
    return "not within 30 min" if row[field] is None else f"{row[field]:.0f}"


def drawn(rows: Sequence[Row], fault: str = "latency-2x") -> str:
    """False rollbacks (across) against the time to find a doubled latency (up), a panel for each traffic: the best corner
    is the lower left."""
    traffics = list(dict.fromkeys(row["traffic"] for row in rows))
    detectors = list(dict.fromkeys(row["detector"] for row in rows))
    across = 3
    height = 250 * -(-len(traffics) // across) + 40 + 18 * len(detectors)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {300 * across} {height}" font-family="sans-serif"'
        ' font-size="11"><rect width="100%" height="100%" fill="white"/>'
    ]
    for place, traffic in enumerate(traffics):
        x, y = 300 * (place % across) + 45, 250 * (place // across) + 30
        parts.append(_panel(x, y, traffic))
        parts += [
            _point(x, y, row, _COLOURS[detectors.index(row["detector"]) % len(_COLOURS)])
            for row in rows
            if row["traffic"] == traffic and row["fault"] == fault
        ]
    foot = 250 * -(-len(traffics) // across) + 30
    for line, name in enumerate(detectors):
        colour = _COLOURS[line % len(_COLOURS)]
        parts.append(f'<circle cx="52" cy="{foot + 18 * line}" r="5" fill="{colour}"/>')
        parts.append(f'<text x="64" y="{foot + 18 * line + 4}">{name}</text>')
    return "".join([*parts, "</svg>\n"])


def _panel(x: int, y: int, traffic: str) -> str:
    grid = "".join(
        f'<line x1="{x}" x2="{x + 230}" y1="{y + _up(s)}" y2="{y + _up(s)}" stroke="#ddd"/>'
        f'<text x="{x - 6}" y="{y + _up(s) + 4}" text-anchor="end">{s}</text>'
        for s in (5, 60, 600)
    )
    ticks = "".join(
        f'<text x="{x + _right(percent)}" y="{y + 182}" text-anchor="middle">{percent}</text>'
        for percent in (0, 1, 10, 100)
    )
    limit = f'<line x1="{x + _right(1)}" x2="{x + _right(1)}" y1="{y}" y2="{y + 168}" stroke="#0b7a75" stroke-dasharray="3"/>'
    frame = f'<rect x="{x}" y="{y}" width="230" height="168" fill="none" stroke="#999"/>'
    title = f'<text x="{x}" y="{y - 8}" font-weight="bold">{traffic}</text>'
    below = f'<text x="{x}" y="{y + 198}" fill="#555">false rollbacks, % (across); 2x found, p95 s (up)</text>'
    return grid + ticks + limit + frame + title + below


def _point(x: int, y: int, row: Row, colour: str) -> str:
    seconds = row["p95Seconds"] if row["p95Seconds"] is not None else _CEILING
    missed = "" if row["p95Seconds"] is not None else ", not found in 5 % or more within 30 min"
    about = f"{row['detector']}: {row['falseRollbackPercent']:g} % false, p95 {seconds:.0f} s{missed}"
    fill = colour if row["p95Seconds"] is not None else "none"
    return (
        f'<circle cx="{x + _right(row["falseRollbackPercent"]):.1f}" cy="{y + _up(seconds):.1f}" r="5" fill="{fill}"'
        f' stroke="{colour}" stroke-width="1.5"><title>{about}</title></circle>'
    )


def _right(percent: float) -> float:
    """Log scale from 0.1 percent (and 0) to 100."""
    return 10 + 210 * (log10(max(percent, 0.1)) + 1) / 3


def _up(seconds: float) -> float:
    """Log scale, 5 s at the bottom."""
    return 158 - 148 * (log10(seconds) - log10(5)) / (log10(_CEILING) - log10(5))
