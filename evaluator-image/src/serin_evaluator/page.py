"""report.html: the report for people, in one file that needs no network and runs no script.

Everything that comes from data, models or names is escaped; the page allows itself nothing but its own style. Not here:
what is in the report (`report.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

Json = Mapping[str, Any]
_SHOWN_TEXT: Final = 1200
_NAME_LETTERS: Final = 16  # of a slice, beside its number of examples
_NAME_WIDTH: Final = 190  # that many of the widest usual letters
_STYLE: Final = """
:root{--bg:#fff;--fg:#1c2430;--soft:#5b6675;--line:#d9dee5;--panel:#f5f7fa;--Candidate:#1f6feb;--Incumbent:#8a6d00;
--Base:#6b7686;--good:#1a7f37;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--bg:#12161c;--fg:#e5e9ef;--soft:#9aa5b4;--line:#303844;--panel:#1a2029;
--Candidate:#6ea8ff;--Incumbent:#e0b93d;--Base:#95a1b2;--good:#56d364;--bad:#ff7b72}}
*{box-sizing:border-box}body{margin:0 auto;max-width:72rem;padding:1.5rem;background:var(--bg);color:var(--fg);
font:15px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}h1{font-size:1.5rem;margin:0 0 .25rem}h2{font-size:1.15rem;margin:2rem 0 .5rem}
h3{font-size:1rem;margin:1.25rem 0 .25rem}p{margin:.25rem 0}.soft{color:var(--soft)}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;overflow-wrap:break-word}th,td{text-align:left;padding:.4rem .6rem;border-bottom:1px solid var(--line);
vertical-align:top}th{font-weight:600;color:var(--soft)}.n{font-variant-numeric:tabular-nums;white-space:nowrap}
code,pre{font:13px/1.45 ui-monospace,monospace}code{overflow-wrap:anywhere}pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere}
.notes{background:var(--panel);border-left:4px solid var(--bad);padding:.6rem 1rem;margin:1rem 0}
.pair{display:grid;grid-template-columns:1fr;gap:.75rem;background:var(--panel);padding:.75rem;
margin:.5rem 0}@media (min-width:48rem){.pair{grid-template-columns:1fr 1fr}}.pair>div{min-width:0}
.pair>div>b{display:block;color:var(--soft);font-weight:600}.good{color:var(--good)}.bad{color:var(--bad)}
svg{display:block;max-width:100%;height:auto}td svg{min-width:11rem}svg text{fill:var(--soft);font:11px system-ui,sans-serif}
.Candidate{color:var(--Candidate)}.Incumbent{color:var(--Incumbent)}.Base{color:var(--Base)}
.figures{display:flex;flex-wrap:wrap;gap:1.5rem}figure{margin:0;max-width:100%}figcaption{color:var(--soft)}
"""


def page(report: Json) -> str:
    """The whole page."""
    job = report["job"]
    body = "".join(
        [
            f"<h1>Evaluation of {_text(job['namespace'])}/{_text(job['name'])}</h1>",
            f'<p class="soft">key <code>{_text(report["key"])}</code>, evaluator {_text(report["evaluatorVersion"])},'
            f" seed {report['seed']}. Intervals hold the truth in 95 of 100 cases. The evaluator measures; the gate's verdict"
            " is in the job's status.</p>",
            _notes(report),
            _models(report),
            _comparison(report),
            _slices(report),
            _reliability(report),
            _preferred(report),
            _regressions(report),
            _suites(report),
            _lineage(report),
        ]
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>{_text(job['name'])}: evaluation</title><style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


def _text(value: object) -> str:
    return escape(str(value), quote=True)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _range(one: Json, signed: bool = False) -> str:
    low, high = (f"{one[end]:+.4g}" if signed else _number(one[end]) for end in ("low", "high"))
    return f"[{low}, {high}]"


def _notes(report: Json) -> str:
    """What was asked for and could not be measured, and what was measured on less than it seems."""
    notes = [f"{missing['what']} is missing: {missing['why']}." for missing in report["missing"]]
    notes += [note for suite in report["suites"] for note in suite["notes"]]
    if not notes:
        return ""
    return '<div class="notes">' + "".join(f"<p>{_text(note)}</p>" for note in notes) + "</div>"


def _models(report: Json) -> str:
    rows = "".join(
        f'<tr><td class="{_text(model["role"])}"><b>{_text(model["role"])}</b></td><td><code>{_text(model["uri"])}</code></td>'
        f"<td><code>{_text(model['digest'])}</code></td></tr>"
        for model in report["models"]
    )
    return f'<h2>Models</h2><div class="scroll"><table>{rows}</table></div>'


def _comparison(report: Json) -> str:
    """Candidate beside the others, and the paired differences."""
    roles = [model["role"] for model in report["models"]]
    head = "".join(f'<th class="{_text(role)}">{_text(role)}</th>' for role in roles)
    rows = ""
    whole = [score for score in report["scores"] if not score["slice"]]
    for suite, metric in dict.fromkeys((score["suite"], score["metric"]) for score in whole):
        of = {one["role"]: one for one in whole if (one["suite"], one["metric"]) == (suite, metric)}
        first = next(iter(of.values()))
        arrow = "lower is better" if first["direction"] == "LowerIsBetter" else "higher is better"
        cells = "".join(f'<td class="n">{_cell(of.get(role))}</td>' for role in roles)
        apart = [_difference(one, first["direction"]) for one in report["comparisons"]
                 if (one["suite"], one["metric"], one["slice"]) == (suite, metric, None)]  # fmt: skip
        rows += (
            f'<tr><td><b>{_text(suite)}/{_text(metric)}</b><br><span class="soft">{_text(first["unit"])}; {arrow}</span></td>'
            f'{cells}<td>{_intervals(list(of.values()))}</td><td class="n">{"".join(apart) or "–"}</td></tr>'
        )
    return (
        '<h2>Candidate beside what it is compared with</h2><div class="scroll"><table><thead><tr><th>metric</th>'
        f"{head}<th>intervals</th><th>candidate minus other</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(score: Json | None) -> str:
    if score is None:
        return "–"
    return f'{_number(score["value"])}<br><span class="soft">{_range(score)}<br>n = {score["n"]}</span>'


def _difference(one: Json, direction: str) -> str:
    better = (one["high"] < 0) if direction == "LowerIsBetter" else (one["low"] > 0)
    worse = (one["low"] > 0) if direction == "LowerIsBetter" else (one["high"] < 0)
    shade = "good" if better else "bad" if worse else "soft"
    word = "better than" if better else "worse than" if worse else "within noise of"
    return (
        f'<p><span class="{shade}">{one["difference"]:+.4g} {word} {_text(one["against"])}</span><br>'
        f'<span class="soft">{_range(one, signed=True)}<br>n = {one["n"]}, {_text(one["method"])}</span></p>'
    )


def _intervals(scores: Sequence[Json], names: Sequence[str] = ()) -> str:
    """One line for each score: its interval, and a dot at its value, all on one scale."""
    width = 220
    low, high = min(one["low"] for one in scores), max(one["high"] for one in scores)
    span = (high - low) or 1.0
    left = 6 + (_NAME_WIDTH if names else 0)
    lines = ""
    for place, one in enumerate(scores):
        at = [left + (one[end] - low) / span * (width - 12) for end in ("low", "value", "high")]
        y = 10 + 16 * place
        name = f'<text x="0" y="{y + 4}">{_text(names[place])}</text>' if names else ""
        lines += (
            f'{name}<g class="{_text(one["role"])}" fill="currentColor" stroke="currentColor"><title>{_text(one["role"])}'
            f" {_number(one['value'])} {_range(one)}</title>"
            f'<line x1="{at[0]:.1f}" y1="{y}" x2="{at[2]:.1f}" y2="{y}" stroke-width="3"/>'
            f'<circle cx="{at[1]:.1f}" cy="{y}" r="4" stroke="none"/></g>'
        )
    height = 16 * len(scores) + 22
    ends = (
        f'<text x="{left}" y="{height - 5}">{_number(low)}</text>'
        f'<text x="{left + width - 12}" y="{height - 5}" text-anchor="end">{_number(high)}</text>'
    )
    total = left + width
    return f'<svg viewBox="0 0 {total} {height}" width="{total}" height="{height}" role="img">{lines}{ends}</svg>'


def _slices(report: Json) -> str:
    parts = [score for score in report["scores"] if score["slice"]]
    found = ""
    for suite, metric, field in dict.fromkeys((one["suite"], one["metric"], one["slice"]["field"]) for one in parts):
        of = [one for one in parts if (one["suite"], one["metric"], one["slice"]["field"]) == (suite, metric, field)]
        of.sort(key=lambda one: (one["slice"]["value"], one["role"] != "Candidate"))
        found += (
            f"<figure><figcaption>{_text(suite)}/{_text(metric)} by {_text(field)}</figcaption>"
            f"{_intervals(of, _slice_names(of))}</figure>"
        )
    return f'<h2>Slices</h2><div class="figures">{found}</div>' if found else ""


def _slice_names(scores: Sequence[Json]) -> list[str]:
    """The slice at the first model's line, and the other models below it."""
    names: list[str] = []
    for place, one in enumerate(scores):
        value = one["slice"]["value"]
        if place and scores[place - 1]["slice"]["value"] == value:
            names.append(f"\u2003{one['role']}")
        else:
            names.append(f"{_short(value)} (n = {one['n']})")
    return names


