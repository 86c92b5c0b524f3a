"""What a Prometheus has scraped of the models in a `World`: raw samples of their counters, and how to lose some."""

import math
import re
from bisect import bisect_left
from dataclasses import dataclass, field
from statistics import NormalDist

from serin_operator.decide.service.counters import Sampled, Series

EVERY = 5  # seconds
EDGES = tuple(0.05 * 1.25**i for i in range(24))
_SPREAD = tuple(math.exp(0.5 * NormalDist().inv_cdf((i + 0.5) / 20)) for i in range(20))


@dataclass
class Counted:
    """The counters of one pod since it was started."""

    requests: float = 0.0
    failed: float = 0.0
    buckets: list[float] = field(default_factory=lambda: [0.0] * (len(EDGES) + 1))
    succeeded: float = 0.0  # of what users wanted to do with it

    def serves(self, requests: float, fails: float, seconds: float, succeeds: float = 0.5) -> None:
        """So many requests, of which a share fails, around a typical latency; with a share of them users did what they wanted."""
        self.requests += requests
        self.failed += requests * fails
        self.succeeded += requests * succeeds
        for factor in _SPREAD:
            self.buckets[bisect_left(EDGES, seconds * factor)] += requests / len(_SPREAD)


@dataclass
class Scrapes:
    """All that was ever scraped, by revision; moments are of Prometheus' own clock."""

    ahead: float = 0.0
    """How far its clock is ahead of the world's."""
    running: dict[str, Counted] = field(default_factory=dict[str, Counted])
    kept: dict[str, list[tuple[float, Counted]]] = field(default_factory=dict[str, list[tuple[float, Counted]]])

    def serve(self, revision: str, requests: float, fails: float, seconds: float, succeeds: float = 0.5) -> None:
        self.running.setdefault(revision, Counted()).serves(requests, fails, seconds, succeeds)

    def restart(self, revision: str) -> None:
        """Its server starts anew, and with it its counters."""
        self.running[revision] = Counted()

    def scrape(self, now: float) -> None:
        at = now + self.ahead
        for revision, counted in self.running.items():
            copy = Counted(counted.requests, counted.failed, list(counted.buckets), counted.succeeded)
            self.kept.setdefault(revision, []).append((at, copy))

    def forget(self) -> None:
        """It was restarted without its disk."""
        self.kept.clear()

    def answer(self, promql: str, now: float, moment: float | None) -> Sampled:
        """To `counter{...}[65s]` or `sum by (le) (...)[3600s:5s]`."""
        until = moment if moment is not None else now + self.ahead
        found = re.search(r"\[(\d+)s(:\d+s)?\]$", promql)
        assert found is not None, promql
        revision = next((name for name in sorted(self.kept, key=len, reverse=True) if name in promql), "")
        if "istio" in promql:
            return Sampled((), now + self.ahead - 2)
        samples = [(at, counted) for at, counted in self.kept.get(revision, []) if until - int(found[1]) < at <= until]
        labels = {} if found[2] else {"instance": f"{revision}:8000"}
        if "_bucket" in promql:
            series = [
                Series({**labels, "le": le}, tuple((at, sum(counted.buckets[: i + 1])) for at, counted in samples))
                for i, le in enumerate([*map(str, EDGES), "+Inf"])
            ]
        elif 'outcome="success"' in promql:
            series = [Series(labels, tuple((at, one.succeeded) for at, one in samples))]
        elif any(failed in promql for failed in ('status="5xx"', 'status=~"5.."', 'envoy_response_code_class="5"')):
            series = [Series({**labels, "status": "5xx"}, tuple((at, one.failed) for at, one in samples if one.failed))]
        else:
            series = [Series(labels, tuple((at, one.requests) for at, one in samples))]
        complete = now + self.ahead - 2
        at = complete if moment is None else min(moment, complete)
        return Sampled(tuple(one for one in series if one.samples), at)
