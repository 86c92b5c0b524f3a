"""The report as one HTML file: no scripts, no fonts, nothing from elsewhere. Charts are inline SVG.

Everything that comes from data is escaped: a row may hold anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from .report import Example, Histogram, PrepareReport, RecipeReport, SourceReport

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2433; --soft: #5b6577; --line: #d9dee7; --bar: #3b6fd4; --bad: #b3372f;
        --good: #22784a; --paper: #ffffff; --wash: #f4f6fa; --learned: #fff0b8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9f0; --soft: #9aa5b8; --line: #343c4b; --bar: #7aa2f0;
        --bad: #ec8079; --good: #6fce9b; --paper: #151a23; --wash: #1d2430; --learned: #55470f; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto; padding: 2rem;
       max-width: 70rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p { margin: .4rem 0; } .soft { color: var(--soft); }
.state { font-weight: 600; } .Succeeded { color: var(--good); } .Failed { color: var(--bad); }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin-top: 1.2rem; }
.card { background: var(--wash); border-radius: 8px; padding: .7rem 1rem; min-width: 8rem; }
.card b { display: block; font-size: 1.4rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .3rem .8rem .3rem 0;
       border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.chosen td { font-weight: 600; }
details { margin: .3rem 0; } summary { cursor: pointer; }
code, pre { font: 13px/1.45 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { background: var(--wash); border-radius: 8px; padding: .8rem; white-space: pre-wrap; margin: .4rem 0; }
mark { background: var(--learned); color: inherit; border-radius: 3px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1.5rem; }
figure { margin: 0; } figcaption { color: var(--soft); font-size: .9rem; }
svg { width: 100%; height: auto; } svg rect { fill: var(--bar); } svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg line { stroke: var(--line); }
"""


def page(report: PrepareReport) -> str:
    """The whole page."""
    sections = [
        _head(report),
        *([_section("Recipe", _recipe(report.recipe))] if report.recipe else []),
        _section("Sources", _sources(report)),
        _section("What was left out", _dropped(report)),
        _section("Training, validation, test", _parts(report)),
        _section("Tokens", _tokens(report)),
        _section("Overlap with the gates' evaluation sets", _overlap(report)),
        _section("What the model is shown", _examples(report.examples)),
        _section("Plan", _plan(report)),
    ]
    title = escape(f"{report.namespace}/{report.job}: data")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )


def _head(report: PrepareReport) -> str:
    cards = [("rows read", report.read), ("rows kept", report.kept)]
    cards += [(f"{name} rows", part.rows) for name, part in report.parts.items()]
    cards += [("training tokens", report.parts["train"].tokens)] if "train" in report.parts else []
    cards += [("sequences", report.packed.sequences)] if report.packed else []
    advice = f"<p>{escape(report.advice)}.</p>" if report.advice else ""
    shown = "".join(f'<div class="card"><b>{value:,}</b>{escape(label)}</div>' for label, value in cards)
    return (
        f"<h1>{escape(report.namespace)}/{escape(report.job)}</h1>"
        f'<p class="soft">Prepare, key <code>{escape(report.key)}</code></p>'
        f'<p><span class="state {report.outcome}">{report.outcome}</span>: {escape(report.message)}</p>{advice}'
        f'<div class="cards">{shown}</div>'
    )


def _recipe(recipe: RecipeReport) -> str:
    """What became of each key of the YAML that was written for another trainer, the unknown ones first."""
    unknown = ", ".join(f"<code>{escape(key)}</code>" for key in recipe.unknown)
    rows = [[one.key, f"{one.field}: {one.value}" if one.field else one.why or ""] for one in recipe.keys]
    return (
        f"<p>{escape(recipe.source)}, written for {escape(recipe.format)}.</p>"
        + (f"<p>Unknown, and not applied: {unknown}</p>" if unknown else "")
        + _table(["key", "what became of it"], rows)
    )


