"""model-card.md: the measurements as a section of a model card, in Markdown, to be put where the model is published.

The card in the model's own folder is covered by the model's digest, so it cannot grow by what is measured later.
Not here: what was measured (`report.py`), and whether it is good enough (the job's status).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

_MARKS: Final = re.compile(r"([\\`*_{}\[\]#|~!])")


def section(report: Mapping[str, Any]) -> str:
    """The section, which ends with a line break."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    job, models = report["job"], {one["role"]: one for one in report["models"]}
    yield "## Evaluation"
    yield ""
    yield (
        f"Of the model with digest `{models['Candidate']['digest']}`, by job {_text(job['namespace'])}/{_text(job['name'])};"
        f" in parentheses {report['intervals']['confidencePercent']} percent intervals."
    )
    yield ""
    scores = [one for one in report["scores"] if one["role"] == "Candidate"]
    yield from _table(
        ("suite", "metric", "slice", "value", "examples", "better when"),
        ([one["suite"], one["metric"], _part(one), _number(one, "value"), one["n"], _better(one)] for one in scores),
    )
    if report["comparisons"]:
        yield ""
        yield "Compared with other models in pairs of examples (this model's minus the other's):"
        yield ""
        rows = report["comparisons"]
        yield from _table(
            ("suite", "metric", "slice", "against", "difference", "examples"),
            (
                [one["suite"], one["metric"], _part(one), one["against"], _number(one, "difference"), one["n"]]
                for one in rows
            ),
        )
    said = [f"{one['what']} is missing: {one['why']}." for one in report["missing"]]
    said += [note for suite in report["suites"] for note in suite["notes"]]
    if said:
        yield ""
        yield from (f"- {_text(one)}" for one in said)
    yield ""
    yield "Measured on:"
    yield ""
    yield from (
        f"- {_text(suite['name'])}: {suite['chosen']} of {suite['rows']} rows, `{suite['datasetDigest']}`"
        for suite in report["suites"]
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    yield from (f"| {' | '.join(_text(str(cell)) for cell in row)} |" for row in rows)


def _number(one: Mapping[str, Any], name: str) -> str:
    return f"{one[name]:.4g} ({one['low']:.4g} to {one['high']:.4g})"


def _better(one: Mapping[str, Any]) -> str:
    return "lower" if one["direction"] == "LowerIsBetter" else "higher"


def _part(one: Mapping[str, Any]) -> str:
    return f"{one['slice']['field']} = {one['slice']['value']}" if one["slice"] else ""


def _text(said: str) -> str:
    """What a row of data says is text: no mark-up, no HTML, no line of its own."""
    plain = "".join(sign if sign.isprintable() else " " for sign in said)
    return _MARKS.sub(r"\\\1", plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
