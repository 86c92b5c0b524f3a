"""The files an evaluation leaves: report.json (every score, with lineage), report.html (the same for people), junit.xml
(for CI systems), model-card.md (for where the model is published) and examples.jsonl (every example).

Nothing in them depends on when or where they were made, so the same evaluation writes the same bytes. The form of
report.json is pinned (tests/golden/contract). Not here: the termination message (`result.py`), which holds an extract.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from serin_evaluator import meteor
from serin_evaluator.benchmarks import harness_version
from serin_evaluator.cache import evaluator_version
from serin_evaluator.calibration import Confidences
from serin_evaluator.config import (
    OF_SPEED,
    PAIRWISE,
    Digest,
    Document,
    EvaluateConfig,
    Job,
    Key,
    Metric,
    Model,
    PvcUri,
    Role,
    Suite,
)
from serin_evaluator.corpus import OF_CORPORA, signatures
from serin_evaluator.curves import PROBABILITIES
from serin_evaluator.errors import StageError
from serin_evaluator.fewshot import asked_digest
from serin_evaluator.junit import junit
from serin_evaluator.measuring import Measured
from serin_evaluator.metrics import LOWER_IS_BETTER, direction, unit
from serin_evaluator.model_card import section
from serin_evaluator.page import page
from serin_evaluator.pairs import Pairs
from serin_evaluator.result import Difference, Score, write_atomically
from serin_evaluator.scoring import Key as ScoreKey
from serin_evaluator.scoring import Samples, Scores
from serin_evaluator.suites import Example, LoadedSuite
from serin_evaluator.templates import template_digest
from serin_evaluator.uncertainty import RESAMPLES
from serin_evaluator.uris import local_path

SCHEMA_VERSION: Final = 2
MOST_REGRESSIONS: Final = 10
Measurements = Mapping[Role, Mapping[str, Measured]]


class ReportedScore(Score):
    """A score with what its number is."""

    unit: str
    direction: Literal["HigherIsBetter", "LowerIsBetter"]


class ReportedSuite(Suite):
    """A suite's settings, how many of its rows were scored or not, and why not."""

    dataset_digest: Digest
    rows: int
    without_answer: int
    chosen: int
    too_long: dict[Role, dict[str, int]]
    slice_sizes: dict[str, dict[str, int]]
    prompts_digest: Digest
    """Of all questions as the models were given them, before their chat templates."""
    shots: tuple[int, ...]
    """The lines of the solved examples that stood before each question."""
    shots_digest: Digest | None
    """Of the file that they are from."""
    notes: tuple[str, ...]
    tasks: tuple["ReportedTask", ...]
    """What a benchmark's tasks were, so that its numbers can be made again."""
    groups: tuple["ReportedGroup", ...] = ()
    """How its groups made one number of their tasks'."""


class ReportedTask(Document):
    """A task of lm-evaluation-harness as it was asked."""

    name: str
    version: str
    """As its file says."""
    harness_version: str
    config_digest: Digest
    """Of its file with all that it includes."""
    prompts_digest: Digest
    """Of all requests, with their few-shot examples and before any chat template."""
    groups: tuple[str, ...]
    num_fewshot: int
    filter: str
    rows: int
    chosen: int


class ReportedGroup(Document):
    """What a group of tasks says of one metric, as the harness calls it."""

    name: str
    metric: str
    weight_by_size: bool
    """Whether a task counted as its rows, or as any other task."""
    filters: tuple[str, ...] | None
    """Of which filters' figures; null is of any."""
    tasks: tuple[str, ...]


class Intervals(Document):
    """How intervals were made."""

    method: str = "StudentisedBootstrap"
    of_shares: str = "ClopperPearson"
    of_means_of_tasks: str = "MoverOrStudent"
    resamples: int = RESAMPLES
    confidence_percent: int = 95
    curve_probabilities: tuple[float, ...] = PROBABILITIES


class Bin(Document):
    """Examples of like confidence."""

    n: int
    confidence: float
    accuracy: float


class Reliability(Document):
    """How often a model is right, by how sure it is."""

    suite: str
    metric: Metric
    role: Role
    bins: tuple[Bin, ...]


class Said(Document):
    """What a model answered to one example, and its value on it."""

    text: str | None
    value: float | None


class Preferred(Document):
    """How a judge or people chose between the candidate's answers and another model's."""

    suite: str
    metric: Metric
    against: Role
    by: str
    pairs: int
    same: int
    scored: int
    reversed: int
    """Pairs whose verdict went with the place of the answers: ties."""
    first_share: float | None
    """How often the answer shown first is chosen; 0.5 is without a bias for the place."""
    unreadable: int
    refused: int
    waiting: int
    rated_by_several: int
    agreement: float | None
    """Krippendorff's alpha over the pairs that several people rated: 1 is always, 0 what chance gives."""


