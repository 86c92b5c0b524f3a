"""The stable once nothing is on trial: the same SLOs go on being asked, and what they say is told, never acted on.

After the bake there is no previous revision kept ready, and what turns bad then is as often the world as the model. So a breach
is a condition, an event and a metric, and going back is a person's decision. Not here: SLOs of a candidate or a bake (`facts.py`).
"""

from collections.abc import Iterable
from datetime import timedelta

from serin_operator.api.v1alpha1 import MonitoringStatus, Slo, SloBreach, SloCounts, SloStatus, Verdict
from serin_operator.decide import conditions
from serin_operator.decide.conditions import Finding
from serin_operator.decide.decision import Event, Told
from serin_operator.decide.service import drift, facts, judging, slos
from serin_operator.decide.service.plan import IDLE, Plan
from serin_operator.decide.service.snapshot import ServiceSnapshot

CONDITION = "SlosHold"
BREACHED_METRIC = "serin_slo_breached"
ANOTHERS_CLOCK = timedelta(seconds=2)
"""By which an operator that starts may be behind the one before: the apiserver tells whole seconds."""


# --- when and what ------------------------------------------------------------------------------------------------


def watches(s: ServiceSnapshot) -> bool:
    """Only a stable that nothing else is judged beside."""
    return s.stable is not None and facts.nothing_on_trial(s) and bool(asked(s))


def next_look_in(s: ServiceSnapshot) -> timedelta:
    """By the last look that status remembers; the first is an interval after the promotion."""
    if s.stable is None or not watches(s):
        return IDLE
    known = _of_stable(s)
    last = known.looked_at if known is not None else s.stable.since
    if last > s.now + ANOTHERS_CLOCK:  # the clock was set back
        return timedelta()
    return max(last + _interval(s) - s.now, timedelta())


def due(s: ServiceSnapshot) -> bool:
    return watches(s) and next_look_in(s) == timedelta()


def again_in(s: ServiceSnapshot) -> timedelta:
    """When to come again, after this look."""
    return _interval(s) if s.monitored is not None else next_look_in(s)


def _interval(s: ServiceSnapshot) -> timedelta:
    return timedelta(seconds=s.service.spec.monitoring.interval_seconds)


def asked(s: ServiceSnapshot) -> list[Slo]:
    """What compares with the stable has nobody to be compared with."""
    return [slo for slo in s.service.spec.slos if slos.query_of(slo) is not None and not slos.compares(slo)]


# --- what follows -------------------------------------------------------------------------------------------------


def after(s: ServiceSnapshot, plan: Plan) -> MonitoringStatus | None:
    """With this look counted; None once another revision is the stable."""
    before = _of_stable(s)
    if plan.stable is None or s.stable is None or plan.stable.revision != s.stable.revision:
        return None
    if s.monitored is None:
        wanted = s.service.spec.monitoring.drift is not None
        return before if before is None or wanted else before.model_copy(update={"drift": None})
    rows = [(slo, slos.judged(slo, s.monitored.get(slo.name, slos.NOT_ASKED))) for slo in asked(s)]
    counts = [_counted(slo, before.counts if before is not None else [], row) for slo, row in rows]
    known = {breach.name: breach for breach in before.breached} if before is not None else {}
    found = zip(rows, counts, strict=True)
    breached = [
        known.get(slo.name, SloBreach(name=slo.name, since=s.now))
        for (slo, row), count in found
        if not slo.dry_run
        and row.verdict is not Verdict.PASSED
        # Silence neither begins a breach nor ends one.
        and (slo.name in known or (row.verdict is Verdict.FAILED and count.failures > judging.tolerated(slo)))
    ]
    return MonitoringStatus(
        revision=s.stable.revision,
        looked_at=s.now,
        slos=[row.model_copy(update={"dry_run": slo.dry_run or None}) for slo, row in rows],
        counts=[count for count in counts if count.failures or count.consecutive_errors],
        breached=breached,
        drift=drift.after(s, before),
    )


def _counted(slo: Slo, before: Iterable[SloCounts], row: SloStatus) -> SloCounts:
    """In a row, both: looks outside of the bounds, which a look without a number leaves as they are, and such looks."""
    last = next((count for count in before if count.name == slo.name), SloCounts(name=slo.name))
    told = row.verdict in (Verdict.PASSED, Verdict.FAILED)
    failures = {Verdict.PASSED: 0, Verdict.FAILED: last.failures + 1}.get(row.verdict, last.failures)
    return SloCounts(name=slo.name, failures=failures, consecutive_errors=0 if told else last.consecutive_errors + 1)


def events(s: ServiceSnapshot, status: MonitoringStatus | None) -> tuple[Event, ...]:
    """When a breach begins, and when it ends."""
    if s.monitored is None or status is None:
        return ()
    before = _of_stable(s)
    was = {breach.name for breach in before.breached} if before is not None else set[str]()
    now = {breach.name for breach in status.breached}
    said = {row.name: row.message for row in status.slos}
    begun = [Event("SloBreached", _sentence(status), warning=True)] if now - was else []
    over = [f"{said[name]} again" for name in sorted(was - now) if name in said]
    recovered = [Event("SloRecovered", "; ".join(over))] if over else []
    return (*begun, *recovered, *drift.events(s, before, status))


def finding(plan: Plan, status: MonitoringStatus | None) -> Finding:
    """Whether the stable holds its SLOs, as far as anybody asked since it was promoted."""
    if plan.stable is None:
        return conditions.unknown(CONDITION, "NoModel", "there is no stable yet")
    if status is None:
        on_trial = plan.candidate is not None or plan.bake is not None
        why = "a candidate or a bake is judged first" if on_trial else "the stable was not looked at yet"
        return conditions.unknown(CONDITION, "NotJudgedYet", why)
    if status.breached:
        return conditions.false(CONDITION, "SloBreached", _sentence(status))
    silent = [row for row in status.slos if not row.dry_run and row.verdict in (Verdict.ERROR, Verdict.INCONCLUSIVE)]
    if silent:
        return conditions.unknown(CONDITION, "NotMeasured", f"{silent[0].name}: {silent[0].message}")
    return conditions.true(CONDITION, "SlosHold", "; ".join(row.message for row in status.slos))


def _sentence(status: MonitoringStatus) -> str:
    rows = {row.name: row for row in status.slos}
    told = "; ".join(
        f"{rows[breach.name].message} (since {breach.since:%Y-%m-%d %H:%M:%S})" for breach in status.breached
    )
    return (
        f"the stable {status.revision} breaks its SLOs: {told}. Its bake is over, so nothing is rolled back by itself:"
        " look at it, or annotate serin.dev/command=rollback/<nonce>"
    )


def told(status: MonitoringStatus | None) -> tuple[Told, ...]:
    """For Prometheus: a gauge for each SLO that can break."""
    if status is None:
        return ()
    broken = {breach.name for breach in status.breached}
    slo = tuple(Told(BREACHED_METRIC, row.name, float(row.name in broken)) for row in status.slos if not row.dry_run)
    return slo + drift.told(status)


def _of_stable(s: ServiceSnapshot) -> MonitoringStatus | None:
    known = s.service.status.monitoring
    return known if known is not None and s.stable is not None and known.revision == s.stable.revision else None