def _short(text: str) -> str:
    return text if len(text) <= _NAME_LETTERS else f"{text[: _NAME_LETTERS - 1]}…"


def _reliability(report: Json) -> str:
    figures = "".join(_diagram(one) for one in report["reliability"])
    if not figures:
        return ""
    told = '<p class="soft">How often the model is right, by how sure it is. On the line it is as sure as it should be.</p>'
    return f'<h2>Calibration</h2>{told}<div class="figures">{figures}</div>'


def _diagram(one: Json, size: int = 200) -> str:
    edge = 24

    def x(share: float) -> float:
        return edge + share * size

    def y(share: float) -> float:
        return edge + (1 - share) * size

    most = max(bin_["n"] for bin_ in one["bins"])
    dots = "".join(
        f'<circle cx="{x(bin_["confidence"]):.1f}" cy="{y(bin_["accuracy"]):.1f}" r="{2 + 6 * (bin_["n"] / most) ** 0.5:.1f}">'
        f"<title>{bin_['n']} examples: sure {bin_['confidence']:.2f}, right {bin_['accuracy']:.2f}</title></circle>"
        for bin_ in one["bins"]
    )
    whole = size + 2 * edge
    return (
        f"<figure><figcaption>{_text(one['suite'])}/{_text(one['metric'])}, {_text(one['role'])}</figcaption>"
        f'<svg viewBox="0 0 {whole} {whole}" width="{whole}" height="{whole}" role="img">'
        f'<g stroke="var(--line)" fill="none"><rect x="{edge}" y="{edge}" width="{size}" height="{size}"/>'
        f'<line x1="{edge}" y1="{edge + size}" x2="{edge + size}" y2="{edge}" stroke-dasharray="4 4"/></g>'
        f'<g class="{_text(one["role"])}" fill="currentColor">{dots}</g>'
        f'<text x="{edge}" y="{whole - 8}">0</text><text x="{edge + size}" y="{whole - 8}" text-anchor="end">sure: 1</text>'
        f'<text x="{edge}" y="{edge - 8}">right: 1</text></svg></figure>'
    )


