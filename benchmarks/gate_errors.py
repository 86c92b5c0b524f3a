"""How often simulated gates are wrong, against what they promise: `PYTHONPATH=tests:evaluator-image/src python benchmarks/gate_errors.py`.

Prints and writes build/bench/gates.json: for a model that meets every requirement by nothing (a truly equal one), and for one that
misses one of them by nothing while it is far better at the others (a truly worse one, as hard to tell as can be), the share of gates
that failed it, and that passed it, of `gates`. Each row is cut into parts with seeds of their own, which several processes of low
priority share; what is printed does not depend on how many there are.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path

from support.gate_simulation import Shares, simulate

FAR = {"rougel": 0.3, "perplexity": 0.8, "exactmatch": 0.4, "bound": 0.3}
EQUAL = "meets all by nothing"
ROWS: Mapping[str, Mapping[str, float]] = {EQUAL: {}} | {
    f"misses {missed}": {name: by for name, by in FAR.items() if name != missed} for missed in FAR
}
PART = 500  # gates that one process judges before it takes another part
SEED = 7


def parts(gates: int) -> list[tuple[str, int, int]]:
    """Row, gates and seed of each part."""
    sizes = [min(PART, gates - start) for start in range(0, gates, PART)]
    return [(name, size, SEED + 1000 * number) for name in ROWS for number, size in enumerate(sizes)]


def judged(part: tuple[str, int, int]) -> Shares:
    name, size, seed = part
    return simulate(size, seed, ROWS[name])


def together(found: Iterable[tuple[int, Shares]]) -> Shares:
    """The shares of several parts as one, each by how many gates it has."""
    known = list(found)
    gates = sum(size for size, _ in known)
    return Shares(
        **{
            field.name: sum(size * getattr(shares, field.name) for size, shares in known) / gates
            for field in fields(Shares)
        }
    )


def _low_priority() -> None:
    os.nice(10)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gates", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    asked = parser.parse_args(argv)
    gates = asked.gates
    most = 0.05 + 3 * (0.05 * 0.95 / gates) ** 0.5
    started = time.monotonic()
    whole = parts(gates)
    with ProcessPoolExecutor(asked.processes, initializer=_low_priority) as pool:
        results = list(zip(whole, pool.map(judged, whole), strict=True))
    found = {row: together((size, shares) for (name, size, _), shares in results if name == row) for row in ROWS}
    kept = found[EQUAL].failed <= most and all(shares.passed <= most for shares in found.values())
    document = {
        "gates": gates,
        "promised": 0.05,
        "promisedWithNoiseOfTheCount": round(most, 4),
        "kept": kept,
        "equalModelRejected": round(found[EQUAL].failed, 4),
        "worseModelAccepted": round(max(shares.passed for row, shares in found.items() if row != EQUAL), 4),
        "seconds": round(time.monotonic() - started, 1),
        "rows": {name: {of: round(share, 4) for of, share in asdict(shares).items()} for name, shares in found.items()},
    }
    path = Path("build/bench/gates.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(path.read_text(), end="")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
