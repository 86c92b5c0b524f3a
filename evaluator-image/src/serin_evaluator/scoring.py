"""From measurements to scores and comparisons, and a reason for each that there cannot be.

A score that cannot be produced is absent: the operator then says "could not measure", which is not "failed".
Not here: measuring, and judging.
"""

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from serin_evaluator.classifying import classified_sample
from serin_evaluator.config import (
    OF_CHOICES,
    OF_CLASSIFIERS,
    OF_SPEED,
    PAIRWISE,
    Comparison,
    EvaluateConfig,
    Metric,
    Role,
    Slice,
    named,
)
from serin_evaluator.labels import choice_sample
from serin_evaluator.measuring import Measured
from serin_evaluator.metrics import FROM_LIKELIHOOD, generation_sample, likelihood_sample, speed_sample
from serin_evaluator.result import Difference, Score
from serin_evaluator.suites import LoadedSuite
from serin_evaluator.uncertainty import AnySample, Sample, Several, Unfit, difference, estimate


class Key(NamedTuple):
    """Which score: a metric of a model on a suite, or on a slice of it."""

    suite: str
    metric: Metric
    role: Role
    slice: Slice | None = None


Samples = Mapping[Key, AnySample]
FEWEST_EXAMPLES = 2
"""One example has no spread, so it would be a number without uncertainty."""


@dataclass(frozen=True)
class Missing:
    """Something asked for that cannot be produced, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class Scores:
    """All that was found, in the order of suites and metrics, and what was not."""

    scores: tuple[Score, ...]
    comparisons: tuple[Difference, ...]
    missing: tuple[Missing, ...]


def samples(suites: Sequence[LoadedSuite], measured: Mapping[Role, Mapping[str, Measured]]) -> dict[Key, AnySample]:
    """The sample of each suite, metric and model, and of each slice that holds enough examples to have a spread."""
    keys = [
        (suite, Key(suite.suite.name, metric, role))
        for suite in suites
        for metric in suite.suite.metrics
        for role, of_model in measured.items()
        if metric not in PAIRWISE or (role is Role.CANDIDATE and not why_unscored(of_model[suite.suite.name], metric))
    ]
    of_all = [(key, _sample(suite, key, measured)) for suite, key in keys]
    whole = {key: sample for key, sample in of_all if sample is not None}
    parts = {
        key: sliced
        for suite in suites
        for part, lines in suite.slices().items()
        for key, sliced in _sliced(suite, part, lines, [key for of, key in keys if of is suite], whole, measured)
        if len(sliced) >= FEWEST_EXAMPLES
    }
    return whole | parts


def _sliced(
    suite: LoadedSuite,
    part: Slice,
    lines: set[int],
    keys: Sequence[Key],
    whole: Samples,
    measured: Mapping[Role, Mapping[str, Measured]],
) -> Iterator[tuple[Key, AnySample]]:
    """Of a benchmark, tasks say how a slice's number is made of theirs; of all else it is made of fewer examples."""
    for key in keys:
        of_part = key._replace(slice=part)
        if suite.benchmark is None:
            yield of_part, whole[key].only(lines)
        elif (sample := _sample(suite, of_part, measured)) is not None:
            yield of_part, sample


def _sample(suite: LoadedSuite, key: Key, models: Mapping[Role, Mapping[str, Measured]]) -> AnySample | None:
    metric, measured = key.metric, models[key.role][key.suite]
    if suite.benchmark is not None:
        if measured.values is None:
            measured.values = suite.benchmark.values(measured.choice, measured.generation)
        return suite.benchmark.sample(metric, measured.values, key.slice)
    if metric in OF_CHOICES:
        assert measured.choice is not None
        assert suite.suite.choices is not None
        right = {line: example.right for line, example in suite.examples.items()}
        return choice_sample(metric, measured.choice.measured, right, suite.suite.choices.labels)
    if metric in PAIRWISE:
        return measured.pairs[metric].sample()
    if metric in OF_CLASSIFIERS:
        return classified_sample(metric, suite.suite, measured)
    if metric in OF_SPEED:
        assert measured.speed is not None
        return speed_sample(metric, measured.speed.measured)
    if metric in FROM_LIKELIHOOD:
        assert measured.likelihood is not None
        return likelihood_sample(metric, measured.likelihood.measured)
    assert measured.generation is not None
    answers = {line: example.answer for line, example in suite.examples.items()}
    return generation_sample(metric, measured.generation.measured, answers)


def why_unscored(measured: Measured, metric: Metric) -> str:
    """Why what was preferred gives no score; empty when it does."""
    return measured.pairs[metric].why_unscored


def unscored(suites: Sequence[LoadedSuite], measured: Mapping[Role, Mapping[str, Measured]]) -> dict[str, str]:
    """By name, why a metric of pairs, or of several tasks, has no score."""
    of_tasks = {
        named(suite.suite.name, metric, part): why
        for suite in suites
        if suite.benchmark is not None
        for metric in suite.suite.metrics
        for part in (None, *suite.slices())
        if (why := suite.benchmark.why_none(metric, part))
    }
    return of_tasks | {
        named(suite.suite.name, metric): why
        for suite in suites
        for metric in suite.suite.metrics
        if metric in PAIRWISE and (why := why_unscored(measured[Role.CANDIDATE][suite.suite.name], metric))
    }


