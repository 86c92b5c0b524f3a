"""What must be shown: the requirements of the job's own gates and of every policy that selects it, and what the
evaluator must measure for them. Not here: judging (`gates.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from serin_operator.api.contract import WantedComparison
from serin_operator.api.v1alpha1 import (
    RIGHT_OR_WRONG,
    ClusterEvalPolicy,
    ComparedTo,
    ComparisonMethod,
    EvalGate,
    EvalWaiver,
    Metric,
    PolicyMode,
    PolicyRequirement,
    Requirement,
    Slice,
    Suite,
    WaiverRef,
)
from serin_operator.decide.policies import asker, in_force, strictest, waiver_ref


@dataclass(frozen=True, slots=True)
class Demand:
    """One requirement on one measured score, and who asks for it."""

    name: str
    source: str
    suite: str
    metric: Metric
    asked: Requirement | PolicyRequirement
    enforced: bool = True
    weight: int = 1
    must: bool = True
    pass_percent: int = 100  # of the weight of the gate that it belongs to
    warn_percent: int | None = None
    slice: Slice | None = None  # None: the whole suite
    least: int = 0  # examples that a policy asks for before anything is judged
    least_source: str = ""
    waiver: EvalWaiver | None = None  # by which it does not count
    lapsed: EvalWaiver | None = None  # by which it did not count until a while ago

    @property
    def counts(self) -> bool:
        """Whether the verdict depends on it; one without weight, or waived, is judged and told only."""
        return self.enforced and self.waiver is None and (self.weight > 0 or self.must)

    @property
    def what(self) -> str:
        """The score's name, by which the evaluator is asked for it."""
        whole = f"{self.suite}/{self.metric.value}"
        return f"{whole}@{self.slice}" if self.slice is not None else whole

    @property
    def method(self) -> ComparisonMethod:
        """The comparison's method; Auto takes the one that fits the metric."""
        if self.asked.test_method is not ComparisonMethod.AUTO:
            return self.asked.test_method
        return ComparisonMethod.MCNEMAR if self.metric in RIGHT_OR_WRONG else ComparisonMethod.PAIRED_BOOTSTRAP


@dataclass(frozen=True, slots=True)
class Asked:
    """A suite as the evaluator is asked for it, and who gave it. A policy's has the policy's name before its own, with
    a dot, which no gate's suite can have."""

    name: str
    suite: Suite
    source: str


def asked_suites(gates: Iterable[EvalGate], policies: Iterable[ClusterEvalPolicy]) -> tuple[Asked, ...]:
    """All that is measured: the suites of the job's gates and those that policies add, each on as many examples as the
    policies ask for at least. With fewer nothing could be judged, and that would be known only after training."""
    policies = tuple(policies)
    limits = strictest(policies)
    least = limits.min_examples or 0 if limits is not None else 0
    own = [Asked(s.name, s, f"gate {gate.metadata.name}") for gate in gates for s in gate.spec.suites]
    added = [
        Asked(policy_suite(policy, s.name), s, f"policy {policy.metadata.name}")
        for policy in policies
        for s in policy.spec.suites
    ]
    return tuple(_on_enough(one, least) for one in (*own, *added))


def _on_enough(asked: Asked, least: int) -> Asked:
    if asked.suite.max_examples >= least:
        return asked
    return replace(asked, suite=asked.suite.model_copy(update={"max_examples": least}))


def policy_suite(policy: ClusterEvalPolicy, suite: str) -> str:
    return f"{policy.metadata.name}.{suite}"


def demands(gates: Iterable[EvalGate], policies: Iterable[ClusterEvalPolicy]) -> tuple[Demand, ...]:
    """What must be shown: the job's own gates and every policy that selects it. A policy only adds."""
    gates, policies = tuple(gates), tuple(policies)
    own = [
        Demand(
            r.name,
            f"gate {gate.metadata.name}",
            *_split(r.metric),
            asked=r,
            weight=r.weight,
            must=r.must_pass or (gate.spec.pass_percent == 100 and r.weight > 0),
            pass_percent=gate.spec.pass_percent,
            warn_percent=gate.spec.warn_percent,
            slice=r.slice,
        )
        for gate in gates
        for r in gate.spec.requirements
    ]
    found = (*own, *(demand for policy in policies for demand in _of_policy(policy, gates)))
    limits = strictest(policies)
    if limits is None or limits.min_examples is None:
        return found
    source = f"policy {asker(policies, limits.min_examples)}"
    return tuple(replace(demand, least=limits.min_examples, least_source=source) for demand in found)