def _sources(report: PrepareReport) -> str:
    weighted = any(source.weight_percent is not None for source in report.sources)
    heads = ["source", "part", "#read", "#left out", "#kept", *(["#weight", "#used in training"] if weighted else [])]
    rows = []
    for source in report.sources:
        cells: list[object] = [source.name, source.part, source.read, source.read - source.kept, source.kept]
        if weighted:
            cells += [
                f"{source.weight_percent} %" if source.weight_percent else "",
                "" if source.used is None else source.used,
            ]
        rows.append(cells)
    formats = ", ".join(f"{count:,} {name}" for name, count in report.formats.items())
    read_from = _table(
        ["source", "address", "#files", "#bytes", "digest"],
        [[f"{one.part}/{one.name}", one.uri, _files(one), one.size_bytes, one.digest] for one in report.sources],
    )
    return (
        _table(heads, rows)
        + (f'<p class="soft">Formats: {escape(formats)}</p>' if formats else "")
        + f"<details><summary>Where the rows were read</summary>{read_from}</details>"
    )


def _files(source: SourceReport) -> str:
    beside = f" ({source.left_out:,} other objects left out)" if source.left_out else ""
    return f"{source.files:,}{beside}"


def _dropped(report: PrepareReport) -> str:
    if not report.dropped and not report.truncated:
        return "<p>Nothing.</p>"
    found = [_bars([(one.reason, one.count) for one in report.dropped])] if report.dropped else []
    for one in report.dropped:
        samples = _table(["place", "why", "text"], [[sample.place, sample.why, sample.text] for sample in one.samples])
        more = f" (the first {len(one.samples)})" if one.count > len(one.samples) else ""
        found.append(f"<details><summary>{escape(one.reason)}: {one.count:,}{more}</summary>{samples}</details>")
    if report.truncated:
        found.append(f"<p>{report.truncated:,} rows that were too long lost their end.</p>")
    return "".join(found)


def _parts(report: PrepareReport) -> str:
    if not report.parts:
        return "<p>It did not come to that.</p>"
    heads = ["part", "#rows", "#tokens", "#learned tokens", "#median row", "#95 percent", "#longest"]
    rows = [
        [name, part.rows, part.tokens, part.learned_tokens, part.p50, part.p95, part.max]
        for name, part in report.parts.items()
    ]
    found = _table(heads, rows)
    if report.values:
        field = report.config["data"]["split"]["field"]
        values = [[value.value, value.train, value.validation, value.test] for value in report.values]
        found += f"<h3>By {escape(str(field))}</h3>" + _table(["value", "#train", "#validation", "#test"], values)
    return found


def _tokens(report: PrepareReport) -> str:
    charts = _chart(report.row_tokens, "tokens of a row") + _chart(
        report.learned_tokens, "tokens of a row that the loss counts on"
    )
    packed = (
        f"<p>Packed into {report.packed.sequences:,} sequences of up to {report.config['maxSequenceLength']:,} tokens,"
        f" {report.packed.fill_percent} percent full. Rows in a sequence do not see each other.</p>"
        if report.packed
        else ""
    )
    return f'<div class="charts">{charts}</div>{packed}'


def _overlap(report: PrepareReport) -> str:
    if not report.overlap:
        return "<p>No gate has an evaluation set, or it did not come to that.</p>"
    bound = report.config["data"]["overlap"]
    rows: list[list[object]] = [
        [one.name, one.rows, one.shared, f"{one.shared_percent:.2f} %", one.same_question, ", ".join(one.places)]
        for one in report.overlap
    ]
    said = f"At most {bound['maxPercent']} percent may be shared ({bound['action']})."
    heads = ["evaluation set", "#rows", "#shared", "#share", "#same question", "training rows"]
    return f"<p>{escape(said)} Rows of the sets are not shown.</p>" + _table(heads, rows)


def _examples(examples: Sequence[Example]) -> str:
    if not examples:
        return "<p>It did not come to that.</p>"
    shown = []
    for one in examples:
        pieces = "".join(f"<mark>{escape(text)}</mark>" if learned else escape(text) for text, learned in one.pieces)
        shown.append(f"<p><code>{escape(one.place)}</code></p><pre>{pieces}</pre>")
    return '<p class="soft">What is marked is learned.</p>' + "".join(shown)


