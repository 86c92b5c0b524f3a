"""Metrics of the operator itself, in Prometheus' format. Not here: logs, health."""

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
LEADER = Gauge("serin_leader", "1 while this process holds the lease")
