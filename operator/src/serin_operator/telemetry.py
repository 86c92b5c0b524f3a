"""Metrics of the operator itself, in Prometheus' format. Not here: logs, health."""

from collections.abc import Iterable, Mapping

from prometheus_client import Counter, Gauge, Histogram

API_CALLS = Counter("serin_api_calls_total", "Calls to the Kubernetes API", ["method", "code"])
API_RETRIES = Counter("serin_api_retries_total", "Calls to the Kubernetes API that were repeated", ["method"])
RECONCILES = Counter("serin_reconcile_total", "Looks at an object, by how they ended", ["kind", "result"])
RECONCILE_SECONDS = Histogram("serin_reconcile_duration_seconds", "Time of one look", ["kind"])
QUEUE_DEPTH = Gauge("serin_workqueue_depth", "Objects waiting for a look")
WATCH_EVENTS = Counter("serin_watch_events_total", "Events seen, by kind", ["kind"])
WATCH_MISSES = Counter(
    "serin_watch_missed_total", "Changes that a list showed and no watch had told of, by kind", ["kind"]
)
WATCH_RESTARTS = Counter("serin_watch_restarts_total", "Times that the watches ended or were found blind")
WATCH_AGE = Gauge("serin_watch_age_seconds", "Seconds since it was last made sure that no change was missed", ["kind"])
DECISIONS = Counter(
    "serin_decisions_total", "What was decided and written: stages, verdicts, promotions, rollbacks", ["kind", "reason"]
)
WAIVERS = Gauge("serin_waivers", "EvalWaivers that are there, by whether they are in force", ["state"])
SERVICE_GAUGES: Mapping[str, Gauge] = {
    "serin_slo_breached": Gauge(
        "serin_slo_breached",
        "1 while the stable of a ModelService breaks the SLO, 0 while it does not",
        ["namespace", "service", "slo"],
    ),
    "serin_drift_psi": Gauge(
        "serin_drift_psi",
        "Population stability index of what users ask and get beside the evaluation set",
        ["namespace", "service", "signal"],
    ),
}
_told: dict[tuple[str, str], set[tuple[str, str]]] = {}  # by service: what is told of it, metric and about


def tell(namespace: str, name: str, gauges: Iterable[tuple[str, str, float]]) -> None:
    """What the last look says of a service: `(metric, about, value)`. What it no longer says is taken away."""
    before, now = _told.pop((namespace, name), set()), set[tuple[str, str]]()
    for metric, about, value in gauges:
        SERVICE_GAUGES[metric].labels(namespace, name, about).set(value)
        now.add((metric, about))
    for metric, about in before - now:
        SERVICE_GAUGES[metric].remove(namespace, name, about)
    if now:
        _told[(namespace, name)] = now


LEADER = Gauge("serin_leader", "1 while this process holds the lease")
