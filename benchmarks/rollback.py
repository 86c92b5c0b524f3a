"""From a breach to weight 0: Serin beside Argo Rollouts and Flagger, on one control plane, in one run.

    python benchmarks/rollback.py                       everything; the documented examples take half an hour
    python benchmarks/rollback.py --only floor matched  some of it

Writes build/bench/rollback.json. The peers' programs are built from their Go modules into the cache, once.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from faults.harness.flows import B
from faults.harness.operators import Zygote
from rollbacks import table, trials
from rollbacks.argo import ArgoRollouts
from rollbacks.flagger import Flagger
from rollbacks.serin import Serin
from rollbacks.stand import ARGO, FLAGGER, Stand
from rollbacks.systems import Row
from serin_devcluster.gobuild import build, fetch
from serin_devcluster.paths import Paths

HARD = "hard"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/bench/rollback.json"))
    parser.add_argument("--only", nargs="+", choices=[*Row, HARD], default=[*Row, HARD])
    parser.add_argument("--trials", type=int, default=10, help="canaries of each system and setting")
    parser.add_argument("--hard-trials", type=int, default=100)
    arguments = parser.parse_args()
    for tool in (ARGO, FLAGGER):
        if not tool.is_built(Paths.default()):
            say(f"building {tool.name} from its Go module")
            fetch(tool)
            build(tool, Paths.default())
    found: list[trials.Trial] = []
    with Stand() as stand:
        systems = [Serin(stand), ArgoRollouts(stand), Flagger(stand)]
        with trials.running(systems):
            for row in [row for row in Row if row in arguments.only]:
                say(f"{row}: {arguments.trials} canaries of each system")
                found += trials.all_at_once(stand, systems, row, arguments.trials)
                tell(found)
            if HARD in arguments.only:
                say(f"the canary's pods stop being ready: {arguments.hard_trials} canaries")
                found += trials.in_rounds(lambda: trials.unready(stand, systems[0], B), arguments.hard_trials)
    Zygote.close_shared()
    rows = table.rows(found)
    compared = table.ratios(rows)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"rows": rows, "ratios": compared}, indent=1) + "\n")
    tell(found)
    return 0


def tell(found: list[trials.Trial]) -> None:
    rows = table.rows(found)
    say(table.text(rows, table.ratios(rows)))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
