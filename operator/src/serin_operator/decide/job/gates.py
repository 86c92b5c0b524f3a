"""The gate: typed measurements and requirements in, a verdict with its sentence out. The evaluator measures, this judges.

A requirement is Passed when chance alone would hardly make a model that misses it look this good, Failed when chance
would hardly make a model that meets it look this bad, and Inconclusive in between. What was not measured is Error.
`confidencePercent` says what "hardly" is, and it is promised for the gate as a whole (docs/gates.md):

- a model that should not pass does so in no more than that share of cases. Where every requirement must be met, each
  needs no more than its own test (the intersection-union test, Berger 1982); those that only add weight, of which one
  wrongly passed may tip the scale, have Holm's correction among themselves;
- a model that meets them all is Failed in no more than that share, however many there are: Holm's correction.
"""

from collections.abc import Callable
from dataclasses import dataclass

from serin_operator.api.contract import Awaiting, EvaluateOutput
from serin_operator.api.v1alpha1 import (
    HIGHEST,
    LOWER_IS_BETTER,
    LOWEST,
    ComparisonMethod,
    Metric,
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
    warning: bool = False


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
    waiting: bool = False  # for people

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
    """The verdict. Audited policies and requirements without weight are judged and recorded, and do not count."""
    trials = [_trial(d, measured, first_deployment) for d in asked]
    counted = [trial for trial in trials if trial.demand.counts]
    missed = _corrected(counted, trials, lambda trial: trial.p_missed)
    weighed = [trial for trial in counted if not trial.demand.must]
    met = {id(trial): trial.p_met for trial in trials} | _corrected(weighed, weighed, lambda trial: trial.p_met)
    found = [Found(t, _judged(t, met[id(t)], missed[id(t)], len(counted), len(weighed))) for t in trials]
    totals = [_total(source, of) for source in dict.fromkeys(d.source for d in asked) if (of := _of(found, source))]
    verdict = next((v for v in _WORST_FIRST if v in [total.verdict for total in totals]), Verdict.PASSED)
    warning = verdict is Verdict.PASSED and any(total.warning for total in totals)
    return Judgement(verdict, _summary(verdict, found, totals, measured), tuple(f.record for f in found), warning)


def _corrected(family: list[Trial], others: list[Trial], p: Callable[[Trial], float]) -> dict[int, float]:
    """P-values by trial: the family's corrected for each other, those of the others as if they belonged to it."""
    found: dict[int, float] = {}
    for members in (others, family):
        adjusted = holm([p(trial) for trial in members])
        found |= {id(trial): corrected for trial, corrected in zip(members, adjusted, strict=True)}
    return found


@dataclass(frozen=True, slots=True)
class Found:
    """A trial and its verdict."""

    trial: Trial
    record: RequirementVerdict


@dataclass(frozen=True, slots=True)
class Total:
    """What one gate or policy says as a whole."""

    verdict: Verdict
    sentence: str  # empty when every requirement must pass, as nothing is weighed then
    warning: bool = False


def _of(found: list[Found], source: str) -> list[Found]:
    return [one for one in found if one.trial.demand.source == source and one.trial.demand.counts]


def _total(source: str, found: list[Found]) -> Total:
    """Passed with enough weight; Failed when even all that is open could not bring enough; else what is open."""
    musts = [one.record.verdict for one in found if one.trial.demand.must]
    verdicts = {one.record.verdict for one in found}
    first = found[0].trial.demand
    weight = {v: sum(f.trial.demand.weight for f in found if f.record.verdict is v) for v in Verdict}
    whole = sum(weight.values())
    share = 100 * weight[Verdict.PASSED] / whole if whole else 100.0
    reachable = share + (100 * (weight[Verdict.INCONCLUSIVE] + weight[Verdict.ERROR]) / whole if whole else 0)
    enough = share >= first.pass_percent
    sentence = ""
    if first.pass_percent < 100 and whole:
        sentence = f"{source}: {share:.0f} percent of the weight passed, {first.pass_percent} are needed"
    if Verdict.FAILED in musts or reachable < first.pass_percent:
        return Total(Verdict.FAILED, sentence)
    if Verdict.ERROR in verdicts:
        return Total(Verdict.ERROR, sentence)
    if Verdict.INCONCLUSIVE in musts or not enough:
        return Total(Verdict.INCONCLUSIVE, sentence)
    if first.warn_percent is not None and share < first.warn_percent:
        return Total(Verdict.PASSED, f"warning: {sentence}, below {first.warn_percent} is a warning", warning=True)
    return Total(Verdict.PASSED, sentence)


def _summary(verdict: Verdict, found: list[Found], totals: list[Total], measured: EvaluateOutput) -> str:
    counted = [one for one in found if one.trial.demand.counts]
    sentences = [total.sentence for total in totals if total.sentence]
    if verdict is Verdict.PASSED:
        return "; ".join([*sentences, *(one.record.message for one in counted)]) or "no requirement was asked"
    telling = [f"{one.record.message} ({one.record.source})" for one in counted if one.record.verdict is verdict]
    told = "; ".join([*telling, *sentences])
    open_ones = [one.trial for one in counted if one.record.verdict is verdict]
    if verdict is Verdict.INCONCLUSIVE and open_ones and all(trial.waiting for trial in open_ones):
        return f"{told}; the model is held until they are there"
    report = f"; the report lies at {measured.report_uri}" if measured.report_uri else ""
    return f"{told}; {_ADVICE[verdict]}{report}"


_ADVICE = {
    Verdict.FAILED: "the model is not rolled out and what users get stays as it is",
    Verdict.ERROR: "nothing is rolled out until it can be measured",
    Verdict.INCONCLUSIVE: "the model is held: add examples to the suite, or change the bound",
}


# --- one requirement ----------------------------------------------------------------------------------------------


def _judged(trial: Trial, p_met: float, p_missed: float, family: int, weighed: int) -> RequirementVerdict:
    """The verdict on one demand; the p-values are corrected as they must be."""
    verdict, p_value, message, needed = _decided(trial, p_met, p_missed, family, weighed)
    d = trial.demand
    aside = _aside(d)
    return RequirementVerdict(
        name=d.name,
        source=f"{d.source}{aside}",
        verdict=verdict,
        message=message,
        p_value=f"{p_value:.4f}" if p_value is not None else None,
        examples=trial.found.n if trial.found is not None else None,
        needed_examples=needed,
    )


def _aside(d: Demand) -> str:
    """Why it does not count, or counts again."""
    if not d.enforced:
        return " (audit)"
    if d.waiver is not None:
        return f" (waived by {d.waiver.metadata.name} until {d.waiver.spec.expires_at:%Y-%m-%d %H:%M} UTC)"
    if d.lapsed is not None:
        return f" (the waiver {d.lapsed.metadata.name} expired {d.lapsed.spec.expires_at:%Y-%m-%d %H:%M} UTC)"
    return "" if d.counts else " (no weight)"


def _decided(
    trial: Trial, p_met: float, p_missed: float, family: int, weighed: int
) -> tuple[Verdict, float | None, str, int | None]:
    if trial.waiting:
        return Verdict.INCONCLUSIVE, None, trial.said, None
    if trial.found is None:
        return Verdict.ERROR, None, trial.said, None
    least = trial.demand.least
    if trial.found.n < least:
        few = f"{trial.said}: {trial.demand.least_source} asks for at least {least:,}, so {trial.asked} is not judged"
        return Verdict.INCONCLUSIVE, None, few, least
    if not trial.claims:
        return Verdict.PASSED, None, f"{trial.said} {_relation(trial, Verdict.PASSED)}", None
    if trial.found.n < FEWEST_EXAMPLES:
        few = f"{trial.said}: too few to tell, so {trial.asked} is not judged; {FEWEST_EXAMPLES} are the least"
        return Verdict.INCONCLUSIVE, None, few, FEWEST_EXAMPLES
    sure = f"at {trial.demand.asked.confidence_percent} percent"
    if p_met <= trial.alpha:
        return Verdict.PASSED, p_met, f"{trial.said} {_relation(trial, Verdict.PASSED)} ({sure})", None
    if p_missed <= trial.alpha:
        among = f", corrected for {family} requirements" if family > 1 else ""
        return Verdict.FAILED, p_missed, f"{trial.said} {_relation(trial, Verdict.FAILED)} ({sure}{among})", None
    needed = _needed(trial, trial.found, family, 1 if trial.demand.must else max(1, weighed))
    message = f"{trial.said} {_relation(trial, Verdict.INCONCLUSIVE)} ({sure}); {_settling(needed)}"
    return Verdict.INCONCLUSIVE, min(p_met, p_missed), message, needed


def _relation(trial: Trial, verdict: Verdict) -> str:
    if trial.demand.asked.compared_to is not None:
        words = {Verdict.PASSED: "which meets", Verdict.FAILED: "which misses"}
        return f"{words.get(verdict, 'which is within noise of')} {trial.asked}"
    words = {Verdict.PASSED: "meets", Verdict.FAILED: "misses"}
    return f"{words.get(verdict, 'is within noise of')} {trial.asked}"


def _needed(trial: Trial, found: Evidence, family: int, weighed: int) -> int | None:
    """The examples that would settle it, towards the side that the value is on now."""
    missed = [claim for claim in trial.claims if (found.value > claim.at) is not claim.above]
    alpha = trial.alpha / (family * len(trial.claims)) if missed else trial.alpha / weighed
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
        by = f" by {d.slice.field}" if d.slice is not None else ""
        where = "which no suite of the job's gates or of the policy measures"
        return Trial(d, f"{d.name} needs {d.metric.value}, {where}{by}")
    if d.asked.compared_to is not None:
        return _comparison(d, measured, first_deployment)
    return _bounds(d, measured)


def _bounds(d: Demand, measured: EvaluateOutput) -> Trial:
    score = next(
        (
            x
            for x in measured.scores
            if (x.suite, x.metric, x.role, x.slice) == (d.suite, d.metric.value, "Candidate", d.slice)
        ),
        None,
    )
    found = evidence(score.value, score.n, score.stderr, score.curve) if score is not None else None
    pack = next((one for one in measured.awaiting if one.suite == d.suite), None)
    if found is None and pack is not None and d.metric is Metric.HUMAN_WIN_RATE:
        return Trial(d, _unrated(d, pack), waiting=True)
    if found is None:
        return Trial(d, f"{d.name}: the evaluator produced no {d.what} that can be judged{_unmeasured(d)}")
    claims: list[Claim] = []
    if d.asked.min is not None and float(d.asked.min) > LOWEST.get(d.metric, 0.0):
        claims.append(Claim(float(d.asked.min), above=True))
    if d.asked.max is not None and float(d.asked.max) < HIGHEST.get(d.metric, float("inf")):
        claims.append(Claim(float(d.asked.max), above=False))
    bounds = [f"at least {d.asked.min}"] if d.asked.min is not None else []
    bounds += [f"at most {d.asked.max}"] if d.asked.max is not None else []
    low, high = found.bounds(d.asked.confidence_percent)
    against = f" against the {score.against.lower()} model" if score is not None and score.against is not None else ""
    said = f"{d.what}{against} {found.value:.3f} [{low:.3f}, {high:.3f}] on {found.n} examples"
    return Trial(d, said, " and ".join(bounds), found, tuple(claims))


def _unrated(d: Demand, pack: Awaiting) -> str:
    return (
        f"{d.what} waits for people: {pack.pairs} pairs lie in {pack.pack_uri} (pack.html to rate, pack.jsonl for tools); name"
        f" the file with their ratings in spec.ratings of the job, for suite {d.suite}"
    )


def _unmeasured(d: Demand) -> str:
    """What a person can do about it."""
    if d.slice is None:
        return ": its report says why (a likelihood that is no number, say, or too few rows with an answer)"
    return (
        f": perhaps no row has {d.slice}; the report lists the slices that there are. Correct the requirement's"
        " slice.value, or add such rows under a new name of the file"
    )


def _comparison(d: Demand, measured: EvaluateOutput, first_deployment: bool) -> Trial:
    assert d.asked.compared_to is not None
    against = opponent(d.asked.compared_to, first_deployment)
    wanted = (d.suite, d.metric.value, against, d.method, d.slice)
    found_comparisons = ((x, (x.suite, x.metric, x.against, x.method, x.slice)) for x in measured.comparisons)
    comparison = next((x for x, identity in found_comparisons if identity == wanted), None)
    found = None
    if comparison is not None:
        found = evidence(comparison.difference, comparison.n, comparison.stderr, comparison.curve)
    if found is None:
        why = f"the evaluator produced no comparison of {d.what} with the {against.value} model that can be judged"
        return Trial(d, f"{d.name}: {why}{_unmeasured(d)}")
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