def _split(metric: str) -> tuple[str, Metric]:
    suite, _, name = metric.partition("/")
    return suite, Metric(name)


def _of_policy(policy: ClusterEvalPolicy, gates: tuple[EvalGate, ...]) -> Iterable[Demand]:
    """A policy names a metric; it holds for every suite that measures it, and for a suite '' when none does."""
    source = f"policy {policy.metadata.name}"
    enforced = policy.spec.mode is PolicyMode.ENFORCE
    for asked in policy.spec.requirements:
        if asked.suite is not None:
            suites = [policy_suite(policy, asked.suite)]
        else:
            suites = [s.name for s in asked_suites(gates, (policy,)) if _measures(s.suite, asked)] or [""]
        for suite in dict.fromkeys(suites):
            yield Demand(asked.name, source, suite, asked.metric, asked, enforced, slice=asked.slice)


def _measures(suite: Suite, asked: PolicyRequirement) -> bool:
    sliced = asked.slice is None or asked.slice.field in suite.sliced_by
    return asked.metric in suite.metrics and sliced


def waived(asked: Iterable[Demand], waivers: Iterable[EvalWaiver], now: datetime) -> tuple[Demand, ...]:
    """The demands, with those marked that do not count by a waiver of this job. Of several the longest counts."""
    known = sorted(waivers, key=lambda one: (one.spec.expires_at, one.metadata.name))
    return tuple(_waived(demand, known, now) for demand in asked)


def _waived(demand: Demand, waivers: Iterable[EvalWaiver], now: datetime) -> Demand:
    found = demand
    for one in waivers:
        if demand.source == f"policy {one.spec.policy_ref.name}" and demand.name in one.spec.requirements:
            holds = in_force(one, now)
            found = replace(found, waiver=one if holds else None, lapsed=None if holds else one)
    return found


def waiver_refs(asked: Iterable[Demand]) -> list[WaiverRef]:
    """The waivers by which enforced requirements do not count, each with the names of these."""
    lifted: dict[str, tuple[EvalWaiver, dict[str, None]]] = {}
    for demand in asked:
        if demand.waiver is not None and demand.enforced:
            lifted.setdefault(demand.waiver.metadata.name, (demand.waiver, {}))[1][demand.name] = None
    return [waiver_ref(waiver, names) for _, (waiver, names) in sorted(lifted.items())]


def suite_given_twice(gates: Iterable[EvalGate]) -> tuple[str, str, str] | None:
    """A suite's name and the two gates that have it: their scores could not be told apart."""
    seen: dict[str, str] = {}
    for gate in gates:
        for suite in gate.spec.suites:
            if suite.name in seen:
                return suite.name, seen[suite.name], gate.metadata.name
            seen[suite.name] = gate.metadata.name
    return None


def contradiction(asked: Iterable[Demand]) -> tuple[Demand, Demand] | None:
    """Two that no model can meet together: a floor of a score that lies above a ceiling of it."""
    bounded = [d for d in asked if d.suite and d.counts]
    for floor in bounded:
        for ceiling in bounded:
            same = floor.what == ceiling.what
            if not same or floor.asked.min is None or ceiling.asked.max is None:
                continue
            if float(floor.asked.min) > float(ceiling.asked.max):
                return floor, ceiling
    return None


def wanted_comparisons(asked: Iterable[Demand], first_deployment: bool) -> tuple[WantedComparison, ...]:
    """What the evaluator must compare in pairs. Without an incumbent the base model stands in for it.

    Margins and confidences are no part of it: they are judged on the same numbers.
    """
    found = {
        WantedComparison(
            suite=d.suite,
            metric=d.metric,
            against=opponent(d.asked.compared_to, first_deployment),
            method=d.method,
            slice=d.slice,
        ): None
        for d in asked
        if d.asked.compared_to is not None and d.suite
    }
    return tuple(found)


def opponents(
    asked: Iterable[Asked], comparisons: Iterable[WantedComparison], first_deployment: bool
) -> set[ComparedTo]:
    """The models that are measured beside the candidate."""
    preferred = {opponent(one, first_deployment) for of in asked for one in of.suite.opponents}
    return preferred | {ComparedTo(comparison.against) for comparison in comparisons}


def wanted_scores(asked: Iterable[Demand]) -> tuple[str, ...]:
    """The scores that bounds are asked of."""
    return tuple(sorted({d.what for d in asked if d.asked.compared_to is None and d.suite}))


def opponent(compared_to: ComparedTo, first_deployment: bool) -> ComparedTo:
    return ComparedTo.BASE if first_deployment else compared_to
