"""Whose answers are preferred: the suites with a judge, and those with people, filled into what was measured of the candidate.

Not here: the judge (`judging.py`) and the pack for people (`preference.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serin_evaluator.cache import ScoreCache
from serin_evaluator.config import EvaluateConfig, Metric, Role, named
from serin_evaluator.errors import TryAgain
from serin_evaluator.judging import judged
from serin_evaluator.measuring import Measured
from serin_evaluator.pairs import both_said
from serin_evaluator.preference import pack, rated, write_pack
from serin_evaluator.result import Awaiting
from serin_evaluator.suites import LoadedSuite
from serin_evaluator.uris import local_path


@dataclass(frozen=True)
class Waiting:
    """A score that people have yet to give."""

    told: Awaiting

    @property
    def what(self) -> str:
        return named(self.told.suite, Metric.HUMAN_WIN_RATE)

    @property
    def why(self) -> str:
        return f"nobody has rated the {self.told.pairs} pairs in {self.told.pack_uri} yet"


def prefer(
    config: EvaluateConfig,
    suites: Sequence[LoadedSuite],
    measured: Mapping[Role, Mapping[str, Measured]],
    cache: ScoreCache,
) -> list[Waiting]:
    """Fill in the candidate's pairs; what still waits for people."""
    waiting: list[Waiting] = []
    for suite in suites:
        name, judge, preference = suite.suite.name, suite.suite.judge, suite.suite.preference
        pairs = measured[Role.CANDIDATE][name].pairs
        if judge is not None:
            answers = _answers(measured, name, judge.against)
            pairs[Metric.JUDGE_WIN_RATE] = judged(judge, name, suite.examples, answers, cache)
        if preference is not None:
            answers = _answers(measured, name, preference.against)
            shown = pack(config.seed, name, suite.examples, answers)
            try:
                write_pack(local_path(config.output), name, preference, shown)
            except OSError as error:
                raise TryAgain(
                    "OutputNotWritable", f"{config.output} cannot be written to: {error.strerror}."
                ) from error
            pairs[Metric.HUMAN_WIN_RATE] = rated(preference, name, shown, answers)
            if shown and not pairs[Metric.HUMAN_WIN_RATE].worth:
                uri = f"{config.output.rstrip('/')}/preference/{name}"
                waiting.append(Waiting(Awaiting(suite=name, pack_uri=uri, pairs=len(shown))))
    return waiting


def _answers(measured: Mapping[Role, Mapping[str, Measured]], suite: str, against: Role) -> dict[int, tuple[str, str]]:
    ours, theirs = (measured[role][suite].generation for role in (Role.CANDIDATE, against))
    assert ours is not None
    assert theirs is not None
    return both_said(
        {line: row.text for line, row in ours.measured.items()},
        {line: row.text for line, row in theirs.measured.items()},
    )