def _plan(report: PrepareReport) -> str:
    plan = report.plan
    if plan is None:
        return "<p>None: the base model's files do not say how large it is, or it did not come to that.</p>"
    said = (
        f"{plan.steps:,} steps of {plan.sequences_per_step:,} sequences ({plan.steps_per_epoch:,} an epoch),"
        f" about {plan.tokens:,} tokens; {plan.processes} processes in {plan.precision};"
        f" {plan.trainable_parameters:,} of {plan.parameters:,} parameters are trained. Learning rate {plan.learning_rate}"
        + (f": {plan.learning_rate_reason}." if plan.learning_rate_reason else ", as the job says.")
    )
    rows = [
        [
            f"{one.method}, ZeRO {one.zero_stage}",
            *(f"{size:.2f}" for size in (one.weights, one.gradients, one.optimizer, one.activations, one.total)),
        ]
        for one in plan.memory
    ]
    chosen = next(index for index, one in enumerate(plan.memory) if one == plan.chosen)
    reason = f"<p>{escape(plan.method_reason)}.</p>" if plan.method_reason else ""
    heads = ["GiB a process, estimated", "#weights", "#gradients", "#optimizer", "#activations", "#total"]
    fits = [
        [f"{fit.device_gib} GiB", f"{fit.method} with ZeRO {fit.zero_stage}" if fit.method else "nothing"]
        for fit in plan.fits
    ]
    return (
        f"<p>{escape(said)}</p>{reason}<p>{escape(plan.suggestion)}.</p>{_table(heads, rows, chosen)}"
        f"<h3>What fits</h3>{_table(['device', 'most that fits'], fits)}"
        '<p class="soft">Estimates: weights, gradients and Adam states as ZeRO divides them, the activations that'
        " are kept, 1 GiB for the process itself. Real use differs by some tens of percent.</p>"
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]], chosen: int = -1) -> str:
    """Columns whose head begins with # hold numbers."""
    numeric = [head.startswith("#") for head in heads]

    def cell(tag: str, value: object, number: bool) -> str:
        text = f"{value:,}" if isinstance(value, int) else str(value)
        return f"<{tag}{' class=n' if number else ''}>{escape(text)}</{tag}>"

    head = "".join(cell("th", text.removeprefix("#"), number) for text, number in zip(heads, numeric, strict=True))
    body = "".join(
        f"<tr{' class=chosen' if index == chosen else ''}>"
        + "".join(cell("td", value, number) for value, number in zip(row, numeric, strict=True))
        + "</tr>"
        for index, row in enumerate(rows)
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _chart(values: Histogram, caption: str) -> str:
    """A histogram."""
    if not values.counts:
        return ""
    width, height, head, top = 480, 150, 18, max(values.counts)
    step = width / len(values.counts)
    bars = "".join(
        f'<rect x="{index * step:.1f}" y="{head + height * (1 - count / top):.1f}" width="{max(1.0, step - 1):.1f}"'
        f' height="{height * count / top:.1f}"><title>{low:,} to {high - 1:,}: {count:,}</title></rect>'
        for index, (count, low, high) in enumerate(zip(values.counts, values.edges, values.edges[1:], strict=False))
    )
    base = height + head
    axis = (
        f'<line x1="0" x2="{width}" y1="{base}" y2="{base}"/><text x="0" y="{base + 14}">{values.edges[0]:,}</text>'
        f'<text x="{width}" y="{base + 14}" text-anchor="end">{values.edges[-1] - 1:,}</text>'
        f'<text x="{width}" y="12" text-anchor="end">most: {top:,} rows</text>'
    )
    return (
        f'<figure><svg viewBox="0 0 {width} {base + 18}" role="img" aria-label="{escape(caption)}">{bars}{axis}</svg>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _bars(counts: Sequence[tuple[str, int]]) -> str:
    """One horizontal bar for each reason."""
    top, height = max(count for _name, count in counts), 22
    rows = "".join(
        f'<text x="0" y="{index * height + 15}">{escape(name)}</text>'
        f'<rect x="130" y="{index * height + 4}" width="{max(2.0, 480 * count / top):.1f}" height="14"/>'
        f'<text x="{136 + max(2.0, 480 * count / top):.1f}" y="{index * height + 15}">{count:,}</text>'
        for index, (name, count) in enumerate(counts)
    )
    return f'<svg viewBox="0 0 700 {len(counts) * height}" role="img" aria-label="rows left out by reason">{rows}</svg>'