class Regression(Document):
    """An example on which the candidate does worse than the model it is compared with."""

    suite: str
    metric: Metric
    line: int
    prompt: str
    answer: str
    models: dict[Role, Said]


class Left(Document):
    """Something asked for that could not be measured, and why."""

    what: str
    why: str


class Examples(Document):
    """Where every example lies."""

    uri: PvcUri
    digest: Digest


class Report(Document):
    """report.json."""

    schema_version: Literal[2] = SCHEMA_VERSION
    stage: Literal["Evaluate"]
    key: Key
    job: Job
    evaluator_version: str
    seed: int
    intervals: Intervals = Intervals()
    models: tuple[Model, ...]
    chat_templates: dict[Role, Digest | None]
    """Of each model's chat template; null when it has none, or lies on a hub."""
    suites: tuple[ReportedSuite, ...]
    scores: tuple[ReportedScore, ...]
    comparisons: tuple[Difference, ...]
    missing: tuple[Left, ...]
    signatures: dict[Metric, str]
    """What BLEU, ChrF and METEOR can be compared under with other people's."""
    reliability: tuple[Reliability, ...]
    preferred: tuple[Preferred, ...]
    regressions: tuple[Regression, ...]
    lineage: dict[str, Any]
    """As the candidate's manifest says; empty when it has none."""
    examples: Examples


