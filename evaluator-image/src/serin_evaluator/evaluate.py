"""The stage as a sentence: load the suites, measure the models, score, compare, write down.

Not here: any of the steps.
"""

import logging
from collections.abc import Sequence

from serin_evaluator.cache import ScoreCache
from serin_evaluator.config import EvaluateConfig, Role, named
from serin_evaluator.errors import TryAgain
from serin_evaluator.measuring import measure
from serin_evaluator.report import notes, write_report
from serin_evaluator.result import Output, Result, Score, finished, write_atomically
from serin_evaluator.scoring import Scores, samples, score
from serin_evaluator.suites import load_suite
from serin_evaluator.uris import local_path

log = logging.getLogger(__name__)


def evaluate(config: EvaluateConfig) -> Result:
    """The result of this evaluation: an earlier pod's when there is one, otherwise a new one."""
    folder = local_path(config.output)
    earlier = finished(folder, config.key)
    if earlier is not None:
        log.info("key=%s was evaluated before", config.key)
        return earlier
    suites = [load_suite(suite, config.seed) for suite in config.suites]
    cache = ScoreCache(local_path(config.cache) if config.cache else None)
    measured = {model.role: measure(model, suites, cache, config.seed) for model in config.models}
    found = samples(suites, measured)
    scores = score(config, found)
    try:
        report_uri = write_report(config, suites, measured, found, scores)
        less = [note for suite in suites for note in notes(suite, measured)]
        result = _result(config, scores, report_uri, less)
        write_atomically(folder / "result.json", result.encoded())
    except OSError as error:
        raise TryAgain("OutputNotWritable", f"{config.output} cannot be written to: {error.strerror}.") from error
    return result


def _result(config: EvaluateConfig, scores: Scores, report_uri: str, less: Sequence[str]) -> Result:
    told = _asked_for(config, scores)
    return Result(
        key=config.key,
        outcome="Succeeded",
        reason="Succeeded",
        message=" ".join([_sentence(config, told, scores), *less]),
        advice="The report says why scores are missing." if scores.missing else "",
        output=Output(report_uri=report_uri, scores=told, comparisons=scores.comparisons),
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
