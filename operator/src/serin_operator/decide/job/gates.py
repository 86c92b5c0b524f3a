"""The gate: typed scores and requirements in, a verdict with its sentence out. The evaluator measures, this judges.

A bound passes only when the whole interval is on the good side, fails only when it is wholly on the bad side, and is
Inconclusive in between. What was not measured is Error, never a pass.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from serin_operator.api.contract import Comparison, EvaluateOutput, Score, WantedComparison
from serin_operator.api.v1alpha1 import (
    ClusterEvalPolicy,
    ComparedTo,
    EvalGate,
    Metric,
    PolicyMode,
    PolicyRequirement,
    Requirement,
    RequirementVerdict,
    Verdict,
)

LOWER_IS_BETTER = frozenset({Metric.PERPLEXITY, Metric.CROSS_ENTROPY})
_WORST_FIRST = (Verdict.FAILED, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASSED)


@dataclass(frozen=True, slots=True)
class Demand:
    """One requirement on one measured score, and who asks for it."""

    name: str
    source: str
    suite: str
    metric: Metric
    asked: Requirement | PolicyRequirement
    enforced: bool = True


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict over all demands, in one sentence, with each of them."""

    verdict: Verdict
    message: str
    requirements: tuple[RequirementVerdict, ...]


def demands(gates: Iterable[EvalGate], policies: Iterable[ClusterEvalPolicy]) -> tuple[Demand, ...]:
    """What must be shown: the job's own gates and every policy that selects it. A policy only adds."""
    gates = tuple(gates)
    own = [
        Demand(r.name, f"gate {gate.metadata.name}", *_split(r.metric), asked=r)
        for gate in gates
        for r in gate.spec.requirements
    ]
    return (*own, *(demand for policy in policies for demand in _of_policy(policy, gates)))


def _split(metric: str) -> tuple[str, Metric]:
    suite, _, name = metric.partition("/")
    return suite, Metric(name)


def _of_policy(policy: ClusterEvalPolicy, gates: tuple[EvalGate, ...]) -> Iterable[Demand]:
    """A policy names a metric; it holds for every suite that measures it, and for a suite '' when none does."""
    source = f"policy {policy.metadata.name}"
    enforced = policy.spec.mode is PolicyMode.ENFORCE
    for asked in policy.spec.requirements:
        suites = [s.name for gate in gates for s in gate.spec.suites if asked.metric in s.metrics] or [""]
        for suite in dict.fromkeys(suites):
            yield Demand(asked.name, source, suite, asked.metric, asked, enforced)


def wanted_comparisons(asked: Iterable[Demand], first_deployment: bool) -> tuple[WantedComparison, ...]:
    """What the evaluator must compare in pairs. Without an incumbent the base model stands in for it."""
    found = {
        WantedComparison(
            suite=d.suite,
            metric=d.metric,
            against=_opponent(d.asked.compared_to, first_deployment),
            confidence_percent=d.asked.confidence_percent,
        ): None
        for d in asked
        if d.asked.compared_to is not None and d.suite
    }
    return tuple(found)


def _opponent(compared_to: ComparedTo, first_deployment: bool) -> ComparedTo:
    return ComparedTo.BASE if first_deployment else compared_to


def judge(asked: tuple[Demand, ...], measured: EvaluateOutput, first_deployment: bool) -> Judgement:
    """The verdict. Audited policies are judged and recorded, and do not count."""
    verdicts = [(d, *_judge_one(d, measured, first_deployment)) for d in asked]
    counted = [v for d, v, _ in verdicts if d.enforced]
    verdict = next((v for v in _WORST_FIRST if v in counted), Verdict.PASSED)
    records = tuple(
        RequirementVerdict(name=d.name, source=d.source if d.enforced else f"{d.source} (audit)", verdict=v, message=m)
        for d, v, m in verdicts
    )
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