def _preferred(report: Json) -> str:
    if not report["preferred"]:
        return ""
    rows = "".join(
        f"<tr><td><b>{_text(one['suite'])}/{_text(one['metric'])}</b></td><td>{_text(one['by'])}</td>"
        f'<td class="{_text(one["against"])}">{_text(one["against"])}</td><td class="n">{one["pairs"]}</td>'
        f'<td class="n">{one["scored"]}</td><td class="n">{one["same"]}</td><td class="n">{one["reversed"]}</td>'
        f'<td class="n">{_number(one["firstShare"])}</td><td class="n">{one["unreadable"] + one["refused"]}</td>'
        f'<td class="n">{one["waiting"]}</td><td class="n">{one["ratedBySeveral"]}</td>'
        f'<td class="n">{_number(one["agreement"])}</td></tr>'
        for one in report["preferred"]
    )
    return (
        '<h2>Preferred answers</h2><div class="scroll"><table><thead><tr><th>metric</th><th>by</th><th>against</th>'
        "<th>pairs</th><th>scored</th><th>same answer</th><th>went with the order</th><th>first answer chosen</th>"
        f"<th>no verdict</th><th>not rated yet</th><th>rated by several</th><th>agreement</th></tr></thead><tbody>{rows}</tbody></table></div>"
        '<p class="soft">Each pair is shown to a judge in both orders. Where the first answer is chosen much more or less often'
        " than in half of the verdicts, the order has a say: such pairs count as ties. Agreement is Krippendorff's alpha of people:"
        " 1 is always, 0 what chance gives.</p>"
    )


