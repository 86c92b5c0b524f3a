"""Metrics of the operator itself, in Prometheus' format. Not here: logs, health."""

from prometheus_client import Counter, Gauge, Histogram

API_CALLS = Counter("serin_api_calls_total", "Calls to the Kubernetes API", ["method", "code"])
RECONCILES = Counter("serin_reconcile_total", "Looks at an object, by how they ended", ["kind", "result"])
RECONCILE_SECONDS = Histogram("serin_reconcile_duration_seconds", "Time of one look", ["kind"])
QUEUE_DEPTH = Gauge("serin_workqueue_depth", "Objects waiting for a look")
WATCH_EVENTS = Counter("serin_watch_events_total", "Events seen, by kind", ["kind"])
DECISIONS = Counter(
    "serin_decisions_total", "What was decided and written: stages, verdicts, promotions, rollbacks", ["kind", "reason"]
)
LEADER = Gauge("serin_leader", "1 while this process holds the lease")