def _judge_one(d: Demand, measured: EvaluateOutput, first_deployment: bool) -> tuple[Verdict, str]:
    if not d.suite:
        return Verdict.ERROR, f"{d.name} needs {d.metric.value}, which no suite of the job's gates measures"
    if d.asked.compared_to is not None:
        return _judge_comparison(d, measured, first_deployment)
    return _judge_bounds(d, measured)


def _judge_bounds(d: Demand, measured: EvaluateOutput) -> tuple[Verdict, str]:
    score = _score(d, measured)
    what = f"{d.suite}/{d.metric.value}"
    if score is None or score.n == 0:
        return Verdict.ERROR, f"{d.name}: the evaluator produced no {what}"
    said = f"{what} {score.value:.3f} [{score.low:.3f}, {score.high:.3f}] on {score.n} examples"
    found = [_side(score.low - float(d.asked.min), score.high - float(d.asked.min))] if d.asked.min is not None else []
    if d.asked.max is not None:
        found.append(_side(float(d.asked.max) - score.high, float(d.asked.max) - score.low))
    verdict = next(v for v in _WORST_FIRST if v in found)
    return verdict, f"{said} {_relation(d, verdict)}"


def _relation(d: Demand, verdict: Verdict) -> str:
    bounds = [f"at least {d.asked.min}"] if d.asked.min is not None else []
    bounds += [f"at most {d.asked.max}"] if d.asked.max is not None else []
    bound = " and ".join(bounds)
    words = {Verdict.PASSED: "meets", Verdict.FAILED: "misses", Verdict.INCONCLUSIVE: "is within noise of"}
    return f"{words[verdict]} {bound}"


def _side(low: float, high: float) -> Verdict:
    """An interval of margins, positive being good: wholly good, wholly bad, or neither."""
    if low >= 0:
        return Verdict.PASSED
    return Verdict.FAILED if high < 0 else Verdict.INCONCLUSIVE


def _judge_comparison(d: Demand, measured: EvaluateOutput, first_deployment: bool) -> tuple[Verdict, str]:
    assert d.asked.compared_to is not None
    against = _opponent(d.asked.compared_to, first_deployment)
    found = _comparison(d, measured, against)
    what = f"{d.suite}/{d.metric.value}"
    if found is None or found.n == 0:
        return Verdict.ERROR, f"{d.name}: the evaluator produced no comparison of {what} with the {against.value} model"
    low, high = (-found.high, -found.low) if d.metric in LOWER_IS_BETTER else (found.low, found.high)
    verdict, need = _gain(d, low, high)
    stands_in = " (no incumbent yet, so the base model)" if against is not d.asked.compared_to else ""
    said = (
        f"{what} differs from the {against.value.lower()} model{stands_in} by {found.difference:+.3f}"
        f" [{found.low:+.3f}, {found.high:+.3f}] at {found.confidence_percent} percent on {found.n} examples"
    )
    return verdict, f"{said}, {need}"


def _gain(d: Demand, low: float, high: float) -> tuple[Verdict, str]:
    """An improvement must be more than the asked one; a regression at most the allowed one."""
    better = "lower" if d.metric in LOWER_IS_BETTER else "higher"
    if d.asked.min_improvement is not None:
        need = float(d.asked.min_improvement)
        verdict = Verdict.PASSED if low > need else Verdict.FAILED if high <= need else Verdict.INCONCLUSIVE
        return verdict, f"needed: {better} by more than {d.asked.min_improvement}"
    allowed = float(d.asked.max_regression or "0")
    return _side(low + allowed, high + allowed), f"allowed: worse by at most {d.asked.max_regression}"


def _score(d: Demand, measured: EvaluateOutput) -> Score | None:
    return next(
        (x for x in measured.scores if (x.suite, x.metric, x.role) == (d.suite, d.metric.value, "Candidate")), None
    )


def _comparison(d: Demand, measured: EvaluateOutput, against: ComparedTo) -> Comparison | None:
    for found in measured.comparisons:
        same = (found.suite, found.metric, found.against) == (d.suite, d.metric.value, against)
        if same and found.confidence_percent == d.asked.confidence_percent:
            return found
    return None
