"""How often a healthy canary is rolled back, and how soon a bad one: Serin and its peers on the same seeded canaries.

    python benchmarks/decisions.py            writes build/bench/decisions.{json,md,svg} and prints the table
    python benchmarks/decisions.py --only independent-1rps --healthy 200 --faulty 100       a quick look

Each canary is 30 minutes long, of which the first is its warm-up, judged by nobody; requests and seconds count from its
end. A healthy canary that is rolled back, by any rule, is a false rollback. Serin's rules are the comparison of latency,
the comparison of errors and the rule for hard failures, with the operator's constants.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from canaries import picture, serin
from canaries.peers import MannWhitney, Strikes
from canaries.traffic import TICK_SECONDS, TICKS, WARM_UP_TICKS, Canaries, Fault, Traffic, past, simulated

Flags = npt.NDArray[np.bool_]

SEED: Final = 7
BATCH: Final = 250
HEALTHY: Final = Fault("none")
FAULTS: Final = (
    HEALTHY,
    Fault("latency-2x", slower=2.0),
    Fault("latency-1.2x", slower=1.2),
    Fault("errors-5-percent", errors=0.05),
    Fault("errors-10-percent", errors=0.10),
    Fault("errors-90-percent", errors=0.90),
)
TRAFFICS: Final = (
    Traffic("independent-1rps", 1, 1),
    Traffic("independent-5rps", 5, 5),
    Traffic("ar1-1rps", 1, 1, noise_before=True, noise=True),
    Traffic("ar1-5rps", 5, 5, noise_before=True, noise=True),
    Traffic("independent-1of10rps", 1, 9),
    Traffic("ar1-1of10rps", 1, 9, noise_before=True, noise=True),
    Traffic("ar1-unseen-1rps", 1, 1, noise_before=False, noise=True),
)


def _serin(canaries: Canaries, knowing: serin.Known) -> tuple[Flags, Flags]:
    """Rolled back after each tick, and passed by both comparisons at the end."""
    errors = serin.of_errors(canaries)
    bad = np.maximum.accumulate(errors.failed(serin.RULE) | serin.of_hard(canaries), axis=1)
    latency = serin.of_latency(canaries, knowing, until=np.where(bad.any(axis=1), bad.argmax(axis=1), TICKS))
    bad = np.maximum.accumulate(bad | latency.failed(serin.RULE), axis=1)
    passed = latency.passed(serin.RULE)[:, -1] & errors.passed(serin.RULE)[:, -1]
    return bad, passed & ~bad[:, -1]


def _peer(peer: Strikes | MannWhitney) -> Callable[[Canaries, serin.Known], tuple[Flags, Flags]]:
    """Peers pass what they do not roll back."""

    def decided(canaries: Canaries, _: serin.Known) -> tuple[Flags, Flags]:
        bad = peer.rolled_back(canaries)
        return bad, ~bad[:, -1]

    return decided


DETECTORS: Final[Mapping[str, Callable[[Canaries, serin.Known], tuple[Flags, Flags]]]] = {
    "serin": _serin,
    **{
        peer.name: _peer(peer)
        for peer in (
            Strikes("argo-1.3x-30s-failureLimit3", 1.3, window_seconds=30, every_seconds=5, allowed=3),
            Strikes("argo-1.5x-60s-failureLimit3", 1.5, window_seconds=60, every_seconds=5, allowed=3),
            Strikes("flagger-1.3x-60s-threshold5", 1.3, window_seconds=60, every_seconds=60, allowed=4, late=1),
            MannWhitney("kayenta-mann-whitney"),
        )
    },
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/bench/decisions.json"))
    parser.add_argument("--only", action="append", help="a traffic by name; rows of others in --out are kept")
    parser.add_argument("--healthy", type=int, default=3000)
    parser.add_argument("--faulty", type=int, default=1000)
    asked = parser.parse_args()
    names = asked.only or [traffic.name for traffic in TRAFFICS]
    kept = json.loads(asked.out.read_text()) if asked.only and asked.out.exists() else []
    rows = [row for row in kept if row["traffic"] not in names]
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    for traffic in TRAFFICS:
        if traffic.name in names:
            began = time.monotonic()
            rows += measured(traffic, asked.healthy, asked.faulty)
            print(f"{traffic.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            order = [known.name for known in TRAFFICS]
            rows.sort(key=lambda row: order.index(row["traffic"]))
            asked.out.write_text(json.dumps(rows, indent=1) + "\n")
    text = picture.table(rows)
    asked.out.with_suffix(".md").write_text(text)
    asked.out.with_suffix(".svg").write_text(picture.drawn(rows))
    print(text)
    return 0


def measured(traffic: Traffic, healthy: int, faulty: int) -> list[dict[str, Any]]:
    """The rows of one traffic: each detector on each fault, the same canaries for all detectors."""
    parts: dict[str, dict[str, list[Outcomes]]] = {fault.name: {name: [] for name in DETECTORS} for fault in FAULTS}
    for start in range(0, max(healthy, faulty), BATCH):
        seed = (SEED, [known.name for known in TRAFFICS].index(traffic.name), start)
        before = past(np.random.default_rng(seed), traffic, BATCH)
        knowing = serin.known(before)
        for number, fault in enumerate(FAULTS):
            if start < (healthy if fault is HEALTHY else faulty):
                canaries = simulated(np.random.default_rng((*seed, number)), traffic, fault, before)
                for name, outcomes in _decided(canaries, knowing).items():
                    parts[fault.name][name].append(outcomes)
    found = {
        fault: {name: tuple(map(np.concatenate, zip(*list_, strict=True))) for name, list_ in of_fault.items()}
        for fault, of_fault in parts.items()
    }
    false = {name: 100 * float(np.mean(np.isfinite(found["none"][name][0]))) for name in DETECTORS}
    return [_row(name, traffic, fault, false[name], *found[fault.name][name]) for name in DETECTORS for fault in FAULTS]


Outcomes = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], Flags]
"""Of each canary: seconds and requests until the rollback (infinity: none), and whether it passed."""


def _decided(canaries: Canaries, knowing: serin.Known) -> dict[str, Outcomes]:
    requests = np.cumsum(canaries.candidate.requests[:, WARM_UP_TICKS:], axis=1)
    found: dict[str, Outcomes] = {}
    for name, detector in DETECTORS.items():
        bad, passed = detector(canaries, knowing)
        after = bad[:, WARM_UP_TICKS:]
        first, ever = after.argmax(axis=1), after.any(axis=1)
        seconds = np.where(ever, (first + 1.0) * TICK_SECONDS, np.inf)
        found[name] = seconds, np.where(ever, requests[np.arange(len(first)), first], np.inf), passed
    return found


def _row(
    name: str, traffic: Traffic, fault: Fault, false: float, seconds: Any, requests: Any, passed: Any
) -> dict[str, Any]:
    bad = fault is not HEALTHY
    return {
        "detector": name,
        "traffic": traffic.name,
        "fault": fault.name,
        "falseRollbackPercent": round(false, 2),
        "medianRequests": _quantile(requests, 0.5) if bad else None,
        "p95Requests": _quantile(requests, 0.95) if bad else None,
        "p95Seconds": _quantile(seconds, 0.95) if bad else None,
        "rolledBackPercent": round(100 * float(np.mean(np.isfinite(seconds))), 2),
        "passedPercent": round(100 * float(np.mean(passed)), 2),
        "canaries": len(seconds),
    }


def _quantile(values: Any, q: float) -> float | None:
    """None: it did not happen to so many within the 30 minutes."""
    found = float(np.quantile(values, q, method="higher"))
    return found if np.isfinite(found) else None


assert TICKS * TICK_SECONDS == 1800  # the 30 minutes

if __name__ == "__main__":
    raise SystemExit(main())
