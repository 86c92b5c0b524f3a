"""The gate: typed measurements and requirements in, a verdict with its sentence out. The evaluator measures, this judges.

A requirement is Passed when chance alone would hardly make a model that misses it look this good, Failed when chance
would hardly make a model that meets it look this bad, and Inconclusive in between. What was not measured is Error.
`confidencePercent` says what "hardly" is, and it is promised for the gate as a whole (docs/gates.md):

- a model that misses a requirement passes the gate in no more than that share of cases: as every requirement must be
  met, each needs no more than its own test (the intersection-union test, Berger 1982);
- a model that meets them all is Failed in no more than that share, however many there are: Holm's correction.
"""

from dataclasses import dataclass

from serin_operator.api.contract import EvaluateOutput
from serin_operator.api.v1alpha1 import (
    HIGHEST,
    LOWER_IS_BETTER,
    LOWEST,
    ComparisonMethod,
    RequirementVerdict,
    Verdict,
)
from serin_operator.decide.job.demands import Demand, opponent
from serin_operator.decide.job.evidence import Evidence, evidence, holm

FEWEST_EXAMPLES = 20
"""Fewer tell nothing: no method knows its own error then."""
_WORST_FIRST = (Verdict.FAILED, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASSED)
_METHOD = {
    ComparisonMethod.PAIRED_BOOTSTRAP: "paired bootstrap",
    ComparisonMethod.MCNEMAR: "McNemar",
    ComparisonMethod.WILCOXON: "Wilcoxon",
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict over all demands, in one sentence, with each of them."""

    verdict: Verdict
    message: str
    requirements: tuple[RequirementVerdict, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """That the truth lies on one side of a number."""

    at: float
    above: bool

    def p_for(self, found: Evidence) -> float:
        return found.p_above(self.at) if self.above else found.p_below(self.at)

    def p_against(self, found: Evidence) -> float:
        return found.p_below(self.at) if self.above else found.p_above(self.at)


@dataclass(frozen=True, slots=True)
class Trial:
    """One demand before its verdict: what was measured, the p-values for and against it, and the words."""

    demand: Demand
    said: str
    asked: str = ""
    found: Evidence | None = None  # None: could not be measured
    claims: tuple[Claim, ...] = ()  # empty: met by every number that the metric can have

    @property
    def p_met(self) -> float:
        """All claims must hold, so the weakest counts."""
        return max((claim.p_for(self.found) for claim in self.claims), default=0.0) if self.found else 1.0

    @property
    def p_missed(self) -> float:
        """One refuted claim is enough, so each of them counts."""
        if self.found is None:
            return 1.0
        return min((1.0, *(len(self.claims) * claim.p_against(self.found) for claim in self.claims)))

    @property
    def alpha(self) -> float:
        return 1 - self.demand.asked.confidence_percent / 100


def judge(asked: tuple[Demand, ...], measured: EvaluateOutput, first_deployment: bool) -> Judgement:
    """The verdict. Audited policies are judged and recorded, and do not count."""
    trials = [_trial(d, measured, first_deployment) for d in asked]
    enforced = [trial for trial in trials if trial.demand.enforced]
    counted = dict(zip(enforced, holm([trial.p_missed for trial in enforced]), strict=True))
    together = dict(zip(trials, holm([trial.p_missed for trial in trials]), strict=True))
    records = tuple(_judged(trial, counted.get(trial, together[trial]), len(enforced)) for trial in trials)
    found = [record.verdict for trial, record in zip(trials, records, strict=True) if trial.demand.enforced]
    verdict = next((v for v in _WORST_FIRST if v in found), Verdict.PASSED)
    return Judgement(verdict, _summary(verdict, records, measured), records)


def _summary(verdict: Verdict, records: tuple[RequirementVerdict, ...], measured: EvaluateOutput) -> str:
    counted = [r for r in records if not r.source.endswith("(audit)")]
    if verdict is Verdict.PASSED:
        return "; ".join(r.message for r in counted) or "no requirement was asked"
    telling = "; ".join(f"{r.message} ({r.source})" for r in counted if r.verdict is verdict)
    return f"{telling}; {_ADVICE[verdict]}; the report lies at {measured.report_uri}"


_ADVICE = {
    Verdict.FAILED: "the model is not rolled out and what users get stays as it is",
    Verdict.ERROR: "nothing is rolled out until it can be measured",
    Verdict.INCONCLUSIVE: "the model is held: add examples to the suite, or change the bound",
}


# --- one requirement ----------------------------------------------------------------------------------------------


def _judged(trial: Trial, p_missed: float, family: int) -> RequirementVerdict:
    """The verdict on one demand; `p_missed` is corrected for all of them."""
    verdict, p_value, message, needed = _decided(trial, p_missed, family)
    d = trial.demand
    return RequirementVerdict(
        name=d.name,
        source=d.source if d.enforced else f"{d.source} (audit)",
        verdict=verdict,
        message=message,
        p_value=f"{p_value:.4f}" if p_value is not None else None,
        examples=trial.found.n if trial.found is not None else None,
        needed_examples=needed,
    )


def _decided(trial: Trial, p_missed: float, family: int) -> tuple[Verdict, float | None, str, int | None]:
    if trial.found is None:
        return Verdict.ERROR, None, trial.said, None
    if not trial.claims:
        return Verdict.PASSED, None, f"{trial.said} {_relation(trial, Verdict.PASSED)}", None
    if trial.found.n < FEWEST_EXAMPLES:
        few = f"{trial.said}: too few to tell, so {trial.asked} is not judged; {FEWEST_EXAMPLES} are the least"
        return Verdict.INCONCLUSIVE, None, few, FEWEST_EXAMPLES
    sure = f"at {trial.demand.asked.confidence_percent} percent"
    if trial.p_met <= trial.alpha:
        return Verdict.PASSED, trial.p_met, f"{trial.said} {_relation(trial, Verdict.PASSED)} ({sure})", None
    if p_missed <= trial.alpha:
        among = f", corrected for {family} requirements" if family > 1 else ""
        return Verdict.FAILED, p_missed, f"{trial.said} {_relation(trial, Verdict.FAILED)} ({sure}{among})", None
    needed = _needed(trial, trial.found, family)
    message = f"{trial.said} {_relation(trial, Verdict.INCONCLUSIVE)} ({sure}); {_settling(needed)}"
    return Verdict.INCONCLUSIVE, min(trial.p_met, p_missed), message, needed


def _relation(trial: Trial, verdict: Verdict) -> str:
    if trial.demand.asked.compared_to is not None:
        words = {Verdict.PASSED: "which meets", Verdict.FAILED: "which misses"}
        return f"{words.get(verdict, 'which is within noise of')} {trial.asked}"
    words = {Verdict.PASSED: "meets", Verdict.FAILED: "misses"}
    return f"{words.get(verdict, 'is within noise of')} {trial.asked}"


def _needed(trial: Trial, found: Evidence, family: int) -> int | None:
    """The examples that would settle it, towards the side that the value is on now."""
    missed = [claim for claim in trial.claims if (found.value > claim.at) is not claim.above]
    alpha = trial.alpha / (family * len(trial.claims)) if missed else trial.alpha
    needs = [found.examples_to_settle(claim.at, alpha) for claim in missed or trial.claims]
    known = [need for need in needs if need is not None]
    if missed:
        return min(known, default=None)
    return max(known) if len(known) == len(needs) else None


def _settling(needed: int | None) -> str:
    if needed is None:
        return "no number of examples would settle it: it is the bound itself"
    return f"about {needed:,} examples would settle it"


def _trial(d: Demand, measured: EvaluateOutput, first_deployment: bool) -> Trial:
    if not d.suite:
        return Trial(d, f"{d.name} needs {d.metric.value}, which no suite of the job's gates measures")
    if d.asked.compared_to is not None:
        return _comparison(d, measured, first_deployment)
    return _bounds(d, measured)


def _bounds(d: Demand, measured: EvaluateOutput) -> Trial:
    score = next(
        (x for x in measured.scores if (x.suite, x.metric, x.role) == (d.suite, d.metric.value, "Candidate")), None
    )
    found = evidence(score.value, score.n, score.stderr, score.curve) if score is not None else None
    if found is None:
        return Trial(d, f"{d.name}: the evaluator produced no {d.what} that can be judged")
    claims: list[Claim] = []
    if d.asked.min is not None and float(d.asked.min) > LOWEST.get(d.metric, 0.0):
        claims.append(Claim(float(d.asked.min), above=True))
    if d.asked.max is not None and float(d.asked.max) < HIGHEST.get(d.metric, float("inf")):
        claims.append(Claim(float(d.asked.max), above=False))
    bounds = [f"at least {d.asked.min}"] if d.asked.min is not None else []
    bounds += [f"at most {d.asked.max}"] if d.asked.max is not None else []
    low, high = found.bounds(d.asked.confidence_percent)
    said = f"{d.what} {found.value:.3f} [{low:.3f}, {high:.3f}] on {found.n} examples"
    return Trial(d, said, " and ".join(bounds), found, tuple(claims))


def _comparison(d: Demand, measured: EvaluateOutput, first_deployment: bool) -> Trial:
    assert d.asked.compared_to is not None
    against = opponent(d.asked.compared_to, first_deployment)
    wanted = (d.suite, d.metric.value, against, d.method)
    comparison = next((x for x in measured.comparisons if (x.suite, x.metric, x.against, x.method) == wanted), None)
    found = None
    if comparison is not None:
        found = evidence(comparison.difference, comparison.n, comparison.stderr, comparison.curve)
    if found is None:
        why = f"the evaluator produced no comparison of {d.what} with the {against.value} model that can be judged"
        return Trial(d, f"{d.name}: {why}")
    stands_in = " (no incumbent yet, so the base model)" if against is not d.asked.compared_to else ""
    low, high = found.bounds(d.asked.confidence_percent)
    said = (
        f"{d.what} differs from the {against.value.lower()} model{stands_in} by {found.value:+.3f}"
        f" [{low:+.3f}, {high:+.3f}] on {found.n} examples ({_METHOD[d.method]}),"
    )
    claim, asked = _margin(d)
    return Trial(d, said, asked, found, (claim,))


def _margin(d: Demand) -> tuple[Claim, str]:
    """An improvement must be more than the asked one (superiority); a regression less than the allowed one
    (non-inferiority)."""
    lower = d.metric in LOWER_IS_BETTER
    if d.asked.min_improvement is not None:
        better = float(d.asked.min_improvement)
        asked = f"the needed {'lower' if lower else 'higher'} by more than {d.asked.min_improvement}"
    else:
        better = -float(d.asked.max_regression or "0")
        asked = f"the allowed worse by at most {d.asked.max_regression}"
    return Claim(-better if lower else better, above=not lower), asked