def score(config: EvaluateConfig, found: Samples, why: Mapping[str, str] | None = None) -> Scores:
    """Scores of all samples, and the comparisons that the config asks for. `why` tells of those without a sample."""
    missing: list[Missing] = []
    why = why or {}
    scores = [made for key, sample in found.items() if (made := _score(config, key, sample, missing))]
    comparisons = [made for one in config.comparisons if (made := _compare(config, one, found, missing, why))]
    names = {named(key.suite, key.metric, key.slice) for key in found}
    missing += [
        Missing(wanted, why.get(wanted) or why.get(wanted.partition("@")[0]) or _why_absent(wanted, names))
        for wanted in config.wanted
        if wanted not in names
    ]
    return Scores(tuple(scores), tuple(comparisons), tuple(missing))


def _why_absent(wanted: str, names: set[str]) -> str:
    whole, _, part = wanted.partition("@")
    if part and whole in names:
        return f"fewer than {FEWEST_EXAMPLES} examples have {part}"
    return "no suite measures it"


def _score(config: EvaluateConfig, key: Key, sample: AnySample, missing: list[Missing]) -> Score | None:
    suite, metric, role, part = key
    made = None
    if isinstance(sample, Several) and sample.fewest < FEWEST_EXAMPLES:
        why = f"only {sample.fewest} examples of one of its tasks could be scored"
    elif len(sample) < FEWEST_EXAMPLES:
        why = f"only {len(sample)} examples could be scored"
    elif not math.isfinite(sample.value()):
        why = "the model's likelihoods are not finite numbers"
    else:
        made = estimate(sample, _seed(config, suite, metric))
        why = "its interval is not finite"
    if made is None or not math.isfinite(made.stderr + sum(made.curve)):
        missing.append(Missing(f"{named(suite, metric, part)} of {role}", why))
        return None
    return Score(
        suite=suite,
        metric=metric,
        role=role,
        value=_rounded(made.value),
        n=made.n,
        stderr=_rounded(made.stderr),
        low=_rounded(made.low),
        high=_rounded(made.high),
        curve=_curve(made.curve) if role is Role.CANDIDATE and config.wants(suite, metric, part) else (),
        slice=part,
        against=_against(config, suite, metric),
    )


def _against(config: EvaluateConfig, suite: str, metric: Metric) -> Role | None:
    """Whose answers a metric of pairs prefers the candidate's to."""
    if metric not in PAIRWISE:
        return None
    asked = next(one for one in config.suites if one.name == suite)
    by = asked.judge if metric is Metric.JUDGE_WIN_RATE else asked.preference
    return by.against if by is not None else None


def _compare(
    config: EvaluateConfig, wanted: Comparison, found: Samples, missing: list[Missing], known: Mapping[str, str]
) -> Difference | None:
    ours = found.get(Key(wanted.suite, wanted.metric, Role.CANDIDATE, wanted.slice))
    theirs = found.get(Key(wanted.suite, wanted.metric, wanted.against, wanted.slice))
    why = "" if ours and theirs else "the suite, the metric or the model is not part of this evaluation"
    if why and wanted.slice and Key(wanted.suite, wanted.metric, wanted.against) in found:
        why = f"fewer than {FEWEST_EXAMPLES} examples have {wanted.slice}"
    why = why and (known.get(named(wanted.suite, wanted.metric, wanted.slice)) or why)
    made = None
    if ours and theirs and not (why := _why_incomparable(wanted.metric, ours, theirs)):
        try:
            made = difference(ours, theirs, _seed(config, wanted.suite, wanted.metric), wanted.method)
            why = f"fewer than {FEWEST_EXAMPLES} examples could be scored for both, or a likelihood is not finite"
        except Unfit as unfit:
            why = str(unfit)
    if made is None or not math.isfinite(made.value + made.stderr + sum(made.curve)):
        what = named(wanted.suite, wanted.metric, wanted.slice)
        missing.append(Missing(f"{what} against {wanted.against}", why))
        return None
    return Difference(
        suite=wanted.suite,
        metric=wanted.metric,
        against=wanted.against,
        method=wanted.method,
        difference=_rounded(made.value),
        n=made.n,
        stderr=_rounded(made.stderr),
        low=_rounded(made.low),
        high=_rounded(made.high),
        curve=_curve(made.curve),
        slice=wanted.slice,
    )


def _why_incomparable(metric: Metric, ours: AnySample, theirs: AnySample) -> str:
    """Numbers per token mean nothing to each other when the models cut the answers into different tokens."""
    if metric not in FROM_LIKELIHOOD:
        return ""
    assert isinstance(ours, Sample)
    assert isinstance(theirs, Sample)
    shared = set(ours.ids) & set(theirs.ids)
    same = np.array_equal(ours.only(shared).weights, theirs.only(shared).weights)
    return "" if same else "the models have different tokenizers, so numbers per token cannot be compared"


def _seed(config: EvaluateConfig, suite: str, metric: Metric) -> tuple[int, int]:
    return config.seed, zlib.crc32(f"{suite}/{metric}".encode())


def _rounded(value: float) -> float:
    """Six significant digits: more would be noise, and the termination message is small."""
    return float(f"{value:.6g}")


def _curve(bounds: Sequence[float]) -> tuple[float, ...]:
    return tuple(_rounded(bound) for bound in bounds)
