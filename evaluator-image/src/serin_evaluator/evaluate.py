"""The stage as a sentence: load the suites, measure the models, score, compare, write down.

Not here: any of the steps.
"""

import logging
from collections.abc import Sequence

from serin_evaluator.benchmarks import load_benchmark
from serin_evaluator.cache import ScoreCache
from serin_evaluator.classifying import classify
from serin_evaluator.config import EvaluateConfig, Metric, Role, Suite, named
from serin_evaluator.errors import TryAgain
from serin_evaluator.fewshot import with_shots
from serin_evaluator.measuring import measure
from serin_evaluator.meteor import require_wordnet
from serin_evaluator.preferring import prefer
from serin_evaluator.reference import reference
from serin_evaluator.report import notes, write_report
from serin_evaluator.result import Awaiting, Output, Reference, Result, Score, finished, write_atomically
from serin_evaluator.scoring import Scores, samples, score, unscored
from serin_evaluator.share import ALL, share_of_pod
from serin_evaluator.sharing import measured_by_all
from serin_evaluator.suites import LoadedSuite, load_suite
from serin_evaluator.uris import local_path

log = logging.getLogger(__name__)


def evaluate(config: EvaluateConfig) -> Result | None:
    """The result of this evaluation: an earlier pod's when there is one, otherwise a new one. None when other pods that
    share it still measure: the last of them has the result."""
    folder = local_path(config.output)
    # Without a cache nothing is believed that lies on a volume: who can write there could have written the result.
    earlier = finished(folder, config.key) if config.cache else None
    if earlier is not None:
        log.info("key=%s was evaluated before", config.key)
        return earlier
    suites = [_loaded(suite, config.seed) for suite in config.suites]
    cache = ScoreCache(local_path(config.cache) if config.cache else None)
    share = share_of_pod(config.pods)
    if share != ALL and not measured_by_all(config.models, suites, cache, config.seed, share):
        return None
    measured = {model.role: measure(model, suites, cache, config.seed) for model in config.models}
    classify(suites, measured, cache)
    awaiting = prefer(config, suites, measured, cache)
    found = samples(suites, measured)
    scores = score(config, found, unscored(suites, measured) | {of.what: of.why for of in awaiting})
    try:
        report_uri = write_report(config, suites, measured, found, scores)
        less = [note for suite in suites for note in notes(suite, measured)]
        told = tuple(of.told for of in awaiting)
        result = _result(config, scores, report_uri, less, reference(suites, measured), told)
        write_atomically(folder / "result.json", result.encoded())
    except OSError as error:
        raise TryAgain("OutputNotWritable", f"{config.output} cannot be written to: {error.strerror}.") from error
    return result


def _loaded(suite: Suite, seed: int) -> LoadedSuite:
    if Metric.METEOR in suite.metrics:
        require_wordnet()
    if suite.benchmark is not None:
        return load_benchmark(suite, seed)
    return with_shots(load_suite(suite, seed), seed)


def _result(
    config: EvaluateConfig,
    scores: Scores,
    report_uri: str,
    less: Sequence[str],
    seen: Reference | None = None,
    awaiting: tuple[Awaiting, ...] = (),
) -> Result:
    told = _asked_for(config, scores)
    return Result(
        key=config.key,
        outcome="Succeeded",
        reason="Succeeded",
        message=" ".join([_sentence(config, told, scores), *less]),
        advice="The report says why scores are missing." if scores.missing else "",
        output=Output(
            report_uri=report_uri, scores=told, comparisons=scores.comparisons, reference=seen, awaiting=awaiting
        ),
    )


def _asked_for(config: EvaluateConfig, scores: Scores) -> tuple[Score, ...]:
    """The scores that bounds are asked of and those that are compared: what does not fit is left out from the end."""
    compared = {(one.suite, one.metric, one.slice) for one in config.comparisons}
    told = [
        one
        for one in scores.scores
        if config.wants(one.suite, one.metric, one.slice) or (one.suite, one.metric, one.slice) in compared
    ]
    return tuple(sorted(told, key=lambda one: (not one.curve, one.role is not Role.CANDIDATE)))


def _sentence(config: EvaluateConfig, told: tuple[Score, ...], scores: Scores) -> str:
    values = ", ".join(
        f"{named(one.suite, one.metric, one.slice)} {one.value:.4g} over {one.n} examples"
        for one in told
        if one.role is Role.CANDIDATE
    )
    missing = "; ".join(f"{one.what} is missing: {one.why}" for one in scores.missing)
    measured = "Measured " + " and ".join(model.role for model in config.models)
    return ": ".join(filter(None, (measured, values))) + (f"; {missing}." if missing else ".")