def _regressions(report: Json) -> str:
    found = "".join(_regression(one) for one in report["regressions"])
    return f"<h2>Worst regressions</h2>{found}" if found else ""


def _regression(one: Json) -> str:
    sides = [("asked", one["prompt"], ""), ("right answer", one["answer"], "")]
    for role, of in one["models"].items():
        said = of["text"] if of["text"] is not None else "(answered nothing: its likelihoods were measured)"
        sides.append((f"{role}: {_number(of['value'])}", said, role))
    cells = "".join(
        f'<div><b class="{_text(role)}">{_text(title)}</b><pre>{_text(text[:_SHOWN_TEXT])}{"…" if len(text) > _SHOWN_TEXT else ""}'
        "</pre></div>"
        for title, text, role in sides
    )
    return f'<h3>{_text(one["suite"])}/{_text(one["metric"])}, line {one["line"]}</h3><div class="pair">{cells}</div>'


def _suites(report: Json) -> str:
    rows = "".join(
        f"<tr><td><b>{_text(suite['name'])}</b></td><td><code>{_text((suite['dataset'] or suite['benchmark'])['uri'])}</code><br>"
        f'<code class="soft">{_text(suite["datasetDigest"])}</code></td><td class="n">{suite["rows"]}</td>'
        f'<td class="n">{suite["withoutAnswer"]}</td><td class="n">{suite["chosen"]}</td></tr>'
        for suite in report["suites"]
    )
    return (
        '<h2>Suites</h2><div class="scroll"><table><thead><tr><th>suite</th><th>data</th><th>rows</th><th>without answer</th>'
        f'<th>measured on</th></tr></thead><tbody>{rows}</tbody></table></div><p class="soft">Whether the model was trained on'
        " these rows is checked before training; the report of Prepare says what was found.</p>"
    )


def _lineage(report: Json) -> str:
    if not report["lineage"]:
        return ""
    rows = "".join(
        f"<tr><td>{_text(name)}</td><td><code>{_text(value)}</code></td></tr>"
        for name, value in _flat(report["lineage"])
    )
    return (
        '<h2>Lineage</h2><p class="soft">As the candidate\'s manifest says.</p><div class="scroll"><table>'
        f"{rows}</table></div>"
    )


def _flat(document: Any, above: str = "") -> Iterable[tuple[str, Any]]:
    """The leaves of a document with their paths."""
    if isinstance(document, Mapping):
        for name, value in document.items():
            yield from _flat(value, f"{above}.{name}" if above else str(name))
    else:
        yield above, document