def write_report(
    config: EvaluateConfig,
    suites: Sequence[LoadedSuite],
    measured: Measurements,
    found: Samples,
    scores: Scores,
) -> str:
    """Write all files beside the output; the URI of the report."""
    folder, uri = local_path(config.output), config.output.rstrip("/")
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in _examples(suites, measured, found))
    examples = "".join(lines).encode()
    write_atomically(folder / "examples.jsonl", examples)
    digest = "sha256:" + hashlib.sha256(examples).hexdigest()
    report = made(config, suites, measured, found, scores, Examples(uri=f"{uri}/examples.jsonl", digest=digest))
    document = report.model_dump(mode="json", by_alias=True)
    write_atomically(folder / "report.html", page(document).encode("utf-8", "replace"))
    write_atomically(folder / "junit.xml", junit(document).encode("utf-8", "replace"))
    write_atomically(folder / "model-card.md", section(document).encode("utf-8", "replace"))
    write_atomically(folder / "report.json", (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode())
    return f"{uri}/report.json"


def made(
    config: EvaluateConfig,
    suites: Sequence[LoadedSuite],
    measured: Measurements,
    found: Samples,
    scores: Scores,
    examples: Examples,
) -> Report:
    """The report."""
    metrics = {metric for suite in config.suites for metric in suite.metrics}
    return Report(
        stage=config.stage,
        key=config.key,
        job=config.job,
        evaluator_version=evaluator_version(),
        seed=config.seed,
        models=config.models,
        chat_templates={model.role: template_digest(model.uri) for model in config.models},
        suites=tuple(_suite(suite, measured) for suite in suites),
        scores=tuple(
            ReportedScore(**dict(one), unit=unit(one.metric), direction=direction(one.metric)) for one in scores.scores
        ),
        comparisons=scores.comparisons,
        missing=tuple(Left(what=one.what, why=one.why) for one in scores.missing),
        signatures=(
            ({metric: of for metric, of in signatures().items() if metric in metrics} if metrics & OF_CORPORA else {})
            | ({Metric.METEOR: meteor.signature()} if Metric.METEOR in metrics else {})
        ),
        reliability=tuple(_reliability(found)),
        preferred=tuple(_preferred(suites, measured)),
        regressions=tuple(_regressions(suites, measured, found)),
        lineage=_lineage(config),
        examples=examples,
    )


def _suite(suite: LoadedSuite, measured: Measurements) -> ReportedSuite:
    name = suite.suite.name
    sizes: dict[str, dict[str, int]] = {}
    for part, lines in suite.slices().items():
        sizes.setdefault(part.field, {})[part.value] = len(lines)
    return ReportedSuite(
        **dict(suite.suite),
        dataset_digest=suite.digest,
        rows=suite.rows,
        without_answer=suite.without_answer,
        chosen=len(suite.examples),
        too_long={role: _too_long(of_model[name]) for role, of_model in measured.items()},
        slice_sizes=sizes,
        prompts_digest=asked_digest(suite),
        shots=tuple(shot.line for shot in suite.shots),
        shots_digest=suite.shots_digest,
        notes=tuple(notes(suite, measured)),
        tasks=tuple(_tasks(suite)),
        groups=tuple(_groups(suite)),
    )


def _tasks(suite: LoadedSuite) -> Iterator[ReportedTask]:
    for task in suite.benchmark.tasks if suite.benchmark is not None else ():
        yield ReportedTask(
            name=task.name,
            version=str(task.made.VERSION),
            harness_version=harness_version(),
            config_digest=task.config_digest,
            prompts_digest=task.prompts_digest,
            groups=task.groups,
            num_fewshot=task.made.get_config("num_fewshot") or 0,
            filter=task.filter,
            rows=task.rows,
            chosen=len(task.docs),
        )


def _groups(suite: LoadedSuite) -> Iterator[ReportedGroup]:
    for group in suite.benchmark.groups.values() if suite.benchmark is not None else ():
        for said in group.says:
            yield ReportedGroup(
                name=group.name,
                metric=said.metric,
                weight_by_size=said.by_size,
                filters=said.filters,
                tasks=group.tasks,
            )


def notes(suite: LoadedSuite, measured: Measurements) -> Iterator[str]:
    """What is scored on less than it seems, in sentences: nothing is left out or counted as wrong silently."""
    name, chosen = suite.suite.name, len(suite.examples)
    if suite.without_answer and suite.suite.needs_answers:
        yield f"{suite.without_answer} of {suite.rows} rows of {name} have no answer and are not scored."
    for one in suite.suite.slices:
        without = sum(all(part.field != one.field for part in example.slices) for example in suite.examples.values())
        if without:
            yield f"{without} of {chosen} examples of {name} have no {one.field} and are in no slice of it."
    for role, of_model in measured.items():
        for kind, left in _too_long(of_model[name]).items():
            if left:
                yield f"{role} could not be given {left} of {chosen} examples of {name} ({kind}): they do not fit its context."
        for one, entry in of_model[name].flags.items():
            if entry.too_long:
                yield f"The classifier {one} could not read {len(entry.too_long)} of {chosen} answers of {role} to {name}."
        for metric, pairs in of_model[name].pairs.items():
            yield from _said_of_pairs(name, metric, pairs)
        said = of_model[name].generation
        if said is None:
            continue
        silent = sum(not row.text.strip() for row in said.measured.values())
        cut = sum(row.finish == "length" for row in said.measured.values())
        if silent:
            yield f"{role} answered nothing to {silent} of {len(said.measured)} examples of {name}; they are scored as they are."
        if cut:
            most = "the most" if suite.benchmark is not None else suite.suite.max_new_tokens
            yield f"{role} was cut off at {most} tokens in {cut} of {len(said.measured)} examples of {name}."


def _said_of_pairs(suite: str, metric: Metric, pairs: Pairs) -> Iterator[str]:
    """What one should know before one believes a judge."""
    yield from pairs.notes
    what = f"{metric} of {suite}"
    if pairs.reversed:
        yield f"{what}: in {pairs.reversed} of {pairs.pairs} pairs the verdict went with the order; they count as ties."
    if pairs.unreadable:
        yield f"{what}: {pairs.by} gave no readable verdict on {pairs.unreadable} of {pairs.pairs} pairs; they are not scored."
    if pairs.refused:
        yield f"{what}: {pairs.by} would not take {pairs.refused} of {pairs.pairs} pairs; they are not scored."
    if pairs.waiting and pairs.worth:
        yield f"{what}: {pairs.waiting} of {pairs.pairs} pairs are not rated yet; they are not scored."


def _preferred(suites: Sequence[LoadedSuite], measured: Measurements) -> Iterator[Preferred]:
    for suite in suites:
        for metric, pairs in measured[Role.CANDIDATE][suite.suite.name].pairs.items():
            share = pairs.first_share
            yield Preferred(
                suite=suite.suite.name,
                metric=metric,
                against=pairs.against,
                by=pairs.by,
                pairs=pairs.pairs,
                same=pairs.same,
                scored=len(pairs.worth),
                reversed=pairs.reversed,
                first_share=None if share is None else round(share, 6),
                unreadable=pairs.unreadable,
                refused=pairs.refused,
                waiting=pairs.waiting,
                rated_by_several=pairs.rated_by_several,
                agreement=None if pairs.agreement is None else round(pairs.agreement, 6),
            )


def _too_long(measured: Measured) -> dict[str, int]:
    entries = {
        "likelihood": measured.likelihood,
        "generation": measured.generation,
        "choice": measured.choice,
        "speed": measured.speed,
    }
    return {kind: len(entry.too_long) for kind, entry in entries.items() if entry is not None}


def _reliability(found: Samples) -> Iterator[Reliability]:
    for key, sample in found.items():
        if isinstance(sample, Confidences) and key.slice is None and len(sample):
            bins = tuple(Bin(**one) for one in sample.diagram())  # type: ignore[arg-type]
            yield Reliability(suite=key.suite, metric=key.metric, role=key.role, bins=bins)


def _regressions(suites: Sequence[LoadedSuite], measured: Measurements, found: Samples) -> list[Regression]:
    """The examples that lose most against the incumbent, or else the base, by each suite's first metric."""
    against = next((role for role in (Role.INCUMBENT, Role.BASE) if role in measured), None)
    if against is None:
        return []
    losses: list[tuple[float, LoadedSuite, Metric, int]] = []
    for suite in suites:
        name = suite.suite.name
        metric = next((one for one in suite.suite.metrics if one not in PAIRWISE | OF_SPEED), None)
        if metric is None:
            continue
        if ScoreKey(name, metric, Role.CANDIDATE) not in found:
            continue
        ours, theirs = (found[ScoreKey(name, metric, role)].by_example() for role in (Role.CANDIDATE, against))
        sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
        for line, value in ours.items():
            other = theirs.get(line)
            if value is not None and other is not None and sign * (value - other) < 0:
                losses.append((sign * (value - other) / _scale(metric), suite, metric, line))
    losses.sort(key=lambda one: (one[0], one[1].suite.name, one[3]))
    return [_regression(*one[1:], (Role.CANDIDATE, against), measured, found) for one in losses[:MOST_REGRESSIONS]]


def _scale(metric: Metric) -> float:
    """Metrics of different suites side by side: those up to 100 count as shares do."""
    return 100.0 if metric in (Metric.BLEU, Metric.CHR_F) else 1.0


def _regression(
    suite: LoadedSuite, metric: Metric, line: int, roles: Sequence[Role], measured: Measurements, found: Samples
) -> Regression:
    name, example = suite.suite.name, suite.examples[line]
    models = {
        role: Said(
            text=_said(measured[role][name], example, line).get("text"),
            value=found[ScoreKey(name, metric, role)].by_example().get(line),
        )
        for role in roles
    }
    asked = example.prompt or "\n".join(f"{turn['role']}: {turn['content']}" for turn in example.messages)
    return Regression(suite=name, metric=metric, line=line, prompt=asked, answer=example.answer, models=models)


def _lineage(config: EvaluateConfig) -> dict[str, Any]:
    """What the candidate's manifest says of its origin. It is no part of the digest, so it is told and not trusted."""
    candidate = next(model for model in config.models if model.role is Role.CANDIDATE)
    try:
        said = json.loads((local_path(candidate.uri) / "manifest.json").read_bytes())["lineage"]
    except (StageError, OSError, ValueError, KeyError, TypeError):
        return {}
    return said if isinstance(said, dict) else {}


def _examples(suites: Sequence[LoadedSuite], measured: Measurements, found: Samples) -> Iterator[dict[str, Any]]:
    for suite in suites:
        name = suite.suite.name
        values: dict[tuple[Role, Metric], dict[int, float | None]] = {}
        for key, of in found.items():
            if key.suite == name and (key.slice is None or suite.benchmark is not None):
                values.setdefault((key.role, key.metric), {}).update(of.by_example())
        for line, example in suite.examples.items():
            yield {
                "suite": name,
                "line": line,
                **({"prompt": example.prompt} if example.prompt else {"messages": example.messages}),
                "answer": example.answer,
                **({"slices": {one.field: one.value for one in example.slices}} if example.slices else {}),
                "models": {
                    role: {
                        **_said(of_model[name], example, line),
                        "metrics": {metric: of.get(line) for (whose, metric), of in values.items() if whose is role},
                        **_more_of(of_model[name], line),
                    }
                    for role, of_model in measured.items()
                },
            }


def _more_of(measured: Measured, line: int) -> dict[str, Any]:
    """What classifiers said of the answer, and how long it took."""
    flags = {name: entry.measured[line].probability for name, entry in measured.flags.items() if line in entry.measured}
    speed = measured.speed.measured.get(line) if measured.speed else None
    told: dict[str, Any] = {"classifiers": flags} if flags else {}
    if speed is not None:
        told |= {"firstSeconds": speed.first_seconds, "moreSeconds": speed.more_seconds, "peakBytes": speed.peak_bytes}
    return told


def _said(measured: Measured, example: Example, line: int) -> dict[str, Any]:
    """What the model answered: its own words, or its choice and how likely it finds each."""
    told: dict[str, Any] = {}
    chosen = measured.choice.measured.get(line) if measured.choice else None
    if chosen is not None and example.choices:
        likeliest = max(range(len(example.choices)), key=lambda place: chosen.log_likelihoods[place])
        told = {"text": example.choices[likeliest].strip(), "logLikelihoods": chosen.log_likelihoods}
    said = measured.generation.measured.get(line) if measured.generation else None
    return told if said is None else {**told, "text": said.text, "tokens": said.tokens, "finish": said.finish}
